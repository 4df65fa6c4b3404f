"""How long does a whole list take where no budget slows it, and what does that cost?"""

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import CONTENDERS, PLAIN, SYNCD
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.telling import MIB, Runs

RATIOS = {1000: 1.15, 100: 2.0}
"""By how much syncd is to be faster than the plain script, by page size."""

PEAK = 64  # MiB, without a side door


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.URL
@options.JSON
def throughput(*, records: int, size: int, turns: int, url: str | None, as_json: bool) -> None:
    """A whole list into an empty table: syncd and a plain script in turn.

    The plain script is what a good programmer writes in an afternoon: httpx and psycopg, COPY
    into a temporary table, an upsert, and the checkpoint in the same transaction. It validates
    nothing. Each runs as a process of its own (`syncd once` the one) against a list that was
    rendered ahead, into a fresh database whose tables are made but empty; the seconds are from
    its start to its end. Then its table must hold the list, value by value, or the benchmark
    fails.

    Goals: plain / syncd at least 1.15 in pages of 1,000, 2.0 in pages of 100; 64 MiB at most.

    \b
      scripts/bench throughput                            # 100,000 records, 1,000 a page
      scripts/bench throughput --size 100
      scripts/bench throughput --url postgresql:///postgres
    """  # noqa: D301 - click's own \b keeps lines

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url) as arena:
            runs = await _runs(arena, turns)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, CONTENDERS, runs, _goals(runs, size))

    trio.run(main)


async def _runs(arena: Arena, turns: int) -> Runs:
    runs: dict[str, list[Figures]] = {c.name: [] for c in CONTENDERS}
    for _ in range(turns):
        for contender in CONTENDERS:
            with arena.entered(contender) as turn:
                await turn.prepare()
                runs[contender.name].append(await turn.run())
    return runs


def _goals(runs: Runs, size: int) -> list[Goal]:
    syncd, plain = contest.median(runs[SYNCD.name]), contest.median(runs[PLAIN.name])
    return [
        Goal(
            what="plain script / syncd, seconds",
            found=plain.seconds / syncd.seconds,
            at_least=RATIOS.get(size),
        ),
        Goal(what="plain script / syncd, CPU", found=plain.cpu_seconds / syncd.cpu_seconds),
        Goal(what="syncd's peak, MiB", found=syncd.peak_bytes / MIB, at_most=PEAK),
    ]
