"""What only a real Postgres can do to a page: refuse it, lose it, or keep it waiting."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from syncd.errors import CheckpointMoved, SchemaError, StoreRefused, StoreUnavailable
from syncd.store import connections, migrate, tokens
from syncd.store.connections import Connections
from syncd.store.postgres import PostgresStore, open_store
from syncd.sync.model import Counts, PageCommit, Row, StreamId, Table
from syncd.sync.ports import NotYet
from tests.contract.subjects import (
    ADS,
    TABLE,
    PostgresSubject,
    Stream,
    campaigns,
    commit_one,
    intent,
    key,
    letter,
    one_token,
    opened,
    page,
    row,
    running,
)

PATIENCE = 20.0  # seconds until a test that waits for Postgres gives up
PAUSE = 0.01  # seconds between two looks at what Postgres is doing
DOOR = 42  # the advisory lock that a commit of these tests waits at


async def run(subject: PostgresSubject, text: str, *values: object) -> list[dict[str, Any]]:
    """Any SQL, as the superuser."""
    return await subject.select(sql.SQL(text), *values)


BACKENDS = "datname = current_database() AND pid <> pg_backend_pid()"


async def until(subject: PostgresSubject, condition: str) -> None:
    """Wait until some backend of this database is as `condition` says."""
    asked = sql.SQL("SELECT pid FROM pg_stat_activity WHERE {} AND ({})").format(
        sql.SQL(BACKENDS), sql.SQL(condition)
    )
    with trio.fail_after(PATIENCE):
        while not await subject.select(asked):  # noqa: ASYNC110 - Postgres tells nobody
            await trio.sleep(PAUSE)


async def terminate(subject: PostgresSubject, condition: str) -> None:
    """Kill the backends that are as `condition` says."""
    await subject.select(
        sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {} AND ({})").format(
            sql.SQL(BACKENDS), sql.SQL(condition)
        )
    )


IN_COMMIT = "wait_event = 'advisory' AND query LIKE '%COMMIT'"


async def build_door(subject: PostgresSubject) -> None:
    """Let every commit that writes a campaign wait for the advisory lock, in its COMMIT."""
    await run(
        subject,
        f"""CREATE FUNCTION at_the_door() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared({DOOR}); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER door AFTER INSERT OR UPDATE ON campaigns
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_the_door()""",
    )


@asynccontextmanager
async def door_closed(subject: PostgresSubject) -> AsyncIterator[trio.Event]:
    """Commits wait until the event that this yields is set, or the block is left."""
    opened = trio.Event()
    with psycopg.connect(subject.conninfo, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (DOOR,))

        async def open_it() -> None:
            await opened.wait()
            holder.execute("SELECT pg_advisory_unlock(%s)", (DOOR,))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            yield opened
            opened.set()


async def outcome_of(stream: Stream, page: PageCommit, found: list[Exception | None]) -> None:
    try:
        await commit_one(stream.store, stream.table, stream.at, page)
    except (StoreUnavailable, CheckpointMoved) as error:
        found.append(error)
    else:
        found.append(None)


# --- resume: the outcome of a commit is not known -------------------------------------------------


async def test_resume_a_backend_killed_in_commit_has_written_nothing(
    real: PostgresSubject,
) -> None:
    """The commit raises StoreUnavailable; the checkpoint tells that it did not happen."""
    stream = await running(real.store)
    await build_door(real)
    found: list[Exception | None] = []
    async with trio.open_nursery() as nursery, door_closed(real):
        nursery.start_soon(outcome_of, stream, page(row("1"), dead=(letter("2"),)), found)
        await until(real, IN_COMMIT)
        await terminate(real, IN_COMMIT)
        with trio.fail_after(PATIENCE):
            while not found:  # noqa: ASYNC110 - the thread's answer
                await trio.sleep(PAUSE)
    assert isinstance(found[0], StoreUnavailable)
    assert await real.store.read_checkpoint(ADS) == stream.at
    assert await real.rows() == {}
    assert await real.dead() == []
    assert (await stream.commit(page(row("1")))).totals == Counts(seen=1, written=1)


async def test_only_a_read_after_a_lost_answer_costs_a_connection(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a process of Postgres's, and a thousand sources begin cycles all the time."""
    stream = await running(real.store)
    opened_anew: list[None] = []
    connect = Connections._connect

    def counted(pool: Connections) -> Any:
        opened_anew.append(None)
        return connect(pool)

    monkeypatch.setattr(Connections, "_connect", counted)
    assert await real.store.read_checkpoint(ADS, fresh=False) == stream.at
    assert opened_anew == []
    assert await real.store.read_checkpoint(ADS) == stream.at
    assert len(opened_anew) == 1


