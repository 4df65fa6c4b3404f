"""Who listens at the side door: what stands behind each of them, and how they are told."""

import gc
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from weakref import WeakSet

import h11
import pytest
import trio
import trio.testing
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from starlette.requests import Request

from syncd.admin import serving
from syncd.admin.audience import GONE, PARTING, QUIET, READING, SPACING, STILL_HERE, Audience
from syncd.admin.door import Door, Telling
from syncd.admin.feed import Feed
from syncd.admin.listening import listening
from syncd.admin.readiness import Ourselves
from syncd.admin.serving import Conversation
from syncd.config.settings import AdminSettings, Settings

SETTINGS = Settings(state=Path("/state"), sources={}, admin=AdminSettings(listen="127.0.0.1:0"))
ASKING = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LISTENERS = 20
CROWD = 100
LARGE = "x" * 1_000_000  # more than a socket takes
WITHOUT = (TCPServer, H11Protocol, h11.Connection, Request, trio.SocketStream, trio.lowlevel.Task)


class Hall:
    """An audience, and what changes for it."""

    def __init__(self) -> None:
        self.shown = "a"
        self.feed = Feed(
            settings=lambda: SETTINGS,
            around=lambda: {"shown": self.shown},
            clock=trio.current_time,
            safe=str,
            failed=_raise,
        )
        self.audience = Audience(self.feed)
        self._clients: list[Client] = []

    def comes(self, may_stay: Callable[[], bool] = lambda: True) -> "Client":
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.audience.join(ours, may_stay)
        self._clients.append(Client(theirs))
        return self._clients[-1]

    def closes(self) -> None:
        for client in self._clients:
            client.stream.socket.close()

    def changes(self, shown: str) -> None:
        self.shown = shown
        self.feed.publish()


class Client:
    """Reads what it is sent."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._read = b""

    async def piece(self) -> bytes:
        """The next event or comment; empty at the end."""
        while b"\n\n" not in self._read:
            more = await self.stream.receive_some()
            if not more:
                return b""
            self._read += more
        piece, _, self._read = self._read.partition(b"\n\n")
        return piece + b"\n\n"

    async def shown(self) -> str:
        """What the next event shows."""
        return str(json.loads((await self.piece()).rpartition(b"data: ")[2])["shown"])


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture
async def hall(nursery: trio.Nursery) -> AsyncIterator[Hall]:
    hall = Hall()
    nursery.start_soon(hall.audience.run)
    nursery.start_soon(hall.feed.keep_up)
    yield hall
    nursery.cancel_scope.cancel()
    hall.closes()


async def test_a_listener_is_told_what_changes_and_that_it_stands(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    """accounted: at once how it is; a change at most once a second; a comment when all is quiet."""
    client = hall.comes()
    assert await client.shown() == "a"
    told = trio.current_time()
    hall.changes("b")
    hall.changes("c")
    assert await client.shown() == "c"
    assert trio.current_time() - told == pytest.approx(SPACING)
    assert await client.piece() == STILL_HERE
    assert trio.current_time() - told == pytest.approx(SPACING + QUIET)


async def test_who_reads_slowly_gets_the_newest_picture_when_it_can_take_one(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: nothing is queued, and nobody waits for it."""
    slow, quick = hall.comes(), hall.comes()
    assert (await slow.shown(), await quick.shown()) == ("a", "a")
    hall.changes(LARGE)
    assert await quick.shown() == LARGE
    hall.changes("b")
    assert await quick.shown() == "b"
    hall.changes("c")
    assert await quick.shown() == "c"
    assert (await slow.shown(), await slow.shown()) == (LARGE, "c")


async def test_who_does_not_read_is_cut(hall: Hall, autojump_clock: trio.testing.MockClock) -> None:
    """contained: after half a minute with one event."""
    deaf = hall.comes()
    assert await deaf.shown() == "a"
    hall.changes(LARGE)
    await trio.sleep(SPACING + READING - 1)
    assert hall.audience.listeners
    await trio.sleep(2)
    assert not hall.audience.listeners


