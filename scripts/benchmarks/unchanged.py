"""What does a cycle cost in which nothing has changed?"""

from collections.abc import Sequence

import click
import trio

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import SYNCD, Contender, chosen
from scripts.benchmarks.contest import Arena, Figures
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.telling import MIB, Runs

TIMES = ("first", "second", "third")
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
    default=False,
    show_default=True,
    help="Whether the list's pages have ETags, and a third time is measured.",
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
    """The same list once more: syncd and its rivals in turn.

    As `throughput`, whose plain script leaves equal rows alone as well; but each moves the list
    again, and the second time is what counts. Before each the database is vacuumed and
    checkpointed, as it would be by itself. With --etags there is a third time: what a page's
    ETag stands for is noted by syncd's second cycle, and its third, which then counts, reads no
    body.

    Goals: plain / syncd at least 1.6; at most 2 bytes of WAL a record in pages of 1,000; with
    ETags no body read.
    """
    contenders = chosen(rivals)

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url, etags=etags) as arena:
            times = TIMES if etags else TIMES[:2]
            runs = await _runs(arena, contenders, turns, times)
            tell = telling.as_json if as_json else telling.as_text
            tell(arena, contenders, runs, _goals(arena, contenders, runs, times[-1]))

    trio.run(main)


async def _runs(
    arena: Arena, contenders: Sequence[Contender], turns: int, times: Sequence[str]
) -> Runs:
    runs: dict[str, list[Figures]] = {
        _named(contender.name, time): [] for time in times for contender in contenders
    }
    for _ in range(turns):
        for contender in contenders:
            with arena.entered(contender) as turn:
                await turn.prepare()
                for time in times:
                    runs[_named(contender.name, time)].append(await turn.run())
    return runs


def _named(contender: str, time: str) -> str:
    return f"{contender}, {time}"


def _goals(arena: Arena, contenders: Sequence[Contender], runs: Runs, time: str) -> list[Goal]:
    again = {c.name: contest.median(runs[_named(c.name, time)]) for c in contenders}
    syncd = again.pop(SYNCD.name)
    goals = [
        Goal(
            what=f"{name} / syncd, seconds of the {time}",
            found=rival.seconds / syncd.seconds,
            at_least=RATIOS.get(name),
        )
        for name, rival in again.items()
    ]
    wal, body = syncd.wal_bytes / arena.records, syncd.body_bytes / MIB
    most = WAL if arena.size == WAL_SIZE else None
    return [
        *goals,
        Goal(what="syncd's WAL, bytes a record", found=wal, at_most=most),
        Goal(
            what="bodies that syncd read, MiB", found=body, at_most=0 if time == "third" else None
        ),
    ]
