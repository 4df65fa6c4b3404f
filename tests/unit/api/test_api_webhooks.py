"""One message to one receiver, on a real socket: signed, within a deadline, and nothing shown."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.api import webhooks
from syncd.api.webhooks import Webhooks, signed
from syncd.config.settings import NotifySettings, Secret
from syncd.errors import NotDelivered
from syncd.sync.alarm import Message
from tests.receiving import verifier
from tests.unit.api.rawserver import Behaviour, Connection, RawServer, answer, cut, drip, hang

PAGE = Path(__file__).parents[3] / "docs" / "notifications.md"
verify = verifier(PAGE.read_text("utf-8"))

BODY = '{"alarm":"parked"}'
MESSAGE = Message(id="msg_1", receiver="me", what="parked", body=BODY)
KEY = base64.b64encode(b"0123456789abcdef" * 2).decode()


def receiver(server: RawServer, path: str = "canary", **of: Any) -> NotifySettings:
    url = Secret(f"{server.url}/{path}", "here")
    return NotifySettings(**{"name": "me", "key": "me", "url": url, **of})


async def refused(server: RawServer, **of: Any) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        await Webhooks().deliver(receiver(server, **of), MESSAGE)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


async def test_any_2xx_has_taken_it(server: RawServer) -> None:
    server.script.extend([answer(200, b"ok"), answer(202), answer(204)])
    for _ in range(3):
        await Webhooks().deliver(receiver(server), MESSAGE)
    assert len(server.script) == 0


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
async def test_anything_else_has_not_and_no_redirect_is_followed(
    server: RawServer, status: int
) -> None:
    server.script.append(answer(status, b"no <service>\x1b", Location="/elsewhere"))
    error = await refused(server)
    assert f"it answered {status}" in str(error)
    assert "\x1b" not in str(error)
    assert len(server.script) == 0


async def test_a_wait_that_it_asks_for_is_passed_on(server: RawServer) -> None:
    server.script.append(answer(429, b"", Retry_After="30"))
    assert (await refused(server)).hint == 30


async def dripping_refusal(connection: Connection) -> None:
    await connection.stream.send_all(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await connection.stream.send_all(b" ")
        await trio.sleep(0.01)


@pytest.mark.parametrize("behaviour", [hang, dripping_refusal])
async def test_an_attempt_has_one_deadline(server: RawServer, behaviour: Behaviour) -> None:
    """A receiver that answers a byte now and then is no better than one that is silent."""
    server.script.append(behaviour)
    assert str(await refused(server, timeout=0.2)) == "no answer within 0.2 s"


async def test_a_lost_connection_is_told(server: RawServer) -> None:
    server.script.append(cut)
    assert str(await refused(server)).startswith("the connection failed: ")


async def test_of_an_answer_that_takes_it_the_body_is_of_no_interest(server: RawServer) -> None:
    """It may have no end."""
    server.script.append(drip)
    await Webhooks().deliver(receiver(server), MESSAGE)
    assert len(server.heads) == 1


async def test_nobody_there(server: RawServer) -> None:
    nowhere = Secret("http://127.0.0.1:1/canary", "here")
    said = str(await refused(server, url=nowhere))
    assert said.startswith("the connection failed: ")
    assert said.endswith("connection refused")


@pytest.mark.parametrize("url", ["http://xn--/canary", "http://a..b/canary", "http://[::1/canary"])
async def test_an_address_that_is_none_is_an_error_of_its_own(server: RawServer, url: str) -> None:
    await refused(server, url=Secret(url, "here"))


@pytest.mark.parametrize("secret", ["sixteen bytes, or more", f"whsec_{KEY}"])
def test_the_signature_is_what_the_page_verifies(secret: str) -> None:
    """With each form of a secret; a changed body, an id, a time or a key do not pass."""
    now = int(time.time())
    headers = signed(Secret(secret, "here"), "msg_1", now, BODY.encode())
    assert verify(secret, headers, BODY.encode())
    assert not verify(secret, headers, BODY.encode() + b" ")
    assert not verify(secret, {**headers, "webhook-id": "msg_2"}, BODY.encode())
    assert not verify(secret, {**headers, "webhook-timestamp": str(now + 1)}, BODY.encode())
    assert not verify("another secret of mine", headers, BODY.encode())
    old = signed(Secret(secret, "here"), "msg_1", now - 600, BODY.encode())
    assert not verify(secret, old, BODY.encode())


def test_the_signature_is_that_of_the_standard() -> None:
    """Its own example: https://github.com/standard-webhooks/standard-webhooks, in all libraries."""
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "here")
    body = b'{"test": 2432232314}'
    headers = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_there_is_no_signature() -> None:
    assert set(signed(None, "msg_1", 1, b"")) == {"webhook-id", "webhook-timestamp"}


def test_what_the_page_shows_as_a_message_is_json() -> None:
    shown = PAGE.read_text("utf-8").partition("```json\n")[2].partition("```")[0]
    assert json.loads(shown)["state"] == "firing"


async def test_a_heartbeat_is_a_get_that_carries_nothing(server: RawServer) -> None:
    server.script.append(answer(200, b"OK"))
    await Webhooks().beat(Secret(f"{server.url}/ping/canary", "here"))
    server.script.append(answer(404))
    with pytest.raises(NotDelivered, match="404"):
        await Webhooks().beat(Secret(f"{server.url}/ping/canary", "here"))
    assert [head.split("\r\n")[0] for head in server.heads] == ["GET /ping/canary HTTP/1.1"] * 2
    assert "webhook-" not in "".join(server.heads).lower()
    assert server.bodies == [b"", b""]
    assert webhooks.BEAT <= 10.0
