"""`syncd status`: how does every stream stand, and who runs it?"""

import shlex
from collections.abc import Iterator, Mapping, Sequence

import attrs
import click
import trio

from syncd.app import database
from syncd.commands.options import Options, select
from syncd.commands.screen import Line, Screen, say_json
from syncd.config.settings import BudgetSettings, Settings
from syncd.store.looking import Looking
from syncd.sync.model import StreamId
from syncd.sync.picture import Budget, Failing, Holder, Picture, Seen
from syncd.views.live import bar, progress, progress_words, spent_words, strip, waits
from syncd.views.objects import as_object, budgets_for, budgets_of, to_look_at
from syncd.views.standing import standing
from syncd.views.streams import configured
from syncd.views.words import ago, ahead, limit_words, number, plain, span, time_of_day

NARROW = 64  # columns; on a screen of fewer the counts have no room
BAR = 20  # columns of a running cycle's bar
STRIP = 60  # columns, at most, of a budget's last window

STYLES = {
    "never ran": "dim",
    "running": "green",
    "late": "yellow",
    "suspicious": "yellow",
    "deletes held": "yellow",
    "failing": "yellow",
    "paused": "cyan",
    "stopped": "yellow",
    "parked": "bold red",
}


def status(options: Options, streams: tuple[str, ...], *, as_json: bool, live: bool) -> None:
    if live and as_json:
        raise click.UsageError("--watch is for people; for programs ask again, with --json alone")
    settings = options.to_look()
    known = configured(settings)
    chosen = select(known, streams) if streams else known
    if live:
        from syncd.commands.watch import watch  # noqa: PLC0415 - it shows what stands here

        watch(settings, chosen)
        return
    picture = trio.run(_look, settings, chosen)
    if as_json:
        say_json(as_object(picture, settings))
    else:
        show(Screen.stdout(), picture, settings)


async def _look(settings: Settings, streams: Sequence[StreamId]) -> Picture:
    async with database.store(settings, migrations=False) as store:
        return await look(Looking(store.connections), settings, streams)


async def look(looking: Looking, settings: Settings, streams: Sequence[StreamId]) -> Picture:
    """The streams, who runs them, and the budgets that they spend from."""
    return await looking.picture(*to_look_at(settings, streams))


# --- for people -----------------------------------------------------------------------------


def show(
    screen: Screen,
    picture: Picture,
    settings: Settings,
    *,
    live: bool = False,
) -> None:
    """Print a picture: streams, who runs them, budgets; with `live` what is under way, too."""
    now = picture.now
    runs = {h.source: h for h in picture.holders if h.runs}
    there = {b.name: b for b in picture.budgets}
    lines = [
        _line(seen, now, settings, runs=seen.stream.source in runs) for seen in picture.streams
    ]
    if live:
        lines = [
            _with_progress(line, seen, settings, there, now) if seen.stream.source in runs else line
            for line, seen in zip(lines, picture.streams, strict=True)
        ]
    titles = ["stream", "state", "last cycle", "seen", "written", "dead", "letters"]
    if screen.width < NARROW:
        titles = titles[:2]
        lines = [attrs.evolve(line, cells=line.cells[:2]) for line in lines]
    screen.table(titles, lines, gives_way=1, right=3)
    screen.say()
    for sentence in _who(picture, now):
        screen.say(sentence)
    for sentence in _apis(picture, settings, now):
        screen.say(sentence)
    sources = list(dict.fromkeys(s.stream.source for s in picture.streams))
    lists = [settings.sources[name].budget for name in sources]
    several = {limit.name for limits in lists if len(limits) > 1 for limit in limits}
    for budget in budgets_of(settings, sources):
        found = there.get(budget.name)
        screen.say(_budget(budget, found, now, one_of_several=budget.name in several))
        if live and found is not None and found.tokens:
            streams = [s.stream for s in picture.streams]
            screen.say(plain(_spent(found, streams, now, screen.width)), indent=2)
    for sentence in _kept_out(picture):
        screen.say(sentence)
    dead = [s for s in picture.streams if s.dead]
    if dead:
        many = number(sum(s.dead for s in dead), "dead letter")
        only = f" {shlex.quote(str(dead[0].stream))}" if len(dead) == 1 else ""
        screen.say(plain(f"{many}: see `syncd dead list{only}`"))


def _kept_out(picture: Picture) -> list[str]:
    return [
        plain(f"{s.stream}: {number(s.kept_out, 'record')} kept out, as `syncd forget` was told")
        for s in picture.streams
        if s.kept_out
    ]


