"""The side door's way to Postgres: one thing at a time, so that the streams have the rest.

The store has a few connections for all.  Whoever asks through the door waits in a line for one
place of its own; not for ever, not in a crowd, and what many ask at once is looked up once.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import trio

from syncd.errors import StoreUnavailable

T = TypeVar("T")

PATIENCE = 10.0  # seconds that a request waits for its turn and for Postgres
CROWD = 16  # requests that wait at once
KEPT = 1.0  # seconds for which the answer to a question answers the same one again
MOST_KEPT = 32  # of such answers

NOT_YET = "Postgres can't be asked yet"
LEAVING = "syncd is leaving"


class Crowded(Exception):
    """Too many wait already."""


@attrs.define(eq=False)
class _Errand:
    """One thing to be done, until it is."""

    work: Callable[[], Awaitable[Any]]
    result: Any = None
    error: Exception | None = attrs.field(factory=lambda: StoreUnavailable(LEAVING))
    """What it came to; this one if nobody gets to it."""

    done: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Desk:
    """Does what needs Postgres, while the store is open."""

    closed: str = NOT_YET
    """Why nothing can be asked; empty if it can."""

    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _place: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _waiting: int = attrs.field(default=0, init=False)
    _kept: dict[tuple[object, ...], tuple[float, _Errand]] = attrs.field(factory=dict, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery, self.closed = nursery, ""
                await trio.sleep_forever()
        finally:
            self._nursery, self.closed = None, LEAVING

    async def one_at_a_time(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it in the caller's own task, when it is its turn."""
        async with self._place:
            return await work()

    async def do(self, work: Callable[[], Awaitable[T]], doubt: str = "") -> T:
        """Do it, and raise what it raises.

        doubt: what is to be said as well to who waited in vain.

        Raises StoreUnavailable as well if it takes too long: it may be done all the same, as
        what has begun in Postgres is never cancelled.  Crowded if too many wait.
        """
        result: T = await self._done(self._begun(work), doubt)
        return result

    def _begun(self, work: Callable[[], Awaitable[Any]]) -> _Errand:
        if self._nursery is None:
            raise StoreUnavailable(self.closed)
        if self._waiting >= CROWD:
            raise Crowded
        errand = _Errand(work)
        self._waiting += 1
        self._nursery.start_soon(self._see_to, errand)
        return errand

    async def _done(self, errand: _Errand, doubt: str = "") -> Any:
        if not errand.done.is_set():  # trio would remember the deadline until it is over
            with trio.move_on_after(PATIENCE):
                await errand.done.wait()
        if not errand.done.is_set():
            raise StoreUnavailable(f"Postgres has not answered within {PATIENCE:.0f} s{doubt}")
        if errand.error is not None:
            raise errand.error
        return errand.result

    def knows(self, question: tuple[object, ...]) -> bool:
        """Whether `look` need not ask Postgres for this: it has asked a moment ago."""
        at, _ = self._kept.get(question, (-math.inf, None))
        return trio.current_time() - at < KEPT

    async def look(self, question: tuple[object, ...], work: Callable[[], Awaitable[T]]) -> T:
        """The same for what only reads: one answer serves all who ask within a second."""
        if not self.knows(question):
            while len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[question] = (trio.current_time(), self._begun(work))
        _, errand = self._kept[question]
        result: T = await self._done(errand)
        return result

    async def _see_to(self, errand: _Errand) -> None:
        try:
            errand.result = await self.one_at_a_time(errand.work)
            errand.error = None
        except Exception as error:  # noqa: BLE001 - raised again, by whoever waits for it
            errand.error = error
        finally:
            self._waiting -= 1
            errand.done.set()
