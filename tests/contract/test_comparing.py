"""A page compared with a real table: what Postgres calls a difference, and nothing is written."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import attrs
import psycopg
import pytest
import trio
from psycopg import sql

from syncd.errors import StoreRefused
from syncd.store.comparing import Calls, PostgresComparing
from syncd.store.findings import Findings
from syncd.sync.diff import FIRST, HELD, Coming, Compared, Difference
from syncd.sync.model import PageCommit, Row, Table
from tests.contract.subjects import (
    ADS,
    TABLE,
    PostgresSubject,
    Stream,
    campaigns,
    key,
    letter,
    opened,
    page,
    row,
    running,
)


@pytest.fixture
def findings() -> Iterator[Findings]:
    with Findings() as found:
        yield found


async def run(subject: PostgresSubject, text: str) -> list[dict[str, Any]]:
    """Any SQL, as the superuser."""
    return await subject.select(sql.SQL(text))


@attrs.define(eq=False)
class Diff:
    """A diff on its way."""

    subject: PostgresSubject
    findings: Findings
    comparing: PostgresComparing
    coming: Coming

    async def compare(self, commit: PageCommit, calls: Calls = "") -> Compared:
        return await self.comparing.compare(commit, calls)

    @property
    def found(self) -> dict[str, Difference]:
        return {d.key or "": d for d in self.findings}

    def columns(self, of: str) -> dict[str, list[Any]]:
        both = json.loads(self.found[key(of)].columns, parse_float=Decimal)
        return {name: [change["old"], change["new"]] for name, change in both.items()}

    @property
    def changes(self) -> dict[str, str]:
        return {json.loads(d.key or "[null]")[0]: d.change for d in self.findings}


async def begun(
    subject: PostgresSubject, findings: Findings, table: Table = TABLE, **asked: Any
) -> Diff:
    comparing = PostgresComparing(subject.store.connections, ADS, table, findings)
    asked = {"fingerprint": "f", "reconcile": None, "full": 0.0} | asked
    return Diff(subject, findings, comparing, await comparing.coming(**asked))


async def test_rows_differ_where_an_upsert_would_write_them(
    real: PostgresSubject, findings: Findings
) -> None:
    """accounted: new, changed, in volatile columns alone, back again, and as they were."""
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1", "2", "3", "4", "5")))
    await run(real, "UPDATE campaigns SET _syncd_deleted_at = now() WHERE id IN ('4', '5')")
    diff = await begun(real, findings)
    assert (diff.coming.untried, diff.coming.makes) == ("", ())
    rows = [row("1"), row("2", name="x"), row("3", heat="9007199254740993.10"), row("4")]
    compared = await diff.compare(page(*rows, row("5", budget=2), row("6")))
    assert compared == Compared(written=5, unchanged=1)
    assert diff.changes == {
        "2": "changed",
        "3": "volatile",
        "4": "returned",
        "5": "returned",
        "6": "added",
    }
    assert diff.columns("2") == {"name": ["n", "x"]}
    assert diff.columns("3") == {"heat": [0, Decimal("9007199254740993.10")]}
    assert '"new" : 9007199254740993.10' in diff.found[key("3")].columns
    assert diff.found[key("4")].columns == ""
    assert diff.columns("5") == {"budget": [1, 2]}
    assert diff.columns("6") == {"id": [None, "6"], "name": [None, "n"]} | {
        c: [None, n] for c, n in (("budget", 1), ("clicks", 0), ("heat", 0))
    }


TYPED = Table(
    schema="public",
    name="typed",
    columns={
        "id": "numeric",
        "at": "timestamptz",
        "doc": "jsonb",
        "odd %name": "numeric",
        "who": "uuid",
        "real": "double precision",
    },
    key=("id",),
)


def typed(**values: Any) -> Row:
    plain = {"id": 1, "at": "2026-01-01T12:00:00Z", "doc": {"a": 1, "b": [1.50]}}
    found = {**plain, "odd %name": 10, "real": 0.1, **values}
    return Row(key=json.dumps([1]), json=json.dumps(found).encode())


@pytest.mark.parametrize(
    ("values", "differ"),
    [
        ({"id": "1.0"}, []),
        ({"at": "2026-01-01T14:00:00.000+02:00"}, []),
        ({"doc": {"b": [1.5], "a": 1.0}}, []),
        ({"odd %name": "10.00"}, []),
        ({"at": "2026-01-01T14:00:00+01:00"}, ["at"]),
        ({"doc": {"b": [1.5], "a": "1"}}, ["doc"]),
        ({"doc": None, "odd %name": None}, ["doc", "odd %name"]),
        ({"who": "AAAAAAAA-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "real": 0.2}, ["real", "who"]),
    ],
    ids=lambda v: ",".join(map(str, v)) if isinstance(v, list) else None,
)
async def test_postgres_says_what_is_equal(
    real: PostgresSubject, findings: Findings, values: dict[str, Any], differ: list[str]
) -> None:
    """accounted: numbers, instants and jsonb are compared by what they mean, as by the upsert."""
    stream = await running(real.store, table=TYPED)
    await stream.commit(page(typed()))
    diff = await begun(real, findings, TYPED)
    compared = await diff.compare(page(typed(**values)))
    assert compared.written == bool(differ)
    assert [sorted(json.loads(d.columns)) for d in findings] == [differ] * bool(differ)
    assert (await diff.comparing.absent()).many == 0
    # And so does the upsert: what the diff calls equal is not written.
    done = await stream.commit(page(typed(**values), next_cursor=None))
    assert done.totals.written == 1 + compared.written


async def untouched(subject: PostgresSubject) -> list[Any]:
    """Where each row is, and what wrote it."""
    found: list[Any] = []
    for table in ("campaigns", "syncd.checkpoint", "syncd.cycle", "syncd.dead_letter"):
        where = sql.Identifier(*table.split("."))
        rows = sql.SQL("SELECT ctid::text, xmin::text, t::text FROM {} t").format(where)
        found += await subject.select(rows)
    return found + await run(subject, "SELECT * FROM pg_sequences ORDER BY 1, 2")


async def test_page_atomic_a_dry_run_writes_nothing(
    real: PostgresSubject, findings: Findings
) -> None:
    """Rows, checkpoint, cycle and dead letters stand where they stood; no lock is left."""
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1", "2"), dead=(letter("9"),)))
    before = await untouched(real)
    diff = await begun(real, findings)
    await diff.compare(page(row("1", name="x"), row("3"), dead=(letter("8"),)))
    assert await untouched(real) == before
    assert await run(real, "SELECT FROM pg_locks WHERE relation = 'campaigns'::regclass") == []
    done = await stream.commit(page(row("1", name="x"), row("3")))
    assert done.totals.written == 4


REFUSING = {
    "check": "ALTER TABLE campaigns ADD CONSTRAINT rule CHECK (budget < 100)",
    "deferred": "CREATE TABLE other (n numeric PRIMARY KEY); INSERT INTO other VALUES (1), (2);"
    "ALTER TABLE campaigns ADD CONSTRAINT rule FOREIGN KEY (budget) REFERENCES other"
    " DEFERRABLE INITIALLY DEFERRED",
    "unique": "ALTER TABLE campaigns ADD CONSTRAINT rule EXCLUDE (budget WITH =)"
    " WHERE (budget >= 100)",
}


@pytest.mark.parametrize("rule", REFUSING)
async def test_rows_that_postgres_refuses_are_told_in_its_words(
    real: PostgresSubject, findings: Findings, rule: str
) -> None:
    """contained: as a cycle's dead letters; the rows beside them are told as well."""
    stream = await running(real.store)
    await stream.commit(page(row("0", budget=1)))
    await run(real, REFUSING[rule])
    if rule == "unique":
        await run(real, "INSERT INTO campaigns VALUES ('x', 'n', 100, 0, 0, 's', 'other', now())")
    diff = await begun(real, findings)
    commit = page(row("1", budget=2), row("2", budget=100), row("3", name="new"))
    compared = await diff.compare(commit)
    assert (compared.written, compared.dead) == (2, 1)
    assert diff.changes == {"1": "added", "2": "put-aside", "3": "added"}
    done = await stream.commit(attrs.evolve(commit, next_cursor=None))
    assert [d.reason for d in done.refused] == [diff.found[key("2")].reason]
    # Now it lies there: the same again is no difference.
    with Findings() as later:
        again = await begun(real, later)
        assert (await again.compare(commit)).dead == 1
        assert (later.counted().differences, later.counted().aside_again) == (0, 1)
        assert again.found[key("2")].again
        well = await again.compare(page(row("2", budget=1)))
        assert well.recovered == 1


