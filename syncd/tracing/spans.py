"""Which spans do the loop's events make?

    cycle                 begun with the cycle, exported with its end
    ├── page              from its first request to its commit
    │   ├── GET           each try of its list request
    │   ├── call          of one record, waits and further tries included
    │   │   └── POST      each try
    │   └── commit
    └── POST              a login
    aside                 records looked after out of turn: a trace of its own, made alike

Spans are made after the fact: an event tells what has ended and how many seconds it took.
A child may end before its parent is made, so ids are given out beforehand (`Ids`).

A cycle's trace id, and the id of its own span, are made of stream, cycle and start: whoever
takes the cycle up after a crash adds to the same trace, and the one who ends it exports its
span: once, unless Postgres is restored to a time before that end.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)

from syncd.sync import events
from syncd.sync.clocks import boot_time
from syncd.sync.model import Checkpoint, StreamId, spoken

LONGEST_KEY = 128  # characters of a record's key
NANO = 1_000_000_000

Value = str | int | float | bool


class Ids(Protocol):
    """Where the tracer takes the ids of new spans from."""

    def give(self, span: int, trace: int | None = None) -> None:
        """The next span has this id; `trace`: and begins this trace."""

    def fresh(self) -> int:
        """An id that no span has yet."""


@attrs.define
class _Part:
    """A page or a call whose span is still to be made."""

    id: int
    began: int
    """Nanoseconds since 1970."""

    requests: int = 0
    fields: dict[str, Value] = attrs.field(factory=dict)


@attrs.define(kw_only=True)
class _Work:
    """A cycle or an aside that is under way."""

    span: Span
    fields: Mapping[str, Value]
    wall: int
    """Nanoseconds that 1970 lies before our clock's zero: a step of the wall's clock moves no
    span against another of the same trace."""

    key: tuple[int | None, str] = (None, "")
    """Cycle and start."""

    fetching: int = 0
    """The page that is asked for next; 0 in an aside."""

    committing: int = 0
    pages: dict[int, _Part] = attrs.field(factory=dict)
    calls: dict[str, _Part] = attrs.field(factory=dict)
    """By record key."""


@attrs.define(eq=False, kw_only=True)
class Spans:
    """Makes spans of what it hears."""

    tracer: Tracer
    ids: Ids
    hide: Callable[[str], str] = str
    """Takes secrets out of a text: an API may send ours back as a record's key."""

    clock: Callable[[], float] = boot_time
    wall: Callable[[], int] = time.time_ns
    _cycles: dict[StreamId, _Work] = attrs.field(factory=dict, init=False)
    _asides: dict[StreamId, _Work] = attrs.field(factory=dict, init=False)

    def hear(self, event: events.Event) -> None:
        """Take in one event of the loop."""
        match event:
            case events.CycleStarted():
                self._cycle_started(event)
            case events.AsideBegan():
                self._aside_began(event)
            case events.AsideEnded():
                self._aside_ended(event)
            case events.Requested():
                self._requested(event)
            case events.Failing() | events.Parked():
                self._broke_off(event.stream, event.kind or type(event).__name__)
            case events.WentBack():
                self._broke_off(event.stream, "StoreWentBack")
            case _:
                self._in_a_cycle(event)

    def _in_a_cycle(self, event: events.Event) -> None:
        of_cycle = isinstance(event, events.PageCommitted | events.CycleEnded)
        work = self._cycles.get(event.stream) if of_cycle else self._work(event.stream)
        if work is None:
            return
        match event:
            case events.PageFetched():
                self._page_fetched(work, event)
            case events.CallAnswered():
                self._call_answered(work, event)
            case events.PageCommitted():
                self._page_committed(work, event)
            case events.CycleEnded():
                self._cycle_ended(work, event)

    def _work(self, stream: StreamId) -> _Work | None:
        return self._asides.get(stream) or self._cycles.get(stream)

    def leave(self) -> None:
        """Nothing more is heard; make the spans of what was begun, but for the cycles' own."""
        for stream in self._cycles:
            self._broke_off(stream, "")

    # --- cycles -------------------------------------------------------------------------------

    def _cycle_started(self, event: events.CycleStarted) -> None:
        at, stream = event.checkpoint, event.stream
        before = self._cycles.get(stream)
        if before is not None and before.key != (at.cycle, at.started):
            self._end_cycle(stream, before, "abandoned")
            before = None
        if before is not None:
            self._end_parts(before, "")  # it is asked for anew
        work = before or self._cycle(at)
        work.fetching = work.committing = at.pages + 1
        self._cycles[stream] = work

    def _cycle(self, at: Checkpoint) -> _Work:
        fields: dict[str, Value] = {**_of(at.stream), "syncd.cycle": at.cycle or 0}
        if at.follows is not None:
            fields["syncd.cycle.follows"] = at.follows
        if at.pages or at.resumed:
            fields["syncd.cycle.taken_up"] = True
        now, wall = self.wall(), self.clock()
        began = min(_start(at, now) if at.pages or at.resumed else now, now)
        self.ids.give(*_ids(at))
        span = self.tracer.start_span(
            f"cycle {at.stream}", Context(), attributes=fields, start_time=began
        )
        return _Work(
            span=span,
            fields={**_of(at.stream), "syncd.cycle": at.cycle or 0},
            wall=now - round(wall * NANO),
            key=(at.cycle, at.started),
        )

    def _cycle_ended(self, work: _Work, event: events.CycleEnded) -> None:
        for name, count in attrs.asdict(event.totals).items():
            work.span.set_attribute(f"syncd.{name}", count)
        work.span.set_attribute("syncd.outcome", event.outcome)
        self._end_cycle(event.stream, work, "" if event.outcome == "ok" else event.outcome)

    def _end_cycle(self, stream: StreamId, work: _Work, error: str) -> None:
        self._end_parts(work, error)
        _set_error(work.span, error)
        work.span.end(self._now(work))
        self._cycles.pop(stream, None)

    def _broke_off(self, stream: StreamId, error: str) -> None:
        """The stream has stopped; the cycle goes on some other time."""
        work = self._cycles.get(stream)
        if work is None:
            return
        self._end_parts(work, error)
        if error:
            work.span.add_event("broke off", {"error.type": error}, self._now(work))

    def _end_parts(self, work: _Work, error: str) -> None:
        """Make the spans of the pages and calls that will not be finished."""
        calls, work.calls = work.calls, {}
        pages, work.pages = work.pages, {}
        # Whose page a call was of is told with its answer alone.
        only = next(iter(pages.values())).id if len(pages) == 1 else None
        for name, parts, of in (("call", calls, only), ("page", pages, None)):
            for part in parts.values():
                fields = part.fields | {"syncd.unfinished": True}
                self._make(work, name, part.began, error, fields=fields, id=part.id, of=of)

    # --- pages --------------------------------------------------------------------------------

    def _page_fetched(self, work: _Work, event: events.PageFetched) -> None:
        told: dict[str, Value] = {
            "syncd.page.records": event.records,
            "syncd.page.calls": event.calls,
        }
        if event.page == 0:
            for name, value in told.items():
                work.span.set_attribute(name, value)
            return
        page = self._page(work, event.page, self._ago(work, event.seconds))
        page.fields |= told
        work.fetching = event.page + 1

    def _page_committed(self, work: _Work, event: events.PageCommitted) -> None:
        number, began = work.committing, self._ago(work, event.seconds)
        page = self._page(work, number, began)
        del work.pages[number]
        work.committing += 1
        self._commit(work, began, {"syncd.page": number}, of=page.id)
        self._make(work, "page", page.began, fields=page.fields, id=page.id)

    def _page(self, work: _Work, number: int, began: int) -> _Part:
        """The page, begun at the latest then."""
        page = work.pages.get(number)
        if page is None:
            page = _Part(self.ids.fresh(), began, fields={"syncd.page": number})
            work.pages[number] = page
        page.began = min(page.began, began)
        return page

    def _commit(
        self, work: _Work, began: int, fields: Mapping[str, Value], of: int | None = None
    ) -> None:
        kind = SpanKind.CLIENT
        told = {**fields, "db.system.name": "postgresql"}
        self._make(work, "commit", began, fields=told, of=of, kind=kind)

    # --- requests and calls ---------------------------------------------------------------------

    def _requested(self, event: events.Requested) -> None:
        work = self._work(event.stream)
        if work is None:
            self._lonely(event)
            return
        began = self._ago(work, event.seconds)
        part = self._part_of(work, event, began)
        fields = _http(event) | (self._about(event.key) if event.key is not None else {})
        if part is not None:
            fields |= {n: v for n, v in part.fields.items() if n == "syncd.page"}
            if part.requests and event.purpose != "verify":
                fields["http.request.resend_count"] = part.requests
            part.requests += event.purpose != "verify"
        of = None if part is None else part.id
        error, kind = _failed(event), SpanKind.CLIENT
        self._make(work, event.method, began, error, fields=fields, of=of, kind=kind)

    def _part_of(self, work: _Work, event: events.Requested, began: int) -> _Part | None:
        """What the request was made for; None: for the cycle, or the aside, as a whole."""
        if event.key is not None:
            return self._call(work, event.key, began)
        # Of one stream one page is asked for at a time.
        if event.purpose == "list" and work.fetching:
            return self._page(work, work.fetching, began)
        return None

    def _lonely(self, event: events.Requested) -> None:
        """A request while nothing is under way: a login, or one for a look at the list."""
        now = self.wall()
        span = self.tracer.start_span(
            event.method,
            Context(),
            kind=SpanKind.CLIENT,
            attributes={**_of(event.stream), **_http(event)},
            start_time=now - round(event.seconds * NANO),
        )
        _set_error(span, _failed(event))
        span.end(now)

    def _call(self, work: _Work, key: str, began: int) -> _Part:
        call = work.calls.get(key)
        if call is None:
            call = _Part(self.ids.fresh(), began, fields=self._about(key))
            work.calls[key] = call
        call.began = min(call.began, began)
        return call

    def _call_answered(self, work: _Work, event: events.CallAnswered) -> None:
        began = self._ago(work, event.seconds)
        call = self._call(work, event.key, began)
        del work.calls[event.key]
        of = None
        if event.page and work.fetching:
            of = self._page(work, event.page, began).id
            call.fields["syncd.page"] = event.page
        error = "" if event.ok else event.kind or "call-failed"
        self._make(work, "call", call.began, error, fields=call.fields, id=call.id, of=of)

    # --- out of turn ----------------------------------------------------------------------------

    def _aside_began(self, event: events.AsideBegan) -> None:
        before = self._asides.pop(event.stream, None)
        if before is not None:
            self._end_aside(before, "abandoned")
        now, clock = self.wall(), self.clock()
        fields: dict[str, Value] = {**_of(event.stream), "syncd.aside": event.what}
        span = self.tracer.start_span(
            f"aside {event.stream}", Context(), attributes=fields, start_time=now
        )
        self._asides[event.stream] = _Work(
            span=span, fields=_of(event.stream), wall=now - round(clock * NANO)
        )

    def _aside_ended(self, event: events.AsideEnded) -> None:
        work = self._asides.pop(event.stream, None)
        if work is None:
            return
        if event.commit is not None:
            self._commit(work, self._ago(work, event.commit), {})
        # Nothing failed where syncd leaves.
        self._end_aside(work, "" if event.kind == "Draining" else event.kind)

    def _end_aside(self, work: _Work, error: str) -> None:
        self._end_parts(work, error)
        _set_error(work.span, error)
        work.span.end(self._now(work))

    # --- one span -------------------------------------------------------------------------------

    def _make(
        self,
        work: _Work,
        name: str,
        began: int,
        error: str = "",
        *,
        fields: Mapping[str, Value],
        of: int | None = None,
        id: int | None = None,  # noqa: A002 - what it is called
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        """A span that ends now, below the work's own or the one with the id `of`."""
        top = work.span.get_span_context()
        parent: Span = work.span
        if of is not None:
            above = SpanContext(
                top.trace_id,
                of,
                is_remote=False,
                trace_flags=top.trace_flags,
                trace_state=top.trace_state,
            )
            parent = NonRecordingSpan(above)
        if id is not None:
            self.ids.give(id)
        span = self.tracer.start_span(
            name,
            set_span_in_context(parent, Context()),
            kind=kind,
            attributes={**work.fields, **fields},
            start_time=began,
        )
        _set_error(span, error)
        span.end(self._now(work))

    def _about(self, key: str) -> dict[str, Value]:
        text = self.hide(spoken(key))
        # A lone surrogate would cost the whole batch.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        short = text if len(text) <= LONGEST_KEY else text[: LONGEST_KEY - 1] + "…"
        return {"syncd.record.key": short}

    def _now(self, work: _Work) -> int:
        return work.wall + round(self.clock() * NANO)

    def _ago(self, work: _Work, seconds: float) -> int:
        return self._now(work) - round(seconds * NANO)


def _of(stream: StreamId) -> dict[str, Value]:
    return {"syncd.source": stream.source, "syncd.stream": stream.stream}


def _http(event: events.Requested) -> dict[str, Value]:
    """By the semantic conventions for HTTP clients, but for the address: it may hold a secret."""
    fields: dict[str, Value] = {
        "http.request.method": event.method,
        "syncd.purpose": event.purpose,
    }
    if event.server:
        fields |= {"server.address": event.server, "server.port": event.port}
    if event.status is not None:
        fields["http.response.status_code"] = event.status
    return fields


def _failed(event: events.Requested) -> str:
    """What went wrong, in a word of few; empty if nothing did."""
    if event.status is None:
        return event.trouble or "lost"
    return str(event.status) if event.status >= 400 else ""


def _set_error(span: Span, kind: str) -> None:
    """No more than the kind: reasons are in the log, and hold what others have sent."""
    if kind:
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))


def _ids(at: Checkpoint) -> tuple[int, int]:
    """Of the cycle's span, and of its trace: the same for whoever runs it."""
    named = (at.stream.source, at.stream.stream, str(at.cycle), at.started)
    digest = hashlib.sha256("\x1f".join(named).encode()).digest()
    # Zero is no id; nobody has to fear it, and a hash that is zero costs nothing to avoid.
    return int.from_bytes(digest[16:24]) or 1, int.from_bytes(digest[:16]) or 1


def _start(at: Checkpoint, now: int) -> int:
    """When the cycle was begun, by Postgres's clock; now if that can't be told."""
    try:
        return round(float(at.started) * NANO)
    except (ValueError, OverflowError):
        return now
