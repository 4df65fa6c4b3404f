"""Which request asks for the next page, and which answer is the last?

A cursor is text that a checkpoint can hold; None asks for the first page.  Each kind of
paging is a class with two methods: what a cursor's request carries, and what its answer
says about going on.

kind      what it is, and what every kind is made of
ends      stop rules of lists that are counted through
counted   by page number, by offset
given     by a cursor that the answer gives, or by a field of its last record
linked    by an address that the answer gives

Nothing here guards against loops: the loop sees a cursor or a page that comes again,
whatever the kind (`sync.turn`).
"""

from syncd.api.paging.counted import ByNumber, ByOffset
from syncd.api.paging.given import ByCursor, ByKeyset
from syncd.api.paging.kind import Answered, Asked, Pagination, Turn
from syncd.api.paging.linked import ByLink, ByUrl
from syncd.api.paging.once import Once
from syncd.config.settings import (
    CursorPages,
    KeysetPages,
    LinkPages,
    NoPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    UrlPages,
)

__all__ = ["Answered", "Asked", "ByNumber", "ByOffset", "Pagination", "Turn", "pagination_for"]


def pagination_for(page: PageSettings) -> Pagination:
    """The paging that a config's `kind` names."""
    match page:
        case NumberPages():
            return ByNumber(page)
        case OffsetPages():
            return ByOffset(page)
        case CursorPages():
            return ByCursor(page)
        case KeysetPages():
            return ByKeyset(page)
        case LinkPages():
            return ByLink(page)
        case UrlPages():
            return ByUrl(page)
        case NoPages():
            return Once(page)
