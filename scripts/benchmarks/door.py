"""What does the side door cost, and what does a crowd at it?"""

import json
import os
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import click
import psycopg
import trio

from mock_api.testing import running_mock
from scripts.benchmarks import job
from syncd.store.embedded import embedded_postgres

SPEED = 20.0
CAMPAIGNS = 30  # with their calls: three windows, and so nine seconds a cycle
LISTENERS = 500
RATE = 200.0
PIECE = 60.0  # seconds with the crowd, and without it
SETTLING = 20.0  # seconds until memory is looked at again
WARM = 12.0  # seconds: imports, pools, the first cycle
RECORDS = 100_000
TURNS = 3
OPEN = "the side door is open"


@attrs.define(eq=False)
class Daemon:
    """A daemon that runs, and what it has come to."""

    process: trio.Process
    log: Path
    conninfo: str

    @property
    def rss(self) -> float:
        """MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu(self) -> float:
        """Seconds of it that were used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def lines(self, message: str) -> list[dict[str, object]]:
        """What it has logged under this message."""
        found = map(json.loads, self.log.read_text("utf-8").splitlines())
        return [line for line in found if line["message"] == message]

    async def until(self, message: str) -> dict[str, object]:
        while not (found := self.lines(message)):
            if self.process.poll() is not None:
                raise click.ClickException(f"the daemon ended with {self.process.returncode}")
            await trio.sleep(0.05)
        return found[0]

    def cycles(self, since: float, until: float) -> list[float]:
        """Seconds of each cycle that began and ended between these two moments."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT extract(epoch FROM ended_at - started_at)::float8 FROM syncd.cycle "
                "WHERE started_at >= to_timestamp(%s) AND ended_at <= to_timestamp(%s) "
                "AND outcome = 'ok' ORDER BY id",
                (since, until),
            ).fetchall()
        return [seconds for (seconds,) in rows]

    def now(self) -> float:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            (now,) = connection.execute(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            ).fetchone() or (0.0,)
        return float(now)

    async def leave(self) -> str:
        """Ask it to leave; how long it took for that, and with how much work."""
        began, spent = trio.current_time(), self.cpu
        used = spent
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(60):
            while self.process.poll() is None:
                with suppress(OSError, IndexError):  # it has ended just now
                    used = self.cpu or used
                await trio.sleep(0.01)
        if self.process.returncode:
            raise click.ClickException(f"the daemon ended with {self.process.returncode}")
        return f"{trio.current_time() - began:.2f} s, {used - spent:.2f} s of a core"


@asynccontextmanager
async def daemon(folder: Path, config: Path, conninfo: str, *, door: bool) -> AsyncIterator[Daemon]:
    """One that runs with a side door, or without one."""
    name = f"{'with' if door else 'without'}-{trio.current_time()}"
    text = await trio.Path(config).read_text("utf-8") + (
        '\n[admin]\nlisten = "127.0.0.1:0"\n' if door else ""
    )
    mine = folder / f"{name}.toml"
    await trio.Path(mine).write_text(text, "utf-8")
    log_path = folder / f"{name}.log"
    with log_path.open("wb") as log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "syncd", "--config", str(mine), "run", "--log", "json"],
            env=job.environment(),
            stdout=log,
            stderr=log,
        )
    try:
        yield Daemon(process, log_path, conninfo)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def crowd(address: str, *, seconds: float) -> AsyncIterator[trio.Process]:
    """All of them are there, and stay for so long."""
    command = [sys.executable, "-m", "scripts.benchmarks.crowd", address.removeprefix("http://")]
    options = ["--listeners", LISTENERS, "--rate", RATE, "--seconds", seconds]
    process = await trio.lowlevel.open_process([*command, *map(str, options)], stdout=-1)
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        while b"there" not in await process.stdout.receive_some():
            pass
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@click.group(invoke_without_command=True)
@click.pass_context
def door(context: click.Context) -> None:
    """What the side door costs: under a crowd (`load`), and by being there (`cost`)."""
    if context.invoked_subcommand is None:
        context.invoke(load)
        context.invoke(cost)


@door.command()
@click.option("--seconds", type=float, default=PIECE, show_default=True)
def load(*, seconds: float) -> None:
    """500 slow listeners and 200 requests a second, beside the campaigns job.

    The same daemon runs without the crowd, with it, and without it again; and then another one
    for as long, to which nobody comes: how much a young daemon grows by itself.
    """
    trio.run(_load, seconds)


async def _load(seconds: float) -> None:
    with job.place() as folder:
        async with (
            running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock,
            embedded_postgres(folder) as conninfo,
        ):
            config = _restless(job.limited(folder, mock.base_url, speed=SPEED))
            async with daemon(folder, config, conninfo, door=True) as running:
                address = await _warm(running)
                before, began = running.rss, trio.current_time()
                without = await _piece(running, "without the crowd", seconds)
                async with crowd(address, seconds=seconds + 2) as coming:
                    beside = await _piece(running, "with the crowd", seconds)
                    assert coming.stdout is not None  # noqa: S101 - as above
                    said = await coming.stdout.receive_some()
                again = await _piece(running, "without it again", seconds)
                ratio = statistics.mean(beside) / statistics.mean([*without, *again])
                click.echo(f"cycles with the crowd / without: {ratio:.4f} (goal: 1.05 at most)")
                await trio.sleep(SETTLING)
                after, first = running.rss, trio.current_time() - began
                async with crowd(address, seconds=seconds / 2):
                    await trio.sleep(seconds / 2)
                await trio.sleep(SETTLING)
                last, second = running.rss, trio.current_time() - began
                click.echo(
                    f"memory before (each address asked once) {before:.1f} MiB, {SETTLING:.0f} s "
                    f"after the crowd {after:.1f} MiB, after a second one {last:.1f} MiB"
                )
                click.echo(f"the crowd: {said.decode().strip()}")
                async with crowd(address, seconds=60):
                    await trio.sleep(3)
                    click.echo(f"drain with the crowd {await running.leave()}")
            async with daemon(folder, config, conninfo, door=False) as running:
                await trio.sleep(WARM)
                click.echo(f"drain without a door {await running.leave()}")
            async with daemon(folder, config, conninfo, door=True) as running:
                await _warm(running)
                alone = [running.rss]
                for wait in (first, second - first):
                    await trio.sleep(wait)
                    alone.append(running.rss)
                then = ", ".join(f"{each:.1f} MiB" for each in alone)
                click.echo(f"memory of one that nobody comes to, at the same moments: {then}")


async def _warm(running: Daemon) -> str:
    """The address of its door, once all is loaded: that stays, and is no crowd's."""
    address = str((await running.until(OPEN))["address"])
    await trio.sleep(WARM)
    await _ask_once(address)
    await _listen_once(address)
    return address


