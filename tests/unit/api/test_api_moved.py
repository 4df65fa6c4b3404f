"""An API whose name moves to another address: two real servers, and a resolver that changes."""

import socket
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.api.transport import MAX_AGE
from syncd.errors import ApiUnavailable
from tests.unit.api.rawserver import NotingPermit, RawServer

GET = Ask(method="GET", path="/list")
NAME = "api.example"


@attrs.define(eq=False)
class Names(trio.abc.HostnameResolver):
    """Knows one name, and where it is at the moment."""

    at: list[str]

    async def getaddrinfo(
        self, host: bytes | None, port: bytes | str | int | None, *_: Any, **__: Any
    ) -> Any:
        await trio.lowlevel.checkpoint()
        assert host == NAME.encode()
        stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        return [(*stream, (address, port)) for address in self.at]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError("nobody asks for names of addresses")


@attrs.define(eq=False, kw_only=True)
class Moving:
    """The old server and the new one, at the same port of two addresses."""

    old: RawServer
    new: RawServer
    names: Names

    def client(self, **changes: Any) -> ApiClient:
        base_url = f"http://{NAME}:{self.old.port}"
        return ApiClient(self.old.source(base_url=base_url, **changes))


@pytest.fixture
async def moving(nursery: trio.Nursery) -> Moving:
    old, new = RawServer(), RawServer(host="127.0.0.2")
    await nursery.start(old.serve)
    new.port = old.port
    await nursery.start(new.serve)
    names = Names([old.host])
    trio.socket.set_custom_hostname_resolver(names)
    return Moving(old=old, new=new, names=names)


async def test_a_name_that_moves_is_followed_within_the_connections_age(
    moving: Moving, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Case 41: the old server stays up with old data; steady traffic does not pin it."""
    asked_at: list[float] = []
    async with moving.client(keepalive=60.0) as client:
        await client.send(GET, permit)
        began = trio.current_time()
        moving.names.at = [moving.new.host]
        while not moving.new.heads:
            await trio.sleep(10)
            await client.send(GET, permit)
            asked_at.append(trio.current_time() - began)
        for _ in range(3):
            await client.send(GET, permit)

    assert asked_at[-1] <= MAX_AGE + 10 + 1
    assert moving.old.connections == moving.new.connections == 1
    assert len(moving.old.heads) == len(asked_at), "until then on the connection that was there"
    assert len(moving.new.heads) == 1 + 3, "and then never again"


async def test_a_name_that_moves_is_followed_at_once_when_the_old_server_is_gone(
    moving: Moving, permit: NotingPermit
) -> None:
    """Case 41: its connection is closed and the next one refused: nobody waits for an age."""
    async with moving.client(keepalive=1e6) as client:
        await client.send(GET, permit)
        moving.old.stop()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(ApiUnavailable, match=f"cannot connect to {NAME}.*refused") as caught:
            await client.send(GET, permit)
        assert caught.value.sent == "no"
        moving.names.at = [moving.new.host]
        assert (await client.send(GET, permit)).status == 200

    assert len(moving.new.heads) == 1


async def test_of_two_addresses_the_one_that_answers_is_taken(
    moving: Moving, permit: NotingPermit
) -> None:
    """Case 41: a name may have both for a while, and the old one refuses."""
    moving.names.at = [moving.old.host, moving.new.host]
    moving.old.stop()
    await trio.testing.wait_all_tasks_blocked(0.01)
    async with moving.client() as client:
        assert (await client.send(GET, permit)).status == 200

    assert len(moving.new.heads) == 1
