"""What has happened since the start?  A listener of the loop's events, in plain numbers.

What is not in the config is not counted: a stream that was retired may still end its page.
"""

import bisect
from collections.abc import Collection

import attrs

from syncd.metrics import kinds
from syncd.metrics.kinds import Kind
from syncd.sync import events
from syncd.sync.events import Purpose
from syncd.sync.model import Counts, StreamId

ENDS = (events.Parked, events.Failing, events.Paused)
"""After these a stream waits for nothing else."""


@attrs.define(eq=False)
class Durations:
    """A histogram."""

    bounds: tuple[float, ...]
    counts: list[int] = attrs.field(init=False)
    """By bucket, each without those before it; the last one is the infinite one."""

    seconds: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    @classmethod
    def of(cls, kind: Kind) -> "Durations":
        return cls(kind.bounds)

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds


@attrs.define(eq=False)
class StreamTally:
    """Of one stream."""

    cycles: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(kinds.OUTCOMES, 0))
    interruptions: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(kinds.INTERRUPTED, 0))
    durations: Durations = attrs.field(factory=lambda: Durations.of(kinds.CYCLE_DURATION))
    pages: int = 0
    records: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(kinds.RESULTS, 0))
    put_aside: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(kinds.LETTERS, 0))
    calls: dict[str, int] = attrs.field(factory=lambda: {"done": 0, "failed": 0})
    call_durations: Durations = attrs.field(factory=lambda: Durations.of(kinds.CALL_DURATION))
    retries: int = 0
    needs_postgres: str = ""
    """Why it waits for a Postgres that is away; empty if it does not."""

    _totals: Counts = attrs.field(factory=Counts)
    """Of its running cycle, as far as they were counted."""

    def hear(self, event: events.Event) -> None:  # noqa: C901 - one case for each event
        if isinstance(event, events.NEEDS_POSTGRES + ENDS):
            self.needs_postgres = ""
        match event:
            case events.CycleStarted():
                self._totals = event.totals
                self.cycles["abandoned"] += bool(event.abandoned)
            case events.PageCommitted():
                self.pages += 1
                self._count(event.totals)
            case events.CycleEnded():
                self.cycles[event.outcome] += 1
                self.durations.add(event.seconds)
            case events.CallAnswered():
                self.calls["done" if event.ok else "failed"] += 1
                self.call_durations.add(event.seconds)
            case events.PutAside():
                self.put_aside[event.kind] = self.put_aside.get(event.kind, 0) + 1
            case events.Retrying():
                self.retries += 1
            case events.Failing():
                self.interruptions["failing"] += 1
            case events.Parked():
                self.interruptions["parked"] += 1
            case events.Waiting(why="database"):
                self.needs_postgres = event.reason or kinds.UNTOLD

    def _count(self, totals: Counts) -> None:
        before, self._totals = self._totals, totals
        for result in self.records:
            # Never downwards: a Postgres that went back to an older state takes nothing back.
            self.records[result] += max(0, getattr(totals, result) - getattr(before, result))


@attrs.define(eq=False)
class SourceTally:
    """Of one source: what its streams share."""

    requests: dict[tuple[Purpose, str], int] = attrs.field(factory=lambda: {("list", "ok"): 0})
    durations: dict[Purpose, Durations] = attrs.field(factory=dict)
    denied: int = 0
    logins: dict[str, int] = attrs.field(
        factory=lambda: dict.fromkeys(("ok", "refused", "failed"), 0)
    )
    waits: Durations = attrs.field(factory=lambda: Durations.of(kinds.TOKEN_WAIT))
    commits: Durations = attrs.field(factory=lambda: Durations.of(kinds.COMMIT_DURATION))
    open: bool = False
    """Its breaker."""

    openings: int = 0

    def hear(self, event: events.Event) -> None:
        match event:
            case events.Requested():
                self._count(event)
            case events.LoggedIn():
                self.logins["ok"] += 1
            case events.Spent() if event.sent or event.waited:
                self.waits.add(event.waited)
            case events.PageCommitted():
                self.commits.add(event.seconds)
            case events.BreakerOpened():
                self.openings += not self.open
                self.open = True
            case events.BreakerClosed():
                self.open = False

    def _count(self, request: events.Requested) -> None:
        which = (request.purpose, request.outcome)
        self.requests[which] = self.requests.get(which, 0) + 1
        durations = self.durations.get(request.purpose)
        if durations is None:
            durations = self.durations[request.purpose] = Durations.of(kinds.REQUEST_DURATION)
        durations.add(request.seconds)
        self.denied += request.denied
        if request.purpose == "login" and request.outcome != "ok":
            self.logins["refused" if request.denied else "failed"] += 1


@attrs.define(eq=False)
class Tally:
    """All that was counted, of the streams that the config has."""

    streams: dict[StreamId, StreamTally] = attrs.field(factory=dict, init=False)
    sources: dict[str, SourceTally] = attrs.field(factory=dict, init=False)

    def follow(self, streams: Collection[StreamId]) -> None:
        """Count these streams from now on, and forget all others."""
        sources = dict.fromkeys(s.source for s in streams)
        self.streams = {s: self.streams.get(s) or StreamTally() for s in streams}
        self.sources = {s: self.sources.get(s) or SourceTally() for s in sources}

    def hear(self, event: events.Event) -> None:
        """Take in one event."""
        if (stream := self.streams.get(event.stream)) is not None:
            stream.hear(event)
        if (source := self.sources.get(event.stream.source)) is not None:
            source.hear(event)
