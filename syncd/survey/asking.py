"""How are an API's owners spared?  Few requests, one after the other, and none after a 429."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import trio

from syncd.api.hints import REMAINING
from syncd.errors import SyncdError

MOST = 8  # requests of one survey
APART = 0.25  # seconds between two of them
RESERVE = 2  # requests that are left to others where the API tells what is left


@attrs.frozen(kw_only=True)
class Place:
    """Where the list is, as it was asked for by a person."""

    path: str
    params: Mapping[str, str] = attrs.field(factory=dict)
    body: Mapping[str, Any] | None = None
    """Of a search by POST; None: by GET."""


@attrs.frozen(kw_only=True)
class Reply:
    """One answer, whatever its status."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Names in lower case."""

    body: bytes = attrs.field(repr=False)
    url: str = ""


@attrs.frozen(kw_only=True)
class Request:
    """What is asked: the place's list, or an address that an answer gave."""

    place: Place
    params: Mapping[str, str | int] = attrs.field(factory=dict)
    """Beside the place's own; in the body of a search."""

    address: str | None = None


class Fetch(Protocol):
    """Makes one request; raises what an `ApiClient` raises."""

    def __call__(self, request: Request, /) -> Awaitable[Reply]: ...


@attrs.define(eq=False)
class Asking:
    """Makes requests for as long as that is polite."""

    _fetch: Fetch
    tell: Callable[[str], None]
    made: int = attrs.field(default=0, init=False)
    stopped: str = attrs.field(default="", init=False)
    """Why nothing more is asked, in words."""

    refused: Reply | None = attrs.field(default=None, init=False)

    @property
    def room(self) -> int:
        """How many more can be made."""
        return 0 if self.stopped else MOST - self.made

    async def ask(self, request: Request, why: str) -> Reply | None:
        """The answer; None if no more is to be asked."""
        if self.made >= MOST and not self.stopped:
            self.stopped = f"{MOST} requests were made, and no more are"
        if self.stopped:
            return None
        if self.made:
            await trio.sleep(APART)
        self.made += 1
        self.tell(f"request {self.made}: {why}")
        reply = await self._fetch(request)
        if reply.status == 429:
            self.stopped, self.refused = "the API answered 429: too many requests", reply
            return None
        if _left(reply.headers) <= RESERVE:
            self.stopped = "little is left of the API's quota"
        return reply

    async def try_to_ask(self, request: Request, why: str) -> Reply | None:
        """The same, where no answer is an answer, too: an API may take a parameter amiss."""
        try:
            return await self.ask(request, why)
        except SyncdError as error:
            self.tell(f"request {self.made} failed: {error}")
            return None


def _left(headers: Mapping[str, str]) -> float:
    told = [headers[name].strip() for name in REMAINING if name in headers]
    figures = [int(text) for text in told if text.isascii() and text.isdigit()]
    return min(figures, default=float("inf"))
