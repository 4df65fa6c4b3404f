"""What may be asked for?  Written as requests, as the commands do; the loop does it.

Each has an entry in the audit, in the transaction that asks for it.
"""

import difflib
import json
from collections.abc import Callable
from typing import Any

import attrs
from starlette.requests import Request
from starlette.types import ASGIApp

from syncd.admin.desk import Desk
from syncd.admin.entry import LONGEST, Entry, Refused
from syncd.admin.reading import LARGEST, Json, stream_of
from syncd.admin.shapes import ACTIONS
from syncd.config.settings import Settings
from syncd.sync.asking import Ask, Asker
from syncd.sync.model import StreamId
from syncd.sync.picture import Letter, Look
from syncd.sync.ports import APPROVE, REPEAT, RequestKind
from syncd.views.letters import MAY_BE_TWICE, may_be_twice
from syncd.views.streams import configured

MOST = 500  # keys or letters of one request
DOUBT = "; what was asked may be carried out all the same: look before you ask again"


@attrs.define(eq=False, kw_only=True)
class Writing:
    """Carries out what who has the token asks for."""

    settings: Callable[[], Settings]
    entry: Entry
    desk: Desk
    look: Look | None = attrs.field(default=None, init=False)
    ask: Ask | None = attrs.field(default=None, init=False)

    async def stream(self, request: Request) -> ASGIApp:
        asker, body = self._admitted(request)
        stream = stream_of(request.path_params["stream"], self.settings())
        action = request.path_params["action"]
        if action not in ACTIONS:
            raise Refused(404, f"there is no such action; there is {', '.join(ACTIONS)}")
        _only(body, *(["keys"] if action == "sync" else []))
        subjects = _keys(body) if action == "sync" else []
        if action == "approve":
            subjects = [APPROVE]
        number = await self._number(asker, ACTIONS[action], stream, subjects)
        return Json({"requests": [number]}, 202)

    async def retry(self, request: Request) -> ASGIApp:
        asker, body = self._admitted(request)
        _only(body, "ids", "repeat")
        repeat = body.get("repeat", False)
        if not isinstance(repeat, bool):
            raise Refused(400, "repeat: it must be true or false")
        letters = await self._letters(_ids(body))
        doubtful = [x.id for x in letters if not repeat and may_be_twice(self.settings(), x)]
        if doubtful:
            raise Refused(400, f"{', '.join(map(str, doubtful))}: {MAY_BE_TWICE} (`repeat`)")
        requests = []
        for stream in dict.fromkeys(letter.stream for letter in letters):
            ours = [str(letter.id) for letter in letters if letter.stream == stream]
            subjects = [*ours, *([REPEAT] if repeat else [])]
            requests.append(await self._number(asker, "retry", stream, subjects))
        return Json({"requests": requests}, 202)

    async def discard(self, request: Request) -> ASGIApp:
        asker, body = self._admitted(request)
        _only(body, "ids")
        ids = _ids(body)
        gone = await self.desk.do(lambda: self._ask.discard(ids, asked_by=asker), DOUBT)
        unknown = sorted(set(ids) - set(gone))
        return Json({"requests": [], "discarded": len(gone), "unknown": unknown}, 202)

    async def reload(self, request: Request) -> ASGIApp:
        asker, body = self._admitted(request)
        _only(body)
        source = next(iter(self.settings().sources))
        number = await self.desk.do(
            lambda: self._ask.ask("reload", source, None, asked_by=asker), DOUBT
        )
        return Json({"requests": [number]}, 202)

    def _admitted(self, request: Request) -> tuple[Asker, dict[str, Any]]:
        asker = self.entry.writer(request)
        try:
            found = json.loads(request.scope["state"]["body"] or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Refused(400, "the body must be a JSON object")
        return asker, found

    async def _letters(self, ids: list[int]) -> list[Letter]:
        look = self.look
        assert look is not None  # noqa: S101 - the desk is open only while it is there
        _, found = await self.desk.do(lambda: look.letters(ids))
        streams = configured(self.settings())
        known = [letter for letter in found if letter.stream in streams]
        if len(known) < len(set(ids)):
            gone = sorted(set(ids) - {letter.id for letter in known})
            raise Refused(
                404,
                f"not there (any more), or of a stream that is not in the config: "
                f"{', '.join(map(str, gone))}",
            )
        return known

    async def _number(
        self, asker: Asker, kind: RequestKind, stream: StreamId, subjects: list[str]
    ) -> int:
        return await self.desk.do(
            lambda: self._ask.ask(
                kind, stream.source, stream.stream, asked_by=asker, subjects=subjects
            ),
            DOUBT,
        )

    @property
    def _ask(self) -> Ask:
        assert self.ask is not None  # noqa: S101 - as above
        return self.ask


def _only(body: dict[str, Any], *known: str) -> None:
    """Refuse a key that means nothing here: who has sent it meant something."""
    for key in body:
        if key in known:
            continue
        near = difflib.get_close_matches(key[:LONGEST], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        allowed = f"known here: {', '.join(known)}" if known else "this takes none"
        raise Refused(400, f"{key[:LONGEST]!r}: unknown key; {hint}{allowed}")


def _keys(body: dict[str, Any]) -> list[str]:
    if "keys" not in body:
        return []
    keys = body["keys"]
    good = isinstance(keys, list) and all(isinstance(k, str) and k.strip() for k in keys)
    if not good or not keys or len(keys) > MOST:
        raise Refused(
            400,
            f"keys: it must be a list of 1 to {MOST} texts, none of them empty; without it the "
            "whole stream is synced",
        )
    return list(keys)


def _ids(body: dict[str, Any]) -> list[int]:
    ids = body.get("ids")
    good = isinstance(ids, list) and all(type(i) is int and 0 < i <= LARGEST for i in ids)
    if not good or not ids or len(ids) > MOST:
        raise Refused(400, f"ids: it must be a list of 1 to {MOST} ids of dead letters")
    return list(ids)
