"""Who watches a stream, and would notice if it fell silent?  They are asked after each good cycle.

A heartbeat that could not be sent is tried a few times, and is then worth nothing: the next
good cycle sends another.
"""

import random

import attrs
import trio

from syncd.config.settings import Secret
from syncd.errors import NotDelivered
from syncd.sync.alarm import Log, Post
from syncd.sync.model import StreamId
from syncd.sync.retry import backoff

TRIES = 3
BASE, CAP = 5.0, 30.0  # seconds between two of them
AT_ONCE = 5  # requests


@attrs.define(eq=False, kw_only=True)
class Heartbeats:
    """Of all streams that have one."""

    post: Post
    log: Log
    rng: random.Random
    addresses: dict[StreamId, Secret] = attrs.field(factory=dict)
    _due: dict[StreamId, None] = attrs.field(factory=dict, init=False)
    _under_way: set[StreamId] = attrs.field(factory=set, init=False)
    _hopeless: set[StreamId] = attrs.field(factory=set, init=False)
    """Of those under way: the last try came to nothing."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    def beat(self, stream: StreamId) -> None:
        """A cycle of the stream has ended well."""
        if stream in self.addresses:
            self._due[stream] = None
            self._tell()

    async def run(self) -> None:
        """Until cancelled; one at a time for each stream, a few beside each other."""
        limit = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                for stream in [s for s in self._due if s not in self._under_way]:
                    del self._due[stream]
                    self._under_way.add(stream)
                    nursery.start_soon(self._send, stream, limit)
                await self._news.wait()

    async def sent(self) -> None:
        """Return when none waits that could be sent."""
        while self._due or self._under_way - self._hopeless:
            await self._news.wait()

    async def _send(self, stream: StreamId, limit: trio.CapacityLimiter) -> None:
        try:
            for attempt in range(1, TRIES + 1):
                address = self.addresses.get(stream)
                if address is None:
                    return  # a reload took it away
                try:
                    async with limit:
                        await self.post.beat(address)
                except NotDelivered as error:
                    reason = str(error)
                else:
                    return
                self._hopeless.add(stream)
                self._tell()
                if attempt < TRIES:
                    await trio.sleep(BASE / 2 + backoff(attempt, base=BASE, cap=CAP, rng=self.rng))
            self.log.heartbeat_failed(stream, reason=reason)
        finally:
            self._under_way.discard(stream)
            self._hopeless.discard(stream)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
