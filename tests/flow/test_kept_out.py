"""Records that were forgotten, from the loop's side: whatever is under way, none comes back."""

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, Draining, StoreRefused, TryAgain
from syncd.sync import events
from syncd.sync.aside import retry_letters, sync_records
from syncd.sync.model import Page
from syncd.sync.stream import run_cycle
from syncd.testing import Asked, record, reject
from syncd.testing.kept import Trouble
from tests.flow.conftest import CAMPAIGNS, TABLE, World

Clock = trio.testing.MockClock
KEY = '["c7"]'
SCAN = 0.0  # seconds; each cycle is one


@pytest.fixture
def world() -> World:
    """25 campaigns, 10 on a page, no budget; each cycle is a scan."""
    world = World(requests=None, reconcile=SCAN)
    world.api.fill(25)
    return world


def forgets(world: World, *, at: str, keep_out: bool = False) -> None:
    """An operator forgets c7 while this request is under way."""
    done: list[str] = []

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == at and not done:
            done.append(at)
            world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=keep_out)

    world.api.faults = fault


def calls_for(world: World) -> int:
    return sum(asked.what == f"call {KEY}" for asked in world.api.asked)


def is_nowhere(world: World) -> bool:
    """Neither a row, a dead letter, a call nor a noted key."""
    store = world.store
    letters = [letter for letter in store.dead_letters if letter.key == KEY]
    ledger = [call for call in store.calls.values() if call.record_key == KEY]
    noted = [key for scans in store.scans.values() for key in (*scans.seen, *scans.missing)]
    return "c7" not in world.rows and not letters and not ledger and ("ads", "c7") not in noted


@pytest.mark.parametrize("at", ["page 1", f"call {KEY}", 'call ["c3"]'])
@pytest.mark.parametrize("keep_out", [True, False])
async def test_accounted_what_is_forgotten_while_its_page_is_under_way_is_not_written_with_it(
    world: World, autojump_clock: Clock, at: str, keep_out: bool
) -> None:
    """accounted, page-atomic: the page drops it, counts it, and keeps nothing of its call."""
    forgets(world, at=at, keep_out=keep_out)
    done = await world.cycle()
    assert is_nowhere(world)
    assert (done.totals.seen, done.totals.written) == (25, 24)
    assert (done.totals.left_out, done.totals.kept_out) == (1, 1)
    assert done.totals.balanced
    assert len(world.rows) == 24


async def test_without_keep_out_it_comes_back_with_the_next_cycle(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: only pages that were fetched before are held off."""
    forgets(world, at="page 1")
    await world.cycle()
    assert (await world.cycle()).totals.written == 1
    assert "c7" in world.rows
    assert world.store.forgotten == {}


async def test_kept_out_is_never_asked_about_again(world: World, autojump_clock: Clock) -> None:
    """accounted, no-delete-on-absence: not called for, not missing; other rows are as before."""
    await world.cycle()
    world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)
    before, heard = calls_for(world), len(world.heard)
    for _ in range(3):
        done = await world.cycle()
        assert (done.totals.unchanged, done.totals.left_out, done.totals.kept_out) == (24, 1, 1)
    assert calls_for(world) == before
    assert is_nowhere(world)
    scans = [e.found for e in world.heard if isinstance(e, events.Reconciled)]
    assert [(found.broken, found.missing, found.deleted) for found in scans] == [("", 0, 0)] * 4
    assert KEY not in str(world.heard[heard:])


async def test_a_scan_in_whose_middle_a_row_is_forgotten_is_whole(
    world: World, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: what it had noted of the record is not missed."""
    await world.cycle()
    del world.api.records["c9"]
    forgets(world, at="page 3", keep_out=True)
    await world.cycle()
    found = [e.found for e in world.heard if isinstance(e, events.Reconciled)][-1]
    assert (found.broken, found.missing) == ("", 1)
    assert is_nowhere(world)


async def test_let_in_it_comes_back(world: World, autojump_clock: Clock) -> None:
    """accounted: with the next cycle that lists it."""
    world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)
    await world.cycle()
    world.store.let_in(CAMPAIGNS, KEY)
    done = await world.cycle()
    assert (done.totals.written, done.totals.kept_out) == (1, 0)
    assert "c7" in world.rows


