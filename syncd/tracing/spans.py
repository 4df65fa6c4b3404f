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
A child may end before its parent is made, so ids are given out beforehand (`work`).

A cycle's trace id, and the id of its own span, are made of stream, cycle and start: whoever
takes the cycle up after a crash adds to the same trace, and the one who ends it exports its
span: once, unless Postgres is restored to a time before that end.
"""

import hashlib
import time
from collections.abc import Callable, Mapping

import attrs
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer

from syncd.sync import events
from syncd.sync.clocks import boot_time
from syncd.sync.model import Checkpoint, StreamId, spoken
from syncd.tracing.work import NANO, Ids, Part, Value, Work, set_error

LONGEST_KEY = 128  # characters of a record's key


@attrs.define(eq=False, kw_only=True)
class Spans:
    """Makes spans of what it hears."""

    tracer: Tracer
    ids: Ids
    hide: Callable[[str], str] = str
    """Takes secrets out of a text: an API may send ours back as a record's key."""

    clock: Callable[[], float] = boot_time
    wall: Callable[[], int] = time.time_ns
    _cycles: dict[StreamId, Work] = attrs.field(factory=dict, init=False)
    _asides: dict[StreamId, Work] = attrs.field(factory=dict, init=False)

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

    def _work(self, stream: StreamId) -> Work | None:
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
            before.end_parts("")  # it is asked for anew
        work = before or self._cycle(at)
        work.fetching = work.committing = at.pages + 1
        self._cycles[stream] = work

    def _cycle(self, at: Checkpoint) -> Work:
        more: dict[str, Value] = {}
        if at.follows is not None:
            more["syncd.cycle.follows"] = at.follows
        taken_up = at.pages or at.resumed
        if taken_up:
            more["syncd.cycle.taken_up"] = True
        self.ids.give(*_ids(at))
        fields = {**_of(at.stream), "syncd.cycle": at.cycle or 0}
        began = _start(at) if taken_up else None
        work = self._begun(f"cycle {at.stream}", fields, more, began)
        work.key = at.cycle, at.started
        return work

    def _begun(
        self, name: str, fields: Mapping[str, Value], more: Mapping[str, Value], began: int | None
    ) -> Work:
        """A trace of its own; None: it begins now.  All its spans have the `fields`."""
        now, clock = self.wall(), self.clock()
        span = self.tracer.start_span(
            name,
            Context(),
            attributes={**fields, **more},
            start_time=now if began is None else min(began, now),
        )
        return Work(
            tracer=self.tracer,
            ids=self.ids,
            clock=self.clock,
            span=span,
            fields=fields,
            wall=now - round(clock * NANO),
        )

    def _cycle_ended(self, work: Work, event: events.CycleEnded) -> None:
        for name, count in attrs.asdict(event.totals).items():
            work.span.set_attribute(f"syncd.{name}", count)
        work.span.set_attribute("syncd.outcome", event.outcome)
        self._end_cycle(event.stream, work, "" if event.outcome == "ok" else event.outcome)

    def _end_cycle(self, stream: StreamId, work: Work, error: str) -> None:
        work.end(error)
        self._cycles.pop(stream, None)

    def _broke_off(self, stream: StreamId, error: str) -> None:
        """The stream has stopped; the cycle goes on some other time."""
        work = self._cycles.get(stream)
        if work is None:
            return
        work.end_parts(error)
        if error:
            work.span.add_event("broke off", {"error.type": error}, work.now())

    # --- pages --------------------------------------------------------------------------------

    def _page_fetched(self, work: Work, event: events.PageFetched) -> None:
        told: dict[str, Value] = {
            "syncd.page.records": event.records,
            "syncd.page.calls": event.calls,
        }
        if event.page == 0:
            for name, value in told.items():
                work.span.set_attribute(name, value)
            return
        page = work.page(event.page, work.ago(event.seconds))
        page.fields |= told
        work.fetching = event.page + 1

    def _page_committed(self, work: Work, event: events.PageCommitted) -> None:
        number, began = work.committing, work.ago(event.seconds)
        page = work.page(number, began)
        del work.pages[number]
        work.committing += 1
        self._commit(work, began, {"syncd.page": number}, of=page.id)
        work.make("page", page.began, fields=page.fields, id=page.id)

    def _commit(
        self, work: Work, began: int, fields: Mapping[str, Value], of: int | None = None
    ) -> None:
        kind = SpanKind.CLIENT
        told = {**fields, "db.system.name": "postgresql"}
        work.make("commit", began, fields=told, of=of, kind=kind)

    # --- requests and calls ---------------------------------------------------------------------

    def _requested(self, event: events.Requested) -> None:
        work = self._work(event.stream)
        if work is None:
            self._lonely(event)
            return
        began = work.ago(event.seconds)
        part = self._part_of(work, event, began)
        fields = _http(event)
        if part is not None:
            fields |= part.fields
            if part.requests and event.purpose != "verify":
                fields["http.request.resend_count"] = part.requests
            part.requests += event.purpose != "verify"
        of = None if part is None else part.id
        error, kind = _failed(event), SpanKind.CLIENT
        work.make(event.method, began, error, fields=fields, of=of, kind=kind)

    def _part_of(self, work: Work, event: events.Requested, began: int) -> Part | None:
        """What the request was made for; None: for the cycle, or the aside, as a whole."""
        if event.key is not None:
            return self._call(work, event.key, began)
        # Of one stream one page is asked for at a time.
        if event.purpose == "list" and work.fetching:
            return work.page(work.fetching, began)
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
        set_error(span, _failed(event))
        span.end(now)

    def _call(self, work: Work, key: str, began: int) -> Part:
        call = work.calls.get(key)
        if call is None:
            call = Part(self.ids.fresh(), began, fields=self._about(key))
            work.calls[key] = call
        return call.by(began)

    def _call_answered(self, work: Work, event: events.CallAnswered) -> None:
        began = work.ago(event.seconds)
        call = self._call(work, event.key, began)
        del work.calls[event.key]
        of = None
        if event.page and work.fetching:
            of = work.page(event.page, began).id
            call.fields["syncd.page"] = event.page
        error = "" if event.ok else event.kind or "call-failed"
        work.make("call", call.began, error, fields=call.fields, id=call.id, of=of)

    # --- out of turn ----------------------------------------------------------------------------

    def _aside_began(self, event: events.AsideBegan) -> None:
        before = self._asides.pop(event.stream, None)
        if before is not None:
            before.end("abandoned")
        self._asides[event.stream] = self._begun(
            f"aside {event.stream}", _of(event.stream), {"syncd.aside": event.what}, None
        )

    def _aside_ended(self, event: events.AsideEnded) -> None:
        work = self._asides.pop(event.stream, None)
        if work is None:
            return
        if event.commit is not None:
            self._commit(work, work.ago(event.commit), {})
        # Nothing failed where syncd leaves.
        work.end("" if event.kind == "Draining" else event.kind)

    def _about(self, key: str) -> dict[str, Value]:
        text = self.hide(spoken(key))
        # A lone surrogate would cost the whole batch.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        short = text if len(text) <= LONGEST_KEY else text[: LONGEST_KEY - 1] + "…"
        return {"syncd.record.key": short}


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


def _ids(at: Checkpoint) -> tuple[int, int]:
    """Of the cycle's span, and of its trace: the same for whoever runs it."""
    named = (at.stream.source, at.stream.stream, str(at.cycle), at.started)
    digest = hashlib.sha256("\x1f".join(named).encode()).digest()
    # Zero is no id; nobody has to fear it, and a hash that is zero costs nothing to avoid.
    return int.from_bytes(digest[16:24]) or 1, int.from_bytes(digest[:16]) or 1


def _start(at: Checkpoint) -> int | None:
    """When the cycle was begun, by Postgres's clock; None if that can't be told."""
    try:
        return round(float(at.started) * NANO)
    except (ValueError, OverflowError):
        return None
