"""The side door of a real daemon, over real sockets."""

import json
import os
import re
import signal
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import psycopg
import pytest
import trio

from mock_api.testing import running_mock
from syncd.store.embedded import embedded_server
from tests.daemon.conftest import Syncd, config
from tests.daemon.knocking import (
    STREAM,
    TOKEN,
    Door,
    knocking,
    listening,
    opened,
    with_door,
)
from tests.daemon.running import RESTS
from tests.daemon.test_postgres_troubles import inside
from tests.servers import postmaster

EXAMPLES = {
    "/static/{path}": "/static/index.html",
    "/api/cycles": "/api/cycles?stream=adplatform.campaigns&limit=5",
    "/api/why": "/api/why?stream=adplatform.campaigns&key=camp_7",
    "/api/dead": "/api/dead?stream=adplatform.campaigns&kind=call-failed",
}
ANSWERED_ELSEWHERE = {"/api/events", "/metrics", "/api/dead/{id}", "/api/requests/{id}"}
HOLDS = {"authorization": f"Bearer {TOKEN}"}


def assert_as_documented(
    document: dict[str, Any], path: str, answer: httpx.Response, method: str = "get"
) -> None:
    """The answer is one that the document promises."""
    said = document["paths"][path][method]["responses"][str(answer.status_code)]["content"]
    (kind,) = said
    assert answer.headers["content-type"].partition(";")[0] == kind, path
    schema = said[kind].get("schema")
    if schema is not None:
        schema = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


