"""What is under way, and how are its spans made?

A cycle or an aside (`Work`) has a span from its begin on, and ends it last.  A page or a call
(`Part`) has an id from its begin on, for the spans below it, and a span when it ends.
"""

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

NANO = 1_000_000_000

Value = str | int | float | bool


class Ids(Protocol):
    """Where the tracer takes the ids of new spans from."""

    def give(self, span: int, trace: int | None = None) -> None:
        """The next span has this id; `trace`: and begins this trace."""

    def fresh(self) -> int:
        """An id that no span has yet."""


@attrs.define
class Part:
    """A page or a call whose span is still to be made."""

    id: int
    began: int
    """Nanoseconds since 1970."""

    requests: int = 0
    fields: dict[str, Value] = attrs.field(factory=dict)

    def by(self, began: int) -> "Part":
        """Itself, begun at the latest then."""
        self.began = min(self.began, began)
        return self


@attrs.define(eq=False, kw_only=True)
class Work:
    """A cycle or an aside that is under way."""

    tracer: Tracer
    ids: Ids
    clock: Callable[[], float]
    span: Span
    fields: Mapping[str, Value]
    """Of every span below its own."""

    wall: int
    """Nanoseconds that 1970 lies before our clock's zero: a step of the wall's clock moves no
    span against another of the same trace."""

    key: tuple[int | None, str] = (None, "")
    """Cycle and start."""

    fetching: int = 0
    """The page that is asked for next; 0 in an aside."""

    committing: int = 0
    pages: dict[int, Part] = attrs.field(factory=dict)
    calls: dict[str, Part] = attrs.field(factory=dict)
    """By record key."""

    def page(self, number: int, began: int) -> Part:
        """The page, begun at the latest then."""
        page = self.pages.get(number)
        if page is None:
            page = Part(self.ids.fresh(), began, fields={"syncd.page": number})
            self.pages[number] = page
        return page.by(began)

    def make(
        self,
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
        if id is not None:
            self.ids.give(id)
        span = self.tracer.start_span(
            name,
            set_span_in_context(self._above(of), Context()),
            kind=kind,
            attributes={**self.fields, **fields},
            start_time=began,
        )
        set_error(span, error)
        span.end(self.now())

    def _above(self, of: int | None) -> Span:
        if of is None:
            return self.span
        top = self.span.get_span_context()
        return NonRecordingSpan(
            SpanContext(
                top.trace_id,
                of,
                is_remote=False,
                trace_flags=top.trace_flags,
                trace_state=top.trace_state,
            )
        )

    def end_parts(self, error: str) -> None:
        """Make the spans of the pages and calls that will not be finished."""
        calls, self.calls = self.calls, {}
        pages, self.pages = self.pages, {}
        # Whose page a call was of is told with its answer alone.
        only = next(iter(pages.values())).id if len(pages) == 1 else None
        for name, parts, of in (("call", calls, only), ("page", pages, None)):
            for part in parts.values():
                fields = part.fields | {"syncd.unfinished": True}
                self.make(name, part.began, error, fields=fields, id=part.id, of=of)

    def end(self, error: str) -> None:
        """Make the spans of all that is left, and end its own."""
        self.end_parts(error)
        set_error(self.span, error)
        self.span.end(self.now())

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self.wall + round(self.clock() * NANO)

    def ago(self, seconds: float) -> int:
        """So long before now."""
        return self.now() - round(seconds * NANO)


def set_error(span: Span, kind: str) -> None:
    """No more than the kind: reasons are in the log, and hold what others have sent."""
    if kind:
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))
