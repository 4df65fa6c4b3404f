"""The real supervisor, runners, buckets and loop over APIs and a store in memory."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.config.settings import BudgetSettings
from syncd.daemon.runner import Runner
from syncd.daemon.supervisor import Supervisor
from syncd.schedule import Schedule
from syncd.sync import events
from syncd.sync.breaker import Breaker
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.ledger import Ledger
from syncd.sync.limits import Limits
from syncd.sync.model import StreamId, Table
from syncd.sync.retry import Retry
from syncd.sync.waits import Waits
from syncd.testing import FakeApi, FakeSource, FakeStore


@attrs.define(eq=False, kw_only=True)
class Life:
    """One life of a daemon."""

    fleet: "Fleet"
    supervisor: Supervisor
    waits: Waits
    budgets: dict[str, TokenBucket] = attrs.field(factory=dict)
    breakers: dict[str, Breaker] = attrs.field(factory=dict)

    def context(
        self,
        stream: StreamId,
        *,
        every: float = 900.0,
        schedule: Schedule | None = None,
        version: str = "1",
        has_call: bool = True,
        waits: Waits | None = None,
    ) -> StreamContext:
        """A stream with these settings; `version` stands for all that a cursor hangs on."""
        fleet = self.fleet
        waits = waits or Waits(self.waits)
        budget = Limits([self.budgets[stream.source]])
        return StreamContext(
            id=stream,
            table=fleet.table(stream),
            every=every,
            schedule=schedule,
            concurrency=5,
            lease=self.supervisor.leases[stream.source],
            source=FakeSource(api=fleet.apis[stream], has_call=has_call, version=version),
            store=fleet.store,
            ledger=Ledger(fleet.store),
            budget=budget,
            retry=Retry(
                retries=5,
                base=1.0,
                windows=(fleet.per,),
                budget=budget,
                waits=waits,
                rng=fleet.rng,
            ),
            breaker=self.breakers.setdefault(stream.source, Breaker(rng=fleet.rng)),
            waits=waits,
            report=fleet.hear,
        )

    async def open_source(self, source: str) -> None:
        """Its lease and its budget, as `app` does it."""
        fleet = self.fleet
        self.supervisor.leases[source] = await fleet.store.acquire_lease(source)
        self.supervisor.sources.add(source)
        settings = BudgetSettings(name=source, requests=fleet.requests, per=fleet.per)
        budget = TokenBucket(settings, fleet.store, 15.0)
        await budget.open()
        self.budgets[source] = budget
        self.supervisor.serve(budget)

    def start(self, stream: StreamId, *, stagger: float = 0.0, **settings: object) -> Runner:
        context = self.context(stream, **settings)  # type: ignore[arg-type]  # as above
        runner = Runner(stream=context, rng=self.fleet.rng, stagger=stagger)
        self.supervisor.start(runner)
        return runner


@attrs.define(eq=False, kw_only=True)
class Fleet:
    """APIs, a database, and daemons that come and go."""

    requests: int = 10
    per: float = 60.0
    seed: int = 1
    store: FakeStore = attrs.field(factory=FakeStore)
    apis: dict[StreamId, FakeApi] = attrs.field(factory=dict)
    heard: list[tuple[float, events.Event]] = attrs.field(factory=list, init=False)
    listeners: list[Callable[[events.Event], None]] = attrs.field(factory=list, init=False)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def table(self, stream: StreamId) -> Table:
        return Table(
            schema=stream.source,
            name=stream.stream,
            columns={"id": "text", "name": "text", "budget": "numeric", "synced_at": "timestamptz"},
            key=("id",),
            kept=frozenset({"synced_at"}),
        )

    def has(self, stream: StreamId, records: int) -> FakeApi:
        """An API for the stream, whose limit is the fleet's."""
        api = self.apis[stream] = FakeApi(limit=self.requests, per=self.per)
        api.fill(records)
        return api

    def hear(self, event: events.Event) -> None:
        self.heard.append((trio.current_time(), event))
        for listener in list(self.listeners):
            listener(event)

    async def until(self, wanted: Callable[[events.Event], bool], within: float = 1e7) -> None:
        """Wait for an event that is still to come."""
        there = trio.Event()

        def listen(event: events.Event) -> None:
            if wanted(event):
                there.set()

        self.listeners.append(listen)
        try:
            with trio.fail_after(within):
                await there.wait()
        finally:
            self.listeners.remove(listen)

    async def becomes(self, true: Callable[[], object], within: float = 1000.0) -> None:
        """Wait until that is so; for what no event tells."""
        with trio.fail_after(within):
            while True:
                if true():
                    return
                await trio.sleep(0.1)

    async def cycles(self, stream: StreamId, count: int) -> None:
        """Wait until so many cycles of the stream have ended."""
        while len(self.ended(stream)) < count:
            await self.until(lambda e: isinstance(e, events.CycleEnded))

    @asynccontextmanager
    async def life(self, *sources: str) -> AsyncIterator[Life]:
        """One daemon, until the block ends; then it drains."""
        waits = Waits()
        supervisor = Supervisor(store=self.store, waits=waits, drain=30.0)
        life = Life(fleet=self, supervisor=supervisor, waits=waits)
        for source in sources:
            await life.open_source(source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, supervisor)
            yield life
            supervisor.stop()
        await self.store.release_leases(list(supervisor.leases.values()))

    def rows(self, stream: StreamId) -> dict[str, dict[str, object]]:
        table = self.table(stream)
        return {
            str(row["id"]): row for row in self.store.tables[(table.schema, table.name)].values()
        }

    def ended(self, stream: StreamId) -> list[events.CycleEnded]:
        return [e for _, e in self.heard if isinstance(e, events.CycleEnded) and e.stream == stream]


async def _run(supervisor: Supervisor) -> None:
    await supervisor.run(forever=True)
