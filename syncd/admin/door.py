"""The side door, from the start of the daemon to its end.

It is open before Postgres is there, and says so; it is open while the daemon drains, and sends
its listeners away.  `run` serves; `work` does what needs the store, and lives as long as that.
"""

import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio
from starlette.requests import Request
from starlette.routing import Router

from syncd.admin.audience import Audience
from syncd.admin.desk import Desk
from syncd.admin.entry import Entry
from syncd.admin.feed import Feed, picture_of
from syncd.admin.guard import Guard
from syncd.admin.openapi import document
from syncd.admin.pages import Pages
from syncd.admin.readiness import Ourselves
from syncd.admin.reading import Reading, Render, Stories
from syncd.admin.routes import Route, Who, routed, table
from syncd.admin.serving import Server
from syncd.admin.writing import Writing
from syncd.config.settings import AdminSettings, Settings
from syncd.errors import StoreUnavailable, SyncdError
from syncd.sync import events
from syncd.sync.asking import Ask, Deed
from syncd.sync.model import StreamId
from syncd.sync.picture import Look, Picture
from syncd.views.arrival import Listed
from syncd.views.words import moment

OWED = 200  # entries of the audit that wait for Postgres; what is beyond is only in the log
AGAIN = 5.0  # seconds between two tries to write them


@attrs.frozen(kw_only=True)
class Telling:
    """What the side door tells the log."""

    refused: Callable[[str, int], None]
    """Wrong tokens: from where, and how many."""

    failed: Callable[[BaseException], None]
    """A bug, which costs one answer."""

    safe: Callable[[str], str]
    """A text without any secret that is known."""


@attrs.define(eq=False, kw_only=True)
class Door:
    """Everything of it."""

    settings: Settings
    """Those that hold now; a reload changes them."""

    ourselves: Ourselves
    version: str
    recent: Callable[[], list[dict[str, Any]]]
    """The last noteworthy lines of the log, newest first."""

    telling: Telling
    clock: Callable[[], float]
    feed: Feed = attrs.field(init=False)
    routes: list[Route] = attrs.field(init=False)
    _listed: dict[StreamId, Listed] = attrs.field(factory=dict, init=False)
    _audience: Audience = attrs.field(init=False)
    _desk: Desk = attrs.field(factory=Desk, init=False)
    _entry: Entry = attrs.field(init=False)
    _reading: Reading = attrs.field(init=False)
    _writing: Writing = attrs.field(init=False)
    _since: float = attrs.field(init=False)
    _reload: dict[str, Any] = attrs.field(init=False)
    _owed: deque[Deed] = attrs.field(factory=lambda: deque(maxlen=OWED), init=False)
    _owing: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self.clock()
        self._reload = {"ok": None, "at": None, "faults": []}
        self.feed = Feed(
            settings=lambda: self.settings,
            around=self._around,
            clock=self.clock,
            safe=self.telling.safe,
            failed=self.telling.failed,
            listed=self._listed,
        )
        self._audience = Audience(self.feed)
        self._entry = Entry(
            settings=lambda: self._admin, note=self._note, tell=self.telling.refused
        )
        self._reading = Reading(
            settings=lambda: self.settings,
            feed=self.feed,
            audience=self._audience,
            desk=self._desk,
            pages=Pages.read(),
            ourselves=self.ourselves,
            version=self.version,
            staying=self._entry.staying,
        )
        self._writing = Writing(settings=lambda: self.settings, entry=self._entry, desk=self._desk)
        self.routes = table(self._reading, self._writing)
        self._reading.openapi = document(self.routes, self.version)

    # --- what others plug in ------------------------------------------------------------------

    def show_metrics(self, render: Render) -> None:
        """Answer `/metrics` with this."""
        self._reading.render = render

    def heed(self, away: Callable[[], str]) -> None:
        """Be ready only while this is empty; else it says why Postgres can't be worked with."""
        self._reading.away = lambda: self.telling.safe(away())

    # --- what the daemon tells it -------------------------------------------------------------

    def hear(self, event: events.Event) -> None:
        """Take in what an API says of its list: no row has it."""
        if isinstance(event, events.PageFetched) and event.total is not None:
            before = self._listed.get(event.stream)
            size = max(event.records, before.size if before else 0)
            self._listed[event.stream] = Listed(total=event.total, size=size)
        elif isinstance(event, events.CycleEnded):
            self._listed.pop(event.stream, None)

    def away(self, reason: str) -> None:
        """Postgres can't be reached at the start."""
        self.feed.trouble = self.telling.safe(reason)
        self.feed.beside()

    def reloaded(self, faults: Iterable[str]) -> None:
        """The config was read again; without faults it was taken up."""
        faults = [self.telling.safe(fault) for fault in faults]
        self._reload = {"ok": not faults, "at": moment(self.clock()), "faults": faults}
        self.feed.beside()

    def leave(self) -> None:
        """Send the listeners away: the daemon drains."""
        self.feed.end()

    # --- its life -----------------------------------------------------------------------------

    async def run(self, sock: socket.socket) -> None:
        """Serve on a socket that listens, until cancelled."""
        # The router alone: starlette's own middleware would answer errors before the guard does.
        routes = [routed(route, self._admit) for route in self.routes]
        router = Router(routes, redirect_slashes=False)
        telling = self.telling
        guard = Guard(app=router, entry=self._entry, failed=telling.failed, safe=telling.safe)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.feed.keep_up)
            nursery.start_soon(self._audience.run)
            nursery.start_soon(self._entry.tell_on)
            server = Server(guard, telling.failed, self._audience.listeners)  # type: ignore[arg-type]  # starlette's types of ASGI are wider
            nursery.start_soon(server.run, sock)

    async def work(self, look: Look, ask: Ask, story: Stories) -> None:
        """Do what needs the store, until cancelled."""
        self._reading.look = self._writing.look = look
        self._reading.ask = self._writing.ask = ask
        self._reading.story = story

        async def picture() -> Picture:
            return await self._desk.one_at_a_time(lambda: picture_of(look, self.settings))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._desk.run)
            nursery.start_soon(self.feed.look_on, picture)
            nursery.start_soon(self._write_what_is_owed, ask)

    async def _write_what_is_owed(self, ask: Ask) -> None:
        while True:
            while self._owed:
                deed = self._owed[0]
                try:
                    await self._desk.one_at_a_time(lambda: ask.note(deed))  # noqa: B023 - awaited
                except StoreUnavailable:
                    await trio.sleep(AGAIN)
                    continue
                except SyncdError:
                    pass  # it can't be written at all; the log has it
                if self._owed and self._owed[0] is deed:
                    self._owed.popleft()
            self._owing = trio.Event()
            await self._owing.wait()

    # --- what its parts need ------------------------------------------------------------------

    @property
    def _admin(self) -> AdminSettings:
        return self.settings.admin or AdminSettings()

    def _admit(self, who: Who, request: Request) -> None:
        """Raise Refused for who may not come in; `writer` looks for itself, after the body."""
        if who == "reader":
            self._entry.reader(request)
        elif who == "records":
            self._entry.of_records(request)
        elif who == "keyholder":
            self._entry.keyholder(request)

    def _note(self, deed: Deed) -> None:
        self._owed.append(deed)
        self._owing.set()

    def _around(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "daemon": {
                "pid": self.ourselves.pid,
                "since": moment(self._since),
                "host": self.ourselves.host,
                "writable": self._admin.token is not None,
                "reload": self._reload,
            },
            "events": self.recent(),
        }
