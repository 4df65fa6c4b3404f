"""`syncd status`: how does every stream stand, and who runs it?"""

import shlex
from collections.abc import Sequence
from typing import Any

import attrs
import click
import trio

from syncd import app
from syncd.commands.options import Options, configured, select
from syncd.commands.screen import (
    Line,
    Screen,
    ago,
    ahead,
    moment,
    number,
    plain,
    say_json,
    span,
    tied,
)
from syncd.config.settings import BudgetSettings, Settings
from syncd.store.looking import Budget, Cycle, Failing, Holder, Looking, Picture, Seen
from syncd.sync.model import StreamId

GRACE = 10.0  # seconds after which a cycle that has not begun is called late

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


@attrs.frozen(kw_only=True)
class Standing:
    """How one stream stands, in words."""

    state: str
    """One word or two; the same in JSON."""

    words: str
    reason: str = ""
    todo: str = ""
    """What a person may do about it."""


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times as ISO 8601.")
@click.pass_obj
def status(options: Options, streams: tuple[str, ...], *, as_json: bool) -> None:
    """Show how every stream stands, or the STREAMs named, and who runs them.

    Reads the database alone, so it works beside a daemon, without one, and from any host
    that reaches the database. STREAM is `source.stream`, or the stream's name alone where
    only one source has it.

    \b
    Example:
      syncd status
      syncd status campaigns --json | jq -r '.streams[].state'

    Exit status 0 whenever it could look, whatever it saw; 1 if the database is away.
    """  # noqa: D301 - click's own \b keeps lines
    settings = options.to_look()
    known = configured(settings)
    chosen = select(known, streams) if streams else known
    picture = trio.run(_look, settings, chosen)
    if as_json:
        say_json(as_object(picture, settings))
    else:
        show(Screen.stdout(), picture, settings)


async def _look(settings: Settings, streams: Sequence[StreamId]) -> Picture:
    async with app.store(settings, migrations=False) as store:
        sources = list(dict.fromkeys(s.source for s in streams))
        budgets = [b.name for b in _budgets(settings, sources)]
        return await Looking(store.connections).picture(streams, sources, budgets)


def _budgets(settings: Settings, sources: Sequence[str]) -> list[BudgetSettings]:
    found = [settings.sources[name].budget for name in sources]
    return list({b.name: b for b in found if b is not None}.values())


# --- what it means --------------------------------------------------------------------------


def standing(seen: Seen, now: float, *, every: float, runs: bool) -> Standing:
    """What a stream's rows mean; `runs`: somebody holds its source's lease."""
    if seen.parked is not None:
        name = shlex.quote(str(seen.stream))
        go_on = (
            f"run `syncd resume {name}` (a reload of the config does it, too)"
            if runs
            else f"start syncd, or run `syncd once {name}`"
        )
        return Standing(
            state="parked",
            words="parked",
            reason=seen.parked,
            todo=f"Mend that, then {go_on}: it goes on after the last committed page.",
        )
    if seen.paused is not None:
        at = f" at page {(seen.pages or 0) + 1}" if seen.running is not None else ""
        return Standing(
            state="paused",
            words=f"paused{at}",
            reason=f"Paused by {seen.paused_by} {ago(now - seen.paused)}.",
            todo=f"`syncd resume {shlex.quote(str(seen.stream))}` lets it go on.",
        )
    if seen.running is not None:
        return _in_a_cycle(seen, seen.running, now, every=every, runs=runs)
    if seen.last is None:
        return Standing(state="never ran", words="never ran")
    left = (seen.next_start or now) - now
    late = left < (-GRACE if runs else 0)
    when = f"due {ago(-left)}" if late else f"next in {ahead(left)}" if left > 0 else "next now"
    when = tied(when)
    if seen.last.outcome == "suspicious":
        return Standing(
            state="suspicious",
            words=f"suspicious, {when}",
            reason=seen.last.reason,
            todo="The table keeps its rows. Does the API list what it should? See `params` and "
            "`where`.",
        )
    if seen.question is not None:
        return Standing(
            state="deletes held",
            words=f"deletes held, {when}",
            reason=seen.question,
            todo="The rows stay. Should they go, then "
            f"`syncd reconcile {shlex.quote(str(seen.stream))} --approve`.",
        )
    if late:
        return Standing(state="late", words=f"late: {when}")
    return Standing(state="resting", words=f"resting, {when}")


