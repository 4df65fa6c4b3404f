"""The token bucket against a server that counts, on a clock that jumps."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.config.settings import BudgetSettings
from syncd.errors import Draining, StoreUnavailable
from syncd.sync.bucket import TokenBucket
from syncd.sync.limits import Limits
from syncd.sync.model import DRIFT
from syncd.sync.permit import TokenPermit
from syncd.sync.ports import Granted, NotYet, Taken
from syncd.sync.waits import Waits
from syncd.testing import FakeStore

Clock = trio.testing.MockClock

PER = 60.0
TIMEOUT = 15.0
SLACK = 0.25
TAKES = PER * DRIFT
HOURS = 5 * 3600.0


@asynccontextmanager
async def process(
    store: FakeStore, *, requests: int = 3, timeout: float = TIMEOUT
) -> AsyncIterator[TokenBucket]:
    """One process that opens the budget `ads`, and leaves in peace."""
    chosen = BudgetSettings(name="ads", requests=requests, per=PER, slack=SLACK)
    bucket = TokenBucket(chosen, store, timeout)
    await bucket.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bucket.run)
        yield bucket
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def permit_of(
    bucket: TokenBucket,
    waits: Waits | None = None,
    on_wait: Callable[[float], None] | None = None,
) -> AsyncIterator[TokenPermit]:
    permits = Limits([bucket]).permit(
        lease=None, spent_on="a test", waits=waits or Waits(), on_wait=on_wait
    )
    async with permits as permit:
        yield permit


async def request(bucket: TokenBucket, takes: float = 0.1) -> float:
    """Send one request that is answered after so long; returns when it was written."""
    async with permit_of(bucket) as permit:
        await permit.spend()
        await permit.confirm()
        permit.written()
        written = trio.current_time()
        await trio.sleep(takes)
        permit.answered()
    return written


async def empty(bucket: TokenBucket) -> None:
    """Spend all that the budget has, at this moment."""
    async with trio.open_nursery() as nursery:
        for _ in range(bucket.settings.requests):
            nursery.start_soon(request, bucket)


async def seconds(step: Callable[[], Awaitable[object]]) -> float:
    """How long a step takes."""
    started = trio.current_time()
    await step()
    return trio.current_time() - started


async def next_request(bucket: TokenBucket) -> float:
    """Seconds until the next request is written."""
    started = trio.current_time()
    return await request(bucket) - started


def free_in(store: FakeStore) -> list[float]:
    """Seconds until each token is free, by the store's clock."""
    now = trio.current_time() + store.clock_offset
    return sorted(t.free_at - now for t in store.budgets["ads"].tokens.values())


def free_tokens(store: FakeStore) -> int:
    return sum(left <= 0 for left in free_in(store))


# --- taking ------------------------------------------------------------------------------


async def test_those_who_wait_are_served_in_the_order_in_which_they_came(
    autojump_clock: Clock,
) -> None:
    """budget: nobody is overtaken, however long the line is."""
    served: list[int] = []

    async def wait_in_line(bucket: TokenBucket, number: int) -> None:
        await request(bucket)
        served.append(number)

    async with process(FakeStore(), requests=2) as bucket, trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(wait_in_line, bucket, number)
            await trio.sleep(0.01)
    assert served == list(range(9))


async def test_a_burst_is_followed_by_the_next_one_a_stretch_later(autojump_clock: Clock) -> None:
    """budget: all tokens taken at once are all there again `per` later, not `timeout` later."""
    async with process(FakeStore(), requests=3) as bucket:
        written: list[float] = []

        async def send() -> None:
            written.append(await request(bucket, takes=2.0))

        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(send)
    second, third = written[3] - written[0], written[6] - written[3]
    assert TAKES <= second <= TAKES + SLACK + 0.01
    assert TAKES <= third <= TAKES + SLACK + 0.01


async def test_a_burst_of_one_process_is_seen_by_another_that_waits(autojump_clock: Clock) -> None:
    """budget: a waiter that saw only tokens in flight looks again when they can be back."""
    store = FakeStore()
    async with process(store) as mine, process(store) as other, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(request, mine, 2.0)
        await trio.sleep(0.01)
        waited = await next_request(other)
    assert TAKES <= waited <= TAKES + 2 * SLACK


