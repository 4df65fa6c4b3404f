"""Several limits of one source against a server that counts by each, on a clock that jumps."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.config.settings import BudgetSettings
from syncd.errors import StoreUnavailable
from syncd.sync.bucket import TokenBucket
from syncd.sync.limits import Limits, spoken_of
from syncd.sync.model import DRIFT, Intent, StreamId
from syncd.sync.permit import TokenPermit
from syncd.sync.ports import PLAIN, Granted, NotYet, Price, Quota, Taken
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits
from syncd.testing import FakeStore

Clock = trio.testing.MockClock

TIMEOUT = 15.0
SLACK = 0.25
SEARCH = Price(path="/search/users")


def limit(requests: int, per: float, *paths: str, name: str = "") -> BudgetSettings:
    named = name or f"{requests} per {per:g}{''.join(paths)}"
    return BudgetSettings(name=named, requests=requests, per=per, slack=SLACK, paths=paths)


@asynccontextmanager
async def process(
    store: FakeStore, *of: BudgetSettings, timeout: float = TIMEOUT
) -> AsyncIterator[Limits]:
    """One process that opens these limits, and leaves in peace."""
    rest = Unlimited("rest", store) if all(b.paths for b in of) else None
    limits = Limits([TokenBucket(b, store, timeout) for b in of], rest)
    await limits.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limits.run)
        yield limits
        nursery.cancel_scope.cancel()


async def request(limits: Limits, price: Price = PLAIN, takes: float = 0.1) -> float:
    """Send one request that is answered after so long; returns when it was written."""
    async with limits.permit(lease=None, spent_on="a test", waits=Waits()) as permit:
        await permit.spend(price)
        await permit.confirm()
        permit.written()
        written = trio.current_time()
        await trio.sleep(takes)
        permit.answered()
    return written


def free(store: FakeStore) -> dict[str, int]:
    """Tokens that are free, by budget."""
    now = trio.current_time()
    return {
        name: sum(t.free_at <= now for t in budget.tokens.values())
        for name, budget in store.budgets.items()
    }


# --- several at once -----------------------------------------------------------------------------


async def test_a_request_takes_a_token_of_each_limit(autojump_clock: Clock) -> None:
    """budget: ten a second, and thirty a minute."""
    second, minute = limit(10, 1.0), limit(30, 60.0)
    async with process(FakeStore(), second, minute) as limits:
        written = [await request(limits, takes=0.01) for _ in range(31)]
    assert written[9] - written[0] < 1
    assert written[10] - written[0] >= 1.0
    assert 2 < written[29] - written[0] < 4
    assert 60 < written[30] - written[0] < 61


async def test_it_is_all_of_one_statement(autojump_clock: Clock) -> None:
    """budget: one to take, however many limits there are; nothing is held of one meanwhile."""
    asked: Counter[str] = Counter()

    class Counting(FakeStore):
        @asynccontextmanager
        async def _at(self, method: str) -> AsyncIterator[None]:
            asked[method] += 1
            async with super()._at(method):
                yield

    for of in ([limit(9, 60.0)], [limit(9, 60.0), limit(99, 3600.0)]):
        async with process(Counting(), *of) as limits:
            asked.clear()
            await request(limits)
            await trio.testing.wait_all_tasks_blocked()
            # Settled when it was written, and once more by its early answer.
            assert asked == {"take_tokens": 1, "settle_tokens": 2 * len(of)}


async def test_what_was_never_written_is_given_back_to_all(autojump_clock: Clock) -> None:
    """budget: a connection that could not be made costs nothing."""
    store = FakeStore()
    async with process(store, limit(2, 60.0), limit(9, 3600.0)) as limits:
        for _ in range(5):
            async with limits.permit(lease=None, spent_on="in vain", waits=Waits()) as permit:
                await permit.spend(Price(cost=2))
        assert free(store) == {"2 per 60": 2, "9 per 3600": 9}


async def test_a_death_leaves_each_token_to_its_own_lifetime(autojump_clock: Clock) -> None:
    """budget: what was in flight is refilled by no restart, of no limit."""
    store = FakeStore()
    of = limit(1, 60.0), limit(9, 3600.0)
    dead = Limits([TokenBucket(b, store, TIMEOUT) for b in of])
    await dead.open()
    async with dead.permit(lease=None, spent_on="dies", waits=Waits()) as permit:
        await permit.spend()
        await permit.confirm()
    async with process(store, *of) as limits:
        began = trio.current_time()
        assert await request(limits) - began == pytest.approx(TIMEOUT + SLACK + 60 * DRIFT)
        assert free(store)["9 per 3600"] == 7


async def test_a_waiter_that_is_cancelled_costs_no_token_of_any(autojump_clock: Clock) -> None:
    """budget: giving up in line takes nothing, and keeps nothing from those behind."""
    store = FakeStore()
    async with process(store, limit(3, 60.0), limit(9, 3600.0)) as limits:
        await request(limits)
        for cost in (3, 3, 1):
            with trio.move_on_after(5):
                await request(limits, Price(cost=cost))
        await trio.testing.wait_all_tasks_blocked()
        assert free(store) == {"3 per 60": 1, "9 per 3600": 7}
        began = trio.current_time()
        assert await request(limits) == began


async def test_a_hold_stops_all_that_the_source_sends(autojump_clock: Clock) -> None:
    """budget: which of its limits has refused, an API does not say."""
    store = FakeStore()
    async with process(store, limit(9, 1.0), limit(9, 60.0, "/search")) as limits:
        await limits.hold_off(40.0)
        assert limits.held
        for price in (PLAIN, SEARCH):
            assert limits.outlook((price, 1)) == pytest.approx(40)
        assert await request(limits, SEARCH) == pytest.approx(40)


async def test_the_outlook_is_the_longest_of_all(autojump_clock: Clock) -> None:
    """What `syncd once` shows as the earliest end."""
    async with process(FakeStore(), limit(10, 1.0), limit(20, 60.0, "/search")) as limits:
        assert limits.outlook((PLAIN, 10), (SEARCH, 0)) == 0
        assert limits.outlook((PLAIN, 25)) == pytest.approx(2 * DRIFT)
        assert limits.outlook((PLAIN, 5), (SEARCH, 21)) == pytest.approx(60 * DRIFT)
        assert limits.outlook((PLAIN, 1), (attrs.evolve(SEARCH, cost=5), 5)) == pytest.approx(
            60 * DRIFT
        )


async def test_a_change_of_limits_holds_for_who_waits_already(autojump_clock: Clock) -> None:
    """budget, all-or-nothing-reload: one limit becomes several, and one again; none forgets."""

    def named(name: str, requests: int, per: float) -> BudgetSettings:
        return attrs.evolve(limit(requests, per, name=name), seed="ads")

    store = FakeStore()
    alone, several = (
        [named("ads", 3, 60.0)],
        [named("ads per 60s", 3, 60.0), named("ads per 600s", 5, 600.0)],
    )
    written: list[float] = []
    async with process(store, *alone) as limits, trio.open_nursery() as nursery:

        async def work() -> None:
            while True:
                written.append(await request(limits))
                await trio.sleep(0.5)

        async def follow(of: Sequence[BudgetSettings]) -> None:
            other = Limits([TokenBucket(b, store, TIMEOUT) for b in of])
            await other.open()
            nursery.start_soon(other.run)
            limits.follow(other)

        for _ in range(3):
            nursery.start_soon(work)
        await trio.sleep(30)
        await follow(several)
        await trio.sleep(570)
        assert len(written) == 5, "three that were sent before count among the five"
        await follow(alone)
        await trio.sleep(300)
        nursery.cancel_scope.cancel()
    assert len(written) > 12
    assert _most(written, 60.0) == 3


# --- by path ---------------------------------------------------------------------------------


async def test_a_limit_by_path_counts_only_what_is_under_it(autojump_clock: Clock) -> None:
    """budget: and the others count it as well."""
    store = FakeStore()
    async with process(store, limit(5, 60.0), limit(2, 60.0, "/search")) as limits:
        for path in ("/search", "/searches", "/other"):
            await request(limits, Price(path=path))
        assert free(store) == {"5 per 60": 2, "2 per 60/search": 1}


async def test_who_waits_for_a_limit_by_path_keeps_nobody_else_waiting(
    autojump_clock: Clock,
) -> None:
    """budget: others of the same source go on meanwhile, as soon as their own limits let them."""
    async with (
        process(
            FakeStore(), limit(5, 10.0, name="a"), limit(1, 600.0, "/search", name="b")
        ) as limits,
        trio.open_nursery() as nursery,
    ):
        await request(limits, SEARCH)
        nursery.start_soon(request, limits, SEARCH)
        nursery.start_soon(request, limits, SEARCH)
        await trio.sleep(1)
        began = trio.current_time()
        for _ in range(20):
            await request(limits)
        assert trio.current_time() - began < 50
        nursery.cancel_scope.cancel()


async def test_where_only_paths_are_limited_the_rest_goes_at_once(autojump_clock: Clock) -> None:
    """budget: a hold stops them as well, and the intent of a call is stored."""
    store = FakeStore()
    async with process(store, limit(1, 60.0, "/search")) as limits:
        lease = await store.acquire_lease("ads")
        stream = StreamId(source="ads", stream="campaigns")
        call = Intent(idempotency_key="k", stream=stream, cycle=1, record_key='["a"]')
        for _ in range(50):
            async with limits.permit(
                lease=lease, spent_on="x", waits=Waits(), intent=call
            ) as permit:
                await permit.spend(Price(path="/orders"))
                await permit.confirm()
                permit.written()
                permit.answered()
        assert trio.current_time() == 0
        assert "k" in await store.ledger(["k"])
        await limits.hold_off(30.0)
        assert await request(limits, Price(path="/orders")) == pytest.approx(30)
        assert await request(limits, SEARCH) == pytest.approx(30.1)


async def test_a_hold_stops_who_waits_for_a_limit_by_path_already(autojump_clock: Clock) -> None:
    """budget: though nothing but its path's limit counts it."""
    async with process(FakeStore(), limit(1, 60.0, "/search")) as limits:
        await request(limits, SEARCH)
        async with trio.open_nursery() as nursery:
            written: list[float] = []

            async def wait() -> None:
                written.append(await request(limits, SEARCH))

            nursery.start_soon(wait)
            await trio.sleep(20)
            await limits.hold_off(100.0)
    assert written == [pytest.approx(120.1, abs=1)]


