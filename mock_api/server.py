"""Who listens, who owns the connections, and how does it all end?

Hypercorn speaks HTTP; its Trio TCPServer is run here for each connection, in
place of `hypercorn.trio.serve`, for one reason: a script of faults must be able
to cut the very connection that it answers on, and the end must be able to cut
one that hypercorn shields while a client does not read.

The end: no new connections; those that hang are cut; answers on their way have
`grace` seconds; then everything is cut.
"""

import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from mock_api.app import App

RESET = struct.pack("ii", 1, 0)  # linger for no time at all: close() sends RST
ENDLESS = 2**62  # requests on one connection
BACKLOG = 1024


@attrs.define(eq=False)
class Open:
    """One open connection."""

    _stream: trio.SocketStream
    hanging: bool = False

    def cut(self, *, reset: bool) -> None:
        sock = self._stream.socket
        with suppress(OSError):  # it may have been closed already, by either side
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()


class Conversation(TCPServer):
    """Hypercorn's connection, which ends when its client ends it.

    Hypercorn keeps one that the client has closed until its idle timeout: five
    seconds of thirty kilobytes for each client that does not keep connections.
    """

    _over = False
    """The client has ended it."""

    async def _read_data(self) -> None:
        await super()._read_data()
        self._over = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        # An answer that was still on its way would have the connection idle once more.
        if not (self._over and isinstance(event, Updated)):
            await super().protocol_send(event)


class Server:
    """Serves the app until told to stop."""

    def __init__(self, app: App, *, idle: float, grace: float) -> None:
        self._app = app
        self._wrapped = ASGIWrapper(app)  # type: ignore[arg-type]  # bare ASGI, plain dicts
        self._grace = grace
        self._context = WorkerContext(max_requests=None)
        self._open: set[Open] = set()
        self._nobody = trio.Event()
        self._config = Config()
        self._config.keep_alive_timeout = idle
        self._config.keep_alive_max_requests = ENDLESS
        self._config.include_server_header = False

    async def run(
        self, host: str, port: int, *, stop: trio.Event, listening: Callable[[str], None]
    ) -> None:
        """Serve until `stop`; `listening` is told the address as soon as it answers."""
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(
                        trio.serve_listeners, self._serve, listeners, handler_nursery=connections
                    )
                )
                listening(_address(host, listeners[0]))
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self._end()
            connections.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = Open(stream)
        self._open.add(connection)
        self._app.control.connections += 1
        state = ConnectionState({"connection": connection})
        try:
            await Conversation(self._wrapped, self._config, self._context, state, stream)  # type: ignore[arg-type]  # it says SSL, and serves both
        except Exception:  # noqa: BLE001 - one broken connection must not end the server
            traceback.print_exc(file=sys.stderr)
        finally:
            self._open.discard(connection)
            self._app.control.connections -= 1
            if not self._open:
                self._nobody.set()
                self._nobody = trio.Event()

    async def _end(self) -> None:
        await self._context.terminated.set()  # idle ones close, the others after their answer
        self._cut(only_hanging=True)
        with trio.move_on_after(self._grace):
            while self._open:
                await self._nobody.wait()
        self._cut(only_hanging=False)

    def _cut(self, *, only_hanging: bool) -> None:
        for connection in list(self._open):
            if connection.hanging or not only_hanging:
                connection.cut(reset=False)


def _address(host: str, listener: trio.SocketListener) -> str:
    port = listener.socket.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
