"""What does a command cost?  Seconds, CPU, and the peak memory of all its processes."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import click
import trio

from scripts.benchmarks import job

PATIENCE = 1800.0  # seconds for one command
LOOK = 0.01  # seconds between two looks at its memory


@attrs.frozen(kw_only=True)
class Spent:
    """One command, from its start to its end."""

    began: float
    """On the clock that all processes share (`time.monotonic`)."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


async def spent(command: Sequence[str], log: Path) -> Spent:
    """Run it; what it says goes to `log`, and is told if it fails.

    Only one at a time: CPU is what all children that have ended took.
    """
    with log.open("wb") as output:
        before, began = _cpu(), time.monotonic()
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=job.environment(),
        )
        memory = _Memory(process.pid)
        try:
            with trio.move_on_after(PATIENCE) as patience:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(memory.watch)
                    await process.wait()
                    ended = time.monotonic()
                    nursery.cancel_scope.cancel()
        finally:
            if process.returncode is None:
                _kill(process.pid)
                with trio.CancelScope(shield=True):
                    await process.wait()
    # No more than that of the command: behind it may be a password.
    name = " ".join(command[:3])
    if patience.cancelled_caught:
        raise click.ClickException(f"{name} was not done in {PATIENCE:g} s:\n{_tail(log)}")
    if process.returncode:
        raise click.ClickException(f"{name} ended with {process.returncode}:\n{_tail(log)}")
    return Spent(
        began=began,
        seconds=ended - began,
        cpu_seconds=_cpu() - before,
        peak_bytes=memory.peak,
    )


async def killed(command: Sequence[str], log: Path, moment: Callable[[], Awaitable[None]]) -> None:
    """Start it, and at this moment kill it with all below it, as a power cut would."""
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=job.environment(),
        )
        try:
            with trio.fail_after(PATIENCE):
                await moment()
        finally:
            early = process.poll()
            _kill(process.pid)
            with trio.CancelScope(shield=True):
                await process.wait()
    if early is not None:
        raise click.ClickException(f"it ended before it could be killed:\n{_tail(log)}")


def _kill(pid: int) -> None:
    """With all below it: a pipe's programs outlive the shell that made it."""
    for each in list(_tree(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _tail(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-job.TAIL :]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@attrs.define(eq=False)
class _Memory:
    """The most that a process and all below it have held.

    Not ru_maxrss: that begins with what this process held when it forked.  And none that is
    seen for the first time: until it has become another program it is its parent's memory.
    """

    pid: int
    peak: int = 0

    async def watch(self) -> None:
        known: set[int] = set()
        while True:
            there = set(_tree(self.pid))
            self.peak = max(self.peak, sum(map(_high_water, there & known)))
            known = there
            await trio.sleep(LOOK)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return  # it has just ended
    for task in tasks:
        try:
            children = task.read_text("ascii").split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _high_water(pid: int) -> int:
    """The most it held so far, so that little is missed between two looks."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), 0)
