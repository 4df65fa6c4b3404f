"""The threads and connections behind the store: few, bounded, and thrown away when broken."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
import trio
import trio.testing
from psycopg import sql

from syncd.errors import ConfigError, StoreRefused, StoreUnavailable
from syncd.store import connections
from syncd.store.connections import SIZE, Connection, Connections, transaction
from tests.proxy.between import socket_of, through
from tests.proxy.relay import Proxy, running_proxy
from tests.proxy.script import Rule

PATIENCE = 20.0  # seconds


def pid_of(connection: Connection) -> int:
    return connection.info.backend_pid


def away(pool: Connections) -> bool:
    return pool.statistics.away


@asynccontextmanager
async def behind_a_proxy(
    postgres: str, rule: Rule, **options: str | int
) -> AsyncIterator[tuple[Connections, Proxy]]:
    """Connections through a proxy with this rule; `options` are libpq's."""
    async with running_proxy(to=socket_of(postgres), script=[rule]) as proxy:
        pool = Connections(through(proxy, postgres, **options))
        try:
            yield pool, proxy
        finally:
            pool.close()


async def test_connections_are_few_and_kept(postgres: str) -> None:
    """A hundred pieces of work at once share as many connections as there are threads."""
    pool = Connections(postgres)
    seen: set[int] = set()

    async def work() -> None:
        seen.add(await pool.run(pid_of))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(work)
    assert 1 <= len(seen) <= SIZE
    assert await pool.run(pid_of) in seen
    assert await pool.run(pid_of, fresh=True) not in seen
    pool.close()


async def test_who_waits_for_a_connection_is_counted(postgres: str) -> None:
    """For the metrics: how many are in use, how many wait, and how long it took them."""
    pool = Connections(postgres)
    met, go_on = threading.Barrier(SIZE + 1), threading.Event()

    def held(_: Connection) -> None:
        met.wait(PATIENCE)
        go_on.wait(PATIENCE)

    async with trio.open_nursery() as nursery:
        for _ in range(SIZE):
            nursery.start_soon(pool.run, held)
        await trio.to_thread.run_sync(met.wait, PATIENCE)
        nursery.start_soon(pool.run, pid_of)
        await trio.testing.wait_all_tasks_blocked()
        now = pool.statistics
        assert (now.size, now.in_use, now.waiting, now.waits) == (SIZE, SIZE, 1, 0)
        go_on.set()
    after = pool.statistics
    assert (after.in_use, after.waiting, after.waits) == (0, 0, 1)
    assert 0 < after.waited < PATIENCE
    pool.close()


async def test_a_postgres_that_is_away_shows_until_it_answers(postgres: str) -> None:
    """For the metrics: also if the answer is an error."""
    pool = Connections(postgres)

    def broken(connection: Connection) -> None:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StoreUnavailable):
        await pool.run(broken)
    assert away(pool)
    await pool.run(pid_of)
    assert not away(pool)
    with pytest.raises(StoreUnavailable):
        await pool.run(broken)
    with pytest.raises(StoreRefused):
        await pool.run(lambda c: c.execute("SELECT FROM no_such_table"))
    assert not away(pool)
    pool.close()


async def test_connections_that_broke_take_the_idle_ones_along(postgres: str) -> None:
    """After a failover each of them would fail once more, one try at a time."""
    pool = Connections(postgres)
    met = threading.Barrier(SIZE)

    def together(connection: Connection) -> int:
        met.wait(PATIENCE)
        return connection.info.backend_pid

    async with trio.open_nursery() as nursery:
        for _ in range(SIZE):
            nursery.start_soon(pool.run, together)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def read(connection: Connection) -> None:
        with transaction(connection) as cursor:
            cursor.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await pool.run(read)
    for _ in range(SIZE):
        await pool.run(read)
    pool.close()


async def test_work_that_lost_a_lock_is_done_again(postgres: str) -> None:
    """A deadlock, a lock or a statement timeout: rolled back, so nothing is in doubt."""
    pool = Connections(postgres)
    states = ["40P01", "55P03"]

    def work(connection: Connection) -> str:
        with transaction(connection) as cursor:
            if states:
                cursor.execute(
                    sql.SQL("DO $$ BEGIN RAISE 'x' USING errcode = {}; END $$").format(
                        states.pop(0)
                    )
                )
        return "done"

    assert await pool.run(work) == "done"
    pool.close()


