"""Promises about pages that share a transaction: page-atomic, resume, accounted, contained."""

import json
import random

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from syncd.errors import CheckpointMoved, StoreRefused, StoreWentBack
from syncd.store.postgres import open_store
from syncd.store.statements import statements
from syncd.store.turns import GROUP_BYTES, GROUP_ROWS, are_new, grouped
from syncd.sync.model import Block, Counts, PageCommit, Row, StreamId, Table
from tests.contract.subjects import (
    ADS,
    TABLE,
    PostgresSubject,
    Subject,
    campaigns,
    key,
    letter,
    page,
    row,
    running,
)

BIG = 2**63


async def test_resume_pages_that_share_a_transaction_stand_behind_each_other(
    subject: Subject,
) -> None:
    """Each with its own sums, and the checkpoint behind the last of them."""
    stream = await running(subject.store)
    before = stream.at
    pages = [
        page(*campaigns("1", "2"), next_cursor="b", requests=1),
        page(*campaigns("2", "3"), next_cursor="c", requests=2, folded=1),
        page(*campaigns("4"), next_cursor=None),
    ]
    first, second, third = await stream.store.commit_pages(TABLE, before, pages)
    assert first.totals == Counts(seen=2, written=2, requests=1)
    assert second.totals == Counts(seen=5, written=3, unchanged=1, folded=1, requests=3)
    assert third.totals == attrs.evolve(second.totals, seen=6, written=4)
    assert (first.outcome, second.outcome, third.outcome) == (None, None, "ok")
    assert (first.checkpoint.cursor, second.checkpoint.cursor) == ("b", "c")
    assert [c.checkpoint.pages for c in (first, second, third)] == [1, 2, 0]
    stands = await subject.store.read_checkpoint(ADS)
    assert attrs.evolve(third.checkpoint, next_start=stands.next_start) == stands
    assert third.checkpoint.seq == before.seq + 3
    assert set(await subject.rows()) == {"1", "2", "3", "4"}


async def test_resume_a_page_tells_the_same_alone_and_among_others(subject: Subject) -> None:
    """What stands in memory after it is what stands in the store."""
    stream = await running(subject.store)
    done = await stream.commit(page(row("1"), high_seen="5", api_clock=7.5, left_out=2, calls=1))
    assert done.checkpoint == await subject.store.read_checkpoint(ADS)
    assert done.checkpoint.started == (await subject.store.read_checkpoint(ADS)).started
    assert (done.checkpoint.high_seen, done.checkpoint.api_clock) == ("5", 7.5)


async def test_page_atomic_of_pages_together_all_are_there_or_none(subject: Subject) -> None:
    """One that is refused whole leaves nothing of those before it."""
    stream = await running(subject.store)
    bad = [row(str(n), clicks=BIG) for n in range(10, 20)]
    with pytest.raises(StoreRefused, match="all 10 rows"):
        await stream.store.commit_pages(
            TABLE, stream.at, [page(*campaigns("1")), page(*bad), page(*campaigns("2"))]
        )
    assert await subject.rows() == {}
    assert await subject.store.read_checkpoint(ADS) == stream.at
    assert (await subject.cycle(stream.at.cycle or 0)).totals == Counts()


@pytest.mark.parametrize("difference", [{"seq": -1}, {"seq": 1}, {"fence": -1}])
async def test_page_atomic_pages_of_another_checkpoint_write_nothing(
    subject: Subject, difference: dict[str, int]
) -> None:
    stream = await running(subject.store)
    off = {name: getattr(stream.at, name) + by for name, by in difference.items()}
    with pytest.raises((CheckpointMoved, StoreWentBack)):
        await stream.store.commit_pages(
            TABLE, attrs.evolve(stream.at, **off), [page(row("1")), page(row("2"))]
        )
    assert await subject.rows() == {}
    assert await subject.store.read_checkpoint(ADS) == stream.at


async def test_contained_among_pages_together_a_bad_record_costs_itself(subject: Subject) -> None:
    stream = await running(subject.store)
    pages = [
        page(*campaigns("1", "2"), next_cursor="b"),
        page(row("3"), row("4", clicks=BIG), next_cursor="c"),
        page(row("5"), next_cursor="d"),
    ]
    first, second, third = await stream.store.commit_pages(TABLE, stream.at, pages)
    assert set(await subject.rows()) == {"1", "2", "3", "5"}
    assert [found.key for found in await subject.dead()] == [key("4")]
    assert [len(done.refused) for done in (first, second, third)] == [0, 1, 0]
    assert third.totals == Counts(seen=5, written=4, dead=1)


