"""Which pages are under way at once?  Turns of one cycle, in the order in which they are committed.

Three kinds of stream differ here.  Where records have calls, the next page is fetched and its
calls are begun while the last ones of this page are in flight.  Where no limit counts what the
list costs, pages are fetched while Postgres is busy with those before them; what has come until
it is done is committed together.  Else a page is fetched when the one before it is committed:
the budget decides how fast that goes, and a death costs no more than one page's request.
"""

from collections import deque
from collections.abc import Sequence

import attrs
import trio

from syncd.sync.context import StreamContext
from syncd.sync.turn import Turn

PAGES = 16  # that are there, and not committed
BYTES = 2 * 1024 * 1024  # of their answers, from which on no further one is asked for


@attrs.define(eq=False, kw_only=True)
class Line:
    """The turns that have been begun and are not committed."""

    stream: StreamContext
    nursery: trio.Nursery
    _turns: deque[Turn] = attrs.field(factory=deque, init=False)
    _last: Turn | None = attrs.field(default=None, init=False)
    """The one that was begun last, committed or not."""

    def begin(self, turn: Turn) -> None:
        """Have it run, and those that may be under way with it."""
        self._turns.append(turn)
        self._last = turn
        self.nursery.start_soon(self._run, turn)

    async def _run(self, turn: Turn) -> None:
        self.nursery.start_soon(turn.run)
        await turn.begun.wait()
        self._go_ahead()

    async def ready(self) -> Sequence[Turn]:
        """Those that can be committed together now: the first, as soon as it is ready, and more.

        Raises what keeps the first from it.  A page that puts records aside stands alone: so
        many of them may be too many.
        """
        first = self._turns[0]
        committing = [first]
        if not (await first.ready()).dead and self._is_free:
            for turn in list(self._turns)[1:]:
                if not turn.is_ready or (await turn.ready()).dead:
                    break
                committing.append(turn)
        return committing

    def committed(self, turns: Sequence[Turn]) -> None:
        """They are done with."""
        for _ in turns:
            self._turns.popleft()
        self._go_ahead()

    def go_on(self) -> bool:
        """Have the next page on its way; False if the line ends here, at a page boundary."""
        if self._turns:
            return True
        following = None if self._last is None else self._last.following()
        if following is None or self.stream.halt:
            return False
        self.begin(following)
        return True

    def _go_ahead(self) -> None:
        """Begin the next one if it may be under way beside those before it."""
        last, stream = self._last, self.stream
        if last is None or not last.begun.is_set() or not self._turns:
            return
        if stream.halt or stream.waits.ended or not self._has_room(last):
            return
        following = last.following()
        if following is not None:
            self.begin(following)

    @property
    def _is_free(self) -> bool:
        return self.stream.is_free and not self.stream.source.has_call

    def _has_room(self, last: Turn) -> bool:
        if not self._is_free:
            return len(self._turns) == 1 and last.has_calls
        size = sum(turn.page.size for turn in self._turns if turn.page is not None)
        return len(self._turns) < PAGES and size < BYTES
