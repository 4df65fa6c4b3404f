"""Does anything grow in days of cycles, and how much is said?"""

import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import click
import psycopg
import trio

from mock_api.testing import MockServer, running_mock
from scripts.benchmarks import job
from syncd.store.embedded import embedded_postgres

SPEED = 200.0
EVERY = 900.0  # seconds, at speed 1
WARM = 8.0  # seconds until the figures of the start are taken: imports, pools, caches
SAMPLES = 40


@click.command()
@click.option("--hours", type=float, default=72.0, show_default=True, help="The platform's.")
def endurance(hours: float) -> None:
    """The campaigns job every 15 minutes for so many hours, at speed 200.

    Prints what the daemon holds at the start and at the end, and its log lines for each
    hour of the platform.
    """
    trio.run(_endure, hours)


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
def outage(minutes: float) -> None:
    """Log lines of two daemons in real time: one loses the API, the other one Postgres."""
    trio.run(_outages, minutes)


@asynccontextmanager
async def _daemon(config: Path, folder: Path) -> AsyncIterator[trio.Process]:
    module = [sys.executable, "-m", "scripts.benchmarks.watched"]
    with (folder / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [*module, "--config", str(config), "run", "--log", "json"],
            env={**job.environment(), "SYNCD_WITNESS": str(folder / "witness")},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(60):
            if await process.wait():
                raise click.ClickException(f"the daemon ended with {process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()


def _config(folder: Path, base_url: str, *, speed: float) -> Path:
    path = job.limited(folder, base_url, speed=speed)
    text = path.read_text("utf-8")
    every = f'every = "{EVERY / speed:g}s"\npath = "/api/campaigns"\n'
    path.write_text(text.replace('path = "/api/campaigns"\n', every, 1), "utf-8")
    return path


async def _held(folder: Path, conninfo: str, mock: MockServer) -> dict[str, int]:
    found: dict[str, int] = json.loads(await trio.Path(folder / "witness").read_text())
    with psycopg.connect(conninfo, autocommit=True) as connection:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncd'"
        (found["connections"],) = connection.execute(count).fetchone() or (0,)
    found["to the API"] = (await mock.stats())["connections"]
    return found


async def _endure(hours: float) -> None:
    with job.place() as folder:
        async with (
            running_mock(speed=SPEED) as mock,
            embedded_postgres(folder) as conninfo,
            _daemon(_config(folder, mock.base_url, speed=SPEED), folder),
        ):
            await trio.sleep(WARM)
            samples = []
            for _ in range(SAMPLES):
                samples.append(await _held(folder, conninfo, mock))
                await trio.sleep(hours * 3600 / SPEED / SAMPLES)
            samples.append(await _held(folder, conninfo, mock))
            with psycopg.connect(conninfo, autocommit=True) as connection:
                ended = connection.execute(
                    "SELECT outcome, count(*), sum(seen), sum(dead), sum(refused), sum(retried) "
                    "FROM syncd.cycle WHERE ended_at IS NOT NULL GROUP BY outcome"
                ).fetchall()
            stats, fullest = await mock.stats(), (await mock.windows())["fullest"]
        lines = (folder / "log").read_text("utf-8").splitlines()
    _table(samples)
    for outcome, count, seen, dead, refused, retried in ended:
        click.echo(
            f"{count} cycles {outcome}: {seen} records seen, {dead} dead, {retried} retried, "
            f"{refused} refused"
        )
    click.echo(f"fullest window {fullest} of 10, {stats['refused_429']} answers 429")
    click.echo(f"{len(lines)} log lines, {len(lines) / hours:.1f} for each hour of the platform")


def _table(samples: list[dict[str, int]]) -> None:
    """First and last, with the least and the most between them."""
    click.echo(f"{'':>12} {'start':>12} {'least':>12} {'most':>12} {'end':>12}")
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        shown = [values[0], min(values), max(values), values[-1]]
        texts = [f"{v / 2**20:.1f} MiB" if name == "rss" else str(v) for v in shown]
        click.echo(f"{name:>12} " + " ".join(f"{text:>12}" for text in texts))


async def _outages(minutes: float) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_without_the_api, minutes)
        nursery.start_soon(_without_postgres, minutes)


async def _without_the_api(minutes: float) -> None:
    with job.place() as folder:
        async with (
            running_mock() as mock,
            embedded_postgres(folder),
            _daemon(_config(folder, mock.base_url, speed=1.0), folder),
        ):
            await trio.sleep(20)
            before = _lines(folder)
            await mock.faults({"path": "*", "status": 502})
            await trio.sleep(minutes * 60)
            _tell("the API away", _lines(folder)[len(before) :], minutes)
            await mock.faults()


async def _without_postgres(minutes: float) -> None:
    with job.place() as folder:
        async with running_mock() as mock, AsyncExitStack() as stack:
            server = await stack.enter_async_context(AsyncExitStack())
            await server.enter_async_context(embedded_postgres(folder))
            config = _config(folder, mock.base_url, speed=1.0)
            url = f"host={folder}/postgres/data dbname=postgres user=postgres"
            with config.open("a", encoding="utf-8") as file:
                file.write(f"[database]\nurl = '{url}'\n")
            await stack.enter_async_context(_daemon(config, folder))
            await trio.sleep(20)
            before = _lines(folder)
            await server.aclose()
            await trio.sleep(minutes * 60)
            _tell("Postgres away", _lines(folder)[len(before) :], minutes)
            await server.enter_async_context(embedded_postgres(folder))
            await trio.sleep(20)


def _lines(folder: Path) -> list[str]:
    return (folder / "log").read_text("utf-8").splitlines()


def _tell(what: str, lines: list[str], minutes: float) -> None:
    kinds = Counter(json.loads(line)["message"] for line in lines)
    counted = ", ".join(f"{many} of {kind!r}" for kind, many in kinds.most_common())
    click.echo(f"{what} for {minutes:g} minutes: {len(lines)} lines ({counted})")