async def test_a_waiter_that_is_cancelled_costs_no_token(autojump_clock: Clock) -> None:
    """budget: giving up in line takes nothing from those behind."""
    store = FakeStore()
    async with process(store) as bucket:
        await empty(bucket)
        for _ in range(5):
            with trio.move_on_after(1):
                await request(bucket)
        await trio.sleep(PER)
        assert free_tokens(store) == 3
        assert await next_request(bucket) == 0


async def test_a_permit_that_was_never_used_to_write_gives_its_token_back(
    autojump_clock: Clock,
) -> None:
    """budget: a connection that could not be made costs nothing."""
    store = FakeStore()
    async with process(store) as bucket:
        for _ in range(10):
            async with permit_of(bucket) as permit:
                await permit.spend()
        assert free_tokens(store) == 3
        assert bucket.outlook(3) == 0


async def test_a_token_given_back_wakes_the_one_who_waits_for_it(autojump_clock: Clock) -> None:
    """budget: what one request did not need, the next one in line has at once."""
    store = FakeStore()
    async with process(store, requests=1) as bucket, trio.open_nursery() as nursery:

        async def connect_in_vain() -> None:
            async with permit_of(bucket) as permit:
                await permit.spend()
                await trio.sleep(3)

        nursery.start_soon(connect_in_vain)
        await trio.sleep(1)
        assert await next_request(bucket) == pytest.approx(2)


async def test_a_waiter_hears_how_long_it_waits(autojump_clock: Clock) -> None:
    """What `waiting for the budget` shows is when the next token really comes."""
    heard: list[float] = []
    async with process(FakeStore(), requests=1) as bucket:
        await empty(bucket)
        async with permit_of(bucket, on_wait=heard.append) as permit:
            took = await seconds(permit.spend)
    assert heard == [pytest.approx(took)]


# --- settling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered_after", "counts_after"), [(0.1, 0.1), (SLACK, SLACK), (2.0, SLACK), (14.0, SLACK)]
)
async def test_a_token_counts_from_the_answer_or_from_slack_after_the_writing(
    answered_after: float, counts_after: float, autojump_clock: Clock
) -> None:
    """budget: whichever is earlier, the server has counted the request by then."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        written = await request(bucket, takes=answered_after)
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        assert free_in(store) == [pytest.approx(written + counts_after + TAKES - now)]
        next_written = written + await _until(bucket, written)
    assert next_written == pytest.approx(written + counts_after + TAKES)


async def _until(bucket: TokenBucket, since: float) -> float:
    return await request(bucket) - since


async def test_a_request_that_is_never_answered_counts_from_slack_after_its_writing(
    autojump_clock: Clock,
) -> None:
    """budget: a connection lost after the writing costs its token and no more."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
        assert await next_request(bucket) == pytest.approx(SLACK + TAKES)


async def test_a_request_whose_writing_was_never_seen_counts_from_its_latest_moment(
    autojump_clock: Clock,
) -> None:
    """budget: it may have been written until its timeout, and be counted `slack` after."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
        assert await next_request(bucket) == pytest.approx(TIMEOUT + SLACK + TAKES)


async def test_a_process_that_dies_leaves_its_requests_counted_from_their_latest_moment(
    autojump_clock: Clock,
) -> None:
    """budget: what was in flight at a kill -9 is not refilled by the next start."""
    store = FakeStore()
    chosen = BudgetSettings(name="ads", requests=1, per=PER, slack=SLACK)
    dead = TokenBucket(chosen, store, TIMEOUT)
    await dead.open()
    async with permit_of(dead) as permit:
        await permit.spend()
        await permit.confirm()
        permit.written()
        permit.answered()
    async with process(store, requests=1) as bucket:  # `dead.run` never ran
        assert await next_request(bucket) == pytest.approx(TIMEOUT + SLACK + TAKES)


async def test_a_process_that_leaves_in_peace_settles_what_it_wrote(autojump_clock: Clock) -> None:
    """budget: a restart finds the tokens counted from the requests, not from the restart."""
    store = FakeStore()
    async with process(store) as bucket, permit_of(bucket) as permit:
        await permit.spend()
        await permit.confirm()
        permit.written()
    assert free_in(store)[-1] == pytest.approx(SLACK + TAKES)


async def test_an_old_token_is_given_back_and_spent_anew_before_writing(
    autojump_clock: Clock,
) -> None:
    """budget: a process that slept does not write on a token that is about to come back."""
    store = FakeStore()
    async with process(store) as bucket, permit_of(bucket) as permit:
        await permit.spend()
        first = permit.spending
        await trio.sleep(TIMEOUT / 2)
        await permit.confirm()
        assert permit.spending is first
    store = FakeStore()
    async with process(store) as bucket, permit_of(bucket) as permit:
        await permit.spend()
        first = permit.spending
        await trio.sleep(TIMEOUT / 2 + 0.01)
        await permit.confirm()
        assert permit.spending is not first
        assert permit.spending is not None
        assert permit.spending.age() < 1
        assert permit.sent == 1
        assert free_tokens(store) == 2, "the old one was given back"


async def test_what_an_attempt_waited_for_is_counted(autojump_clock: Clock) -> None:
    """budget: for the metrics, the waits that were cut short among them."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        async with permit_of(bucket) as first:
            await first.spend()
            assert first.waited == 0
            await first.confirm()
            first.written()
            first.answered()
        async with permit_of(bucket) as second:
            await second.spend()
            assert second.waited == pytest.approx(TAKES, abs=1)
            await second.confirm()
            second.written()
            second.answered()
        waits = Waits()
        async with permit_of(bucket, waits) as third:
            async with trio.open_nursery() as nursery:

                async def end() -> None:
                    await trio.sleep(5)
                    waits.end()

                nursery.start_soon(end)
                with pytest.raises(Draining):
                    await third.spend()
            assert third.waited == pytest.approx(5, abs=1)