async def test_every_address_answers_as_the_document_says(syncd: Syncd, postgres: str) -> None:
    """accounted: with dead letters, cycles and a budget to show."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        await door.mock.faults({"path": "*/camp_7/sync", "status": 422})
        (number,) = (await door.post(f"{STREAM}/sync", {"keys": ["camp_7"]})).json()["requests"]
        assert not (await door.answered(number))["ok"]
        document = await door.json("/api/openapi.json")
        for path in document["paths"]:
            if "get" in document["paths"][path] and path not in ANSWERED_ELSEWHERE:
                answer = await door.get(EXAMPLES.get(path, path), headers=HOLDS)
                assert_as_documented(document, path, answer)
        (letter,) = (await door.json("/api/dead"))["letters"]
        assert (letter["kind"], letter["key"]) == ("call-failed", '["camp_7"]')
        one = f"/api/dead/{letter['id']}"
        for records in (one, EXAMPLES["/api/why"]):
            assert (await door.get(records)).status_code == 401
        whole = await door.get(one, headers=HOLDS)
        assert_as_documented(document, "/api/dead/{id}", whole)
        assert json.loads(whole.json()["payload"])["id"] == "camp_7"
        asked = await door.get(f"/api/requests/{number}")
        assert_as_documented(document, "/api/requests/{id}", asked)
        never = await door.get("/api/requests/999")
        assert never.status_code == 404
        assert_as_documented(document, "/api/requests/{id}", never)
        shown = await door.json("/api/status")
        (stream,) = shown["streams"]
        assert (stream["state"], stream["dead_letters"]) == ("resting", 1)
        assert shown["stale_since"] is None
        assert shown["daemon"]["pid"] == door.daemon.process.pid
        assert "put-aside" in {line["event"] for line in shown["events"]}
        assert all(line["todo"] for line in shown["events"] if line["level"] != "INFO")
        gone = await door.post("/api/dead/discard", {"ids": [letter["id"], 12345, 999]})
        assert_as_documented(document, "/api/dead/discard", gone, "post")
        assert gone.json() == {"requests": [], "discarded": 1, "unknown": [999, 12345]}
        assert TOKEN not in json.dumps([shown, await door.audit()])


@pytest.mark.long
async def test_what_is_asked_for_is_done(syncd: Syncd, postgres: str) -> None:
    """accounted: each action, its answer, and its entry in the audit; the commands' as well."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        document = await door.json("/api/openapi.json")

        async def ask(path: str, body: Any = None, of: str = "") -> str:
            answer = await door.post(path, body)
            assert answer.status_code == 202, answer.text
            assert_as_documented(document, of or path, answer, "post")
            requests = answer.json()["requests"]
            said = [await door.answered(number) for number in requests]
            assert all(each["ok"] for each in said), said
            return " ".join(each["answer"] for each in said)

        action = "/api/streams/{stream}/{action}"
        await door.mock.faults({"path": "*/camp_7/sync", "status": 422})
        (number,) = (await door.post(f"{STREAM}/sync", {"keys": ["camp_7"]})).json()["requests"]
        await door.answered(number)  # the log tells of it before it is committed
        await door.mock.faults()
        (letter,) = (await door.json("/api/dead"))["letters"]
        assert await ask("/api/dead/retry", {"ids": [letter["id"]]}) == "1 written"
        assert (await ask(f"{STREAM}/pause", of=action)) == "paused"
        assert "go" in await ask(f"{STREAM}/resume", of=action)
        assert "looks for what is gone" in await ask(f"{STREAM}/reconcile", of=action)
        (number,) = (await door.post(f"{STREAM}/approve")).json()["requests"]
        said = await door.answered(number)
        assert (said["ok"], said["answer"]) == (False, "nothing is held, so nothing is approved")
        assert "begins" in await ask(f"{STREAM}/sync", of=action)
        bare = await door.client.post("/api/reload", headers=HOLDS)
        assert "content-type" not in bare.request.headers
        assert (await door.answered(bare.json()["requests"][0]))["ok"]
        assert "keep" in await ask("/api/reload")
        assert (await door.json("/api/status"))["daemon"]["reload"]["ok"] is True
        assert await ask("/api/dead/discard", {"ids": [12345]}) == ""
        assert (await door.syncd.command("pause", "campaigns")).returncode == 0
        entries = (await door.audit())[::-1]
        assert [entry["what"] for entry in entries] == [
            "sync", "retry", "pause", "resume", "reconcile", "reconcile", "sync", "reload",
            "reload", "discard", "pause",
        ]  # fmt: skip
        refused = [n for n, entry in enumerate(entries) if not entry["ok"]]
        assert refused == [0, 5]
        assert {(e["who"], e["from"]) for e in entries[:-1]} == {
            ("the token from env KNOCK", "127.0.0.1")
        }
        assert "@" in entries[-1]["who"]
        assert entries[-1]["from"] == "command"
        assert entries[0]["subject"] == "adplatform.campaigns camp_7"
        assert entries[1]["answer"] == "1 written"


