"""What does the side door answer to a scrape?

`Metrics` listens to the loop, asks for what is open, looks at the last picture, and renders all
of it in the format that the scraper asks for.  It has a registry of its own.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from syncd import __version__
from syncd.config.settings import Settings
from syncd.metrics import kinds, told
from syncd.metrics.inside import Inside
from syncd.metrics.samples import Samples
from syncd.metrics.tally import Tally
from syncd.sync import events
from syncd.sync.picture import Taken

BEAT = 1.0  # seconds between two looks at how late the loop is …
REMEMBERED = 60  # … and how many of them are remembered
KEEP = 0.5  # seconds


@attrs.define(eq=False, kw_only=True)
class Metrics:
    """Everything that is measured of one process."""

    settings: Settings
    taken: Callable[[], Taken | None] = lambda: None
    """The last picture that somebody took."""

    inside: Callable[[], Inside] = Inside
    keep: float = KEEP
    """Seconds for which an answer answers again."""

    clock: Callable[[], float] = time.monotonic
    """By which pictures were taken."""

    _tally: Tally = attrs.field(factory=Tally, init=False)
    _registry: CollectorRegistry = attrs.field(init=False)
    _taken_up: float = attrs.field(factory=time.time, init=False)
    _refused: bool = attrs.field(default=False, init=False)
    _reloads: dict[str, int] = attrs.field(factory=lambda: {"ok": 0, "refused": 0}, init=False)
    _late: deque[float] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED), init=False)
    _last: tuple[float, str, bytes] = attrs.field(default=(-math.inf, "", b""), init=False)
    """When it was made, its format, and the answer itself."""

    def __attrs_post_init__(self) -> None:
        self._tally.follow(told.streams_of(self.settings))
        self._registry = CollectorRegistry()
        self._registry.register(_Ours(self._families))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def hear(self, event: events.Event) -> None:
        """Take in one event."""
        self._tally.hear(event)

    def follow(self, settings: Settings) -> None:
        """A config was taken up: what it has no more takes its series with it."""
        self.settings = settings
        self._tally.follow(told.streams_of(settings))
        self._taken_up, self._refused = time.time(), False
        self._reloads["ok"] += 1

    def refused(self) -> None:
        """A config was refused, and the one before goes on."""
        self._refused = True
        self._reloads["refused"] += 1

    def postgres_away(self) -> str:
        """Why `syncd_postgres_up` is 0; empty while it is 1."""
        return told.postgres_away(self.inside(), self._tally)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it, in the format that an Accept header asks for, and that format's name.

        It may be called in a thread: of 200 sources it is a fifth of a second's work.  Who asks
        again at once gets the same.
        """
        encode, content_type = choose_encoder(accept)
        made, kind, body = self._last
        if kind != content_type or self.clock() - made >= self.keep:
            made, body = self.clock(), encode(self._registry)
            self._last = made, content_type, body
        return body, content_type

    async def run(self) -> None:
        """Look how late the loop is, again and again; ends by being cancelled."""
        while True:
            due = trio.current_time() + BEAT
            await trio.sleep_until(due)
            self._late.append(trio.current_time() - due)

    def _families(self) -> Iterable[Metric]:
        samples = Samples()
        settings, open_now = self.settings, self.inside()
        told.tell_settings(samples, settings)
        if (taken := self.taken()) is not None:
            age = max(0.0, self.clock() - taken.at)
            told.tell_picture(samples, settings, taken.picture, age, open_now)
        told.tell_tally(samples, settings, self._tally)
        told.tell_inside(samples, settings, open_now, self._tally)
        samples.add(kinds.RELOAD_OK, not self._refused)
        samples.add(kinds.RELOAD_AT, self._taken_up)
        samples.each(kinds.RELOADS, self._reloads)
        samples.add(kinds.LAG, max(self._late, default=0.0))
        samples.add(kinds.BUILD, 1, __version__)
        return samples.families()


@attrs.frozen
class _Ours:
    """A collector, as prometheus_client wants it."""

    _families: Callable[[], Iterable[Metric]]

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        return ()