async def test_the_ledger_of_a_stream_without_calls_is_purged_once(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it makes one: then old calls leave again as soon as they may."""
    purges: list[tuple[bool, bool]] = []
    purge = tokens.purge_ledger

    def counted(*args: Any) -> tuple[bool, bool]:
        purges.append(purge(*args))
        return purges[-1]

    monkeypatch.setattr(tokens, "purge_ledger", counted)
    stream = await opened(real.store)
    for _ in range(3):
        await stream.whole_cycle(row("1"))
    assert purges == [(False, False)]
    await stream.begin()
    assert stream.at.cycle is not None
    await real.store.store_intent(intent("1", cycle=stream.at.cycle), stream.lease)
    await stream.commit(page(row("1"), next_cursor=None))
    for _ in range(4):
        await stream.whole_cycle(row("1"))
    assert await run(real, "SELECT FROM syncd.call") == []
    assert len(purges) == 4


async def test_resume_reading_back_waits_for_a_lost_backend_that_still_commits(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We lose the connection in COMMIT, the backend does not: the read sees what it committed."""
    stream = await running(real.store)
    await build_door(real)
    sockets: list[socket.socket] = []
    real_connect = connections._Watched.connect

    def connect(*args: Any, **kwargs: Any) -> Any:
        made = real_connect(*args, **kwargs)
        sockets.append(socket.socket(fileno=socket.dup(made.fileno())))
        return made

    real.store.connections.close()
    monkeypatch.setattr(connections._Watched, "connect", connect)
    found: list[Exception | None] = []
    read: list[int] = []

    async def read_back() -> None:
        read.append((await real.store.read_checkpoint(ADS)).seq)

    try:
        async with trio.open_nursery() as nursery, door_closed(real) as door:
            nursery.start_soon(outcome_of, stream, page(row("1")), found)
            await until(real, IN_COMMIT)
            for lost in sockets:
                lost.shutdown(socket.SHUT_RDWR)
            with trio.fail_after(PATIENCE):
                while not found:  # noqa: ASYNC110 - the thread's answer
                    await trio.sleep(PAUSE)
            assert isinstance(found[0], StoreUnavailable)
            [plain] = await run(real, "SELECT seq FROM syncd.checkpoint")
            assert plain["seq"] == stream.at.seq
            nursery.start_soon(read_back)
            await until(real, "wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'")
            assert read == []
            door.set()
    finally:
        for lost in sockets:
            lost.close()
    assert read == [stream.at.seq + 1]
    assert set(await real.rows()) == {"1"}
    assert (await real.store.committed(stream.at)).totals == Counts(seen=1, written=1)


async def test_resume_a_killed_connection_is_replaced(real: PostgresSubject) -> None:
    """The first to use it is told that Postgres is away, the next gets a new one."""
    stream = await running(real.store)
    await terminate(real, "true")
    with pytest.raises(StoreUnavailable):
        await stream.commit(page(row("1")))
    await stream.commit(page(row("1")))
    assert set(await real.rows()) == {"1"}


async def test_resume_a_transaction_timeout_of_the_owners_is_an_interruption(
    real: PostgresSubject,
) -> None:
    """25P04, from Postgres 17 on: the connection is gone, nothing is written, the next try does."""
    if (await run(real, "SHOW server_version_num"))[0]["server_version_num"] < "170000":
        pytest.skip("this Postgres has no transaction_timeout")
    stream = await running(real.store)
    name = (await run(real, "SELECT current_database() AS name"))[0]["name"]
    of = sql.Identifier(name)
    await real.select(sql.SQL("ALTER DATABASE {} SET transaction_timeout = '300ms'").format(of))
    await terminate(real, "true")
    with pytest.raises(StoreUnavailable):
        await stream.commit(page(row("1")))
    with psycopg.connect(real.conninfo, options="-c transaction_timeout=0") as holder:
        holder.execute("LOCK TABLE campaigns IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="transaction timeout"):
            await stream.commit(page(row("1")))
        holder.execute(sql.SQL("ALTER DATABASE {} RESET transaction_timeout").format(of))
    assert await real.rows() == {}
    await stream.commit(page(row("1")))
    assert set(await real.rows()) == {"1"}


@pytest.mark.parametrize("attrs", ["", "target_session_attrs=any"])
@pytest.mark.parametrize("what", ["DATABASE", "ROLE"])
async def test_resume_a_read_only_server_is_left(
    real: PostgresSubject, what: str, attrs: str
) -> None:
    """CASES 44, as after a failover that left us on a replica: each try makes a new connection.

    Whether libpq refuses such a server (as we ask it to), or its transactions fail (25006): it
    is waited for, with the reason, and writes when the default is lifted.
    """
    [names] = await run(real, 'SELECT current_database() AS "DATABASE", current_user AS "ROLE"')
    on = sql.SQL(f"ALTER {what} {{}}").format(sql.Identifier(names[what]))
    # To a read-only default a superuser's own session says otherwise.
    able = "-c default_transaction_read_only=off"
    async with open_store(f"{real.conninfo} {attrs}") as store:
        stream = await running(store)
        with psycopg.connect(real.conninfo, options=able, autocommit=True) as admin:
            admin.execute(on + sql.SQL(" SET default_transaction_read_only = on"))
            try:
                # Connections that are there keep what they began with.
                await stream.commit(page(row("1")))
                admin.execute(
                    sql.SQL(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {}"
                    ).format(sql.SQL(BACKENDS))
                )
                with pytest.raises(StoreUnavailable):
                    await stream.commit(page(row("2")))
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match="read-only"):
                        await stream.commit(page(row("2")))
            finally:
                admin.execute(on + sql.SQL(" RESET default_transaction_read_only"))
        await stream.commit(page(row("2")))
    real.store.connections.close()  # they ended with the others
    assert set(await real.rows()) == {"1", "2"}


# --- page-atomic ----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["cycle", "dead_letter", "checkpoint"])
async def test_page_atomic_a_full_disk_leaves_nothing(real: PostgresSubject, table: str) -> None:
    """Wherever in the page the disk is full, all of it is gone, and we wait for long."""
    stream = await running(real.store)
    await run(
        real,
        f"""CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''disk full''; END';
        CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON syncd.{table}
        FOR EACH ROW EXECUTE FUNCTION fill()""",
    )
    sent = page(row("1"), row("2", clicks="x"), dead=(letter("3"),))
    with pytest.raises(StoreUnavailable, match="disk full") as caught:
        await stream.commit(sent)
    assert (caught.value.hint or 0) >= 5
    await run(real, f"DROP TRIGGER fill ON syncd.{table}")
    assert await real.rows() == {}
    assert await real.dead() == []
    assert await real.store.read_checkpoint(ADS) == stream.at
    assert (await stream.commit(sent)).totals == Counts(seen=3, written=1, dead=2)


# --- contained ------------------------------------------------------------------------------------


CHECKED = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.budget >= 100 THEN RAISE ''rule''; END IF; RETURN NEW; END';"""

CODED = CHECKED.replace("''rule''", "''rule'' USING ERRCODE = ''MY001''")

RULES = {
    "check": "ALTER TABLE campaigns ADD CONSTRAINT rule CHECK (budget < 100)",
    "trigger": f"""{CHECKED} CREATE TRIGGER rule BEFORE INSERT OR UPDATE ON campaigns
        FOR EACH ROW EXECUTE FUNCTION f()""",
    "trigger with a code of its own": f"""{CODED}
        CREATE TRIGGER rule BEFORE INSERT OR UPDATE ON campaigns
        FOR EACH ROW EXECUTE FUNCTION f()""",
    "deferred trigger": f"""{CHECKED} CREATE CONSTRAINT TRIGGER rule AFTER INSERT OR UPDATE
        ON campaigns DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()""",
    "deferred foreign key": """CREATE TABLE allowed (b numeric PRIMARY KEY);
        INSERT INTO allowed VALUES (1);
        ALTER TABLE campaigns ADD CONSTRAINT rule FOREIGN KEY (budget) REFERENCES allowed
        DEFERRABLE INITIALLY DEFERRED""",
    "deferred unique": """ALTER TABLE campaigns ADD CONSTRAINT rule UNIQUE (clicks)
        DEFERRABLE INITIALLY DEFERRED""",
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
async def test_contained_a_rule_of_the_users_costs_its_record_alone(
    real: PostgresSubject, rule: str
) -> None:
    """Also a rule that Postgres only looks at when it commits."""
    stream = await running(real.store)
    await run(real, rule)
    done = await stream.commit(
        page(row("1", clicks=1), row("2", budget=100, clicks=1), row("3", clicks=3))
    )
    assert done.totals == Counts(seen=3, written=2, dead=1)
    assert set(await real.rows()) == {"1", "3"}
    [found] = await real.dead()
    assert (found.kind, found.key) == ("refused", key("2"))
    assert "rule" in found.reason


async def test_contained_a_record_that_is_no_json_costs_itself(real: PostgresSubject) -> None:
    """Bytes that no JSON parser takes, or that are no UTF-8, are put aside as they are."""
    stream = await running(real.store)
    broken = [b'{"id": "2"', b'{"id": "3\xff"}', b'{"id": "4", "name": "\\ud800"}']
    rows = [Row(key=key(str(n)), json=text, raw=text) for n, text in enumerate(broken, 2)]
    done = await stream.commit(page(row("1"), *rows))
    assert done.totals == Counts(seen=4, written=1, dead=3)
    assert {d.payload for d in await real.dead()} == set(broken)


async def test_contained_a_key_that_is_null_costs_its_record(real: PostgresSubject) -> None:
    """A row without its key can't be found again."""
    stream = await running(real.store)
    done = await stream.commit(page(row("1"), Row(key="[null]", json=b'{"name": "x"}')))
    assert done.totals == Counts(seen=2, written=1, dead=1)


async def test_contained_the_same_key_twice_in_a_page(real: PostgresSubject) -> None:
    """The API layer folds them; if it did not, no record would be lost uncounted."""
    stream = await running(real.store)
    done = await stream.commit(page(row("1", name="a"), row("1", name="b"), row("2")))
    assert done.totals.balanced
    assert done.totals.seen == 3
    assert set(await real.rows()) == {"1", "2"}


# --- accounted ------------------------------------------------------------------------------------


async def test_accounted_an_unchanged_page_touches_no_row(real: PostgresSubject) -> None:
    """No row version, no stamp and no lock: the rows are as the first cycle left them."""
    stream = await opened(real.store)
    look = "SELECT id, xmin::text, xmax::text, ctid::text, _syncd_changed_at FROM campaigns"
    await stream.whole_cycle(*campaigns("1", "2"), row("3", synced="now"))
    before = await run(real, look)
    await stream.whole_cycle(*campaigns("1", "2"), row("3", synced="now"))
    await stream.whole_cycle(*campaigns("1", "2", "3"))
    assert await run(real, look) == before


@pytest.mark.parametrize(
    ("change", "stamped"),
    [({"name": "new"}, True), ({"heat": 9}, False), ({"synced": "now"}, False)],
)
async def test_accounted_the_stamp_moves_with_what_counts_as_a_change(
    real: PostgresSubject, change: dict[str, Any], stamped: bool
) -> None:
    """Volatile and kept columns are written without one."""
    stream = await opened(real.store)
    look = "SELECT _syncd_changed_at AS at FROM campaigns"
    await stream.whole_cycle(row("1"))
    [before] = await run(real, look)
    assert (await stream.whole_cycle(row("1", **change))).totals.written == 1
    [after] = await run(real, look)
    assert (after["at"] > before["at"]) is stamped


async def test_accounted_a_deleted_row_that_comes_again_is_written(real: PostgresSubject) -> None:
    """It is there again, as a change, even where no column differs."""
    stream = await opened(real.store)
    await stream.whole_cycle(row("1"))
    [before] = await run(
        real,
        "UPDATE campaigns SET _syncd_deleted_at = now() RETURNING _syncd_changed_at AS at",
    )
    assert await real.store.differing(TABLE, "ads", [row("1")]) == {key("1")}
    assert (await stream.whole_cycle(row("1"))).totals.written == 1
    [after] = await run(
        real, "SELECT _syncd_changed_at AS at, _syncd_deleted_at AS gone FROM campaigns"
    )
    assert after["gone"] is None
    assert after["at"] > before["at"]


# --- values and names -----------------------------------------------------------------------------

NAMES = [
    'a "quoted" name',
    "semi;colon",
    "'; DROP TABLE syncd.cycle; --",
    "100% %s %(page)s",
    "two\nlines",
    "campaigns 🎉",
    "x" * 63,
    "k",
    "SELECT",
    "Überschrift",
    "$syncd$ {0} {table}",
]


@pytest.mark.parametrize("name", NAMES)
async def test_names_of_any_kind_arrive_quoted(real: PostgresSubject, name: str) -> None:
    """Schema, table and columns keep the names that the user gave them, whatever is in them."""
    table = Table(
        schema=name,
        name=name,
        columns={"id": "text", name: "bigint", name[:60] + "k2": "text", name[:60] + "v2": "text"},
        key=("id", name),
        kept=frozenset({name[:60] + "k2"}),
        volatile=frozenset({name[:60] + "v2"}),
        indexes=((name,),),
    )
    values = {"id": "1", name: 7, name[:60] + "k2": "kept", name[:60] + "v2": "v"}
    one = Row(key='["1",7]', json=json.dumps(values).encode(), called=True)
    bad = Row(key='["2",null]', json=json.dumps({**values, name: None}).encode())
    stream = await running(real.store, StreamId(source=name, stream=name), table)
    assert await real.store.differing(table, name, [one]) == {one.key}
    done = await stream.commit(page(one, bad))
    assert done.totals == Counts(seen=2, written=1, dead=1)
    assert await real.rows(table) == {"1": values}
    assert (await stream.commit(page(one, next_cursor=None))).totals.unchanged == 1
    assert await real.store.missing_table(table) == []


@pytest.mark.parametrize("running_already", [False, True])
async def test_a_table_that_has_become_another_is_refused_before_anything_is_asked_for(
    real: PostgresSubject, running_already: bool
) -> None:
    """no-blind-repeat, accounted: what is written would be rounded, and its call made each time."""
    stream = await opened(real.store)
    if running_already:
        await stream.begin()
        await stream.commit(page(row("1", budget="4913.71")))
    await real.select(
        sql.SQL("ALTER TABLE campaigns ALTER budget TYPE integer USING round(budget)")
    )
    with pytest.raises(StoreRefused, match="column 'budget' is integer, not numeric"):
        await real.store.begin_cycle(stream.at, fingerprint="f", table=TABLE)
    await real.select(sql.SQL("ALTER TABLE campaigns ALTER budget TYPE numeric"))
    begun, _ = await real.store.begin_cycle(stream.at, fingerprint="f", table=TABLE)
    assert begun.resumed == running_already


async def test_a_table_that_is_another_is_refused(real: PostgresSubject) -> None:
    """Nothing is altered; the refusal names each column that is not as it should be."""
    await run(real, "CREATE TABLE campaigns (id integer, name text)")
    lease = await real.store.acquire_lease("ads")
    with pytest.raises(StoreRefused, match="'id' is integer, not text") as caught:
        await real.store.open_stream(ADS, TABLE, lease, every=900)
    assert "no column 'budget'" in str(caught.value)


STRINGS = st.text(
    alphabet=st.one_of(
        st.characters(),  # every plane, lone surrogates left out by hypothesis' default codec
        st.sampled_from("\x00\ud800\udfff'\"\\;%$\n\r\t\x7f\x85\u2028\ufeff\ufffe\U0010ffff"),
    ),
    max_size=30,
)
NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False),
    st.integers(-(10**40), 10**40).map(Decimal),
    st.sampled_from(["1e-30", "0.1", "123456789.123456789123456789", "-0", "1E+400000"]).map(
        Decimal
    ),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    values=st.lists(
        st.tuples(STRINGS, NUMBERS, st.integers(-(2**65), 2**65)), min_size=1, max_size=8
    )
)
def test_contained_every_value_arrives_exactly_or_is_put_aside(
    postgres: str, values: list[tuple[str, Decimal, int]]
) -> None:
    """Text byte for byte, numbers to the last digit; the sums balance whatever came."""
    trio.run(_values_arrive, postgres, values)