async def test_a_value_that_its_type_refuses_costs_one_record(
    real: PostgresSubject, findings: Findings
) -> None:
    """contained: found by halving, also where nothing may be tried."""
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1")))
    await run(real, TRIGGER)
    diff = await begun(real, findings)
    rows = [row("1", name="x"), row("2", name="a\x00b"), row("3", clicks=2**63), row("4")]
    compared = await diff.compare(page(*rows))
    assert (compared.written, compared.dead) == (2, 2)
    assert diff.changes == {"1": "changed", "2": "put-aside", "3": "put-aside", "4": "added"}
    assert "out of range" in diff.found[key("3")].reason


async def test_a_page_that_is_refused_whole_is_refused_as_in_a_cycle(
    real: PostgresSubject, findings: Findings
) -> None:
    """contained: ten bad rows of ten are no matter of records."""
    await running(real.store)
    await run(real, "ALTER TABLE campaigns ADD CONSTRAINT rule CHECK (budget < 0)")
    diff = await begun(real, findings)
    with pytest.raises(StoreRefused, match=r"all 10 rows of a page are refused.*rule"):
        await diff.compare(page(*campaigns(*map(str, range(10)))))
    assert list(findings) == []


TRIGGER = """CREATE SEQUENCE fired;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM nextval(''fired''); RETURN NEW; END';
CREATE TRIGGER "Mail" BEFORE INSERT OR UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION f()"""

