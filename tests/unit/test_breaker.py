"""When nobody of a source asks its API, and who asks first again."""

import random
from collections.abc import Awaitable, Callable
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallFailed,
    Draining,
    RateLimited,
    StoreUnavailable,
    SyncdError,
)
from syncd.sync.breaker import (
    CAP,
    FIRST,
    LEAST,
    WINDOW,
    Breaker,
    CalledBackError,
    Closed,
    Open,
    StillOpenError,
)
from syncd.sync.waits import Waits

Body = Callable[[Waits], Awaitable[None]]
DOWN = ApiUnavailable("503")


@attrs.define(eq=False)
class Caller:
    """One stream that makes attempts."""

    breaker: Breaker
    waits: Waits = attrs.field(factory=Waits)
    until: Waits = attrs.field(factory=Waits)
    patience: float = float("inf")
    told: list[Open | Closed] = attrs.field(factory=list)
    waited: list[float] = attrs.field(factory=list)
    made: list[float] = attrs.field(factory=list)

    async def attempt(self, error: SyncdError | None = None, body: Body | None = None) -> None:
        async with self.breaker.attempt(
            waits=self.waits,
            until=self.until,
            patience=self.patience,
            on_wait=lambda seconds, _: self.waited.append(seconds),
            tell=self.told.append,
        ) as tokens:
            self.made.append(trio.current_time())
            await trio.lowlevel.checkpoint()
            if body is not None:
                await body(tokens)
            if error is not None:
                raise error

    async def fail(self, times: int = 1, error: SyncdError = DOWN) -> None:
        for _ in range(times):
            with pytest.raises(type(error)):
                await self.attempt(error)


def a_caller(breaker: Breaker | None = None, **settings: object) -> Caller:
    return Caller(breaker or Breaker(rng=random.Random(3)), **settings)  # type: ignore[arg-type]  # its fields


async def an_open_one() -> Caller:
    caller = a_caller()
    await caller.fail(LEAST)
    assert caller.breaker.open is not None
    return caller


def probe_at(caller: Caller) -> float:
    assert caller.breaker.open is not None
    return caller.breaker.open.probe_at


def opened(caller: Caller) -> list[Open]:
    return [t for t in caller.told if isinstance(t, Open)]


async def test_it_opens_with_the_attempt_that_makes_half_of_enough_fail(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: not before there are enough, and with their number and the last reason."""
    caller = a_caller()
    for _ in range(5):
        await caller.attempt()
    await caller.fail(4)
    assert caller.breaker.open is None
    await caller.fail(error=ApiUnavailable("no answer"))
    [told] = opened(caller)
    assert (told.failed, told.attempts, told.reason) == (5, 10, "no answer")


async def test_one_request_whose_retries_are_used_up_does_not_open_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: a stream that is alone fails by its retries first."""
    caller = a_caller()
    await caller.fail(6)
    assert caller.breaker.open is None


async def test_failures_that_are_old_say_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: a failure now and then, however many in a row, is no API that is down."""
    caller = a_caller()
    for _ in range(50):
        await caller.fail()
        await trio.sleep(WINDOW / (LEAST - 1) + 0.1)
    assert caller.breaker.open is None


async def test_an_api_that_fails_each_fifth_and_hangs_at_each_tenth_never_opens_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained, budget: nor do four failures in a row now and then, in any order of them."""
    rng = random.Random(5)
    for first in range(10):
        caller = a_caller()
        for number in range(first, first + 400):
            if number % 10 == 0:
                await trio.sleep(15)
                await caller.fail(error=ApiUnavailable("no answer within 15 s"))
            elif number % 5 == 0:
                await caller.fail()
            else:
                await caller.attempt()
            if number % 97 == 50:
                await caller.fail(4)
            await trio.sleep(rng.choice([0.0, 0.3, 6.0]))
        assert not caller.told


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("429"),
        CallFailed("call-failed", "404"),
        ApiUnavailable("closed", stale_connection=True),
        StoreUnavailable("away"),
        AccessDenied("401"),
    ],
)
async def test_what_does_not_speak_of_the_apis_health_does_not_count(
    autojump_clock: trio.testing.MockClock, error: SyncdError
) -> None:
    """contained: a refusal, a bad record, an idle connection, our own Postgres."""
    caller = a_caller()
    await caller.fail(3 * LEAST, error)
    assert caller.breaker.open is None


