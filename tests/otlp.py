"""A collector: takes spans by OTLP over HTTP, as a real one does, and shows them as a tree.

As a program it writes each span that comes as a line of JSON: `python -m tests.otlp PORT FILE`.
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

FAILED = trace_pb2.Status.STATUS_CODE_ERROR


@attrs.frozen(kw_only=True)
class Span:
    """One span as it came."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    kind: str
    began: float
    ended: float
    failed: bool
    said: str
    """With its status."""

    fields: dict[str, Any]
    resource: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def _nobody() -> None:
    """Nobody waits."""


@attrs.define(eq=False)
class Collector:
    """What has come so far."""

    endpoint: str
    spans: list[Span] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)
    _tell: Callable[[], None] = attrs.field(default=_nobody, init=False)

    def named(self, name: str) -> list[Span]:
        """Those of this name, or whose name begins with it, in the order of their begin."""
        found = [s for s in self.spans if s.name == name or s.name.startswith(f"{name} ")]
        return sorted(found, key=lambda s: s.began)

    def below(self, span: Span, name: str = "") -> list[Span]:
        """The span's children."""
        found = [s for s in self.spans if s.parent == span.id and name in ("", s.name)]
        return sorted(found, key=lambda s: s.began)

    async def until(self, name: str) -> None:
        """Wait for a span of this name."""
        token = trio.lowlevel.current_trio_token()
        while True:
            news = trio.Event()
            self._tell = partial(token.run_sync_soon, news.set)
            # After that, so that none comes unheard.
            if self.named(name):
                break
            await news.wait()
        self._tell = _nobody

    def take(self, body: bytes) -> None:
        for whole in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {a.key: _value(a.value) for a in whole.resource.attributes}
            for scope in whole.scope_spans:
                self.spans += [_span(s, resource) for s in scope.spans]
        self._tell()


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        id=span.span_id,
        parent=span.parent_span_id,
        trace=span.trace_id,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        failed=span.status.code == FAILED,
        said=span.status.message,
        fields={a.key: _value(a.value) for a in span.attributes},
        resource=resource,
    )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that listens for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
