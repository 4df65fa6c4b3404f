"""Where do people read that an API is failing?  On its source's lease, kept up here.

Commands read the database alone, and a breaker lives in the daemon: each of its changes
is written, and nothing between them.  What can't be written now is written later; only
the last state counts.  Postgres's own absence can't stand in it: the log and STATUS tell.
"""

from collections.abc import Callable

import attrs
import trio

from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.breaker import Breaker
from syncd.sync.model import Lease
from syncd.sync.ports import ApiFailing, Store

AGAIN = 5.0  # seconds until a change that could not be written is tried again


@attrs.define(eq=False)
class Posting:
    """Writes one breaker's state, as it changes, to its source's lease."""

    breaker: Breaker
    store: Store
    lease: Callable[[], Lease | None]
    """The one that is held now."""

    async def run(self) -> None:
        """For as long as the breaker is in use; ends by being cancelled."""
        written: object = None
        while True:
            # Taken before the look: what is heard meanwhile must not be lost.
            news = self.breaker.news
            found = self.breaker.open
            now = found and (found.since, found.probe_at, found.reason)
            if now != written:
                if not await self._write():
                    await trio.sleep(AGAIN)
                    continue
                written = now
            await news.wait()

    async def _write(self) -> bool:
        lease, found = self.lease(), self.breaker.open
        if lease is None:
            return True  # it was given back, and with it what stood there
        now = trio.current_time()
        failing = None
        if found is not None:
            left = max(0.0, found.probe_at - now)
            failing = ApiFailing(since=now - found.since, reason=found.reason, next_probe=left)
        try:
            await self.store.post_failing(lease, failing)
        except (StoreUnavailable, StreamBroken):
            return False
        return True