async def _values_arrive(postgres: str, values: list[tuple[str, Decimal, int]]) -> None:
    rows = []
    for n, (text, number, whole) in enumerate(values):
        json_text = (
            f'{{"id": "{n}", "name": {json.dumps(text)}, "budget": {number}, "clicks": {whole}}}'
        )
        rows.append(Row(key=key(str(n)), json=json_text.encode(), raw=json_text.encode()))
    async with open_store(postgres) as store:
        subject = PostgresSubject(store, postgres)
        stream = await opened(store)
        await run(subject, "TRUNCATE campaigns, syncd.dead_letter")
        done = await stream.whole_cycle(*rows)
        written = await subject.rows()
        dead = {d.key: d for d in await subject.dead()}
        again = await stream.whole_cycle(*rows)
    assert done.totals.balanced
    assert (done.totals.written, done.totals.dead) == (len(written), len(dead))
    assert again.totals == Counts(seen=len(rows), unchanged=len(written), dead=len(dead))
    for n, (text, number, whole) in enumerate(values):
        storable = "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
        fits = -(2**63) <= whole < 2**63 and abs(number.adjusted()) < 10_000
        if storable and fits:
            there = written[str(n)]
            assert (there["name"], there["budget"], there["clicks"]) == (text, number, whole)
        elif number.adjusted() >= 200_000 or not storable or not -(2**63) <= whole < 2**63:
            assert dead[key(str(n))].payload == rows[n].raw


