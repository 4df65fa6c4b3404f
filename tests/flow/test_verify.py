"""A call whose answer never came, and the request that reads back what became of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from syncd.daemon.jobs import Job
from syncd.errors import ApiUnavailable, Draining, StoreUnavailable
from syncd.sync import events
from syncd.sync.model import DeadLetter, StreamId, Verdict
from syncd.sync.ports import REPEAT
from syncd.sync.stream import run_cycle
from syncd.testing import Asked, FakeApi
from tests.flow.conftest import World
from tests.flow.fleet import Fleet

Clock = trio.testing.MockClock
ADS = StreamId(source="ads", stream="campaigns")
C2 = '["c2"]'
NEVER = float("inf")
UNKNOWN = Verdict(outcome="unknown", reason="`done` is gone")


@attrs.define(eq=False, kw_only=True)
class Losing:
    """An API that loses its answer to the call of c2, the first time or always."""

    api: FakeApi
    carried_out_after: float
    """Seconds after the call came; what was lost may still be under way."""

    always: bool = False
    verify: Callable[[Asked], Awaitable[Verdict | None]] | None = None
    lost_at: float | None = attrs.field(default=None, init=False)
    _key: str = attrs.field(default="", init=False)

    async def __call__(self, asked: Asked) -> Verdict | None:
        now = trio.current_time()
        if asked.what == f"call {C2}" and (self.lost_at is None or self.always):
            self.lost_at, self._key = now, asked.idempotency_key or ""
            self._look(now)
            raise ApiUnavailable("connection lost")
        self._look(now)
        if asked.what == f"verify {C2}" and self.verify is not None:
            return await self.verify(asked)
        return None

    def _look(self, now: float) -> None:
        if self.lost_at is not None and now >= self.lost_at + self.carried_out_after:
            self.api.carry_out(C2, self._key)


@pytest.fixture
def world() -> World:
    """Four campaigns, each with a call that may not be repeated, and can be verified."""
    world = World()
    world.api.fill(4)
    world.source.repeatable = False
    world.source.has_verify = True
    return world


def losing(world: World, after: float, **more: bool) -> Losing:
    found = Losing(api=world.api, carried_out_after=after, **more)  # type: ignore[arg-type]  # flags
    world.api.faults = found
    return found


def asked_for(api: FakeApi, what: str) -> list[Asked]:
    return [a for a in api.asked if a.what == f"{what} {C2}"]


def letter(world: World) -> DeadLetter:
    (found,) = world.store.dead_letters
    return found


async def cannot_tell(_: Asked) -> Verdict:
    return UNKNOWN


async def test_no_blind_repeat_a_call_that_was_carried_out_is_settled_as_done(
    world: World, autojump_clock: Clock
) -> None:
    """Its row is written as if its own answer had come; the question costs a token."""
    losing(world, 0.0)
    done = await world.cycle()
    assert len(asked_for(world.api, "call")) == len(asked_for(world.api, "verify")) == 1
    assert world.rows["c2"]["synced_at"]
    assert {c.outcome for c in world.store.calls.values()} == {"done"}
    assert world.store.dead_letters == []
    assert done.totals.requests == len(world.api.asked) == 1 + 4 + 1
    spent_on = {t.spent_on for t in world.store.budgets["ads"].tokens.values()}
    assert f"ads.campaigns verify {C2}" in spent_on


async def test_no_blind_repeat_a_call_that_was_not_carried_out_is_made_again(
    world: World, autojump_clock: Clock
) -> None:
    """With its first key, and only once it can no longer be on its way."""
    lost = losing(world, NEVER)
    await world.cycle()
    first, second = asked_for(world.api, "call")
    assert first.idempotency_key == second.idempotency_key
    early, late = asked_for(world.api, "verify")
    assert lost.lost_at is not None
    assert early.at - lost.lost_at < 1
    assert late.at - lost.lost_at >= world.source.timeout
    assert second.at >= late.at
    assert world.rows["c2"]["synced_at"]
    assert world.store.dead_letters == []


async def test_no_blind_repeat_a_call_that_is_still_on_its_way_is_not_made_twice(
    world: World, autojump_clock: Clock
) -> None:
    """What is not done yet is asked for again after `timeout`, and is done then."""
    losing(world, world.source.timeout - 1)
    await world.cycle()
    assert len(asked_for(world.api, "call")) == 1
    assert len(asked_for(world.api, "verify")) == 2
    assert world.rows["c2"]["synced_at"]


async def test_no_blind_repeat_where_verify_cannot_tell_the_record_is_put_aside(
    world: World, autojump_clock: Clock
) -> None:
    """Its reason says what was lost, what verify found, and what a person can do."""
    losing(world, NEVER).verify = cannot_tell
    done = await world.cycle()
    assert len(asked_for(world.api, "call")) == len(asked_for(world.api, "verify")) == 1
    assert letter(world).kind == "outcome-unknown"
    reason = letter(world).reason
    assert reason.startswith("connection lost; asked by `verify`: `done` is gone. ")
    assert "syncd dead retry" in reason
    assert "syncd dead discard" in reason
    assert (done.totals.dead, done.totals.written) == (1, 3)


async def test_no_blind_repeat_without_verify_the_letter_says_that_there_is_one(
    world: World, autojump_clock: Clock
) -> None:
    """An operator learns from the letter itself what syncd could do."""
    world.source.has_verify = False
    losing(world, 0.0)
    await world.cycle()
    assert letter(world).reason.startswith("connection lost. If it was carried out, ")
    assert "call.verify" in letter(world).reason
    assert asked_for(world.api, "verify") == []


async def test_verify_is_retried_like_every_request(world: World, autojump_clock: Clock) -> None:
    """no-blind-repeat: a verify request that fails repeats itself, never the call."""

    async def fail(_: Asked) -> None:
        if len(asked_for(world.api, "verify")) < 4:
            raise ApiUnavailable("500")

    losing(world, 0.0).verify = fail
    done = await world.cycle()
    assert len(asked_for(world.api, "verify")) == 4
    assert len(asked_for(world.api, "call")) == 1
    assert done.totals.retried == 3
    assert world.rows["c2"]["synced_at"]


async def test_no_blind_repeat_where_verify_fails_for_good_the_record_is_put_aside(
    world: World, autojump_clock: Clock
) -> None:
    """While other calls get through, one that nobody can ask for costs its record alone."""

    async def fail(_: Asked) -> None:
        raise ApiUnavailable("GET answered 500")

    world.api.fill(20)  # of few, half of all requests would fail: that is an API that is down
    losing(world, 0.0).verify = fail
    await world.cycle()
    assert len(asked_for(world.api, "verify")) == 6
    assert len(asked_for(world.api, "call")) == 1
    assert letter(world).kind == "outcome-unknown"
    assert "gave up after 6 tries: GET answered 500" in letter(world).reason


async def test_a_call_that_is_never_carried_out_is_given_up(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: each loss is a try; as nothing was done, the letter is `call-failed`."""
    world.retries = 2
    losing(world, NEVER, always=True)
    await world.cycle()
    assert len(asked_for(world.api, "call")) == 3
    assert letter(world).kind == "call-failed"
    assert "was not carried out" in letter(world).reason


