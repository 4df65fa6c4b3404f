"""A daemon with a side door, and who knocks at it."""

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import trio

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import Syncd, config
from tests.daemon.running import Daemon, daemon

SPEED = 60.0
TOKEN = "knock-knock-knock-4711"
STREAM = "/api/streams/adplatform.campaigns"
ADDRESS = "the side door is open address="


def with_door(text: str, listen: str = "127.0.0.1:0", more: str = "") -> str:
    """The config with a side door, at a port that is free."""
    return f'{text}\n[admin]\nlisten = "{listen}"\ntoken = {{ env = "KNOCK" }}\n{more}'


@attrs.define(eq=False)
class Door:
    """The side door of a daemon, seen from outside."""

    daemon: Daemon
    syncd: Syncd
    mock: MockServer
    client: httpx.AsyncClient

    @property
    def address(self) -> tuple[str, int]:
        url = self.client.base_url
        return url.host, url.port or 0

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.get(path, **options)

    async def json(self, path: str, **options: Any) -> Any:
        answer = await self.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(
        self, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str
    ) -> httpx.Response:
        """With a good token, if nothing else is said; `header_name` becomes `header-name`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        sent.setdefault("content-type", "application/json")
        content = json.dumps({} if body is None else body)
        return await self.client.post(path, content=content, headers=sent)

    async def audit(self) -> list[dict[str, Any]]:
        found = await self.json("/api/audit", headers={"authorization": f"Bearer {TOKEN}"})
        entries: list[dict[str, Any]] = found["entries"]
        return entries

    async def audit_is_there(self) -> dict[str, Any]:
        """The newest entry, as soon as there is one."""
        while True:
            if found := await self.audit():
                return found[0]
            await trio.sleep(0.05)

    async def answered(self, number: int) -> dict[str, Any]:
        """What came of a request."""
        while True:
            found: dict[str, Any] = await self.json(f"/api/requests/{number}")
            if found["done"]:
                return found
            await trio.sleep(0.05)

    async def connect(self, *, buffer: int | None = None) -> trio.SocketStream:
        """A connection without any manners."""
        sock = trio.socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await sock.connect(self.address)
        return trio.SocketStream(sock)


@asynccontextmanager
async def knocking(
    syncd: Syncd, database: str | None, *, module: str = "syncd", more: str = "", **options: Any
) -> AsyncIterator[Door]:
    """A daemon that has said where its side door is."""
    campaigns = {"campaigns": options.pop("campaigns", 12), "fail_every": 0, "hang_every": 0}
    async with running_mock(speed=SPEED, **campaigns) as mock:
        text = config(mock.base_url, database, speed=SPEED, size=4, **options)
        syncd.write(with_door(text, more=more))
        async with opened(syncd, mock, module=module) as door:
            yield door


@asynccontextmanager
async def opened(syncd: Syncd, mock: MockServer, *, module: str = "syncd") -> AsyncIterator[Door]:
    """The same for a config that is there."""
    async with daemon(syncd, module, environ={"KNOCK": TOKEN}) as running:
        await running.until(ADDRESS)
        where = running.said.partition(ADDRESS)[2].split()[0]
        if where.startswith("unix:"):
            transport = httpx.AsyncHTTPTransport(uds=where[5:])
            client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        else:
            client = httpx.AsyncClient(base_url=where)
        async with client:
            yield Door(running, syncd, mock, client)


@attrs.define(eq=False)
class Listener:
    """One who listens to what changes."""

    _stream: trio.SocketStream
    _read: bytes = attrs.field(default=b"", init=False)

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event, and what it says."""
        while True:
            head, found, rest = self._read.partition(b"\n\n")
            lines = dict(line.split(b": ", 1) for line in head.split(b"\n") if b": " in line)
            if found and b"event" in lines:
                self._read = rest
                return lines[b"event"].decode(), json.loads(lines[b"data"])
            if found:
                self._read = rest
                continue
            piece = await self._stream.receive_some()
            if not piece:
                raise EOFError
            self._read += piece

    async def until(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that is so."""
        with trio.fail_after(30):
            while True:
                kind, shown = await self.next()
                if kind == "status" and good(shown):
                    return shown


@asynccontextmanager
async def listening(door: Door) -> AsyncIterator[Listener]:
    """Listen, in the oldest HTTP: it has no framing but the end."""
    async with await door.connect() as stream:
        await stream.send_all(b"GET /api/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        listener = Listener(stream)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some(1)
        assert b" 200 " in head.partition(b"\r\n")[0], head
        yield listener
