"""What does a cycle cost that asks only for what has changed?"""

import math
from collections.abc import Sequence

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import SYNCD, Contender, chosen
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.records import EVERY
from scripts.benchmarks.telling import MIB, Runs

SHARE = 0.02  # of the list's bytes, where 0.01 of its records have changed


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.RIVAL
@options.URL
@options.JSON
def incremental(
    *,
    records: int,
    size: int,
    turns: int,
    rivals: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """A list of which one record of a hundred has changed since: syncd and its rivals in turn.

    Each moves the whole list first, which is not measured. Then the records change, and each is
    asked for what has changed since: syncd with `incremental`, the plain script with the highest
    time that it has met, dlt with its incremental cursor, Singer with its bookmark. Afterwards
    the table must hold the changed list.

    syncd asks for five minutes more (`lookback`, here five records), and all for the last record
    again.

    Goal: syncd reads no more than 2 % of the list's bytes.
    """
    contenders = chosen(rivals)

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url, editions=2) as arena:
            whole, runs = await _runs(arena, contenders, turns)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, contenders, runs, _goals(runs, whole), math.ceil(records / EVERY))

    trio.run(main)


async def _runs(arena: Arena, contenders: Sequence[Contender], turns: int) -> tuple[int, Runs]:
    """The bytes of the whole list, and each one's figures."""
    runs: dict[str, list[Figures]] = {c.name: [] for c in contenders}
    for _ in range(turns):
        for contender in contenders:
            await arena.publish(1)
            with arena.entered(contender, changes=True) as turn:
                await turn.prepare()
                whole = await turn.run()
                await arena.publish(2)
                runs[contender.name].append(await turn.run())
    return whole.body_bytes, runs


def _goals(runs: Runs, whole: int) -> list[Goal]:
    middle = {name: contest.median(figures) for name, figures in runs.items()}
    syncd = middle.pop(SYNCD.name)
    goals = [
        Goal(what=f"{name} / syncd, seconds", found=rival.seconds / syncd.seconds)
        for name, rival in middle.items()
    ]
    read, kib = syncd.body_bytes / whole, syncd.body_bytes / MIB * 1024
    return [
        *goals,
        Goal(what="bodies that syncd read, KiB", found=kib),
        Goal(what="of the whole list's", found=read, at_most=SHARE),
    ]
