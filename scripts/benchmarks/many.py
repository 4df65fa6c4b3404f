"""Does a daemon begin its cycles in time when it has very many of them?"""

import json

import attrs
import click
import trio

from scripts.benchmarks import fleet, options
from scripts.benchmarks.fleet import Spread, Used
from scripts.benchmarks.goals import Goal

LATE = 1.0  # seconds, of 99 in 100 starts
EVERY = 60.0  # seconds


@click.command()
@options.SOURCES
@options.seconds(180.0, "How long it is watched, once each source has had two cycles.")
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=EVERY,
    show_default=True,
    help="Seconds from the start of a source's cycle to its next.",
)
@options.URL
@options.JSON
def many(*, sources: int, seconds: float, every: float, url: str | None, as_json: bool) -> None:
    """How late the cycles of a thousand sources begin, each of which has one every minute.

    Each has a list of five records in one page, in which nothing changes. A cycle is due `every`
    after the start of the one before, and late by what it begins after that; how the daemon
    spreads the first ones is not lateness. One that is due and has not begun counts as well. It is
    watched from `every` after the last first cycle on, so that the start is over.

    Beside it what the daemon used, and how much of it a cycle. Goal: 99 in 100 begin less than a
    second late.
    """
    trio.run(_many, sources, seconds, every, url, as_json)


async def _many(sources: int, seconds: float, every: float, url: str | None, as_json: bool) -> None:
    async with fleet.running(sources=sources, every=every, url=url) as running:
        ready = await running.all_had_a_cycle()
        await trio.sleep(every)  # to open them all has made these late
        since = running.daemon.now()
        used = await running.used(seconds)
        late, took = running.late(since), running.took(since)
    goals = [Goal(what="p99 of the lateness, seconds", found=late.p99, at_most=LATE)]
    if as_json:
        told = {
            "sources": sources,
            "every": every,
            "first_cycles_seconds": round(ready, 1),
            **attrs.asdict(used),
            "late": attrs.asdict(late),
            "took": attrs.asdict(took),
        }
        click.echo(json.dumps({**told, "goals": [goal.told() for goal in goals]}))
        return
    click.echo(f"{sources:,} sources, a cycle each {every:g} s, watched for {used.seconds:g} s")
    click.echo(f"from the start to the end of the last first cycle: {ready:.1f} s")
    lines = [late.line("starts late by"), took.line("cycles took"), *used.lines()]
    for line in [*lines, *_a_cycle(used, took), *(goal.line() for goal in goals)]:
        click.echo(line)


def _a_cycle(used: Used, took: Spread) -> list[str]:
    if not took.count:
        return []
    cpu = 10 * used.seconds / took.count  # ms for each % of a core
    parts = [
        f"{cpu * used.cpu_percent:.2f} ms of CPU",
        f"Postgres {cpu * used.postgres_cpu_percent:.2f} ms",
        f"{used.statements / took.count:.1f} statements",
        f"{used.connects / took.count:.2f} connections opened",
    ]
    return [f"a cycle: {', '.join(parts)}"]
