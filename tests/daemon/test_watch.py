"""`status --watch` on a terminal: what a person sees, and how it ends."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import psycopg
import pyte
import pytest
import trio

from tests.daemon.conftest import Syncd, lines_until
from tests.daemon.test_control import running
from tests.daemon.test_status import STREAM, many_streams, migrated, run_sql, seeded

__all__ = ["seeded"]  # a fixture

WITHIN = 30.0  # seconds for what takes two
BACK = "\x1b[?1049l"  # the terminal shows again what it showed before


@attrs.define(eq=False)
class Terminal:
    """A terminal with a command on it, as a person sees both."""

    process: trio.Process
    master: int
    screen: pyte.Screen
    raw: bytes = b""
    _parser: pyte.ByteStream = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parser = pyte.ByteStream(self.screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    async def until(self, seen: Callable[[], bool]) -> None:
        """Read what is drawn until this is seen."""
        with trio.move_on_after(WITHIN):
            while not seen():
                await self._read()
        if seen():
            return
        raise AssertionError("\n".join(self.lines))

    async def _read(self) -> None:
        await trio.lowlevel.wait_readable(self.master)
        piece = os.read(self.master, 65536)
        self.raw += piece
        self._parser.feed(piece)

    async def _read_on(self) -> None:
        while True:
            await self._read()

    async def ended(self) -> int:
        """Read to its end; its exit status."""
        with trio.fail_after(WITHIN):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_on)
                status = await self.process.wait()
                # What it has written last lies in the terminal, and comes at once.
                nursery.cancel_scope.cancel()
            while select.select([self.master], [], [], 0)[0]:
                await self._read()
        return status

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)


@asynccontextmanager
async def watching(
    syncd: Syncd, *streams: str, columns: int = 80, lines: int = 60
) -> AsyncIterator[Terminal]:
    """`syncd status --watch` on a terminal of that size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "syncd", "--config", str(syncd.path), "status", "--watch", *streams],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, "TERM": "xterm-256color", **syncd.env},
    )
    before = termios.tcgetattr(slave)
    try:
        yield Terminal(process, master, pyte.Screen(columns, lines))
        assert termios.tcgetattr(slave) == before, "the terminal is as it was"
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        os.close(master)
        os.close(slave)


async def test_watching_shows_what_status_does_and_more(seeded: Syncd) -> None:
    """The same words, how far a cycle is, what its budget went for; q ends it."""
    async with watching(seeded) as terminal:
        await terminal.until(lambda: terminal.shows("3 dead letters"))
        (progress,) = (line for line in terminal.lines if "of about 10," in line)
        assert progress.startswith("  ━━━━━━━━━━━━──────── page 7 of about 10, 60 of about 100")
        assert terminal.shows("ads.locked     parked")
        assert terminal.shows("crm: no daemon runs (pid 99 on web2 is gone")
        assert terminal.shows("last 1 min: 2 requests; 2 under way")
        os.write(terminal.master, b"xq")
        assert await terminal.ended() == 0
        assert BACK.encode() in terminal.raw


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_as_q_does(seeded: Syncd, sent: signal.Signals) -> None:
    async with watching(seeded, "campaigns") as terminal:
        await terminal.until(lambda: terminal.shows("page 7 of about 10"))
        terminal.process.send_signal(sent)
        assert await terminal.ended() == 0
        assert BACK.encode() in terminal.raw
        assert b"Traceback" not in terminal.raw


async def test_a_postgres_that_goes_away_is_told_and_waited_for(
    seeded: Syncd, postgres: str
) -> None:
    """What was seen last stays on the screen."""
    elsewhere = psycopg.conninfo.make_conninfo(postgres, dbname="postgres")
    name = psycopg.conninfo.conninfo_to_dict(postgres)["dbname"]
    away = (
        f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncd'",
    )
    async with watching(seeded) as terminal:
        await terminal.until(lambda: terminal.shows("3 dead letters"))
        assert not terminal.shows("can't look")
        for statement in away:
            await trio.to_thread.run_sync(run_sql, elsewhere, statement)
        await terminal.until(lambda: terminal.shows("can't look since "))
        assert terminal.shows("3 dead letters")
        await trio.to_thread.run_sync(
            run_sql, elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'
        )
        await terminal.until(lambda: not terminal.shows("can't look"))
        os.write(terminal.master, b"q")
        assert await terminal.ended() == 0


async def test_a_window_that_is_narrow_or_changes_its_size(seeded: Syncd) -> None:
    """No line is cut without a sign, and the counts give way first."""
    async with watching(seeded, columns=40, lines=90) as terminal:
        await terminal.until(lambda: terminal.shows("3 dead letters"))
        assert any(line.split() == ["stream", "state"] for line in terminal.lines)
        terminal.resize(100, 60)
        await terminal.until(lambda: terminal.shows("last cycle  seen  written  dead  letters"))
        os.write(terminal.master, b"q")
        assert await terminal.ended() == 0


async def test_of_two_hundred_streams_the_calm_ones_give_way(postgres: str, syncd: Syncd) -> None:
    """What needs a person has room on a small screen."""
    names = [f"s{n}" for n in range(200)]
    streams = "".join(STREAM.format(source="ads", stream=n, table=n) for n in names)
    await migrated(postgres)
    park = (
        "INSERT INTO syncd.checkpoint (source, stream, fence, parked) "
        "VALUES ('ads', 's150', 0, 'it is odd')"
    )
    await trio.to_thread.run_sync(run_sql, postgres, park)
    syncd.write(
        f"[database]\nurl = '{postgres}'\n[sources.ads]\nbase_url = 'http://127.0.0.1:9'\n{streams}"
    )
    async with watching(syncd, lines=24) as terminal:
        await terminal.until(lambda: terminal.shows("no daemon runs"))
        assert terminal.shows("199 streams at rest: not shown, for want of room")
        assert terminal.shows("ads.s150  parked")
        terminal.resize(80, 6)
        await terminal.until(lambda: terminal.shows("more"))
        os.write(terminal.master, b"q")
        assert await terminal.ended() == 0


@pytest.mark.long
async def test_watching_a_daemon_at_work(syncd: Syncd, postgres: str) -> None:
    """It is live: a cycle that begins is seen, and seen to end."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        async with watching(syncd, "campaigns", columns=120) as terminal:
            await terminal.until(lambda: terminal.shows("resting, next in"))
            async with trio.open_nursery() as nursery:
                # Beside it: who writes to a terminal waits for somebody to read.
                nursery.start_soon(syncd.command, "sync", "campaigns")
                await terminal.until(lambda: terminal.shows("of about 12 records"))
            await terminal.until(lambda: terminal.shows("resting, next in"))
            os.write(terminal.master, b"Q")
            assert await terminal.ended() == 0


async def test_without_a_terminal_it_is_a_clear_error(seeded: Syncd) -> None:
    done = await seeded.command("status", "--watch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--watch needs a terminal" in done.stderr
    done = await seeded.command("status", "--watch", "--json")
    assert done.returncode == 2


async def test_a_database_that_is_not_there_at_the_start_is_an_error(syncd: Syncd) -> None:
    """The screen is not taken, and the terminal is as it was."""
    syncd.write(many_streams("host=127.0.0.1 port=1 dbname=x"))
    async with watching(syncd) as terminal:
        assert await terminal.ended() == 1
        assert terminal.raw.startswith(b"syncd: ")
        assert b"\x1b[?1049h" not in terminal.raw
