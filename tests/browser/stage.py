"""The side door's part towards the page, played from a script: any state, at any moment.

It serves the page's own files with the same headers, says what a test tells it to say, and
remembers what it was asked for.  What the daemon really says is in `test_page_daemon.py`.
"""

import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

import syncd
from syncd.admin.headers import ALWAYS
from syncd.views.words import moment

STATIC = Path(syncd.__file__).parent / "admin" / "static"
TOKEN = "sixteen-letters-and-more"
PATIENCE = 15.0  # seconds


Say = Callable[[str, Any], Awaitable[None]]


class _Events(Response):
    """An answer that goes on until the page leaves, or all is said."""

    def __init__(self, say_all: Callable[[Say], Awaitable[None]]) -> None:
        super().__init__()
        self._say_all = say_all

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def say(name: str, data: Any) -> None:
            body = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})

        async def until_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_left)
            await self._say_all(say)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})


@attrs.define(eq=False)
class Stage:
    """What is said, and what was asked; its methods are for the test's own thread."""

    status: dict[str, Any] = attrs.field(factory=dict)
    cycles: list[dict[str, Any]] = attrs.field(factory=list)
    letters: list[dict[str, Any]] = attrs.field(factory=list)
    asked: list[tuple[str, Any]] = attrs.field(factory=list)
    answers: dict[str, str] = attrs.field(factory=dict)
    """By the last part of the path: what comes of it; "retried" and so on."""

    closed: bool = False
    """Reading needs the token, too."""

    broken: str | None = None
    """Every answer is a 500 that says this."""

    port: int = 0

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _end: trio.Event = attrs.field(factory=trio.Event, init=False)
    _trio: Any = attrs.field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def show(self, status: dict[str, Any]) -> None:
        """Say it to all who listen."""
        self.status = status
        if self._trio is not None:
            trio.from_thread.run_sync(self._tell, trio_token=self._trio)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @contextmanager
    def playing(self) -> Iterator["Stage"]:
        """Serve on a free port, or on the one of the last time."""
        ready, failed = threading.Event(), []

        def run() -> None:
            try:
                trio.run(self._serve, ready)
            except BaseException as error:  # noqa: BLE001 - raised where somebody hears it
                failed.append(error)
                ready.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ready.wait(PATIENCE), "the stage did not open"
        if failed:
            raise failed[0]
        try:
            yield self
        finally:
            trio.from_thread.run_sync(self._close, trio_token=self._trio)
            thread.join(PATIENCE)
            if failed:
                raise failed[0]

    def _close(self) -> None:
        self._end.set()
        self._tell()

    async def _serve(self, ready: threading.Event) -> None:
        self._trio, self._end = trio.lowlevel.current_trio_token(), trio.Event()
        config = Config()
        config.bind = [f"127.0.0.1:{self.port}"]
        config.graceful_timeout = 0.2
        async with trio.open_nursery() as nursery:
            # The wait for the end is a task of hypercorn's own; it must not outlive it.
            bound = await nursery.start(
                partial(serve, self._app(), config, shutdown_trigger=self._end.wait)
            )
            self.port = int(bound[0].rsplit(":", 1)[1])
            ready.set()

    def _app(self) -> Any:
        routes = [
            Route("/", self._page),
            Route("/static/{path:path}", self._page),
            Route("/api/events", self._events),
            Route("/api/cycles", self._cycles),
            Route("/api/dead", self._dead),
            Route("/api/dead/{number:int}", self._one_dead),
            Route("/api/requests/{number:int}", self._request),
            Route("/api/{path:path}", self._post, methods=["POST"]),
        ]
        app = Starlette(routes=routes)

        async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
            async def dressed(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], *ALWAYS]}
                await send(message)

            await app(scope, receive, dressed)

        return with_headers

    # --- answers ------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / request.path_params.get("path", "index.html"))

    def _refusal(self, request: Request, *, to_write: bool = False) -> Response | None:
        if self.broken is not None:
            return JSONResponse({"error": self.broken}, 500)
        given = request.headers.get("authorization")
        if (to_write or self.closed) and given != f"Bearer {TOKEN}":
            said = "wrong token" if given else "this needs the token"
            return JSONResponse({"error": said}, 401)
        return None

    async def _events(self, request: Request) -> Response:
        return self._refusal(request) or _Events(self._say_all)

    async def _say_all(self, say: Say) -> None:
        while not self._end.is_set():
            news = self._news  # before it is said: what comes meanwhile must not be missed
            await say("status", self.status)
            await news.wait()
        await say("gone", {})

    async def _cycles(self, request: Request) -> Response:
        wanted = request.query_params["stream"]
        found = [c for c in self.cycles if f"{c['source']}.{c['stream']}" == wanted]
        body = {"at": self.status.get("at"), "cycles": found[: int(request.query_params["limit"])]}
        return self._refusal(request) or JSONResponse(body)

    async def _dead(self, request: Request) -> Response:
        wanted = request.query_params["stream"]
        found = [x for x in self.letters if f"{x['source']}.{x['stream']}" == wanted]
        body = {"at": self.status.get("at"), "total": len(found), "letters": found}
        return self._refusal(request) or JSONResponse(body)

    async def _one_dead(self, request: Request) -> Response:
        number = request.path_params["number"]
        letter = next(x for x in self.letters if x["id"] == number)
        payload = {"payload": json.dumps({"id": letter["key"], "reason": letter["reason"]})}
        return self._refusal(request) or JSONResponse(letter | payload)

    async def _request(self, _: Request) -> Response:
        path = self.asked[-1][0]
        answer = self.answers.get(path.rsplit("/", 1)[1], "done")
        return JSONResponse({"id": 1, "done": True, "ok": True, "answer": answer})

    async def _post(self, request: Request) -> Response:
        refused = self._refusal(request, to_write=True)
        if refused is not None:
            return refused
        path, body = request.path_params["path"], await request.json()
        self.asked.append((path, body))
        unsure = [x["id"] for x in self.letters if x["kind"] == "outcome-unknown"]
        if path == "dead/retry" and not body["repeat"] and set(unsure) & set(body["ids"]):
            return JSONResponse({"error": "the call may have been carried out"}, 400)
        if path.startswith("dead/"):
            self.letters = [x for x in self.letters if x["id"] not in body["ids"]]
            for stream in self.status["streams"]:
                name = (stream["source"], stream["stream"])
                left = [x for x in self.letters if (x["source"], x["stream"]) == name]
                stream["dead_letters"] = len(left)
            self._tell()
        return JSONResponse({"requests": [1]}, 202)


def said(
    now: float,
    ago: float,
    level: str,
    event: str,
    stream: str,
    sentence: str,
    todo: str,
    **fields: Any,
) -> dict[str, Any]:
    """One noteworthy line."""
    return {
        "at": moment(now - ago),
        "level": level,
        "event": event,
        "stream": stream,
        "sentence": sentence,
        "todo": todo,
        "fields": fields,
    }