BEYOND = {
    "trigger": (TRIGGER, 'trigger "Mail"'),
    "rule": (
        "CREATE RULE r AS ON UPDATE TO campaigns DO ALSO NOTIFY x",
        "rule r",
    ),
    "serial": ("ALTER TABLE campaigns ADD COLUMN n serial", "default of column n"),
    "identity": (
        "ALTER TABLE campaigns ADD COLUMN n int GENERATED BY DEFAULT AS IDENTITY",
        "default of column n",
    ),
    "function": (
        """CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1';
        ALTER TABLE campaigns ADD COLUMN n int DEFAULT g()""",
        "default of column n",
    ),
    "cascade": (
        """ALTER TABLE campaigns ADD CONSTRAINT u UNIQUE (name);
        CREATE TABLE other (name text REFERENCES campaigns (name) ON UPDATE CASCADE)""",
        "foreign key other_name_fkey of other",
    ),
    "kept": (
        "ALTER TABLE campaigns ALTER COLUMN synced SET NOT NULL",
        "constraint of column synced, which a call fills",
    ),
}


@pytest.mark.parametrize("what", BEYOND)
async def test_what_could_act_beyond_the_transaction_is_not_set_off(
    real: PostgresSubject, findings: Findings, what: str
) -> None:
    """contained: no trigger fires and no sequence moves; it is said why nothing was tried."""
    await opened(real.store)
    statement, named = BEYOND[what]
    await run(real, statement)
    before = await run(real, "SELECT * FROM pg_sequences ORDER BY 1, 2")
    diff = await begun(real, findings)
    assert named in diff.coming.untried
    assert (await diff.compare(page(*campaigns("1", "2")))).written == 2
    assert await run(real, "SELECT * FROM pg_sequences ORDER BY 1, 2") == before


