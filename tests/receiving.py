"""A real HTTP receiver, in the test's own Trio: it keeps what it was sent, and answers as told.

async with running_receiver() as receiver:
... a [[notify]] with url = receiver.url("hook") ...
message = await receiver.message(alarm="parked", state="firing")
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import trio

WITHIN = 30.0  # seconds


@attrs.frozen(kw_only=True)
class Received:
    """One request, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""

    body: bytes
    status: int
    """What it was answered."""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@attrs.define(eq=False)
class Receiver:
    """What came, and what is answered."""

    port: int = attrs.field(default=0, init=False)
    status: dict[str, int] = attrs.field(factory=dict, init=False)
    """By path, where it is not 204."""

    silent: set[str] = attrs.field(factory=set, init=False)
    """Paths that are not answered at all."""

    received: list[Received] = attrs.field(factory=list, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def taken(self, name: str = "hook") -> list[Received]:
        """What came to this path and was answered well."""
        return [r for r in self.received if r.path == f"/{name}" and r.status < 300]

    def said(self, name: str = "hook") -> list[tuple[str, str]]:
        """Alarm and state of each message that was taken, in order."""
        return [(r.json["alarm"], r.json["state"]) for r in self.taken(name)]

    async def until(self, count: int, name: str = "hook", *, any_status: bool = False) -> None:
        """Wait until so many came there."""
        with trio.fail_after(WITHIN):
            while True:
                came = self.received if any_status else self.taken(name)
                if sum(r.path == f"/{name}" for r in came) >= count:
                    return
                await self._news.wait()

    async def message(self, alarm: str, state: str, name: str = "hook") -> Received:
        """Wait for the first such message."""
        try:
            with trio.fail_after(WITHIN):
                while True:
                    for each in self.taken(name):
                        if (each.json["alarm"], each.json["state"]) == (alarm, state):
                            return each
                    await self._news.wait()
        except trio.TooSlowError:
            raise AssertionError(f"no {alarm}, {state} among {self.said(name)}") from None

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        async with stream:
            try:
                while True:
                    event = connection.next_event()
                    if event is h11.NEED_DATA:
                        connection.receive_data(await stream.receive_some())
                    elif isinstance(event, h11.Request):
                        request = event
                    elif isinstance(event, h11.Data):
                        body += event.data
                    elif isinstance(event, h11.EndOfMessage) and request is not None:
                        await self._answer(stream, connection, request, body)
                        return
                    else:
                        return
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return

    async def _answer(
        self,
        stream: trio.SocketStream,
        connection: h11.Connection,
        request: h11.Request,
        body: bytes,
    ) -> None:
        path = request.target.decode()
        silent = path.removeprefix("/") in self.silent
        status = 599 if silent else self.status.get(path.removeprefix("/"), 204)
        self.received.append(
            Received(
                method=request.method.decode(),
                path=path,
                headers={name.decode(): value.decode() for name, value in request.headers},
                body=body,
                status=status,
            )
        )
        self._news.set()
        self._news = trio.Event()
        if silent:
            await stream.receive_some()  # until the other side has had enough
            return
        headers = [("connection", "close"), ("location", self.url("elsewhere"))]
        await stream.send_all(
            (connection.send(h11.Response(status_code=status, headers=headers)) or b"")
            + (connection.send(h11.EndOfMessage()) or b"")
        )


@asynccontextmanager
async def running_receiver(port: int = 0) -> AsyncIterator[Receiver]:
    """Listen until the end of the body."""
    receiver = Receiver()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, receiver.serve, port, host="127.0.0.1")
        )
        receiver.port = listeners[0].socket.getsockname()[1]
        yield receiver
        nursery.cancel_scope.cancel()


def verifier(page: str) -> Any:
    """The function that a page shows for the signature."""
    _, _, rest = page.partition("```python\n")
    room: dict[str, Any] = {}
    exec(rest.partition("```")[0], room)  # noqa: S102 - our own page
    return room["verify"]