async def test_a_key_that_means_nothing_is_refused(syncd: Syncd, postgres: str) -> None:
    """accounted: a typo in `keys` syncs nothing instead of everything."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        for path, body, says in (
            (f"{STREAM}/sync", {"kyes": ["camp_1"]}, "did you mean 'keys'? known here: keys"),
            (f"{STREAM}/resume", {"nonsense": 1}, "this takes none"),
            (f"{STREAM}/pause", {"keys": ["camp_1"]}, "this takes none"),
            ("/api/dead/retry", {"ids": [1], "force": True}, "known here: ids, repeat"),
            ("/api/dead/discard", {"ids": [1], "id": 1}, "did you mean 'ids'? known here: ids"),
            ("/api/reload", {"now": True}, "this takes none"),
        ):
            refused = await door.post(path, body)
            assert refused.status_code == 400, path
            assert refused.json()["error"].endswith(f": unknown key; {says}")
        assert "'nonsense'" in (await door.post(f"{STREAM}/pause", {"nonsense": 1})).text
        assert await door.audit() == []


@pytest.mark.long
async def test_who_has_no_right_to_write_does_not(syncd: Syncd, postgres: str) -> None:
    """contained: nothing is asked for, whoever tries; and it is remembered, thinned."""
    pause = f"{STREAM}/pause"
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        assert (await door.post(pause, token=None)).status_code == 401
        here = f"127.0.0.1:{door.address[1]}"
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site", "origin": f"http://{here}"},
        ):
            assert (await door.post(pause, **headers)).status_code == 403, headers
        for kind in ({"content-type": "text/plain"}, {}):
            other = await door.client.post(pause, content="{}", headers={**HOLDS, **kind})
            assert other.status_code == 415, kind
        assert (await door.client.post(pause)).status_code == 401
        assert (await door.post("/api/streams/nothing/pause")).status_code == 404
        assert (await door.post(f"{STREAM}/forget")).status_code == 404
        assert (await door.get(pause)).status_code == 405
        for path, body in (
            (f"{STREAM}/sync", {"keys": "camp_1"}),
            (f"{STREAM}/sync", {"keys": [" "]}),
            (f"{STREAM}/sync", {"keys": []}),
            ("/api/dead/retry", {"ids": []}),
            ("/api/dead/retry", {"ids": [True]}),
            ("/api/dead/retry", {"ids": [2**70]}),
            ("/api/dead/retry", ["ids"]),
        ):
            assert (await door.post(path, body)).status_code == 400, body
        assert (await door.post("/api/dead/retry", {"ids": [4711]})).status_code == 404
        for tries in range(1, 13):
            wrong = await door.post(pause, token=f"guess-number-{tries}-{tries}")
            assert wrong.status_code == (401 if tries <= 10 else 429)
        assert 1 <= int(wrong.headers["retry-after"]) <= 61
        # A guesser locks nobody out; who has the token may ask 30 times in a minute.
        statuses = [(await door.post(pause, origin=f"http://{here}")).status_code]
        while statuses[-1] == 202:
            statuses.append((await door.post(pause)).status_code)
        assert statuses[-1] == 429
        assert len(statuses) < 31
        refused = [entry for entry in await door.audit() if entry["what"] == "refused"]
        assert [entry["answer"] for entry in refused[::-1]] == [
            "from the page of another site", "wrong token", "too many requests",
        ]  # fmt: skip
        assert {entry["ok"] for entry in refused} == {False}
        await door.daemon.until("came to the side door with a wrong token")


async def test_a_name_that_is_not_ours_is_not_answered(syncd: Syncd, postgres: str) -> None:
    """no-secret-out: a page whose name was bent to this address (DNS rebinding) reads nothing."""
    async with knocking(syncd, postgres, more='hosts = ["syncd.example.com"]') as door:
        port = door.address[1]
        evil = ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example")
        for name in (*evil, f"localhost:{port}@x", ""):
            answer = await door.get("/api/status", headers={"host": name})
            assert answer.status_code in (400, 403), name
        for name in (f"localhost:{port}", "LOCALHOST", f"127.0.0.1:{port}", "[::1]:1"):
            assert (await door.get("/api/status", headers={"host": name})).status_code == 200
        async with await trio.open_tcp_stream(*door.address) as stream:
            # No browser leaves it out, but a load balancer's check may.
            await stream.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        for name in ("syncd.example.com", "SYNCD.example.com:443"):
            # Who comes by it comes from wherever the proxy lets them in.
            assert (await door.get("/api/status", headers={"host": name})).status_code == 401
            told = await door.get("/api/status", headers={"host": name, **HOLDS})
            assert told.status_code == 200
        elsewhere = {"sec-fetch-site": "cross-site"}
        assert (await door.get("/api/status", headers=elsewhere)).status_code == 403
        assert (await door.get("/", headers=elsewhere)).status_code == 200
        for its in ("https://syncd.example.com", "https://syncd.example.com:8443"):
            proxied = {"host": "syncd.example.com", "origin": its}
            assert (await door.post(f"{STREAM}/pause", **proxied)).status_code == 202


async def test_what_a_browser_is_told(syncd: Syncd, postgres: str) -> None:
    """no-secret-out: nothing of another site's runs in our page, and none has it in a frame."""
    async with knocking(syncd, postgres) as door:
        for path in ("/", "/api/status", "/nothing"):
            headers = (await door.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
        assert (await door.get("/api/status")).headers["cache-control"] == "no-store"
        page = await door.get("/")
        assert page.headers["content-type"].startswith("text/html")
        again = await door.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await door.client.head("/")).status_code == 200
        # The client would tidy up a plain `..` before it asks.
        for path in ("/static/..%2fdoor.py", "/static/%2e%2e%2fdoor.py"):
            outside = await door.get(path)
            assert b"%2f" in outside.request.url.raw_path
            assert outside.status_code == 404