async def test_harmless_columns_and_constraints_of_the_owners_are_tried(
    real: PostgresSubject, findings: Findings
) -> None:
    """A default of Postgres's own, and a key to another table, keep no row from being tried."""
    await opened(real.store)
    await run(
        real,
        "ALTER TABLE campaigns ADD COLUMN made timestamptz DEFAULT now(), "
        "ADD COLUMN twice numeric GENERATED ALWAYS AS (budget * 2) STORED, "
        "ADD CONSTRAINT c CHECK (budget > 0)",
    )
    diff = await begun(real, findings)
    assert diff.coming.untried == ""
    assert (await diff.compare(page(row("1"), row("2", budget=-1)))).dead == 1


async def test_it_gives_way_to_whoever_holds_a_row(
    real: PostgresSubject, findings: Findings
) -> None:
    """A row that somebody holds is compared and not tried, and that is counted."""
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1", "2")))
    diff = await begun(real, findings)

    def held() -> psycopg.Connection[Any]:
        connection = psycopg.connect(real.conninfo)
        connection.execute("SELECT FROM campaigns WHERE id = '1' FOR UPDATE")
        return connection

    other = await trio.to_thread.run_sync(held)
    compared = await diff.compare(page(row("1", name="x"), row("2")))
    await trio.to_thread.run_sync(other.close)
    assert compared == Compared(written=1, unchanged=1, untried=2)
    assert diff.changes == {"1": "changed"}


async def test_a_table_that_is_not_there_and_columns_that_it_lacks(
    real: PostgresSubject, findings: Findings
) -> None:
    """All rows are new, and nothing is made; a column to come counts as null."""
    diff = await begun(real, findings)
    assert diff.coming.makes[0].startswith("CREATE TABLE")
    assert "to be made" in diff.coming.untried
    assert (await diff.compare(page(*campaigns("1", "2"), gone=()))).written == 2
    assert (await diff.comparing.absent()).live == 0
    assert await run(real, "SELECT FROM pg_tables WHERE tablename = 'campaigns'") == []
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1", "2")))
    wider = attrs.evolve(TABLE, columns={**TABLE.columns, "more": "numeric"})
    with Findings() as later:
        lacking = await begun(real, later, wider)
        assert lacking.coming.makes == (
            'ALTER TABLE "public"."campaigns" ADD COLUMN "more" numeric',
        )
        given = attrs.evolve(row("1"), json=b'{"id": "1", "name": "n", "budget": 1, "more": 2}')
        await lacking.compare(page(given, row("2")))
        assert lacking.columns("1")["more"] == [None, 2]
        assert lacking.changes == {"1": "changed"}
    narrow = attrs.evolve(TABLE, columns={**TABLE.columns, "budget": "text"})
    with pytest.raises(StoreRefused, match="column 'budget' is numeric, not text"):
        await begun(real, findings, narrow)


async def test_what_calls_fill_is_not_compared_and_they_are_counted(
    real: PostgresSubject, findings: Findings
) -> None:
    """no-blind-repeat: for whom a call would be made, by `when`."""
    stream = await running(real.store)
    await stream.commit(page(row("1", synced="then"), row("2", synced="then")))
    diff = await begun(real, findings)
    rows = [row("1"), row("2", heat=5), row("3")]
    assert (await diff.compare(page(*rows), "changed")).calls == 1
    assert {d.key: d.called for d in findings} == {key("2"): False, key("3"): True}
    assert "synced" not in diff.columns("2")
    assert (await diff.compare(page(*rows), "always")).calls == 3


async def scanned(stream: Stream, *rows: Row) -> None:
    """A whole scan, and its conclusion."""
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(*rows, next_cursor=None), keys=()))
    await stream.store.reconcile(stream.table, stream.at, cycle, moved="")
    stream.at = await stream.store.read_checkpoint(stream.id)


