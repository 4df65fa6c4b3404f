"""When does a list end that is counted through?  By a flag, or by a page that lacks records."""

from typing import Protocol

from syncd.api.decode import Envelope
from syncd.api.paging.kind import Answered, count
from syncd.api.shown import shown
from syncd.config.settings import Until
from syncd.errors import UnexpectedAnswer


class Counted(Protocol):
    """The settings that such a list has, whatever it is counted by."""

    @property
    def size(self) -> int: ...
    @property
    def until(self) -> Until: ...
    @property
    def more(self) -> str | None: ...
    @property
    def total(self) -> str | None: ...


def goes_on(page: Counted, answered: Answered, met: int) -> bool:
    """Whether another page follows; `met`: records of this page and those before it.

    A server may give fewer records a page than it was asked for.  So a short page is no end
    where a total says that there are more: the empty page after the last one is.
    """
    if page.until == "more" and page.more is not None:
        return flag(answered.envelope, page.more)
    if not answered.records:
        return False
    if page.until == "empty" or answered.records >= page.size:
        return True
    return met < (count(answered.envelope, page.total) or 0)


def flag(envelope: Envelope, path: str) -> bool:
    """A flag that decides whether we go on: "false", 0, null and absence are no answer."""
    value = envelope.at(path)
    if value == b"true":
        return True
    if value == b"false":
        return False
    raise UnexpectedAnswer(
        f"`{path}`, which says whether another page follows, is {found(envelope, path)}; "
        "it must be true or false",
        hint="Check `page.more`",
    )


def found(envelope: Envelope, path: str) -> str:
    """For a reason: what stands at a path, or what stands around it instead."""
    value = envelope.at(path)
    if value is not None:
        return shown(value)
    return f"missing (found: {envelope.keys(path.rpartition('.')[0])})"
