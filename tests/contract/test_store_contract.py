"""Drifts that are noted and columns that are added, on every store."""

import json
from typing import Any

import attrs
import psycopg
import pytest
from psycopg import sql

from syncd.errors import CheckpointMoved, StoreRefused, StoreUnavailable
from syncd.store.alarms import AlarmBook
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.drift import MOST, Added, Drift, Evolution
from syncd.sync.model import Row
from tests.contract.subjects import (
    ADS,
    OTHER,
    TABLE,
    PostgresSubject,
    Stream,
    Subject,
    campaigns,
    commit_one,
    key,
    letter,
    opened,
    page,
    running,
)

EVOLVES = attrs.evolve(TABLE, evolves=True)
COLOUR = Added(column="colour", type="text", field="colour")


def new(name: str, rule: Any = "discard") -> Drift:
    return Drift(what="new-field", name=name, rule=rule)


def wrong(name: str, found: str = "a list", records: int = 1, rule: Any = "discard") -> Drift:
    return Drift(what="wrong-type", name=name, found=found, rule=rule, records=records)


async def evolve(stream: Stream, *wanted: Added) -> Evolution:
    """Have columns added, and write with them from now on."""
    done = await stream.store.evolve(stream.id, EVOLVES, stream.lease, wanted)
    stream.table = EVOLVES.widened(done)
    return done


def coloured(of: str, **values: object) -> Row:
    told = {"id": of, "name": "n", "budget": 1, "clicks": 0, "heat": 0, **values}
    return Row(key=key(of), json=json.dumps(told).encode())


# --- drifts -----------------------------------------------------------------------------------


async def test_a_stream_that_is_new_has_what_it_has(subject: Subject) -> None:
    """Nobody is alarmed for the fields of its first cycle, but for what costs records."""
    stream = await running(subject.store)
    drifts = (new("a"), new("b", "dead-letter"), wrong("name"))
    done = await stream.commit(page(*campaigns("1"), drifts=drifts))
    assert {(d.name, d.expected) for d in done.drifts} == {
        ("a", True),
        ("b", False),
        ("name", False),
    }
    assert await subject.drifts() == {
        "a": ("discard", 0, True),
        "b": ("dead-letter", 0, False),
        "name a list": ("discard", 1, False),
    }


async def test_what_was_noted_is_not_told_again_and_is_counted(subject: Subject) -> None:
    """accounted: by a page, by a cycle or by another process."""
    stream = await opened(subject.store)
    await stream.whole_cycle(*campaigns("1"))
    first = await stream.whole_cycle(*campaigns("1"), drifts=(new("a"), wrong("name", records=2)))
    assert {(d.name, d.expected) for d in first.drifts} == {("a", False), ("name", False)}
    again = await opened(subject.store)
    second = await again.whole_cycle(
        *campaigns("1"),
        drifts=(new("a"), wrong("name", records=3), wrong("name", "an object", rule="dead-letter")),
    )
    assert [(d.name, d.found) for d in second.drifts] == [("name", "an object")]
    assert await subject.drifts() == {
        "a": ("discard", 0, False),
        "name a list": ("discard", 5, False),
        "name an object": ("dead-letter", 1, False),
    }


async def test_what_puts_records_aside_now_is_accepted_no_more(subject: Subject) -> None:
    """That a field is left out was well; that its records are is another matter."""
    stream = await running(subject.store)
    await stream.commit(page(*campaigns("1"), drifts=(new("a"), new("b"))))
    await stream.commit(page(*campaigns("1"), drifts=(new("a", "dead-letter"), new("b", "evolve"))))
    assert await subject.drifts() == {"a": ("dead-letter", 0, False), "b": ("evolve", 0, True)}


async def test_it_is_over_when_a_whole_cycle_does_not_meet_it(subject: Subject) -> None:
    """Not by one that asks only for what has changed, and not by a page of its own."""
    stream = await opened(subject.store)
    await stream.whole_cycle(*campaigns("1"))
    await stream.begin()
    await stream.commit(page(*campaigns("1"), drifts=(new("a"),)))
    await stream.commit(page(*campaigns("2"), next_cursor=None, high_water="9"))
    assert set(await subject.drifts()) == {"a"}
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", full=1000.0)
    assert stream.at.since == "9"
    await stream.commit(page(*campaigns("1"), next_cursor=None))
    assert set(await subject.drifts()) == {"a"}
    await stream.whole_cycle(*campaigns("1"))
    assert await subject.drifts() == {}
    done = await stream.whole_cycle(*campaigns("1"), drifts=(new("a"),))
    assert [d.expected for d in done.drifts] == [False]


