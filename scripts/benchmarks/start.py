"""How long until a command says something, and until the first request is made?"""

import json
import statistics
import sys
from pathlib import Path

import click
import trio

from scripts.benchmarks import contest, job, options
from scripts.benchmarks.contenders import PLAIN, SYNCD
from scripts.benchmarks.contest import Arena
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.spent import spent

HELP = 0.2  # seconds
FIRST_REQUEST = 1.2  # seconds
LIBRARIES = "import trio, httpx, psycopg, msgspec"
RECORDS = 10
TURNS = 7


@click.command()
@click.option("--turns", type=click.IntRange(min=1), default=TURNS, show_default=True)
@options.URL
@options.JSON
def start(*, turns: int, url: str | None, as_json: bool) -> None:
    """Seconds to `syncd --help`, and from the start of `syncd once` to its first request.

    Postgres runs and the tables are made; the list says when it was first asked. Beside them
    the plain script's first request, in turn with syncd's, and what Python needs for the libraries
    alone. Each goes once before, so that all is compiled and in the page cache.

    Goals: 0.2 s for the help, 1.2 s to the first request.
    """

    async def main() -> None:
        with job.place() as folder:
            helps = await _commands(folder, turns, "-m", "syncd", "--help")
            imports = await _commands(folder, turns, "-c", LIBRARIES)
        async with contest.arena(records=RECORDS, size=RECORDS, url=url) as arena:
            first, plain = await _first_requests(arena, turns)
        goals = [
            Goal(what="syncd --help, seconds", found=statistics.median(helps), at_most=HELP),
            Goal(
                what="syncd once to its first request, seconds",
                found=statistics.median(first),
                at_most=FIRST_REQUEST,
            ),
            Goal(what="plain script to its first request, seconds", found=statistics.median(plain)),
            Goal(what=f"{LIBRARIES!r} alone, seconds", found=statistics.median(imports)),
        ]
        if as_json:
            click.echo(json.dumps({"turns": turns, "goals": [goal.told() for goal in goals]}))
            return
        click.echo(f"medians of {turns}")
        for goal in goals:
            click.echo(goal.line())

    trio.run(main)


async def _commands(folder: Path, turns: int, *words: str) -> list[float]:
    """Seconds of a command of Python's; the first time is not counted."""
    command = [sys.executable, *words]
    found = [(await spent(command, folder / "log")).seconds for _ in range(turns + 1)]
    return found[1:]


async def _first_requests(arena: Arena, turns: int) -> tuple[list[float], list[float]]:
    found: dict[str, list[float]] = {SYNCD.name: [], PLAIN.name: []}
    with arena.entered(SYNCD) as syncd, arena.entered(PLAIN) as plain:
        for turn in (syncd, plain):
            await turn.prepare()
            await turn.to_first_request()
        for _ in range(turns):
            for turn in (syncd, plain):
                found[turn.contender.name].append(await turn.to_first_request())
    return found[SYNCD.name], found[PLAIN.name]