# --- cost ------------------------------------------------------------------------------------


async def test_a_request_takes_as_many_tokens_as_it_costs(autojump_clock: Clock) -> None:
    """budget: it waits until there are so many."""
    store = FakeStore()
    async with process(store, limit(10, 60.0)) as limits:
        await request(limits, Price(cost=4))
        await trio.sleep(19.9)
        await request(limits, Price(cost=5))
        assert free(store) == {"10 per 60": 1}
        assert await request(limits, Price(cost=6)) == pytest.approx(80.06, abs=0.2)


async def test_one_that_costs_many_is_not_overtaken_in_its_line(autojump_clock: Clock) -> None:
    """budget: though those behind it cost less, and could go."""
    served: list[int] = []

    async def wait_in_line(limits: Limits, cost: int) -> None:
        async with limits.permit(lease=None, spent_on="x", waits=Waits()) as permit:
            await permit.spend(Price(cost=cost))
            served.append(cost)
            await permit.confirm()
            permit.written()
            permit.answered()

    async with process(FakeStore(), limit(5, 60.0)) as limits, trio.open_nursery() as nursery:
        await request(limits)
        for cost in (5, 1, 1, 2):
            nursery.start_soon(wait_in_line, limits, cost)
            await trio.sleep(0.01)
    assert served == [5, 1, 1, 2]