async def test_who_leaves_is_missed_at_once(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: and not when there is something to tell."""
    client = hall.comes()
    await client.shown()
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert not hall.audience.listeners


async def test_who_may_not_stay_hears_nothing_more(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    """all-or-nothing-reload: the token is another one since."""
    may = True
    client = hall.comes(lambda: may)
    assert await client.shown() == "a"
    may = False
    hall.changes("b")
    assert await client.piece() == b""


async def test_at_the_end_all_are_told_and_nobody_is_waited_for(
    hall: Hall, autojump_clock: trio.testing.MockClock
) -> None:
    """drain: who reads hears that it is over; who does not is cut a second later."""
    deaf, client = hall.comes(), hall.comes()
    assert (await deaf.shown(), await client.shown()) == ("a", "a")
    hall.changes(LARGE)
    assert await client.shown() == LARGE
    began = trio.current_time()
    new = hall.comes()
    hall.feed.end()
    assert (await client.piece(), await client.piece()) == (GONE, b"")
    assert ((await new.piece()).endswith(GONE), await new.piece()) == (True, b"")
    assert trio.current_time() == began
    await trio.sleep(PARTING + 0.1)
    assert not hall.audience.listeners
    assert await hall.comes().piece() == b""


@asynccontextmanager
async def open_door(
    before: Callable[[tuple[str, int]], None] = lambda _: None,
) -> AsyncIterator[tuple[str, int]]:
    """A whole one, without a daemon behind it.

    before: what happens when one can come, and nobody is let in yet.
    """
    door = Door(
        settings=SETTINGS,
        ourselves=Ourselves(host="here", pid=1),
        version="1",
        recent=list,
        telling=Telling(refused=lambda *_: None, failed=_raise, safe=str),
        clock=trio.current_time,
    )
    with listening(AdminSettings(listen="127.0.0.1:0")) as sock:
        before(sock.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.run, sock)
            yield sock.getsockname()
            nursery.cancel_scope.cancel()


def _alive() -> Counter[type]:
    gc.collect()
    return Counter({kind: sum(isinstance(o, kind) for o in gc.get_objects()) for kind in WITHOUT})


async def test_behind_a_listener_stands_its_socket_alone() -> None:
    """contained: a crowd costs no task, and nothing that hypercorn made to understand it."""
    async with open_door() as address, AsyncExitStack() as stack:
        streamless = []

        async def comes() -> None:
            sock = stack.enter_context(closing(socket.create_connection(address)))
            sock.send(ASKING)
            client = Client(sock)
            await client.piece()
            streamless.append(client.stream.socket)

        await comes()
        before = _alive()
        for _ in range(LISTENERS):
            await comes()
        for kind, count in _alive().items():
            assert count - before[kind] < LISTENERS / 2, kind


async def test_of_who_was_answered_nothing_waits_for_the_garbage_collector() -> None:
    """contained: a crowd's conversations would stand in memory until it comes by."""
    gc.collect()
    gc.disable()
    try:
        async with open_door() as address:
            for _ in range(LISTENERS):
                with closing(socket.create_connection(address)) as sock:
                    sock.send(ASKING)
                    await Client(sock).piece()
            left = sum(isinstance(o, HTTPStream) for o in gc.get_objects())
    finally:
        gc.enable()
    assert left < LISTENERS / 2


async def test_of_a_crowd_few_are_in_conversation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """contained: what it takes to understand a request is not there for all of them at once."""
    conversations: WeakSet[Conversation] = WeakSet()
    most = 0

    class Counted(Conversation):
        def __init__(self, *args: Any) -> None:
            nonlocal most
            super().__init__(*args)
            conversations.add(self)
            most = max(most, len(conversations))

    monkeypatch.setattr(serving, "Conversation", Counted)
    with ExitStack() as stack:
        clients = []

        def come(address: tuple[str, int]) -> None:
            for _ in range(CROWD):
                sock = stack.enter_context(closing(socket.create_connection(address)))
                sock.send(ASKING)
                clients.append(Client(sock))

        async with open_door(come):
            for client in clients:
                await client.piece()
    assert 0 < most <= 3 * serving.FEW


async def test_who_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """contained: the silent are waited for a moment, and cut in their time."""
    monkeypatch.setattr(serving, "IDLE", 2.0)
    with ExitStack() as stack:
        silent = []

        def come(address: tuple[str, int]) -> None:
            for _ in range(2 * CROWD):
                sock = stack.enter_context(closing(socket.create_connection(address)))
                sock.send(ASKING[:10])
                silent.append(Client(sock))

        async with open_door(come) as address:
            began = trio.current_time()
            sock = stack.enter_context(closing(socket.create_connection(address)))
            sock.send(HEALTH)
            assert (await Client(sock).stream.receive_some()).startswith(b"HTTP/1.1 200")
            assert trio.current_time() - began < serving.IDLE - 0.5, "when they are cut"
            for client in silent:
                assert await client.piece() == b""


async def test_who_is_slow_to_be_answered_keeps_nobody_out() -> None:
    """contained: as many ask for what Postgres does not tell."""
    told = trio.Event()

    async def app(scope: Any, _: Any, send: Any, *__: Any) -> None:
        if scope["path"] == "/slow":
            await told.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with listening(AdminSettings(listen="127.0.0.1:0")) as sock, ExitStack() as stack:
        address = sock.getsockname()

        def ask(path: bytes) -> Client:
            client = stack.enter_context(closing(socket.create_connection(address)))
            client.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            return Client(client)

        async with trio.open_nursery() as nursery:
            slow = [ask(b"/slow") for _ in range(CROWD)]
            quick = ask(b"/quick")
            nursery.start_soon(serving.Server(app, _raise, ()).run, sock)
            with trio.fail_after(CROWD * serving.MOMENT):
                assert (await quick.stream.receive_some()).startswith(b"HTTP/1.1 200")
            told.set()
            for client in slow:
                assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()


async def test_who_waits_for_an_answer_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """accounted: neither for the first one, nor for one that was asked for meanwhile."""
    monkeypatch.setattr(serving, "IDLE", 0.1)

    async def app(_: Any, __: Any, send: Any, *___: Any) -> None:
        await trio.sleep(serving.IDLE + 2 * serving.LATE)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with (
        listening(AdminSettings(listen="127.0.0.1:0")) as sock,
        closing(socket.create_connection(sock.getsockname())) as client,
    ):
        client.send(2 * HEALTH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.Server(app, _raise, ()).run, sock)
            stream = Client(client).stream
            for _ in range(2):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 204")
            assert await stream.receive_some() == b"", "it is idle now"
            nursery.cancel_scope.cancel()


async def test_an_answer_leaves_no_deadline_behind() -> None:
    """contained: trio holds each until it is over, so 200 requests a second would hold many."""
    async with open_door() as address:
        with closing(socket.create_connection(address)) as sock:
            client = Client(sock)

            async def ask(times: int) -> int:
                for _ in range(times):
                    sock.send(HEALTH)
                    while b"\r\n\r\n" not in await client.stream.receive_some():
                        pass
                gc.collect()
                return sum(isinstance(o, trio.CancelScope) for o in gc.get_objects())

            before = await ask(1)
            assert await ask(2 * LISTENERS) < before + LISTENERS