async def test_a_store_that_is_away_while_settling_loses_nothing(autojump_clock: Clock) -> None:
    """budget: after an outage each token is free when its request says, not later."""
    store = FakeStore()
    async with process(store) as bucket:
        await trio.testing.wait_all_tasks_blocked()
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            store.away = True
            permit.written()
            written = trio.current_time()
            await trio.sleep(2)
            permit.answered()
            await trio.sleep(28)
        store.away = False
        await trio.sleep(20)
        left = written + SLACK + TAKES - trio.current_time()
        assert free_in(store)[-1] == pytest.approx(left)


async def test_a_store_that_is_away_for_a_day_does_not_end_the_bucket(
    autojump_clock: Clock,
) -> None:
    """However long Postgres is away, settling goes on when it is back."""
    store = FakeStore()
    async with process(store) as bucket:
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            store.away = True
            permit.written()
        await trio.sleep(24 * 3600)
        store.away = False
        await trio.sleep(20)
        assert free_tokens(store) == 3
        assert await next_request(bucket) == 0


# --- from answers ------------------------------------------------------------------------


async def test_after_a_refusal_tokens_count_from_the_answer_for_good(
    autojump_clock: Clock,
) -> None:
    """budget: a server that counts late is believed, by the next process too."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            await trio.sleep(0.1)
            permit.answered()
            permit.refused()
        await trio.sleep(PER + 1)
        written = await request(bucket, takes=5)
        assert await request(bucket) == pytest.approx(written + 5 + TAKES)
    assert store.budgets["ads"].from_answers
    async with process(store, requests=1) as later:
        assert later.from_answers
        written = await request(later, takes=7)
        assert await request(later) == pytest.approx(written + 7 + TAKES)


async def test_all_who_share_a_budget_learn_of_a_refusal(autojump_clock: Clock) -> None:
    """budget: a process that runs beside the refused one counts from answers as well."""
    store = FakeStore()
    async with process(store, requests=1) as one, process(store, requests=1) as other:
        async with permit_of(one) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            permit.answered()
            permit.refused()
        await one.hold_off(1.0)
        written = await request(other, takes=5)
        assert other.from_answers
        assert await request(other) == pytest.approx(written + 5 + TAKES)


@pytest.mark.parametrize("refused_after", [0.1, 2.0], ids=["not yet settled", "settled"])
async def test_a_refusal_holds_for_the_requests_in_flight_as_well(
    refused_after: float, autojump_clock: Clock
) -> None:
    """budget: what is not answered when a refusal comes counts from its answer."""
    store = FakeStore()
    async with process(store, requests=2) as bucket, trio.open_nursery() as nursery:
        nursery.start_soon(request, bucket, 9.0)
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            await trio.sleep(refused_after)
            permit.answered()
            permit.refused()
        await trio.sleep(10 - refused_after)
        assert free_in(store)[-1] == pytest.approx(9 + TAKES - 10)


async def test_a_refusal_is_remembered_although_the_store_was_away(autojump_clock: Clock) -> None:
    """budget: that a server counts late is stored as soon as Postgres is back, or at leaving."""
    store = FakeStore()
    async with process(store) as bucket:
        await trio.testing.wait_all_tasks_blocked()
        store.away = True
        bucket.refused()
        await trio.sleep(10)
        store.away = False
        await trio.sleep(20)
        assert store.budgets["ads"].from_answers
    store = FakeStore()
    async with process(store) as bucket:
        bucket.refused()
    assert store.budgets["ads"].from_answers


async def test_a_refusal_heard_while_tokens_are_being_settled_is_remembered(
    autojump_clock: Clock,
) -> None:
    """budget: news that comes during a statement is not lost when the statement ends."""

    class Slow(FakeStore):
        async def settle_tokens(
            self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
        ) -> None:
            await trio.sleep(1)
            await super().settle_tokens(budget, settlements)

    store = Slow()
    async with process(store) as bucket:
        await request(bucket)
        await trio.sleep(0.5)
        bucket.refused()
        await trio.sleep(5)
        assert store.budgets["ads"].from_answers


# --- shared, held, stepped ---------------------------------------------------------------


async def test_two_processes_share_one_budget(autojump_clock: Clock) -> None:
    """budget: a second host does not refill it, and either finds what the other left."""
    store = FakeStore()
    server = Server()
    async with process(store) as mine, process(store) as other, trio.open_nursery() as nursery:
        for bucket in (mine, other):
            for _ in range(6):
                nursery.start_soon(server.serve, bucket)
    assert server.most_in_a_window(PER) == 3
    assert len(server.counted) == 12
    assert max(server.counted) <= 3 * (TAKES + 2 * SLACK)


async def test_a_restart_does_not_refill_the_bucket(autojump_clock: Clock) -> None:
    """budget: the next process waits for what the last one spent."""
    store = FakeStore()
    async with process(store) as bucket:
        await empty(bucket)
    async with process(store) as bucket:
        assert await next_request(bucket) == pytest.approx(TAKES, abs=0.2)


@pytest.mark.parametrize("step", [HOURS, -HOURS, 30.0, -30.0])
async def test_a_step_of_the_stores_clock_neither_refills_nor_blocks(
    step: float, autojump_clock: Clock
) -> None:
    """budget: our own clock stands above a step of Postgres's clock, either way."""
    store = FakeStore()
    async with process(store) as bucket:
        written = await request(bucket)
        await empty_rest(bucket, 2)
        await trio.sleep(10)
        store.clock_offset = step
        again = await request(bucket)
        assert again == pytest.approx(written + 0.1 + TAKES, abs=0.3)
        await empty_rest(bucket, 2)
        assert await request(bucket) == pytest.approx(again + 0.1 + TAKES, abs=0.3)