async def test_one_that_costs_many_is_not_starved_by_another_line(autojump_clock: Clock) -> None:
    """budget: a limit that two lines share keeps its tokens for who lacks nothing else."""
    async with process(FakeStore(), limit(6, 10.0), limit(60, 10.0, "/search")) as limits:
        async with trio.open_nursery() as nursery:

            async def saturate() -> None:
                while True:
                    await request(limits)

            # So that no two tokens come back together.
            for _ in range(6):
                nursery.start_soon(saturate)
                await trio.sleep(1.5)
            await trio.sleep(25)
            began = trio.current_time()
            await request(limits, attrs.evolve(SEARCH, cost=6))
            assert trio.current_time() - began < 25
            nursery.cancel_scope.cancel()
        # And what was kept is kept no more.
        await trio.sleep(30)
        began = trio.current_time()
        assert await request(limits) == began


async def test_more_than_a_limit_holds_takes_all_of_it(autojump_clock: Clock) -> None:
    """budget: a file that would let it wait for ever is refused; a shrunken one need not hang."""
    store = FakeStore()
    async with process(store, limit(3, 60.0)) as limits:
        assert await request(limits, Price(cost=50)) == 0
        assert free(store) == {"3 per 60": 0}


# --- what the API says -----------------------------------------------------------------------