def _in_a_cycle(seen: Seen, cycle: Cycle, now: float, *, every: float, runs: bool) -> Standing:
    pages = seen.pages or 0
    so_far = f"page {pages + 1}, {tied(number(cycle.totals.seen, 'record'))}"
    if not runs:
        return Standing(
            state="stopped",
            words=f"stopped at {so_far}",
            reason=cycle.reason,
            todo="The next start goes on with this page.",
        )
    if cycle.reason:
        return Standing(
            state="failing",
            words=f"failing at {so_far}",
            reason=cycle.reason,
            todo="It tries again by itself.",
        )
    over = now - cycle.started - every
    slow = over > GRACE
    doubtful = seen.last is not None and seen.last.outcome == "suspicious"
    return Standing(
        state="running",
        words=f"running{' out of turn' if cycle.follows else ''}: {so_far}",
        reason=f"The last cycle was suspicious: {seen.last.reason}"
        if seen.last and doubtful
        else "",
        todo=f"Started {ago(now - cycle.started)}; the next one was due {ago(over)}."
        if slow
        else "",
    )


# --- for people -----------------------------------------------------------------------------


def show(screen: Screen, picture: Picture, settings: Settings) -> None:
    """Print a picture: streams, who runs them, budgets."""
    now = picture.now
    runs = {h.source: h for h in picture.holders if h.runs}
    lines = [
        _line(seen, now, settings, runs=seen.stream.source in runs) for seen in picture.streams
    ]
    screen.table(
        ("stream", "state", "last cycle", "seen", "written", "dead", "letters"),
        lines,
        gives_way=1,
        right=3,
    )
    screen.say()
    for sentence in _who(picture, now):
        screen.say(sentence)
    for holder in picture.holders:
        if holder.failing is not None:
            screen.say(_failing(holder.source, holder.failing, now))
    sources = list(dict.fromkeys(s.stream.source for s in picture.streams))
    there = {b.name: b for b in picture.budgets}
    for budget in _budgets(settings, sources):
        screen.say(_budget(budget, there.get(budget.name), now))
    dead = [s for s in picture.streams if s.dead]
    if dead:
        many = number(sum(s.dead for s in dead), "dead letter")
        only = f" {shlex.quote(str(dead[0].stream))}" if len(dead) == 1 else ""
        screen.say(plain(f"{many}: see `syncd dead list{only}`"))


def _line(seen: Seen, now: float, settings: Settings, *, runs: bool) -> Line:
    every = settings.sources[seen.stream.source].streams[seen.stream.stream].every
    found = standing(seen, now, every=every, runs=runs)
    last = seen.last
    counts: tuple[str, ...] = ("-",) * 4
    if last is not None:
        totals = (last.totals.seen, last.totals.written, last.totals.dead)
        counts = (ago(now - (last.ended or now)), *map(str, totals))
    return Line(
        cells=(plain(str(seen.stream)), found.words, *counts, str(seen.dead)),
        style=STYLES.get(found.state, ""),
        beneath=[plain(s) for s in (found.reason, found.todo) if s],
    )


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


def _failing(source: str, failing: Failing, now: float) -> str:
    left = failing.next_probe - now
    probe = f"next probe in {ahead(left)}" if left > 0 else "a probe is due or under way"
    since = span(now - failing.since)
    return plain(
        f"API of {source}: failing for {since}, so its streams wait; {probe} ({failing.reason})"
    )


