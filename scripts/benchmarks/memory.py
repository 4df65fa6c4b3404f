"""Does memory depend on how many records there are?"""

import json

import attrs
import click
import trio

from mock_api.testing import running_mock
from scripts.benchmarks import job, options
from scripts.benchmarks.spent import Spent, spent
from scripts.benchmarks.telling import MIB
from syncd.store.embedded import embedded_postgres

RATIO = 1.1


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
@click.option("--records", multiple=True, type=int, default=(1_000, 100_000, 1_000_000))
@options.JSON
def memory(*, records: tuple[int, ...], as_json: bool) -> None:
    """Peak memory of one cycle without a budget, 1,000 records a page.

    Goal: no more than 1.1 of what the first number of records takes.
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
    settings = {"limit": 0, "fail_every": 0, "hang_every": 0, "campaigns": count}
    with job.place() as folder:
        async with running_mock(**settings) as mock, embedded_postgres(folder):
            return await spent(job.command(job.unlimited(folder, mock.base_url)), folder / "log")
