"""resume: the loop asks for what has changed, and its mark is never ahead of the API."""

import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable
from syncd.testing import Asked
from syncd.testing.scanning import DELETED
from tests.flow.conftest import CAMPAIGNS, World

Clock = trio.testing.MockClock


@pytest.fixture
def world() -> World:
    """25 campaigns with versions 1 to 25, 10 on a page; the API's clock says 1,000."""
    world = World(requests=None)
    world.full = 86400.0
    world.source.has_call = False
    world.api.clock = 1000.0
    world.api.fill(25)
    for n, fields in enumerate(world.api.records.values(), start=1):
        fields["version"] = n
    return world


def change(world: World, which: str, version: int, **fields: object) -> None:
    world.api.records[which] = {**world.api.records[which], "version": version, **fields}


async def test_only_what_has_changed_is_asked_for(world: World, autojump_clock: Clock) -> None:
    """At the border the twin is met again; deletes that the API tells of act at once."""
    first = await world.cycle()
    assert first.totals.seen == 25
    assert world.store.high_water[CAMPAIGNS] == "25"
    change(world, "c3", 26, name="new")
    change(world, "c4", 27, deleted=True)
    done = await world.cycle()
    assert (done.outcome, done.totals.seen, done.totals.written) == ("ok", 3, 2)
    assert world.rows["c3"]["name"] == "new"
    assert world.rows["c4"][DELETED] is not None
    assert world.store.high_water[CAMPAIGNS] == "27"
    assert (await world.cycle()).totals.seen == 1


async def test_the_mark_is_never_above_the_apis_clock_at_the_first_page(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 27: a row with an older stamp that is committed while it pages is met next time."""
    world.api.clock = 20.0

    async def late(asked: Asked) -> None:
        world.api.clock += 100.0  # time goes on while it pages

    world.api.faults = late
    await world.cycle()
    world.api.faults = None
    first_page = world.store.high_water[CAMPAIGNS]
    assert first_page == "25"  # the first page was answered at 120
    world.api.clock = 10.0
    change(world, "c1", 30)
    await world.cycle()
    # Stepped back: it does not lead back before what was asked for.
    assert world.store.high_water[CAMPAIGNS] == "25"
    change(world, "c2", 28)
    world.api.clock = 1000.0
    assert (await world.cycle()).totals.seen == 3


async def test_a_cycle_that_died_goes_on_with_its_mark(world: World, autojump_clock: Clock) -> None:
    """resume: what its first pages showed counts, though another life commits the last one."""
    await world.cycle()
    for n in range(1, 26):
        change(world, f"c{n}", 100 - n)
    with trio.CancelScope() as life:

        async def die(asked: Asked) -> None:
            if asked.what == "page 3":
                life.cancel()

        world.api.faults = die
        await world.cycle()
    world.api.faults = None
    done = await world.cycle()
    assert (done.totals.seen, world.store.high_water[CAMPAIGNS]) == (25, "99")


async def test_a_cycle_that_failed_moves_no_mark(world: World, autojump_clock: Clock) -> None:
    """resume: it goes on, and only its end moves it."""
    await world.cycle()
    for n in range(1, 16):
        change(world, f"c{n}", 50, name="new")

    async def fails(asked: Asked) -> None:
        if asked.what == "page 2":
            raise ApiUnavailable("503")

    world.api.faults = fails
    with pytest.raises(ApiUnavailable):
        await world.cycle()
    assert world.store.high_water[CAMPAIGNS] == "25"
    world.api.faults = None
    assert (await world.cycle()).totals.written == 15
    assert world.store.high_water[CAMPAIGNS] == "50"


async def test_what_changes_while_it_pages_is_asked_for_again(
    world: World, autojump_clock: Clock
) -> None:
    """resume: of a list whose places move another record may have slipped by."""
    await world.cycle()
    for n in range(1, 16):
        change(world, f"c{n}", 30)
    world.api.clock = 40.0

    async def moves(asked: Asked) -> None:
        if asked.what == "page 2":
            change(world, "c20", 50)

    world.api.faults = moves
    await world.cycle()
    assert world.store.high_water[CAMPAIGNS] == "25"
    world.api.faults, world.api.clock = None, 1000.0
    assert (await world.cycle()).totals.seen == 17
    assert world.store.high_water[CAMPAIGNS] == "50"


async def test_nothing_is_gone_by_absence_from_what_has_changed(
    world: World, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: only whole lists are looked at for what they lack."""
    world.reconcile = 10 * 86400.0
    await world.cycle()
    del world.api.records["c9"]
    for _ in range(3):
        await world.cycle()
    assert "c9" in world.rows
    assert world.rows["c9"].get(DELETED) is None
