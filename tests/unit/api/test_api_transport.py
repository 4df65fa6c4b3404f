"""What is known of a request whose answer does not come, on real sockets."""

import gc
import gzip
import random
import socket
import ssl
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from typing import NoReturn

import httpx
import pytest
import trio
import trio.testing

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.api.transport import (
    MAX_AGE,
    Transport,
    _Flight,
    refuses_our_certificate,
    shared_ssl_context,
)
from syncd.config.settings import Secret
from syncd.errors import ApiUnavailable, Draining, UnexpectedAnswer
from tests.unit.api.rawserver import (
    Behaviour,
    NotingPermit,
    RawServer,
    after,
    answer,
    cut,
    drip,
    hang,
    ok,
    raw,
    token_auth,
)

GET = Ask(method="GET", path="/list", params={"page": "1", "key": "canary-query"})
POST = Ask(method="POST", path="/do")


async def test_the_token_is_spent_last_and_every_step_is_told(
    server: RawServer, permit: NotingPermit
) -> None:
    """The budget hears of a request in the order of its life."""
    async with ApiClient(server.source()) as client:
        got = await client.send(GET, permit)

    assert (got.status, got.body) == (200, b"{}")
    assert permit.notes == ["spend", "confirm", "written", "answered"]
    assert server.heads[0].startswith("GET /list?page=1&key=canary-query HTTP/1.1")
    assert "Accept-Encoding: gzip" in server.heads[0]


async def test_waiting_for_the_budget_does_not_count_as_the_apis_slowness(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """A minute's wait for a token, twice, and the deadline of 15 s is not touched."""
    permit.spend_waits = permit.confirm_waits = 60
    async with ApiClient(server.source(keepalive=100.0)) as client:
        started = trio.current_time()
        await client.send(GET, permit)

    assert trio.current_time() - started == pytest.approx(120, abs=1)


async def test_the_deadline_holds_after_a_long_confirmation(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """The clock stands still while we wait for the budget, and goes on afterwards."""
    permit.confirm_waits = 60
    server.will(hang)
    async with ApiClient(server.source(keepalive=100.0)) as client:
        started = trio.current_time()
        with pytest.raises(ApiUnavailable, match="no answer within 15 s"):
            await client.send(GET, permit)

    assert trio.current_time() - started == pytest.approx(75, abs=1)


async def test_a_connection_that_idled_in_a_budget_wait_is_not_written_to(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """The server may have closed it by then; a new one is opened, once."""
    permit.confirm_waits = 60
    async with ApiClient(server.source(keepalive=4.0)) as client:
        await client.send(GET, permit)

    assert server.connections == 2
    assert permit.notes == ["spend", "confirm", "confirm", "written", "answered"]
    assert len(server.heads) == 1


@pytest.mark.parametrize("error", [Draining("leaving"), UnexpectedAnswer("x")])
async def test_an_error_in_confirm_comes_out_and_costs_no_slot(
    server: RawServer, permit: NotingPermit, error: Exception
) -> None:
    """Httpcore closes that connection; nothing was written, and another one serves."""
    permit.confirm_raises = error
    async with ApiClient(server.source(connections=1)) as client:
        for _ in range(5):
            with pytest.raises(type(error)):
                await client.send(GET, permit)
        permit.confirm_raises = None
        assert (await client.send(GET, permit)).status == 200

    assert len(server.heads) == 1


PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
TROUBLES: dict[str, tuple[Behaviour, str]] = {
    "cut before an answer": (cut, "lost before an answer came"),
    "cut in the headers": (raw(b"HTTP/1.1 200 OK\r\nConte", close=True), "lost before an answer"),
    "cut in the body": (raw(PART, close=True), "the answer broke off"),
    "cut in a chunk": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", close=True),
        "the answer broke off",
    ),
    "content-length too large": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", close=True),
        "the answer broke off",
    ),
    "no HTTP at all": (raw(b"220 ready for mail\r\n\r\n"), "lost before an answer came"),
    "endless headers": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), "lost before an answer"),
    "no answer": (hang, "no answer within 15 s"),
    "silence in the body": (raw(PART), r"the answer \(200\) was not complete within 15 s"),
    "a slow drip": (drip, r"the answer \(200\) was not complete within 15 s"),
}