async def empty_rest(bucket: TokenBucket, count: int) -> None:
    for _ in range(count):
        await request(bucket, takes=0.01)


@pytest.mark.parametrize("unsettled", [False, True])
async def test_a_store_that_forgot_what_was_spent_refills_nothing_here(
    autojump_clock: Clock, *, unsettled: bool
) -> None:
    """budget: after a failover that lost commits this process knows what it has spent.

    Also where the replica had the tokens' last use, but not when they were to be free.
    """
    store = FakeStore()
    async with process(store) as bucket:
        await empty(bucket)
        await trio.sleep(TAKES + TIMEOUT)
        replica = store.kept()
        for token in replica["budgets"]["ads"].tokens.values():
            token.free_at += 5.0 + TIMEOUT if unsettled else 0.0
        written = await request(bucket)
        await empty_rest(bucket, 2)
        store.go_back(replica)
        assert await request(bucket) == pytest.approx(written + 0.1 + TAKES, abs=0.3)


async def test_a_waiter_that_leaves_after_a_step_of_the_clock_frees_nothing_early(
    autojump_clock: Clock,
) -> None:
    """budget: to take a token that looks free and to leave it again does not make it free."""
    store = FakeStore()
    async with process(store, requests=1) as bucket:
        written = await request(bucket)
        await trio.sleep(5)
        store.clock_offset = HOURS
        with trio.move_on_after(5):
            await request(bucket)
        assert await request(bucket) == pytest.approx(written + 0.1 + TAKES, abs=0.3)


