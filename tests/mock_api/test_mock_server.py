"""The server itself: a process, sockets, and everything that only they can do.

No sleeps: what is waited for is an answer, the end of a connection, or the end
of a process.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mock_api.crowd import crowd
from mock_api.testing import MockFailed, MockServer, running_mock

LOGIN = ("ads@example.com", "secret")
LIST = "/api/campaigns"
MIB = 1024 * 1024


@asynccontextmanager
async def client_of(mock: MockServer, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is logged in and keeps no connections."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=mock.base_url, trust_env=False, limits=limits, timeout=10, **more
    ) as client:
        answer = await client.post("/auth/token", auth=LOGIN)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


async def raw(mock: MockServer, request: bytes) -> trio.SocketStream:
    """A connection on which these bytes were sent."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(mock.base_url.rpartition(":")[2]))
    await stream.send_all(request)
    return stream


async def rest(stream: trio.SocketStream) -> bytes:
    """All that still comes, until the server ends it."""
    with trio.fail_after(15):
        return b"".join([piece async for piece in stream])


async def test_a_client_that_comes_as_it_likes_is_refused_but_never_served_too_much() -> None:
    """Thirty at once on one id: ten are served, and no window held more, by the journal."""
    async with running_mock(speed=20, fail_every=0, hang_every=0) as mock, client_of(mock) as http:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await http.get(LIST)).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask)
        stats, windows = await mock.stats(), await mock.windows()
        assert sorted(statuses) == [200] * 10 + [429] * 20
        assert windows["fullest"] == 10
        assert (stats["refused_429"], stats["counted"], stats["logins"]) == (20, 10, 1)
        entries = [entry for entry in await mock.requests() if entry["path"] == LIST]
        assert sorted(entry["status"] for entry in entries) == sorted(statuses)
        assert all(entry["answered"] >= entry["arrived"] for entry in entries)
        arrivals = [entry["arrived"] for entry in entries]
        assert arrivals == sorted(arrivals)


async def test_a_sync_takes_its_time_and_is_carried_out_once_when_asked_twice_at_once() -> None:
    async with running_mock(speed=10) as mock, client_of(mock) as http:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            headers = {"Idempotency-Key": "k"}
            answers.append(await http.post(f"{LIST}/camp_3/sync", headers=headers))

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert trio.current_time() - started >= 0.2
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["campaign_id"] == "camp_3"
        calls = await mock.calls()
        assert calls["by_id"] == {"camp_3": {"asked": 2, "carried_out": 1}}
        keys = [entry["key"] for entry in await mock.requests()]
        assert keys == ["", "k", "k"]


async def test_campaigns_change_while_it_runs() -> None:
    async with running_mock(campaigns=3) as mock, client_of(mock) as http:
        assert await mock.add(2) == ["camp_4", "camp_5"]
        await mock.remove("camp_2")
        changed = await mock.change("camp_1", drop=("budget",), name='"; DROP TABLE\n𝄞')
        assert changed is not None
        page = (await http.get(LIST)).json()
        assert page["data"] == await mock.campaigns()
        assert page["data"][0] == changed
        assert "budget" not in changed
        assert page["pagination"]["total"] == 4
        await mock.change("camp_4", raw='{"id": NaN}')
        assert '{"id": NaN}' in (await http.get(LIST)).text
        with pytest.raises(MockFailed, match="camp_2"):
            await mock.remove("camp_2")


async def test_expired_tokens_pass_no_more() -> None:
    async with running_mock() as mock, client_of(mock) as http:
        assert (await http.get(LIST)).status_code == 200
        assert await mock.expire_tokens() == 1
        assert (await http.get(LIST)).status_code == 401