@pytest.mark.parametrize("case", TROUBLES)
async def test_after_writing_the_outcome_is_unknown(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock, case: str
) -> None:
    """Whatever breaks once a byte may have gone out: the API may have acted on it."""
    behaviour, words = TROUBLES[case]
    server.will(behaviour)
    async with ApiClient(server.source()) as client:
        started = trio.current_time()
        with pytest.raises(ApiUnavailable, match=words) as caught:
            await client.send(POST, permit)
        assert trio.current_time() - started < 15.5
        assert caught.value.sent == "unknown"
        assert not caught.value.stale_connection
        assert "answered" not in permit.notes
        assert (await client.send(POST, permit)).status == 200


async def test_a_refused_connection_means_nothing_was_sent(permit: NotingPermit) -> None:
    """Nobody listens: even a POST may be repeated."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    server = RawServer(port=port)
    async with ApiClient(server.source()) as client:
        with pytest.raises(ApiUnavailable, match=r"cannot connect.*connection refused") as caught:
            await client.send(POST, permit)

    assert caught.value.sent == "no"
    assert permit.notes == ["spend"]


async def test_a_tls_handshake_that_fails_means_nothing_was_sent(
    server: RawServer, permit: NotingPermit, nursery: trio.Nursery
) -> None:
    """A plain server behind https: the sentence says TLS, and the request is repeatable."""

    async def gibberish(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listeners = await nursery.start(trio.serve_tcp, gibberish, 0)
    url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with ApiClient(server.source(base_url=url)) as client:
        with pytest.raises(ApiUnavailable, match=r"cannot connect.*TLS") as caught:
            await client.send(POST, permit)

    assert caught.value.sent == "no"


class NoSuchName(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> NoReturn:
        raise AssertionError


async def test_an_unknown_host_means_nothing_was_sent(permit: NotingPermit) -> None:
    """The name does not resolve; the sentence says which and why."""
    trio.socket.set_custom_hostname_resolver(NoSuchName())
    source = RawServer().source(base_url="http://api.invalid")
    async with ApiClient(source) as client:
        with pytest.raises(ApiUnavailable, match=r"to api\.invalid: name or service") as caught:
            await client.send(POST, permit)

    assert caught.value.sent == "no"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\x00"])
async def test_a_header_that_cannot_be_sent_is_named(
    server: RawServer, permit: NotingPermit, value: str
) -> None:
    """A secret with a newline at its end parks the stream; it smuggles no header in."""
    headers = {"X-Key": Secret(value, "file /key")}
    async with ApiClient(server.source(headers=headers)) as client:
        with pytest.raises(UnexpectedAnswer, match="cannot be built") as caught:
            await client.send(GET, permit)

    assert caught.value.refused  # no-blind-repeat: nothing was sent that could be in doubt
    assert server.heads == []


async def test_a_kept_alive_connection_is_used_again(
    server: RawServer, permit: NotingPermit
) -> None:
    """One connection for requests in a row."""
    async with ApiClient(server.source()) as client:
        for _ in range(3):
            await client.send(GET, permit)

    assert server.connections == 1


async def test_what_goes_with_each_request_is_said_once(
    server: RawServer, permit: NotingPermit
) -> None:
    """Ours, unless the source has its own; and no cookie that an answer has set."""
    server.otherwise = answer(200, b"{}", set_cookie="session=1; Path=/")
    async with ApiClient(server.source()) as client:
        await client.send(GET, permit)
        await client.send(GET, permit)
    async with ApiClient(server.source(headers={"accept": "text/csv", "Cookie": "mine=1"})) as own:
        await own.send(POST, permit)

    sent = [
        [line.partition(": ")[::2] for line in head.split("\r\n")[1:] if line]
        for head in server.heads
    ]
    names = [sorted(name.lower() for name, _ in head) for head in sent]
    assert names[0] == names[1] == ["accept", "accept-encoding", "connection", "host", "user-agent"]
    assert names[2] == sorted([*names[0], "content-length", "cookie"])
    assert [dict(head)["Accept"] for head in sent[:2]] == ["application/json"] * 2
    assert dict(sent[2])["accept"] == "text/csv"


async def test_a_connection_closed_while_idle_is_noticed_before_it_is_used(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 40: closed after each answer without a word; no request fails for it."""
    server.otherwise = answer(200, b"{}", close=True)
    async with ApiClient(server.source()) as client:
        for _ in range(3):
            assert (await client.send(GET, permit)).status == 200
            await trio.testing.wait_all_tasks_blocked()

    assert server.connections == 3