async def test_a_page_that_is_lost_notes_nothing(subject: Subject) -> None:
    """page-atomic: drifts are of the transaction that writes the rows."""
    stream = await running(subject.store)
    stale = attrs.evolve(stream.at, seq=stream.at.seq + 7)
    with pytest.raises(Exception, match="checkpoint"):
        await commit_one(stream.store, TABLE, stale, page(*campaigns("1"), drifts=(new("a"),)))
    assert await subject.drifts() == {}


async def test_a_page_that_is_halved_notes_them_as_well(subject: Subject) -> None:
    """accounted: Postgres refuses a row of it (case 35)."""
    stream = await running(subject.store)
    bad = coloured("2", name="a\x00b")
    done = await stream.commit(page(*campaigns("1"), bad, drifts=(wrong("name"),)))
    assert (len(done.refused), [d.name for d in done.drifts]) == (1, ["name"])


async def test_names_of_every_kind_are_noted(subject: Subject) -> None:
    """contained: NUL, lone surrogates, quotes and percent signs."""
    stream = await running(subject.store)
    odd = tuple(new(n) for n in ("a%s'\"", "\ud800", "n\x00", "ä" * 200))
    done = await stream.commit(page(*campaigns("1"), drifts=odd))
    assert len(done.drifts) == 4
    assert len(await subject.drifts()) == 4


async def test_more_than_a_hundred_are_one(subject: Subject) -> None:
    """contained: whatever an API sends, over any number of pages."""
    stream = await opened(subject.store)
    for of_page in range(3):
        await stream.whole_cycle(
            *campaigns("1"), drifts=tuple(new(f"f{of_page}_{n}") for n in range(90))
        )
    found = await subject.drifts()
    assert len(found) <= MOST + 1
    assert "" in found


async def test_each_stream_has_its_own(subject: Subject) -> None:
    one = await running(subject.store)
    await one.commit(page(*campaigns("1"), drifts=(new("a"),)))
    assert await subject.drifts(OTHER) == {}


# --- columns that are added ----------------------------------------------------------------------


async def test_a_column_is_added_and_filled(subject: Subject) -> None:
    """page-atomic: rows that were there before have none; what brought it is noted."""
    stream = await running(subject.store)
    await stream.commit(page(*campaigns("1")))
    done = await evolve(stream, COLOUR)
    assert (done.columns, done.fresh, done.full) == ((COLOUR,), (COLOUR,), False)
    await stream.commit(page(coloured("2", colour="red")))
    rows = await subject.rows(stream.table)
    assert (rows["1"]["colour"], rows["2"]["colour"]) == (None, "red")
    assert await subject.drifts() == {"colour": ("evolve", 0, True)}
    again = await evolve(stream, COLOUR)
    assert (again.columns, again.fresh) == ((COLOUR,), ())
    assert (await stream.commit(page(coloured("2", colour="red")))).totals.unchanged == 1


async def test_it_is_known_after_a_restart(subject: Subject) -> None:
    """resume: from the store alone; the config says nothing of it."""
    stream = await running(subject.store)
    await evolve(stream, COLOUR)
    again = await opened(subject.store, table=EVOLVES)
    assert (await again.store.evolution(EVOLVES)).columns == (COLOUR,)


async def test_names_that_are_taken_get_a_number(subject: Subject) -> None:
    """Whatever the case; the field that fills the column is remembered."""
    stream = await running(subject.store)
    done = await evolve(
        stream,
        Added(column="Name", type="text", field="Name"),
        Added(column="NAME", type="text", field="NAME"),
        Added(column="a%s'\"", type="text", field="a%s'\""),
        Added(column="ä" * 31, type="text", field="ä" * 40),
        Added(column="ä" * 31, type="text", field="ä" * 41),
    )
    assert [a.column for a in done.columns] == [
        *("Name_2", "NAME_3", "a%s'\"", "ä" * 31, "ä" * 29 + "_2"),
    ]
    await stream.commit(page(coloured("1", Name_2="x", NAME_3="y")))
    rows = await subject.rows(stream.table)
    assert (rows["1"]["Name_2"], rows["1"]["NAME_3"], rows["1"]["name"]) == ("x", "y", "n")


