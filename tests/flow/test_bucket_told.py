"""The token bucket and an API that says what is left of its own limit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from syncd.config.settings import BudgetSettings
from syncd.errors import StoreUnavailable
from syncd.sync.bucket import TokenBucket
from syncd.sync.limits import Limits
from syncd.sync.ports import Quota
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits
from syncd.testing import FakeStore

Clock = trio.testing.MockClock

PER = 60.0


@attrs.define(eq=False)
class Counting(FakeStore):
    """Counts the statements that are made of what the API said."""

    notes: int = 0

    async def note_quota(self, budget: str, *args: object, **of: object) -> None:
        self.notes += 1
        await super().note_quota(budget, *args, **of)  # type: ignore[arg-type]  # passed on


@attrs.define(eq=False)
class FixedWindows:
    """An API that counts by the minute, for whoever comes, and says what is left."""

    limit: int = 10
    used: int = 0
    refused: int = 0
    served: list[float] = attrs.field(factory=list)
    _window: int = -1

    def use(self, many: int = 1) -> Quota:
        """So many requests arrive; what the last one is told."""
        window, into = divmod(trio.current_time(), PER)
        if window != self._window:
            self._window, self.used = int(window), 0
        self.refused += max(0, self.used + many - self.limit) - max(0, self.used - self.limit)
        self.used += many
        # In whole seconds, as it is usual: rounded up.
        ends = -(-(PER - into) // 1)
        return Quota(left=max(0, self.limit - self.used), seconds=ends, limit=self.limit)


@asynccontextmanager
async def process(store: FakeStore, requests: int = 10) -> AsyncIterator[TokenBucket]:
    bucket = TokenBucket(BudgetSettings(name="ads", requests=requests, per=PER), store, 15.0)
    await bucket.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bucket.run)
        yield bucket
        nursery.cancel_scope.cancel()


async def request(
    budget: TokenBucket | Unlimited, answer: Quota | FixedWindows, takes: float = 0.1
) -> float:
    """One request, counted as it arrives; returns when that was."""
    limits = Limits([budget]) if isinstance(budget, TokenBucket) else Limits([], budget)
    permits = limits.permit(lease=None, spent_on="a test", waits=Waits())
    async with permits as permit:
        await permit.spend()
        await permit.confirm()
        permit.written()
        arrived = trio.current_time()
        quota = answer.use() if isinstance(answer, FixedWindows) else answer
        await trio.sleep(takes)
        permit.answered()
        permit.told([quota])
    return arrived


async def seconds_of(budget: TokenBucket | Unlimited, answer: Quota) -> float:
    started = trio.current_time()
    return await request(budget, answer, 0.01) - started


PLENTY = Quota(left=1000, seconds=30)


async def test_with_nothing_left_nobody_sends_until_the_end(autojump_clock: Clock) -> None:
    """budget: before a request is refused, and in a process that was not told as well."""
    store = FakeStore()
    async with process(store) as mine, process(store) as other:
        await request(mine, Quota(left=0, seconds=40))
        assert mine.held
        assert mine.outlook(1) == pytest.approx(40)
        await trio.testing.wait_all_tasks_blocked()
        assert await seconds_of(other, PLENTY) == pytest.approx(40)
    async with process(store) as later:
        assert await seconds_of(later, PLENTY) == 0


async def test_it_is_known_to_the_next_request_of_the_same_moment(autojump_clock: Clock) -> None:
    """budget: who asks for a token while the answer is being read does not slip through."""
    store = FakeStore()
    async with process(store) as bucket:
        await request(bucket, Quota(left=0, seconds=40))
        # Without a pause in which `run` could have told the store.
        assert await seconds_of(bucket, PLENTY) == pytest.approx(40)


async def test_with_few_left_no_more_than_those_are_sent(autojump_clock: Clock) -> None:
    """budget: though the bucket has more, and though their own stretch is over sooner."""
    async with process(FakeStore()) as bucket:
        await request(bucket, Quota(left=3, seconds=3600))
        for left in (2, 1):
            assert await seconds_of(bucket, Quota(left=left, seconds=3600)) == 0
        sent = await seconds_of(bucket, Quota(left=500, seconds=3600))
        assert sent == 0, "the third of three"
        assert await seconds_of(bucket, PLENTY) == 0, "and more is left again"


async def test_answers_that_never_come_use_up_what_is_left(autojump_clock: Clock) -> None:
    """budget: nobody says then how it stands, and it is taken as used."""
    async with process(FakeStore()) as bucket:
        await request(bucket, Quota(left=2, seconds=3600))
        began = trio.current_time()
        for _ in range(3):
            async with Limits([bucket]).permit(
                lease=None, spent_on="lost", waits=Waits()
            ) as permit:
                await permit.spend()
                await permit.confirm()
                permit.written()
        assert trio.current_time() - began == pytest.approx(3600, abs=1)


async def test_an_api_that_has_more_left_changes_nothing(autojump_clock: Clock) -> None:
    """budget: it never raises what the file allows, and costs no statement."""
    store = Counting()
    async with process(store, requests=3) as bucket:
        for _ in range(3):
            await request(bucket, PLENTY)
        assert await seconds_of(bucket, PLENTY) == pytest.approx(PER, abs=1)
        assert store.notes == 0


@pytest.mark.parametrize("into", [0.2, 17.3])
async def test_an_api_that_only_we_use_costs_no_statement(
    into: float, autojump_clock: Clock
) -> None:
    """budget: what it says is left is what we know ourselves, though it rounds its end up."""
    store, api = Counting(), FixedWindows()
    await trio.sleep(into)
    async with process(store) as bucket, trio.open_nursery() as workers:

        async def work() -> None:
            for _ in range(12):
                await request(bucket, api, takes=2.0)

        for _ in range(5):
            workers.start_soon(work)
    assert api.refused == 0
    assert store.notes == 0
    # 60 requests need five whole stretches and the answers.
    assert trio.current_time() - into < 5 * 60.06 + 6


async def test_somebody_else_spends_from_the_same_quota_and_nobody_is_refused(
    autojump_clock: Clock,
) -> None:
    """budget: what others take is learned from each answer, and the next window is used again."""
    store, api = Counting(), FixedWindows()
    async with process(store) as bucket:
        for _ in range(5):
            await trio.sleep(-trio.current_time() % PER + 0.01)
            api.use(6)
            for _ in range(6):
                with trio.move_on_after(20):
                    await request(bucket, api)
    assert api.refused == 0
    assert api.used == 10, "all that was left was used"
    assert store.notes > 0


async def test_answers_that_come_in_another_order_are_taken_in_that_of_their_requests(
    autojump_clock: Clock,
) -> None:
    """budget: a slow answer says how it stood long ago."""
    async with process(FakeStore()) as bucket, trio.open_nursery() as nursery:
        nursery.start_soon(request, bucket, Quota(left=9, seconds=600), 5.0)
        await trio.sleep(0.5)
        await request(bucket, Quota(left=1, seconds=600))
        await trio.sleep(6)
        began = trio.current_time()
        async with Limits([bucket]).permit(lease=None, spent_on="last", waits=Waits()) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
        assert trio.current_time() == began
        assert await seconds_of(bucket, PLENTY) > 500


async def test_a_store_that_is_away_hears_of_it_later(autojump_clock: Clock) -> None:
    """budget: and as long as it is away no token can be had."""
    store = FakeStore()
    async with process(store) as bucket:
        async with Limits([bucket]).permit(lease=None, spent_on="a test", waits=Waits()) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            permit.answered()
            await trio.sleep(1)
            store.away = True
            permit.told([Quota(left=0, seconds=100)])
        with pytest.raises(StoreUnavailable):
            await request(bucket, PLENTY)
        store.away = False
        await trio.sleep(30)
        assert store.budgets["ads"].held_until == pytest.approx(trio.current_time() + 70)


async def test_a_source_without_a_budget_waits_when_nothing_is_left(autojump_clock: Clock) -> None:
    """budget: there are no tokens to lower; the hold is kept, and outlives a restart."""
    store = FakeStore()
    budget = Unlimited("ads", store)
    await budget.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.run)
        await request(budget, Quota(left=1, seconds=40))
        before = budget.held
        await request(budget, Quota(left=0, seconds=40))
        assert (before, budget.held) == (False, True)
        await trio.testing.wait_all_tasks_blocked()
        again = Unlimited("ads", store)
        await again.open()
        assert await seconds_of(again, PLENTY) == pytest.approx(40)
        nursery.cancel_scope.cancel()


async def test_a_waiter_that_is_cancelled_leaves_it_to_others(autojump_clock: Clock) -> None:
    """budget: what an answer said is not lost with who was about to tell it to the store."""

    class Slow(FakeStore):
        async def note_quota(self, budget: str, *args: object, **of: object) -> None:
            await trio.sleep(1)
            await super().note_quota(budget, *args, **of)  # type: ignore[arg-type]  # passed on

    store = Slow()
    async with process(store) as bucket:
        async with Limits([bucket]).permit(lease=None, spent_on="x", waits=Waits()) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            permit.answered()
            await trio.sleep(1)
            permit.told([Quota(left=0, seconds=100)])
        for _ in range(3):
            with trio.move_on_after(0.1):
                await request(bucket, PLENTY)
        await trio.sleep(5)
        # Later by what the statement took, never earlier.
        assert 101 <= store.budgets["ads"].held_until <= 103


@pytest.mark.parametrize("quotas", [[Quota(left=8, seconds=30), Quota(left=1, seconds=900)]])
async def test_of_several_the_one_with_the_fewest_left_counts(
    quotas: Sequence[Quota], autojump_clock: Clock
) -> None:
    """budget: a minute that has enough does not help where the day is used up."""
    async with process(FakeStore()) as bucket:
        async with Limits([bucket]).permit(lease=None, spent_on="a test", waits=Waits()) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            permit.answered()
            permit.told(quotas)
        assert await seconds_of(bucket, Quota(left=0, seconds=900)) == 0
        assert await seconds_of(bucket, PLENTY) == pytest.approx(900, abs=1)
