"""Scans from the loop's side: when they are due, and what rows that move do to them."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from syncd.daemon.jobs import Job
from syncd.errors import StoreUnavailable, UnexpectedAnswer
from syncd.sync import events
from syncd.sync.model import Committed, StreamId
from syncd.sync.ports import APPROVE
from syncd.sync.stream import run_cycle
from syncd.testing import Asked
from syncd.testing.scanning import DELETED
from tests.flow.conftest import CAMPAIGNS, World
from tests.flow.fleet import Fleet

Clock = trio.testing.MockClock
ADS = StreamId(source="ads", stream="campaigns")
DAY = 86400.0


def at_page(*numbers: int, then: Callable[[], object]) -> Callable[[Asked], Awaitable[None]]:
    """Do something at the API before it answers for these requests of its list, in order."""
    to_come = [f"page {n}" for n in numbers]

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if to_come and asked.what == to_come[0]:
            to_come.pop(0)
            then()

    return fault


def deleted(world: World) -> set[str]:
    return {name for name, row in world.rows.items() if row.get(DELETED) is not None}


def found(world: World) -> list[str]:
    """What came of each scan, in words."""
    return [e.found.words for e in world.heard if isinstance(e, events.Reconciled)]


async def passes(world: World) -> list[Committed]:
    """One life with a cycle, and all the passes out of turn that it asks for."""
    done = []
    async with world.process() as stream:
        done.append(await run_cycle(stream))
        while done[-1].checkpoint.extra_due:
            done.append(await run_cycle(stream, extra=True))
    return done


@pytest.fixture
def world() -> World:
    """25 campaigns, 10 on a page, no budget; each cycle whose last scan is a day old scans."""
    world = World(requests=None, reconcile=DAY)
    world.api.fill(25)
    return world


# --- when scans are due ------------------------------------------------------------------------


async def test_one_scan_notes_and_the_next_confirms(world: World, autojump_clock: Clock) -> None:
    """no-delete-on-absence: the second look is the next cycle, though the interval is a day."""
    await world.cycle()
    del world.api.records["c7"]
    assert not (await world.cycle()).checkpoint.extra_due
    await trio.sleep(DAY)
    await world.cycle()
    assert deleted(world) == set()
    await world.cycle()
    assert deleted(world) == {"c7"}
    await world.cycle()
    assert found(world) == [
        "nothing is gone",
        "1 row missing for the first time",
        "1 row marked as deleted",
    ]
    assert [c.reconcile for c in world.store.cycles] == [True, False, True, True, False]


async def test_without_reconcile_nothing_goes(world: World, autojump_clock: Clock) -> None:
    """no-delete-on-absence: who did not ask for it keeps every row."""
    world.reconcile = None
    await world.cycle()
    del world.api.records["c7"]
    for _ in range(3):
        await world.cycle()
    assert (deleted(world), found(world)) == (set(), [])


async def test_the_lost_answer_of_a_conclusion_is_read_back(
    world: World, autojump_clock: Clock
) -> None:
    """resume: it was drawn once, and what came of it is told all the same."""
    world.reconcile = 0.0
    await world.cycle()
    del world.api.records["c7"]
    await world.cycle()
    world.store.fail_next("reconcile", StoreUnavailable("lost"), after=True)
    await world.cycle()
    assert found(world)[-1] == "1 row marked as deleted"
    assert deleted(world) == {"c7"}


async def test_a_conclusion_that_was_not_drawn_is_drawn(
    world: World, autojump_clock: Clock
) -> None:
    """resume: the same trouble, before anything was written."""
    world.reconcile = 0.0
    await world.cycle()
    del world.api.records["c7"]
    await world.cycle()
    world.store.fail_next("reconcile", StoreUnavailable("away"))
    await world.cycle()
    assert found(world)[-1] == "1 row marked as deleted"


async def test_a_cycle_that_was_taken_up_is_no_scan(world: World, autojump_clock: Clock) -> None:
    """no-delete-on-absence: it goes on, deletes nothing, and the next one looks again."""
    world.reconcile, world.retries = 0.0, 1
    await world.cycle()
    del world.api.records["c7"]
    await world.cycle()

    async def down(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2":
            raise UnexpectedAnswer("no list", hint="look")

    world.api.faults = down
    with pytest.raises(UnexpectedAnswer):
        await world.cycle()
    world.api.faults = None
    await world.cycle()
    assert found(world)[-1] == "nothing can be told of what is gone: it was interrupted"
    assert deleted(world) == set()
    await world.cycle()
    assert deleted(world) == {"c7"}


async def test_a_suspicious_scan_marks_nothing(world: World, autojump_clock: Clock) -> None:
    """no-delete-on-absence: half of the list is missing twice, and every row stays."""
    world.reconcile = 0.0
    for _ in range(5):
        await world.cycle()
    for n in range(1, 13):
        del world.api.records[f"c{n}"]
    for _ in range(2):
        assert (await world.cycle()).outcome == "suspicious"
    assert deleted(world) == set()
    said = found(world)[-1]
    assert "12 of 25 rows are gone" in said
    assert "suspicious: 13 records" in said


# --- rows that move ------------------------------------------------------------------------------


def one_leaves(world: World, *names: str) -> Callable[[], object]:
    """Each time it is called, the next of these is gone from the first page."""
    to_go = list(names)
    return lambda: world.api.records.pop(to_go.pop(0))


def one_comes_first(world: World) -> None:
    new = {"id": "new", "name": "new", "budget": 1}
    world.api.records = {"new": new, **world.api.records}


async def test_a_row_that_slips_by_is_met_by_a_second_pass(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: one extra pass, each call made once, and the words on the cycle's row."""
    world.reconcile = None
    world.api.faults = at_page(2, then=one_leaves(world, "c3"))
    done = await passes(world)
    assert len(done) == 2
    assert set(world.api.carried_out.values()) == {1}
    assert set(world.rows) == {f"c{n}" for n in range(1, 26)}
    first, second = world.store.cycles
    assert first.reason.startswith(
        "rows moved while it paged: the total went from 25 to 24; a second pass follows"
    )
    assert (second.follows, second.counts.calls) == (first.id, 1)
    assert "moved" not in second.reason