def _line(seen: Seen, now: float, settings: Settings, *, runs: bool) -> Line:
    of_stream = settings.sources[seen.stream.source].streams[seen.stream.stream]
    found = standing(seen, now, of_stream, runs=runs)
    last = seen.last
    counts: tuple[str, ...] = ("-",) * 4
    if last is not None:
        totals = (last.totals.seen, last.totals.written, last.totals.dead)
        counts = (ago(now - (last.ended or now)), *map(str, totals))
    return Line(
        cells=(plain(str(seen.stream)), found.words, *counts, str(seen.dead)),
        style=STYLES.get(found.state, ""),
        beneath=[plain(s) for s in (found.reason, found.todo, _drifts(seen)) if s],
    )


def _drifts(seen: Seen) -> str:
    """That its data leaves its contract."""
    if not seen.drifts:
        return ""
    many = number(seen.drifts, "thing")
    name = shlex.quote(str(seen.stream))
    return f"contract: {many} that the config does not say: `syncd contract show {name}`"


def _with_progress(
    line: Line, seen: Seen, settings: Settings, there: Mapping[str, Budget], now: float
) -> Line:
    """How far its cycle is, and what it waits for, beneath the line instead of in it."""
    found = progress(seen)
    if found is None or seen.parked is not None or seen.paused is not None:
        return line
    drawn = "" if found.share is None else bar(found.share, BAR) + " "
    waiting = waits(seen, budgets_for(seen.stream, settings, there), now)
    state = line.cells[1].partition(":")[0].partition(" at ")[0]
    return attrs.evolve(
        line,
        cells=(line.cells[0], state, *line.cells[2:]),
        beneath=[
            drawn + progress_words(seen, now),
            *([waiting] if waiting else []),
            *line.beneath,
        ],
    )


def _spent(budget: Budget, streams: Sequence[StreamId], now: float, width: int) -> str:
    drawn = strip(budget, now, min(STRIP, max(BAR, width // 3)))
    return f"{drawn} {spent_words(budget, streams, now)}"


def _who(picture: Picture, now: float) -> list[str]:
    """Who runs which sources; sources that one process runs share a line."""
    holders = {h.source: h for h in picture.holders}
    sources = list(dict.fromkeys(s.stream.source for s in picture.streams))
    said: dict[str, list[str]] = {}
    for source in sources:
        said.setdefault(_daemon(holders.get(source), now), []).append(source)
    if len(said) == 1:
        return list(said)
    return [plain(f"{', '.join(names)}: {sentence}") for sentence, names in said.items()]


def _daemon(holder: Holder | None, now: float) -> str:
    if holder is None:
        return "no daemon runs"
    who = f"pid {holder.pid} on {plain(holder.host)}"
    if holder.runs:
        return f"run by {who} for {span(now - holder.since)}"
    return f"no daemon runs ({who} is gone, last heard of {ago(now - holder.heard)})"


def _apis(picture: Picture, settings: Settings, now: float) -> Iterator[str]:
    """What an API itself holds up, whatever its limits."""
    for holder in picture.holders:
        if holder.failing is not None:
            yield _failing(holder.source, holder.failing, now)
    held = {b.name: b.held_until for b in picture.budgets if b.held_until is not None}
    for source in dict.fromkeys(s.stream.source for s in picture.streams):
        until = held.get(settings.sources[source].unlimited or "")
        if until is not None:
            yield plain(f"API of {source}:{_held(until, now)}")


def _failing(source: str, failing: Failing, now: float) -> str:
    left = failing.next_probe - now
    probe = f"next probe in {ahead(left)}" if left > 0 else "a probe is due or under way"
    since = span(now - failing.since)
    return plain(
        f"API of {source}: failing for {since}, so its streams wait; {probe} ({failing.reason})"
    )


def _held(until: float, now: float) -> str:
    return f" held for {ahead(until - now)}, because the API asked for it"


def _budget(
    settings: BudgetSettings, found: Budget | None, now: float, *, one_of_several: bool = False
) -> str:
    which = f", {limit_words(settings)}" if one_of_several else ""
    name = f"budget of {plain(settings.name + which)}:"
    if found is None or not found.tokens:
        return f"{name} {settings.requests} in {span(settings.per)}, not used yet"
    sentence = f"{name} {found.free} of {number(found.tokens, 'token')} free"
    if found.free < found.tokens and found.next_free is not None:
        sentence += f", the next in {ahead(found.next_free - now)}"
    if found.held_until is not None:
        sentence += f";{_held(found.held_until, now)}"
    if found.quota_until is not None:
        until = time_of_day(found.quota_until, now)
        sentence += f"; the API says {found.quota_left} left until {until}"
    if found.from_answers:
        sentence += "; counted from each answer, since a request was refused unexplained"
    return sentence