async def test_an_offer_of_another_protocol_is_not_taken_up(syncd: Syncd, postgres: str) -> None:
    """contained: who offers HTTP/2 in clear, as some clients always do, is answered in HTTP/1.1."""
    offer = {
        "upgrade": "h2c",
        "connection": "Upgrade, HTTP2-Settings",
        "http2-settings": "AAMA",
    }
    async with knocking(syncd, postgres) as door:
        assert (await door.get("/healthz", headers=offer)).status_code == 200
        assert (await door.get("/healthz")).status_code == 200


async def test_a_forged_address_floods_neither_log_nor_audit(syncd: Syncd, postgres: str) -> None:
    """contained: it is by where a request comes from that refusals are thinned."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        for n in range(40):
            headers = {"x_forwarded_for": f"10.0.0.{n}"}
            answer = await door.post("/api/reload", token="wrong", **headers)
            assert answer.status_code in (401, 429)
        entry = await door.audit_is_there()
        assert (entry["what"], len(await door.audit())) == ("refused", 1)


async def test_too_much_is_refused(syncd: Syncd, postgres: str) -> None:
    """contained: a body of more than 64 KiB, a body of a GET, a body that never comes."""
    async with knocking(syncd, postgres) as door:
        keys = ["x" * 1000 for _ in range(70)]
        assert (await door.post(f"{STREAM}/sync", {"keys": keys})).status_code == 413
        assert (await door.post(f"{STREAM}/sync", {"keys": keys * 10})).status_code == 413
        answer = await door.client.request("GET", "/api/status", content=b"x")
        assert answer.status_code == 400
        assert (await door.get("/api/cycles?limit=0")).status_code == 400
        assert (await door.get("/api/cycles?limit=1e9")).status_code == 400
        assert (await door.get("/api/dead?kind=x")).status_code == 400
        answer = await door.get("/api/cycles?strem=shop.orders")
        words = "there is no parameter 'strem': this takes stream, limit"
        assert (answer.status_code, answer.json()) == (400, {"error": words})
        answer = await door.post("/api/reload?now=1")
        assert "there is no parameter 'now': this takes none" in answer.text
        assert "more than once" in (await door.get("/api/cycles?limit=1&limit=2")).text
        assert (await door.get("/healthz?at=1")).status_code == 200
        assert (await door.get(f"/api/dead/{2**70}", headers=HOLDS)).status_code == 404
        head = b"Host: localhost\r\nContent-Length: 500000000\r\n\r\n"
        for path in (b"/api/reload", b"/nothing"):
            # Far more than any door takes: it is cut, and the daemon goes on.
            async with await door.connect() as stream:
                await stream.send_all(b"POST " + path + b" HTTP/1.1\r\n" + head)
                with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                    await flood(stream, b"x" * 100_000)
        assert (await door.get("/healthz")).status_code == 200


HOST = b"Host: localhost\r\n"
POST = b"POST /api/reload HTTP/1.1\r\n" + HOST
UPGRADE = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\n"
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    UPGRADE + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    UPGRADE + b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"GET /%ff%fe%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /api/cycles?stream=%ff%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: -5\r\n\r\n",
    POST + b"Authorization: Bearer \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\r\n" * 50,
    b"\x00" * 1000,
]


async def flood(stream: trio.SocketStream, piece: bytes) -> None:
    """Send until nobody takes it any more."""
    while True:
        await stream.send_all(piece)


async def test_garbage_costs_its_sender_alone(syncd: Syncd, postgres: str) -> None:
    """contained: whatever comes, the daemon runs on and answers the next one."""
    async with knocking(syncd, postgres) as door:
        for garbage in GARBAGE:
            stream = await door.connect()
            async with stream:
                with trio.fail_after(10):
                    try:
                        await stream.send_all(garbage)
                        await stream.send_eof()
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass
        async with trio.open_nursery() as nursery:

            async def begun_and_left() -> None:
                async with await door.connect() as stream:
                    await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await stream.receive_some()

            for _ in range(20):
                nursery.start_soon(begun_and_left)
        assert (await door.get("/healthz")).status_code == 200
        assert "please report it" not in door.daemon.said
        assert "Traceback" not in door.daemon.said


@pytest.mark.long
async def test_a_client_that_reads_nothing_is_cut(syncd: Syncd, postgres: str) -> None:
    """drain: what waits for it is given up after a deadline, and others are served meanwhile."""
    async with knocking(syncd, postgres, module="tests.daemon.hasty") as door:
        stream = await door.connect(buffer=4096)
        asking = b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with stream:
            # Asks and asks, and never reads an answer: its own sending stands still with that,
            # and goes on only to find that nobody is there.
            with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
                await flood(stream, asking * 50)
        assert (await door.get("/healthz")).status_code == 200
        # A head that never ends is waited for no longer than an idle connection is.
        async with await door.connect() as slow:
            await slow.send_all(b"GET / HTTP/1.1\r\nX")
            with trio.fail_after(10):
                assert await slow.receive_some() == b""


async def test_who_is_too_many_is_sent_away(syncd: Syncd, postgres: str) -> None:
    """contained: and comes in when another one has left."""
    async with knocking(syncd, postgres, module="tests.daemon.hasty") as door:
        await door.daemon.until(RESTS)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(listening(door))
            answer = await door.get("/api/events")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            assert (await door.client.head("/api/events")).status_code == 503
            assert (await door.get("/healthz")).status_code == 200
        with trio.fail_after(20):
            while (await door.client.head("/api/events")).status_code == 503:  # noqa: ASYNC110
                await trio.sleep(0.1)  # it is another process that notices
        async with listening(door) as listener:
            await listener.next()


async def test_a_drain_waits_for_no_listener(syncd: Syncd, postgres: str) -> None:
    """drain: who listens is told `gone`, and who does not read is cut."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        deaf = [await door.connect(buffer=4096) for _ in range(20)]
        for stream in deaf:
            await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with listening(door) as listener:
            assert (await listener.next())[0] == "status"
            door.daemon.process.terminate()
            with trio.fail_after(20):
                await door.daemon.until("leaving: requests in flight")
                began = trio.current_time()
                while (await listener.next())[0] != "gone":
                    pass
                await door.daemon.process.wait()
                assert trio.current_time() - began < 3
        assert door.daemon.process.returncode == 0
        for stream in deaf:
            await stream.aclose()