async def test_an_idle_connection_is_closed() -> None:
    """Both the one that never asked and the one that was answered."""
    async with running_mock(idle=0.1) as mock:
        async with await raw(mock, b"") as silent:
            assert await rest(silent) == b""
        async with await raw(mock, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n") as answered:
            assert b'{"status": "ok"}' in await rest(answered)


async def test_a_connection_that_its_client_closed_is_let_go_before_it_is_idle_too_long() -> None:
    async with running_mock(idle=1000) as mock:
        stream = await raw(mock, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive_some()
        await stream.aclose()
        with trio.fail_after(30):
            while (await mock.stats())["connections"] > 1:  # the one that asks
                await trio.lowlevel.checkpoint()


async def test_a_request_that_comes_late_is_counted_then_and_not_when_it_was_sent() -> None:
    async with running_mock(speed=20, late=1, late_by=10) as mock, client_of(mock) as http:
        sent = time.monotonic()
        assert (await http.get(LIST)).status_code == 200
        (entry,) = [entry for entry in await mock.requests() if entry["path"] == LIST]
        assert entry["arrived"] - sent >= 0.5
        assert entry["fault"] == "late"


async def fired(mock: MockServer) -> None:
    """Wait until the script's first rule has had a request."""
    with trio.fail_after(30):
        while (await mock.rules())[0]["fired"] == 0:
            await trio.lowlevel.checkpoint()


async def test_a_request_that_comes_late_is_refused_if_others_took_the_window_meanwhile() -> None:
    async with running_mock(speed=20, limit=1) as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, "on": [1], "late": 20})
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await http.get(LIST)).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await fired(mock)
            await ask()
        assert statuses == [200, 429]


async def test_a_request_that_comes_late_is_counted_although_its_client_has_left() -> None:
    async with running_mock(speed=20) as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, "late": 20})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, LIST)
            await fired(mock)
            nursery.cancel_scope.cancel()
        assert (await mock.stats())["counted"] == 0
        with trio.fail_after(30):
            while (await mock.stats())["counted"] == 0:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_is_cut_before_the_headers(reset: bool) -> None:
    async with running_mock() as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, "on": [1], "cut": "before-headers", "reset": reset})
        with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
            await http.get(LIST)
        assert (await http.get(LIST)).status_code == 200
        entry = next(entry for entry in await mock.requests() if entry["fault"])
        assert (entry["status"], entry["answered"], entry["cost"]) == (None, None, True)
        assert (await mock.rules())[0]["fired"] == 1


@pytest.mark.parametrize("rule", [{"cut": "mid-body"}, {"truncate": 40}])
async def test_a_body_ends_before_its_length(rule: dict[str, Any]) -> None:
    async with running_mock() as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, **rule})
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await http.get(LIST)


async def test_a_body_can_be_short_and_well_declared() -> None:
    """HTTP is satisfied; the JSON ends in its middle."""
    async with running_mock() as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, "truncate": 40, "declare": "sent"})
        answer = await http.get(LIST)
        assert len(answer.content) == 40
        with pytest.raises(json.JSONDecodeError):
            answer.json()