async def test_a_running_cycle_hears_of_it_at_its_next_page(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: what stands on a later page is not even called for."""
    later = record({"id": "c25"})

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.number == 1:
            world.store.forget(CAMPAIGNS, TABLE, later.key, keep_out=True)

    world.api.faults = fault
    done = await world.cycle()
    assert (done.totals.written, done.totals.kept_out) == (24, 1)
    assert f"call {later.key}" not in [asked.what for asked in world.api.asked]


async def test_a_bad_record_that_is_kept_out_is_neither_put_aside_nor_told(
    world: World, autojump_clock: Clock
) -> None:
    """contained: its values stand in no reason."""
    world.source.has_call = False
    world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)

    async def bad(_: Asked) -> Page:
        await trio.lowlevel.checkpoint()
        return Page(
            records=[record({"id": "c1", "name": "n", "budget": 1})],
            rejects=[reject("column name: found Marker", key=KEY)],
            left_out=[KEY],
        )

    world.api.faults = bad
    done = await world.cycle()
    assert (done.totals.seen, done.totals.kept_out, done.totals.dead) == (3, 2, 0)
    assert is_nowhere(world)
    assert "Marker" not in str(world.heard)


async def test_pages_of_nothing_but_what_is_kept_out_are_no_list_without_end(
    world: World, autojump_clock: Clock
) -> None:
    """contained: they are as different as they were."""
    world.api.page_size = 1
    for name in ("c2", "c3"):
        world.store.forget(CAMPAIGNS, TABLE, f'["{name}"]', keep_out=True)
    done = await world.cycle()
    assert (done.outcome, done.totals.written, done.totals.kept_out) == ("ok", 23, 2)


@pytest.mark.parametrize("called", [True, False])
async def test_a_dead_letter_that_is_being_retried_does_not_come_back(
    world: World, autojump_clock: Clock, called: bool
) -> None:
    """no-blind-repeat: neither its row nor the letter; forgotten before its call, or during it."""

    async def fails(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == f"call {KEY}":
            raise ApiUnavailable("503", sent="refused")

    world.retries, world.api.faults = 0, fails
    await world.cycle()
    async with world.process() as stream:
        at = await world.store.read_checkpoint(CAMPAIGNS)
        (number,) = [f.id for f in world.store.put_aside.values() if f.letter.key == KEY]
        letters = await world.store.letters(CAMPAIGNS, [number])
        world.api.faults = None
        if called:
            forgets(world, at=f"call {KEY}")
        else:
            world.store.forget(CAMPAIGNS, TABLE, KEY)
        done = await retry_letters(stream, at, letters)
    assert is_nowhere(world)
    assert (done.totals.written, done.totals.kept_out) == (0, 1)


async def test_what_is_kept_out_is_not_found_for_an_operator(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: also where the stream rests, and did not hear of it yet."""
    async with world.process() as stream:
        at = (await run_cycle(stream)).checkpoint
        world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)
        before = calls_for(world)
        found = await sync_records(stream, await world.store.read_checkpoint(CAMPAIGNS), ["c7"])
        assert (found.committed, found.missing) == (None, ("c7",))
        world.store.let_in(CAMPAIGNS, KEY)
        forgets(world, at="page 1", keep_out=True)
        found = await sync_records(stream, at, ["c7"])
    assert found.committed is not None
    assert found.committed.totals.kept_out == 1
    assert calls_for(world) == before
    assert is_nowhere(world)


async def test_a_call_that_was_answered_too_late_is_not_remembered(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: of a page that never was committed nothing of it stays in the ledger."""

    async def answers(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == f"call {KEY}":
            world.store.forget(CAMPAIGNS, TABLE, KEY)
            world.waits.end()
        elif asked.what.startswith("call") and world.waits.ended:
            raise ApiUnavailable("503", sent="refused")

    world.api.faults = answers
    world.concurrency = 1
    with pytest.raises((Draining, TryAgain)):
        await world.cycle()
    assert not is_nowhere(world)  # it was answered, and settled
    world.api.faults = None
    world.api.records.pop("c7")
    await world.cycle()
    assert is_nowhere(world)


async def test_a_key_that_has_changed_parks_the_stream_before_it_asks(
    world: World, autojump_clock: Clock
) -> None:
    """contained: by a reload in mid cycle, too; nothing comes back that is known by another key."""
    world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)
    async with world.process() as stream:
        await run_cycle(stream)
        asked = len(world.api.asked)
        stream.table = attrs.evolve(TABLE, columns={**TABLE.columns, "id": "bigint"})
        with pytest.raises(StoreRefused):
            await run_cycle(stream)
    assert len(world.api.asked) == asked


async def test_a_reload_in_mid_cycle_lets_nothing_in(world: World, autojump_clock: Clock) -> None:
    """accounted: what goes on with other settings knows what the ones before knew."""
    world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=True)
    async with world.process() as stream:
        stream.stop_at_boundary()
        world.source.has_call = False
        halted = await run_cycle(stream)
        assert halted.outcome is None
        other = attrs.evolve(stream)
        other.go_on_from(stream)
        assert other.kept_out.hashes
        done = await run_cycle(other, halted.checkpoint)
    assert (done.totals.written, done.totals.kept_out) == (24, 1)


def scanning_world() -> World:
    """12 campaigns, 5 on a page; each cycle is a scan."""
    world = World(requests=None, reconcile=SCAN)
    world.api.page_size = 5
    world.api.fill(12)
    return world


@pytest.mark.parametrize("answers_are_lost", [True, False])
@pytest.mark.parametrize("keep_out", [True, False])
async def test_page_atomic_whenever_it_is_forgotten_it_does_not_come_back(
    autojump_clock: Clock, keep_out: bool, answers_are_lost: bool
) -> None:
    """page-atomic, accounted, no-delete-on-absence: before each statement of a cycle in turn."""
    moment, moments = 0, 1
    while moment < moments:
        world, statements = scanning_world(), 0
        await world.cycle()
        for values in world.api.records.values():
            values["name"] = "new"
        before = fetched = world.pages_asked().count(1)

        def befalls(method: str) -> Trouble:
            nonlocal statements, fetched
            if statements == moment:  # noqa: B023 - each world has its own
                world.store.forget(CAMPAIGNS, TABLE, KEY, keep_out=keep_out)  # noqa: B023
                fetched = world.pages_asked().count(1)  # noqa: B023
            statements += 1
            lost = (
                answers_are_lost and method in ("commit_pages", "reconcile") and not statements % 3
            )
            return Trouble(lost="answer" if lost else "")

        world.store.troubles = befalls
        done = await world.cycle()
        world.store.troubles = None
        moments, moment = statements, moment + 1
        may_be_back = not keep_out and fetched == before  # its page was asked for afterwards
        assert may_be_back or is_nowhere(world), f"before statement {moment} of {moments}"
        assert done.totals.balanced
        (*_, scan) = [e.found for e in world.heard if isinstance(e, events.Reconciled)]
        assert (scan.broken, scan.missing) == ("", 0)
        assert len(world.rows) in (11, 12)
        again = await world.cycle()
        assert ("c7" in world.rows) != keep_out
        assert again.totals.kept_out == keep_out
    assert moments > 20
