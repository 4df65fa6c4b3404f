"""Postgres in trouble of each kind, by its own real means, under a daemon in mid-cycle.

Each test waits until pages are committed, makes the trouble, sees syncd tell of it, ends
the trouble, and compares the table with the API.
"""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store.embedded import Embedded, embedded_server
from tests.daemon.conftest import Syncd, config
from tests.daemon.proof import Proof, proof
from tests.daemon.running import Daemon, daemon
from tests.proxy.between import socket_of, through
from tests.proxy.relay import running_proxy
from tests.proxy.script import Rule
from tests.servers import postmaster, small_disk

SPEED = 200.0
SIZE = 4
RECORDS = 48  # at ten requests a window: a cycle that lasts for some windows
PAGES = RECORDS // SIZE
UNDER_WAY = "records=8"
AWAY = "Postgres is away"


@attrs.define(eq=False)
class Under:
    """A daemon in mid-cycle, and the server that is its store."""

    daemon: Daemon
    server: Embedded
    mock: MockServer

    @property
    def postmaster(self) -> int:
        return postmaster(self.server.place.data)

    def admin(self, statement: str, *more: str) -> None:
        with connected(self.server) as connection:
            for each in (statement, *more):
                connection.execute(each.encode())


def inside(server: Embedded, **more: str) -> str:
    conninfo = f"host={server.place.data} dbname=postgres user=postgres"
    return psycopg.conninfo.make_conninfo(conninfo, **more)


def connected(server: Embedded) -> psycopg.Connection[tuple[object, ...]]:
    """An administrator's connection, that no default of a session hinders."""
    options = "-c default_transaction_read_only=off"
    return psycopg.connect(
        inside(server, options=options, application_name="admin"), autocommit=True
    )


@asynccontextmanager
async def under_way(
    folder: Path, *, state: Path | None = None, within: float = 60.0, user: str = "postgres"
) -> AsyncIterator[Under]:
    """Start all, and wait for two pages; at the end everything must be as if nothing had been."""
    syncd = Syncd(folder / "syncd.toml")
    async with (
        embedded_server(state or folder / "state") as server,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        database = inside(server, user=user)
        syncd.write(config(mock.base_url, database, speed=SPEED, size=SIZE))
        async with daemon(syncd, within=within) as running:
            await running.until(UNDER_WAY)
            yield Under(running, server, mock)
            await running.leave()
        found = await proof(mock, inside(server), syncd.path)
    assert_whole(found, running.said)


def assert_whole(found: Proof, said: str) -> None:
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)
    assert found.transactions == PAGES, said
    assert found.answered == {f"page={n}": 1 for n in range(1, PAGES + 1)}, said
    assert set(found.calls.values()) == {1}, said


@pytest.mark.long
async def test_stopped_at_once_and_started_again_it_is_waited_for(place: Path) -> None:
    """resume, no-blind-repeat: `pg_ctl stop -m immediate`; nothing is fetched or called again."""
    async with under_way(place) as under:
        command: list[str | Path] = [under.server._binaries / "pg_ctl", "stop"]
        command += ["-D", under.server.place.data]
        await trio.run_process(
            [*command, "-m", "immediate"], capture_stdout=True, **under.server.place.as_user
        )
        await under.daemon.until(AWAY)
        await under.server.revive()


