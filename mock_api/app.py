"""Where does a request go: to the platform, or to the control endpoints?

The ASGI application, bare: four headers and a path are all that it reads, and a
framework would cost more than the answers do.
"""

from collections.abc import Iterator
from typing import Any

import trio

from mock_api.answers import Answer
from mock_api.api import DEFAULT_CLIENT, Api, Request
from mock_api.control import PREFIX, Control
from mock_api.delivery import Exchange, Message, Receive, Send, deliver, send_whole

BODY_MAX = 64 * 1024 * 1024  # bytes of a control request's body


class App:
    """The server's ASGI application."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.control = Control(api)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith(PREFIX):
            await self._control(scope, receive, send)
            return
        request = read_head(scope)
        late = self._api.late(request)
        if late is not None:
            # Also if the client leaves meanwhile: what was received will be counted.
            await trio.sleep(late.late / self._api.settings.speed)
        # Decided, and so counted, as soon as the head is here; the body only has to
        # be out of the way, or hypercorn could not tell us when the client leaves.
        decision = self._api.decide(request, late)
        if await read_body(receive, keep=0) is None:
            return
        await deliver(self._api, decision, Exchange(receive, send, scope["state"]["connection"]))

    async def _control(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await read_body(receive, keep=BODY_MAX)
        if body is None:
            return
        query = scope["query_string"].decode("latin-1")
        answer = self.control.answer(scope["method"], scope["path"], query, body)
        if isinstance(answer, Answer):
            await send_whole(answer, send)
        else:
            await send_stream(answer, send)


def read_head(scope: Message) -> Request:
    """What matters of the request's head."""
    authorization, client, key, known = "", "", "", ""
    for name, value in scope["headers"]:
        # hypercorn gives names in lower case
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"x-client-id":
            client = value.decode("latin-1")
        elif name == b"idempotency-key":
            key = value.decode("latin-1")
        elif name == b"if-none-match":
            known = value.decode("latin-1")
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        authorization=authorization,
        client=client or DEFAULT_CLIENT,
        key=key,
        known=known,
    )


async def read_body(receive: Receive, *, keep: int) -> bytes | None:
    """The body, of which no more than `keep` is kept; None if the client left in it."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) < keep:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def send_stream(pieces: Iterator[bytes], send: Send) -> None:
    """A long answer, piece by piece, between which others have their turn."""
    headers: list[tuple[bytes, Any]] = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await trio.lowlevel.checkpoint()
    await send({"type": "http.response.body", "body": b""})
