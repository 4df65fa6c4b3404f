"""SIGTERM while something takes for ever: the daemon leaves within the time that it states."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import Syncd, config, lines_until
from tests.servers import Server

SPEED = 60.0
DRAIN = 1.0  # seconds, as the config states it
FROZEN = 20.0  # seconds: a moment for what waits, and for the lease, and libpq's for connecting
AT_ONCE = 5.0  # seconds in which a process ends that has nothing to wait for, on a busy machine


@asynccontextmanager
async def daemon(
    syncd: Syncd, mock: MockServer, database: str, **changed: str
) -> AsyncIterator[trio.Process]:
    """A daemon that has just been started, with these settings of the source."""
    text = config(mock.base_url, database, speed=SPEED, size=4, timeout=20)
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new, 1)
    syncd.write(f'drain = "{DRAIN:g}s"\n' + text)
    async with syncd.started("run") as process:
        yield process


async def left_within(process: trio.Process, limit: float) -> int:
    """Ask it to leave; its exit status."""
    process.send_signal(signal.SIGTERM)
    with trio.fail_after(limit):
        return await process.wait()


async def seen(mock: MockServer, path: str, many: int = 1) -> None:
    with trio.fail_after(30):
        while True:
            entries = await mock.requests()
            if sum(path in f"{e['path']}?{e['query']}" for e in entries) >= many:
                return
            await trio.sleep(0.02)


async def settled(database: str, many: int) -> None:
    """Wait until so many calls are settled."""
    with trio.fail_after(30), psycopg.connect(database, autocommit=True) as connection:
        while True:
            found = connection.execute("SELECT count(*) FROM syncd.call WHERE outcome = 'done'")
            if found.fetchone() == (many,):
                return
            await trio.sleep(0.02)


def committed(database: str) -> tuple[int, int]:
    """Pages of the running cycle, and rows of the table: the one tells the other."""
    with psycopg.connect(database, autocommit=True) as connection:
        pages = connection.execute("SELECT coalesce(max(pages), 0) FROM syncd.checkpoint")
        rows = connection.execute("SELECT count(*) FROM campaigns")
        return int((pages.fetchone() or (0,))[0]), int((rows.fetchone() or (0,))[0])


async def test_every_request_hangs(syncd: Syncd, postgres: str) -> None:
    """drain: what is in flight is cut when the stated time is over, and that is said."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "/api/*", "from": 6, "hang": True})
        async with daemon(syncd, mock, postgres) as process:
            await seen(mock, "page=2")
            began = trio.current_time()
            assert await left_within(process, DRAIN + AT_ONCE) == 1
            assert trio.current_time() - began >= DRAIN
            said = await lines_until(process, "had to be cut when the drain's 1 s were over")
            assert said
        assert committed(postgres) == (1, 4)


async def test_postgres_is_gone(syncd: Syncd) -> None:
    """drain: nobody waits for a database that is away; what was committed stays."""
    server = Server()
    server.start()
    database = server.conninfo("postgres")
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "*page=3*", "hang": True})
        async with daemon(syncd, mock, database) as process:
            await lines_until(process, "page committed")
            await trio.to_thread.run_sync(server.stop)
            await lines_until(process, "Postgres is away")
            # Trying to connect takes no longer than libpq is given; here the socket is gone.
            assert await left_within(process, DRAIN + AT_ONCE) in (0, 1)


@pytest.mark.long
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_postgres_is_frozen(twice: bool, syncd: Syncd) -> None:
    """drain: a server that takes what is sent and says nothing holds nobody for long."""
    server = Server()
    server.start()
    database = server.conninfo("postgres")
    async with (
        running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock,
        daemon(syncd, mock, database) as process,
    ):
        await lines_until(process, "resting until")
        frozen = postgres_processes(database)
        signalled(frozen, signal.SIGSTOP)
        try:
            await trio.sleep(6)  # a poll, or the renewal of a lease, is on its way
            if twice:
                process.send_signal(signal.SIGTERM)
            await left_within(process, DRAIN + FROZEN)
        finally:
            signalled(frozen, signal.SIGCONT)
    await trio.to_thread.run_sync(server.stop)


def postgres_processes(database: str) -> list[int]:
    """The server's and its backends'."""
    folder = Path(database.split(maxsplit=1)[0].partition("=")[2])
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    first = int((folder / "postmaster.pid").read_text("ascii").split()[0])
    return [first, *(int(of) for (of,) in found)]


def signalled(processes: list[int], what: signal.Signals) -> None:
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, what)


async def test_a_wait_of_an_hour_for_the_budget(syncd: Syncd, postgres: str) -> None:
    """drain: the wait ends at once, its page stays uncommitted, its settled calls are kept."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        hour = {f'per = "{60 / SPEED}s"': 'per = "1h"'}
        async with daemon(syncd, mock, postgres, **hour) as process:
            await seen(mock, "/sync", 8)
            await settled(postgres, 8)  # the tenth is answered, and the eleventh waits
            assert await left_within(process, AT_ONCE) == 0
        pages, rows = committed(postgres)
        assert rows == 4 * pages
        await settled(postgres, 8)


async def test_a_hint_of_a_day(syncd: Syncd, postgres: str) -> None:
    """drain: also when the API asked everybody to wait until tomorrow."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        later = {"Retry-After": "86400"}
        await mock.faults(
            {"path": "/api/campaigns", "query": "page=2*", "status": 503} | {"headers": later}
        )
        async with daemon(syncd, mock, postgres) as process:
            await lines_until(process, "the API asked to wait")
            assert await left_within(process, AT_ONCE) == 0
        assert committed(postgres) == (1, 4)


@pytest.mark.parametrize("state", ["paused", "parked", "resting"])
async def test_nothing_runs(state: str, syncd: Syncd, postgres: str) -> None:
    """drain: a daemon whose streams all wait for somebody leaves as fast."""
    async with running_mock(speed=SPEED, campaigns=4, fail_every=0, hang_every=0) as mock:
        wrong = {'path = "/api/campaigns"': 'path = "/nowhere"'} if state == "parked" else {}
        async with daemon(syncd, mock, postgres, **wrong) as process:
            await lines_until(process, "stream parked" if wrong else "resting until")
            if state == "paused":
                assert (await syncd.command("pause", "campaigns")).returncode == 0
            assert await left_within(process, AT_ONCE) == 0
