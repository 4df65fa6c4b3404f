"""A server that does to the byte what a test tells it to, and a permit that takes notes."""

import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import attrs
import trio

from syncd.config.settings import Secret, SourceSettings, TokenLogin
from syncd.sync.ports import PLAIN, Permit, Price, Quota

Behaviour = Callable[["Connection"], Awaitable[None]]


@attrs.define(eq=False)
class Connection:
    """One connection, at the moment when a request has arrived."""

    stream: trio.SocketStream
    number: int
    open: bool = True

    async def close(self) -> None:
        self.open = False
        await self.stream.aclose()


def raw(data: bytes, *, close: bool = False) -> Behaviour:
    """Send these bytes."""

    async def behave(connection: Connection) -> None:
        await connection.stream.send_all(data)
        if close:
            await connection.close()

    return behave


def answer(status: int, body: bytes = b"", *, close: bool = False, **headers: str) -> Behaviour:
    """Send a well-formed answer; a header's underscores stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, close=close)


def ok(body: bytes = b"{}", **headers: str) -> Behaviour:
    return answer(200, body, close=False, **headers)


async def cut(connection: Connection) -> None:
    """Close without a word."""
    await connection.close()


async def hang(_: Connection) -> None:
    await trio.sleep_forever()


def after(event: trio.Event, then: Behaviour) -> Behaviour:
    async def behave(connection: Connection) -> None:
        await event.wait()
        await then(connection)

    return behave


async def drip(connection: Connection) -> None:
    """A byte now and then, for ever: no single read ever takes long."""
    await connection.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await connection.stream.send_all(b" ")
        await trio.sleep(1)


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


@attrs.define(eq=False)
class RawServer:
    """Logins are answered with numbered tokens; all else follows the script, then `otherwise`."""

    script: deque[Behaviour] = attrs.field(factory=deque)
    logins: deque[Behaviour] = attrs.field(factory=deque)
    otherwise: Behaviour = attrs.field(factory=ok)
    life: str = "3600"
    heads: list[str] = attrs.field(factory=list)
    """Of each request but the logins."""

    login_heads: list[str] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)
    """Of each request, logins among them."""

    connections: int = 0
    on: list[int] = attrs.field(factory=list)
    """The connection that each request came on."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""

    _nursery: trio.Nursery | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def will(self, *behaviours: Behaviour) -> Self:
        self.script.extend(behaviours)
        return self

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            open_ = await trio.open_tcp_listeners(self.port, host=self.host)
            listeners = await self._nursery.start(trio.serve_listeners, self._connection, open_)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    def stop(self) -> None:
        """Close all that is open, and refuse what comes."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        connection = Connection(stream, self.connections)
        buffer = b""
        try:
            while connection.open:
                while b"\r\n\r\n" not in buffer:
                    data = await stream.receive_some()
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                body = _length(head)
                while len(buffer) < body:
                    buffer += await stream.receive_some()
                self.bodies.append(buffer[:body])
                buffer = buffer[body:]
                await self._request(connection, head.decode())
        except trio.BrokenResourceError:
            return  # the client left, as it may

    async def _request(self, connection: Connection, head: str) -> None:
        if head.startswith("POST /auth/token "):
            self.login_heads.append(head)
            body = '{"access_token": "bearer-%d", "expires_in": %s}'
            issue = ok((body % (len(self.login_heads), self.life)).encode())
            await (self.logins.popleft() if self.logins else issue)(connection)
            return
        self.heads.append(head)
        self.on.append(connection.number)
        await (self.script.popleft() if self.script else self.otherwise)(connection)

    def source(self, **changes: Any) -> SourceSettings:
        """Settings of a source that talks to this server."""
        settings = SourceSettings(name="s", base_url=self.url)
        return attrs.evolve(settings, **changes)


def token_auth(**changes: Any) -> TokenLogin:
    password = Secret("canary-pässword:1", "env PASSWORD")
    return attrs.evolve(TokenLogin(username="me@example.org", password=password), **changes)


@attrs.define(eq=False)
class NotingPermit:
    """Notes what it is told, in order; waits and fails where a test says so."""

    notes: list[str] = attrs.field(factory=list)
    prices: list[Price] = attrs.field(factory=list)
    quotas: list[Quota] = attrs.field(factory=list)
    sent: int = 0
    spend_waits: float = 0.0
    confirm_waits: float = 0.0
    confirm_waits_once: float = 0.0
    confirm_raises: Exception | None = None

    async def spend(self, price: Price = PLAIN) -> None:
        self.notes.append("spend")
        self.prices.append(price)
        await _pass(self.spend_waits)

    async def confirm(self) -> None:
        self.notes.append("confirm")
        once, self.confirm_waits_once = self.confirm_waits_once, 0.0
        await _pass(self.confirm_waits + once)
        if self.confirm_raises is not None:
            raise self.confirm_raises
        self.sent += 1

    async def pause(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def written(self) -> None:
        self.notes.append("written")

    def answered(self) -> None:
        self.notes.append("answered")

    def refused(self) -> None:
        self.notes.append("refused")

    def told(self, quotas: Sequence[Quota]) -> None:
        self.quotas.extend(quotas)


async def _pass(seconds: float) -> None:
    await trio.lowlevel.checkpoint()
    if seconds:
        await trio.sleep(seconds)


_: Permit = NotingPermit()