async def test_work_that_always_takes_too_long_parks(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own statement timeout, time after time, is for a person to look at."""
    monkeypatch.setattr(connections, "PAUSES", (0.0, 0.0))
    pool = Connections(postgres)
    tries = 0

    def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        with transaction(connection) as cursor:
            cursor.execute("SET LOCAL statement_timeout = '10ms'")
            cursor.execute("SELECT pg_sleep(20)")

    with pytest.raises(StoreRefused, match=r"statement timeout.*3 times.*pg_stat_activity"):
        await pool.run(work)
    assert tries == 3
    pool.close()


async def test_work_under_way_is_not_cut_by_a_cancellation(postgres: str) -> None:
    """So nobody can cancel a commit half way."""
    pool = Connections(postgres)
    began, cut, over = trio.Event(), threading.Event(), []

    def work(connection: Connection) -> None:
        trio.from_thread.run_sync(began.set)
        assert cut.wait(PATIENCE)
        with transaction(connection) as cursor:
            cursor.execute("SELECT 1")
        over.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, work)
        await began.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        cut.set()
    assert over == [True]
    pool.close()


async def test_bounds_hold_unless_the_operator_says_otherwise(postgres: str) -> None:
    """Every transaction has its timeouts; the conninfo's own settings win over ours."""
    pool = Connections(f"{postgres} application_name=theirs")

    def look(connection: Connection) -> tuple[str, ...]:
        with transaction(connection) as cursor:
            shown = []
            for name in ("statement_timeout", "lock_timeout", "TimeZone", "application_name"):
                cursor.execute(sql.SQL("SELECT current_setting({})").format(name))
                shown += [str(value) for (value,) in cursor]
        return tuple(shown)

    assert await pool.run(look) == ("30s", "10s", "UTC", "theirs")
    pool.close()


def left_behind(connection: Connection) -> tuple[str, ...]:
    return tuple(
        str(row[0])
        for row in connection.execute(
            "SELECT current_setting('statement_timeout') UNION ALL "
            "SELECT count(*)::text FROM pg_prepared_statements"
        )
    )


async def test_no_state_is_left_in_a_session(postgres: str) -> None:
    """PgBouncer's transaction mode gives the next transaction another backend."""
    pool = Connections(postgres)

    def work(connection: Connection) -> None:
        for _ in range(10):
            with transaction(connection) as cursor:
                cursor.execute("SELECT %s::int", (1,))

    await pool.run(work)
    assert await pool.run(left_behind) == ("0", "0")
    pool.close()


@pytest.mark.parametrize(
    ("conninfo", "error"),
    [
        ("host=/nonexistent dbname=x", StoreUnavailable),
        ("host=127.0.0.1 port=1 dbname=x", StoreUnavailable),
        ("this is no conninfo", ConfigError),
        ("postgresql://h/x?nonsense=1", ConfigError),
        ("host=127.0.0.1 port=1 dbname=x sslmode=verify", ConfigError),
    ],
)
async def test_a_database_that_cannot_be_reached(conninfo: str, error: type[Exception]) -> None:
    """It is waited for, unless the config itself is wrong."""
    with pytest.raises(error):
        await Connections(conninfo).run(pid_of)


async def test_a_database_that_is_not_there_is_named(postgres: str) -> None:
    """Waiting would not make it."""
    with pytest.raises(StoreRefused, match=r"no_such_place.*create the database"):
        await Connections(f"{postgres} dbname=no_such_place").run(pid_of)


async def test_a_socket_is_not_spoken_to_in_clear(postgres: str) -> None:
    """There is nothing to warn of on this host."""
    pool = Connections(postgres)
    assert await pool.run(connections.clear_text_host) is None
    pool.close()


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://u:pa%zz@host/x",
        "postgresql://u:pa%zz",
        "pa%zz",
        "host=x password='pa%zz",
        "host=x pa%zz=1",
        "host=x password=pa%zz hunter=2",
    ],
)
async def test_no_secret_out_of_a_conninfo_that_is_wrong(conninfo: str) -> None:
    """Its library quotes the piece that it stumbled over, and that may be the password."""
    with pytest.raises(ConfigError) as caught:
        await Connections(conninfo).run(pid_of)
    assert "pa%zz" not in str(caught.value)
    assert "database.url" in str(caught.value)
    assert caught.value.__cause__ is None


async def test_an_option_that_is_misspelt_is_guessed() -> None:
    """What was written may be a piece of a password; what was meant is none."""
    with pytest.raises(ConfigError, match="should be connect_timeout") as caught:
        await Connections("postgresql://h/x?conect_timeout=1").run(pid_of)
    assert "conect_timeout" not in str(caught.value)


