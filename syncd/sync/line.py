"""Which pages are under way at once?  Turns of one cycle, in the order in which they are committed.

Three kinds of stream differ here.  Where records have calls, the next page is fetched and its
calls are begun while the last ones of this page are in flight.  Where no limit counts what the
list costs, pages are fetched while Postgres is busy with those before them; what has come until
it is done is committed together.  Else a page is fetched when the one before it is committed:
the budget decides how fast that goes, and a death costs no more than one page's request.
"""

import itertools
from collections import deque
from collections.abc import Sequence

import attrs
import trio

from syncd.sync.context import StreamContext
from syncd.sync.turn import Turn

ABREAST = 4  # requests for pages under way at once, at most
PAGES = 32  # that are asked for, and not committed
BYTES = 2 * 1024 * 1024  # of their answers, from which on no further one is asked for


@attrs.define(eq=False, kw_only=True)
class Line:
    """The turns that have been begun and are not committed."""

    stream: StreamContext
    nursery: trio.Nursery
    foresees: bool = True
    """Pages may be asked for before the one before them has come."""

    _turns: deque[Turn] = attrs.field(factory=deque, init=False)
    _last: Turn | None = attrs.field(default=None, init=False)
    """The one that was begun last, committed or not."""

    _come: Turn | None = attrs.field(default=None, init=False)
    """The last one whose page has come."""

    def begin(self, turn: Turn) -> None:
        """Have it run, and those that may be under way with it."""
        self._turns.append(turn)
        self._last = turn
        self.nursery.start_soon(self._run, turn)

    async def _run(self, turn: Turn) -> None:
        self.nursery.start_soon(turn.run)
        await turn.begun.wait()
        if turn.page is not None:
            self._come = turn
        if turn.page is None or turn.tries > 1:
            self.foresees = False  # the API is at its limits, or ill, or its list another one
        self._go_ahead()

    async def ready(self) -> Sequence[Turn]:
        """Those that can be committed together now: the first, as soon as it is ready, and more.

        Raises what keeps the first from it.  A page that puts records aside stands alone: so
        many of them may be too many.
        """
        first = self._turns[0]
        committing, size = [first], _size(first)
        if not (await first.ready()).dead and self._is_free:
            # No more than half of what there is room for, so that the other half can come.
            for turn in itertools.islice(self._turns, 1, PAGES // 2):
                size += _size(turn)
                # Not awaited: for each of them others would be let run first.
                if turn.prepared is None or turn.prepared.dead or size > BYTES // 2:
                    break
                committing.append(turn)
        return committing

    def committed(self, turns: Sequence[Turn]) -> None:
        """They are done with."""
        for _ in turns:
            self._turns.popleft()
        self._drop_what_does_not_follow(turns[-1])
        self._go_ahead()

    def _drop_what_does_not_follow(self, turn: Turn) -> None:
        """The list has become another one since its pages were guessed."""
        page = turn.page
        if page is None or not self._turns or self._turns[0].cursor == page.next_cursor:
            return
        while self._turns:
            self._turns.popleft().drop()
        self._last = self._come = turn
        self.foresees = False

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
        """Begin those that may be under way beside those before them."""
        while (following := self._following()) is not None:
            self.begin(following)

    def _following(self) -> Turn | None:
        last, stream = self._last, self.stream
        if last is None or not self._turns or stream.halt or stream.waits.ended:
            return None
        if last.begun.is_set():
            return last.following() if self._has_room(last) else None
        asked = sum(not turn.begun.is_set() for turn in self._turns)
        most = min(ABREAST, stream.source.connections)
        if not self.foresees or not self._is_free or asked >= most or self._come is None:
            return None
        return last.foreseen(self._come) if self._has_room(last) else None

    @property
    def _is_free(self) -> bool:
        return self.stream.is_free and not self.stream.source.has_call

    def _has_room(self, last: Turn) -> bool:
        if not self._is_free:
            return len(self._turns) == 1 and last.has_calls
        # What is on its way will be as long as what came last.
        come = 0 if self._come is None else _size(self._come)
        size = sum(come if turn.page is None else turn.page.size for turn in self._turns)
        return len(self._turns) < PAGES and size < BYTES


def _size(turn: Turn) -> int:
    return 0 if turn.page is None else turn.page.size
