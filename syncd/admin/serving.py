"""Who owns the connections, and how do they end?

Hypercorn speaks HTTP; its Trio connection is run here for each client, in place of
`hypercorn.trio.serve`, for the sake of three things.  It shields a write from being
cancelled, so that a client that reads nothing would hold the daemon when it leaves: here a
write has a deadline, and the connection is cut after it.  It keeps a connection that its
client has closed until an idle timeout.  And it speaks HTTP/2 to whoever begins with it,
which nobody here needs.

There are never more connections than half of the file descriptors that this process may
open: the streams need theirs.
"""

import ctypes
import gc
import logging
import math
import resource
import socket
from collections.abc import Awaitable, Callable, Sized
from contextlib import suppress

import attrs
import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol.h11 import (
    H2CProtocolRequiredError,
    H2ProtocolAssumedError,
    H11Protocol,
)
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from syncd.admin.listening import origin

WRITING = 30.0  # seconds that a client may take to read what it is sent
IDLE = 5.0  # seconds without a request, and for one's head to arrive
LATE = 0.5  # seconds at most until one who has taken longer is cut
MOST = 1200  # connections
FEW = 3  # who are spoken to the first time, until the next is let in
MOMENT = 0.005  # seconds for which one of them counts: it may say nothing, or be slow to answer
TIDYING = 5.0  # seconds between two looks whether that is to be done
CROWD = 100  # connections at once, after which memory is tidied up
DESCRIPTORS = 4096  # that this process may open, if the system lets it
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: 37\r\n\r\n"
    b'{"error":"too many connections here"}'
)


@attrs.define(eq=False)
class Connection:
    """One open connection."""

    origin: str
    lobby: "Lobby"
    _stream: trio.SocketStream
    _whole: trio.CancelScope
    _talk: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    taker: "Taker | None" = attrs.field(default=None, init=False)
    """Who goes on with it in hypercorn's place."""

    idle_until: float = attrs.field(default=math.inf, init=False)
    written_until: float = attrs.field(default=math.inf, init=False)
    """When its client will have taken too long to ask something, and to read."""

    @property
    def due(self) -> float:
        return min(self.idle_until, self.written_until)

    def cut(self) -> None:
        """End it now, whatever it is at."""
        self._stream.socket.close()
        self._whole.cancel()

    async def taken_over(self, taker: "Taker") -> None:
        """End what hypercorn does on it, and let the taker have the socket; does not return."""
        self.taker = taker
        self._talk.cancel()
        await trio.sleep_forever()

    async def talk(self, conversation: Awaitable[None]) -> None:
        """Let hypercorn talk on it, until it is over or somebody takes it over."""
        with self._talk:
            await conversation


Taker = Callable[[socket.socket], None]


