"""What does a cycle cost in which nothing has changed?"""

from collections.abc import Sequence

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import SYNCD, Contender, chosen
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.telling import MIB, Runs

TIMES = ("first", "second")
RATIOS = {"plain script": 1.6}
WAL = 2  # bytes a record, in pages of `WAL_SIZE`
WAL_SIZE = 1000


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.RIVAL
@click.option(
    "--etags/--no-etags",
    default=True,
    show_default=True,
    help="Whether the list's pages have ETags: without them each body has to be read.",
)
@options.URL
@options.JSON
def unchanged(
    *,
    records: int,
    size: int,
    turns: int,
    rivals: tuple[str, ...],
    etags: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """The same list a second time: syncd and its rivals in turn.

    As `throughput`, whose plain script leaves equal rows alone as well; but each moves the list
    twice, and the second time is what counts. Between the two the database is vacuumed and
    checkpointed, as it would be by itself. The list answers If-None-Match: with ETags no body
    has to be read, and `body MiB` tells whether one was.

    Goals: plain / syncd at least 1.6; at most 2 bytes of WAL a record in pages of 1,000; with
    ETags no body read.
    """
    contenders = chosen(rivals)

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url, etags=etags) as arena:
            runs = await _runs(arena, contenders, turns)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, contenders, runs, _goals(arena, contenders, runs, etags=etags))

    trio.run(main)


async def _runs(arena: Arena, contenders: Sequence[Contender], turns: int) -> Runs:
    runs: dict[str, list[Figures]] = {
        _named(contender.name, time): [] for time in TIMES for contender in contenders
    }
    for _ in range(turns):
        for contender in contenders:
            with arena.entered(contender) as turn:
                await turn.prepare()
                for time in TIMES:
                    runs[_named(contender.name, time)].append(await turn.run())
    return runs


def _named(contender: str, time: str) -> str:
    return f"{contender}, {time}"


def _goals(arena: Arena, contenders: Sequence[Contender], runs: Runs, *, etags: bool) -> list[Goal]:
    second = {c.name: contest.median(runs[_named(c.name, "second")]) for c in contenders}
    syncd = second.pop(SYNCD.name)
    goals = [
        Goal(
            what=f"{name} / syncd, seconds of the second",
            found=rival.seconds / syncd.seconds,
            at_least=RATIOS.get(name),
        )
        for name, rival in second.items()
    ]
    wal, body = syncd.wal_bytes / arena.records, syncd.body_bytes / MIB
    most = WAL if arena.size == WAL_SIZE else None
    return [
        *goals,
        Goal(what="syncd's WAL, bytes a record", found=wal, at_most=most),
        Goal(what="bodies that syncd read, MiB", found=body, at_most=0 if etags else None),
    ]
