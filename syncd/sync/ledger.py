"""How does the answer to a call become a fact, quickly and once?

An answer is settled as soon as it is read, before anything is made of it.  While
one statement is under way, further answers wait and share the next one.

The newest answers are remembered here as well, for a Postgres that loses what it had
committed (a failover to a replica that was behind): stored again, they are not asked for
a second time.
"""

import attrs
import trio

from syncd.sync.model import StreamId
from syncd.sync.ports import Settlement, Store

REMEMBERED = 5000  # answers, of all streams; at a few hundred bytes each
AT_ONCE = 1000  # of these in one statement


@attrs.define(eq=False)
class Ledger:
    """Settles calls through the store, several with one statement."""

    _store: Store
    _waiting: list[Settlement] = attrs.field(factory=list, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _newest: dict[str, Settlement] = attrs.field(factory=dict, init=False)
    """By idempotency key, the oldest first."""

    async def store_again(self, stream: StreamId) -> None:
        """Store what is remembered of a stream; what the ledger has already stays as it is."""
        ours = [s for s in self._newest.values() if s.intent.stream == stream]
        for first in range(0, len(ours), AT_ONCE):
            await self._store.settle_calls(ours[first : first + AT_ONCE])

    def _remember(self, settlement: Settlement) -> None:
        key = settlement.intent.idempotency_key
        self._newest.pop(key, None)
        if settlement.outcome == "failed":
            # Such a call may be tried again, by another syncd as well, and then its outcome
            # may be one that nobody knows: to say once more that it failed would hide that.
            return
        self._newest[key] = settlement
        if len(self._newest) > REMEMBERED:
            del self._newest[next(iter(self._newest))]

    async def settle(self, settlement: Settlement) -> None:
        """Return when the settlement is stored; StoreUnavailable if it may not be."""
        self._remember(settlement)
        self._waiting.append(settlement)
        async with self._turn:
            if settlement not in self._waiting:
                return  # whoever had the turn before us took ours along
            batch, self._waiting = self._waiting, []
            try:
                await self._store.settle_calls(batch)
            except BaseException:
                # Put all back but our own: each of the others tries for itself.
                self._waiting = [s for s in batch if s is not settlement] + self._waiting
                raise