class _Plain(H11Protocol):
    """HTTP/1.1, whatever else a client offers: to take its offer up is nobody's duty (RFC 9110,
    section 7.8).
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        """Nothing is to be looked for."""


class Conversation(TCPServer):
    """Hypercorn's connection, with a deadline for each write, and an end.

    The deadlines are looked after by the server: trio remembers each that it is given until it is
    over, and those of a crowd are many.
    """

    _over = False
    """The client has ended it."""

    async def run(self) -> None:
        # As in the parent, but for what concerns TLS and HTTP/2.
        try:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = _Plain(  # type: ignore[assignment]  # the parent wraps it
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    False,  # it is not encrypted
                    None,
                    None,
                    self.protocol_send,
                )
                self._idle(True)
                await self._read_data()
        except OSError:
            pass
        finally:
            await self._close()  # noqa: ASYNC102 - who calls us closes it in any case

    async def _close(self) -> None:
        if self._connection.taker is None:
            await super()._close()

    async def _read_data(self) -> None:
        await super()._read_data()
        self._over = True
        self._idle(False)

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            async with self.send_lock:
                await self._write(event.data)
        elif isinstance(event, Updated):
            # An answer that was still on its way would have the connection idle once more.
            self._idle(event.idle and not self._over)
            if event.idle:
                self._connection.lobby.leave(self._connection)
        else:
            await super().protocol_send(event)

    async def _write(self, data: bytes) -> None:
        connection = self._connection
        connection.written_until = trio.current_time() + WRITING
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.cut()
        finally:
            connection.written_until = math.inf

    def _idle(self, is_idle: bool) -> None:
        self._connection.idle_until = trio.current_time() + IDLE if is_idle else math.inf

    @property
    def _connection(self) -> Connection:
        connection: Connection = self.state["connection"]
        return connection


@attrs.define(eq=False)
class Lobby:
    """Who has just come in and was not answered yet: a few, so that a crowd comes one by one.

    A conversation takes its memory until its client is answered or listens, and who comes in as
    fast as the kernel has them finds all of a crowd in conversation at once.  Who takes longer
    than a moment holds nobody up.
    """

    _within: dict[Connection, float] = attrs.field(factory=dict, init=False)
    """Who, and since when; the first comes first."""

    _fewer: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def room(self) -> None:
        """Return when there is room for one more."""
        while len(self._within) >= FEW:
            first, since = next(iter(self._within.items()))
            with trio.move_on_at(since + MOMENT):
                await self._fewer.wait()
            if trio.current_time() >= since + MOMENT:
                self._within.pop(first, None)

    def enter(self, connection: Connection) -> None:
        self._within[connection] = trio.current_time()

    def leave(self, connection: Connection) -> None:
        """Once it was answered, and in any case when it is over."""
        if self._within.pop(connection, None) is not None:
            self._fewer.set()
            self._fewer = trio.Event()


@attrs.define(eq=False)
class _Paced(trio.abc.Listener[trio.SocketStream]):
    """Lets the next one in when the lobby has room."""

    _listener: trio.SocketListener
    _lobby: Lobby

    async def accept(self) -> trio.SocketStream:
        await self._lobby.room()
        return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()


@attrs.define(eq=False)
class Server:
    """Serves an app on a socket that listens, until it is cancelled."""

    app: ASGIFramework
    _failed: Callable[[BaseException], None]
    """Hears of what goes wrong on one connection, and concerns no other."""

    _taken: Sized
    """The connections that others have taken over."""

    _wrapped: ASGIWrapper = attrs.field(init=False)
    _talking: set[Connection] = attrs.field(factory=set, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _lobby: Lobby = attrs.field(factory=Lobby, init=False)
    _most: int = attrs.field(default=MOST, init=False)
    _context: WorkerContext = attrs.field(init=False)
    _config: Config = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wrapped = ASGIWrapper(self.app)
        self._context = WorkerContext(max_requests=None)
        self._config = config = Config()
        config.include_server_header = False
        config.accesslog = None
        config.errorlog = logging.getLogger("hypercorn")  # ours hears it; no handler of its own

    async def run(self, sock: socket.socket) -> None:
        self._most = min(MOST, _descriptors() // 2)
        # A duplicate: the loop closes its own, and whoever opened the socket closes that.
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock.dup()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_the_late)
            nursery.start_soon(self._tidy)
            await trio.serve_listeners(self._serve, [_Paced(listener, self._lobby)])

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._open >= self._most:
            with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(1):
                await stream.send_all(BUSY)
            return
        try:
            await self._have_talk(stream)
        except* (OSError, H2CProtocolRequiredError, H2ProtocolAssumedError):
            pass  # it is gone, or insists on HTTP/2, which is not served
        except* Exception as errors:  # noqa: BLE001 - told, and it costs this connection alone
            self._failed(errors)

    async def _have_talk(self, stream: trio.SocketStream) -> None:
        scope = trio.CancelScope()
        connection = Connection(origin(stream.socket), self._lobby, stream, scope)  # type: ignore[arg-type]  # trio's own does what is asked of it
        self._talking.add(connection)
        self._lobby.enter(connection)
        self._came.set()
        try:
            with scope:
                await self._talk(stream, connection)
                if connection.taker is not None and not scope.cancel_called:
                    connection.taker(_let_go(stream))
        finally:
            self._talking.discard(connection)
            self._lobby.leave(connection)

    @property
    def _open(self) -> int:
        return len(self._talking) + len(self._taken)

    async def _talk(self, stream: trio.SocketStream, connection: Connection) -> None:
        state = ConnectionState({"connection": connection})
        conversation = Conversation(self._wrapped, self._config, self._context, state, stream)  # type: ignore[arg-type]  # it says SSL, and serves both
        try:
            await connection.talk(conversation)
        finally:
            # It and its protocol hold each other, and that its streams: a crowd of them for long.
            if hasattr(conversation, "protocol"):
                conversation.protocol.__dict__.clear()
            conversation.__dict__.clear()

    async def _cut_the_late(self) -> None:
        while True:
            await self._came.wait()
            await trio.sleep(LATE)
            for connection in [each for each in self._talking if each.due <= trio.current_time()]:
                connection.cut()
            if not self._talking:
                self._came = trio.Event()

    async def _tidy(self) -> None:
        """When a crowd has left give its memory back: nobody else does."""
        peak = 0
        while True:
            peak = max(peak, self._open)
            await trio.sleep(TIDYING)
            if peak >= CROWD and self._open <= peak // 10:
                peak = 0
                gc.collect()
                with suppress(OSError, AttributeError):  # another libc has no such thing
                    await trio.to_thread.run_sync(ctypes.CDLL(None).malloc_trim, 0)


def _let_go(stream: trio.SocketStream) -> socket.socket:
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return sock


def _descriptors() -> int:
    """How many this process may open, after asking for enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