async def assert_given_up(postgres: str, work: Callable[[Connection, str], None]) -> None:
    """What selects 'lost' is waited for no longer; on another connection the work is done."""
    rule = Rule(statement="SELECT 'lost'", do="black-hole")
    async with behind_a_proxy(postgres, rule) as (pool, proxy):
        with trio.fail_after(PATIENCE):
            with pytest.raises(StoreUnavailable, match="no answer within"):
                await pool.run(lambda c: work(c, "lost"))
            await pool.run(lambda c: work(c, "found"))
        assert proxy.accepted == 2


async def test_a_peer_that_lives_and_says_nothing_is_given_up(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """contained: behind a proxy that acknowledges everything no timeout of the kernel's helps."""
    monkeypatch.setattr(connections, "SILENCE", 0.5)

    def work(connection: Connection, what: str) -> None:
        with transaction(connection) as cursor:
            for _ in range(3):  # each in its time, and together longer
                cursor.execute("SELECT pg_sleep(0.2)")
            cursor.execute(sql.SQL("SELECT {}").format(what))

    await assert_given_up(postgres, work)


async def test_a_long_silence_is_told_and_so_is_its_end(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That others are answered meanwhile is no end of it."""
    monkeypatch.setattr(connections, "WORTH_A_WORD", 0.2)
    monkeypatch.setattr(connections, "LOOK", 0.05)
    pool = Connections(postgres)
    heard: list[str] = []
    told = trio.Event()

    def silent(waited: float, most: float) -> None:
        assert 0.2 <= waited < most == connections.SILENCE
        heard.append("silent")
        told.set()

    pool.on_silence, pool.on_answer = silent, lambda: heard.append("answered")

    def locked(connection: Connection) -> None:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(42)")

    with psycopg.connect(postgres) as holder, trio.fail_after(PATIENCE):
        holder.execute("SELECT pg_advisory_lock(42)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, locked)
            await told.wait()
            await pool.run(pid_of)
            assert set(heard) == {"silent"}
            holder.execute("SELECT pg_advisory_unlock(42)")
    assert heard[-1] == "answered"
    assert heard.count("answered") == 1
    pool.close()


async def test_a_peer_that_falls_silent_among_several_statements_is_given_up(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """contained, drain: those sent together are waited for where their answers are read."""
    monkeypatch.setattr(connections, "SILENCE", 0.5)

    def work(connection: Connection, what: str) -> None:
        with transaction(connection), connection.pipeline():
            sent = [connection.cursor() for _ in range(4)]
            for cursor in sent[:3]:  # each in its time, and together longer
                cursor.execute("SELECT pg_sleep(0.2)")
            sent[3].execute(sql.SQL("SELECT {}").format(what))
            for cursor in sent:
                cursor.fetchone()

    await assert_given_up(postgres, work)


async def test_a_peer_that_falls_silent_at_listen_is_given_up(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """drain: a connection of one's own is watched like every other; hurry ends its wait as well."""
    monkeypatch.setattr(connections, "HURRY", 0.5)

    def listen(connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN anything")

    async with behind_a_proxy(postgres, Rule(statement="LISTEN", do="black-hole")) as (pool, _):
        pool.hurry()
        with trio.fail_after(PATIENCE), pytest.raises(StoreUnavailable, match="no answer within"):
            await pool.lasting(listen)


async def test_who_leaves_waits_no_longer_for_a_connection_and_revives_nothing(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """drain: each last word is a few seconds, also to a server that hangs; and no start of it."""
    monkeypatch.setattr(connections, "HURRY", 1.5)
    revived = trio.Event()

    async def revive() -> None:
        revived.set()
        await trio.sleep(60)

    async with behind_a_proxy(postgres, Rule(do="black-hole"), connect_timeout=60) as (other, _):
        pool = Connections(other.conninfo, revive)
        pool.hurry()
        with trio.fail_after(PATIENCE), pytest.raises(StoreUnavailable, match="timeout"):
            await pool.run(pid_of)
    assert not revived.is_set()


async def test_a_peer_that_takes_the_connection_and_says_nothing_is_given_up(
    postgres: str,
) -> None:
    """contained: at the start as well; `connect_timeout` holds for the answer too."""
    rule = Rule(do="black-hole")
    async with behind_a_proxy(postgres, rule, connect_timeout=2) as (pool, _):
        with trio.fail_after(PATIENCE), pytest.raises(StoreUnavailable, match="timeout"):
            await pool.run(pid_of)
