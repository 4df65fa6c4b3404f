"""The answer that does not end before the daemon leaves, or the client does: server-sent events.

Hypercorn has done its part when the request is understood, and the client joins the audience.
"""

from collections.abc import Callable
from functools import partial

import attrs
from starlette.types import Receive, Scope, Send

from syncd.admin.audience import KIND, Audience
from syncd.admin.desk import LEAVING
from syncd.admin.entry import Refused
from syncd.admin.serving import Connection

MOST = 1000  # clients


@attrs.define(eq=False, kw_only=True)
class Live:
    """It, for one client."""

    audience: Audience
    may_stay: Callable[[], bool]
    """Whether the client may still read: the token may be another one since."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if self.audience.feed.over:
            raise Refused(503, LEAVING)
        if len(self.audience.listeners) >= MOST:
            raise Refused(503, f"{MOST} clients listen already", {"Retry-After": "30"})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": [KIND]})
            await send({"type": "http.response.body", "body": b""})
            return
        connection: Connection = scope["state"]["connection"]
        await connection.taken_over(partial(self.audience.join, may_stay=self.may_stay))
