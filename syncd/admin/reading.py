"""What may be looked at?"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from syncd.admin.audience import Audience
from syncd.admin.desk import Desk
from syncd.admin.entry import Refused
from syncd.admin.feed import Feed
from syncd.admin.limits import Allowance
from syncd.admin.live import Live
from syncd.admin.pages import INDEX, Pages
from syncd.admin.readiness import Ourselves, readiness
from syncd.admin.shapes import KINDS, MOST, USUAL
from syncd.config.settings import Settings
from syncd.sync.asking import Ask
from syncd.sync.model import StreamId
from syncd.sync.picture import Look, Story
from syncd.views.letters import letter_object
from syncd.views.objects import cycle_object
from syncd.views.story import story_object
from syncd.views.streams import configured
from syncd.views.words import moment

Render = Callable[[str], tuple[bytes, str]]
"""Figures for Prometheus, in the form that an Accept header asks for: what, and which form."""

Stories = Callable[[StreamId, str], Awaitable[Story]]
"""All that is known of a record, by its key as a person writes it."""

SCRAPE = 0.5  # seconds that /metrics waits for a new look at Postgres
LARGEST = 2**63 - 1  # of an id


class Json(Response):
    """JSON, in ASCII: what an API has sent may be no text that UTF-8 takes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


@attrs.define(eq=False, kw_only=True)
class Reading:
    """Answers whoever looks."""

    settings: Callable[[], Settings]
    feed: Feed
    audience: Audience
    desk: Desk
    pages: Pages
    ourselves: Ourselves
    version: str
    staying: Callable[[Request], Callable[[], bool]]
    """Of a request that was let in: whether it still would be."""

    look: Look | None = attrs.field(default=None, init=False)
    ask: Ask | None = attrs.field(default=None, init=False)
    render: Render | None = attrs.field(default=None, init=False)
    story: Stories | None = attrs.field(default=None, init=False)
    away: Callable[[], str] = attrs.field(default=lambda: "", init=False)
    """Why Postgres, which may answer who only reads, is away for the daemon; empty if it is not."""

    openapi: dict[str, Any] = attrs.field(factory=dict, init=False)
    _rendering: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(1), init=False
    )
    """In a thread: of 200 sources the figures are a fifth of a second's work."""

    _looks: Allowance = attrs.field(factory=lambda: Allowance(most=20, per=1.0), init=False)

    async def health(self, _: Request) -> ASGIApp:
        return Json({"ok": True, "version": self.version})

    async def readiness(self, _: Request) -> ASGIApp:
        await self.feed.fresh()
        found = readiness(
            self.feed.picture,
            self.feed.stale,
            list(self.settings().sources),
            self.ourselves,
            away=self.away(),
            over=self.feed.over,
        )
        return Json(found, 200 if found["ready"] else 503)

    async def metrics(self, request: Request) -> ASGIApp:
        if self.render is None:
            raise Refused(404, "this syncd has no figures")
        # Where Postgres hangs a scrape must not: it would look as if the daemon were gone.
        await self.feed.fresh(SCRAPE)
        accept = request.headers.get("accept", "")
        body, kind = await trio.to_thread.run_sync(self.render, accept, limiter=self._rendering)
        return Response(body, headers={"content-type": kind})

    async def page(self, request: Request) -> ASGIApp:
        return self.pages.answer(request, INDEX)

    async def file(self, request: Request) -> ASGIApp:
        return self.pages.answer(request, request.path_params["path"])

    async def status(self, _: Request) -> ASGIApp:
        return Response(await self.feed.fresh(), media_type=Json.media_type)

    async def events(self, request: Request) -> ASGIApp:
        return Live(audience=self.audience, may_stay=self.staying(request))

    async def cycles(self, request: Request) -> ASGIApp:
        stream, limit = self._stream(request), _limit(request)
        now, found = await self._looked(
            ("cycles", stream, limit), lambda: self._look.cycles(stream, limit)
        )
        return Json({"at": moment(now), "cycles": [cycle_object(cycle) for cycle in found]})

    async def dead(self, request: Request) -> ASGIApp:
        stream, limit = self._stream(request), _limit(request)
        kind = request.query_params.get("kind") or None
        if kind is not None and kind not in KINDS:
            raise Refused(400, f"kind: it must be one of {', '.join(KINDS)}")
        now, total, found = await self._looked(
            ("dead", stream, kind, limit), lambda: self._look.dead(stream, kind, limit)
        )
        letters = [letter_object(letter) for letter in found]
        return Json({"at": moment(now), "total": total, "letters": letters})

    async def letter(self, request: Request) -> ASGIApp:
        number = _id(request)
        _, found = await self._looked(("letter", number), lambda: self._look.letters([number]))
        if not found:
            raise Refused(404, f"there is no dead letter {number} (any more)")
        return Json(letter_object(found[0], whole=True))

    async def why(self, request: Request) -> ASGIApp:
        stream, key = self._stream(request), request.query_params.get("key", "")
        if stream is None or not key:
            raise Refused(400, "say of which `stream` and with which `key`")
        found = await self._looked(("why", stream, key), lambda: self._story(stream, key))
        # Of one that is not known, too: it says where it could be.
        return Json(story_object(found, self.settings()))

    async def request(self, request: Request) -> ASGIApp:
        number = _id(request)
        progress = await self.desk.do(lambda: self._ask.progress(number))
        if not progress.known:
            raise Refused(404, f"there is no request {number} (any more)")
        done = {"done": progress.ended, "ok": progress.ok, "answer": progress.answer}
        return Json({"id": number, **done})

    async def audit(self, request: Request) -> ASGIApp:
        limit = _limit(request)
        now, found = await self.desk.do(lambda: self._ask.audit(limit))
        entries = [
            {
                "at": moment(at),
                "who": deed.asker.who,
                "what": deed.what,
                "subject": deed.subject,
                "from": deed.asker.origin,
                "ok": deed.ok,
                "answer": deed.answer,
            }
            for at, deed in found
        ]
        return Json({"at": moment(now), "entries": entries})

    async def document(self, _: Request) -> ASGIApp:
        return Json(self.openapi)

    @property
    def _look(self) -> Look:
        assert self.look is not None  # noqa: S101 - the desk is open only while it is there
        return self.look

    @property
    def _ask(self) -> Ask:
        assert self.ask is not None  # noqa: S101 - as above
        return self.ask

    @property
    def _story(self) -> Stories:
        assert self.story is not None  # noqa: S101 - as above
        return self.story

    async def _looked(
        self, question: tuple[object, ...], work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Look at Postgres, not too often, and once for all who ask the same."""
        if not self.desk.knows(question) and self._looks.spend(trio.current_time()):
            raise Refused(429, "too many different questions at once", {"Retry-After": "1"})
        return await self.desk.look(question, work)

    def _stream(self, request: Request) -> StreamId | None:
        name = request.query_params.get("stream")
        return None if not name else stream_of(name, self.settings())


def stream_of(name: str, settings: Settings) -> StreamId:
    """The stream of this name; Refused if the config has none."""
    for stream in configured(settings):
        if str(stream) == name:
            return stream
    raise Refused(404, f"there is no stream {name[:100]!r}; name it as SOURCE.STREAM")


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(USUAL))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise Refused(400, f"limit: it must be a whole number from 1 to {MOST}")
    return int(text)


def _id(request: Request) -> int:
    number: int = request.path_params["id"]
    if not 0 <= number <= LARGEST:
        raise Refused(404, "there is no such id")
    return number
