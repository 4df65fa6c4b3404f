"""Which request asks for the next page?

A cursor is text that a checkpoint can hold; None asks for the first page.  Each
kind of paging is a class with two methods: the parameters of a cursor's request,
and what an answer says about the next one.  Nothing here guards against loops:
the stream sees two equal pages, whatever the kind.
"""

import re
from collections.abc import Mapping
from typing import Protocol

import attrs

from syncd.api.decode import Envelope
from syncd.api.shown import shown
from syncd.config.settings import PageSettings
from syncd.errors import UnexpectedAnswer

_COUNT = re.compile(rb"0|[1-9][0-9]{0,17}")


@attrs.frozen(kw_only=True)
class Turn:
    """What one answer says about going on."""

    next_cursor: str | None
    """None: this was the last page."""

    total: int | None


class Pagination(Protocol):
    """One kind of paging."""

    def params(self, cursor: str | None) -> Mapping[str, str]:
        """What a list request for this cursor adds to its query."""

    def turn(self, cursor: str | None, envelope: Envelope) -> Turn:
        """What the answer to that request says; UnexpectedAnswer if it does not."""


@attrs.frozen
class ByNumber:
    """?page=1, ?page=2, … for as long as a flag in the answer says so."""

    settings: PageSettings

    def params(self, cursor: str | None) -> Mapping[str, str]:
        page = self.settings
        return {page.page_param: str(self._number(cursor)), page.size_param: str(page.size)}

    def turn(self, cursor: str | None, envelope: Envelope) -> Turn:
        following = str(self._number(cursor) + 1)
        goes_on = flag(envelope, self.settings.more)
        return Turn(
            next_cursor=following if goes_on else None,
            total=count(envelope, self.settings.total),
        )

    def _number(self, cursor: str | None) -> int:
        if cursor is None:
            return self.settings.first
        if not re.fullmatch(r"[0-9]{1,18}", cursor, re.ASCII):
            raise UnexpectedAnswer(
                f"the checkpoint's cursor {shown(cursor)} is not a page number",
                hint="Reset the stream",
            )
        return int(cursor)


def flag(envelope: Envelope, path: str) -> bool:
    """A flag that decides whether we go on: "false", 0, null and absence are no answer."""
    value = envelope.at(path)
    value = value.strip() if value is not None else None
    if value == b"true":
        return True
    if value == b"false":
        return False
    if value is None:
        parent = path.rpartition(".")[0]
        found = f"missing (found: {envelope.keys(parent)})"
    else:
        found = shown(value)
    raise UnexpectedAnswer(
        f"`{path}`, which says whether another page follows, is {found}; it must be true or false",
        hint="Check `page.more`",
    )


def count(envelope: Envelope, path: str | None) -> int | None:
    """How many records the API says it has; a hint only, so that anything odd is no hint."""
    value = envelope.at(path) if path is not None else None
    return int(value) if value is not None and _COUNT.fullmatch(value) else None


def pagination_for(page: PageSettings) -> Pagination:
    """The paging that a config's `kind` names."""
    return {"number": ByNumber}[page.kind](page)
