"""How does a message reach a receiver, and a heartbeat who watches?  One attempt each.

Signed as the Standard Webhooks specification has it (https://www.standardwebhooks.com): the
signature is over the id, the time and the body, so that none of them can be changed, and an
old message is not taken for a new one.

A client for each attempt: messages are rare, and no pool can lose its slots.  No redirect is
followed, for a message is for who was named; no proxy of the environment is asked.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import attrs
import httpx
import trio

from syncd import __version__
from syncd.api.hints import wait_hint
from syncd.api.shown import shown
from syncd.api.transport import cause, shared_ssl_context
from syncd.config.settings import NotifySettings, Secret, signing_key
from syncd.errors import NotDelivered
from syncd.sync.alarm import Message

LONGEST = 4096  # bytes of an answer that are read: its status tells
BEAT = 10.0  # seconds for a heartbeat
ENDING = 1.0  # seconds that closing a connection may take


@attrs.frozen
class Webhooks:
    """Fulfils `alarm.Post`."""

    wall: Callable[[], float] = time.time

    async def deliver(self, receiver: NotifySettings, message: Message) -> None:
        """Return when the receiver has taken it; raises NotDelivered."""
        body = message.body.encode()
        headers = {"content-type": "application/json"}
        headers |= signed(receiver.secret, message.id, int(self.wall()), body)
        await _ask("POST", receiver.url, headers, body, within=receiver.timeout)

    async def beat(self, address: Secret) -> None:
        """Ask for the address of a heartbeat; raises NotDelivered."""
        await _ask("GET", address, {}, None, within=BEAT)


def signed(secret: Secret | None, number: str, now: int, body: bytes) -> dict[str, str]:
    """The headers that say which message it is, when it was sent, and by whom."""
    headers = {"webhook-id": number, "webhook-timestamp": str(now)}
    if secret is not None:
        said = f"{number}.{now}.".encode() + body
        digest = hmac.digest(signing_key(secret), said, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


async def _ask(
    method: str, address: Secret, headers: Mapping[str, str], body: bytes | None, *, within: float
) -> None:
    client = httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(verify=shared_ssl_context(), trust_env=False),
        timeout=None,  # noqa: S113 - the whole attempt has a deadline of ours
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": f"syncd/{__version__}", "accept": "*/*"},
    )
    try:
        with trio.fail_after(within):
            request = client.build_request(
                method, address.reveal(), headers=dict(headers), content=body
            )
            response = await client.send(request, stream=True)
            said = b""
            if not response.is_success:
                said = await _beginning(response)
    except trio.TooSlowError:
        raise NotDelivered(f"no answer within {within:g} s") from None
    # UnicodeError: a host name that passes for one until IDNA looks at it.  None of their own
    # words, and no chain: they may hold the address.
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        raise NotDelivered(f"the connection failed: {cause(error)}") from None
    finally:
        with trio.move_on_after(ENDING, shield=True):
            await client.aclose()
    _refuse(response, said)


async def _beginning(response: httpx.Response) -> bytes:
    """The first bytes of an answer, as they were sent: they only explain."""
    said = b""
    async for piece in response.aiter_raw():
        said += piece
        if len(said) >= LONGEST:
            break
    return said[:LONGEST]


def _refuse(response: httpx.Response, said: bytes) -> None:
    if response.is_success:
        return
    status = response.status_code
    if response.is_redirect:
        raise NotDelivered(
            f"it answered {status}: a redirect is not followed; name the new address"
        )
    words = shown(" ".join(said.decode("utf-8", "backslashreplace").split()), 80)
    headers = {name.lower(): value for name, value in response.headers.items()}
    hint = wait_hint(headers, b"", None, refused=status == 429)
    raise NotDelivered(f"it answered {status}{': ' if words else ''}{words}", hint=hint)
