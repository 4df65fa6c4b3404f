"""Lists that are counted through: by page number, or by how many records to leave out."""

import re

import attrs

from syncd.api.paging.ends import goes_on
from syncd.api.paging.kind import Answered, Asked, Turn, count, sized
from syncd.api.shown import shown
from syncd.config.settings import NumberPages, OffsetPages
from syncd.errors import UnexpectedAnswer

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@attrs.frozen
class ByNumber:
    """?page=1, ?page=2, …"""

    settings: NumberPages

    @property
    def ends_with_404(self) -> bool:
        return self.settings.until != "more"

    def ask(self, cursor: str | None) -> Asked:
        page = self.settings
        number = self._number(cursor)
        return Asked(params={page.page_param: number, **sized(page.size, page.size_param)})

    def turn(self, answered: Answered) -> Turn:
        page, number = self.settings, self._number(answered.cursor)
        met = (number - page.first) * page.size + answered.records
        following = str(number + 1) if goes_on(page, answered, met) else None
        return Turn(next_cursor=following, total=count(answered.envelope, page.total))

    def foreseen(self, cursor: str | None, total: int) -> str | None:
        """Which cursor will follow in a list of so many records, before its page has come."""
        page, number = self.settings, self._number(cursor)
        return str(number + 1) if (number - page.first + 1) * page.size < total else None

    def _number(self, cursor: str | None) -> int:
        return _counted(cursor, self.settings.first, "a page number")


@attrs.frozen
class ByOffset:
    """?offset=0, ?offset=100, …: goes on by as many records as came, not as were asked for."""

    settings: OffsetPages

    @property
    def ends_with_404(self) -> bool:
        return self.settings.until != "more"

    def ask(self, cursor: str | None) -> Asked:
        page = self.settings
        offset = self._offset(cursor)
        return Asked(params={page.offset_param: offset, **sized(page.size, page.size_param)})

    def turn(self, answered: Answered) -> Turn:
        page = self.settings
        reached = self._offset(answered.cursor) + answered.records
        following = str(reached) if goes_on(page, answered, reached - page.first) else None
        return Turn(next_cursor=following, total=count(answered.envelope, page.total))

    def foreseen(self, cursor: str | None, total: int) -> str | None:
        """The same; wrong where the server gives fewer records a page than it is asked for."""
        page, following = self.settings, self._offset(cursor) + self.settings.size
        return str(following) if following - page.first < total else None

    def _offset(self, cursor: str | None) -> int:
        return _counted(cursor, self.settings.first, "an offset")


def _counted(cursor: str | None, first: int, what: str) -> int:
    if cursor is None:
        return first
    if not _NUMBER.fullmatch(cursor):
        raise UnexpectedAnswer(
            f"the checkpoint's cursor {shown(cursor)} is not {what}", hint="Reset the stream"
        )
    return int(cursor)