async def test_no_blind_repeat_while_postgres_is_away_before_verify(
    world: World, autojump_clock: Clock
) -> None:
    """What ends an attempt in doubt does not end the doubt: the next one asks first."""
    found = losing(world, 0.0)

    async def lose_the_store_too(asked: Asked) -> Verdict | None:
        answer: Verdict | None = None
        try:
            answer = await Losing.__call__(found, asked)
        except ApiUnavailable:
            world.store.fail_next("take_tokens", StoreUnavailable("away"))
            raise
        return answer

    world.api.faults = lose_the_store_too
    await world.cycle()
    assert len(asked_for(world.api, "call")) == 1
    assert world.rows["c2"]["synced_at"]


@pytest.mark.parametrize("after", [0.0, NEVER], ids=["done", "not done"])
async def test_no_blind_repeat_a_call_that_a_crash_interrupted_is_asked_for(
    world: World, autojump_clock: Clock, after: float
) -> None:
    """The next life finds it open in the ledger, and makes it again only if it was not done."""
    with trio.CancelScope() as life:
        found = Losing(api=world.api, carried_out_after=after)

        async def die(asked: Asked) -> Verdict | None:
            try:
                return await found(asked)
            except ApiUnavailable:
                life.cancel()
                raise

        world.api.faults = die
        await world.cycle()
    assert life.cancelled_caught
    await world.cycle()
    first, *again = asked_for(world.api, "call")
    assert [a.idempotency_key for a in again] == [first.idempotency_key] * (after == NEVER)
    assert world.api.carried_out[C2] == 1
    assert world.rows["c2"]["synced_at"]
    assert world.store.dead_letters == []


