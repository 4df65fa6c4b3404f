"""`syncd cycles`: what did the last cycles do?"""

from collections.abc import Mapping, Sequence

import attrs
import trio

from syncd.app import database
from syncd.commands.options import Options, select
from syncd.commands.screen import Line, Screen, say_json
from syncd.config.settings import Settings
from syncd.store.looking import Looking
from syncd.sync.picture import Cycle
from syncd.sync.scans import rows_in_words
from syncd.views.objects import cycle_object
from syncd.views.streams import configured
from syncd.views.words import clock, percent, plain, span, took

COUNTS = {
    "seen": "seen",
    "written": "written",
    "unchanged": "unchanged",
    "left out": "left_out",
    "kept out": "kept_out",
    "dead": "dead",
    "folded": "folded",
    "requests": "requests",
    "calls": "calls",
    "retried": "retried",
    "refused": "refused",
}
"""The title of a count, and its name."""

ALWAYS = {"seen", "written", "unchanged", "requests"}
"""Shown even if they are zero in every cycle."""


def cycles(options: Options, stream: str | None, *, limit: int, as_json: bool) -> None:
    settings = options.to_look()
    now, found = trio.run(_read, settings, stream, limit)
    if as_json:
        say_json([cycle_object(cycle) for cycle in found])
    else:
        show(Screen.stdout(), found, now, named=stream is not None)


async def _read(settings: Settings, name: str | None, limit: int) -> tuple[float, list[Cycle]]:
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        chosen = None
        if name is not None:
            # Streams that have left the config still have their history.
            known = dict.fromkeys([*configured(settings), *await looking.streams()])
            (chosen,) = select(known, [name])
        return await looking.cycles(chosen, limit)


def show(screen: Screen, found: Sequence[Cycle], now: float, *, named: bool) -> None:
    """Print them as a table; on a screen that is too narrow the counts in a sentence each."""
    if not found:
        screen.say("no cycle has run yet")
        return
    counts = {c.id: attrs.asdict(c.totals) for c in found}
    shown = {t: n for t, n in COUNTS.items() if n in ALWAYS or any(c[n] for c in counts.values())}
    titles = ["cycle", *([] if named else ["stream"]), "started (UTC)", "took", "outcome"]
    lines = [
        Line(
            cells=[
                *_cells(c, now, named=named),
                percent(c.totals.success),
                *(str(counts[c.id][n]) for n in shown.values()),
            ],
            beneath=_beneath(c),
        )
        for c in found
    ]
    gives_way = 0 if named else 1
    all_titles = [*titles, "success", *shown]
    if screen.fits(all_titles, lines):
        screen.table(all_titles, lines, gives_way=gives_way, right=len(titles))
        return
    lines = [
        Line(
            cells=_cells(c, now, named=named),
            beneath=[
                _in_words(c, shown),
                *_beneath(c),
            ],
        )
        for c in found
    ]
    screen.table(titles, lines, gives_way=gives_way, right=len(titles))


def _in_words(cycle: Cycle, shown: Mapping[str, str]) -> str:
    counts = attrs.asdict(cycle.totals)
    one = {"requests": "request", "calls": "call"}
    said = [
        f"{counts[name]} {one.get(title, title) if counts[name] == 1 else title}"
        for title, name in shown.items()
        if counts[name] or name == "seen"
    ]
    if cycle.totals.success is not None:
        said.append(f"{percent(cycle.totals.success)} success")
    return ", ".join(said)


def _cells(cycle: Cycle, now: float, *, named: bool) -> list[str]:
    stream = [] if named else [plain(str(cycle.stream))]
    # One that a daemon is at, or that waits for the next start: `status` tells which.
    outcome = cycle.outcome or "open"
    lasted = f"{span(now - cycle.started)} so far" if cycle.seconds is None else took(cycle.seconds)
    return [str(cycle.id), *stream, clock(cycle.started), lasted, outcome]


def _beneath(cycle: Cycle) -> list[str]:
    said = [f"out of turn, after cycle {cycle.follows}"] if cycle.follows else []
    said += [f"only what has changed since {plain(cycle.since)}"] if cycle.since else []
    said += [plain(cycle.reason)] if cycle.reason else []
    said += [f"{rows_in_words(cycle.deleted)} marked as deleted"] if cycle.deleted else []
    said += [f"{rows_in_words(cycle.missing)} missing"] if cycle.missing else []
    if cycle.taken_up:
        times = {1: "once", 2: "twice"}.get(cycle.taken_up, f"{cycle.taken_up} times")
        said.append(f"taken up again {times}")
    return said
