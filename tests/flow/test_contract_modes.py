"""New fields and wrong types in the course of cycles, restarts and outages."""

from collections.abc import Collection, Iterator, Sequence

import attrs
import pytest
import trio

from syncd.errors import StoreRefused, StoreUnavailable, UnexpectedAnswer
from syncd.sync import events
from syncd.sync.aside import sync_records
from syncd.sync.drift import Added, Drift, Evolution
from syncd.sync.model import Checkpoint, Committed, Page, PageCommit, Table
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import Asked, FakeSource, FakeStore, reject
from tests.flow.conftest import CAMPAIGNS, TABLE, World

KNOWN = {"id", "name", "budget", "synced_at"}


@attrs.define(eq=False, kw_only=True)
class Drifting(FakeSource):
    """Sees new fields, and does with them what it is told."""

    rule: str = "discard"
    wrong: tuple[Drift, ...] = ()

    async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
        return self.look_again(await super()._fetch(cursor, permit, since))

    def look_again(self, page: Page, without: Collection[str] = ()) -> Page:
        known = KNOWN | {added.field for added in self.evolution.columns}
        page = attrs.evolve(page, records=[r for r in page.records if r.key not in without])
        new = sorted({name for record in page.records for name in record.fields} - known)
        wanted = tuple(Added(column=n, type="text", field=n) for n in new)
        evolves = self.rule == "evolve" and not self.evolution.full
        return attrs.evolve(
            page,
            wanted=wanted if evolves else (),
            raws=tuple(r.raw for r in page.records) if new or self.wrong else (),
            drifts=self.wrong if evolves else (*self.wrong, *map(_drift, new)),
            frozen=f"record x: the field {new[0]} is new" if new and self.rule == "freeze" else "",
        )


@attrs.define(eq=False)
class Counting(FakeStore):
    """Counts the drifts of each page that is committed."""

    noted: list[int] = attrs.field(factory=list, init=False)

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        self.noted += [len(page.drifts) for page in pages]
        return await super().commit_pages(table, checkpoint, pages)


def _drift(name: str) -> Drift:
    return Drift(what="new-field", name=name, rule="discard")


@pytest.fixture
def drifting() -> World:
    """Three pages of ten; the source sees what is new."""
    world = World(store=Counting(), requests=None, table=attrs.evolve(TABLE, evolves=True))
    world.source = Drifting(api=world.api, has_call=False)
    world.api.fill(30)
    return world


def rule(world: World, what: str) -> None:
    assert isinstance(world.source, Drifting)
    world.source.rule = what


def told(world: World, kind: type[events.Event]) -> Iterator[events.Event]:
    found = [e for e in world.heard if isinstance(e, kind)]
    world.heard.clear()
    return iter(found)