async def test_a_column_beside_another(subject: Subject) -> None:
    """It is known by what it is for; two types are two columns."""
    stream = await running(subject.store)
    text = Added(column="clicks_text", type="text", instead_of="clicks")
    jsonb = Added(column="clicks_jsonb", type="jsonb", instead_of="clicks")
    assert (await evolve(stream, text, text, jsonb)).columns == (text, jsonb)
    assert (await evolve(stream, jsonb)).fresh == ()
    elsewhere = attrs.evolve(
        EVOLVES, columns={c: of for c, of in TABLE.columns.items() if c != "clicks"}
    )
    assert (await stream.store.evolution(elsewhere)).columns == ()


async def test_two_streams_of_one_table_agree(subject: Subject) -> None:
    """Who comes second has the column that there is, whatever type it would have chosen."""
    one = await running(subject.store)
    await evolve(one, COLOUR)
    other = await running(subject.store, OTHER, EVOLVES)
    done = await evolve(other, attrs.evolve(COLOUR, type="jsonb"))
    assert (done.columns, done.fresh) == ((COLOUR,), ())


async def test_at_most_a_hundred_are_added(subject: Subject) -> None:
    """contained: whatever an API sends."""
    stream = await running(subject.store)
    many = [Added(column=f"f{n}", type="text", field=f"f{n}") for n in range(MOST + 5)]
    done = await evolve(stream, *many)
    assert (len(done.columns), len(done.fresh), done.full) == (MOST, MOST, True)
    assert (await stream.store.evolution(EVOLVES)).full
    assert (await evolve(stream, *many)).fresh == ()


async def test_what_the_config_names_or_ignores_is_its_own(subject: Subject) -> None:
    """A column that was taken over; a field that nobody wants any more."""
    stream = await running(subject.store)
    await evolve(stream, COLOUR, Added(column="size", type="text", field="size"))
    taken = attrs.evolve(EVOLVES, columns={**TABLE.columns, "colour": "text"})
    assert [a.column for a in (await stream.store.evolution(taken)).columns] == ["size"]
    ignored = attrs.evolve(EVOLVES, ignored=frozenset({"size"}))
    assert [a.column for a in (await stream.store.evolution(ignored)).columns] == ["colour"]


async def test_a_contract_that_evolves_no_more_fills_what_is_there(subject: Subject) -> None:
    """accounted: no column goes stale in silence; one that was dropped is asked for no more."""
    stream = await running(subject.store)
    await evolve(stream, COLOUR)
    assert (await stream.store.evolution(TABLE)).columns == (COLOUR,)
    await subject.drop("colour")
    assert (await stream.store.evolution(TABLE)).columns == ()
    assert (await stream.store.evolution(EVOLVES)).columns == (COLOUR,)


async def test_a_column_that_was_dropped_is_added_again_where_it_evolves(subject: Subject) -> None:
    """resume: by the next one that needs a column, or the next start."""
    stream = await running(subject.store)
    await evolve(stream, COLOUR)
    await subject.drop("colour")
    await evolve(stream, COLOUR)
    await stream.commit(page(coloured("1", colour="red")))
    assert (await subject.rows(stream.table))["1"]["colour"] == "red"


async def test_who_lost_the_lease_adds_nothing(subject: Subject) -> None:
    """contained: another syncd has the source."""
    stream = await running(subject.store)
    await subject.held_elsewhere("ads")
    await subject.expire_lease("ads")
    await subject.store.acquire_lease("ads")
    with pytest.raises(CheckpointMoved):
        await evolve(stream, COLOUR)
    assert (await stream.store.evolution(EVOLVES)).columns == ()


async def test_a_letter_and_a_reset_leave_the_columns_alone(subject: Subject) -> None:
    stream = await running(subject.store)
    await evolve(stream, COLOUR)
    await stream.commit(page(*campaigns("1"), dead=(letter("2"),)))
    stream.at = await stream.store.reset(stream.at, "asked")
    assert (await stream.store.evolution(EVOLVES)).columns == (COLOUR,)
    assert stream.id == ADS