def _budget(settings: BudgetSettings, found: Budget | None, now: float) -> str:
    name = f"budget of {plain(settings.name)}:"
    if found is None or not found.tokens:
        return f"{name} {settings.requests} in {span(settings.per)}, not used yet"
    sentence = f"{name} {found.free} of {number(found.tokens, 'token')} free"
    if found.free < found.tokens and found.next_free is not None:
        sentence += f", the next in {ahead(found.next_free - now)}"
    if found.held_until is not None:
        sentence += f"; held for {ahead(found.held_until - now)}, because the API asked for it"
    if found.from_answers:
        sentence += "; counted from each answer, since a request was refused unexplained"
    return sentence


# --- for programs ---------------------------------------------------------------------------


def as_object(picture: Picture, settings: Settings) -> dict[str, Any]:
    """The same for programs; keys stay, and new ones may come."""
    holders = {h.source: h for h in picture.holders}
    sources = list(dict.fromkeys(s.stream.source for s in picture.streams))
    there = {b.name: b for b in picture.budgets}
    return {
        "at": moment(picture.now),
        "streams": [
            _stream_object(seen, picture.now, settings, holders.get(seen.stream.source))
            for seen in picture.streams
        ],
        "sources": [_source_object(name, holders.get(name)) for name in sources],
        "budgets": [_budget_object(b, there.get(b.name)) for b in _budgets(settings, sources)],
    }


def _stream_object(
    seen: Seen, now: float, settings: Settings, holder: Holder | None
) -> dict[str, Any]:
    every = settings.sources[seen.stream.source].streams[seen.stream.stream].every
    found = standing(seen, now, every=every, runs=holder is not None and holder.runs)
    return {
        "source": seen.stream.source,
        "stream": seen.stream.stream,
        "state": found.state,
        "reason": found.reason or None,
        "paused_at": moment(seen.paused),
        "next_start": moment(seen.next_start),
        "running": seen.running and cycle_object(seen.running),
        "last": seen.last and cycle_object(seen.last),
        "dead_letters": seen.dead,
        "missing": seen.missing,
        "question": seen.question,
        "reconciled_at": moment(seen.reconciled),
        "usual": {
            "records": seen.usual.records and attrs.asdict(seen.usual.records),
            "changes": seen.usual.changes and attrs.asdict(seen.usual.changes),
        },
    }


def cycle_object(cycle: Cycle) -> dict[str, Any]:
    """A cycle for programs."""
    return {
        "cycle": cycle.id,
        "source": cycle.stream.source,
        "stream": cycle.stream.stream,
        "started_at": moment(cycle.started),
        "ended_at": moment(cycle.ended),
        "outcome": cycle.outcome,
        "whole": not cycle.aside,
        "reason": cycle.reason or None,
        "taken_up": cycle.taken_up,
        "pages": cycle.pages,
        "follows": cycle.follows,
        "reconcile": cycle.reconcile,
        "missing": cycle.missing,
        "deleted": cycle.deleted,
        **attrs.asdict(cycle.totals),
    }


def _source_object(name: str, holder: Holder | None) -> dict[str, Any]:
    return {
        "source": name,
        "running": holder is not None and holder.runs,
        "host": holder and holder.host,
        "pid": holder and holder.pid,
        "since": moment(holder.since) if holder else None,
        "last_heard": moment(holder.heard) if holder else None,
        "breaker": holder and holder.failing and _failing_object(holder.failing),
    }


def _failing_object(failing: Failing) -> dict[str, Any]:
    return {
        "open_since": moment(failing.since),
        "reason": failing.reason,
        "next_probe_at": moment(failing.next_probe),
    }


def _budget_object(settings: BudgetSettings, found: Budget | None) -> dict[str, Any]:
    return {
        "budget": settings.name,
        "requests": found.tokens if found and found.tokens else settings.requests,
        "per_seconds": found.per if found else settings.per,
        "free": found.free if found and found.tokens else settings.requests,
        "next_free_at": moment(found.next_free) if found else None,
        "held_until": moment(found.held_until) if found else None,
        "counted_from": "answers" if found and found.from_answers else "writing",
    }
