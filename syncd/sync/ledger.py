"""How does the answer to a call become a fact, quickly and once?

An answer is settled as soon as it is read, before anything is made of it.  While
one statement is under way, further answers wait and share the next one.
"""

import attrs
import trio

from syncd.sync.ports import Settlement, Store


@attrs.define(eq=False)
class Ledger:
    """Settles calls through the store, several with one statement."""

    _store: Store
    _waiting: list[Settlement] = attrs.field(factory=list, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def settle(self, settlement: Settlement) -> None:
        """Return when the settlement is stored; StoreUnavailable if it may not be."""
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
