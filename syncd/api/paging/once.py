"""A list that comes whole, in one answer."""

import attrs

from syncd.api.paging.kind import Answered, Asked, Turn, count
from syncd.config.settings import NoPages


@attrs.frozen
class Once:
    """One request, one page."""

    settings: NoPages
    ends_with_404: bool = False

    def ask(self, cursor: str | None) -> Asked:  # noqa: ARG002 - there is only the first
        return Asked()

    def turn(self, answered: Answered) -> Turn:
        return Turn(next_cursor=None, total=count(answered.envelope, self.settings.total))
