"""no-blind-repeat: a call that the API refused was not carried out, and is no unknown outcome."""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio.testing

from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallFailed,
    Draining,
    RateLimited,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.model import Record
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import FakeSource
from syncd.testing.api import Asked
from tests.flow.conftest import World

Clock = trio.testing.MockClock
Refusal = Callable[[], SyncdError]

REFUSALS: dict[str, Refusal] = {
    "401": lambda: AccessDenied("401", hint="mend it"),
    "429": lambda: RateLimited("429", hint=60.0),
    "503": lambda: ApiUnavailable("503", sent="refused"),
    "405": lambda: UnexpectedAnswer("405", hint="mend it", refused=True),
    "no connection": lambda: ApiUnavailable("refused", sent="no"),
}


def refusing(refusal: Refusal) -> Callable[[Asked], Awaitable[None]]:
    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what.startswith("call"):
            raise refusal()

    return fault


@pytest.fixture
def never(world: World) -> World:
    """A world whose calls may not be repeated."""
    world.requests, world.source.repeatable, world.retries = None, False, 1
    world.api.limit = None
    return world


@pytest.mark.parametrize("kind", REFUSALS)
async def test_calls_that_were_refused_are_made_by_the_next_life(
    never: World, autojump_clock: Clock, kind: str
) -> None:
    """no-blind-repeat, accounted: each once, and none is put aside."""
    never.api.faults = refusing(REFUSALS[kind])
    with pytest.raises(SyncdError):
        await never.cycle()
    assert never.store.calls == {}
    never.api.faults = None
    assert (await never.cycle()).outcome == "ok"
    assert set(never.api.carried_out.values()) == {1}
    assert len(never.api.carried_out) == 25
    assert never.store.dead_letters == []


async def test_a_call_that_was_lost_before_it_was_refused_stays_open(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: a second try that came to nothing says nothing of the first."""
    world.requests, world.api.limit, world.retries = None, None, 1
    tries: set[str] = set()

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what.startswith("call"):
            first = asked.what not in tries
            tries.add(asked.what)
            raise ApiUnavailable("no", sent="unknown" if first else "refused")

    world.api.faults = fault
    with pytest.raises(ApiUnavailable):
        await world.cycle()
    assert {c.outcome for c in world.store.calls.values()} == {"open"}


async def test_a_call_that_was_lost_stays_unknown(never: World, autojump_clock: Clock) -> None:
    """no-blind-repeat: beside calls that were refused, the one that may have been carried out."""

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == 'call ["c1"]':
            raise ApiUnavailable("lost", sent="unknown")
        if asked.what.startswith("call"):
            raise AccessDenied("401", hint="mend it")

    never.api.faults = fault
    with pytest.raises(AccessDenied):
        await never.cycle()
    assert [(c.intent.record_key, c.outcome) for c in never.store.calls.values()] == [
        ('["c1"]', "unknown")
    ]
    never.api.faults = None
    await never.cycle()
    assert '["c1"]' not in never.api.carried_out
    assert [d.key for d in never.store.dead_letters] == ['["c1"]']


async def test_leaving_in_the_wait_that_a_refused_call_was_told_puts_nothing_aside(
    never: World, autojump_clock: Clock
) -> None:
    """drain, no-blind-repeat: a stop while the API has everybody wait loses no record."""
    never.api.faults = refusing(REFUSALS["429"])
    async with never.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(30)
            never.waits.end()

        nursery.start_soon(leave)
        with pytest.raises(SyncdError):
            await run_cycle(stream)
    assert never.store.calls == {}
    never.api.faults = None
    assert (await never.cycle()).outcome == "ok"
    assert never.store.dead_letters == []
    assert set(never.api.carried_out.values()) == {1}


async def test_what_is_known_of_unsent_calls_goes_when_it_is_needed_no_more(
    never: World, autojump_clock: Clock
) -> None:
    """contained: a daemon whose calls fail for years remembers none of them."""

    async def fails_or_turns_away(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == 'call ["c1"]':
            raise CallFailed("call-failed", "422")
        if asked.what.startswith("call"):
            raise RateLimited("429", hint=60.0)

    never.api.faults, never.api.page_size = fails_or_turns_away, 5
    for n in range(6, 26):
        del never.api.records[f"c{n}"]
    async with never.process() as stream:
        await run_cycle(stream)
        assert stream.unsent == set()
        never.api.faults = refusing(REFUSALS["405"])
        with pytest.raises(UnexpectedAnswer):
            await run_cycle(stream)
        assert stream.unsent == set()
    assert {c.outcome for c in never.store.calls.values()} <= {"failed"}


@attrs.define(eq=False, kw_only=True)
class Replaying(FakeSource):
    """Its API refuses the bearer of each call's first request, which is sent again with another."""

    async def call(self, record: Record, idempotency_key: str, permit: Permit) -> bytes:
        await permit.spend()
        await permit.confirm()
        permit.written()
        permit.answered()  # 401
        return await super().call(record, idempotency_key, permit)


@pytest.mark.parametrize("away", [True, False], ids=["with postgres away", "alone"])
async def test_a_call_whose_bearer_was_refused_is_not_in_doubt_while_it_waits_for_a_token(
    autojump_clock: Clock, away: bool
) -> None:
    """no-blind-repeat, drain, accounted: what was answered is no call in flight."""
    world = World(requests=2, concurrency=1)
    world.source = Replaying(api=world.api, repeatable=False)
    world.api.fill(1)
    async with world.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(30)  # the page and the refused try have taken both tokens
            if away:
                world.store.away = True
                await trio.sleep(60)
            world.waits.end()
            await trio.sleep(5)
            world.store.away = False

        nursery.start_soon(leave)
        with pytest.raises(Draining):
            await run_cycle(stream)
        assert world.store.calls == {}
    assert (await world.cycle()).outcome == "ok"
    assert world.store.dead_letters == []
    assert world.api.carried_out == {'["c1"]': 1}