async def test_no_delete_what_no_page_held_is_judged_by_what_scans_know(
    real: PostgresSubject, findings: Findings
) -> None:
    """no-delete-on-absence: first, again, rejects and left out ones, and tombstones at once."""
    stream = await opened(real.store)
    everything = campaigns("1", "2", "3", "4", "5", "6", "7")
    await scanned(stream, *everything)
    await scanned(stream, *everything[:6])  # 7 is missing for the first time
    diff = await begun(real, findings, reconcile=0.0)
    assert diff.coming.reconcile
    commit = attrs.evolve(
        page(*campaigns("1", "2"), dead=(letter("3"),)),
        gone=(key("4"), key("nobody")),
        keys=(key("5"), key("3")),
    )
    compared = await diff.compare(commit)
    assert (compared.written, compared.unchanged) == (1, 3)
    absent = await diff.comparing.absent()
    assert (absent.live, absent.first, absent.again, absent.approved) == (7, 1, 1, 0)
    assert await diff.comparing.absent() == absent  # asked for again, it is the same
    await diff.comparing.conclude(scan=True, held=True)
    assert {k: d.reason for k, d in diff.found.items() if d.change == "missing"} == {
        key("6"): FIRST,
        key("7"): HELD,
    }
    await diff.comparing.conclude(scan=True, held=False)
    assert diff.changes == {"4": "deleted", "3": "put-aside", "6": "missing", "7": "deleted"}
    other = await begun(real, findings, reconcile=0.0, fingerprint="other settings")
    assert (await other.comparing.absent()).again == 0


async def test_keys_that_no_row_can_have_are_counted(
    real: PostgresSubject, findings: Findings
) -> None:
    """no-delete-on-absence: as in a scan, they forbid that anything goes."""
    stream = await running(real.store, table=TYPED)
    await stream.commit(page(typed()))
    diff = await begun(real, findings, TYPED)
    compared = await diff.compare(attrs.evolve(page(), keys=('["much"]', "[1]")))
    assert compared.keyless == 2


async def test_many_absent_rows_are_found_a_few_at_a_time(
    real: PostgresSubject, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their keys are read in order, of two columns and each only once."""
    monkeypatch.setattr("syncd.store.differences.LIVE", 7)
    pairs = Table(
        schema="public", name="pairs", columns={"at": "timestamptz", "n": "bigint"}, key=("at", "n")
    )
    rows = [
        Row(
            key=json.dumps([at, n]),
            json=json.dumps({"at": at, "n": n}).encode(),
        )
        for at in ("2026-01-01T00:00:00.000001Z", "2026-01-02T00:00:00Z")
        for n in range(20)
    ]
    stream = await running(real.store, table=pairs)
    await stream.commit(page(*rows))
    diff = await begun(real, findings, pairs)
    await diff.compare(page(*rows[5:]))
    absent = await diff.comparing.absent()
    assert (absent.live, absent.first) == (40, 5)
    assert len(list(findings)) == 5


async def test_what_comes_is_what_a_cycle_would_be(
    real: PostgresSubject, findings: Findings
) -> None:
    """resume: never opened, with a mark, under way, and with other settings."""
    assert (await begun(real, findings, reconcile=5.0)).coming.reconcile
    stream = await opened(real.store)
    await stream.begin()
    await stream.commit(attrs.evolve(page(*campaigns("1"), next_cursor=None), high_water="m"))

    async def coming(**asked: Any) -> tuple[str | None, bool, int | None]:
        found = (await begun(real, findings, **asked)).coming
        return found.since, found.reconcile, found.under_way

    assert await coming(full=3600.0) == ("m", False, None)
    assert await coming(full=0.0) == (None, False, None)
    await run(real, "UPDATE syncd.checkpoint SET parked = 'a bad page', paused_at = now()")
    standing = (await begun(real, findings)).coming
    assert (standing.parked, standing.paused) == ("a bad page", True)
    assert await coming(full=3600.0, reconcile=0.0) == (None, True, None)
    assert await coming(full=3600.0, fingerprint="other") == (None, False, None)
    stream.at, _ = await real.store.begin_cycle(stream.at, fingerprint="f", full=3600.0)
    assert stream.at.since == "m"
    await stream.commit(page(*campaigns("1")))
    assert await coming(full=3600.0) == ("m", False, 1)
    assert await coming(full=3600.0, fingerprint="other") == (None, False, None)
