"""Who runs the streams, and how do they all come to an end?

Two nurseries, both opened in `run` and kept there: one for what serves (tokens
that are settled, leases that are renewed), and inside it one for the streams, so
that whatever a stream still needs while it ends outlives it.

A stream that meets trouble parks or waits on its own; the others go on.  A bug (an
exception nobody named) ends the nursery and with it the process.
"""

import random
from collections.abc import Sequence

import attrs
import trio

from syncd.errors import Draining, StoreUnavailable, StreamBroken, SyncdError, TryAgain
from syncd.sync import events
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.model import Committed, Lease, StreamId
from syncd.sync.ports import Store
from syncd.sync.retry import backoff
from syncd.sync.stream import run_cycle
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits

RENEW = 10.0  # seconds between renewals; a lease lasts 30
PAUSE = 30.0  # seconds; the first wait after a cycle whose retries were used up
PAUSE_CAP = 900.0  # seconds

Result = Committed | SyncdError


@attrs.define(eq=False, kw_only=True)
class Supervisor:
    """Runs streams that were wired, once or until `stop`."""

    store: Store
    streams: Sequence[StreamContext]
    budgets: Sequence[TokenBucket | Unlimited]
    leases: Sequence[Lease]
    waits: Waits
    drain: float
    """On `stop`, requests in flight get so many seconds."""

    report: events.Report = events.nobody
    rng: random.Random = attrs.field(factory=random.Random)
    results: dict[StreamId, Result] = attrs.field(factory=dict)
    """What the last cycle of each stream came to."""

    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    asked_twice: bool = attrs.field(default=False, init=False)

    @property
    def cut(self) -> bool:
        """Something that was in flight had to be cut: by the drain's deadline, or as asked."""
        return self._scope.cancelled_caught

    def stop(self) -> None:
        """Leave: end all waits now, and cut what is still in flight when the time is over."""
        if not self.waits.ended:
            self._scope.deadline = trio.current_time() + self.drain
            self.waits.end()

    def cut_short(self) -> None:
        """Leave at once: somebody asked twice."""
        self.asked_twice = True
        self._scope.cancel()

    async def run(self, *, forever: bool) -> None:
        """Run one cycle of each stream, or cycle after cycle; returns when all have ended."""
        run_stream = self._cycle_after_cycle if forever else self._one_cycle
        async with trio.open_nursery() as serving:
            serving.start_soon(self._renew_leases)
            for budget in self.budgets:
                serving.start_soon(budget.run)
            with self._scope:
                async with trio.open_nursery() as streams:
                    for stream in self.streams:
                        streams.start_soon(run_stream, stream)
            serving.cancel_scope.cancel()

    async def _one_cycle(self, stream: StreamContext) -> None:
        try:
            self.results[stream.id] = await run_cycle(stream)
        except (TryAgain, StreamBroken, Draining) as error:
            self.results[stream.id] = error

    async def _cycle_after_cycle(self, stream: StreamContext) -> None:
        failures = 0
        while not self.waits.ended:
            try:
                await self._rest(stream)
                self.results[stream.id] = await run_cycle(stream)
                failures = 0
            except TryAgain as error:
                # The retries are used up, the checkpoint stands: later is soon enough.
                failures += 1
                pause = PAUSE / 2 + backoff(failures, base=PAUSE, cap=PAUSE_CAP, rng=self.rng)
                self.results[stream.id] = error
                self.report(events.Paused(stream=stream.id, seconds=pause, reason=str(error)))
                try:
                    await self.waits.sleep(pause)
                except Draining:
                    return
            except StreamBroken as error:
                self.results[stream.id] = error
                return
            except Draining:
                return

    async def _rest(self, stream: StreamContext) -> None:
        """Wait until the stream's next cycle is due; a cycle that was left is due at once."""
        checkpoint = await stream.retry.through_outages(
            lambda: stream.store.read_checkpoint(stream.id), stream.on_failure
        )
        if checkpoint.cycle is None and (checkpoint.next_start or 0) > 0:
            self.report(events.Resting(stream=stream.id, seconds=checkpoint.next_start or 0))
            await self.waits.sleep(checkpoint.next_start or 0)

    async def _renew_leases(self) -> None:
        while True:
            await trio.sleep(RENEW)
            try:
                await self.store.renew_leases(self.leases)
            except (StoreUnavailable, StreamBroken):
                continue  # it lasts for two more tries, and a commit checks the fence itself
