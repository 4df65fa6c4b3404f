"""When a failed attempt comes again."""

import random
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, Draining, RateLimited, StoreUnavailable, TryAgain
from syncd.sync.retry import CAP, STORE_CAP, Outage, Retry, backoff, stretched
from syncd.sync.waits import Waits


class Holds:
    """A budget that only remembers how long it was told to hold off."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def hold_off(self, seconds: float) -> None:
        self.waited.append(seconds)
        await trio.sleep(seconds)


def a_retry(*, retries: int = 5, window: float | None = 60.0, patience: float = 1e9) -> Retry:
    return Retry(
        retries=retries,
        base=1.0,
        windows=() if window is None else (window,),
        budget=Holds(),  # type: ignore[arg-type]  # only hold_off is called
        waits=Waits(),
        rng=random.Random(7),
        patience=patience,
    )


class Attempts:
    """Fails with each error in turn, then succeeds; remembers when it was made."""

    def __init__(self, *errors: TryAgain) -> None:
        self.errors = list(errors)
        self.made: list[float] = []

    async def __call__(self) -> str:
        self.made.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def waited(retry: Retry) -> list[float]:
    """How long everybody was told to hold off."""
    return cast(Holds, retry.budget).waited


def nothing(_attempt: int, _error: TryAgain, _pause: float) -> None:
    """Hear of no failure."""


@pytest.mark.parametrize("failures", [1, 2, 5, 60, 10_000])
def test_backoff_grows_with_full_jitter_and_never_beyond_its_cap(failures: int) -> None:
    """However often something fails, a wait of our own stays under a minute."""
    waits = [backoff(failures, base=1.0, cap=CAP, rng=random.Random(n)) for n in range(200)]
    most = min(CAP, 2.0 ** min(failures - 1, 60))
    assert all(0 <= w <= most for w in waits)
    assert max(waits) > most * 0.9
    assert min(waits) < most * 0.1


def test_a_hint_is_stretched_upwards_only_and_never_under_our_own_backoff() -> None:
    """Told to wait two seconds, we never come earlier, and not all at once."""
    waits = [stretched(2.0, 0.5, rng=random.Random(n)) for n in range(100)]
    assert all(2.0 <= w <= 2.04 for w in waits)
    assert len(set(waits)) > 50
    assert stretched(1.0, 30.0, rng=random.Random(1)) == 30.0


async def test_tries_are_made_until_one_succeeds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Three failures and a success are four tries."""
    attempts = Attempts(*[ApiUnavailable("503")] * 3)
    assert await a_retry().run(attempts, nothing) == "done"
    assert len(attempts.made) == 4


async def test_when_the_retries_are_used_up_the_last_error_comes_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With 2 retries a third failure is final."""
    attempts = Attempts(*[ApiUnavailable(f"failure {n}") for n in range(1, 9)])
    with pytest.raises(ApiUnavailable, match="failure 3"):
        await a_retry(retries=2).run(attempts, nothing)
    assert len(attempts.made) == 3


async def test_a_429_without_a_hint_holds_everybody_for_the_whole_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """CASES 5: an unexplained refusal waits the budget's window."""
    retry = a_retry()
    await retry.run(Attempts(RateLimited("429")), nothing)
    [held] = waited(retry)
    assert 60 <= held <= 61.2


async def test_of_several_limits_the_shortest_is_waited_for_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """CASES 5, budget: the burst is the likelier one; who is refused again waits for the next."""
    retry = attrs.evolve(a_retry(), windows=(1.0, 60.0, 3600.0))
    refused, failed = RateLimited("429"), ApiUnavailable("503")
    await retry.run(Attempts(failed, refused, failed, refused, refused), nothing)
    short, minute, hour = waited(retry)
    assert 1 <= short <= 4, "or for our own backoff, where that is longer"
    assert 60 <= minute <= 61.2
    assert 3600 <= hour <= 3672


