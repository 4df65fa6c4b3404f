"""Who runs the streams, and how do they all come to an end?

Two nurseries, both opened in `run` and kept there: one for what serves (tokens
that are settled, leases that are renewed), and inside it one for the streams, so
that whatever a stream still needs while it ends outlives it.

A stream that meets trouble parks or waits on its own; the others go on.  A bug (an
exception nobody named) ends them all, in order: what the others have in flight is awaited
and committed, then it is raised.
"""

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import attrs
import trio

from syncd.daemon.runner import Result, Runner
from syncd.errors import Draining, LeaseHeld, StoreUnavailable, StreamBroken
from syncd.sync.clocks import Stopwatch
from syncd.sync.model import Lease, StreamId
from syncd.sync.ports import Store
from syncd.sync.waits import Waits

RENEW = 10.0  # seconds between renewals; a lease lasts 30
LOOK = 60.0  # seconds; so often it is looked whether the machine was suspended …
ASLEEP = 1.0  # … for so many seconds or more


class Service(Protocol):
    """What serves the streams and outlives them."""

    async def run(self) -> None:
        """Until it is cancelled."""


@attrs.define(eq=False, kw_only=True)
class Supervisor:
    """Runs streams that were wired, once or until `stop`."""

    store: Store
    waits: Waits
    drain: float
    """On `stop`, requests in flight get so many seconds."""

    runners: dict[StreamId, Runner] = attrs.field(factory=dict)
    leases: dict[str, Lease] = attrs.field(factory=dict)
    """By source."""

    sources: set[str] = attrs.field(factory=set)
    """Those that the config has: their leases are kept."""

    asked_twice: bool = attrs.field(default=False, init=False)
    _bugs: list[Exception] = attrs.field(factory=list, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _serving: trio.Nursery | None = attrs.field(default=None, init=False)
    _streams: trio.Nursery | None = attrs.field(default=None, init=False)
    _services: list[Service] = attrs.field(factory=list, init=False)

    @property
    def results(self) -> dict[StreamId, Result]:
        """What the last cycle of each stream came to."""
        return {i: r.result for i, r in self.runners.items() if r.result is not None}

    @property
    def cut(self) -> bool:
        """Something that was in flight had to be cut: by the drain's deadline, or as asked."""
        return self._scope.cancelled_caught

    def stop(self) -> None:
        """Leave: end all waits now, and cut what is still in flight when the time is over."""
        if not self.waits.ended:
            self._scope.deadline = trio.current_time() + self.drain
            self.waits.end()
            for runner in self.runners.values():
                runner.notice()

    def cut_short(self) -> None:
        """Leave at once: somebody asked twice."""
        self.asked_twice = True
        self._scope.cancel()
        self.store.hurry()

    def serve(self, service: Service) -> None:
        """Run what the streams need, such as a budget, for as long as we run."""
        self._services.append(service)
        if self._serving is not None:
            self._serving.start_soon(service.run)

    def start(self, runner: Runner) -> None:
        """Run a stream from now on, or as soon as we run."""
        self.runners[runner.id] = runner
        if self._streams is not None:
            self._streams.start_soon(self._run_to_its_end, runner)

    async def run(
        self, *, forever: bool, afterwards: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Run one cycle of each stream, or cycle after cycle; returns when all have ended.

        afterwards: done with what they leave, unless we were asked to leave.
        """
        async with trio.open_nursery() as serving:
            self._serving = serving
            serving.start_soon(self._renew_leases)
            serving.start_soon(self._watch_for_suspends)
            serving.start_soon(self._hurry_in_the_end)
            for service in self._services:
                serving.start_soon(service.run)
            with self._scope:
                async with trio.open_nursery() as streams:
                    if forever:
                        self._streams = streams
                        # Streams come and go with the config; we end when we are told to.
                        streams.start_soon(self._until_told)
                    run = self._run_to_its_end if forever else self._run_once
                    for runner in list(self.runners.values()):
                        streams.start_soon(run, runner)
                if afterwards is not None and not self.waits.ended:
                    await afterwards()
            # What still waits for Postgres is of no stream: a moment is enough for it.
            self.store.hurry()
            serving.cancel_scope.cancel()
        if self._bugs:
            raise ExceptionGroup("a stream", self._bugs) if self._bugs[1:] else self._bugs[0]

    async def _until_told(self) -> None:
        with suppress(Draining):
            await self.waits.sleep(math.inf)

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """A bug of one stream: the others end in order, and then it is raised."""
        try:
            yield
        except Exception as bug:  # noqa: BLE001 - nobody named it, and nobody swallows it
            self._bugs.append(bug)
            self.stop()

    async def _run_once(self, runner: Runner) -> None:
        with self._in_order():
            await runner.run_once()

    async def _run_to_its_end(self, runner: Runner) -> None:
        with self._in_order():
            await runner.run()
        if runner.retired and self.runners.get(runner.id) is runner:
            del self.runners[runner.id]
            gone = runner.id.source not in self.sources
            if gone and not any(i.source == runner.id.source for i in self.runners):
                await self._release(runner.id.source)

    async def _release(self, source: str) -> None:
        """Nobody here runs the source any more."""
        lease = self.leases.pop(source)
        with suppress(StoreUnavailable, StreamBroken):  # else it runs out by itself
            await self.store.release_leases([lease])

    async def _hurry_in_the_end(self) -> None:
        """No thread that waits for Postgres can be cancelled; its wait is cut instead."""
        with suppress(Draining):
            await self.waits.sleep(math.inf)
        await trio.sleep_until(self._scope.deadline)
        self.store.hurry()

    async def _watch_for_suspends(self) -> None:
        """Our clock stands still while the machine is suspended; one looks for all that rest."""
        while True:
            watch = Stopwatch()
            await trio.sleep(LOOK)
            if watch.suspended >= ASLEEP:
                for runner in self.runners.values():
                    runner.look_at_the_clock()

    async def _renew_leases(self) -> None:
        while True:
            await trio.sleep(RENEW)
            await self.renew()

    async def renew(self) -> None:
        """Renew all leases with one statement, if Postgres is there."""
        with suppress(StoreUnavailable, StreamBroken):
            # They last for two more tries, and a commit checks the fence itself.
            await self._renew()

    async def _renew(self) -> None:
        held = list(self.leases.values())
        kept = set(await self.store.renew_leases(held))
        for lost in (lease for lease in held if lease not in kept):
            await self._take_back(lost)

    async def _take_back(self, lost: Lease) -> None:
        """Somebody else has run the source, and has parked its streams here by that.

        As soon as that one is gone, we go on: of two daemons one is always there.
        """
        if self.leases.get(lost.source) != lost:
            return  # it was given back meanwhile
        try:
            lease = await self.store.acquire_lease(lost.source)
        except LeaseHeld:
            return
        self.leases[lost.source] = lease
        for runner in self.runners.values():
            if runner.id.source == lost.source:
                runner.hold(lease)
