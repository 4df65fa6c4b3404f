"""What is a kind of paging, and what do all of them look at?"""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from syncd.api.decode import Envelope

_COUNT = re.compile(rb"0|[1-9][0-9]{0,17}")


@attrs.frozen(kw_only=True)
class Asked:
    """What a cursor's request carries beside what all requests of the stream do."""

    params: Mapping[str, str | int] = attrs.field(factory=dict)
    address: str | None = None
    """Path and query from the server's root, instead of the stream's own path and params."""


@attrs.frozen(kw_only=True)
class Answered:
    """What an answer says of the list around its records."""

    cursor: str | None = None
    """The one that was asked for."""

    envelope: Envelope
    records: int
    """On this page, whatever became of them."""

    last: bytes | None = None
    """The JSON text of the last of them; None if there is none."""

    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Names in lower case."""

    asked: Callable[[], str] = attrs.field(default=lambda: "")
    """The whole address that was asked, which links may be relative to."""


@attrs.frozen(kw_only=True)
class Turn:
    """What one answer says about going on."""

    next_cursor: str | None
    """None: this was the last page."""

    total: int | None = None


class Pagination(Protocol):
    """One kind of paging; UnexpectedAnswer where a cursor or an answer is none of this kind."""

    @property
    def ends_with_404(self) -> bool:
        """Whether a 404 after the first page is how the API says that there is no more."""

    def ask(self, cursor: str | None) -> Asked:
        """What the request for this cursor carries."""

    def turn(self, answered: Answered) -> Turn:
        """What an answer says."""


def count(envelope: Envelope, path: str | None) -> int | None:
    """How many records the API says it has; a hint only, so that anything odd is no hint."""
    value = envelope.at(path) if path is not None else None
    return int(value) if value is not None and _COUNT.fullmatch(value) else None


def sized(size: int, param: str | None) -> dict[str, str | int]:
    """The parameter that says how many records a page holds, if there is one."""
    return {} if param is None else {param: size}
