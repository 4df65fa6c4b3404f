"""HTTP on a real socket, in the test's own Trio: what is asked is noted, and answered as told.

A handler answers each request.  It may wait for whatever the test waits for: other connections
go on meanwhile, and whoever asked may be killed.
"""

import json
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import attrs
import h11
import trio

WITHIN = 30.0  # seconds for what takes a few milliseconds


@attrs.define(eq=False, kw_only=True)
class Asked:
    """One request, whole."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""

    body: bytes
    at: float
    """When it had come, on Trio's clock."""

    status: int | None = None
    """What it was answered, once it was."""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode()))


@attrs.frozen(kw_only=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: Any = attrs.field(factory=dict)
    """Sent as JSON."""

    headers: Mapping[str, str] = attrs.field(factory=dict)
    half: trio.Event | None = None
    """Half of the body is sent, this is set, and the rest never comes."""


Handler = Callable[[Asked], Awaitable[Answer]]


@attrs.define(eq=False)
class Gate:
    """A place where a request is held until the test lets it go on."""

    reached: trio.Event = attrs.field(factory=trio.Event, init=False)
    _open: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def passed(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()

    async def wait(self) -> None:
        """Until somebody stands there."""
        with trio.fail_after(WITHIN):
            await self.reached.wait()


@attrs.define(eq=False)
class Herd:
    """A place where so many gather before any of them goes on."""

    size: int
    came: int = attrs.field(default=0, init=False)
    whole: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def gathered(self) -> None:
        self.came += 1
        if self.came == self.size:
            self.whole.set()
        await self.whole.wait()


async def _served(handler: Handler, stream: trio.abc.Stream) -> None:
    """One connection, until either side has had enough."""
    async with stream:
        try:
            connection = h11.Connection(h11.SERVER)
            while await _answered(handler, connection, stream):
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError, ssl.SSLError):
            return


async def _answered(handler: Handler, connection: h11.Connection, stream: trio.abc.Stream) -> bool:
    """Whether one request was answered, and another may come."""
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            break
        else:
            return False
    asked = _asked(request, body)
    answer = await handler(asked)
    asked.status = answer.status
    await _send(connection, stream, answer)
    return connection.our_state is h11.DONE


def _asked(request: h11.Request, body: bytes) -> Asked:
    parts = urllib.parse.urlsplit(request.target.decode())
    return Asked(
        method=request.method.decode(),
        path=parts.path,
        params=dict(urllib.parse.parse_qsl(parts.query)),
        headers={name.decode(): value.decode() for name, value in request.headers},
        body=body,
        at=trio.current_time(),
    )


async def _send(connection: h11.Connection, stream: trio.abc.Stream, answer: Answer) -> None:
    text = json.dumps(answer.body).encode()
    own = {"Content-Type": "application/json", "Content-Length": str(len(text))}
    head = h11.Response(
        status_code=answer.status,
        headers=[(n.encode(), v.encode()) for n, v in {**own, **answer.headers}.items()],
    )
    data = connection.send(head) or b""
    if answer.half is not None:
        await stream.send_all(data + text[: len(text) // 2])
        answer.half.set()
        await stream.receive_some()  # until the other side is gone
        return
    data += connection.send(h11.Data(data=text)) or b""
    await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))


@asynccontextmanager
async def served(
    handler: Handler, contexts: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[int]:
    """Listen until the end of the body; the port.

    contexts: gives the TLS of each connection when it is opened; None: there is none.
    """

    async def connected(stream: trio.SocketStream) -> None:
        secured = stream if contexts is None else await _secured(stream, contexts())
        if secured is not None:
            await _served(handler, secured)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, connected, 0, host="127.0.0.1"))
        try:
            yield listeners[0].socket.getsockname()[1]
        finally:
            nursery.cancel_scope.cancel()


async def _secured(
    stream: trio.SocketStream, context: ssl.SSLContext
) -> trio.SSLStream[trio.SocketStream] | None:
    """The connection, once both sides have shown who they are; None if one does not believe it."""
    secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError:
        # The alert, which says what was wrong: Trio leaves it unsent.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(secured._outgoing.read())
        await stream.aclose()
        return None
    return secured
