"""What does a person see while a cycle runs, and at its end?

On a terminal: one live line a stream, with pages and records done, what is being
waited for, and an arrival time computed from the budget.  Off a terminal: a plain
line for each page and for each trouble.  At the end, for both, a summary.
"""

import io
import math
import time
from collections.abc import Mapping
from typing import Any, TextIO

import attrs
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from syncd.errors import Draining, StreamBroken, SyncdError
from syncd.sync import events
from syncd.sync.context import StreamContext
from syncd.sync.model import Committed, Counts, StreamId
from syncd.views.words import percent, seconds

WIDEST = 400  # columns; no summary is wider
REFRESH = 0.25  # seconds between two pictures
GOES_ON = "  what is committed stays; the next run goes on from there"


@attrs.define(eq=False)
class View:
    """What is known of one stream, as its events told."""

    context: StreamContext
    totals: Counts = attrs.field(factory=Counts)
    pages: int = 0
    """Committed in this cycle."""

    total: int | None = None
    """Records that the API says it has."""

    page_size: int = 0
    """Records on the fullest page so far."""

    page_records: int = 0
    """Records on the page under way; 0 while it is being fetched."""

    page_calls: int = 0
    page_answered: int = 0
    retries: int = 0
    dead: int = 0
    state: str = "starting"
    wait_until: float = 0.0
    wait_why: str = ""
    ended: bool = False

    def hear(self, event: events.Event) -> None:  # noqa: C901, PLR0912 - one case an event
        """Take in one event."""
        match event:
            case events.CycleStarted(totals=totals, checkpoint=checkpoint):
                self.totals, self.pages = totals, checkpoint.pages
                self.state = "fetching"
            case events.PageFetched():
                self.total = event.total
                self.page_size = max(self.page_size, event.records)
                self.page_records, self.page_calls = event.records, event.calls
                self.page_answered = 0
                self.state = "calling" if event.calls else "writing"
            case events.PageCompared(page=page, totals=totals):
                self.total, self.totals, self.pages = event.total, totals, page
                self.page_size = max(self.page_size, event.records)
                self.state, self.ended = "fetching", event.last
            case events.CallAnswered():
                self.page_answered += 1
            case events.PageCommitted(totals=totals, checkpoint=checkpoint):
                self.totals = totals
                self.pages = checkpoint.pages or self.pages + 1
                self.page_records = self.page_calls = self.page_answered = 0
                self.state = "fetching"
            case events.Retrying():
                self.retries += 1
            case events.PutAside():
                self.dead += 1
            case events.CycleStopped(counts=counts):
                self.totals = self.totals.with_asked(counts)
            case events.CycleEnded(outcome=outcome, totals=totals):
                self.totals, self.ended = totals, True
                self.state = outcome
            case events.Parked():
                self.ended, self.state = True, "parked"
            case _:
                pass
        if isinstance(event, events.Waiting):
            self.wait_until = trio.current_time() + event.seconds
            self.wait_why = event.why
        elif isinstance(event, events.CallAnswered) and self.wait_why == "budget":
            pass  # answers come in while the next request waits for its token
        elif not isinstance(event, events.Retrying):
            self.wait_until = 0.0

    @property
    def asked(self) -> Counts:
        """What the cycle has come to, with what was asked for since its last commit."""
        return self.totals.with_asked(self.context.tally.counts())

    @property
    def done(self) -> int:
        """Records that have come to their end, those of the page under way included."""
        under_way = self.page_answered if self.page_calls else 0
        return self.totals.seen + under_way

    def requests_left(self) -> tuple[int, int] | None:
        """Pages and calls to the end of the cycle if nothing fails; None if that can't be told."""
        if self.total is None or not self.page_size:
            return None
        after = max(0, self.total - self.totals.seen - self.page_records)
        pages = math.ceil(after / self.page_size) + (0 if self.page_records else 1)
        calls = self.page_calls - self.page_answered
        if self.context.source.has_call and not self.context.only_changed:
            calls += after
        return pages, calls

    def arrival(self) -> float | None:
        """Seconds until the cycle can have ended, by the budget alone."""
        left = self.requests_left()
        return None if left is None else self.context.outlook(*left)

    def waiting(self) -> str:
        """What is being waited for, in words; empty when nothing is."""
        left = self.wait_until - trio.current_time()
        if left <= 0.05 or not self.wait_why:
            return ""
        what = {
            "budget": "budget: next token",
            "backoff": "retry",
            "hint": "the API asked to wait: next try",
            "database": "Postgres is away: next try",
            "api": "the API is failing: next probe",
        }[self.wait_why]
        return f"{what} in {seconds(left)}"

    def pages_text(self) -> str:
        """Such as `page 7 of 10`."""
        page = self.pages + (0 if self.ended else 1)
        if self.total is None or not self.page_size:
            return f"page {page}"
        return f"page {page} of {max(page, math.ceil(self.total / self.page_size))}"


def one_line(text: str, style: str = "") -> Text:
    """Text that is shown as it is: keys and reasons may hold line breaks and rich's markup."""
    # The indent of a continued verdict is ours.
    indent = text[: len(text) - len(text.lstrip(" "))]
    return Text(indent + " ".join(text.split()), style=style)