async def _piece(running: Daemon, name: str, seconds: float) -> list[float]:
    since, spent = running.now(), running.cpu
    await trio.sleep(seconds / 2)
    rss = running.rss
    await trio.sleep(seconds / 2)
    used = 100 * (running.cpu - spent) / seconds
    found = running.cycles(since, running.now())
    shown = " ".join(f"{each:.2f}" for each in found)
    click.echo(f"{name:<18} {statistics.mean(found):.3f} s a cycle ({shown}), {rss:.1f} MiB, "
               f"{used:.0f} % of a core")  # fmt: skip
    return found


@door.command()
@click.option("--turns", type=int, default=TURNS, show_default=True)
@click.option("--records", type=int, default=RECORDS, show_default=True)
def cost(*, turns: int, records: int) -> None:
    """Memory and records a second with the door and without it, in turns."""
    trio.run(_cost, turns, records)


async def _cost(turns: int, records: int) -> None:
    click.echo(f"{'':>8} {'MiB idle':>9} {'MiB asked':>10} {'records/s':>10}")
    found: dict[bool, list[Sequence[float]]] = {True: [], False: []}
    options = {"limit": 0, "fail_every": 0, "hang_every": 0, "campaigns": records}
    for turn in range(2 * turns):
        with_door = turn % 2 == 1
        with job.place() as folder:
            async with running_mock(**options) as mock, embedded_postgres(folder) as conninfo:
                config = job.unlimited(folder, mock.base_url)
                async with daemon(folder, config, conninfo, door=with_door) as running:
                    ended = await running.until("cycle ended")
                    idle = running.rss
                    if with_door:
                        await _ask_once(str((await running.until(OPEN))["address"]))
                    figures = (idle, running.rss, records / float(str(ended["took"])))
        found[with_door].append(figures)
        name = "with" if with_door else "without"
        click.echo(f"{name:>8} {figures[0]:>9.1f} {figures[1]:>10.1f} {figures[2]:>10,.0f}")
    middle = {
        which: [statistics.median(each) for each in zip(*rows, strict=True)]
        for which, rows in found.items()
    }
    more = [a - b for a, b in zip(middle[True], middle[False], strict=True)]
    click.echo(
        f"medians: the door adds {more[0]:.1f} MiB, {more[1]:.1f} MiB once it was asked (goal: "
        f"under 20); records/s with/without {middle[True][2] / middle[False][2]:.3f}"
    )


async def _ask_once(address: str) -> None:
    for path in ("/", "/api/status", "/api/cycles", "/api/dead", "/api/openapi.json", "/readyz"):
        async with _asking(address, path) as stream:
            async for _ in stream:
                pass


async def _listen_once(address: str) -> None:
    async with _asking(address, "/api/events") as stream:
        read = b""
        async for piece in stream:
            read += piece
            if b"event: status" in read:
                return


@asynccontextmanager
async def _asking(address: str, path: str) -> AsyncIterator[trio.SocketStream]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        yield stream


def _restless(config: Path) -> Path:
    """The same job, which begins its next cycle a second after the last."""
    text = config.read_text("utf-8")
    path = 'path = "/api/campaigns"\n'
    config.write_text(text.replace(path, f'every = "1s"\n{path}', 1), "utf-8")
    return config
