"""How far is one stream's cycle, as its events told?"""

import math

import attrs
import trio

from syncd.sync import events
from syncd.sync.context import StreamContext
from syncd.sync.model import Counts
from syncd.views.words import seconds


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