async def test_a_429_with_a_day_as_hint_holds_for_the_day(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """CASES 3: a long hint is never cut short."""
    retry = a_retry()
    await retry.run(Attempts(RateLimited("429", hint=86400)), nothing)
    assert waited(retry)[0] >= 86400


async def test_a_storm_of_short_hints_still_grows_our_own_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """CASES 8: six refusals with a hint of 1 s do not become six tries in six seconds."""
    retry = a_retry(retries=10)
    await retry.run(Attempts(*[RateLimited("429", hint=1.0)] * 6), nothing)
    held: list[float] = waited(retry)
    assert all(h >= 1 for h in held)
    assert max(held) > 2


async def test_a_connection_that_the_server_had_closed_is_tried_again_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """CASES 40: an idle connection that was closed says nothing of the API's health."""
    attempts = Attempts(ApiUnavailable("closed", stale_connection=True))
    await a_retry().run(attempts, nothing)
    assert attempts.made[0] == attempts.made[1]


async def test_a_connection_that_the_server_had_closed_costs_no_try(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained, case 40: once, wherever it comes; a second one is trouble like any other."""
    closed = ApiUnavailable("closed", stale_connection=True)
    away = ApiUnavailable("503")
    assert await a_retry(retries=1).run(Attempts(closed, away), nothing) == "done"
    assert await a_retry(retries=1).run(Attempts(away, closed), nothing) == "done"
    with pytest.raises(ApiUnavailable, match="closed"):
        await a_retry(retries=0).run(Attempts(closed, closed), nothing)


async def test_a_postgres_that_is_away_costs_no_try(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However long Postgres is away, the API's tries are not used up."""
    attempts = Attempts(*[StoreUnavailable("away")] * 50)
    assert await a_retry(retries=0).run(attempts, nothing) == "done"


async def test_patience_with_postgres_ends_where_it_is_told_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`once` gives up after a while, with the database's own error."""
    started = trio.current_time()
    with pytest.raises(StoreUnavailable, match="away"):
        await a_retry(patience=120).run(Attempts(*[StoreUnavailable("away")] * 1000), nothing)
    assert 120 < trio.current_time() - started < 140


async def test_leaving_ends_a_backoff_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """drain: no wait outlives the signal."""
    retry = a_retry()
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(0.001)
            retry.waits.end()

        nursery.start_soon(leave)
        started = trio.current_time()
        with pytest.raises(Draining):
            await retry.run(Attempts(*[ApiUnavailable("503", hint=None)] * 5), nothing)
        assert trio.current_time() - started < 2


async def test_what_must_be_kept_goes_on_trying_while_we_leave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """drain: an answer that was read is settled even though waits have ended."""
    retry = a_retry()
    retry.waits.end()
    attempts = Attempts(StoreUnavailable("away"), StoreUnavailable("away"))
    assert await retry.through_outages(attempts, nothing, to_the_end=True) == "done"


class Postgres:
    """Away until a moment; counts who asked."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.asked: list[float] = []

    async def ask(self) -> None:
        self.asked.append(trio.current_time())
        await trio.sleep(0.01)
        if trio.current_time() < self.until:
            raise StoreUnavailable("away")


async def test_of_many_one_asks_for_all_whether_postgres_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: a thousand streams do not hammer a Postgres that is starting."""
    postgres = Postgres(until=300.0)
    outage = Outage(ask=postgres.ask, rng=random.Random(1))
    steps = [Attempts(StoreUnavailable("away")) for _ in range(50)]
    async with trio.open_nursery() as nursery:
        for step in steps:
            retry = attrs.evolve(a_retry(), outage=outage)
            nursery.start_soon(retry.through_outages, step, nothing)
    assert all(len(step.made) == 2 for step in steps)
    assert 300 <= trio.current_time() <= 300 + STORE_CAP + 1
    assert len(postgres.asked) < 60


async def test_who_asks_for_all_and_leaves_leaves_it_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """drain: a stream that is retired takes nobody's hope along."""
    postgres = Postgres(until=100.0)
    outage = Outage(ask=postgres.ask, rng=random.Random(1))
    leaving, staying = (attrs.evolve(a_retry(), outage=outage, waits=Waits()) for _ in range(2))
    made = Attempts(StoreUnavailable("away"))

    async def leaves() -> None:
        with pytest.raises(Draining):
            await leaving.through_outages(Attempts(StoreUnavailable("away")), nothing)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaves)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(staying.through_outages, made, nothing)
        await trio.testing.wait_all_tasks_blocked()
        leaving.waits.end()
    assert len(made.made) == 2


async def test_trouble_with_postgres_of_one_stream_holds_no_other_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: a table that somebody keeps locked costs its stream alone, and ever less often."""
    outage = Outage(ask=Postgres(until=0.0).ask, rng=random.Random(1))
    locked = Attempts(*[StoreUnavailable("lock timeout")] * 40)
    other = Attempts()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attrs.evolve(a_retry(), outage=outage).through_outages, locked, nothing)
        await trio.sleep(30)
        started = trio.current_time()
        await attrs.evolve(a_retry(), outage=outage).through_outages(other, nothing)
        assert trio.current_time() == started
    assert locked.made[-1] > 100
