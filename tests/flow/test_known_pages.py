"""Pages that come without a body: what is not read is as it was, and nothing is lost for it."""

from collections.abc import Callable

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import ApiUnavailable, StoreUnavailable, TryAgain
from syncd.sync.aside import sync_records
from syncd.sync.drift import Drift
from syncd.sync.known import WHOLE
from syncd.sync.model import Page
from syncd.sync.moves import Movement
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import Asked, FakeSource, record, reject
from syncd.testing.api import Fault
from syncd.testing.kept import Trouble
from syncd.testing.known import Known
from tests.flow.conftest import CAMPAIGNS, TABLE, World

Clock = trio.testing.MockClock


@pytest.fixture
async def world(autojump_clock: Clock) -> World:
    """25 campaigns, 10 on a page, no budget, no calls; their pages have ETags.

    The stream has had a cycle, when there were none yet.
    """
    world = World(requests=None)
    world.source.conditional = True
    world.source.has_call = False
    await world.cycle()
    world.api.asked.clear()
    world.heard.clear()
    world.api.fill(25)
    return world


async def test_in_the_first_cycle_of_a_stream_nothing_is_noted(autojump_clock: Clock) -> None:
    """All is new then: what it costs to note pages is saved until they come again."""
    world = World(requests=None)
    world.source.conditional, world.source.has_call = True, False
    world.api.fill(25)
    await world.cycle()
    assert not world.store.known
    assert await unread(world) == 0
    assert await unread(world) == 3
    assert_equal(world)


async def unread(world: World) -> int:
    """So many pages of one more cycle came without a body."""
    before = world.source.unread
    await world.cycle()
    return world.source.unread - before


def assert_equal(world: World) -> None:
    """The table is as the API is."""
    there = {name: (row["name"], row["budget"]) for name, row in world.rows.items()}
    assert there == {n: (r["name"], r["budget"]) for n, r in world.api.records.items()}