async def test_drain_ends_the_wait_before_not_done_is_believed(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat, drain: the call stays open in the ledger, and the next life asks first."""
    losing(world, NEVER)
    async with world.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(5)
            stream.waits.end()

        nursery.start_soon(leave)
        with pytest.raises(Draining):
            await run_cycle(stream)
        assert trio.current_time() < 6
    (open_one,) = (c for c in world.store.calls.values() if c.outcome == "open")
    assert open_one.intent.record_key == C2
    before = len(world.api.asked)
    await world.cycle()
    what = [a.what for a in world.api.asked[before:] if C2 in a.what]
    assert what == [f"verify {C2}", f"verify {C2}", f"call {C2}"]
    assert world.rows["c2"]["synced_at"]


# --- letters ------------------------------------------------------------------------------------


@asynccontextmanager
async def put_aside() -> AsyncIterator["Aside"]:
    """A daemon that has put c2 aside, because verify could not tell."""
    fleet = Fleet()
    api = fleet.has(ADS, records=4)
    lost = api.faults = Losing(api=api, carried_out_after=NEVER)
    lost.verify = cannot_tell
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=86400.0)
        source = runner.stream.source
        source.repeatable, source.has_verify = False, True  # type: ignore[misc, attr-defined]  # the fake's own
        await fleet.until(lambda e: isinstance(e, events.Resting))
        (found,) = fleet.store.put_aside.values()
        assert found.letter.kind == "outcome-unknown"

        async def retry(*more: str) -> Job:
            job = Job(kind="retry", subjects=[str(found.id), *more])
            runner.ask(job)
            await job.done.wait()
            return job

        yield Aside(fleet=fleet, api=api, lost=lost, source=source, retry=retry)


@attrs.frozen(kw_only=True, eq=False)
class Aside:
    """What there is to ask, and to look at."""

    fleet: Fleet
    api: FakeApi
    lost: Losing
    source: object
    retry: Callable[..., Awaitable[Job]]

    def calls(self) -> list[Asked]:
        return asked_for(self.api, "call")


async def test_no_blind_repeat_a_letter_is_asked_for_before_its_call_is_made(
    autojump_clock: Clock,
) -> None:
    """Found to be done, its row is written, and no call is made."""
    async with put_aside() as aside:
        aside.lost.verify, aside.lost.carried_out_after = None, 0.0
        assert (await aside.retry()).answer == "1 written"
        assert len(aside.calls()) == 1
        assert aside.fleet.store.put_aside == {}
        assert aside.fleet.rows(ADS)["c2"]["synced_at"]
        assert {c.outcome for c in aside.fleet.store.calls.values()} == {"done"}


async def test_no_blind_repeat_a_letter_that_was_not_done_is_made_again(
    autojump_clock: Clock,
) -> None:
    """With its first key."""
    async with put_aside() as aside:
        aside.lost.verify = None
        assert (await aside.retry()).answer == "1 written"
        first, second = aside.calls()
        assert first.idempotency_key == second.idempotency_key


async def test_no_blind_repeat_a_letter_of_which_nobody_can_tell_stays(
    autojump_clock: Clock,
) -> None:
    """Until a person answers for it; that is good for one call."""
    async with put_aside() as aside:
        assert not (await aside.retry()).ok
        assert len(aside.calls()) == 1
        (found,) = aside.fleet.store.put_aside.values()
        assert found.attempts == 2
        assert found.letter.reason.count("asked by `verify`") == 1
        aside.lost.always = True
        assert not (await aside.retry(REPEAT)).ok
        assert len(aside.calls()) == 2
        aside.lost.always = False
        assert (await aside.retry(REPEAT)).ok
        assert len(aside.calls()) == 3


async def test_no_blind_repeat_a_letter_needs_verify_or_a_person(autojump_clock: Clock) -> None:
    """Also where whoever asks has another config in mind than the daemon runs with."""
    async with put_aside() as aside:
        aside.source.has_verify = False  # type: ignore[attr-defined]  # the fake's own
        assert not (await aside.retry()).ok
        assert len(aside.calls()) == 1
        assert (await aside.retry(REPEAT)).ok
        assert len(aside.calls()) == 2
