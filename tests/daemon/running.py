"""A daemon that runs for as long as a test wants, and what it has said."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.daemon.conftest import Syncd

ROOT = Path(__file__).parents[2]
WITHIN = 60.0  # seconds for what takes two
AT_ONCE = 1 if "PYTEST_XDIST_WORKER" in os.environ else 3
"""Daemons of one test beside each other, where the tests themselves are not."""
RESTS = "resting until the next cycle"


class Daemon:
    """A daemon, and everything that it has printed."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""
        self._news = trio.Event()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for piece in self.process.stdout:
            self.said += piece.decode("utf-8", "replace")
            self._tell()
        await self.process.wait()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def ended_or_said(self, text: str, times: int = 1) -> None:
        while self.said.count(text) < times and self.process.returncode is None:
            await self._news.wait()

    async def until(self, text: str, times: int = 1) -> None:
        """Wait until it has said this so often."""
        await self.ended_or_said(text, times)
        assert self.said.count(text) >= times, f"it ended without {text!r}:\n{self.said}"

    async def leave(self) -> None:
        """Let it rest, and then ask it to leave."""
        await self.until(RESTS)
        self.process.terminate()
        await self.process.wait()
        assert self.process.returncode == 0, self.said


@asynccontextmanager
async def daemon(
    syncd: Syncd,
    module: str = "syncd",
    *,
    within: float = WITHIN,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Daemon]:
    """`syncd run`, or what stands in its place; killed if it has not ended by the end."""
    command = [sys.executable, "-m", module, "--config", str(syncd.path), "run"]
    env = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "ADPLATFORM_EMAIL": "ads@example.com"}
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **env, "ADPLATFORM_PASSWORD": "secret", **(environ or {})},
    )
    running = Daemon(process)
    try:
        with trio.fail_after(within):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.read)
                try:
                    yield running
                finally:
                    if process.returncode is None:
                        process.kill()
    except trio.TooSlowError:
        raise AssertionError(f"not within {within:.0f} s:\n{running.said}") from None
    finally:
        with trio.CancelScope(shield=True):
            await process.wait()