async def test_accounted_a_page_that_is_as_it_was_counts_as_whole_and_unchanged(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: nothing of it is read, and the sums are those of a cycle that reads all."""
    first = await world.cycle()
    second = await world.cycle()
    assert world.source.unread == 3
    assert second.outcome == "ok"
    assert (first.totals.seen, first.totals.written) == (25, 25)
    assert (second.totals.seen, second.totals.unchanged, second.totals.written) == (25, 25, 0)
    assert second.totals.balanced
    assert second.totals.requests == 3
    assert second.checkpoint.last_page == first.checkpoint.last_page
    assert_equal(world)


async def test_accounted_only_pages_that_have_changed_are_read(
    world: World, autojump_clock: Clock
) -> None:
    """A record that changed costs its page, and no other."""
    await world.cycle()
    world.api.records["c12"]["name"] = "renamed"
    assert await unread(world) == 2
    assert_equal(world)
    assert await unread(world) == 3


async def test_accounted_a_row_more_at_the_end_costs_the_last_page(
    world: World, autojump_clock: Clock
) -> None:
    """A list that only grows is read where it has grown."""
    await world.cycle()
    world.api.records["c26"] = {"id": "c26", "name": "new", "budget": 1}
    done = await world.cycle()
    # Each answer of the fake names its total: all of them are others now.
    assert (world.source.unread, done.totals.written) == (0, 1)
    assert await unread(world) == 3
    assert_equal(world)


async def test_without_etags_nothing_is_known_and_nobody_looks(
    world: World, autojump_clock: Clock
) -> None:
    """Who gives no ETags costs no statement for it."""
    world.source.conditional = False
    asked: list[str] = []

    def note(method: str) -> Trouble:
        asked.append(method)
        return Trouble()

    world.store.troubles = note
    await world.cycle()
    await world.cycle()
    assert not world.store.known
    assert "known_page" not in asked


# --- where it would be wrong -----------------------------------------------------------------


async def test_no_delete_a_scan_reads_each_page(world: World, autojump_clock: Clock) -> None:
    """A scan has to meet each key, so that it asks for each page whole."""
    await world.cycle()
    world.reconcile = 0.0
    assert await unread(world) == 0
    gone = world.api.records.pop("c25")
    await world.cycle()
    await world.cycle()
    assert world.rows["c25"]["_syncd_deleted_at"] is not None
    world.api.records["c25"] = gone
    world.reconcile = None
    await world.cycle()
    assert world.rows["c25"].get("_syncd_deleted_at") is None


def _forgotten(world: World) -> None:
    world.store.forget(CAMPAIGNS, TABLE, '["c7"]')


def _kept_out(world: World) -> None:
    world.store.forget(CAMPAIGNS, TABLE, '["c7"]', keep_out=True)


def _other_judgement(world: World) -> None:
    world.source.judges = "otherwise"


def _table_without_rows(world: World) -> None:
    world.store.tables["public", "campaigns"].clear()


@pytest.mark.parametrize(
    "change",
    [_forgotten, _kept_out, _other_judgement, _table_without_rows],
    ids=lambda c: c.__name__,
)
async def test_accounted_what_changes_here_makes_each_page_be_read(
    world: World, autojump_clock: Clock, change: Callable[[World], None]
) -> None:
    """A 304 speaks of the API; what became of its records here is another question."""
    await world.cycle()
    change(world)
    assert await unread(world) == 0


async def test_accounted_who_is_let_in_again_is_written(
    world: World, autojump_clock: Clock
) -> None:
    """A page that was read while a record was kept out stands for nothing afterwards."""
    await world.cycle()
    _kept_out(world)
    await world.cycle()
    await world.cycle()
    assert "c7" not in world.rows
    world.store.let_in(CAMPAIGNS, '["c7"]')
    await world.cycle()
    assert_equal(world)


async def test_a_reset_reads_everything_again(world: World, autojump_clock: Clock) -> None:
    """An operator who resets a stream wants it looked at anew."""
    await world.cycle()
    await world.store.reset(await world.store.read_checkpoint(CAMPAIGNS), "asked")
    assert await unread(world) == 0


async def test_what_a_person_did_to_the_rows_is_mended_within_a_day(
    world: World, autojump_clock: Clock
) -> None:
    """Without a body nobody sees it; so no page goes unread for longer than a day."""
    await world.cycle()
    world.rows["c7"]["name"] = "edited by hand"
    assert await unread(world) == 3
    assert world.rows["c7"]["name"] == "edited by hand"
    await trio.sleep(WHOLE)
    assert await unread(world) == 0
    assert_equal(world)


async def test_accounted_a_page_with_a_dead_letter_is_looked_at_again(
    world: World, autojump_clock: Clock
) -> None:
    """What is wrong with a record may be mended here, while the API's page stays as it is."""
    world.api.records["c7"]["budget"] = "much"
    await world.cycle()
    assert len(world.store.dead_letters) == 1
    assert await unread(world) == 2
    assert len(world.store.dead_letters) == 1
    world.api.records["c7"]["budget"] = 7
    await world.cycle()
    assert not world.store.dead_letters
    assert_equal(world)
    assert await unread(world) == 3


class Judging(FakeSource):
    """Refuses c7 as long as it is told to."""

    refuses = True

    async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
        page = await super()._fetch(cursor, permit, since)
        if not self.refuses:
            return page
        records = [r for r in page.records if r.key != '["c7"]']
        rejects = [reject("bad", r.key) for r in page.records if r.key == '["c7"]']
        return attrs.evolve(page, records=records, rejects=rejects)


async def test_accounted_a_page_with_a_reject_is_looked_at_again(
    world: World, autojump_clock: Clock
) -> None:
    """A record that broke its contract is judged anew in the next cycle."""
    source = world.source = Judging(api=world.api, conditional=True, has_call=False)
    await world.cycle()
    source.refuses = False
    assert await unread(world) == 2
    assert_equal(world)


async def test_accounted_drifts_stay_known_while_their_pages_are_not_read(
    world: World, autojump_clock: Clock
) -> None:
    """A cycle that did not read everything tells nothing of fields that it did not meet."""
    drift = Drift(what="new-field", name="color", rule="discard")

    class Colored(FakeSource):
        async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
            page = await super()._fetch(cursor, permit, since)
            return attrs.evolve(page, drifts=(drift,) if cursor is None else ())

    world.source = Colored(api=world.api, conditional=True, has_call=False)
    await world.cycle()
    assert await unread(world) == 3
    assert drift.identity in world.store.drifts[CAMPAIGNS]


# --- rows that another page has written -------------------------------------------------------


@pytest.fixture
def elsewhere(world: World) -> Callable[[], object]:
    """Let c3 come on the third page for once, with another name, and be again where it was."""

    def move() -> None:
        world.source.counted = False  # its pages are asked for in their order
        moved: list[str] = []
        state = dict(world.api.records)

        async def fault(asked: Asked) -> None:
            await trio.lowlevel.checkpoint()
            if asked.what == "page 3" and not moved:
                moved.append("c3")
                rest = {n: r for n, r in state.items() if n != "c3"}
                world.api.records = rest | {"c3": state["c3"] | {"name": "for a moment"}}
            elif moved:
                world.api.records = dict(state)

        world.api.faults = fault

    return move


async def test_accounted_a_row_that_was_elsewhere_for_a_moment_is_as_the_api_has_it(
    world: World, autojump_clock: Clock, elsewhere: Callable[[], object]
) -> None:
    """Its own page is as it was when it was read, and the row is not: the page is read again."""
    await world.cycle()
    elsewhere()
    await world.cycle()
    assert world.rows["c3"]["name"] == "for a moment"
    await world.cycle()
    assert_equal(world)


async def test_accounted_without_that_rule_the_row_would_stay_as_it_was_elsewhere(
    world: World,
    autojump_clock: Clock,
    elsewhere: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test before this one tells what it is said to tell."""
    monkeypatch.setattr(Known, "_taken", lambda *_: ())
    await world.cycle()
    elsewhere()
    await world.cycle()
    await world.cycle()
    assert world.rows["c3"]["name"] == "for a moment"


async def test_accounted_what_an_operator_asks_for_beside_the_list_makes_it_be_read(
    world: World, autojump_clock: Clock
) -> None:
    """A record that was written out of turn may be as it was before by the next cycle."""
    await world.cycle()
    world.api.records["c3"]["name"] = "for a moment"
    async with world.process() as stream:
        await sync_records(stream, await world.store.read_checkpoint(CAMPAIGNS), ["c3"])
    assert world.rows["c3"]["name"] == "for a moment"
    world.api.records["c3"]["name"] = "campaign 3"
    assert await unread(world) == 0
    assert_equal(world)


async def test_accounted_what_is_forgotten_while_a_page_is_under_way_makes_it_be_read(
    world: World, autojump_clock: Clock
) -> None:
    """Between the question and the 304 it stopped to stand for anything: nothing is counted."""
    world.source.counted = False  # its pages are asked for in their order
    await world.cycle()
    forgotten: list[str] = []

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2" and not forgotten:
            forgotten.append("c7")
            _forgotten(world)

    world.api.faults = fault
    done = await world.cycle()
    assert done.outcome == "ok"
    assert (done.totals.seen, done.totals.unchanged, done.totals.written) == (25, 25, 0)
    assert world.pages_asked() == [1, 2, 3, 1, 2, 2, 3]
    await world.cycle()
    assert_equal(world)


async def test_page_atomic_a_page_that_was_not_committed_is_not_known(
    world: World, autojump_clock: Clock
) -> None:
    """page-atomic: what a 304 would stand for comes with the rows, or not at all."""
    world.retries = 0
    world.api.faults = _failing_once("page 2")
    with pytest.raises(TryAgain):
        await world.cycle()
    assert [asked.split()[-1] for _, asked in world.store.known] == ["1"]
    assert len(world.rows) == 10
    await world.cycle()
    assert world.source.unread == 0
    assert_equal(world)
    assert await unread(world) == 3


def _failing_once(what: str) -> Fault:
    failed: list[str] = []

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == what and not failed:
            failed.append(what)
            raise ApiUnavailable("503", sent="refused")

    return fault


async def test_resume_a_commit_with_a_lost_answer_is_not_made_twice(
    world: World, autojump_clock: Clock
) -> None:
    """resume: also of a page that nobody read."""
    await world.cycle()
    world.store.fail_next("commit_pages", StoreUnavailable("lost"), after=True)
    done = await world.cycle()
    assert (done.totals.seen, done.totals.unchanged) == (25, 25)
    assert done.totals.balanced


async def test_a_try_after_a_503_is_asked_by_the_state_again(
    world: World, autojump_clock: Clock
) -> None:
    """Each try of a request is the same request."""
    await world.cycle()
    world.api.faults = _failing_once("page 2")
    assert await unread(world) == 3


# --- records that have calls ------------------------------------------------------------------


async def test_no_blind_repeat_a_page_that_is_not_read_needs_no_call(
    world: World, autojump_clock: Clock
) -> None:
    """With calls for what has changed, a page that has not changed has none."""
    world.source.has_call = True
    world.only_changed = True
    await world.cycle()
    before = len(world.api.asked)
    assert await unread(world) == 3
    assert len(world.api.asked) == before + 3


# --- rows that move ---------------------------------------------------------------------------


def _page(*ids: str) -> Page:
    return Page(records=[record({"id": i}) for i in ids])


async def test_movement_is_noticed_beside_pages_that_are_not_read(
    world: World, autojump_clock: Clock
) -> None:
    """A key that comes again on the page after its own is known by its print."""
    await world.cycle()
    [known] = [f.page for (_, asked), f in world.store.known.items() if asked.endswith("page 1")]
    movement = Movement()
    movement.look(Page(records=[], same=known, printed=known.fingerprint))
    movement.look(_page("c10", "c11"))
    assert movement.words == "1 key was met twice"
    movement.look(Page(records=[], same=known, printed=known.fingerprint))
    assert movement.met_twice == 2
    movement.look(_page("c11"))
    assert movement.met_twice == 2


async def test_pages_that_a_cycle_does_not_meet_leave(world: World, autojump_clock: Clock) -> None:
    """What is known stays as small as the list is."""
    await world.cycle()
    assert len(world.store.known) == 3
    for number in range(11, 26):
        del world.api.records[f"c{number}"]
    await world.cycle()
    assert len(world.store.known) == 1


async def test_resume_a_cycle_that_halts_goes_on_with_what_is_known(
    world: World, autojump_clock: Clock
) -> None:
    """A halt at a page boundary, and a cycle that goes on there, read what is left."""
    await world.cycle()
    async with world.process() as stream:
        world.api.faults = _halting(lambda: setattr(stream, "halt", True))
        halted = await run_cycle(stream)
        assert halted.outcome is None
        stream.halt = False
        done = await run_cycle(stream, halted.checkpoint)
    assert done.outcome == "ok"
    assert (done.totals.seen, done.totals.unchanged) == (25, 25)
    assert world.source.unread == 3


def _halting(halt: Callable[[], None]) -> Fault:
    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 1":
            halt()

    return fault
