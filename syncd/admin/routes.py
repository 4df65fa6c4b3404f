"""Every address of the side door: who may ask it, what for, and what it answers.

`openapi` makes the document for programs from the same table, so that they can't differ.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

import attrs
from starlette.requests import Request
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from syncd.admin import shapes
from syncd.admin.entry import Refused
from syncd.admin.reading import Reading
from syncd.admin.shapes import Parameter, Schema
from syncd.admin.writing import Writing

Who = Literal["anybody", "reader", "records", "keyholder", "writer"]
"""anybody: it says nothing of what is synced; records: it shows whole ones; keyholder: who has the
token, also to read."""

LONGEST = 40  # characters of a wrong parameter that are said again

STREAM = Parameter("stream", "SOURCE.STREAM", where="path")


@attrs.frozen(kw_only=True)
class Route:
    """One address."""

    method: Literal["GET", "POST"] = "GET"
    path: str
    who: Who = "reader"
    answer: Callable[[Request], Awaitable[ASGIApp]]
    says: str
    """What it is for, in a sentence."""

    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    shape: Schema | None = None
    """Of what it answers, where that is JSON."""

    kind: str = "application/json"
    status: int = 200
    or_else: tuple[int, ...] = ()
    """Other statuses with the same shape."""


def table(reading: Reading, writing: Writing) -> list[Route]:
    """All of them."""
    return [
        Route(
            path="/healthz",
            who="anybody",
            answer=reading.health,
            says="Whether the daemon's loop turns: it does, if this is answered.",
            shape=shapes.HEALTH,
        ),
        Route(
            path="/readyz",
            answer=reading.readiness,
            says="Whether it can do its job: Postgres answers and takes what is written, "
            "each source's lease is ours and its API does not fail everybody. 503 if not: "
            "`reason` is the first of the reasons, and each stands where it belongs.",
            shape=shapes.READINESS,
            or_else=(503,),
        ),
        Route(
            path="/metrics",
            answer=reading.metrics,
            says="Figures for Prometheus.",
            kind="text/plain",
        ),
        Route(
            path="/",
            who="anybody",
            answer=reading.page,
            says="The status page.",
            kind="text/html",
        ),
        Route(
            path="/static/{path:path}",
            who="anybody",
            answer=reading.file,
            says="A file of the status page.",
            parameters=(Parameter("path", "of the file", where="path"),),
            kind="text/html",
        ),
        Route(
            path="/api/status",
            answer=reading.status,
            says="How every stream, source and budget stands, as `syncd status --json`, and how "
            "the daemon does. While Postgres is away the last picture, with `stale_since`.",
            shape=shapes.STATUS,
        ),
        Route(
            path="/api/events",
            answer=reading.events,
            says="The same as server-sent events: `status` at once and when something has "
            "changed, at most once a second; `gone` when the daemon leaves.",
            kind="text/event-stream",
        ),
        Route(
            path="/api/cycles",
            answer=reading.cycles,
            says="The last cycles, newest first.",
            parameters=(Parameter("stream", "SOURCE.STREAM; all if left out"), shapes.LIMIT),
            shape=shapes.CYCLES,
        ),
        Route(
            path="/api/dead",
            answer=reading.dead,
            says="Dead letters, newest first, without their payloads.",
            parameters=(
                Parameter("stream", "SOURCE.STREAM; all if left out"),
                Parameter("kind", "only those of this kind", choices=shapes.KINDS),
                shapes.LIMIT,
            ),
            shape=shapes.LETTERS,
        ),
        Route(
            path="/api/dead/{id:int}",
            who="records",
            answer=reading.letter,
            says="One dead letter whole. Needs the token, except through a unix socket.",
            parameters=(Parameter("id", "of the letter", where="path", type="integer"),),
            shape=shapes.WHOLE_LETTER,
        ),
        Route(
            path="/api/why",
            who="records",
            answer=reading.why,
            says="The whole story of one record. Needs the token, except through a unix socket.",
            parameters=(
                Parameter("stream", "SOURCE.STREAM", needed=True),
                Parameter("key", "of the record", needed=True),
            ),
            shape=shapes.OBJECT,
        ),
        Route(
            path="/api/requests/{id:int}",
            answer=reading.request,
            says="How far something that was asked for has come.",
            parameters=(Parameter("id", "of the request", where="path", type="integer"),),
            shape=shapes.REQUEST,
        ),
        Route(
            path="/api/audit",
            who="keyholder",
            answer=reading.audit,
            says="Who asked for what, when and from where, newest first. Needs the token.",
            parameters=(shapes.LIMIT,),
            shape=shapes.AUDIT,
        ),
        Route(
            path="/api/openapi.json",
            who="anybody",
            answer=reading.document,
            says="This document.",
            shape=shapes.OBJECT,
        ),
        Route(
            method="POST",
            path="/api/streams/{stream:path}/{action}",
            who="writer",
            answer=writing.stream,
            says="Ask for something of one stream; `GET /api/requests/ID` tells what came of it. "
            "Only `sync` takes `keys`.",
            parameters=(
                STREAM,
                Parameter("action", "", where="path", choices=tuple(shapes.ACTIONS)),
            ),
            body=shapes.KEYS,
            shape=shapes.ASKED,
            status=202,
        ),
        Route(
            method="POST",
            path="/api/dead/retry",
            who="writer",
            answer=writing.retry,
            says="Try dead letters again. `repeat` also makes calls again that may then be made "
            "twice.",
            body=shapes.RETRY,
            shape=shapes.ASKED,
            status=202,
        ),
        Route(
            method="POST",
            path="/api/dead/discard",
            who="writer",
            answer=writing.discard,
            says="Forget dead letters. It is done when this is answered: there is no request. "
            "`unknown` are ids of letters that are not there (any more).",
            body=shapes.IDS,
            shape=shapes.DISCARDED,
            status=202,
        ),
        Route(
            method="POST",
            path="/api/reload",
            who="writer",
            answer=writing.reload,
            says="Read the config again, as SIGHUP does.",
            body=shapes.NOTHING,
            shape=shapes.ASKED,
            status=202,
        ),
    ]


def routed(route: Route, admit: Callable[[Who, Request], None]) -> StarletteRoute:
    """The route for starlette; `admit` raises Refused."""

    async def endpoint(request: Request) -> ASGIApp:
        admit(route.who, request)
        _must_be_known(request, route)
        return await route.answer(request)

    return StarletteRoute(route.path, endpoint, methods=[route.method])


def _must_be_known(request: Request, route: Route) -> None:
    """Refuse what would be ignored: `?strem=…` asks for something else than all of them.

    Of the API alone: what scrapes figures or looks after health may say what it likes.
    """
    if route.who == "anybody" or not route.path.startswith("/api/"):
        return
    taken = [parameter.name for parameter in route.parameters if parameter.where == "query"]
    allowed = f"this takes {', '.join(taken)}" if taken else "this takes none"
    for name in request.query_params:
        if name not in taken:
            raise Refused(400, f"there is no parameter {name[:LONGEST]!r}: {allowed}")
        if len(request.query_params.getlist(name)) > 1:
            raise Refused(400, f"{name}: it is given more than once")