async def test_a_call_of_which_nothing_was_heard_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: that it may not be repeated makes the API no better."""
    caller = a_caller()
    await caller.fail(LEAST, CallFailed("outcome-unknown", "no answer"))
    assert caller.breaker.open is not None


async def test_while_it_is_open_nobody_asks_and_then_one_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """budget: of many one is the probe, at its time; answered, all go on at once."""
    first = await an_open_one()
    callers = [a_caller(first.breaker) for _ in range(20)]
    due = probe_at(first)

    async def slowly(_: Waits) -> None:
        await trio.sleep(3)

    async with trio.open_nursery() as nursery:
        for caller in callers:
            nursery.start_soon(caller.attempt, None, slowly)
    made = sorted(at for caller in callers for at in caller.made)
    assert made[0] == due
    assert made[1:] == [due + 3] * 19
    assert first.breaker.open is None
    [closed] = [t for caller in callers for t in caller.told]
    assert closed == Closed(seconds=due + 3)


async def test_each_probe_that_fails_makes_the_wait_longer_up_to_the_cap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: from 15 s up to 5 minutes, with jitter below and never above."""
    caller = await an_open_one()
    await caller.fail(9)
    waits = [told.seconds for told in opened(caller)]
    most = [min(CAP, FIRST * 2**n) for n in range(10)]
    assert all(0.75 * m <= w <= m for m, w in zip(most, waits, strict=True))
    assert len({w / m for m, w in zip(most, waits, strict=True)}) == 10


async def test_a_wait_that_the_api_asked_for_is_not_cut_short_by_a_probe(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """budget: a 503 with Retry-After: 1 h is asked again after an hour."""
    caller = a_caller()
    await caller.fail(LEAST, ApiUnavailable("503", hint=3600))
    await caller.attempt()
    assert caller.made[-1] >= 3600


async def test_a_probe_that_is_cancelled_gives_its_right_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: nobody waits for a probe that nobody makes."""
    caller = await an_open_one()
    other = a_caller(caller.breaker)
    due = probe_at(caller)

    async def forever(_: Waits) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with trio.move_on_at(due + 5):
            nursery.start_soon(_after, due + 1, other.attempt)
            await caller.attempt(body=forever)
    assert other.made == [due + 5]
    assert caller.breaker.open is None


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Draining("leaving"), DOWN])
async def test_a_probe_without_the_apis_say_gives_its_right_to_the_next(
    autojump_clock: trio.testing.MockClock, error: SyncdError
) -> None:
    """contained: at once if it was not sent, else after the longer wait."""
    caller = await an_open_one()
    due = probe_at(caller)
    await caller.fail(error=error)
    await caller.attempt()
    assert (caller.made[-1] == due) is (error is not DOWN)
    assert caller.breaker.open is None


async def test_who_waits_for_a_token_is_called_back_when_it_opens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """budget: no token is spent while it is open, and a call back is no failure."""
    caller = a_caller()
    other = a_caller(caller.breaker)
    ended: list[float] = []

    async def for_a_token(tokens: Waits) -> None:
        await tokens.sleep(1000)

    async def waits() -> None:
        with pytest.raises(CalledBackError):
            await other.attempt(body=for_a_token)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits)
        await trio.sleep(1)
        await caller.fail(LEAST)
    assert ended == [1.0]
    assert opened(caller)[0].attempts == LEAST


async def test_the_probe_may_wait_for_its_token(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: what was begun before and fails later calls nobody back."""
    caller = await an_open_one()
    late = a_caller(caller.breaker)

    async def for_a_token(tokens: Waits) -> None:
        await tokens.sleep(60)

    await caller.attempt(body=for_a_token)
    assert late.breaker.open is None


@pytest.mark.parametrize("which", ["waits", "until"])
async def test_leaving_and_a_page_boundary_end_the_wait_at_once(
    autojump_clock: trio.testing.MockClock, which: str
) -> None:
    """drain: an API that is down holds nobody up."""
    caller = await an_open_one()
    whole = Waits()
    other = a_caller(caller.breaker, waits=whole, until=Waits(whole))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_after, 2, other.waits.end if which == "waits" else other.until.end)
        with pytest.raises(Draining):
            await other.attempt()
    assert trio.current_time() == 2
    assert not other.made


async def test_a_person_may_ask_for_a_probe_now(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: whoever resumes or reloads has mended something."""
    caller = await an_open_one()
    await caller.fail(6)
    other = a_caller(caller.breaker)
    at = trio.current_time() + 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_after, at, caller.breaker.hurry)
        await other.attempt()
    assert other.made == [at]


async def test_a_page_is_finished_although_its_boundary_is_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """drain: closed, it stops nobody."""
    caller = a_caller()
    caller.until.end()
    await caller.attempt()
    assert caller.made


async def test_patience_ends_the_wait_with_the_apis_own_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """contained: `once` does not wait for hours."""
    caller = await an_open_one()
    await caller.fail(6)
    hasty = a_caller(caller.breaker, patience=20)
    started = trio.current_time()
    with pytest.raises(StillOpenError, match="503"):
        await hasty.attempt()
    assert trio.current_time() == started + 20


async def _after(at: float, what: Callable[[], object]) -> None:
    await trio.sleep_until(at)
    done = what()
    if done is not None:
        await cast(Awaitable[None], done)