async def test_contained_a_dead_letter_leaves_with_a_page_of_which_nothing_else_is_said(
    subject: Subject,
) -> None:
    """Also where the row was there already."""
    stream = await running(subject.store)
    await stream.commit(page(row("1"), dead=(letter("2"), letter("3"))))
    await stream.commit(page(row("1"), row("2")))
    assert [found.key for found in await subject.dead()] == [key("3")]


def block(*rows: Row, beside: str = "") -> Block[Row]:
    """Rows as they came, each with a field that is no column."""
    texts = [json.loads(each.json) | {"beside": beside} for each in rows]
    return Block(
        keys=[r.key for r in rows],
        text=json.dumps(texts, ensure_ascii=False).encode(),
        each=lambda: list(rows),
    )


async def test_page_atomic_a_page_goes_as_it_came(subject: Subject) -> None:
    """Fields without a column leave nothing, and what is equal is not written."""
    stream = await running(subject.store)
    await stream.commit(page(row("2", name="old")))
    rows = block(row("1", name="é"), row("2", name="new"))
    done = await stream.commit(attrs.evolve(page(), rows=rows))
    assert done.totals == Counts(seen=3, written=3)
    again = await stream.commit(attrs.evolve(page(), rows=rows))
    assert again.totals == Counts(seen=5, written=3, unchanged=2)
    assert {of: found["name"] for of, found in (await subject.rows()).items()} == {
        "1": "é",
        "2": "new",
    }


@pytest.mark.parametrize("beside", ["", "\x00"], ids=["a value", "what is beside the columns"])
async def test_contained_a_page_that_is_refused_as_it_came_is_taken_apart(
    subject: Subject, beside: str
) -> None:
    """A record of which Postgres takes the columns is written, whatever else is in it."""
    stream = await running(subject.store)
    odd = () if beside else (row("3", clicks=BIG),)
    rows = block(row("1"), row("2"), *odd, beside=beside)
    done = await stream.commit(attrs.evolve(page(), rows=rows))
    assert set(await subject.rows()) == {"1", "2"}
    assert done.totals == Counts(seen=2 + len(odd), written=2, dead=len(odd))


PLAIN = attrs.evolve(TABLE, name="plain", volatile=frozenset(), kept=frozenset())
"""A table of which each row that is written tells by its moment which page has written it."""


def small(*ids: str, name: str = "", next_cursor: str = "next") -> PageCommit:
    """A page as it came, which can be written together with others."""
    rows = block(*(row(of, name=name) for of in ids))
    return attrs.evolve(page(next_cursor=next_cursor, requests=1), rows=rows, request=ids[0])


async def test_page_atomic_small_pages_are_written_at_once_and_told_apart(
    real: PostgresSubject,
) -> None:
    """Each has its own sums, its own moment, and its own place in the history."""
    stream = await running(real.store, table=PLAIN)
    before = stream.at
    pages = [small("1", "2"), small("3", next_cursor="c"), small("4", "5", next_cursor="d")]
    assert [len(group) for group in grouped(PLAIN, pages)] == [3]
    done = await real.store.commit_pages(PLAIN, before, pages)
    assert [one.totals for one in done] == [
        Counts(seen=2, written=2, requests=1),
        Counts(seen=3, written=3, requests=2),
        Counts(seen=5, written=5, requests=3),
    ]
    assert [one.checkpoint.cursor for one in done] == ["next", "c", "d"]
    assert done[-1].checkpoint == await real.store.read_checkpoint(ADS)
    told = await real.select(
        sql.SQL(
            "SELECT p.number, p.request, p.written, p.unchanged, p.changed, "
            "array_agg(t.id ORDER BY t.id) AS ids FROM syncd.page p "
            "JOIN plain t ON t._syncd_changed_at = p.committed_at GROUP BY p.id ORDER BY p.number"
        )
    )
    assert [(t["number"], t["request"], t["ids"], sorted(t["changed"])) for t in told] == [
        (1, "1", ["1", "2"], [key("1"), key("2")]),
        (2, "3", ["3"], [key("3")]),
        (3, "4", ["4", "5"], [key("4"), key("5")]),
    ]
    # And once more: what has not changed is written by none, and told of none.
    again = [small("1", "2"), small("3", name="new"), small("4", "5")]
    done = await real.store.commit_pages(PLAIN, done[-1].checkpoint, again)
    assert [(one.totals.written, one.totals.unchanged) for one in done] == [(5, 2), (6, 2), (6, 4)]