SECOND, HOUR, BY_PATH = limit(10, 1.0), limit(1000, 3600.0), limit(30, 60.0, "/search")


@pytest.mark.parametrize(
    ("quota", "speaks_of"),
    [
        (Quota(left=3, seconds=0.5, limit=10), [SECOND]),
        (Quota(left=3, seconds=0.5, limit=30), [BY_PATH]),
        (Quota(left=3, seconds=0.5, limit=1000, window=3600.0), [HOUR]),
        (Quota(left=3, seconds=50, limit=999, window=60.0), [BY_PATH]),
        (Quota(left=3, seconds=900), [HOUR]),
        (Quota(left=3, seconds=50), [HOUR, BY_PATH]),
        (Quota(left=3, seconds=0.5), [SECOND, HOUR, BY_PATH]),
        (Quota(left=3, seconds=90000), [SECOND, HOUR, BY_PATH]),
    ],
)
def test_which_limit_a_quota_speaks_of(quota: Quota, speaks_of: Sequence[BudgetSettings]) -> None:
    """budget: the one of its size; else none whose window is over sooner; else it may be any."""
    buckets = [TokenBucket(of, FakeStore(), TIMEOUT) for of in (SECOND, HOUR, BY_PATH)]
    assert [b.settings for b in spoken_of(quota, buckets)] == speaks_of


async def test_what_is_left_lowers_the_limit_that_it_speaks_of(autojump_clock: Clock) -> None:
    """budget: of others nothing is withheld."""
    store = FakeStore()
    async with process(store, SECOND, HOUR, BY_PATH) as limits:
        async with limits.permit(lease=None, spent_on="x", waits=Waits()) as permit:
            await permit.spend(SEARCH)
            await permit.confirm()
            permit.written()
            permit.answered()
            permit.told([Quota(left=0, seconds=40, limit=30), Quota(left=500, seconds=2000)])
        assert await request(limits) == 0, "not under the path"
        assert await request(limits, SEARCH) == pytest.approx(40)


# --- whatever happens ------------------------------------------------------------------------


@attrs.define(eq=False)
class Line(FakeStore):
    """One process's line to the store: it takes its time, and is cut when the process dies."""

    to: FakeStore
    rng: random.Random
    cut: bool = False

    @asynccontextmanager
    async def _through(self) -> AsyncIterator[None]:
        with trio.CancelScope(shield=True):  # a thread in a statement is not cancelled
            await trio.sleep(self.rng.uniform(0, 0.02))
            if self.cut:
                raise StoreUnavailable("this process is dead")
            yield
            await trio.sleep(self.rng.uniform(0, 0.02))

    async def take_tokens(self, *of: Any, **more: Any) -> Granted | Sequence[NotYet]:
        async with self._through():
            return await self.to.take_tokens(*of, **more)

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        async with self._through():
            await self.to.settle_tokens(budget, settlements)

    async def give_back(self, budget: str, *tokens: Taken) -> None:
        async with self._through():
            await self.to.give_back(budget, *tokens)


