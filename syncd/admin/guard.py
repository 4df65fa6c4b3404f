"""What holds for every request, whatever it asks for?

The Host must be one of ours; the headers keep a browser from doing with our pages what nobody
meant; what goes wrong is one sentence in JSON, and a bug costs that one answer.
"""

import json
import math
from collections.abc import Callable

import attrs
import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncd.admin.desk import Crowded
from syncd.admin.entry import CLOSE, Entry, Refused, body_of
from syncd.admin.headers import ALWAYS, NO_STORE
from syncd.errors import StoreUnavailable, SyncdError

PARTING = 1.0  # seconds that an answer may take to which nobody may listen


@attrs.define(eq=False, kw_only=True)
class Guard:
    """Stands before the app."""

    app: ASGIApp
    entry: Entry
    failed: Callable[[BaseException], None]
    """Hears of bugs."""

    safe: Callable[[str], str]
    """A text without any secret that is known."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", []), *ALWAYS]
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._answer(scope, receive, guarded)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - told, and it costs this answer alone
            refused, half = self._refused(error), begun
            if not half:
                # What is not read any more may keep hypercorn from ending the answer.
                with trio.move_on_after(PARTING if refused.last else math.inf):
                    await _say(guarded, refused)
            if half or refused.last:
                scope["state"]["connection"].cut()

    def _refused(self, error: Exception) -> Refused:
        """What is said of something that went wrong; a bug is told to others, too."""
        match error:
            case Refused():
                return error
            case HTTPException():
                return Refused(error.status_code, _words(error), dict(error.headers or {}))
            case Crowded():
                return Refused(503, "too many ask at once; ask again", {"Retry-After": "1"})
            case StoreUnavailable():
                return Refused(503, self.safe(str(error)), {"Retry-After": "5"})
            case SyncdError():
                return Refused(503, self.safe(str(error)))
        self.failed(error)
        return Refused(500, "a bug; the log tells more")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.entry.host(request)
        if scope["method"] not in ("GET", "HEAD"):
            # Before anything is answered: who has not sent it all may never read the answer.
            scope["state"]["body"] = await body_of(request)
        elif _has_body(request):
            raise Refused(400, "a GET has no body", CLOSE, last=True)
        # That there is an app makes the router raise what it finds wrong.
        await self.app({**scope, "app": self}, receive, send)


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or length != "0"


def _words(error: HTTPException) -> str:
    return {404: "there is nothing here", 405: "not by this method"}.get(
        error.status_code, str(error.detail)
    )


async def _say(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": refused.sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in refused.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