async def test_page_atomic_a_record_on_two_pages_is_what_the_later_one_says(
    real: PostgresSubject,
) -> None:
    """Also where that is what it was before both: pages with a common record are kept apart."""
    stream = await running(real.store, table=PLAIN)
    await real.store.commit_pages(PLAIN, stream.at, [small("1", name="old")])
    pages = [small("1", name="new"), small("2"), small("3", "1", name="old")]
    assert [len(group) for group in grouped(PLAIN, pages)] == [2, 1]
    at = await real.store.read_checkpoint(ADS)
    *_, last = await real.store.commit_pages(PLAIN, at, pages)
    assert {of: found["name"] for of, found in (await real.rows(PLAIN)).items()} == {
        "1": "old",
        "2": "",
        "3": "old",
    }
    assert last.totals == Counts(seen=5, written=5, requests=4)


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)]
)
async def test_page_atomic_pages_together_come_to_what_they_come_to_one_by_one(
    real: PostgresSubject, seed: int
) -> None:
    """Rows, sums, moments and history, whatever pages follow each other; the name has the seed."""
    draw = random.Random(seed)
    one, other = [
        await running(real.store, of, attrs.evolve(PLAIN, name=of.stream))
        for of in (ADS, StreamId(source="ads2", stream="others"))
    ]
    for _ in range(25):
        pages = [drawn(draw) for _ in range(draw.randint(1, 5))]
        together = await real.store.commit_pages(one.table, one.at, pages)
        apart = [await other.commit(each) for each in pages]
        assert [done.totals for done in together] == [done.totals for done in apart]
        assert all(done.totals.balanced for done in together)
        one.at = together[-1].checkpoint
    assert await real.rows(one.table) == await real.rows(other.table)
    history = sql.SQL(
        "SELECT p.number, p.request, p.seen, p.written, p.unchanged, p.many, "
        "ARRAY(SELECT unnest(changed) ORDER BY 1) AS changed, "
        "ARRAY(SELECT id FROM {} WHERE _syncd_changed_at = p.committed_at ORDER BY id) AS ids "
        "FROM syncd.page p WHERE stream = %s ORDER BY p.id"
    )
    told = [
        await real.select(history.format(sql.Identifier(of.table.name)), of.id.stream)
        for of in (one, other)
    ]
    assert told[0] == told[1]


def drawn(draw: random.Random) -> PageCommit:
    """A page of few records, which its neighbours may have as well; as it came, or looked at."""
    ids = draw.sample([*"abcdefgh"], draw.randint(0, 2))
    rows = [row(of, name=draw.choice("xy")) for of in ids]
    made = page(request=draw.choice("qr"), requests=draw.randint(0, 2), left_out=draw.randint(0, 2))
    return attrs.evolve(made, rows=block(*rows) if rows and draw.random() < 0.8 else rows)


@pytest.mark.parametrize(
    "table",
    [
        attrs.evolve(PLAIN, volatile=frozenset({"heat"})),
        attrs.evolve(PLAIN, kept=frozenset({"synced"})),
    ],
    ids=["volatile", "kept"],
)
async def test_accounted_where_a_write_may_be_no_change_each_page_has_its_own_statement(
    table: Table,
) -> None:
    """Such a row keeps its moment, and nobody could tell which page has written it."""
    assert [len(group) for group in grouped(table, [small("1"), page(), small("2")])] == [1, 1, 1]


