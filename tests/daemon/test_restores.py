"""A Postgres that is older than it was: restored from a backup, or promoted without our commits.

Real servers, real backups (their files, or pg_dump), a real replica that was behind.  In the
end the table equals the API, no window was overrun, and no call was made twice that syncd
could know of.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store import place as places
from syncd.store.embedded import Embedded, embedded_server
from tests.daemon.conftest import Syncd, config
from tests.daemon.proof import Proof, proof
from tests.daemon.running import daemon

SPEED = 200.0
RECORDS, SIZE = 32, 4
PAGES = RECORDS // SIZE
WENT_BACK = "Postgres went back to an older state"
NEVER, WITH_KEY = 'repeat = "never"', 'repeat = "with-key"'

pytestmark = pytest.mark.long


@attrs.define(eq=False)
class Db:
    """A server, and what its administrator does to it."""

    server: Embedded
    folder: Path
    """Where backups lie."""

    @property
    def conninfo(self) -> str:
        return f"host={self.server.place.data} dbname=postgres user=postgres"

    async def run(self, program: str, *arguments: str | Path) -> None:
        command: list[str | Path] = [self.server._binaries / program, *arguments]
        at = self.server.place
        await trio.run_process(command, capture_stdout=True, cwd=at.home, **at.as_user)

    async def stop(self) -> None:
        await self.run("pg_ctl", "stop", "-m", "fast", "-D", self.server.place.data)

    async def kill(self) -> None:
        """As a machine that is gone: not a byte is flushed or sent any more."""
        await self.run("pg_ctl", "stop", "-m", "immediate", "-D", self.server.place.data)

    async def backed_up(self, how: str) -> None:
        if how == "dump":
            at = ("-h", self.server.place.data, "-U", "postgres", "-d", "postgres")
            await self.run("pg_dump", "--format=custom", "--file=backup", *at)
            return
        await self.stop()
        await trio.run_process(["cp", "-a", self.server.place.data, self.folder / "backup"])
        await self.server.revive()

    async def restored(self, how: str) -> None:
        """Put the backup back: all of it at one moment, as far as others can see."""
        if how == "dump":
            at = ("-h", self.server.place.data, "-U", "postgres", "-d", "postgres")
            await self.run(
                "pg_restore", "--clean", "--if-exists", "--single-transaction", *at, "backup"
            )
            return
        await self.stop()
        # The files, not the folder: a server that is reached through it is reached again.
        script = 'find "$1" -mindepth 1 -delete && cp -a "$2/." "$1"'
        await trio.run_process(
            ["sh", "-ec", script, "sh", self.server.place.data, self.folder / "backup"]
        )
        await self.server.revive()


@asynccontextmanager
async def started(place: Path) -> AsyncIterator[tuple[Db, MockServer]]:
    async with (
        embedded_server(place / "state") as server,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        yield Db(server, place), mock


def written(syncd: Syncd, mock: MockServer, database: str, call: str = WITH_KEY) -> None:
    text = config(mock.base_url, database, speed=SPEED, size=SIZE, call=call)
    syncd.write(text)


async def cycle(syncd: Syncd) -> None:
    done = await syncd.command("once")
    assert done.returncode == 0, done.stdout + done.stderr


async def equal(mock: MockServer, database: str, syncd: Syncd, said: str = "") -> Proof:
    """What always holds in the end."""
    found = await proof(mock, database, syncd.path)
    records = len(await mock.campaigns())
    found.assert_equal(records=records, pages=-(-records // SIZE), said=said)
    return found


async def keys(mock: MockServer) -> Counter[str]:
    """Idempotency keys, and how many calls came with each."""
    return Counter(e["key"] for e in await mock.requests() if e["path"].endswith("/sync"))


# --- while syncd is stopped --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["files", "dump"])
async def test_restored_between_two_cycles_the_next_one_heals_the_table(
    place: Path, syncd: Syncd, how: str
) -> None:
    """resume, no-blind-repeat: numbers of cycles come again, and keys of calls do not."""
    async with started(place) as (db, mock):
        written(syncd, mock, db.conninfo)
        await cycle(syncd)
        await db.backed_up(how)
        await mock.change("camp_1", name="changed after the backup")
        await mock.add(3)
        await cycle(syncd)
        before = await keys(mock)
        await db.restored(how)
        await mock.change("camp_2", name="changed after the restore")
        await cycle(syncd)
        after = await keys(mock)
        await equal(mock, db.conninfo, syncd)
        with psycopg.connect(db.conninfo) as connection:
            cycles = connection.execute("SELECT max(id) FROM syncd.cycle").fetchone()
    assert cycles == (2,)
    assert len(after) == len(before) + RECORDS + 3
    assert set(after.values()) == {1}


@pytest.mark.parametrize("how", ["files", "dump"])
async def test_restored_in_the_middle_of_a_cycle_that_one_goes_on(
    place: Path, syncd: Syncd, how: str
) -> None:
    """resume, no-blind-repeat: its calls since the backup come again, with the keys they had."""
    async with started(place) as (db, mock):
        written(syncd, mock, db.conninfo)
        async with daemon(syncd) as first:
            await first.until(f"records={SIZE * 2}")
            first.process.terminate()
            await first.process.wait()
        await db.backed_up(how)
        before = await keys(mock)
        await cycle(syncd)
        of_that_cycle = await keys(mock)
        await mock.change("camp_1", name="changed after the backup")
        await cycle(syncd)
        lost = await keys(mock)
        await db.restored(how)
        await cycle(syncd)
        again = await keys(mock)
        await cycle(syncd)
        last = await keys(mock)
        await equal(mock, db.conninfo, syncd)
    repeated = {key for key, times in again.items() if times > lost[key]}
    assert repeated == set(of_that_cycle - before)
    assert set(again) == set(lost)
    assert len(last) == len(again) + RECORDS


# --- beneath a running syncd -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["files", "dump"])
async def test_restored_beneath_it_a_daemon_goes_on_from_what_is_there(
    place: Path, syncd: Syncd, how: str
) -> None:
    """resume, no-blind-repeat, budget: it says so, and repeats no call that it has made itself."""
    async with started(place) as (db, mock):
        written(syncd, mock, db.conninfo, NEVER)
        async with daemon(syncd, within=90.0) as running:
            await running.until(f"records={SIZE * 2}")
            await db.backed_up(how)
            await running.until(f"records={SIZE * 5}")
            await db.restored(how)
            await running.until(WENT_BACK)
            await running.leave()
        found = await equal(mock, db.conninfo, syncd, running.said)
    assert set(found.calls.values()) == {1}, running.said
    assert "stop the other one" not in running.said
    assert "parked" not in running.said


async def test_restored_to_before_its_start_a_daemon_takes_its_lease_again(
    place: Path, syncd: Syncd
) -> None:
    """resume, no-blind-repeat: nobody else is blamed, and nobody has to resume it."""
    async with started(place) as (db, mock):
        written(syncd, mock, db.conninfo, NEVER)
        async with daemon(syncd) as first:
            await first.until(f"records={SIZE * 2}")
            first.process.terminate()
            await first.process.wait()
        await db.backed_up("dump")
        async with daemon(syncd, within=90.0) as second:
            await second.until(f"records={SIZE * 5}")
            await db.restored("dump")
            await second.until("with an older lease than ours")
            await second.leave()
        said = first.said + second.said
        found = await equal(mock, db.conninfo, syncd, said)
    assert set(found.calls.values()) == {1}, said
    assert "stop the other one" not in said


# --- a failover --------------------------------------------------------------------------------


async def test_a_failover_that_lost_commits_costs_no_call(place: Path, syncd: Syncd) -> None:
    """resume, no-blind-repeat, budget: to an asynchronous replica that was behind."""
    async with (
        started(place) as (primary, mock),
        replica(primary, place / "replica") as standby,
    ):
        both = f"host={primary.server.place.data},{standby.server.place.data}"
        written(syncd, mock, f"{both} dbname=postgres user=postgres", NEVER)
        async with daemon(syncd, within=120.0) as running:
            await running.until(f"records={SIZE * 2}")
            await caught_up(primary, standby)
            await standby.stop()  # from here on it is behind
            await running.until(f"records={SIZE * 5}")
            await primary.kill()
            await running.until("Postgres is away")
            await standby.server.revive()
            await trio.to_thread.run_sync(promote, standby)
            await running.until(WENT_BACK)
            await running.leave()
        found = await equal(mock, standby.conninfo, syncd, running.said)
    assert set(found.calls.values()) == {1}, running.said
    assert "parked" not in running.said


@asynccontextmanager
async def replica(primary: Db, folder: Path) -> AsyncIterator[Db]:
    """A standby that streams from it."""
    at = places.made(folder)
    await primary.run(
        *("pg_basebackup", "-D", at.data, "-h", primary.server.place.data),
        *("-U", "postgres", "-R", "-X", "stream", "-c", "fast"),
    )
    (at.data / ".s.PGSQL.5432.lock").unlink()  # of the primary's socket, which lies there
    async with embedded_server(folder) as server:
        yield Db(server, folder)


async def caught_up(primary: Db, standby: Db) -> None:
    """Wait until the standby has what the primary has now."""
    with psycopg.connect(primary.conninfo, autocommit=True) as connection:
        [(now,)] = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchall()
    reached = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    with psycopg.connect(standby.conninfo, autocommit=True) as connection:
        while connection.execute(reached, (now,)).fetchone() != (True,):  # noqa: ASYNC110 - theirs
            await trio.sleep(0.01)


def promote(standby: Db) -> None:
    with psycopg.connect(standby.conninfo, autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