@attrs.define(eq=False, kw_only=True)
class Run:
    """Processes that send requests of all kinds through the same limits."""

    seed: int
    of: Sequence[BudgetSettings]
    prices: Sequence[Price]
    timeout: float
    processes: int
    workers: int
    lasts: float
    fails: float
    lives: float | None

    counted: dict[str, list[float]] = attrs.field(factory=dict, init=False)
    """By limit, one moment for each token's worth."""

    sent: int = attrs.field(default=0, init=False)
    store: FakeStore = attrs.field(factory=FakeStore, init=False)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    async def main(self) -> None:
        await self._limits(self.store).open()
        async with trio.open_nursery() as world, trio.open_nursery() as nursery:
            for _ in range(self.processes):
                nursery.start_soon(self._keep_alive, world)

    def _limits(self, store: FakeStore) -> Limits:
        rest = Unlimited("rest", self.store) if all(b.paths for b in self.of) else None
        return Limits([TokenBucket(b, store, self.timeout) for b in self.of], rest)

    async def _keep_alive(self, world: trio.Nursery) -> None:
        while trio.current_time() < self.lasts and self.sent < 300:
            line = Line(self.store, self.rng)
            limits = self._limits(line)
            life = self.lasts if self.lives is None else self.rng.expovariate(1 / self.lives)
            with trio.move_on_after(life):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._die, line, life)
                    nursery.start_soon(limits.run)
                    async with trio.open_nursery() as workers:
                        for _ in range(self.workers):
                            workers.start_soon(self._work, limits, world)
                    nursery.cancel_scope.cancel()
            await trio.sleep(0.1)

    async def _die(self, line: Line, life: float) -> None:
        """Like kill -9: nothing that this process says afterwards is heard."""
        await trio.sleep(max(0.0, life - 1e-6))
        line.cut = True

    async def _work(self, limits: Limits, world: trio.Nursery) -> None:
        while trio.current_time() < self.lasts and self.sent < 300:
            price = self.rng.choice(self.prices)
            try:
                async with limits.permit(lease=None, spent_on="x", waits=Waits()) as permit:
                    await permit.spend(price)
                    await self._attempt(permit, price, world)
            except StoreUnavailable:
                await trio.sleep_forever()  # we are dead already
            await trio.sleep(0.01)

    async def _attempt(self, permit: TokenPermit, price: Price, world: trio.Nursery) -> None:
        fate, connecting = self.rng.random(), self.rng.uniform(0, 0.05)
        await trio.sleep(connecting)
        if fate < self.fails / 3:
            return  # no connection was made
        await permit.confirm()
        self.sent += 1
        writing = self.rng.uniform(0, 0.01)
        answering = self.rng.uniform(0, self.timeout - 0.1)
        world.start_soon(self._count, price, writing + self.rng.uniform(0, min(SLACK, answering)))
        if fate < self.fails * 2 / 3:
            return  # the connection broke, and we saw nothing written
        await trio.sleep(writing)
        permit.written()
        await trio.sleep(answering)
        if fate > self.fails:
            permit.answered()

    async def _count(self, price: Price, after: float) -> None:
        """The server counts whatever becomes of us."""
        await trio.sleep(after)
        for of in self.of:
            if of.counts(price.path):
                many = min(price.cost, of.requests)
                self.counted.setdefault(of.name, []).extend([trio.current_time()] * many)

    def most(self) -> Mapping[str, int]:
        """By limit, the most that any stretch of its length held."""
        return {of.name: _most(sorted(self.counted.get(of.name, [])), of.per) for of in self.of}


def _most(times: Sequence[float], per: float) -> int:
    return max(
        (sum(start <= t < start + per for t in times[i:]) for i, start in enumerate(times)),
        default=0,
    )


SOME = {
    "two windows": [limit(3, 5.0), limit(8, 60.0)],
    "three windows": [limit(2, 1.0), limit(9, 20.0), limit(20, 100.0)],
    "a path beside all": [limit(6, 10.0), limit(2, 20.0, "/search")],
    "paths alone": [limit(2, 10.0, "/search"), limit(5, 10.0, "/orders", "/search")],
}
PRICES = [
    PLAIN,
    SEARCH,
    Price(path="/orders", cost=2),
    Price(path="/search", cost=3),
    Price(path="/other", cost=9),
]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(SOME)),
    prices=st.lists(st.sampled_from(PRICES), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    timeout=st.sampled_from([0.6, 2.0, 15.0]),
    processes=st.integers(1, 3),
    workers=st.integers(1, 6),
    fails=st.floats(0, 0.9),
    lives=st.sampled_from([None, 3.0, 20.0]),
)
def test_the_server_never_counts_too_many_of_any_limit(kind: str, **shape: Any) -> None:
    """budget: whatever requests cost and which limits count them, tries that fail, and deaths."""
    world = Run(of=SOME[kind], lasts=150.0, **shape)
    trio.run(world.main, clock=trio.testing.MockClock(autojump_threshold=0))
    for of in world.of:
        assert world.most()[of.name] <= of.requests


@pytest.mark.parametrize("kind", ["two windows", "three windows"])
def test_constant_demand_uses_nine_tenths_of_the_narrowest(kind: str) -> None:
    """budget: that there are several costs next to nothing."""
    world = Run(
        seed=1,
        of=SOME[kind],
        prices=[PLAIN],
        timeout=0.6,
        processes=2,
        workers=10,
        lasts=600.0,
        fails=0.0,
        lives=None,
    )
    trio.run(world.main, clock=trio.testing.MockClock(autojump_threshold=0))
    could = min(of.requests * (600.0 // of.per) for of in world.of)
    assert world.sent >= could * 0.9
