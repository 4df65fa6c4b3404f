"""What stands on a source's lease while its API is failing."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from syncd.daemon.posting import AGAIN, Posting
from syncd.errors import ApiUnavailable
from syncd.sync.breaker import LEAST, Breaker
from syncd.sync.model import Lease
from syncd.sync.ports import ApiFailing
from syncd.sync.waits import Waits
from syncd.testing import FakeStore

Clock = trio.testing.MockClock


@attrs.define(eq=False, kw_only=True)
class Posted:
    store: FakeStore = attrs.field(factory=FakeStore)
    breaker: Breaker = attrs.field(factory=lambda: Breaker(rng=random.Random(1)))
    lease: Lease | None = None

    def there(self) -> ApiFailing | None:
        return self.store.leases["ads"].failing

    async def ends(self, *errors: Exception | None) -> None:
        """Attempts that end so."""
        for error in errors:
            try:
                async with self.breaker.attempt(
                    waits=Waits(),
                    until=Waits(),
                    patience=float("inf"),
                    on_wait=lambda *_: None,
                    tell=lambda _: None,
                ):
                    if error is not None:
                        raise error
            except ApiUnavailable:
                pass
        await trio.testing.wait_all_tasks_blocked()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.lease = await self.store.acquire_lease("ads")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Posting(self.breaker, self.store, lambda: self.lease).run)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
def posted() -> Posted:
    return Posted()


DOWN = [ApiUnavailable(f"503 number {n}") for n in range(1, LEAST + 1)]


async def test_it_is_posted_when_it_opens_at_each_probe_and_when_it_closes(
    posted: Posted, autojump_clock: Clock
) -> None:
    """contained: `status` tells since when, why, and when the next probe is due."""
    async with posted.running():
        await posted.ends(*DOWN[1:])
        assert posted.there() is None
        await posted.ends(DOWN[0])
        opened = posted.there()
        assert opened is not None
        assert opened.reason == "503 number 1"
        await posted.ends(DOWN[4])
        probed = posted.there()
        assert probed is not None
        assert probed.reason == "503 number 5"
        assert probed.next_probe > opened.next_probe
        assert probed.since == opened.next_probe
        await posted.ends(None)
        assert posted.there() is None


async def test_a_postgres_that_is_away_is_told_later_and_only_the_last_state(
    posted: Posted, autojump_clock: Clock
) -> None:
    """contained: nothing is lost but what is over."""
    async with posted.running():
        posted.store.away = True
        await posted.ends(*DOWN)
        assert posted.there() is None
        posted.store.away = False
        await trio.sleep(AGAIN)
        await trio.testing.wait_all_tasks_blocked()
        assert posted.there() is not None


async def test_without_a_lease_nothing_is_posted(posted: Posted, autojump_clock: Clock) -> None:
    """contained: a source that was given back is no longer ours to speak of."""
    async with posted.running():
        posted.lease = None
        await posted.ends(*DOWN)
        assert posted.there() is None
