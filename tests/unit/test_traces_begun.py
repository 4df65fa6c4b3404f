"""What is said where spans are asked for, and what makes them is missing."""

import pytest

from syncd.tracing import _missing


@pytest.mark.parametrize(
    ("lacks", "wanted", "words"),
    [
        ("opentelemetry.sdk", "otlp_proto_http", "pip install '.[otel]'"),
        ("the exporter otlp_proto_http", "otlp_proto_http", "pip install '.[otel]'"),
        (
            "the exporter otlp_proto_grpc",
            "otlp_proto_grpc",
            "pip install opentelemetry-exporter-otlp-proto-grpc",
        ),
        ("the exporter zipkin", "zipkin", "has an exporter zipkin; known are otlp"),
    ],
)
def test_what_is_missing_is_named_with_what_brings_it(lacks: str, wanted: str, words: str) -> None:
    """The extra is no answer to who has it."""
    assert words in _missing(ModuleNotFoundError(lacks, name=lacks), [wanted])
