"""What does a death cost?  The list goes on, or begins anew."""

from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import click
import psycopg
import trio
from psycopg import sql

from scripts.benchmarks import contest, options, telling
from scripts.benchmarks.contenders import SYNCD, Contender, chosen
from scripts.benchmarks.contest import Arena, Turn
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.spent import killed, spent

ROWS = "SELECT count(*), count(DISTINCT id) FROM {}"


@attrs.frozen(kw_only=True)
class Figures:
    """What a second life came to; or the medians of several."""

    first_seconds: float
    """From its start until it asked for a page."""

    seconds: float
    """From its start to its end."""

    before: int
    """Pages that were asked for in the first life."""

    again: int
    """Pages that were asked for in both."""

    lost: int
    """Records that are in no row."""

    doubled: int
    """Rows of records that have another one."""


@click.command()
@options.RECORDS
@options.SIZE
@options.TURNS
@options.RIVAL
@options.URL
@options.JSON
def restart(
    *,
    records: int,
    size: int,
    turns: int,
    rivals: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """SIGKILL in the middle of a list without a budget, and again: syncd and its rivals in turn.

    When half of the pages were asked for, the process is killed, and started again at once. How
    long does it take until it asks for the next page, how many pages are asked for a second
    time, and is the table the list in the end? The plain script has a checkpoint as well; dlt
    and Singer begin anew.

    Goal: no row of syncd's is lost or doubled.
    """
    contenders = chosen(rivals)

    async def main() -> None:
        async with contest.arena(records=records, size=size, url=url) as arena:
            runs = await _runs(arena, contenders, turns)
            tell = telling.as_json if as_json else _as_text
            tell(arena, contenders, runs, _goals(runs))

    trio.run(main)


async def _runs(
    arena: Arena, contenders: Sequence[Contender], turns: int
) -> Mapping[str, Sequence[Figures]]:
    runs: dict[str, list[Figures]] = {c.name: [] for c in contenders}
    for _ in range(turns):
        for contender in contenders:
            with arena.entered(contender) as turn:
                await turn.prepare()
                runs[contender.name].append(await _two_lives(arena, turn))
    return runs


async def _two_lives(arena: Arena, turn: Turn) -> Figures:
    log, pages = arena.folder / "log", -(-arena.records // arena.size)
    await arena.server.counts()
    await killed(turn.entry.run, log, partial(arena.server.reached, pages // 2))
    before = (await arena.server.counts()).requests
    used = await spent(turn.entry.run, log)
    after = await arena.server.counts()
    if after.first_at is None:
        raise click.ClickException(f"{turn.contender.name} was done before it was killed")
    with psycopg.connect(turn.conninfo, autocommit=True) as database:
        table = sql.Identifier(*turn.contender.table)
        rows, ids = database.execute(sql.SQL(ROWS).format(table)).fetchone() or (0, 0)
    if rows == ids == arena.records:
        turn.verify()
    return Figures(
        first_seconds=round(after.first_at - used.began, 3),
        seconds=round(used.seconds, 3),
        before=before,
        again=before + after.requests - pages,
        lost=arena.records - ids,
        doubled=rows - ids,
    )


def _goals(runs: Mapping[str, Sequence[Figures]]) -> list[Goal]:
    middle = {name: contest.median(figures) for name, figures in runs.items()}
    syncd = middle.pop(SYNCD.name)
    ratios = [
        Goal(what=f"{name} / syncd, second life, seconds", found=rival.seconds / syncd.seconds)
        for name, rival in middle.items()
    ]
    return [
        *ratios,
        Goal(what="syncd's rows that are lost", found=syncd.lost, at_most=0),
        Goal(what="syncd's rows that are doubled", found=syncd.doubled, at_most=0),
    ]


def _as_text(
    arena: Arena,
    contenders: Sequence[Contender],
    runs: Mapping[str, Sequence[Figures]],
    goals: Sequence[Goal],
) -> None:
    telling.head(arena, contenders, max(map(len, runs.values())))
    names = ("to a page s", "to the end s", "pages before", "asked again", "lost", "doubled")
    click.echo(f"{'':<16}" + "".join(f"{name:>14}" for name in names))
    for name, figures in runs.items():
        f = contest.median(figures)
        click.echo(
            f"{name:<16}{f.first_seconds:>14.2f}{f.seconds:>14.2f}{f.before:>14,}"
            f"{f.again:>14,}{f.lost:>14,}{f.doubled:>14,}"
        )
    for goal in goals:
        click.echo(goal.line())
