"""What does a daemon cost that has nothing to do?"""

import json

import attrs
import click
import trio

from scripts.benchmarks import fleet, options
from scripts.benchmarks.goals import Goal

CPU = 1.0  # % of a core
MEMORY = 150.0  # MiB
RESTS = 86400.0  # seconds from one cycle of a source to its next
SETTLING = 5.0  # seconds after the last first cycle


@click.command()
@options.SOURCES
@options.seconds(60.0, "How long it is watched, once all are at rest.")
@options.URL
@options.JSON
def idle(*, sources: int, seconds: float, url: str | None, as_json: bool) -> None:
    """What a daemon uses whose sources all rest: CPU, wake-ups, memory, statements.

    A daemon with a thousand sources, each with a list of five records in one page that is read
    once a day. It is watched from the moment when each has had its first cycle, so that nothing is
    left to do but to hold the leases, to listen for commands, and to wait.

    Goals: under 1 % of a core, and 150 MiB at most.
    """
    trio.run(_idle, sources, seconds, url, as_json)


async def _idle(sources: int, seconds: float, url: str | None, as_json: bool) -> None:
    async with fleet.running(sources=sources, every=RESTS, url=url) as running:
        ready = await running.all_had_a_cycle()
        await trio.sleep(SETTLING)
        used = await running.used(seconds)
        left = await running.daemon.leave()
    goals = [
        Goal(what="% of a core", found=used.cpu_percent, at_most=CPU),
        Goal(what="MiB", found=used.rss_mib, at_most=MEMORY),
    ]
    if as_json:
        told = {"sources": sources, "first_cycles_seconds": round(ready, 1), **attrs.asdict(used)}
        click.echo(json.dumps({**told, "goals": [goal.told() for goal in goals]}))
        return
    click.echo(f"{sources:,} sources at rest, watched for {used.seconds:g} s")
    click.echo(f"from the start to the end of the last first cycle: {ready:.1f} s")
    for line in [*used.lines(), f"asked to leave: {left}", *(goal.line() for goal in goals)]:
        click.echo(line)
