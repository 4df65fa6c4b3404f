"""The real loop, bucket and retry over an API and a store in memory, on a clock that jumps."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from syncd.config.settings import BudgetSettings
from syncd.errors import SyncdError
from syncd.sync import events
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.ledger import Ledger
from syncd.sync.limits import Limits
from syncd.sync.model import Committed, StreamId, Table
from syncd.sync.retry import Retry
from syncd.sync.stream import run_cycle
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits
from syncd.testing import FakeApi, FakeSource, FakeStore

CAMPAIGNS = StreamId(source="ads", stream="campaigns")

TABLE = Table(
    schema="public",
    name="campaigns",
    columns={"id": "text", "name": "text", "budget": "numeric", "synced_at": "timestamptz"},
    key=("id",),
    kept=frozenset({"synced_at"}),
)


@attrs.define(eq=False, kw_only=True)
class World:
    """An API, a database, and processes that come and go."""

    api: FakeApi = attrs.field(factory=FakeApi)
    store: FakeStore = attrs.field(factory=FakeStore)
    source: FakeSource = attrs.field(init=False)
    table: Table = TABLE
    requests: int | None = 10
    retries: int = 5
    concurrency: int = 5
    only_changed: bool = False
    reconcile: float | None = None
    full: float | None = 0.0
    seed: int = 1
    heard: list[events.Event] = attrs.field(factory=list, init=False)
    waits: Waits = attrs.field(factory=Waits, init=False)

    def __attrs_post_init__(self) -> None:
        self.source = FakeSource(api=self.api)
        self.api.limit = self.requests

    @asynccontextmanager
    async def process(self) -> AsyncIterator[StreamContext]:
        """One life of syncd: takes the lease, runs the bucket, and leaves without a word."""
        self.waits = Waits()
        if self.requests is None:
            budget = Limits([], Unlimited("ads", self.store))
        else:
            settings = BudgetSettings(name="ads", requests=self.requests, per=self.api.per)
            budget = Limits([TokenBucket(settings, self.store, self.source.timeout)])
        lease = await self.store.acquire_lease("ads")
        await budget.open()
        await self.store.open_stream(CAMPAIGNS, self.table, lease, every=900)
        stream = StreamContext(
            id=CAMPAIGNS,
            table=self.table,
            every=900,
            concurrency=self.concurrency,
            only_changed=self.only_changed,
            reconcile=self.reconcile,
            full=self.full,
            lease=lease,
            source=self.source,
            store=self.store,
            ledger=Ledger(self.store),
            budget=budget,
            retry=Retry(
                retries=self.retries,
                base=1.0,
                windows=(self.api.per,) if self.requests else (),
                budget=budget,
                waits=self.waits,
                rng=random.Random(self.seed),
            ),
            waits=self.waits,
            report=self.heard.append,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(budget.run)
            yield stream
            nursery.cancel_scope.cancel()

    async def cycle(self) -> Committed:
        """One life that runs one cycle."""
        async with self.process() as stream:
            try:
                return await run_cycle(stream)
            except SyncdError as error:
                trouble = error
        raise trouble  # bare, not in the nursery's group

    @property
    def rows(self) -> dict[str, dict[str, object]]:
        """The table, by campaign id."""
        rows = self.store.tables[("public", "campaigns")]
        return {str(row["id"]): row for row in rows.values()}

    def pages_asked(self) -> list[int]:
        """The pages that were asked for, in order."""
        return [int(a.what.split()[1]) for a in self.api.asked if a.what.startswith("page")]


@pytest.fixture
def world() -> World:
    """25 campaigns, 10 on a page, 10 requests in any minute."""
    world = World()
    world.api.fill(25)
    return world