async def test_another_process_is_not_blocked_by_a_clock_that_was_stepped_back(
    autojump_clock: Clock,
) -> None:
    """budget: a token that was watched for longer than it can be in use is free."""
    store = FakeStore()
    async with process(store) as mine:
        await empty(mine)
    store.clock_offset = -HOURS
    async with process(store) as other:
        waited = await next_request(other)
    assert TAKES <= waited <= TIMEOUT + SLACK + TAKES + 0.1


async def test_a_hold_stops_all_who_share_the_budget_and_outlasts_a_restart(
    autojump_clock: Clock,
) -> None:
    """budget: a Retry-After of half an hour is kept by every process, old and new."""
    store = FakeStore()
    async with process(store) as mine, process(store) as other:
        await mine.hold_off(1800)
        assert mine.outlook(1) == pytest.approx(1800)
        with trio.move_on_after(600):
            await request(mine)
        assert await next_request(other) == pytest.approx(1200)
        await mine.hold_off(1800)
    async with process(store) as restarted:
        assert restarted.outlook(1) == pytest.approx(1800, abs=1)
        assert await next_request(restarted) == pytest.approx(1800, abs=1)


async def test_a_hold_that_is_ended_early_is_noticed(autojump_clock: Clock) -> None:
    """An operator who ends a hold need not restart anything."""
    store = FakeStore()
    async with process(store) as bucket, trio.open_nursery() as nursery:
        await bucket.hold_off(HOURS)
        nursery.start_soon(request, bucket)
        await trio.sleep(100)
        store.budgets["ads"].held_until = float("-inf")
        assert await next_request(bucket) <= 30


# --- the outlook -------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("taking", [0.01, 2.0])
async def test_the_outlook_is_when_the_requests_can_really_be_sent(
    ahead: int, taking: float, autojump_clock: Clock
) -> None:
    """The arrival time that a person reads is never late, and at most a little early."""
    async with process(FakeStore(), requests=3) as bucket, trio.open_nursery() as nursery:
        nursery.start_soon(request, bucket, taking)
        await trio.sleep(7)
        nursery.start_soon(request, bucket, taking)
        await trio.sleep(0.05)  # the second one is still in flight
        outlook, started = bucket.outlook(ahead), trio.current_time()
        written: list[float] = []

        async def send() -> None:
            written.append(await request(bucket, taking))

        for _ in range(ahead):
            nursery.start_soon(send)
    really = max(written) - started
    assert outlook <= really + 1e-6
    assert really - outlook <= SLACK * (1 + ahead / 3)


async def test_the_outlook_knows_what_another_process_spent(autojump_clock: Clock) -> None:
    """Tokens that others hold are counted as soon as they were seen."""
    store = FakeStore()
    async with process(store) as mine, process(store) as other:
        await request(mine)
        await trio.sleep(PER + 1)
        await empty(other)  # the token that we had before is theirs now
        with trio.move_on_after(1):
            await request(mine)
        expected = bucket_free(store)
        assert mine.outlook(1) == pytest.approx(expected, abs=SLACK)


def bucket_free(store: FakeStore) -> float:
    return free_in(store)[0]


# --- leaving -----------------------------------------------------------------------------


async def test_waits_for_the_budget_end_at_once_when_syncd_leaves(autojump_clock: Clock) -> None:
    """drain: a wait of hours ends at once, and no token is lost by it."""
    store = FakeStore()
    ended: list[float] = []
    async with process(store) as bucket, trio.open_nursery() as nursery:
        waits = Waits()
        await empty(bucket)

        async def wait() -> None:
            async with permit_of(bucket, waits) as permit:
                with pytest.raises(Draining):
                    await permit.spend()
            ended.append(trio.current_time())

        for _ in range(5):
            nursery.start_soon(wait)
        await trio.sleep(20)
        waits.end()
        left = trio.current_time()
        nursery.start_soon(wait)
    assert ended == [left] * 6
    await trio.sleep(PER)
    assert free_tokens(store) == 3


