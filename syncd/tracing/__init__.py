"""Spans of each cycle, for an OpenTelemetry collector, if the environment asks for them.

environment   does it ask, and for what?
spans         which spans do the loop's events make?
work          a cycle that is under way, and how its spans are made
delivery      what becomes of them, told in few lines
provider      the SDK, set up by the standard OTEL_ variables

OpenTelemetry is imported by nobody who does not ask for it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from syncd import logs
from syncd.tracing.environment import exporters, secrets

if TYPE_CHECKING:
    from syncd.tracing.provider import Traces

__all__ = ["begun"]

PACKAGES = {
    "otlp_proto_http": "'.[otel]' in syncd's clone",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
}
"""What has to be installed for each exporter that the specification names."""


def begun(environ: Mapping[str, str]) -> "Traces | None":
    """What makes and sends the spans; None if nobody asks for them or it can't be done.

    The SDK reads the process's own environment, which this must be.  It takes a moment, and
    is done before the loop runs.
    """
    wanted = exporters(environ)
    if not wanted:
        return None
    logs.hide(secrets(environ))
    try:
        from syncd.tracing.provider import provided  # noqa: PLC0415 - see above

        traces = provided(wanted)
    except ImportError as error:
        logs.no_traces(_missing(error, wanted))
        return None
    except Exception as error:  # noqa: BLE001 - whatever an exporter makes of its settings
        logs.no_traces(f"{type(error).__name__}: {error}")
        return None
    logs.traces_begun(wanted)
    return traces


def _missing(error: ImportError, wanted: Sequence[str]) -> str:
    """What is to be installed; an exporter that is not there is named by the error."""
    named = [name for name in wanted if name in str(error)]
    if named and named[0] not in PACKAGES:
        known = "otlp (by http/protobuf or grpc), console, none"
        return f"no package that is installed has an exporter {named[0]}; known are {known}"
    package = PACKAGES[named[0]] if named else PACKAGES["otlp_proto_http"]
    return f"{error.name or error} is not installed: pip install {package}"
