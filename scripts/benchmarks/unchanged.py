"""What does a cycle cost in which nothing has changed?"""

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import CONTENDERS, PLAIN, SYNCD
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.telling import MIB, Runs

RATIO = 1.6
WAL = 2  # bytes a record, in pages of `WAL_SIZE`
WAL_SIZE = 1000


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.URL
@options.JSON
def unchanged(*, records: int, size: int, turns: int, url: str | None, as_json: bool) -> None:
    """The same list a second time: syncd and a plain script in turn.

    As `throughput`, whose plain script leaves equal rows alone as well; but each moves the list
    twice, and the second time is what counts. Between the two the database is vacuumed and
    checkpointed, as it would be by itself. The list answers If-None-Match: with ETags no body
    would have to be read, and `body MiB` tells whether one was.

    Goals: plain / syncd at least 1.6; at most 2 bytes of WAL a record in pages of 1,000; no body
    read.
    """

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url) as arena:
            runs = await _runs(arena, turns)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, CONTENDERS, runs, _goals(runs, arena))

    trio.run(main)


async def _runs(arena: Arena, turns: int) -> Runs:
    names = [_named(c.name, time) for time in ("first", "second") for c in CONTENDERS]
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(turns):
        for contender in CONTENDERS:
            with arena.entered(contender) as turn:
                await turn.prepare()
                for time in ("first", "second"):
                    runs[_named(contender.name, time)].append(await turn.run())
    return runs


def _named(contender: str, time: str) -> str:
    return f"{contender}, {time}"


def _goals(runs: Runs, arena: Arena) -> list[Goal]:
    syncd, plain = (contest.median(runs[_named(c.name, "second")]) for c in (SYNCD, PLAIN))
    return [
        Goal(
            what="plain script / syncd, seconds of the second",
            found=plain.seconds / syncd.seconds,
            at_least=RATIO,
        ),
        Goal(
            what="syncd's WAL, bytes a record",
            found=syncd.wal_bytes / arena.records,
            at_most=WAL if arena.size == WAL_SIZE else None,
        ),
        Goal(what="bodies that syncd read, MiB", found=syncd.body_bytes / MIB, at_most=0),
    ]
