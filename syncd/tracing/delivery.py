"""Do the spans arrive?  Told once when they don't, now and then while, and once when they do again.

A collector that is away costs lines of the SDK's for each try of each batch.  Here its
logger is heard: what it says of a batch is the reason in our line, and of its other
complaints each is let through once in a while.

All this runs in the SDK's own threads.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from syncd import logs

AGAIN = 600.0  # seconds; so often the same complaint of the SDK's is let through
LONGEST = 300  # characters of what is said of a batch: some show all that a server has sent
LOGGER = "opentelemetry"


class Heard(logging.Handler):
    """Hears all that the SDK logs."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        let_through: Callable[[logging.LogRecord], None] | None = None,
    ) -> None:
        super().__init__(logging.WARNING)
        self._clock, self._let_through = clock, let_through or logging.getLogger().handle
        self._passed: dict[tuple[str, str], float] = {}
        self._exporting = threading.local()

    def listen(self) -> None:
        """Let nothing of it past us."""
        logger = logging.getLogger(LOGGER)
        logger.handlers[:] = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        said: Callable[[str], None] | None = getattr(self._exporting, "said", None)
        if said is not None:
            said(_words(record))
            return
        what, now = (record.name, str(record.msg)), self._clock()
        if now - self._passed.get(what, -AGAIN) >= AGAIN:
            self._passed[what] = now
            self._let_through(record)

    @contextmanager
    def by(self, said: Callable[[str], None]) -> Iterator[None]:
        """What is logged in this thread within is said to this one, and to nobody else."""
        before = getattr(self._exporting, "said", None)
        self._exporting.said = said
        try:
            yield
        finally:
            self._exporting.said = before


@attrs.define(eq=False)
class Delivery(SpanExporter):
    """An exporter that tells how it fares."""

    inner: SpanExporter
    heard: Heard
    lost: Callable[[str], None]
    """Hears why a batch was not taken."""

    taken: Callable[[], None]
    """Hears that one was."""

    works: bool = attrs.field(default=True, init=False)
    """As far as its last try tells."""

    _leaves: bool = attrs.field(default=False, init=False)
    _said: str = attrs.field(default="", init=False)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; its failure is told, and no matter of ours."""
        self._said = ""
        try:
            with self.heard.by(self._complained):
                result = self.inner.export(spans)
        except Exception as error:  # noqa: BLE001 - a foreign exporter's: the next batch may pass
            result, self._said = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        self.works = result is SpanExportResult.SUCCESS
        if self.works:
            self.taken()
        elif not self._leaves:
            self.lost(self._said or "the exporter does not say why")
        return result

    def leave(self) -> None:
        """From now on a batch is tried once: syncd leaves, and waits for it."""
        self._leaves = True

    def _complained(self, said: str) -> None:
        """One try has failed.  Exporters wait before the next, unless they are shut down."""
        if self._leaves:
            self.shutdown()
        else:
            # The first tells the cause, the last no more than that it was given up.
            self._said, self.works = self._said or said[:LONGEST], False

    def shutdown(self) -> None:
        """End what is being sent."""
        with self.heard.by(lambda _: None):  # it may be the second time
            self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Have what an exporter holds back be sent."""
        return self.inner.force_flush(timeout_millis)


def _words(record: logging.LogRecord) -> str:
    said = logs.words_of(record)
    error = record.exc_info[1] if record.exc_info else None
    return f"{said}: {type(error).__name__}: {error}" if error else said