async def test_a_reused_connection_closed_without_an_answer_is_called_stale(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 40: the request crossed with the server's close; a GET may be sent again at once."""
    server.will(ok(), cut)
    async with ApiClient(server.source()) as client:
        await client.send(GET, permit)
        with pytest.raises(ApiUnavailable) as caught:
            await client.send(GET, permit)
        assert caught.value.stale_connection
        assert caught.value.sent == "unknown"
        assert (await client.send(GET, permit)).status == 200

    assert server.on == [1, 1, 2]


async def test_an_idle_connection_is_given_up_after_keepalive(
    server: RawServer, permit: NotingPermit
) -> None:
    """With keepalive = 0, none is ever used twice."""
    async with ApiClient(server.source(keepalive=0.0)) as client:
        await client.send(GET, permit)
        await client.send(GET, permit)

    assert server.connections == 2


async def test_after_five_minutes_the_name_is_looked_up_again(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Case 41: steady traffic does not pin an address for ever; what is in flight stays."""
    go = trio.Event()
    async with ApiClient(server.source(timeout=1000.0, keepalive=1e6)) as client:
        await client.send(GET, permit)
        server.will(after(go, ok()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, GET, NotingPermit())
            await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.sleep(MAX_AGE + 1)
            await client.send(GET, permit)
            go.set()
        await client.send(GET, permit)

    assert server.on == [1, 1, 2, 2]


async def test_a_connection_that_lost_its_slot_is_thrown_away(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Case 39: a PoolTimeout ends with its pool, so that not every later call is one."""
    transport = Transport(base_url=server.url, timeout=1000.0, keepalive=1e6, max_body=1000)
    await transport.exchange(GET, NotingPermit())
    (connection,) = transport._free
    server.will(hang)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with suppress(httpx.ReadError):  # it is cut
                await connection.transport.handle_async_request(httpx.Request("GET", server.url))

        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(ApiUnavailable, match="no connection was free") as caught:
            await transport.exchange(POST, permit)
        assert caught.value.sent == "no"
        assert (await transport.exchange(POST, permit)).status == 200
        nursery.cancel_scope.cancel()
    await transport.aclose()

    assert transport.rebuilt == 1


async def test_a_request_that_is_cut_while_it_connects_spoils_no_other(
    server: RawServer, permit: NotingPermit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 39: httpcore takes such a connection neither for closed nor for one that is free."""
    transport = Transport(base_url=server.url, timeout=10.0, keepalive=4.0, max_body=1000)
    cut, trace = trio.CancelScope(), _Flight.trace

    async def traced(flight: _Flight, event: str, what: object) -> None:
        await trace(flight, event, what)
        if event == "connection.connect_tcp.complete":
            cut.cancel()  # it hears of that once the connection is there, and before it is used

    with monkeypatch.context() as patch, cut:
        patch.setattr(_Flight, "trace", traced)
        await transport.exchange(GET, NotingPermit())
    assert cut.cancelled_caught
    assert (await transport.exchange(GET, permit)).status == 200
    assert transport.rebuilt == 0
    await transport.aclose()


async def test_connections_that_many_needed_once_are_not_kept(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """drain: what is not used for `keepalive` is closed with the next request."""
    transport = Transport(base_url=server.url, timeout=10.0, keepalive=4.0, max_body=1000)
    go = trio.Event()
    server.otherwise = after(go, ok())
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(transport.exchange, GET, NotingPermit())
        while len(server.heads) < 3:
            await trio.testing.wait_all_tasks_blocked(0.01)
        go.set()
    assert len(transport._free) == server.connections == 3
    await trio.sleep(3)
    server.otherwise = after(late := trio.Event(), ok())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.exchange, GET, permit)
        await trio.sleep(3)
        late.set()
    assert (len(transport._free), server.connections) == (1, 3)
    await transport.aclose()
    assert not transport._free


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_certificates_are_read_where_there_is_tls_alone(scheme: str) -> None:
    """They cost a megabyte, and time before the first request; without TLS nobody is trusted."""
    transport = Transport(base_url=f"{scheme}://x", timeout=1.0, keepalive=4.0, max_body=1000)
    assert (transport._tls() is shared_ssl_context()) == (scheme == "https")
    assert transport._tls().verify_mode is ssl.CERT_REQUIRED
    assert (len(transport._tls().get_ca_certs()) > 0) <= (scheme == "https")


async def test_requests_cancelled_under_contention_leak_no_slot(server: RawServer) -> None:
    """Case 39: 30 tasks, 10 connections, each cut after 0 to 20 ms, 1,500 requests in all."""
    rng = random.Random(39)
    cancelled = 0

    async def slowly(connection: object) -> None:
        await trio.sleep(rng.uniform(0, 0.01))
        await ok()(connection)  # type: ignore[arg-type]  # what we are given is passed on

    async def worker(client: ApiClient) -> None:
        nonlocal cancelled
        for _ in range(50):
            with trio.move_on_after(rng.uniform(0, 0.02)) as scope:
                await client.send(GET, NotingPermit())
            cancelled += scope.cancelled_caught

    server.otherwise = slowly
    async with ApiClient(server.source(connections=10)) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(worker, client)
        server.otherwise = ok()
        assert client.statistics.in_flight == 0
        # All ten slots are there: ten requests are in flight at once.
        go = trio.Event()
        server.otherwise = after(go, ok())
        before = len(server.heads)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client.send, GET, NotingPermit())
            with trio.fail_after(5):
                while len(server.heads) < before + 10:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            go.set()

    assert cancelled > 200
    assert client.statistics.pools_rebuilt == 0


async def test_being_cancelled_is_never_mistaken_for_an_error(
    server: RawServer, permit: NotingPermit
) -> None:
    """Leaving cuts a request and nothing else is said of it."""
    server.will(hang)
    async with ApiClient(server.source()) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, GET, permit)
            while not server.heads:
                await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert client.statistics.in_flight == 0


# --- bodies ------------------------------------------------------------------------------


def gzip_bomb(megabytes: int) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = b" " * 2**20
    return b"".join(engine.compress(block) for _ in range(megabytes)) + engine.flush()


async def test_a_gzip_bomb_stops_at_the_limit_in_little_memory(
    server: RawServer, permit: NotingPermit
) -> None:
    """200 MB out of 200 kB: the stream is told the limit, and memory stays below it."""
    bomb = gzip_bomb(200)
    assert len(bomb) < 250_000
    async with ApiClient(server.source(max_body=2**20)) as client:
        await client.send(GET, permit)
        server.will(answer(200, bomb, content_encoding="gzip"))
        tracemalloc.start()
        try:
            with pytest.raises(UnexpectedAnswer, match="larger than 1048576 bytes"):
                await client.send(GET, permit)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * 2**20
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gc.collect()
        assert (await client.send(GET, permit)).status == 200


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
async def test_the_limit_counts_plain_bytes_too(
    server: RawServer, permit: NotingPermit, size: int, fits: bool
) -> None:
    """A byte more than allowed is refused, with the limit in the sentence."""
    server.will(ok(b"x" * size))
    async with ApiClient(server.source(max_body=1000)) as client:
        if fits:
            assert len((await client.send(GET, permit)).body) == size
        else:
            with pytest.raises(UnexpectedAnswer, match="1000 bytes"):
                await client.send(GET, permit)


TEXT = b'{"data": [' + b'{"id": 1},' * 20_000 + b"{}]}"
BARE = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
ENCODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZIP", gzip.compress(TEXT)),
    "gzip in two members": ("gzip", gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:])),
    "gzip with padding": ("gzip", gzip.compress(TEXT) + b"\0" * 100),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "bare deflate": ("deflate", BARE.compress(TEXT) + BARE.flush()),
    "identity": ("identity", TEXT),
}


@pytest.mark.parametrize("case", ENCODED)
async def test_encodings_are_undone(server: RawServer, permit: NotingPermit, case: str) -> None:
    """What servers call gzip or deflate is read, byte for byte."""
    encoding, body = ENCODED[case]
    server.will(answer(200, body, content_encoding=encoding))
    async with ApiClient(server.source()) as client:
        assert (await client.send(GET, permit)).body == TEXT


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (gzip.compress(TEXT)[:-20], "ends early"),
        (b"plain text", "not valid gzip"),
        (b"\x1f", "ends early"),
    ],
)
async def test_a_broken_gzip_body_is_transient(
    server: RawServer, permit: NotingPermit, body: bytes, words: str
) -> None:
    """A proxy cut it: ask again."""
    server.will(answer(200, body, content_encoding="gzip"))
    async with ApiClient(server.source()) as client:
        with pytest.raises(ApiUnavailable, match=words):
            await client.send(GET, permit)
        assert (await client.send(GET, permit)).status == 200


async def test_an_encoding_nobody_asked_for_is_named(
    server: RawServer, permit: NotingPermit
) -> None:
    """We asked for gzip alone."""
    server.will(answer(200, b"...", content_encoding="br"))
    async with ApiClient(server.source()) as client:
        with pytest.raises(UnexpectedAnswer, match="'br'"):
            await client.send(GET, permit)
        assert (await client.send(GET, permit)).status == 200


async def test_a_compressed_answer_without_a_body_is_empty(
    server: RawServer, permit: NotingPermit
) -> None:
    """204 and an empty gzip body are no truncation."""
    server.will(answer(204, content_encoding="gzip"))
    async with ApiClient(server.source()) as client:
        assert (await client.send(GET, permit)).body == b""


# --- the origin and the environment ----------------------------------------------------------


async def test_a_path_cannot_lead_off_the_origin(server: RawServer, permit: NotingPermit) -> None:
    """Case 15: whatever a path says, the request goes to base_url's host."""
    async with ApiClient(server.source()) as client:
        for path in ("//evil.example/x", "https://evil.example/x", "@evil.example/x"):
            await client.send(Ask(method="GET", path=path), permit)

    assert [h.split("\r\n")[1] for h in server.heads] == [f"Host: 127.0.0.1:{server.port}"] * 3


async def test_proxies_of_the_environment_are_not_used(
    server: RawServer, permit: NotingPermit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 42: a bad NO_PROXY kills no start, and no variable reroutes our credentials."""
    monkeypatch.setenv("NO_PROXY", "[::1]")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with ApiClient(server.source()) as client:
        assert (await client.send(GET, permit)).status == 200


async def test_reasons_hold_neither_secrets_nor_queries(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Promise 8, no-secret-out: not in an error, its causes or a repr."""
    server.will(cut, hang)
    headers = {"X-Api-Key": Secret("canary-header", "env KEY")}
    source = server.source(headers=headers, auth=token_auth())
    async with ApiClient(source) as client:
        for _ in range(2):
            with pytest.raises(ApiUnavailable) as caught:
                await client.send(GET, permit)
            assert "canary" not in str(caught.value)
            assert "bearer-" not in str(caught.value)
        assert "canary" not in repr(client)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", True),
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
        ("CERTIFICATE_VERIFY_FAILED", False),
        ("UNEXPECTED_EOF_WHILE_READING", False),
        (None, False),
    ],
)
def test_which_end_of_a_handshake_is_about_our_certificate(
    reason: str | None, *, ours: bool
) -> None:
    """no-blind-repeat: after these alone it is known that the server has read no request."""
    alert = ssl.SSLError(1, "it ended")
    alert.reason = reason  # type: ignore[assignment]  # as OpenSSL leaves it where it has none
    lost = ConnectionError("broken")
    lost.__cause__ = alert
    assert refuses_our_certificate(lost) is ours
    assert not refuses_our_certificate(ConnectionError("broken"))
