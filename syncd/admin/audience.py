"""Who listens to what changes, and how is each of them told?

Nothing is queued for a client: who is slow gets the newest picture when it has read the one
before, and who does not read one in time is cut.  All share the bytes of a picture.  Behind a
listener stands its socket and nothing else, no task and no stream: what it takes is sent at once,
and `epoll` tells of all of them when one can take more, or has left.
"""

import math
import select
import socket
from collections.abc import Callable

import attrs
import trio

from syncd.admin.feed import Feed
from syncd.admin.headers import ALWAYS, NO_STORE

SPACING = 1.0  # seconds between two events: every one costs, and nobody reads faster
QUIET = 15.0  # seconds after which a comment shows that the connection stands
READING = 30.0  # seconds that a client may take to read one event
PARTING = 1.0  # seconds that it may take to read that the daemon leaves

KIND = (b"content-type", b"text/event-stream")
HEAD = b"".join(
    b"%s: %s\r\n" % header for header in (KIND, (b"connection", b"close"), NO_STORE, *ALWAYS)
)
GREETING = b"HTTP/1.1 200 OK\r\n" + HEAD + b"\r\nretry: 3000\n"  # ms: when a browser comes again
GONE = b"event: gone\ndata: {}\n\n"
STILL_HERE = b":\n\n"

LEFT = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@attrs.define(eq=False)
class Listener:
    """One of them."""

    sock: socket.socket
    may_stay: Callable[[], bool]
    """Whether the client may still read: the token may be another one since."""

    version: int = -1
    """Which picture it was shown."""

    told: float = math.inf
    """When something was said to it the last time; never, as long as it waits for its first."""

    said: bytes = b""
    """That, if it has not taken all of it yet; shared with all who are told the same."""

    taken: int = 0
    """How many bytes of it."""

    def due(self, version: int) -> float:
        """When it is its turn again, if this is the newest picture."""
        if self.said:
            return self.told + READING
        return self.told + (QUIET if self.version == version else SPACING)


@attrs.define(eq=False)
class Audience:
    """All of them, from when hypercorn has understood their requests to their end."""

    feed: Feed
    listeners: dict[int, Listener] = attrs.field(factory=dict, init=False)
    """By the numbers of their sockets."""

    _new: list[Listener] = attrs.field(factory=list, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _pause: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """Until the next turn of anybody."""

    _epoll: select.epoll = attrs.field(factory=select.epoll, init=False)

    def __attrs_post_init__(self) -> None:
        self.feed.listeners = self.listeners

    def join(self, sock: socket.socket, may_stay: Callable[[], bool]) -> None:
        """Have a client listen; the socket is ours from now on."""
        if self.feed.over:
            sock.close()
            return
        listener = Listener(sock, may_stay)
        self.listeners[sock.fileno()] = listener
        self._epoll.register(sock, 0)
        self._send(listener, GREETING)
        self._new.append(listener)
        self._came.set()

    async def run(self) -> None:
        """Tell them, until the feed is over; then let them go."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._welcome)
                nursery.start_soon(self._hear)
                await self._tell()
                for listener in self._all:
                    self._take_leave(listener)
                await trio.sleep(PARTING)
                nursery.cancel_scope.cancel()
        finally:
            for listener in self._all:
                self._drop(listener)
            self._epoll.close()

    @property
    def _all(self) -> list[Listener]:
        return list(self.listeners.values())

    async def _welcome(self) -> None:
        """Show whoever comes how it is now."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            await self.feed.fresh()
            while self._new:
                self._first_turn(self._new.pop())
                await trio.lowlevel.checkpoint()

    async def _tell(self) -> None:
        """Give each its turn when it is due."""
        while not self.feed.over:
            version = self.feed.version
            self._pause = trio.CancelScope()
            await self._round(version)
            with self._pause:
                await self.feed.changed(version)

    async def _round(self, version: int) -> None:
        for listener in self._all:
            if self.feed.over:
                return
            if listener.due(version) <= trio.current_time():
                self._turn(listener)
                # A crowd is told one after the other: the streams have their turn in between.
                await trio.lowlevel.checkpoint()
            self._remind(listener)

    async def _hear(self) -> None:
        """Send on what can be taken now, and see who has left."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for number, what in self._epoll.poll(0):
                listener = self.listeners.get(number)
                if listener is None:
                    continue
                if what & LEFT:
                    self._drop(listener)
                else:
                    self._go_on(listener)
            await trio.lowlevel.checkpoint()

    # --- one of them --------------------------------------------------------------------------

    def _first_turn(self, listener: Listener) -> None:
        if listener.sock.fileno() >= 0 and not self.feed.over:
            # Not earlier: one who has closed its side for writing gets one picture.
            self._epoll.modify(listener.sock, LEFT)
            self._turn(listener)

    def _turn(self, listener: Listener) -> None:
        if listener.said or not listener.may_stay():
            self._drop(listener)
            return
        news = listener.version != self.feed.version
        listener.version, listener.told = self.feed.version, trio.current_time()
        self._send(listener, self.feed.event if news else STILL_HERE)

    def _take_leave(self, listener: Listener) -> None:
        self._send(listener, listener.said[listener.taken :] + GONE)

    def _send(self, listener: Listener, text: bytes) -> None:
        waited = bool(listener.said)
        listener.said, listener.taken = text, 0
        self._go_on(listener, waited=waited)

    def _go_on(self, listener: Listener, *, waited: bool = True) -> None:
        try:
            listener.taken += listener.sock.send(memoryview(listener.said)[listener.taken :])
        except BlockingIOError:
            pass
        except OSError:
            self._drop(listener)
            return
        if listener.taken == len(listener.said):
            listener.said = b""
        waits = bool(listener.said)
        if waits != waited:
            self._epoll.modify(listener.sock, LEFT | (select.EPOLLOUT if waits else 0))
        if self.feed.over and not waits:
            self._drop(listener)
        else:
            self._remind(listener)

    def _remind(self, listener: Listener) -> None:
        self._pause.deadline = min(self._pause.deadline, listener.due(self.feed.version))

    def _drop(self, listener: Listener) -> None:
        self.listeners.pop(listener.sock.fileno(), None)
        listener.sock.close()