async def test_listeners_hear_of_what_changes(syncd: Syncd, postgres: str) -> None:
    """accounted: at once how it is, and then each change."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        async with listening(door) as listener:
            kind, shown = await listener.next()
            assert (kind, shown["streams"][0]["state"]) == ("status", "resting")
            await door.post(f"{STREAM}/pause")
            await listener.until(lambda shown: shown["streams"][0]["state"] == "paused")


@pytest.mark.long
async def test_a_unix_socket_is_for_its_owner_and_its_group(
    syncd: Syncd, postgres: str, place: Path
) -> None:
    """no-secret-out: and it takes the place of one that a killed syncd has left."""
    path = place / "admin.sock"
    async with running_mock(speed=60, campaigns=4, fail_every=0, hang_every=0) as mock:
        syncd.write(with_door(config(mock.base_url, postgres, speed=60), f"unix:{path}"))
        async with opened(syncd, mock) as door:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            await door.daemon.until(RESTS)
            assert (await door.get("/readyz", headers={"host": "whatever"})).status_code == 200
            assert (await door.post(f"{STREAM}/pause")).status_code == 202
            assert re.fullmatch(r"unix socket \(uid \d+\)", (await door.audit())[0]["from"])
            second = await syncd_beside(syncd, "run")
            assert second.returncode == 78
            assert "another process listens at it" in second.stderr
            door.daemon.process.kill()
            await door.daemon.process.wait()
        assert path.is_socket()
        async with opened(syncd, mock) as door:
            assert (await door.get("/healthz")).status_code == 200
            door.daemon.process.terminate()
            await door.daemon.process.wait()
        assert not path.exists()


async def syncd_beside(syncd: Syncd, *arguments: str) -> Any:
    beside = Syncd(syncd.path, env={"KNOCK": TOKEN})
    return await beside.command(*arguments, within=20)


@pytest.mark.long
async def test_an_address_that_is_taken_is_a_fault_of_the_config(
    syncd: Syncd, postgres: str
) -> None:
    """contained: said at the start, with exit status 78; nothing was begun."""
    async with knocking(syncd, postgres) as door:
        taken = f"127.0.0.1:{door.address[1]}"
        text = config("http://127.0.0.1:9", postgres, speed=60)
        for listen, said in ((taken, "another process has it"), ("192.0.2.1:80", "no interface")):
            syncd.write(with_door(text, listen))
            done = await syncd_beside(syncd, "run")
            assert done.returncode == 78
            assert "admin.listen: can't listen at" in done.stderr
            assert said in done.stderr


@pytest.mark.long
async def test_while_postgres_is_away_the_last_picture_is_shown(syncd: Syncd, place: Path) -> None:
    """resume: with since when and why; and the new one when it is back."""
    async with (
        running_mock(speed=60, campaigns=12, fail_every=0, hang_every=0) as mock,
        embedded_server(place / "state") as server,
    ):
        text = config(mock.base_url, inside(server), speed=60, size=4)
        syncd.write(with_door(text))
        async with opened(syncd, mock) as door:
            await door.daemon.until(RESTS)
            before = await door.json("/api/status")
            assert before["stale_since"] is None
            await stop(server.place.data)
            await until_status(door, stale=True)
            away = await door.json("/api/status")
            assert "Postgres" in away["stale_reason"]
            assert before["at"][:16] <= away["stale_since"][:16] <= away["at"][:16]
            assert away["streams"][0]["last"] == before["streams"][0]["last"]
            ready = await door.get("/readyz")
            assert ready.status_code == 503
            assert "Postgres" in ready.json()["database"]["reason"]
            assert (await door.get("/healthz")).status_code == 200
            assert (await door.get("/api/cycles")).status_code == 503
            refused = await door.post(f"{STREAM}/pause")
            assert (refused.status_code, "Postgres" in refused.text) == (503, True)
            assert (await door.post(f"{STREAM}/pause", token="wrong-wrong")).status_code == 401
            await server.revive()
            await until_status(door, stale=False)
            await until_ready(door)
            assert (await door.audit_is_there())["answer"] == "wrong token"
            await door.daemon.leave()


@pytest.mark.long
async def test_a_postgres_that_can_only_be_read_is_not_ready(syncd: Syncd, postgres: str) -> None:
    """contained: a full disk, which hinders nobody who looks; as the metrics have it."""
    async with knocking(syncd, postgres) as door:
        await door.daemon.until(RESTS)
        await until_ready(door)
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
                "RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''No space left on device''; "
                "END'"
            )
            admin.execute(
                "CREATE TRIGGER full_disk BEFORE INSERT ON syncd.cycle EXECUTE FUNCTION full_disk()"
            )
            await door.post(f"{STREAM}/sync")
            await door.daemon.until("Postgres is away")
            ready = await door.get("/readyz")
            assert ready.status_code == 503
            assert "No space left on device" in ready.json()["database"]["reason"]
            assert [each["ok"] for each in ready.json()["sources"]] == [True]
            assert "\nsyncd_postgres_up 0.0\n" in (await door.get("/metrics")).text
            assert (await door.json("/api/status"))["stale_since"] is None
            admin.execute("DROP TRIGGER full_disk ON syncd.cycle")
        await door.daemon.until("Postgres is back")
        await until_ready(door)


async def until_ready(door: Door) -> None:
    """Wait until the daemon says so: a stream that waited has reached Postgres again."""
    with trio.fail_after(30):
        while (await door.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)


async def stop(data: Path) -> None:
    """Stop the server, as an administrator would."""
    os.kill(postmaster(data), signal.SIGINT)
    with trio.fail_after(20):
        while (data / "postmaster.pid").exists():  # noqa: ASYNC110 - another process's file
            await trio.sleep(0.05)


async def until_status(door: Door, *, stale: bool) -> None:
    """Listen until the picture is an old one, or a new one."""
    async with listening(door) as listener:
        await listener.until(lambda shown: (shown["stale_since"] is not None) == stale)


async def test_the_door_is_open_before_postgres_is(syncd: Syncd, place: Path) -> None:
    """drain: healthy, not ready, and it says why."""
    async with running_mock(speed=60, campaigns=4, fail_every=0, hang_every=0) as mock:
        nowhere = f"host={place} dbname=nobody"
        syncd.write(with_door(config(mock.base_url, nowhere, speed=60)))
        async with opened(syncd, mock) as door:
            await door.daemon.until("Postgres is away")
            assert (await door.get("/healthz")).status_code == 200
            ready = await door.get("/readyz")
            assert ready.status_code == 503
            assert "Postgres" in ready.json()["database"]["reason"]
            shown = await door.json("/api/status")
            assert (shown["streams"], "Postgres" in shown["stale_reason"]) == ([], True)
            for path in ("/api/cycles", EXAMPLES["/api/why"]):
                asked = await door.get(path, headers=HOLDS)
                assert (asked.status_code, "can't be asked yet" in asked.text) == (503, True), path
            door.daemon.process.terminate()
            with trio.fail_after(5):
                await door.daemon.process.wait()
            assert door.daemon.process.returncode == 0


async def test_a_reload_follows_the_token_and_refuses_another_address(
    syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """all-or-nothing-reload: a token that was rotated holds at once, for listeners too."""
    secret = tmp_path / "token"
    secret.write_text("the-first-token-1234\n")
    async with running_mock(speed=60, campaigns=4, fail_every=0, hang_every=0) as mock:
        text = config(mock.base_url, postgres, speed=60)
        listening = '[admin]\nlisten = "{}"\ntoken = {{ file = "token" }}\n'
        syncd.write(text + listening.format("127.0.0.1:0"))
        async with opened(syncd, mock) as door:
            await door.daemon.until(RESTS)
            secret.write_text("the-second-token-5678\n")
            asked = await door.post("/api/reload", token="the-first-token-1234")
            assert (await door.answered(asked.json()["requests"][0]))["ok"]
            assert (await door.post("/api/reload", token="the-first-token-1234")).status_code == 401
            syncd.write(text + listening.format("127.0.0.1:1"))
            asked = await door.post("/api/reload", token="the-second-token-5678")
            said = await door.answered(asked.json()["requests"][0])
            assert not said["ok"]
            assert "admin.listen: it can't be changed while syncd runs" in said["answer"]
            shown = await door.json("/api/status")
            assert shown["daemon"]["reload"]["ok"] is False
            assert "admin.listen" in shown["daemon"]["reload"]["faults"][0]
            assert "the-second-token-5678" not in door.daemon.said
