"""What goes with the time?  Whatever has lain for longer than is kept, of each stream.

One stream after the other, so that pages never wait for more than one batch of it; also
of streams that left the config, and of those that are parked or paused: nobody else would.
"""

from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.model import Lease
from syncd.sync.ports import Store
from syncd.sync.waits import Waits

FIRST = 60.0  # seconds after the start, when all streams begin at once
EVERY = 3600.0  # seconds
PAUSE = 1.0  # seconds between two streams: a thousand in a row would keep a core for seconds


@attrs.define(eq=False, kw_only=True)
class Purging:
    """Lets it go."""

    store: Store
    leases: Callable[[], list[Lease]]
    """Of the sources that are ours."""

    keep: Callable[[], float]
    """Seconds for which it is kept."""

    waits: Waits
    """When they end, so does a look."""

    async def run(self) -> None:
        """Now and then, until cancelled."""
        await trio.sleep(FIRST)
        while True:
            await self.look(PAUSE)
            await trio.sleep(EVERY)

    async def look(self, pause: float = 0.0) -> None:
        """Once, with a pause after each stream; what Postgres does not do is done another time."""
        with suppress(StoreUnavailable):
            with suppress(StreamBroken):
                await self.store.purge_requests()
            for stream in await self.store.streams_to_purge(self.leases()):
                if self.waits.ended:
                    return
                with suppress(StreamBroken):  # what is refused of one is not of the others
                    await self.store.purge(stream, self.keep())
                await trio.sleep(pause)
