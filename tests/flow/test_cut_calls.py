"""no-blind-repeat: calls that are cut short, drained or reloaded, at each of their awaits."""

from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, Draining, SyncdError, TryAgain
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint
from syncd.sync.stream import run_cycle
from syncd.testing.api import Asked
from syncd.testing.kept import Trouble
from tests.flow.conftest import World

Clock = trio.testing.MockClock
STATEMENT = 0.1  # seconds before Postgres carries a statement out, and as many until it says so
MOMENT = 0.07  # seconds between two moments at which something happens: less than any wait lasts
LONG = 60.0  # seconds in which all is done, whatever happens in between


def slow_world(*, repeatable: bool = False, verify: bool = False) -> World:
    """Three campaigns, two on a page; each await takes a time of its own.

    What the API has carried out it is never asked for again.
    """
    world = World(requests=None, concurrency=2)
    world.source.repeatable, world.source.has_verify = repeatable, verify
    world.api.limit, world.api.page_size = None, 2
    world.api.latency, world.api.call_takes = 0.2, 0.5
    world.api.fill(3)
    world.store.troubles = lambda _: Trouble(before=STATEMENT, after=STATEMENT)

    async def looks(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        key = asked.idempotency_key
        assert key is None or not world.api.has_carried_out(key)

    world.api.faults = looks
    return world


def calls(world: World) -> Counter[str]:
    """How often each call has come to the API."""
    return Counter(a.what for a in world.api.asked if a.what.startswith("call"))


def put_aside(world: World) -> dict[str, str]:
    return {f"call {letter.key}": letter.kind for letter in world.store.dead_letters}


def is_accounted_for(world: World) -> None:
    """Each record has its row, with what its call gave, or it is known that nobody knows."""
    for name in world.api.records:
        synced = world.rows.get(name, {}).get("synced_at")
        assert synced or put_aside(world).get(f'call ["{name}"]') == "outcome-unknown", name


async def at_each_moment(
    befalls: Callable[[World, float], Awaitable[bool]], *, verify: bool = False, dies: bool = False
) -> int:
    """Let it befall a cycle at one moment after the other, until that is over first.

    dies: so that nobody can know what became of a call in flight, unless the API is asked.
    """
    moments = 0
    while moments < LONG / MOMENT:
        world = slow_world(verify=verify)
        over = await befalls(world, moments * MOMENT)
        await world.cycle()
        when = f"after {moments * MOMENT:.2f} s"
        keys = Counter(a.idempotency_key for a in world.api.asked if a.idempotency_key)
        assert verify or set(keys.values()) == {1}, when
        is_accounted_for(world)
        assert (dies and not verify and not over) or world.store.dead_letters == [], when
        if over:
            return moments
        moments += 1
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("verify", [True, False])
async def test_no_blind_repeat_wherever_the_process_dies(
    autojump_clock: Clock, verify: bool
) -> None:
    """no-blind-repeat, accounted: no call comes twice, and none is lost in silence."""

    async def dies(world: World, after: float) -> bool:
        over = False
        async with world.process() as stream:
            with trio.move_on_after(after):
                await run_cycle(stream)
                over = True
        return over

    assert await at_each_moment(dies, verify=verify, dies=True) > 20


async def test_no_blind_repeat_wherever_it_drains(autojump_clock: Clock) -> None:
    """no-blind-repeat, drain: what is in flight is awaited, so that nothing is unknown."""

    async def drains(world: World, after: float) -> bool:
        left = trio.Event()
        async with world.process() as stream, trio.open_nursery() as nursery:

            async def leaves() -> None:
                await trio.sleep(after)
                left.set()
                world.waits.end()

            nursery.start_soon(leaves)
            try:
                await run_cycle(stream)
            except Draining:
                assert not {c.outcome for c in world.store.calls.values()} & {"open", "unknown"}
            nursery.cancel_scope.cancel()
        return not left.is_set()

    assert await at_each_moment(drains) > 20


@pytest.mark.parametrize("anew", [True, False])
async def test_no_blind_repeat_wherever_it_is_reloaded(autojump_clock: Clock, anew: bool) -> None:
    """no-blind-repeat, all-or-nothing-reload: other settings know what these have sent."""

    async def reloaded(world: World, after: float) -> bool:
        async with world.process() as stream:
            at, over = await _reloaded(world, stream, after, anew=anew)
            other = attrs.evolve(stream)
            other.go_on_from(stream)
            await run_cycle(other, at)
        return over

    assert await at_each_moment(reloaded) > 20


async def _reloaded(
    world: World, stream: StreamContext, after: float, *, anew: bool
) -> tuple[Checkpoint | None, bool]:
    """Run until it halts for a reload; anew: for one that gives the cycle up."""

    async def reload() -> None:
        await trio.sleep(after)
        stream.stop_at_boundary()
        if anew:
            world.waits.end()

    at = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        try:
            at = (await run_cycle(stream)).checkpoint
        except Draining:
            assert anew
        nursery.cancel_scope.cancel()
    over = not stream.halt
    stream.run_on()
    return at, over


def losing_then(second: SyncdError) -> Callable[[Asked], Awaitable[None]]:
    """The first try of each call is lost, each one after it comes to nothing for certain."""
    lost: set[str] = set()

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if not asked.what.startswith("call"):
            return
        if asked.what in lost:
            raise second
        lost.add(asked.what)
        raise ApiUnavailable("no answer")

    return fault


SECOND = [ApiUnavailable("503", sent="refused"), ApiUnavailable("no connection", sent="no")]


@pytest.mark.parametrize("second", SECOND, ids=["refused", "not sent"])
async def test_no_blind_repeat_a_call_of_which_one_try_was_lost_is_never_unsent(
    autojump_clock: Clock, second: SyncdError
) -> None:
    """no-blind-repeat: whatever came of the next; from then on it may not be repeated."""
    world = slow_world(repeatable=True)
    world.retries = 1
    world.api.faults = losing_then(second)
    async with world.process() as stream:
        with pytest.raises(TryAgain):
            await run_cycle(stream)
        asked = calls(world)
        tried = set(asked)
        assert 2 in asked.values()
        assert {c.outcome for c in world.store.calls.values()} == {"open"}
        # The operator has learnt that the API takes no repeated call after all, and reloads.
        world.api.faults, world.source.repeatable = None, False
        other = attrs.evolve(stream)
        other.go_on_from(stream)
        await run_cycle(other)
    assert {what: many for what, many in calls(world).items() if what in tried} == asked
    assert put_aside(world) == dict.fromkeys(tried, "outcome-unknown")
    is_accounted_for(world)


@pytest.mark.parametrize("second", SECOND, ids=["refused", "not sent"])
async def test_no_blind_repeat_nor_for_the_next_process(
    autojump_clock: Clock, second: SyncdError
) -> None:
    """no-blind-repeat: its intent is not withdrawn, though the last try came to nothing."""
    world = slow_world(repeatable=True)
    world.retries = 1
    world.api.faults = losing_then(second)
    with pytest.raises(TryAgain):
        await world.cycle()
    tried = set(calls(world))
    world.api.faults, world.source.repeatable = None, False
    await world.cycle()
    assert put_aside(world) == dict.fromkeys(tried, "outcome-unknown")
