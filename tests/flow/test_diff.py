"""The dry run's loop: which pages it asks for, what it counts, and what it makes of absence."""

from collections.abc import Callable
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, Draining, StoreRefused, StoreUnavailable
from syncd.sync import events
from syncd.sync.diff import Absence, Coming, Compared, Outcome, look
from syncd.sync.model import PageCommit
from syncd.sync.ranges import Past
from syncd.testing import Asked
from tests.flow.conftest import World

Clock = trio.testing.MockClock


@attrs.define(eq=False, kw_only=True)
class Notes:
    """Compares with nothing: every record is new.  Fulfils `sync.diff.Comparing`."""

    next: Coming = attrs.field(factory=Coming)
    missing: Absence = attrs.field(factory=lambda: Absence(live=100))
    pages: list[PageCommit] = attrs.field(factory=list)
    asked: dict[str, Any] = attrs.field(factory=dict)
    concluded: dict[str, bool] | None = None
    trouble: Callable[[PageCommit], None] = lambda _: None

    async def coming(self, **asked: Any) -> Coming:
        self.asked = asked
        return self.next

    async def compare(self, page: PageCommit, calls: Literal["", "always", "changed"]) -> Compared:
        self.trouble(page)
        self.pages.append(page)
        return Compared(
            written=len(page.rows),
            dead=len(page.dead),
            keyless=page.keyless,
            calls=len(page.rows) if calls else 0,
        )

    async def absent(self) -> Absence:
        return self.missing

    async def conclude(self, *, scan: bool, held: bool) -> None:
        self.concluded = {"scan": scan, "held": held}


@pytest.fixture
def notes() -> Notes:
    return Notes()


async def looked(world: World, notes: Notes, **options: Any) -> Outcome:
    async with world.process() as stream:
        return await look(stream, notes, **options)


def lists(world: World) -> list[str]:
    return [a.what for a in world.api.asked]


