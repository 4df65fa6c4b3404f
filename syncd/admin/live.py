"""How does a client hear of what changes?  Server-sent events, the newest picture each time.

Nothing is queued for a client: who is slow gets the newest picture when it has read the one
before, and who reads nothing is cut by the connection's own deadline (`serving`).
"""

from collections.abc import Awaitable, Callable

import attrs
import trio
from starlette.types import Receive, Scope, Send

from syncd.admin.entry import Refused
from syncd.admin.feed import Feed
from syncd.admin.serving import Connection

SPACING = 1.0  # seconds between two events
QUIET = 15.0  # seconds after which a comment shows that the connection stands
MOST = 1000  # clients
PARTING = 1.0  # seconds that it may take to read that the daemon leaves
AGAIN = 3000  # milliseconds after which a browser connects again

GONE = b"event: gone\ndata: {}\n\n"
STILL_HERE = b":\n\n"


@attrs.define(eq=False, kw_only=True)
class Live:
    """The answer that does not end before the daemon leaves, or the client does."""

    feed: Feed
    may_stay: Callable[[], bool]
    """Whether the client may still read: the token may be another one since."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.feed.over:
            raise Refused(503, "syncd is leaving")
        if self.feed.listeners >= MOST:
            raise Refused(503, f"{MOST} clients listen already", {"Retry-After": "30"})
        headers = [(b"content-type", b"text/event-stream"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self.feed.listeners += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_left, receive, nursery.cancel_scope)
                nursery.start_soon(self._part, scope["state"]["connection"])
                await self._tell(send)
                nursery.cancel_scope.cancel()
        finally:
            self.feed.listeners -= 1
        await send({"type": "http.response.body", "body": b""})

    async def _part(self, connection: Connection) -> None:
        """At the end wait no longer than a moment for who does not read that it is."""
        await self.feed.ended()
        await trio.sleep(PARTING)
        connection.cut()

    async def _tell(self, send: Send) -> None:
        async def say(text: bytes) -> None:
            await send({"type": "http.response.body", "body": text, "more_body": True})

        body = await self.feed.fresh()
        head = b"retry: %d\n" % AGAIN
        while self.may_stay() and not self.feed.over:
            version, said = self.feed.version, trio.current_time()
            await say(b"%sevent: status\ndata: %s\n\n" % (head, body))
            head = b""
            await self._until_news(version, say)
            # Every event costs, and nobody reads faster; but the end is told at once.
            with trio.move_on_at(said + SPACING):
                await self.feed.ended()
            body = self.feed.body
        if self.feed.over:
            await say(GONE)

    async def _until_news(self, version: int, say: Callable[[bytes], Awaitable[None]]) -> None:
        while True:
            with trio.move_on_after(QUIET):
                await self.feed.changed(version)
                return
            await say(STILL_HERE)


async def _until_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
