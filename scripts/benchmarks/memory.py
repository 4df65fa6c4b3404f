"""Does memory depend on how many records there are?"""

import json

import attrs
import click
import trio

from scripts.benchmarks import job, options
from scripts.benchmarks.contenders import SYNCD, Task
from scripts.benchmarks.databases import one_postgres
from scripts.benchmarks.listserver import running_list
from scripts.benchmarks.spent import Spent, spent
from scripts.benchmarks.telling import MIB

RATIO = 1.1
SIZE = 1000


@attrs.frozen(kw_only=True)
class Figures:
    """What so many records came to."""

    records: int
    seconds: float
    peak_bytes: int
    ratio: float
    """Of the peak to that of the first number of records."""

    goal_met: bool


@click.command()
@click.option("--records", multiple=True, type=int, default=(100_000, 1_000_000))
@options.JSON
def memory(*, records: tuple[int, ...], as_json: bool) -> None:
    """Peak memory of one cycle without a budget, 1,000 records a page.

    Goal: no more than 1.1 of what the first number of records takes. The list of ten million is
    2 GB, which its server holds: `--records 100000 --records 10000000`.
    """

    async def main() -> None:
        first = 0
        if not as_json:
            names = ("records", "peak MiB", "ratio", "seconds", "records/s")
            click.echo("".join(f"{name:>11}" for name in names) + "  goal")
        for count in records:
            used = await _once(count)
            first = first or used.peak_bytes
            figures = Figures(
                records=count,
                seconds=round(used.seconds, 3),
                peak_bytes=used.peak_bytes,
                ratio=round(used.peak_bytes / first, 4),
                goal_met=used.peak_bytes <= first * RATIO,
            )
            click.echo(json.dumps(attrs.asdict(figures)) if as_json else _line(figures))

    trio.run(main)


def _line(f: Figures) -> str:
    figures = f"{f.records:>11,}{f.peak_bytes / MIB:>11.1f}{f.ratio:>11.3f}{f.seconds:>11.2f}"
    return f"{figures}{f.records / f.seconds:>11,.0f}  {'met' if f.goal_met else 'MISSED'}"


async def _once(count: int) -> Spent:
    with job.place() as folder:
        async with (
            running_list(count, SIZE, etags=False) as server,
            one_postgres(folder, None) as databases,
        ):
            with databases.fresh() as conninfo:
                own = folder / "syncd"
                own.mkdir()
                task = Task(folder=own, base_url=server.base_url, conninfo=conninfo, size=SIZE)
                entry = SYNCD.enter(task)
                if entry.prepare is not None:
                    await spent(entry.prepare, folder / "log")
                return await spent(entry.run, folder / "log")
