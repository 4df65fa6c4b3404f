"""When spans are made at all, and what is said of those that don't arrive."""

import logging
from collections.abc import Callable, Iterator, Sequence

import attrs
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from syncd.tracing.delivery import AGAIN, LONGEST, Delivery, Heard
from syncd.tracing.environment import exporters, secrets

HTTP = "otlp_proto_http"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"OTEL_TRACES_EXPORTER": ""}, ()),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, (HTTP,)),
        ({"OTEL_TRACES_EXPORTER": " otlp, console,otlp"}, (HTTP, "console")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, (HTTP,)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, ()),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, (HTTP,)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "True"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "1"}, (HTTP,)),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ("otlp_proto_grpc",),
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            (HTTP,),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            ("otlp by http/json",),
        ),
    ],
)
def test_the_environment_asks(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    """By an exporter or an endpoint, and not if it says otherwise."""
    assert exporters(environ) == expected


def test_what_opens_the_collector_is_a_secret() -> None:
    """In every way in which the SDK may show it."""
    found = secrets(
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20t0ken,x-team=k3y%2F1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:p%40ss@collector:4318",
        }
    )
    assert {"t0ken", "k3y/1", "k3y%2F1", "p@ss", "p%40ss"} <= set(found)
    assert {"Authorization=Bearer%20t0ken", "x-team=k3y%2F1"} <= set(found)
    assert "Bearer" not in found
    assert secrets({}) == []
    assert secrets({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/a@b"}) == []


@attrs.define(eq=False)
class Exporter(SpanExporter):
    """Fails as it is told, and complains of it as the SDK's do."""

    complaints: list[str] = attrs.field(factory=list)
    error: Exception | None = None
    shut: int = 0

    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        for words in self.complaints:
            logging.getLogger("opentelemetry.exporter").warning("it is: %s", words)
        if self.error is not None:
            raise self.error
        return SpanExportResult.FAILURE if self.complaints else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        logging.getLogger("opentelemetry.exporter").warning("shut down")
        self.shut += 1


@pytest.fixture
def through() -> list[str]:
    """What of the SDK's own was let through."""
    return []


@pytest.fixture
def heard(through: list[str]) -> Iterator[Heard]:
    """The SDK's logger, listened to, on a clock that stands at `now`."""
    logger = logging.getLogger("opentelemetry")
    before = logger.handlers[:], logger.propagate
    heard = Heard(lambda: NOW[0], lambda record: through.append(record.getMessage()))
    heard.listen()
    yield heard
    logger.handlers[:], logger.propagate = before


NOW = [1000.0]


@pytest.fixture
def made(heard: Heard) -> tuple[Exporter, Delivery, list[str]]:
    said: list[str] = []
    exporter = Exporter()
    note: Callable[[], None] = lambda: said.append("taken")  # noqa: E731 - it has no name
    return exporter, Delivery(exporter, heard, lost=said.append, taken=note), said


def test_a_lost_batch_is_told_with_its_cause(
    made: tuple[Exporter, Delivery, list[str]], through: list[str]
) -> None:
    """The first complaint of the SDK's, and none of them besides."""
    exporter, delivery, said = made
    exporter.complaints = ["connection refused", "given up"]
    assert delivery.export([]) is SpanExportResult.FAILURE
    failing = not delivery.works
    assert failing
    exporter.complaints = []
    assert delivery.export([]) is SpanExportResult.SUCCESS
    working: bool = delivery.works
    assert working
    exporter.error = ValueError("a foreign one")
    assert delivery.export([]) is SpanExportResult.FAILURE
    assert said == ["it is: connection refused", "taken", "ValueError: a foreign one"]
    assert through == []


def test_what_is_said_of_a_batch_is_short(made: tuple[Exporter, Delivery, list[str]]) -> None:
    """Some show all that a server has sent."""
    exporter, delivery, said = made
    exporter.complaints = ["x" * 10_000]
    delivery.export([])
    assert [len(words) for words in said] == [LONGEST]


def test_who_leaves_tries_a_batch_once(made: tuple[Exporter, Delivery, list[str]]) -> None:
    """drain: the exporter is shut down instead of waiting for its next try."""
    exporter, delivery, said = made
    exporter.complaints = ["connection refused"]
    delivery.leave()
    delivery.export([])
    assert exporter.shut == 1
    assert said == []


def test_other_complaints_are_let_through_now_and_then(heard: Heard, through: list[str]) -> None:
    """A queue that overflows complains of each span."""
    logger = logging.getLogger("opentelemetry.sdk")
    for after in (0.0, 1.0, AGAIN):
        NOW[0] = 1000.0 + after
        for _ in range(100):
            logger.warning("Queue full, dropping %s.", "Span")
    logger.info("all is well")
    logger.warning("another")
    assert through == [
        "Queue full, dropping Span.",
        "Queue full, dropping Span.",
        "another",
    ]