async def test_what_was_so_from_the_start_is_told_in_one_line(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """And not again by the next cycle, or after a restart; nobody is alarmed."""
    drifting.api.records["c1"]["colour"] = "red"
    drifting.api.records["c25"]["size"] = "l"
    await drifting.cycle()
    assert [e.fields for e in told(drifting, events.FieldsLeftOut)] == [("colour",), ("size",)]  # type: ignore[attr-defined]  # of these
    await drifting.cycle()
    assert not list(told(drifting, events.FieldsLeftOut))
    assert not [n for n in drifting.store.drifts[CAMPAIGNS].values() if not n.accepted]


async def test_a_field_that_comes_later_is_told_once(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """Not for each record, not by each cycle; over when a whole cycle does not meet it."""
    await drifting.cycle()
    for record in drifting.api.records.values():
        record["colour"] = "red"
    await drifting.cycle()
    heard = [e for e in drifting.heard if isinstance(e, events.Drifted)]
    assert [e.drift for e in heard] == [_drift("colour")]
    drifting.heard.clear()
    await drifting.cycle()
    assert not list(told(drifting, events.Drifted))
    (noted,) = drifting.store.drifts[CAMPAIGNS].values()
    assert (noted.accepted, noted.cycle) == (False, 3)
    for record in drifting.api.records.values():
        del record["colour"]
    await drifting.cycle()
    assert not drifting.store.drifts[CAMPAIGNS]


async def test_it_is_noted_once_in_each_cycle_of_one_process(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """accounted: not with each page, and in the next cycle again: it is still true."""
    await drifting.cycle()
    for record in drifting.api.records.values():
        record["colour"] = "red"
    assert isinstance(drifting.store, Counting)
    drifting.store.noted.clear()
    async with drifting.process() as stream:
        await run_cycle(stream)
        await run_cycle(stream)
    assert drifting.store.noted == [1, 0, 0, 1, 0, 0]
    assert [n.cycle for n in drifting.store.drifts[CAMPAIGNS].values()] == [3]


async def test_a_stream_that_is_frozen_writes_nothing_of_the_page(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """page-atomic, resume: it parks, and goes on with the same page once that is mended."""
    rule(drifting, "freeze")
    drifting.api.records["c15"]["colour"] = "red"
    with pytest.raises(UnexpectedAnswer, match="page 2, record x: the field colour is new") as it:
        await drifting.cycle()
    assert "contract.ignore" in it.value.hint
    assert len(drifting.rows) == 10
    assert drifting.store.parked
    rule(drifting, "discard")
    await drifting.cycle()
    assert len(drifting.rows) == 30
    assert sorted(drifting.pages_asked()) == [1, 2, 2, 3, 3]


async def test_a_record_asked_for_is_frozen_as_well(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    await drifting.cycle()
    rule(drifting, "freeze")
    drifting.api.records["c1"]["colour"] = "red"
    async with drifting.process() as stream:
        at = await drifting.store.read_checkpoint(CAMPAIGNS)
        with pytest.raises(UnexpectedAnswer, match="freeze"):
            await sync_records(stream, at, ["c1"])


async def test_a_column_is_there_with_the_page_that_first_brings_it(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """page-atomic: the first value is not lost, those that came before have none."""
    rule(drifting, "evolve")
    drifting.api.records["c15"]["colour"] = "red"
    await drifting.cycle()
    assert drifting.rows["c15"]["colour"] == "red"
    assert drifting.rows["c14"]["colour"] is None
    assert drifting.rows["c1"]["colour"] is None
    heard = [e for e in drifting.heard if isinstance(e, events.ColumnAdded)]
    assert [e.added.column for e in heard] == ["colour"]
    drifting.heard.clear()
    # Another process knows it from the store.
    drifting.source.evolution = Evolution()
    async with drifting.process() as stream:
        stream.follow(await drifting.store.evolution(stream.configured))
        await run_cycle(stream)
    assert drifting.rows["c15"]["colour"] == "red"
    assert not list(told(drifting, events.ColumnAdded))


async def test_a_column_may_come_while_calls_of_the_page_before_are_under_way(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """page-atomic: what was judged without it is committed with it, and has none."""
    rule(drifting, "evolve")
    drifting.source.has_call = True
    coloured = {"c11", "c12", "c30"}
    for campaign in coloured:
        drifting.api.records[campaign]["colour"] = "red"
    await drifting.cycle()
    assert {i for i, row in drifting.rows.items() if row["colour"] == "red"} == coloured
    assert len(drifting.rows) == 30
    assert set(drifting.api.carried_out.values()) == {1}


@pytest.mark.parametrize("after", [False, True])
async def test_a_column_is_added_once_whatever_becomes_of_the_answer(
    drifting: World, autojump_clock: trio.testing.MockClock, *, after: bool
) -> None:
    """resume: Postgres goes away while it is added, or with its answer."""
    rule(drifting, "evolve")
    drifting.api.records["c1"]["colour"] = "red"
    drifting.store.fail_next("evolve", StoreUnavailable("away"), after=after)
    await drifting.cycle()
    assert [a.column for a in drifting.store.evolved["public", "campaigns"]] == ["colour"]
    assert drifting.rows["c1"]["colour"] == "red"


async def test_a_role_that_may_not_add_columns_parks_the_stream(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: with nothing of the page written, and what is to be done remembered."""
    rule(drifting, "evolve")
    drifting.store.may_alter = False
    drifting.api.records["c15"]["colour"] = "red"
    with pytest.raises(StoreRefused, match="may not add columns"):
        await drifting.cycle()
    assert len(drifting.rows) == 10
    evolution = await drifting.store.evolution(drifting.table)
    assert [a.column for a in evolution.columns] == ["colour"]
    # Somebody who may has added it: the same page is fetched again, and written.
    drifting.store.may_alter = True
    await drifting.cycle()
    assert drifting.rows["c15"]["colour"] == "red"
    assert sorted(drifting.pages_asked()) == [1, 2, 2, 3, 3]


async def test_an_api_that_sends_ever_new_names_gets_a_hundred_columns(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: then they are left out, and told as such, a bounded number of them."""
    rule(drifting, "evolve")
    await drifting.cycle()
    for number, record in enumerate(drifting.api.records.values()):
        record.update({f"f{number}_{n}": "x" for n in range(20)})
    drifting.heard.clear()
    await drifting.cycle()
    assert len(drifting.store.evolved["public", "campaigns"]) == 100
    noted = drifting.store.drifts[CAMPAIGNS]
    assert len(noted) <= 101
    assert ("new-field", "", "") in noted
    assert len([e for e in drifting.heard if isinstance(e, events.Drifted)]) <= 2


async def test_ever_new_names_do_not_fill_the_memory(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: of a cycle so many are noted; its records are written all the same."""
    for number, record in enumerate(drifting.api.records.values()):
        record.update({f"f{number}_{n}": "x" for n in range(90)})
    drifting.api.page_size = 1
    async with drifting.process() as stream:
        await run_cycle(stream)
        assert len(stream.noted) < 1100
    assert len(drifting.rows) == 30


async def test_a_wrong_type_is_counted_on_each_page(
    drifting: World, autojump_clock: trio.testing.MockClock
) -> None:
    """accounted: of values that are left out it is known how many they were."""
    wrong = Drift(what="wrong-type", name="budget", found="a list", rule="discard", records=2)

    await drifting.cycle()
    assert isinstance(drifting.source, Drifting)
    drifting.source.wrong = (wrong,)
    await drifting.cycle()
    heard = [e for e in drifting.heard if isinstance(e, events.Drifted)]
    assert [e.drift.name for e in heard] == ["budget"]
    (noted,) = drifting.store.drifts[CAMPAIGNS].values()
    assert noted.drift.records == 6
    assert not noted.accepted


@pytest.mark.parametrize("what", ["freeze", "evolve", "discard"])
async def test_what_is_kept_out_leaves_the_contract_for_nobody(
    drifting: World, autojump_clock: object, what: str
) -> None:
    """contained, accounted: it freezes no page, adds no column, and is named by nothing."""
    await drifting.cycle()
    rule(drifting, what)
    drifting.api.records["c17"]["marker"] = "x"
    drifting.store.forget(CAMPAIGNS, TABLE, '["c17"]', keep_out=True)
    drifting.heard.clear()
    done = await drifting.cycle()
    assert (done.outcome, done.totals.seen, done.totals.kept_out) == ("ok", 30, 1)
    assert "marker" not in str(drifting.heard)
    assert drifting.store.evolved == {}
    assert drifting.store.drifts[CAMPAIGNS] == {}


@pytest.mark.parametrize("what", ["freeze", "evolve"])
async def test_nor_what_is_kept_out_since_its_page_was_asked_for(
    drifting: World, autojump_clock: object, what: str
) -> None:
    """contained: a reason that names it would stand there after `forget` has found nothing."""
    await drifting.cycle()
    rule(drifting, what)
    drifting.api.records["c17"]["marker"] = "x"
    drifting.heard.clear()

    async def forgets(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2":
            drifting.store.forget(CAMPAIGNS, TABLE, '["c17"]', keep_out=True)

    drifting.api.faults = forgets
    done = await drifting.cycle()
    assert (done.outcome, done.totals.kept_out) == ("ok", 1)
    assert "marker" not in str(drifting.heard)
    assert drifting.store.evolved == {}
    assert drifting.store.parked == {}


async def test_others_on_its_page_are_judged_as_ever(
    drifting: World, autojump_clock: object
) -> None:
    """contained: what freezes the page is another record; what gets a column is its field."""
    await drifting.cycle()
    rule(drifting, "freeze")
    drifting.store.forget(CAMPAIGNS, TABLE, '["c17"]', keep_out=True)
    drifting.api.records["c17"]["marker"] = drifting.api.records["c18"]["colour"] = "x"
    with pytest.raises(UnexpectedAnswer, match="the field colour is new"):
        await drifting.cycle()
    rule(drifting, "evolve")
    done = await drifting.cycle()
    assert (done.totals.seen, done.totals.kept_out) == (30, 1)
    ((added,),) = drifting.store.evolved.values()
    assert added.column == "colour"
    assert "c17" not in drifting.rows


async def test_all_other_records_that_are_refused_are_a_page_that_is_refused_whole(
    drifting: World, autojump_clock: object
) -> None:
    """contained: one that is kept out makes no list good whose records all break the contract."""
    drifting.store.forget(CAMPAIGNS, TABLE, '["c7"]', keep_out=True)
    bad = [reject("bad", key=f'["c{n}"]') for n in range(1, 13)]

    async def answers(_: Asked) -> Page:
        await trio.lowlevel.checkpoint()
        return Page(records=[], rejects=bad)

    drifting.api.faults = answers
    with pytest.raises(UnexpectedAnswer, match="all 11 records break the contract"):
        await drifting.cycle()