async def test_leaving_between_the_store_and_the_writing_gives_the_token_back(
    autojump_clock: Clock,
) -> None:
    """drain: whenever the wait is cut, the token is either used or given back."""

    class Late(FakeStore):
        async def take_tokens(self, *of: Any, **more: Any) -> Granted | Sequence[NotYet]:
            taken = await super().take_tokens(*of, **more)
            with trio.CancelScope(shield=True):  # a thread in a statement is not cancelled
                await trio.sleep(1)
            return taken

    store = Late()
    async with process(store) as bucket, trio.open_nursery() as nursery:
        waits = Waits()

        async def wait() -> None:
            async with permit_of(bucket, waits) as permit:
                await permit.spend()  # the statement had come through before we left
                with pytest.raises(Draining):
                    await waits.sleep(0)

        nursery.start_soon(wait)
        await trio.sleep(0.5)
        waits.end()
    assert free_tokens(store) == 3


# --- whatever happens --------------------------------------------------------------------


@attrs.define(eq=False)
class Server:
    """Counts requests at some moment between their writing and their answer."""

    counted: list[float] = attrs.field(factory=list)
    rng: random.Random = attrs.field(factory=lambda: random.Random(1))

    async def count(self, after: float) -> None:
        await trio.sleep(after)
        self.counted.append(trio.current_time())

    def most_in_a_window(self, per: float) -> int:
        """The most requests that any stretch of `per` held."""
        times = sorted(self.counted)
        return max(
            (sum(start <= t < start + per for t in times[i:]) for i, start in enumerate(times)),
            default=0,
        )

    async def serve(self, bucket: TokenBucket) -> None:
        """One request that is counted some time before its answer."""
        async with permit_of(bucket) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            takes = self.rng.uniform(0.01, 3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.count, self.rng.uniform(0, min(takes, SLACK)))
                await trio.sleep(takes)
            permit.answered()


@attrs.define(eq=False)
class Line(FakeStore):
    """One process's line to the store: it takes its time, and is cut when the process dies."""

    to: FakeStore
    rng: random.Random
    cut: bool = False

    async def _through(self, statement: Callable[[], Awaitable[object]]) -> object:
        with trio.CancelScope(shield=True):  # a thread in a statement is not cancelled
            await trio.sleep(self.rng.uniform(0, 0.02))
            if self.cut:
                raise StoreUnavailable("this process is dead")
            answer = await statement()
            await trio.sleep(self.rng.uniform(0, 0.02))
        return answer

    async def take_tokens(self, *of: Any, **more: Any) -> Granted | Sequence[NotYet]:
        answer = await self._through(lambda: self.to.take_tokens(*of, **more))
        assert isinstance(answer, Granted | Sequence)
        return answer

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        await self._through(lambda: self.to.settle_tokens(budget, settlements))

    async def give_back(self, budget: str, *tokens: Taken) -> None:
        await self._through(lambda: self.to.give_back(budget, *tokens))