# --- two at once ----------------------------------------------------------------------------------


async def test_deadlock_is_a_matter_of_time(real: PostgresSubject) -> None:
    """The page that Postgres picks (40P01) is no bug: it is done again, or tried again later."""
    stream = await running(real.store)
    await stream.commit(page(*campaigns("1", "2")))
    await run(real, "ALTER ROLE postgres SET deadlock_timeout = '200ms'")
    try:
        real.store.connections.close()
        found: list[Exception | None] = []
        with psycopg.connect(real.conninfo) as other:
            other.execute("SET deadlock_timeout = '20s'")
            other.execute("UPDATE campaigns SET heat = 5 WHERE id = '2'")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    outcome_of, stream, page(row("1", name="a"), row("2", name="b")), found
                )
                await until(real, "wait_event_type = 'Lock' AND query LIKE 'WITH m%'")
                await trio.to_thread.run_sync(
                    other.execute, "UPDATE campaigns SET heat = 5 WHERE id = '1'"
                )
                other.commit()
    finally:
        await run(real, "ALTER ROLE postgres RESET deadlock_timeout")
    [said] = found
    if said is None:
        assert (await real.rows())["2"]["name"] == "b"
    else:
        assert isinstance(said, StoreUnavailable)
        assert "40P01" in str(said)
        await stream.commit(page(row("1", name="a"), row("2", name="b")))
    assert (await real.cycle(stream.at.cycle or 0)).totals.seen == 4