async def test_a_body_drips_and_arrives_whole() -> None:
    async with running_mock(speed=10) as mock, client_of(mock) as http:
        whole = (await http.get(f"{LIST}?limit=1")).text
        await mock.faults({"path": LIST, "drip": {"bytes": 50, "every": 0.2}})
        started = trio.current_time()
        assert (await http.get(f"{LIST}?limit=1")).text == whole
        assert trio.current_time() - started >= (len(whole) // 50 - 1) * 0.02


async def test_a_bomb_is_small_on_the_wire_and_the_same_json_when_it_is_unpacked() -> None:
    """200 MB out of 200 kB; here it is only weighed, and a smaller one unpacked."""
    async with running_mock() as mock, client_of(mock) as http:
        await mock.faults({"path": LIST, "on": [1], "bomb": 200}, {"path": LIST, "bomb": 2})
        async with http.stream("GET", LIST) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert int(answer.headers["content-length"]) < 250_000
        answer = await http.get(LIST)
        assert len(answer.content) > 2_000_000
        assert len(answer.json()["data"]) == 10


async def test_status_headers_and_bytes_are_sent_as_the_script_says() -> None:
    async with running_mock() as mock, client_of(mock) as http:
        await mock.faults(
            {"path": LIST, "on": [1], "status": 418, "headers": {"X-A": "b"}, "body": {"a": 1}},
            {"path": LIST, "on": [2], "body_base64": "77u//w=="},
            {"path": LIST, "on": [3], "gzip": True},
        )
        first, second, third, fourth = [await http.get(LIST) for _ in range(4)]
        assert (first.status_code, first.headers["x-a"], first.json()) == (418, "b", {"a": 1})
        assert (second.status_code, second.content) == (200, b"\xef\xbb\xbf\xff")
        assert third.headers["content-encoding"] == "gzip"
        assert third.json() == fourth.json()


async def test_a_bad_script_is_refused_and_the_old_one_stays() -> None:
    async with running_mock() as mock:
        await mock.faults({"status": 500})
        with pytest.raises(MockFailed, match="statuss"):
            await mock.faults({"statuss": 500})
        assert [rule["status"] for rule in await mock.rules()] == [500]


async def test_the_faults_of_a_file_hold_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('{"rules": [{"path": "/health", "status": 500}]}')
    async with running_mock(faults=file) as mock, client_of(mock) as http:
        assert (await http.get("/health")).status_code == 500


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_leaves_at_once_though_requests_hang(sig: signal.Signals) -> None:
    """A hung request, a slow one and an idle connection: the slow one is still answered."""
    async with running_mock(speed=10, hang_every=1) as mock, client_of(mock) as http:
        bearer = http.headers["Authorization"].encode()
        head = b" HTTP/1.1\r\nhost: x\r\nauthorization: " + bearer + b"\r\n\r\n"
        idle = await raw(mock, b"")
        hung = await raw(mock, b"GET /api/campaigns" + head)
        slow = await raw(mock, b"POST /api/campaigns/camp_1/sync" + head)
        with trio.fail_after(30):
            while (await mock.stats())["counted"] < 2:
                await trio.lowlevel.checkpoint()
        async with idle, hung, slow:
            with trio.fail_after(15):
                mock.send_signal(sig)
                assert await mock.wait() == 0
            assert await rest(idle) == b""
            assert await rest(hung) == b""
            assert b'"success": true' in await rest(slow)


async def test_it_stops_when_a_client_does_not_read_what_it_is_sent() -> None:
    """Megabytes wait in a socket that nobody reads: they are cut, the stop is clean."""
    async with running_mock(speed=10) as mock, client_of(mock) as http:
        await mock.faults({"path": "/health", "body": "x" * 20_000_000})
        stuck = await raw(mock, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        async with stuck:
            await stuck.receive_some(1)
            with trio.fail_after(15):
                assert await mock.stop() == 0
        del http


async def test_it_goes_when_whoever_started_it_is_gone() -> None:
    command = [sys.executable, "-m", "mock_api", "--port", "0", "--stop-with-stdin"]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        line = await process.stdout.receive_some()
        assert json.loads(line)["listening"].startswith("http://127.0.0.1:")
        await process.stdin.aclose()
        with trio.fail_after(15):
            assert await process.wait() == 0


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async with running_mock() as mock:
        port = mock.base_url.rpartition(":")[2]
        command = [sys.executable, "-m", "mock_api", "--port", port]
        done = await trio.run_process(command, capture_stderr=True, check=False)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines() == [
            f"port {port} of 127.0.0.1 is taken; choose another --port"
        ]


async def test_a_bad_request_ends_its_connection_and_not_the_server() -> None:
    async with running_mock() as mock:
        for nonsense in (
            b"\x00\xff\r\n\r\n",
            b"GET \xff HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9\r\n\r\n",
        ):
            async with await raw(mock, nonsense) as stream:
                await rest(stream)
        assert (await mock.stats())["requests"] == 0


@pytest.mark.long
async def test_thousands_of_clients_over_real_connections_leave_memory_flat() -> None:
    """2,000 ids come, then 2,000 others; the second crowd makes the process no larger."""
    async with running_mock(speed=60, fail_every=0, hang_every=0) as mock:
        await crowd(mock, 2000)
        told = await crowd(mock, 2000, first=2000)
        assert told["answered"]["200"] == 4002
        assert told["rss_after"] - told["rss_before"] < 2 * MIB
