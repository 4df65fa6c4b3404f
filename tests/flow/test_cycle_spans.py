"""The spans of the real loop, to the second, on a clock that jumps."""

import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, Draining
from syncd.sync.aside import sync_records
from syncd.sync.stream import read_ours, run_cycle
from syncd.testing import Asked
from tests.flow.conftest import World
from tests.spans import Kept, field, id_of, seconds, trace_of

Clock = trio.testing.MockClock


async def test_the_spans_of_a_cycle_fill_its_time(world: World, autojump_clock: Clock) -> None:
    """25 calls of two seconds at ten requests a minute: the cycle's span lasts as long as it."""
    kept = Kept.by(trio.current_time)
    async with world.process() as stream:
        stream.report = kept.spans.hear
        began = trio.current_time()
        await run_cycle(stream)
        took = trio.current_time() - began
    [cycle] = kept.named("cycle")
    assert seconds(cycle) == pytest.approx(took, abs=0.01)
    pages = kept.below(cycle)
    assert [(p.name, field(p, "syncd.page")) for p in pages] == [("page", n) for n in (1, 2, 3)]
    assert [len([s for s in kept.below(p) if s.name == "call"]) for p in pages] == [10, 10, 5]
    assert [len([s for s in kept.below(p) if s.name == "commit"]) for p in pages] == [1, 1, 1]
    assert all(seconds(c) >= 2 for c in kept.named("call"))
    assert {trace_of(s) for s in kept.all} == {trace_of(cycle)}
    assert not any(kept.spans._cycles.values())


async def test_whoever_takes_a_cycle_up_adds_to_its_trace(
    world: World, autojump_clock: Clock
) -> None:
    """The one who began it leaves pages, and no span of the cycle; the next one exports it."""

    async def third(asked: Asked) -> None:
        if asked.what.startswith("page 3"):
            world.waits.end()

    world.api.faults = third
    first, second = Kept.by(trio.current_time), Kept.by(trio.current_time)
    async with world.process() as stream:
        stream.report = first.spans.hear
        with pytest.raises(Draining):
            await run_cycle(stream)
    first.spans.leave()
    world.api.faults = None
    assert first.named("cycle") == []
    assert field(first.named("page")[-1], "syncd.unfinished")
    async with world.process() as stream:
        stream.report = second.spans.hear
        await run_cycle(stream)
    [cycle] = second.named("cycle")
    assert field(cycle, "syncd.cycle.taken_up")
    assert {trace_of(s) for s in (*first.all, *second.all)} == {trace_of(cycle)}
    parents = [p.parent and p.parent.span_id for p in first.named("page")]
    assert set(parents) == {id_of(cycle)}


async def test_a_cycle_is_abandoned_with_its_span(world: World, autojump_clock: Clock) -> None:
    """Another address, and the cycle begins anew: two traces, the first an error."""

    async def away(_: Asked) -> None:
        raise ApiUnavailable("503", sent="refused")

    kept = Kept.by(trio.current_time)
    world.api.faults, world.retries = away, 0
    async with world.process() as stream:
        stream.report = kept.spans.hear
        with pytest.raises(ApiUnavailable):
            await run_cycle(stream)
        world.api.faults, world.source.version = None, "2"
        await run_cycle(stream)
    before, after = kept.named("cycle")
    assert field(before, "error.type") == "abandoned"
    assert field(after, "syncd.outcome") == "ok"
    assert trace_of(before) != trace_of(after)


async def test_records_asked_for_are_a_trace_of_their_own(
    world: World, autojump_clock: Clock
) -> None:
    """With the call that was made for them, and the commit."""
    kept = Kept.by(trio.current_time)
    await world.cycle()
    async with world.process() as stream:
        stream.report = kept.spans.hear
        at = await read_ours(stream)
        await sync_records(stream, at, ["c3"])
    [aside] = kept.named("aside")
    assert sorted(s.name for s in kept.below(aside)) == ["call", "commit"]
    assert field(aside, "syncd.aside") == "records"
    assert seconds(aside) >= seconds(kept.named("call")[0]) >= 2
