"""What the real `syncd run` tells systemd, from the first moment to the last."""

import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trio

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config

SPEED = 20.0


@attrs.define(eq=False)
class Manager:
    """The other end of $NOTIFY_SOCKET."""

    _socket: trio.socket.SocketType
    messages: list[str] = attrs.field(factory=list)

    @classmethod
    async def at(cls, path: Path) -> "Manager":
        opened = trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        await opened.bind(str(path))
        return cls(opened)

    def close(self) -> None:
        self._socket.close()

    async def until(self, text: str, *, within: float = 30) -> str:
        """Read on until a message holds `text`."""
        with trio.fail_after(within):
            while True:
                message = (await self._socket.recv(4096)).decode()
                self.messages.append(message)
                if text in message:
                    return message


@pytest.fixture
async def manager(tmp_path: Path, syncd: Syncd) -> AsyncIterator[Manager]:
    path = tmp_path / "notify"
    syncd.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
    manager = await Manager.at(path)
    yield manager
    manager.close()


@attrs.frozen(kw_only=True)
class Absent:
    """A database whose socket's folder is not there until `come`."""

    conninfo: str
    _folder: Path
    _real: Path

    def come(self) -> None:
        self._folder.symlink_to(self._real)


@pytest.fixture
def absent(postgres: str) -> Iterator[Absent]:
    pairs = dict(pair.split("=", 1) for pair in postgres.split())
    # A socket's path is short; the test's own folder may not be.
    with tempfile.TemporaryDirectory(prefix="syncd-") as short:
        folder = Path(short) / "db"
        real, pairs["host"] = Path(pairs["host"]), str(folder)
        conninfo = " ".join(f"{k}={v}" for k, v in pairs.items())
        yield Absent(conninfo=conninfo, folder=folder, real=real)


async def test_a_run_says_ready_then_what_it_does_then_that_it_leaves(
    postgres: str, syncd: Syncd, manager: Manager
) -> None:
    """READY, the page and the wait, pings in between, and STOPPING on SIGTERM."""
    async with running_mock(speed=SPEED, campaigns=30) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        async with syncd.started("run") as process:
            await manager.until("READY=1\nSTATUS=starting")
            assert all(m == "WATCHDOG=1" for m in manager.messages[:-1])
            await manager.until("STATUS=campaigns: page 1 of 3, next token in")
            await manager.until("STATUS=campaigns: page 2 of 3")
            process.send_signal(signal.SIGTERM)
            await manager.until("STOPPING=1\nSTATUS=leaving: requests in flight get 30 s more")
            await manager.until("EXTEND_TIMEOUT_USEC=")
            with trio.fail_after(20):
                assert await process.wait() == 0
        assert "WATCHDOG=1" in manager.messages


async def test_ready_is_said_while_postgres_is_away_and_it_is_waited_for(
    absent: Absent, syncd: Syncd, manager: Manager
) -> None:
    """The unit is up, its status says what is missing, and the work begins when it is there."""
    async with running_mock(speed=SPEED, campaigns=10) as mock:
        syncd.write(config(mock.base_url, absent.conninfo, speed=SPEED))
        async with syncd.started("run") as process:
            await manager.until("READY=1")
            await manager.until("STATUS=starting: the database is away, next try in")
            assert (await mock.requests()) == []
            absent.come()
            await manager.until("STATUS=campaigns: page 1")
            process.send_signal(signal.SIGTERM)
            await manager.until("STOPPING=1")
            with trio.fail_after(20):
                assert await process.wait() == 0


async def test_a_wait_for_postgres_at_the_start_is_left_on_sigterm(
    syncd: Syncd, manager: Manager, tmp_path: Path
) -> None:
    """Nothing was begun, so leaving is no failure."""
    syncd.write(config("http://127.0.0.1:9", f"host={tmp_path} dbname=none", speed=SPEED))
    async with syncd.started("run") as process:
        await manager.until("the database is away")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        await manager.until("STOPPING=1")
        with trio.fail_after(20):
            assert await process.wait() == 0


async def test_a_reload_says_reloading_and_ready_whatever_comes_of_it(
    postgres: str, syncd: Syncd, manager: Manager
) -> None:
    """all-or-nothing-reload: a refused file is named in STATUS until a good one is taken up."""
    async with running_mock(speed=SPEED, campaigns=30) as mock:
        good = config(mock.base_url, postgres, speed=SPEED)
        syncd.write(good)
        async with syncd.started("run") as process:
            await manager.until("STATUS=campaigns: page 1")
            for text, says in (
                (good.replace("size = 10", "size = 0"), "config refused (1 fault)"),
                (good, "campaigns: page"),
            ):
                syncd.write(text)
                process.send_signal(signal.SIGHUP)
                reloading = await manager.until("RELOADING=1")
                assert "MONOTONIC_USEC=" in reloading
                ready = await manager.until("READY=1")
                assert f"STATUS={says}" in ready
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGHUP)  # while it leaves: said, and nothing else
            await manager.until("STOPPING=1")
            with trio.fail_after(20):
                assert await process.wait() == 0


@pytest.mark.long
async def test_a_reload_before_postgres_is_there_takes_another_database(
    postgres: str, syncd: Syncd, manager: Manager, tmp_path: Path
) -> None:
    """all-or-nothing-reload: as long as nothing is open, all of the file can be followed."""
    async with running_mock(speed=SPEED, campaigns=10) as mock:
        syncd.write(config(mock.base_url, f"host={tmp_path} dbname=none", speed=SPEED))
        async with syncd.started("run") as process:
            await manager.until("the database is away")
            syncd.write("nonsense = 1")
            process.send_signal(signal.SIGHUP)
            await manager.until("RELOADING=1")
            await manager.until("READY=1")
            syncd.write(config(mock.base_url, postgres, speed=SPEED))
            process.send_signal(signal.SIGHUP)
            await manager.until("READY=1")
            await manager.until("STATUS=campaigns: page 1")
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0
