"""How is the SDK set up?  By the standard variables, which it reads itself.

It is no global provider: nothing else in this process makes spans by it.
"""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points

import attrs
import trio
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from syncd import __version__, logs
from syncd.sync import events
from syncd.tracing.delivery import Delivery, Heard
from syncd.tracing.spans import Spans

GROUP = "opentelemetry_traces_exporter"
GOODBYE = 2.0  # seconds in which the last spans are sent while syncd leaves


class GivenIds(RandomIdGenerator):
    """Gives a span the id that was meant for it, else a random one.

    The loop alone makes spans, so that nobody else takes an id that was given.
    """

    def __init__(self) -> None:
        self._span: int | None = None
        self._trace: int | None = None

    def give(self, span: int, trace: int | None = None) -> None:
        self._span, self._trace = span, trace

    def fresh(self) -> int:
        return super().generate_span_id()

    def generate_span_id(self) -> int:
        given, self._span = self._span, None
        return super().generate_span_id() if given is None else given

    def generate_trace_id(self) -> int:
        given, self._trace = self._trace, None
        return super().generate_trace_id() if given is None else given

    def is_trace_id_random(self) -> bool:
        return False


@attrs.define(eq=False, kw_only=True)
class Traces:
    """Makes spans of the loop's events, and sends them."""

    _spans: Spans
    _provider: TracerProvider
    _deliveries: list[Delivery]
    _broken: bool = attrs.field(default=False, init=False)

    def hear(self, event: events.Event) -> None:
        """Take in one event; never raises."""
        if self._broken:
            return
        try:
            self._spans.hear(event)
        except Exception as error:  # noqa: BLE001 - a sampler's or a processor's, or ours
            self._broken = True
            logs.no_traces(f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """Send what is still to be sent, but don't wait for a collector that is away."""
        if not self._broken:
            self._spans.leave()
        for delivery in self._deliveries:
            delivery.leave()
        if not any(delivery.works for delivery in self._deliveries):
            return
        with trio.move_on_after(GOODBYE, shield=True):
            # Its threads are daemons: what hangs in one ends with the process.
            await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)


def provided(exporters: Sequence[str]) -> Traces:
    """The SDK with these exporters; ImportError if a package is missing."""
    heard = Heard()
    heard.listen()
    ids = GivenIds()
    provider = TracerProvider(
        resource=_resource(),
        id_generator=ids,
        # At the end of the process nobody is to wait for a collector.
        shutdown_on_exit=False,
    )
    deliveries = []
    for name in exporters:
        delivery = Delivery(
            _exporter(name),
            heard,
            lost=partial(logs.spans_lost, name),
            taken=partial(logs.spans_taken, name),
        )
        deliveries.append(delivery)
        provider.add_span_processor(BatchSpanProcessor(delivery))
    tracer = provider.get_tracer("syncd", __version__)
    spans = Spans(tracer=tracer, ids=ids, hide=logs.hidden)
    return Traces(spans=spans, provider=provider, deliveries=deliveries)


def _exporter(name: str) -> SpanExporter:
    for found in entry_points(group=GROUP, name=name):
        made: SpanExporter = found.load()()
        return made
    raise ModuleNotFoundError(f"the exporter {name}", name=f"the exporter {name}")


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and our name if they name none."""
    said = Resource.create()
    named = dict(said.attributes)
    if str(named.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        named[SERVICE_NAME] = "syncd"
    return Resource({SERVICE_VERSION: __version__, **named}, said.schema_url)
