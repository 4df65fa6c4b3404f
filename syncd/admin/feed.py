"""One picture for all who look, however many there are.

Postgres is looked at once a second at most, and only while somebody asks.  While it does not
answer the last picture is shown, with since when it is the last one and why.
"""

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sized
from typing import Any

import attrs
import trio

from syncd.admin.limits import Thinned
from syncd.config.settings import Settings
from syncd.errors import SchemaError, StoreUnavailable, StreamBroken
from syncd.sync.model import StreamId
from syncd.sync.picture import Look, Picture, Taken
from syncd.views.arrival import Listed
from syncd.views.objects import as_object, to_look_at
from syncd.views.streams import configured
from syncd.views.words import moment

EVERY = 1.0  # seconds between two looks
FRESH = 1.5  # seconds for which what is shown needs no new look
PATIENCE = 2.0  # seconds that a request waits for a new look
STALE = 5.0  # seconds after which a picture that was to be renewed is called old
LINGER = 5.0  # seconds for which it is looked on after the last question

HEAD, TAIL = b"event: status\ndata: ", b"\n\n"

SILENT = "Postgres does not answer"
BUG = "a bug keeps the side door from looking; the log tells more"


@attrs.define(eq=False, kw_only=True)
class Feed:
    """What everybody is shown, and the news that it has changed."""

    settings: Callable[[], Settings]
    around: Callable[[], dict[str, Any]]
    """What the daemon knows of itself without Postgres."""

    clock: Callable[[], float]
    """Seconds since the epoch."""

    steady: Callable[[], float] = time.monotonic
    """Seconds since whenever; it is never stepped."""

    safe: Callable[[str], str]
    """A text without any secret that is known."""

    failed: Callable[[BaseException], None]
    """Hears of bugs: they cost the newest picture, and the streams nothing."""

    listed: Mapping[StreamId, Listed] = attrs.field(factory=dict)
    """What the APIs said of the lists that are gone through now."""

    listeners: Sized = attrs.field(default=(), init=False)
    """Who looks for as long as they stay."""

    event: bytes = attrs.field(default=b"", init=False)
    """The newest object as a server-sent event: one copy for all who listen."""

    version: int = attrs.field(default=0, init=False)
    """Grows when more has changed than the time."""

    taken: Taken | None = attrs.field(default=None, init=False)
    """The last picture."""

    trouble: str = attrs.field(default="", init=False)
    """Why there is no newer picture."""

    _began: float = attrs.field(init=False)
    _looked: float = attrs.field(default=-math.inf, init=False)
    _published: float = attrs.field(default=-math.inf, init=False)
    _asked: float = attrs.field(default=-math.inf, init=False)
    _shown: dict[str, Any] = attrs.field(factory=dict, init=False)
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _made: trio.Event = attrs.field(factory=trio.Event, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _bugs: Thinned = attrs.field(factory=lambda: Thinned(every=60.0), init=False)
    _end: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.clock()

    @property
    def body(self) -> bytes:
        """The newest object, as JSON on one line."""
        return self.event[len(HEAD) : -len(TAIL)] or b"{}"

    @property
    def picture(self) -> Picture | None:
        """The last one."""
        return self.taken.picture if self.taken is not None else None

    @property
    def over(self) -> bool:
        """The daemon leaves, and whoever listens is told so."""
        return self._end.is_set()

    # --- who looks ----------------------------------------------------------------------------

    async def fresh(self, patience: float = PATIENCE) -> bytes:
        """The object as it is now, or as it was when Postgres answered the last time.

        patience: seconds for which a new look is waited for.
        """
        self._ask()
        if trio.current_time() - self._published > FRESH:
            with trio.move_on_after(patience):
                await self._made.wait()
        if not self.event:
            self.publish()
        return self.body

    async def changed(self, version: int) -> None:
        """Return when there is a newer one than this, or it is over."""
        while self.version == version and not self.over:
            await self._news.wait()

    def end(self) -> None:
        """Tell whoever listens that nothing more will come."""
        self._end.set()
        self._tell()

    # --- what makes it ------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Make it anew once a second while somebody looks, whatever Postgres does."""
        while True:
            await self._somebody()
            await trio.sleep(EVERY)
            if trio.current_time() - self._published >= EVERY:
                self.publish()

    async def look_on(self, look: Callable[[], Awaitable[Picture]]) -> None:
        """Look at Postgres while somebody looks at us; for as long as the store is open."""
        while True:
            await self._somebody()
            # From before the look: what it tells is never called younger than it is.
            began, at = trio.current_time(), self.steady()
            try:
                self.taken = Taken(picture=await look(), at=at)
            except (StoreUnavailable, StreamBroken, SchemaError) as error:
                self.trouble = self.safe(str(error))
            except Exception as bug:  # noqa: BLE001 - told, and thinned
                self.trouble = BUG
                self._tell_bug(bug)
            else:
                self.trouble, self._looked = "", trio.current_time()
            self.publish()
            await trio.sleep_until(began + EVERY)

    def beside(self) -> None:
        """What is known beside Postgres has changed: told at once to whoever looks.

        For anybody else it is put together when they come, with a look at Postgres: an object
        made without one is as old as that look, and passes for a new one.
        """
        if self._watched:
            self.publish()

    def publish(self) -> None:
        """Put together what is known now."""
        try:
            self._publish(self._object())
        except Exception as bug:  # noqa: BLE001 - told, and thinned
            self._tell_bug(bug)

    def _publish(self, shown: dict[str, Any]) -> None:
        at = shown.pop("at")
        differs = shown != self._shown
        if differs:
            self._shown = shown
        body = json.dumps({"at": at, **shown}, separators=(",", ":")).encode()
        self.event = HEAD + body + TAIL
        self._published = trio.current_time()
        self._made.set()
        self._made = trio.Event()
        if differs:
            self.version += 1
            self._tell()

    @property
    def stale(self) -> str:
        """Why the picture is an old one; empty if it is not."""
        if self.trouble or self.picture is None:
            return self.trouble or SILENT
        return SILENT if trio.current_time() - self._looked > STALE else ""

    def _object(self) -> dict[str, Any]:
        if self.picture is None:
            of_picture: dict[str, Any] = {"streams": [], "sources": [], "budgets": []}
        else:
            known = _known(self.picture, self.settings())
            of_picture = as_object(known, self.settings(), self.listed)
        since = self.picture.now if self.picture is not None else self._began
        return {
            **of_picture,
            "at": moment(self.clock()),
            "stale_since": moment(since) if self.stale else None,
            "stale_reason": self.stale or None,
            **self.around(),
        }

    def _tell_bug(self, bug: Exception) -> None:
        if self._bugs.happened(trio.current_time(), repr(bug)):
            self.failed(bug)

    def _ask(self) -> None:
        self._asked = trio.current_time()
        self._wanted.set()

    @property
    def _watched(self) -> bool:
        return bool(self.listeners) or trio.current_time() - self._asked <= LINGER

    async def _somebody(self) -> None:
        while not self._watched:
            if self._wanted.is_set():
                self._wanted = trio.Event()
            await self._wanted.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


async def picture_of(look: Look, settings: Settings) -> Picture:
    """How all that is in the config stands."""
    return await look.picture(*to_look_at(settings, configured(settings)))


def _known(picture: Picture, settings: Settings) -> Picture:
    """Without streams that a reload has taken away since."""
    known = set(configured(settings))
    return attrs.evolve(picture, streams=[s for s in picture.streams if s.stream in known])