async def test_overlapping_pages_in_opposite_order_do_not_meet_badly(
    real: PostgresSubject,
) -> None:
    """Rows are written in the order of their keys, whatever the API's order was."""
    one = await opened(real.store)
    other = await opened(real.store, StreamId(source="ads2", stream="c"))
    await run(
        real,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'; CREATE TRIGGER slow BEFORE UPDATE "
        "ON campaigns FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    # Two streams of one source that share a table have the same rows.
    shared = await real.store.open_stream(
        StreamId(source="ads", stream="again"), TABLE, one.lease, every=900
    )
    two = Stream(real.store, one.lease, shared, shared.stream)
    ids = [f"{n:02}" for n in range(30)]
    await one.whole_cycle(*campaigns(*ids))
    await one.begin()
    await two.begin()

    async def commit(stream: Stream, name: str, order: list[str]) -> None:
        for turn in range(3):
            await stream.commit(page(*(row(of, name=f"{name}{turn}") for of in order)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit, one, "a", ids)
        nursery.start_soon(commit, two, "b", ids[::-1])
    assert other.at.cycle is None
    names = {r["name"] for r in (await real.rows()).values()}
    assert len(names) == 1


async def test_budget_no_window_ever_holds_more(postgres: str) -> None:
    """Eight at once over two stores, for a while: between any n tokens and the next lies `per`."""
    requests, per, lasts = 5, 0.3, 2.0
    counted: list[float] = []

    async def spend(store: PostgresStore, ends: float) -> None:
        while trio.current_time() < ends:
            found = await one_token(
                store,
                "b",
                lifetime=10.0,
                spent_on="x",
            )
            if isinstance(found, NotYet):
                await trio.sleep(min(found.seconds, per))
                continue
            counted.append(trio.current_time())
            await store.settle_tokens("b", [(found, 0.0, per * 1.001)])

    async with open_store(postgres) as one, open_store(postgres, migrations=False) as two:
        await one.open_budget("b", requests=requests, per=per)
        ends = trio.current_time() + lasts
        async with trio.open_nursery() as nursery:
            for n in range(8):
                nursery.start_soon(spend, (one, two)[n % 2], ends)
    counted.sort()
    gaps = [after - before for before, after in zip(counted, counted[requests:], strict=False)]
    assert gaps
    assert min(gaps) >= per
    assert len(counted) >= requests * 2


# --- the schema -----------------------------------------------------------------------------------


async def test_a_newer_schema_is_refused(postgres: str) -> None:
    """An older syncd writes nothing to what a newer one has made."""
    async with open_store(postgres) as store:
        await run(
            PostgresSubject(store, postgres),
            "INSERT INTO syncd.migration (number, name, checksum) VALUES (9999, 'x', 'x')",
        )
    with pytest.raises(SchemaError, match="9999"):
        async with open_store(postgres):
            pass


async def test_a_migration_in_another_form_is_refused(postgres: str) -> None:
    """The schema is one that no syncd of this version has made."""
    async with open_store(postgres) as store:
        await run(PostgresSubject(store, postgres), "UPDATE syncd.migration SET checksum = 'x'")
    with pytest.raises(SchemaError, match="another form"):
        async with open_store(postgres):
            pass


async def test_migrations_are_applied_once_by_whoever_comes_first(postgres: str) -> None:
    """Several that start at once find one schema, and each step was taken once."""
    stores = [PostgresStore(connections.Connections(postgres)) for _ in range(4)]
    applied: list[int] = []

    async def apply(store: PostgresStore) -> None:
        applied.extend(m.number for m in await store.apply())

    async with trio.open_nursery() as nursery:
        for store in stores:
            nursery.start_soon(apply, store)
    assert applied == [m.number for m in migrate.known()]
    assert await stores[0].pending() == []
    for store in stores:
        store.connections.close()


async def test_a_migration_that_fails_leaves_nothing(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is pending is applied, or nothing."""
    broken = migrate.Migration(number=9999, name="broken", sql="SELECT 1/0")
    monkeypatch.setattr(migrate, "known", lambda: (*original, broken))
    store = PostgresStore(connections.Connections(postgres))
    with pytest.raises(psycopg.errors.DivisionByZero):
        await store.apply()
    subject = PostgresSubject(store, postgres)
    assert await run(subject, "SELECT FROM pg_namespace WHERE nspname = 'syncd'") == []
    store.connections.close()


original = migrate.known()