@attrs.define(eq=False, kw_only=True)
class Run:
    """Processes that send requests through one budget; all chance comes from `seed`."""

    seed: int
    requests: int
    per: float
    timeout: float
    processes: int
    workers: int
    rounds: int
    fails: float = 0.0
    """How many of the requests get no answer, or are not even written."""

    lives: float | None = None
    """Seconds after which a process dies, on average."""

    sent: int = attrs.field(default=0, init=False)
    server: Server = attrs.field(factory=Server, init=False)
    store: FakeStore = attrs.field(factory=FakeStore, init=False)
    took: float = attrs.field(default=0.0, init=False)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    @property
    def wanted(self) -> int:
        return self.requests * self.rounds + 1

    async def main(self) -> None:
        await TokenBucket(self._settings, self.store, self.timeout).open()
        async with trio.open_nursery() as world:
            async with trio.open_nursery() as nursery:
                for _ in range(self.processes):
                    nursery.start_soon(self._keep_alive, world)
            self.took = max(self.server.counted, default=0.0) - min(
                self.server.counted, default=0.0
            )

    @property
    def _settings(self) -> BudgetSettings:
        return BudgetSettings(name="ads", requests=self.requests, per=self.per, slack=SLACK)

    async def _keep_alive(self, world: trio.Nursery) -> None:
        while self.sent < self.wanted:
            line = Line(self.store, self.rng)
            bucket = TokenBucket(self._settings, line, self.timeout)
            life = float("inf") if self.lives is None else self.rng.expovariate(1 / self.lives)
            with trio.move_on_after(life):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._die, line, life)
                    nursery.start_soon(bucket.run)
                    async with trio.open_nursery() as workers:
                        for _ in range(self.workers):
                            workers.start_soon(self._work, bucket, world)
                    nursery.cancel_scope.cancel()
            await trio.sleep(0.1)

    async def _die(self, line: Line, life: float) -> None:
        """Like kill -9: nothing that this process says afterwards is heard."""
        await trio.sleep(max(0.0, life - 1e-6))
        line.cut = True

    async def _work(self, bucket: TokenBucket, world: trio.Nursery) -> None:
        while self.sent < self.wanted:
            try:
                async with permit_of(bucket) as permit:
                    await permit.spend()
                    await self._attempt(permit, world)
            except StoreUnavailable:
                await trio.sleep_forever()  # we are dead already

    async def _attempt(self, permit: TokenPermit, world: trio.Nursery) -> None:
        fate = self.rng.random()
        connecting = self.rng.uniform(0, 0.05)
        if fate < self.fails:
            connecting = self.rng.uniform(0, self.timeout)
        if fate < self.fails / 4:
            await trio.sleep(connecting)
            return  # no connection was made
        await trio.sleep(connecting)
        await permit.confirm()
        self.sent += 1
        left = self.timeout - connecting
        writing = self.rng.uniform(0, left if fate < self.fails else 0.01)
        answering = self.rng.uniform(0, left - writing)
        # The server counts whatever becomes of us.
        counts = writing + self.rng.uniform(0, min(SLACK, answering))
        world.start_soon(self.server.count, counts)
        if fate < self.fails / 2:
            return  # the connection broke, and we saw nothing written
        await trio.sleep(writing)
        permit.written()
        await trio.sleep(answering)
        if fate > self.fails * 3 / 4:
            permit.answered()


shapes = {
    "seed": st.integers(0, 2**32),
    "requests": st.integers(1, 12),
    "per": st.sampled_from([5.0, 10.0, 60.0, 3600.0]),
    "timeout": st.sampled_from([0.6, 2.0, 15.0]),
    "processes": st.integers(1, 4),
    "workers": st.integers(1, 8),
}


def run(world: Run) -> None:
    trio.run(world.main, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(fails=st.floats(0, 0.9), lives=st.sampled_from([None, 0.3, 1.0, 3.0]), **shapes)
def test_the_server_never_counts_too_many_whatever_happens(
    lives: float | None, per: float, **shape: object
) -> None:
    """budget: tries fail and processes die at any moment, and no window is ever too full."""
    life = None if lives is None else lives * per
    world = Run(lives=life, per=per, rounds=3, **shape)  # type: ignore[arg-type]  # drawn as named
    run(world)
    assert world.server.most_in_a_window(world.per) <= world.requests


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(**shapes)
def test_constant_demand_uses_nine_tenths_of_the_budget(**shape: object) -> None:
    """budget: waiting costs less than a tenth of what the server would have allowed."""
    world = Run(rounds=4, **shape)  # type: ignore[arg-type]  # drawn as named
    # A worker is busy until its answer: fewer than fill the budget are no constant demand.
    world.timeout = min(world.timeout, world.per / 4)
    world.processes = min(world.processes, 2)
    world.workers = world.requests * 2
    run(world)
    assert world.server.most_in_a_window(world.per) <= world.requests
    floor = (len(world.server.counted) - 1) // world.requests * world.per
    assert floor / world.took >= 0.9


async def test_a_death_just_after_the_writing_does_not_cost_the_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """budget: the writing is stored at once, so that a kill -9 leaves the token no later free."""
    store = FakeStore()
    settings = BudgetSettings(name="ads", requests=1, per=60.0)
    bucket = TokenBucket(settings, store, 15.0)
    lease = await store.acquire_lease("ads")
    await bucket.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bucket.run)
        async with Limits([bucket]).permit(lease=lease, spent_on="a call", waits=Waits()) as permit:
            await permit.spend()
            await permit.confirm()
            permit.written()
            written = trio.current_time()
            await trio.testing.wait_all_tasks_blocked()
            [token] = store.budgets["ads"].tokens.values()
            assert token.free_at == pytest.approx(written + 0.25 + 60.06)
        nursery.cancel_scope.cancel()
