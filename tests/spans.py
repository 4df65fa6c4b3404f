"""The listener that makes spans, with a provider that keeps them: for tests without a network."""

from collections.abc import Callable

import attrs
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from syncd.tracing.provider import GivenIds
from syncd.tracing.spans import Spans
from syncd.tracing.work import NANO

WALL = 1_700_000_000 * NANO


@attrs.define(eq=False)
class Kept:
    """What the listener has made so far."""

    spans: Spans
    _exporter: InMemorySpanExporter

    @classmethod
    def by(
        cls,
        clock: Callable[[], float],
        *,
        hide: Callable[[str], str] = str,
        sampler: Sampler = ALWAYS_ON,
    ) -> "Kept":
        ids, exporter = GivenIds(), InMemorySpanExporter()
        provider = TracerProvider(id_generator=ids, sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        spans = Spans(
            tracer=provider.get_tracer("test"),
            ids=ids,
            hide=hide,
            clock=clock,
            wall=lambda: WALL + round(clock() * NANO),
        )
        return cls(spans, exporter)

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name, or whose name begins with it, in the order of their end."""
        return [s for s in self.all if s.name == name or s.name.startswith(f"{name} ")]

    def below(self, span: ReadableSpan) -> list[ReadableSpan]:
        """The span's children."""
        own = id_of(span)
        return [s for s in self.all if s.parent is not None and s.parent.span_id == own]


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / NANO


def field(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)
