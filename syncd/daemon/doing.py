"""What do the streams do, in one sentence that a person wants to read?

`heard` takes the facts in, `sentence` puts them into words; both are plain functions.
`syncd.daemon.notify` decides when the sentence is said.
"""

import math
from collections.abc import Mapping
from typing import Literal

import attrs

from syncd.sync import events
from syncd.sync.model import StreamId

NAMED = 3  # streams at work that are named; the others are counted
LONGEST_REASON = 120  # characters

Phase = Literal["at work", "resting", "failing", "paused", "parked"]

NAMED_PHASES: tuple[Phase, ...] = ("parked", "failing", "at work", "paused")

_WAITS: dict[events.Why, str] = {
    "budget": "next token",
    "backoff": "next try",
    "hint": "the API asked to wait, next try",
    "database": "Postgres is away, next try",
    "api": "the API is failing, next probe",
}


@attrs.frozen(kw_only=True)
class Doing:
    """What one stream does, as its events told."""

    phase: Phase = "at work"
    pages: int = 0
    """Committed in this cycle."""

    total: int | None = None
    """Records that the API says it has."""

    size: int = 0
    """Records on the fullest page so far."""

    why: events.Why | None = None
    """What is being waited for while at work."""

    until: float = 0.0
    """When the wait or the rest is over, on the caller's clock."""

    reason: str = ""


def heard(doing: Doing, event: events.Event, now: float) -> Doing:
    """What the stream does after this event."""
    match event:
        case events.CycleStarted(checkpoint=checkpoint):
            return Doing(pages=checkpoint.pages)
        case events.PageFetched():
            size = max(doing.size, event.records)
            return attrs.evolve(doing, why=None, total=event.total, size=size)
        case events.PageCommitted(checkpoint=checkpoint):
            return attrs.evolve(doing, why=None, pages=checkpoint.pages or doing.pages + 1)
        case events.Waiting():
            # A stream may have to wait for Postgres before its first cycle begins.
            until = now + event.seconds
            return attrs.evolve(doing, phase="at work", why=event.why, until=until)
        case events.CycleEnded():
            return Doing(phase="resting", until=now)
        case events.Resting():
            return Doing(phase="resting", until=now + event.seconds)
        case events.Failing():
            until = now + event.seconds
            return attrs.evolve(doing, phase="failing", until=until, reason=event.reason)
        case events.Paused():
            return attrs.evolve(doing, phase="paused", why=None)
        case events.Parked():
            return attrs.evolve(doing, phase="parked", reason=event.reason)
        case _:
            # A login, or one call of several: others may still wait, and a wait that
            # is over is said no more anyway.
            return doing


def sentence(streams: Mapping[StreamId, Doing], now: float) -> str:
    """Such as `campaigns: page 7 of 10, next token in 4 s; 2 streams resting`."""
    if not streams:
        return "starting"
    by_phase: dict[Phase, list[StreamId]] = {}
    for stream, doing in streams.items():
        by_phase.setdefault(doing.phase, []).append(stream)
    parts = []
    # First what needs a person: `systemctl status` cuts a long line's end off.
    for phase in NAMED_PHASES:
        found = by_phase.get(phase, [])
        parts += [f"{_name(s, streams)}: {_words(streams[s], now)}" for s in found[:NAMED]]
        if len(found) > NAMED:
            parts.append(f"{len(found) - NAMED} more {phase}")
    resting = by_phase.get("resting", [])
    if resting:
        number = "1 stream" if len(resting) == 1 else f"{len(resting)} streams"
        soonest = min(streams[s].until for s in resting) - now
        # While others work, what they do is news enough.
        due = f", next cycle in {span(soonest)}" if not parts and soonest > 0 else ""
        parts.append(f"{number} resting{due}")
    return "; ".join(parts)


def changes_within(streams: Mapping[StreamId, Doing], now: float) -> float:
    """Seconds until the sentence may change without an event; infinite if it can't."""
    left = [
        d.until - now
        for d in streams.values()
        if d.until > now and d.phase not in ("parked", "paused")
    ]
    if not left:
        return math.inf
    return 1.0 if min(left) < 61 else 60.0


def span(seconds: float) -> str:
    """A duration, no finer than it needs to be said: `4 s`, `12 min`, `2 h 5 min`."""
    whole = max(1, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(math.ceil(whole / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def short(reason: str) -> str:
    """A reason that fits into the sentence; an API may send a whole page of HTML."""
    words = " ".join(reason.split())
    return words if len(words) <= LONGEST_REASON else words[: LONGEST_REASON - 1] + "…"


def _name(stream: StreamId, streams: Mapping[StreamId, Doing]) -> str:
    unique = sum(s.stream == stream.stream for s in streams) == 1
    return stream.stream if unique else str(stream)


def _words(doing: Doing, now: float) -> str:
    if doing.phase == "parked":
        return f"parked, {short(doing.reason)}"
    left = doing.until - now
    if doing.phase == "paused":
        return "paused"
    if doing.phase == "failing":
        goes_on = f"tries again in {span(left)}" if left > 0 else "tries again"
        return f"failing, {goes_on} ({short(doing.reason)})"
    page = doing.pages + 1
    of = (
        f" of {max(page, math.ceil(doing.total / doing.size))}"
        if doing.total and doing.size
        else ""
    )
    wait = f", {_WAITS[doing.why]} in {span(left)}" if doing.why and left > 0 else ""
    return f"page {page}{of}{wait}"
