"""Lets something happen before each request that reaches a server."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class Relay:
    """Bytes pass unchanged; requests of a few hundred bytes come in one piece each."""

    to: int
    before: Callable[[], None] | None = None
    """Done before a request is passed on; it may block."""

    requests: int = attrs.field(default=0, init=False)
    port: int = attrs.field(default=0, init=False)

    async def handle(self, client: trio.SocketStream) -> None:
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.to)
        except OSError:
            return
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._back, server, client, nursery.cancel_scope)
            try:
                async for piece in client:
                    self.requests += 1
                    if self.before is not None:
                        await trio.to_thread.run_sync(self.before)
                    await server.send_all(piece)
            except GONE:
                pass
            nursery.cancel_scope.cancel()

    async def _back(
        self, server: trio.SocketStream, client: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for piece in server:
                await client.send_all(piece)
        except GONE:
            pass
        scope.cancel()


@asynccontextmanager
async def relayed(to: int, before: Callable[[], None] | None = None) -> AsyncIterator[Relay]:
    relay = Relay(to, before)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, relay.handle, 0, host="127.0.0.1"))
        relay.port = listeners[0].socket.getsockname()[1]
        yield relay
        nursery.cancel_scope.cancel()
