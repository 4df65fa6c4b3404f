"""What goes with the time?  Whatever has lain for longer than is kept, of each stream.

One stream after the other, so that pages never wait for more than one batch of it; also
of streams that left the config, and of those that are parked or paused: nobody else would.
"""

from collections.abc import Callable, Collection
from contextlib import suppress

import attrs
import trio

from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.ports import Store

FIRST = 60.0  # seconds after the start, when all streams begin at once
EVERY = 3600.0  # seconds
PAUSE = 1.0  # seconds between two streams: a thousand in a row would keep a core for seconds


@attrs.define(eq=False, kw_only=True)
class Purging:
    """Lets it go."""

    store: Store
    sources: Callable[[], Collection[str]]
    """Those that are ours."""

    keep: Callable[[], float]
    """Seconds for which it is kept."""

    async def run(self) -> None:
        """Now and then, until cancelled."""
        await trio.sleep(FIRST)
        while True:
            await self.look(PAUSE)
            await trio.sleep(EVERY)

    async def look(self, pause: float = 0.0) -> None:
        """Once, with a pause after each stream; what Postgres does not do is done another time."""
        keep = self.keep()
        with suppress(StoreUnavailable, StreamBroken):
            await self.store.purge_requests()
            for stream in await self.store.streams_to_purge(self.sources(), keep):
                await self.store.purge(stream, keep)
                await trio.sleep(pause)
