"""How long does a whole list take where no budget slows it, and what does that cost?"""

from collections.abc import Sequence

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import SYNCD, Contender, chosen
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.telling import MIB, Runs

RATIOS = {
    1000: {"plain script": 1.15, "undecoded text": 1.0, "dlt": 4.0, "singer": 10.0},
    100: {"plain script": 2.0, "undecoded text": 1.3, "dlt": 4.0, "singer": 7.0},
}
"""By how much syncd is to be faster than a rival, by page size."""

PEAK = 64  # MiB, without a side door


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.RIVAL
@options.URL
@options.JSON
def throughput(
    *,
    records: int,
    size: int,
    turns: int,
    rivals: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """A whole list into an empty table: syncd and its rivals in turn.

    The plain script is what a good programmer writes in an afternoon: httpx and psycopg, COPY
    into a temporary table, an upsert, and the checkpoint in the same transaction. It validates
    nothing. Each runs as a process of its own (`syncd once` the one) against a list that was
    rendered ahead, into a fresh database whose tables are made but empty; the seconds are from
    its start to its end. Then its table must hold the list, value by value, or the benchmark
    fails.

    undecoded is no rival but a mark: the page's text straight into jsonb_to_recordset. dlt is its
    rest_api source, merged by key; singer is tap-rest-api-msdk piped into target-postgres. These
    two make their tables in the run.

    Goals, rival / syncd: at least 1.15 for the plain script, 1 for undecoded text, 4 for dlt, 10
    for singer in pages of 1,000; 2, 1.3, 4 and 7 in pages of 100. Peak: 64 MiB at most.

    \b
      scripts/bench throughput                            # 100,000 records, 1,000 a page
      scripts/bench throughput --size 100
      scripts/bench throughput --rival plain --rival dlt --rival singer
      scripts/bench throughput --url postgresql:///postgres
    """  # noqa: D301 - click's own \b keeps lines
    contenders = chosen(rivals)

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url) as arena:
            runs = await _runs(arena, contenders, turns)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, contenders, runs, _goals(runs, size))

    trio.run(main)


async def _runs(arena: Arena, contenders: Sequence[Contender], turns: int) -> Runs:
    runs: dict[str, list[Figures]] = {c.name: [] for c in contenders}
    for _ in range(turns):
        for contender in contenders:
            with arena.entered(contender) as turn:
                await turn.prepare()
                runs[contender.name].append(await turn.run())
    return runs


def _goals(runs: Runs, size: int) -> list[Goal]:
    middle = {name: contest.median(figures) for name, figures in runs.items()}
    syncd = middle.pop(SYNCD.name)
    goals = []
    for name, rival in middle.items():
        seconds, cpu = rival.seconds / syncd.seconds, rival.cpu_seconds / syncd.cpu_seconds
        least = RATIOS.get(size, {}).get(name)
        goals.append(Goal(what=f"{name} / syncd, seconds", found=seconds, at_least=least))
        goals.append(Goal(what=f"{name} / syncd, CPU", found=cpu))
    peak = syncd.peak_bytes / MIB
    return [*goals, Goal(what="syncd's peak, MiB", found=peak, at_most=PEAK)]