async def test_each_page_is_asked_for_once_and_no_call_is_made(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """no-blind-repeat, accounted: what calls would be made is counted alone."""
    outcome = await looked(world, notes, calls="always")
    assert lists(world) == ["page 1", "page 2", "page 3"]
    assert (outcome.pages, outcome.more, outcome.trouble) == (3, False, None)
    assert (outcome.totals.seen, outcome.totals.written, outcome.calls) == (25, 25, 25)
    assert (outcome.totals.requests, outcome.totals.calls) == (3, 0)
    assert outcome.totals.balanced
    assert notes.concluded == {"scan": False, "held": False}
    compared = [e for e in world.heard if isinstance(e, events.PageCompared)]
    assert [(e.page, e.last, e.totals.seen) for e in compared] == [
        (1, False, 10),
        (2, False, 20),
        (3, True, 25),
    ]


async def test_nothing_is_written_and_the_budget_is_kept(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """budget: its requests are spent as all are; table, checkpoint and cycles stay."""
    world.api.fill(300)
    began = trio.current_time()
    await looked(world, notes)
    assert world.store.cycles == []
    assert not any(world.store.tables.values())
    assert world.api.most_in_a_window() == 10
    assert (world.api.refused, trio.current_time() - began >= 120) == (0, True)


async def test_only_the_first_pages_are_looked_at(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: of a part of the list nothing is told to be gone."""
    outcome = await looked(world, notes, most=2)
    assert (lists(world), outcome.more) == (["page 1", "page 2"], True)
    assert (outcome.absence, notes.concluded) == (None, None)
    world.api.asked.clear()
    whole = await looked(world, notes, most=3)
    assert (whole.more, whole.absence) == (False, Absence(live=100))


async def test_it_asks_as_the_next_cycle_does(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """resume: from the mark; then what is gone is no matter.  Or for the whole list, if asked."""
    world.full = 600.0
    for n, fields in enumerate(world.api.records.values(), start=1):
        fields["version"] = n
    notes.next = Coming(since="24")
    outcome = await looked(world, notes)
    assert (outcome.totals.seen, outcome.absence) == (2, None)
    assert notes.asked["full"] == 600.0
    await looked(world, notes, full=True)
    assert notes.asked["full"] == 0.0


@pytest.mark.parametrize(
    ("coming", "missing", "expected"),
    [
        (Coming(), Absence(live=100, again=3), {"scan": False, "held": False}),
        (Coming(reconcile=True), Absence(live=100, again=3), {"scan": True, "held": False}),
        (Coming(reconcile=True), Absence(live=100, again=11), {"scan": True, "held": True}),
        (
            Coming(reconcile=True, past=(Past(seen=400, written=0),) * 5),
            Absence(live=100, again=1),
            {"scan": True, "held": True},
        ),
        (
            Coming(reconcile=True, under_way=2),
            Absence(live=100, again=3),
            {"scan": False, "held": False},
        ),
    ],
    ids=["no scan", "a scan", "guarded", "suspicious", "under way"],
)
async def test_what_is_absent_goes_by_the_rules_of_a_scan(
    world: World,
    notes: Notes,
    autojump_clock: Clock,
    coming: Coming,
    missing: Absence,
    expected: dict[str, bool],
) -> None:
    """no-delete-on-absence: a guard holds here as it does in a cycle."""
    notes.next, notes.missing = coming, missing
    outcome = await looked(world, notes)
    assert notes.concluded == expected
    assert bool(outcome.question) == expected["held"]
    assert bool(outcome.broken) == (coming.under_way is not None)
    # A scan looks at the first page once more, where something is absent.
    assert lists(world).count("page 1") == 1 + (coming.reconcile and not coming.under_way)


async def test_few_changes_are_odd_only_where_no_call_writes_more(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """accounted: what calls give is not counted, and so its lack is no reason for doubt."""
    notes.next = Coming(past=(Past(seen=25, written=225),) * 10)
    assert "25 rows written, where" in (await looked(world, notes)).suspicious
    assert (await looked(world, notes, calls="always")).suspicious == ""


async def test_rows_that_move_leave_what_is_gone_open(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: a row that leaves page 1 while page 2 is asked for lets one slip by."""
    notes.next = Coming(reconcile=True)
    notes.missing = Absence(live=100, again=1)

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2":
            world.api.records.pop("c3", None)

    world.api.faults = fault
    outcome = await looked(world, notes)
    assert "the total went from 25 to 24" in outcome.moved
    assert outcome.broken == outcome.moved
    assert notes.concluded == {"scan": False, "held": False}


async def test_trouble_ends_it_and_what_was_found_stays(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """contained: an API that is down, or a page that Postgres refuses whole."""

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2":
            raise ApiUnavailable("503")

    world.api.faults = fault
    outcome = await looked(world, notes)
    assert isinstance(outcome.trouble, ApiUnavailable)
    assert (outcome.pages, outcome.totals.seen) == (1, 10)
    assert (outcome.totals.requests, outcome.totals.retried) == (7, 5)
    assert outcome.absence is None
    world.api.faults = None

    def refuse(page: PageCommit) -> None:
        if page.next_cursor is None:
            raise StoreRefused("all rows are refused")

    notes.trouble = refuse
    broken = await looked(world, notes)
    assert isinstance(broken.trouble, StoreRefused)
    assert broken.totals.seen == 20


async def test_a_postgres_that_is_away_is_waited_for(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """No page is asked for a second time, and none is counted twice."""
    failures = iter([True, True])

    def away(_: PageCommit) -> None:
        if next(failures, False):
            raise StoreUnavailable("away")

    notes.trouble = away
    outcome = await looked(world, notes)
    assert (outcome.totals.seen, lists(world)) == (25, ["page 1", "page 2", "page 3"])


async def test_leaving_ends_the_wait_for_the_budget(
    world: World, notes: Notes, autojump_clock: Clock
) -> None:
    """drain: what was found until then is told."""
    world.api.fill(300)
    async with world.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(5)
            world.waits.end()

        nursery.start_soon(leave)
        outcome = await look(stream, notes)
    assert isinstance(outcome.trouble, Draining)
    assert outcome.pages == 10
    assert trio.current_time() < 10