async def test_a_table_that_can_have_no_further_column(real: PostgresSubject) -> None:
    """contained: it parks this stream; Postgres's own limit is 1600, dropped ones included."""
    stream = await running(real.store)
    many = ", ".join(f"ADD COLUMN x{n} int" for n in range(1600 - len(TABLE.columns) - 3))
    await real.select(sql.SQL("ALTER TABLE campaigns {}").format(sql.SQL(many)))
    with pytest.raises(StoreRefused, match="can't be made as it is needed: tables can have"):
        await evolve(stream, COLOUR)


async def test_a_column_of_the_users_own_is_left_alone(real: PostgresSubject) -> None:
    """contained: what somebody has added by hand is nobody else's to fill."""
    stream = await running(real.store)
    await real.select(sql.SQL("ALTER TABLE campaigns ADD COLUMN \"Colour\" text DEFAULT 'mine'"))
    done = await evolve(stream, COLOUR)
    assert [a.column for a in done.columns] == ["colour_2"]
    await stream.commit(page(coloured("1", colour_2="red")))
    (found,) = await real.select(sql.SQL('SELECT "Colour", colour_2 FROM campaigns'))
    assert found == {"Colour": "mine", "colour_2": "red"}


async def test_the_sql_that_is_needed_holds_the_columns_that_were_added(
    real: PostgresSubject,
) -> None:
    """What `syncd schema` prints, for a table that somebody has dropped, and for a column."""
    stream = await running(real.store)
    await evolve(stream, COLOUR)
    assert await real.store.missing_table(EVOLVES) == []
    await real.drop("colour")
    assert await real.store.missing_table(TABLE) == []
    assert await real.store.missing_table(EVOLVES) == [
        'ALTER TABLE "public"."campaigns" ADD COLUMN "colour" text'
    ]
    await real.select(sql.SQL("DROP TABLE campaigns"))
    create, *_ = await real.store.missing_table(EVOLVES)
    assert '"colour" text' in create


@pytest.mark.long
async def test_somebody_reads_the_table_for_long(real: PostgresSubject) -> None:
    """contained: the lock is waited for, within a bound, and asked for again later."""
    stream = await running(real.store)
    with psycopg.connect(real.conninfo) as reader:
        reader.execute("SELECT * FROM campaigns")
        with pytest.raises(StoreUnavailable, match="55P03"):
            await evolve(stream, COLOUR)
    done = await evolve(stream, COLOUR)
    assert done.columns == (COLOUR,)
    await stream.commit(page(coloured("1", colour="red")))


async def test_what_was_accepted_is_told_no_more(real: PostgresSubject) -> None:
    """One by its name, or all; the audit has who it was."""
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("1"))
    await stream.whole_cycle(*campaigns("1"), drifts=(new("a"), wrong("name"), new("b")))
    book, asking = AlarmBook(real.store.connections), Asking(real.store.connections)
    looking = Looking(real.store.connections)
    assert {d.name for d in await book.drifts(ADS)} == {"a", "b", "name"}
    me = Asker(who="me")
    assert await asking.accept(ADS, ["a", "zzz"], asked_by=me) == ["a"]
    assert {d.name for d in await book.drifts(ADS)} == {"b", "name"}
    (seen,) = (await looking.picture([ADS], [], [])).streams
    assert seen.drifts == 2
    assert await asking.accept(ADS, [], asked_by=me) == ["b", "name"]
    assert await book.drifts(ADS) == []
    now, noted = await looking.drifts([ADS, OTHER])
    assert {n.drift.name for n in noted} == {"a", "b", "name"}
    assert all(n.accepted is not None and n.first <= n.last <= now for n in noted)
    assert (await asking.audit(1))[1][0][1].what == "accept"
    # It was accepted, and stays so for as long as it is met.
    await stream.whole_cycle(*campaigns("1"), drifts=(new("a"), wrong("name"), new("b")))
    assert await book.drifts(ADS) == []


async def test_what_was_added_is_shown(real: PostgresSubject) -> None:
    stream = await running(real.store)
    await evolve(stream, COLOUR)
    looking = Looking(real.store.connections)
    assert (await looking.added(EVOLVES)).columns == {"colour": "text"}
