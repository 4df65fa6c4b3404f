"""What does a person see while a cycle runs, and at its end?

On a terminal: one live line a stream, with pages and records done, what is being
waited for, and an arrival time computed from the budget.  Off a terminal: a plain
line for each page and for each trouble.  At the end, for both, a summary.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

import attrs
import trio

from syncd.errors import Draining, StreamBroken, SyncdError
from syncd.progress.view import View
from syncd.sync import events
from syncd.sync.context import StreamContext
from syncd.sync.model import Committed, Counts, StreamId
from syncd.views.words import one_line, percent, seconds, wide

GOES_ON = "  what is committed stays; the next run goes on from there"


class Paper(Protocol):
    """Where it is shown."""

    @property
    def width(self) -> int | None:
        """A terminal's columns; None off a terminal, where each event is a line."""

    def say(self, line: str) -> None:
        """Print a line."""

    async def draw(self, views: Mapping[StreamId, View]) -> None:
        """Keep a picture fresh, until cancelled."""


@attrs.define(eq=False)
class Pipe:
    """A file or a pipe.  Its reader may go away, or the disk be full: the work goes on."""

    _file: TextIO
    _gone: bool = attrs.field(default=False, init=False)
    width: None = attrs.field(default=None, init=False)

    def say(self, line: str) -> None:
        if self._gone:
            return
        try:
            print(line, file=self._file, flush=True)
        except OSError:
            self._gone = True

    async def draw(self, _: Mapping[StreamId, View]) -> None:
        await trio.sleep_forever()


@attrs.define(eq=False)
class Progress:
    """Shows the cycles of all streams while they run."""

    _paper: Paper
    _views: dict[StreamId, View] = attrs.field(factory=dict, init=False)

    @classmethod
    def on(cls, file: TextIO) -> "Progress":
        if not file.isatty():
            return cls(Pipe(file))
        from syncd.progress.drawn import Terminal  # noqa: PLC0415 - rich costs 4 MiB

        return cls(Terminal.of(file))

    def watch(self, context: StreamContext) -> None:
        """Show this stream as well."""
        self._views[context.id] = View(context)

    def hear(self, event: events.Event) -> None:
        """Take in one event; off a terminal, print what a person would want to know."""
        view = self._views.get(event.stream)
        if view is None:
            return
        view.hear(event)
        if self._paper.width is None:
            line = self._line(event, view)
            if line:
                self._paper.say(one_line(line))

    def _line(self, event: events.Event, view: View) -> str:
        name = f"{event.stream}: "
        match event:
            case events.CycleStarted(checkpoint=checkpoint):
                if checkpoint.pages:
                    return f"{name}taking cycle {checkpoint.cycle} up after page {checkpoint.pages}"
                gave_up = f"; the one before was given up: {event.abandoned}"
                return f"{name}cycle {checkpoint.cycle} begins" + gave_up * bool(event.abandoned)
            case events.PageCommitted() | events.PageCompared():
                return name + _page(event, view)
            case events.Retrying():
                what = f"call {event.key}" if event.key else "list request"
                return f"{name}{what}, try {event.attempt} failed: {event.reason}"
            case events.Waiting() if event.seconds >= 1 or event.why in ("hint", "database"):
                return f"{name}{view.waiting()}" + (f" ({event.reason})" if event.reason else "")
            case events.PutAside(alert=True):
                return f"{name}put aside {event.key or 'a record without key'}: {event.reason}"
            case events.LeftOut(alert=True):
                return f"{name}left out {event.key}: {event.reason}"
            case events.Reconciled():
                return f"{name}{event.found.words}"
            case events.Parked():
                return f"{name}parked: {event.reason}. {event.hint}"
            case _:
                return ""

    async def run(self) -> None:
        """Keep the picture fresh; ends by being cancelled, with the last state on screen."""
        await self._paper.draw(self._views)

    def note(self, line: str) -> None:
        """Say something above the picture."""
        self._paper.say(one_line(line))

    def summary(self, results: Mapping[StreamId, Committed | SyncdError], took: float) -> None:
        """Print what every stream came to."""
        titles = [
            *("stream", "records", "written", "unchanged", "left out", "dead", "success"),
            *("requests", "retries", "429s", "duration"),
        ]
        rows = []
        for stream, view in self._views.items():
            totals = _totals(view, results.get(stream))
            counts = (totals.seen, totals.written, totals.unchanged, totals.left_out, totals.dead)
            asked = (totals.requests, totals.retried, totals.refused)
            rate = percent(totals.success)
            rows.append(
                [one_line(str(stream)), *map(str, counts), rate, *map(str, asked), seconds(took)]
            )
        # Its natural width: a log wants whole rows, a narrow terminal wraps them itself.
        lines = _table([titles, *rows])
        if self._paper.width is not None and max(map(wide, lines)) > self._paper.width:
            lines = []
            for stream, view in self._views.items():
                lines += _in_words(str(stream), _totals(view, results.get(stream)), took)
        for line in lines:
            self._paper.say(line)
        for stream, result in results.items():
            if isinstance(result, Committed) and stream in self._views:
                there = self._views[stream].context.table
                self.note(f"{stream}: its rows are in table {there.schema}.{there.name}")
            for line in _verdict(stream, result):
                self._paper.say(one_line(line))


def _totals(view: View, result: Committed | SyncdError | None) -> Counts:
    return result.totals if isinstance(result, Committed) else view.asked


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns beneath each other; the first holds names, the others numbers."""
    first, *others = [max(map(wide, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers in rows:
        cells = [name + " " * (first - wide(name))]
        cells += [number.rjust(most) for number, most in zip(numbers, others, strict=True)]
        lines.append("  ".join(cells))
    return lines


def _in_words(name: str, counts: Counts, took: float) -> list[str]:
    ends = f"{counts.written} written, {counts.unchanged} unchanged, {counts.left_out} left out"
    asked = f"{counts.requests} requests, {counts.retried} retries, {counts.refused} 429s"
    return [
        one_line(name),
        f"  {counts.seen} records: {ends}, {counts.dead} dead",
        f"  {asked}, {seconds(took)}",
    ]


def _verdict(stream: StreamId, result: Committed | SyncdError) -> list[str]:
    if isinstance(result, Committed):
        dead = result.totals.dead
        lines = [f"{stream}: suspicious: {result.reason}"] if result.outcome == "suspicious" else []
        if result.outcome is None:
            lines = [f"{stream}: not finished: interrupted", GOES_ON]
        if dead:
            lines.append(
                f"{stream}: {dead} dead letter{'' if dead == 1 else 's'}, "
                "kept with the reason; see `syncd dead list`"
            )
        return lines
    reason = "interrupted" if isinstance(result, Draining) else getattr(result, "reason", result)
    lines = [f"{stream}: not finished: {reason}"]
    if isinstance(result, StreamBroken) and result.hint:
        lines.append(f"  {result.hint}")
    lines.append(GOES_ON)
    return lines


def _page(event: events.PageCommitted | events.PageCompared, view: View) -> str:
    if isinstance(event, events.PageCompared):
        what, last = "compared", event.last
    else:
        what, last = "committed", event.checkpoint.cycle is None
    arrival = None if last else view.arrival()
    ahead = f", at the earliest done in {seconds(arrival)}" if arrival else ""
    return f"page {view.pages} {what}, {view.totals.seen} records{ahead}"