async def test_a_key_that_is_met_twice_brings_a_second_pass(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: one that comes in first is called once, and none is called twice."""
    world.reconcile = None
    world.api.faults = at_page(2, then=lambda: one_comes_first(world))
    done = await passes(world)
    assert len(done) == 2
    assert "1 key was met twice" in world.store.cycles[0].reason
    assert "new" in world.rows
    assert set(world.api.carried_out.values()) == {1}
    assert len(world.api.carried_out) == 26


async def test_rows_that_move_again_get_no_third_pass(world: World, autojump_clock: Clock) -> None:
    """contained: a list that never stands still must not be read for ever."""
    world.api.faults = at_page(2, 2, then=one_leaves(world, "c3", "c4"))
    done = await passes(world)
    assert len(done) == 2
    assert world.store.cycles[1].reason.startswith(
        "rows moved again: the total went from 24 to 23; "
        "what both passes missed is left to the next cycle"
    )
    assert set(world.api.carried_out.values()) == {1}


async def test_rows_that_moved_break_the_scan(world: World, autojump_clock: Clock) -> None:
    """no-delete-on-absence: what such a cycle did not meet is not even noted."""
    world.api.faults = at_page(2, then=one_leaves(world, "c3"))
    await world.cycle()
    assert found(world) == ["nothing can be told of what is gone: the total went from 25 to 24"]
    assert world.store.scans[CAMPAIGNS].due


async def test_a_first_page_that_changed_breaks_the_scan(
    world: World, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: one came in and one went, so that no total tells it."""

    def replaced() -> None:
        del world.api.records["c1"]
        one_comes_first(world)

    world.api.faults = at_page(2, then=replaced)
    await world.cycle()
    assert found(world)[-1] == (
        "nothing can be told of what is gone: the first page changed while the others were read"
    )
    assert world.store.scans[CAMPAIGNS].due


async def test_a_first_page_that_changed_brings_a_second_pass_and_no_third(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 20, no-blind-repeat: what slipped by is met at once, though the total stays."""
    numbers = iter([1, 2])

    def moved() -> None:
        n = next(numbers)
        del world.api.records[f"c{n}"]
        world.api.records[f"new{n}"] = {"id": f"new{n}", "name": "new", "budget": n}

    world.api.faults = at_page(2, 2, then=moved)
    done = await passes(world)
    assert len(done) == 2
    first, second = world.store.cycles
    assert (first.follows, second.follows) == (None, first.id)
    assert "the first page changed" in first.reason
    assert "the first page changed" in second.reason
    # It moved up to the page before while that was read.
    assert "c11" in world.rows
    assert set(world.api.carried_out.values()) == {1}


async def test_a_first_page_that_is_not_there_breaks_the_scan_only(
    world: World, autojump_clock: Clock
) -> None:
    """contained: the cycle has ended well by then, and stays so."""
    asked_first = 0

    async def fault(asked: Asked) -> None:
        nonlocal asked_first
        await trio.lowlevel.checkpoint()
        asked_first += asked.what == "page 1"
        if asked_first > 1:
            raise UnexpectedAnswer("no list", hint="look")

    world.api.faults = fault
    done = await world.cycle()
    assert done.outcome == "ok"
    assert "the first page could not be looked at again" in found(world)[0]


# --- in a daemon ---------------------------------------------------------------------------------


async def test_a_pass_out_of_turn_keeps_the_schedule(autojump_clock: Clock) -> None:
    """contained: the next cycle starts `every` after the last one that was due."""
    fleet = Fleet(requests=1000)
    api = fleet.has(ADS, 25)
    gone = iter(["c3"])
    api.faults = at_page(2, then=lambda: api.records.pop(next(gone)))
    async with fleet.life("ads") as life:
        life.start(ADS, every=900.0)
        await fleet.cycles(ADS, 3)
    first, extra, third = fleet.store.cycles[:3]
    assert [c.follows for c in (first, extra, third)] == [None, first.id, None]
    assert extra.started_at - first.started_at < 60
    assert third.started_at - first.started_at == pytest.approx(900.0, abs=1.0)
    assert len(fleet.ended(ADS)) == 3


async def test_where_nothing_is_held_nothing_is_approved(autojump_clock: Clock) -> None:
    """no-delete-on-absence: and no scan begins for it."""
    fleet = Fleet(requests=1000)
    fleet.has(ADS, 25)
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=900.0)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        job = Job(kind="reconcile", subjects=[APPROVE])
        runner.ask(job)
        await job.done.wait()
        assert (job.ok, job.answer) == (False, "nothing is held, so nothing is approved")
        await trio.sleep(100.0)
    assert len(fleet.store.cycles) == 1


async def test_an_operators_scan_keeps_the_schedule(autojump_clock: Clock) -> None:
    """no-blind-repeat: asked for in a rest, it looks twice, calls nothing, and the rest goes on."""
    fleet = Fleet(requests=1000)
    api = fleet.has(ADS, 25)
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=900.0)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        await trio.sleep(100.0)
        del api.records["c7"]
        job = Job(kind="reconcile")
        runner.ask(job)
        with trio.fail_after(60):
            await job.done.wait()
        assert (job.ok, job.answer) == (True, "looks for what is gone now")
        await fleet.until(lambda e: isinstance(e, events.Reconciled) and e.found.deleted == 1)
        assert fleet.rows(ADS)["c7"][DELETED] is not None
        assert set(api.carried_out.values()) == {1}
        await fleet.cycles(ADS, 4)
    first, *scans, last = fleet.store.cycles[:4]
    assert [c.follows for c in scans] == [first.id, first.id]
    assert last.started_at - first.started_at == pytest.approx(900.0, abs=1.0)
