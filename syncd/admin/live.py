"""How does a client hear of what changes?  Server-sent events, the newest picture each time.

Nothing is queued for a client: who is slow gets the newest picture when it has read the one
before, and who does not read one in time is cut.  All share the bytes of a picture, and behind
each of them stands one small task: hypercorn has done its part when the request is understood.
"""

import random
import select
from collections.abc import Callable

import attrs
import trio
from starlette.types import Receive, Scope, Send

from syncd.admin.desk import LEAVING
from syncd.admin.entry import Refused
from syncd.admin.feed import Feed
from syncd.admin.headers import ALWAYS, NO_STORE
from syncd.admin.serving import Connection

SPACING = 1.0  # seconds between two events
SPREAD = 0.5  # seconds over which a crowd is told …
STEP = 0.001  # … seconds for each of it
QUIET = 15.0  # seconds after which a comment shows that the connection stands
READING = 30.0  # seconds that a client may take to read one event
MOST = 1000  # clients

KIND = (b"content-type", b"text/event-stream")
HEAD = b"".join(
    b"%s: %s\r\n" % header for header in (KIND, (b"connection", b"close"), NO_STORE, *ALWAYS)
)
GREETING = b"HTTP/1.1 200 OK\r\n" + HEAD + b"\r\nretry: 3000\n"  # ms: when a browser comes again
GONE = b"event: gone\ndata: {}\n\n"
STILL_HERE = b":\n\n"

LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


@attrs.define(eq=False, kw_only=True)
class Live:
    """The answer that does not end before the daemon leaves, or the client does."""

    feed: Feed
    may_stay: Callable[[], bool]
    """Whether the client may still read: the token may be another one since."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if self.feed.over:
            raise Refused(503, LEAVING)
        if len(self.feed.listeners) >= MOST:
            raise Refused(503, f"{MOST} clients listen already", {"Retry-After": "30"})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": [KIND]})
            await send({"type": "http.response.body", "body": b""})
            return
        connection: Connection = scope["state"]["connection"]
        self.feed.listeners.add(connection)
        await connection.taken_over(self._serve)

    async def _serve(self, stream: trio.SocketStream, connection: Connection) -> None:
        try:
            await self._tell(stream)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it does not read, or is gone
        finally:
            self.feed.listeners.discard(connection)

    async def _tell(self, stream: trio.SocketStream) -> None:
        await self.feed.fresh()
        await _say(stream, GREETING)
        while not self.feed.over:
            version, said = self.feed.version, trio.current_time()
            await _say(stream, self.feed.event)
            while not await self._news(version):
                await _say(stream, STILL_HERE)
            # Every event costs, and nobody reads faster; but the end is told at once.  A crowd
            # hears of it one after the other: the streams have their turn in between.
            spread = min(SPREAD, len(self.feed.listeners) * STEP)
            turn = trio.current_time() + random.uniform(0.0, spread)  # noqa: S311 - no secret
            with trio.move_on_at(max(said + SPACING, turn)):
                await self.feed.ended()
            if _has_left(stream) or not self.may_stay():
                return
        await _say(stream, GONE)

    async def _news(self, version: int) -> bool:
        """Wait for some; False if there were none for a while."""
        with trio.move_on_after(QUIET):
            await self.feed.changed(version)
            return True
        return False


async def _say(stream: trio.SocketStream, text: bytes) -> None:
    with trio.fail_after(READING):
        await stream.send_all(text)


def _has_left(stream: trio.SocketStream) -> bool:
    """Whether the client has closed its side; what is sent to it then may still be taken."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), LEFT)
    return bool(poll.poll(0))