class _Screen(Console):
    """A console whose reader may go away, or whose disk may be full: the work goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True


@attrs.define(eq=False)
class Progress:
    """Shows the cycles of all streams while they run."""

    console: Console
    _views: dict[StreamId, View] = attrs.field(factory=dict, init=False)
    _started: float = attrs.field(factory=time.monotonic, init=False)

    @classmethod
    def on(cls, file: TextIO) -> "Progress":
        return cls(_Screen(file=file, highlight=False))

    def watch(self, context: StreamContext) -> None:
        """Show this stream as well."""
        self._views[context.id] = View(context)

    def hear(self, event: events.Event) -> None:
        """Take in one event; off a terminal, print what a person would want to know."""
        view = self._views.get(event.stream)
        if view is None:
            return
        view.hear(event)
        if not self.console.is_terminal:
            line = self._line(event, view)
            if line:
                self.console.print(one_line(line), soft_wrap=True)

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
        if not self.console.is_terminal:
            await trio.sleep_forever()
        # No refresh thread: the picture is drawn on the loop, between two steps.
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self._picture(), refresh=True)
                await trio.sleep(REFRESH)

    def _picture(self) -> Group:
        grid = Table.grid(padding=(0, 1))
        # One line a stream: of these nothing is cut, what follows may be.
        for justify in ("left", "left", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True)
        for stream, view in self._views.items():
            total = max(view.total or 0, view.done)
            bar = ProgressBar(
                total=max(total, 1), completed=view.done, width=16, pulse=view.total is None
            )
            # A total that is smaller than what came is a lie, and left out.
            known = view.total is not None and 0 < view.total >= view.done
            records = f"{view.done}/{view.total}" if known else f"{view.done}"
            grid.add_row(
                one_line(str(stream), style="bold"), bar, records, view.pages_text(), _aside(view)
            )
        waits = [w for v in self._views.values() if (w := v.waiting())]
        left = max((a for v in self._views.values() if (a := v.arrival())), default=None)
        elapsed = f"{seconds(time.monotonic() - self._started)} gone"
        ahead = f", at the earliest {seconds(left)} to go" if left else ""
        foot = f"{elapsed}{ahead}" + (f" · {waits[0]}" if waits else "")
        return Group(grid, Text(foot, style="dim"))

    def note(self, line: str) -> None:
        """Say something above the picture."""
        self.console.print(one_line(line), soft_wrap=True)

    def summary(self, results: Mapping[StreamId, Committed | SyncdError], took: float) -> None:
        """Print what every stream came to."""
        table = Table(box=None, pad_edge=False)
        table.add_column("stream")
        names = [
            *("records", "written", "unchanged", "left out", "dead", "success"),
            *("requests", "retries", "429s", "duration"),
        ]
        for name in names:
            table.add_column(name, justify="right")
        for stream, view in self._views.items():
            result = results.get(stream)
            totals = result.totals if isinstance(result, Committed) else view.asked
            rate = percent(totals.success)
            cells = (totals.seen, totals.written, totals.unchanged, totals.left_out, totals.dead)
            asked = (totals.requests, totals.retried, totals.refused)
            table.add_row(
                one_line(str(stream)), *map(str, cells), rate, *map(str, asked), seconds(took)
            )
        # Its natural width: a log wants whole rows, a narrow terminal wraps them itself.
        wide = Console(width=WIDEST, file=io.StringIO(), color_system=None)
        with wide.capture() as captured:
            wide.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        if self.console.is_terminal and max(map(len, lines)) > self.console.width:
            lines = []
            for stream, view in self._views.items():
                result = results.get(stream)
                totals = result.totals if isinstance(result, Committed) else view.asked
                lines += _in_words(str(stream), totals, took)
        for line in lines:
            self.console.print(Text(line), soft_wrap=True)
        for stream, result in results.items():
            if isinstance(result, Committed) and stream in self._views:
                there = self._views[stream].context.table
                self.note(f"{stream}: its rows are in table {there.schema}.{there.name}")
            for line in _verdict(stream, result):
                self.console.print(one_line(line), soft_wrap=True)


def _in_words(name: str, counts: Counts, took: float) -> list[str]:
    ends = f"{counts.written} written, {counts.unchanged} unchanged, {counts.left_out} left out"
    asked = f"{counts.requests} requests, {counts.retried} retries, {counts.refused} 429s"
    return [
        str(one_line(name)),
        f"  {counts.seen} records: {ends}, {counts.dead} dead",
        f"  {asked}, {seconds(took)}",
    ]


def _aside(view: View) -> Text:
    # The wait first: a narrow terminal cuts the end off.
    parts = [view.waiting() or view.state]
    if view.page_calls:
        parts.append(f"{view.page_answered}/{view.page_calls} calls")
    if view.retries:
        parts.append("1 retry" if view.retries == 1 else f"{view.retries} retries")
    if view.dead:
        parts.append(f"{view.dead} dead")
    return Text(" · ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")


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
