"""Does the environment ask for spans, and by which exporters?

As OpenTelemetry's specification has it; an empty variable is one that is not set.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import urllib.parse
from collections.abc import Iterator, Mapping

PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""What OTEL_EXPORTER_OTLP_PROTOCOL may name, and which exporter speaks it."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


def exporters(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The exporters' names, as their packages register them; none if nobody asks for spans."""
    if _first(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return ()
    named = _first(environ, "OTEL_TRACES_EXPORTER")
    if not named:
        named = "otlp" if _first(environ, *ENDPOINTS) else "none"
    names = [name.strip() for name in named.split(",")]
    protocol = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    otlp = PROTOCOLS.get(protocol or "http/protobuf", f"otlp by {protocol}")
    found = [otlp if name == "otlp" else name for name in names if name not in ("", "none")]
    return tuple(dict.fromkeys(found))


def secrets(environ: Mapping[str, str]) -> list[str]:
    """What opens the collector: no line may hold it, and the SDK shows headers that are wrong."""
    return list(dict.fromkeys(s for s in _secrets(environ) if s))


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    for name in HEADERS:
        whole = environ.get(name, "")
        yield whole
        for header in whole.split(","):
            value = header.partition("=")[2].strip()
            yield from (header.strip(), value, urllib.parse.unquote(value))
            # `Bearer abc`, `Basic abc`: the word is no secret, and stands everywhere.
            yield urllib.parse.unquote(value).rpartition(" ")[2]
    for name in ENDPOINTS:
        account = environ.get(name, "").partition("://")[2].partition("/")[0].rpartition("@")[0]
        password = account.partition(":")[2]
        yield from (account, password, urllib.parse.unquote(password))


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((v for v in (environ.get(n, "").strip() for n in names) if v), "")