async def test_what_is_written_at_once_is_bounded() -> None:
    """By its rows and by its bytes; one page is written however large it is."""
    many = [small(*(f"{page}-{n}" for n in range(GROUP_ROWS // 2))) for page in range(5)]
    assert [len(group) for group in grouped(PLAIN, many)] == [2, 2, 1]
    wide = [small(str(n), name="x" * (GROUP_BYTES // 3)) for n in range(4)]
    assert [len(group) for group in grouped(PLAIN, wide)] == [2, 2]
    huge = small("1", name="x" * GROUP_BYTES)
    assert [len(group) for group in grouped(PLAIN, [huge, small("2"), small("3")])] == [1, 2]


async def test_contained_a_small_page_that_is_refused_costs_itself(real: PostgresSubject) -> None:
    stream = await running(real.store, table=PLAIN)
    bad = block(row("3"), row("4", clicks=BIG))
    pages = [small("1", "2"), attrs.evolve(page(), rows=bad), small("5")]
    done = await real.store.commit_pages(PLAIN, stream.at, pages)
    assert set(await real.rows(PLAIN)) == {"1", "2", "3", "5"}
    assert [len(one.refused) for one in done] == [0, 1, 0]
    assert done[-1].totals == Counts(seen=5, written=4, dead=1, requests=2)


async def test_accounted_in_a_first_cycle_rows_that_are_there_are_found(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked for from then on; till then no row can be there, and none is."""
    table = attrs.evolve(PLAIN, name="not_empty")
    monkeypatch.setattr(statements(table), "met", False)  # what is learned of a table stays
    stream = await running(real.store, table=table)
    new = (await real.store.commit_pages(table, stream.at, [small("1", "2"), small("3")]))[-1]
    assert are_new(table, new.checkpoint)
    await real.select(
        sql.SQL(
            "INSERT INTO not_empty (id, name, _syncd_source, _syncd_changed_at) "
            "SELECT '4', 'old', _syncd_source, _syncd_changed_at FROM not_empty WHERE id = '1'"
        )
    )
    pages = [small("5"), small("4", "6", name="new"), small("1", name="new"), small("2")]
    done = await real.store.commit_pages(table, new.checkpoint, pages)
    found = await real.rows(table)
    assert {of: each["name"] for of, each in found.items()} == {
        **dict.fromkeys("235", ""),
        **dict.fromkeys("146", "new"),
    }
    totals = Counts(seen=8, written=7, unchanged=1, requests=done[-1].totals.requests)
    assert done[-1].totals == totals
    assert not are_new(table, done[-1].checkpoint), "another lost transaction"


async def test_resume_no_row_is_taken_for_new_after_the_first_cycle(subject: Subject) -> None:
    """Whatever has moved the checkpoint beside its pages: a start, an end, a reset."""
    table = attrs.evolve(PLAIN, name="never_met")
    stream = await running(subject.store, table=table)
    assert are_new(table, stream.at)
    await stream.commit(small("1"))
    assert are_new(table, stream.at)
    await stream.commit(page(next_cursor=None))
    await stream.begin()
    assert not are_new(table, stream.at)
    stream.at = await stream.store.reset(stream.at, "asked")
    await stream.begin()
    assert not are_new(table, stream.at)


async def test_accounted_where_a_trigger_may_change_rows_each_page_has_its_own_statement(
    real: PostgresSubject,
) -> None:
    """Here it keeps the moment that they had."""
    table = attrs.evolve(PLAIN, name="triggered")  # what is learned of it stays
    stream = await running(real.store, table=table)
    pages = [small("1", "2"), small("3"), small("4", "5")]
    at = (await real.store.commit_pages(table, stream.at, pages))[-1].checkpoint
    await real.select(
        sql.SQL(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
            "NEW._syncd_changed_at := OLD._syncd_changed_at; RETURN NEW; END'; "
            "CREATE TRIGGER keep BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION keep()"
        )
    )
    again = [small("1", "2", name="b"), small("3", name="b"), small("4", "5", name="b")]
    done = await real.store.commit_pages(table, at, again)
    assert [one.totals.written for one in done] == [7, 8, 10]
    assert [len(group) for group in grouped(table, again)] == [1, 1, 1], "the next time at once"
    assert all(one.totals.balanced for one in done)


async def test_page_atomic_where_keys_that_differ_may_be_equal_the_later_page_wins(
    real: PostgresSubject,
) -> None:
    """By a collation of the table's owner."""
    collation = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
    try:
        await real.select(sql.SQL(f"CREATE COLLATION of_any_case ({collation})"))
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this Postgres was built without ICU")
    table = attrs.evolve(PLAIN, name="of_any_case")
    stream = await running(real.store, table=table)
    # Twice, so that what is equal is filtered: nearly all is new else, and nothing is.
    await real.store.commit_pages(table, stream.at, [small("a", name="old")] * 2)
    await real.select(sql.SQL("ALTER TABLE of_any_case ALTER id TYPE text COLLATE of_any_case"))
    at = await real.store.read_checkpoint(ADS)
    pages = [small("x"), small("A", name="new"), small("y"), small("a", name="old")]
    done = await real.store.commit_pages(table, at, pages)
    assert {of: found["name"] for of, found in (await real.rows(table)).items()} == {
        "a": "old",
        "x": "",
        "y": "",
    }
    assert done[-1].totals.written == 5  # once, and each of these


@pytest.mark.parametrize("encoding", ["latin1", "SQL_ASCII"])
async def test_page_atomic_text_arrives_whatever_encoding_somebody_has_set(
    postgres: str, encoding: str
) -> None:
    async with open_store(make_conninfo(postgres, client_encoding=encoding)) as store:
        stream = await running(store, table=PLAIN)
        pages = [small("é", name="ü"), attrs.evolve(page(row("ß", name="ß")))]
        await store.commit_pages(PLAIN, stream.at, pages)
        rows = await PostgresSubject(store, postgres).rows(PLAIN)
    assert {of: found["name"] for of, found in rows.items()} == {"é": "ü", "ß": "ß"}