@pytest.mark.long
async def test_a_server_that_turns_read_only_is_waited_for(place: Path) -> None:
    """resume: as after a failover that leaves us on the old server."""
    async with under_way(place) as under:
        under.admin(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        await under.daemon.until(AWAY)
        under.admin("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@pytest.mark.long
async def test_backends_that_are_terminated_cost_nothing(place: Path) -> None:
    """resume, no-blind-repeat: each of them, after each page."""
    async with under_way(place) as under:
        for page in range(3, PAGES):
            under.admin(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'syncd'"
            )
            await under.daemon.until(f"records={page * SIZE}")


@pytest.mark.long
async def test_without_a_free_connection_it_waits_for_one(place: Path) -> None:
    """contained: others have taken them all; a server in need is not asked every second."""
    async with under_way(place, within=120.0) as under, contextlib.AsyncExitStack() as taken:
        with connected(under.server) as admin:
            # It would be faster, and have another one or have done all its work.
            under.daemon.process.send_signal(signal.SIGSTOP)
            take_all(under.server, taken)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'syncd'"
            )
            take_all(under.server, taken)
            under.daemon.process.send_signal(signal.SIGCONT)
        await under.daemon.until("too many clients already")
        await taken.aclose()


def take_all(server: Embedded, taken: contextlib.AsyncExitStack) -> None:
    """Open connections until there are no more."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.enter_context(psycopg.connect(inside(server)))


@pytest.mark.long
async def test_a_lock_on_the_table_is_waited_for(place: Path) -> None:
    """contained: somebody's ALTER TABLE that takes long: longer than our lock_timeout."""
    async with under_way(place, within=120.0) as under:
        with connected(under.server) as holder:
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE campaigns IN ACCESS EXCLUSIVE MODE")
            await under.daemon.until("Postgres has not answered yet")
            await under.daemon.until("somebody holds a lock that syncd needs")
            holder.execute("ROLLBACK")
        await under.daemon.until("Postgres has answered")


@pytest.mark.long
async def test_a_deadlock_with_the_user_is_got_over(place: Path) -> None:
    """contained: they lock our two tables in the other order; we give way and come again."""
    async with under_way(place) as under:
        with connected(under.server) as user, connected(under.server) as admin:
            user.execute("BEGIN")
            user.execute("LOCK TABLE campaigns IN SHARE MODE")
            await until_waiting(admin)
            await trio.to_thread.run_sync(user.execute, "LOCK TABLE syncd.checkpoint IN SHARE MODE")
            user.execute("COMMIT")
            with trio.fail_after(20):  # each backend counts when it comes to it, once a second
                while not deadlocks(admin):  # noqa: ASYNC110 - it is Postgres that counts
                    await trio.sleep(0.05)
            assert deadlocks(admin) == 1


def deadlocks(admin: psycopg.Connection[tuple[object, ...]]) -> object:
    """How many Postgres has found in this database."""
    [(found,)] = admin.execute(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return found


async def until_waiting(admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Wait until syncd waits for a lock."""
    waits = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'syncd' AND wait_event_type = 'Lock'"
    )
    while not admin.execute(waits).fetchall():  # noqa: ASYNC110 - another process's doing
        await trio.sleep(0.01)


@pytest.mark.long
async def test_a_right_that_is_taken_away_parks_and_says_what_to_grant(
    place: Path,
) -> None:
    """contained: for a person to look at; granted again, the cycle goes on where it was."""
    async with embedded_server(place / "state") as server:
        with connected(server) as admin:
            admin.execute("CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE postgres TO plain")
            admin.execute("GRANT CREATE ON SCHEMA public TO plain")
        syncd = Syncd(place / "syncd.toml")
        async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
            syncd.write(config(mock.base_url, inside(server, user="plain"), speed=SPEED, size=SIZE))
            async with daemon(syncd) as first:
                await first.until(UNDER_WAY)
                with connected(server) as admin:
                    admin.execute("REVOKE INSERT ON campaigns FROM plain")
                await first.until("stream parked")
                assert "permission denied for table campaigns" in first.said
                assert "syncd schema --roles" in first.said
                with connected(server) as admin:
                    admin.execute("GRANT INSERT ON campaigns TO plain")
                assert (await syncd.command("resume", "campaigns")).returncode == 0
                await first.leave()
            found = await proof(mock, inside(server), syncd.path)
    said = first.said
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)
    assert set(found.calls.values()) == {1}, said


# --- a full disk -------------------------------------------------------------------------------


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    with small_disk(place / "disk", "160m") as disk:
        yield disk


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
async def test_a_full_disk_is_waited_for(place: Path, disk: Path) -> None:
    """contained, page-atomic: really full; emptied, everything goes on. The log is not flooded."""
    async with under_way(place, state=disk / "state", within=120.0) as under:
        # Postgres has its log files already: what can't be written is a table's new page.
        under.admin("CREATE TABLE ballast (t text)")
        with (disk / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"\0" * 65536)
                ballast.flush()
        with pytest.raises(psycopg.errors.DiskFull):
            under.admin(*["INSERT INTO ballast SELECT repeat('x', 2000)"] * 500)
        under.admin(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
            "INSERT INTO ballast SELECT repeat(''x'', 1500) FROM generate_series(1, 100);"
            "RETURN NULL; END'",
            "CREATE TRIGGER full_disk AFTER INSERT ON campaigns EXECUTE FUNCTION f()",
        )
        await under.daemon.until("No space left on device")
        (disk / "ballast").unlink()
        await under.daemon.until("Postgres is back")
        lines = under.daemon.said.splitlines()
    told = [line for line in lines if "WARNING" in line or "No space left" in line]
    assert sum(AWAY in line for line in lines) == sum("is back" in line for line in lines) == 1
    assert sum("No space left" in line for line in told) == 1, told


# --- a proxy that falls silent -----------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("statement", ["COMMIT", "INSERT INTO"])
async def test_a_balancer_that_falls_silent_is_given_up(
    postgres: str, tmp_path: Path, statement: str
) -> None:
    """resume, contained: the connection stays and nothing comes; 45 s later there is another."""
    syncd = Syncd(tmp_path / "syncd.toml")
    of = "UPDATE syncd.checkpoint AS c"
    rule = (
        Rule(statement="COMMIT", of=of, nth=2, do="black-hole")
        if statement == "COMMIT"
        else Rule(statement=of, nth=2, do="black-hole")
    )
    async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
        async with running_proxy(to=socket_of(postgres), script=[rule]) as proxy:
            behind = through(proxy, postgres)
            syncd.write(config(mock.base_url, behind, speed=SPEED, size=SIZE))
            async with daemon(syncd, within=100.0) as running:
                await running.until("no answer within 45 s")
                await running.leave()
            assert len(proxy.log) == 1
        found = await proof(mock, postgres, syncd.path)
    assert_whole(found, running.said)
