"""What does a page cost whose records each need a call?  Hardly more than the calls."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs
import click
import psycopg
import trio

from mock_api.testing import MockServer, running_mock
from scripts.benchmarks import contest, job, options
from scripts.benchmarks.databases import Databases, one_postgres
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.spent import spent
from scripts.benchmarks.telling import MIB

RECORDS = 1000
AT_ONCE = 50
TAKES = 2.0  # seconds for a call
RATIO = 1.03
LOGGED_IN = 2  # requests that are no call: the login and the list
DONE = "SELECT count(*) FROM campaigns WHERE synced_at IS NOT NULL"

Enter = Callable[[Path, str, str], list[str]]
"""With a folder of its own, the API's address and a database: the command."""


@attrs.frozen(kw_only=True)
class Figures:
    """What a page and its calls once came to; or the medians of several times."""

    api_seconds: float
    """From the first request to the last answer, as the API saw them."""

    seconds: float
    """Of the process, from its start to its end."""

    cpu_seconds: float
    peak_bytes: int
    requests: int


@click.command()
@click.option("--records", type=click.IntRange(1, RECORDS), default=RECORDS, show_default=True)
@click.option("--turns", type=click.IntRange(min=1), default=1, show_default=True)
@options.URL
@options.JSON
def calls(*, records: int, turns: int, url: str | None, as_json: bool) -> None:
    """1,000 records in one page, a call of 2 s for each, 50 at once: syncd and a script in turn.

    There is no budget. The script is Trio's own way: a CapacityLimiter before the calls. syncd
    stores beside it each call's intent before it is made and its answer when it has come, so
    that none is made again after a crash.

    Goal: from the first request to the last answer no more than 1.03 of what the calls alone
    need, 40 s.
    """
    floor = math.ceil(records / AT_ONCE) * TAKES

    async def main() -> None:
        runs = await _runs(records, turns, url)
        medians = {name: contest.median(figures) for name, figures in runs.items()}
        goals = [
            Goal(
                what=f"{name} / the calls alone, seconds",
                found=figures.api_seconds / floor,
                at_most=RATIO if name == "syncd" else None,
            )
            for name, figures in medians.items()
        ]
        tell = _as_json if as_json else _as_text
        tell(floor, runs, medians, goals)

    trio.run(main)


async def _runs(records: int, turns: int, url: str | None) -> dict[str, list[Figures]]:
    entrants: dict[str, Enter] = {"syncd": _syncd, "trio script": _script}
    runs: dict[str, list[Figures]] = {name: [] for name in entrants}
    with job.place() as folder:
        async with (
            running_mock(limit=0, fail_every=0, hang_every=0, campaigns=records) as mock,
            one_postgres(folder, url) as databases,
        ):
            for _ in range(turns):
                for name, enter in entrants.items():
                    runs[name].append(await _once(folder, mock, databases, enter, records))
    return runs


async def _once(
    folder: Path, mock: MockServer, databases: Databases, enter: Enter, records: int
) -> Figures:
    with databases.fresh() as conninfo:
        await mock.reset()
        used = await spent(enter(folder, mock.base_url, conninfo), folder / "log")
        with psycopg.connect(conninfo, autocommit=True) as database:
            (done,) = database.execute(DONE).fetchone() or (0,)
    journal = await mock.requests()
    if done != records or len(journal) != records + LOGGED_IN:
        raise click.ClickException(f"{len(journal):,} requests, {done:,} of {records:,} rows")
    ended = max(e["answered"] for e in journal)
    return Figures(
        api_seconds=round(ended - min(e["arrived"] for e in journal), 3),
        seconds=round(used.seconds, 3),
        cpu_seconds=round(used.cpu_seconds, 3),
        peak_bytes=used.peak_bytes,
        requests=len(journal),
    )


def _syncd(folder: Path, base_url: str, conninfo: str) -> list[str]:
    return job.command(job.calling(folder, base_url, conninfo, concurrency=AT_ONCE))


def _script(_: Path, base_url: str, conninfo: str) -> list[str]:
    module = [sys.executable, "-m", "scripts.benchmarks.trio_script", base_url, conninfo]
    return [*module, "--at-once", str(AT_ONCE)]


def _as_text(
    floor: float,
    runs: dict[str, list[Figures]],
    medians: dict[str, Figures],
    goals: Sequence[Goal],
) -> None:
    click.echo(f"trio script: httpx {version('httpx')}, trio {version('trio')}")
    click.echo(f"the calls alone: {floor:g} s; medians of {len(runs['syncd'])}")
    names = ("API s", "process s", "CPU s", "peak MiB", "requests")
    click.echo(f"{'':<14}" + "".join(f"{name:>11}" for name in names))
    for name, f in medians.items():
        click.echo(
            f"{name:<14}{f.api_seconds:>11.2f}{f.seconds:>11.2f}{f.cpu_seconds:>11.2f}"
            f"{f.peak_bytes / MIB:>11.1f}{f.requests:>11,}"
        )
    for goal in goals:
        click.echo(goal.line())


def _as_json(
    floor: float,
    runs: dict[str, list[Figures]],
    medians: dict[str, Figures],
    goals: Sequence[Goal],
) -> None:
    told = {
        "calls_alone_seconds": floor,
        "medians": {name: attrs.asdict(figures) for name, figures in medians.items()},
        "turns": {name: [attrs.asdict(f) for f in figures] for name, figures in runs.items()},
        "goals": [goal.told() for goal in goals],
    }
    click.echo(json.dumps(told))
