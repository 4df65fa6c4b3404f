"""What stands in the bucket's place for a source without a budget?

Requests go at once, unless the API asked everybody to hold off; that hold outlives a
restart, as a budget's does.  Of a call only the intent is stored.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.sync.bucket import OnWait
from syncd.sync.model import Intent, Lease
from syncd.sync.ports import TokenStore
from syncd.sync.waits import Waits


@attrs.define(eq=False)
class Unlimited:
    """No budget: requests go at once, unless the API asked everybody to hold off."""

    name: str
    store: TokenStore
    _held_until: float = attrs.field(default=float("-inf"), init=False)

    async def open(self) -> None:
        state = await self.store.open_budget(self.name, requests=0, per=0.0)
        self._held_until = trio.current_time() + state.held_for

    async def run(self) -> None:
        """Nothing is ever due."""
        await trio.sleep_forever()

    @asynccontextmanager
    async def permit(
        self,
        *,
        lease: Lease | None,
        spent_on: str,  # noqa: ARG002 - the port's word; nothing is spent here
        waits: Waits,
        intent: Intent | None = None,
        on_wait: OnWait | None = None,
    ) -> AsyncIterator["FreePermit"]:
        yield FreePermit(self, lease, waits, intent, on_wait)

    async def hold_off(self, seconds: float) -> None:
        self._held_until = max(self._held_until, trio.current_time() + seconds)
        await self.store.hold_budget(self.name, seconds)

    @property
    def held(self) -> bool:
        return self._held_until > trio.current_time()

    def outlook(self, requests: int) -> float:  # noqa: ARG002 - any number can go at once
        return max(0.0, self._held_until - trio.current_time())

    async def wait(self, waits: Waits, on_wait: OnWait | None) -> None:
        while (pause := self._held_until - trio.current_time()) > 0:
            if on_wait is not None:
                on_wait(pause)
            await waits.sleep(pause)


@attrs.define(eq=False)
class FreePermit:
    """The permit of a source without a budget: only the intent of a call is stored."""

    _budget: Unlimited
    _lease: Lease | None
    _waits: Waits
    _intent: Intent | None
    _on_wait: OnWait | None
    sent: int = attrs.field(default=0, init=False)
    waited: float = attrs.field(default=0.0, init=False)

    async def spend(self) -> None:
        began = trio.current_time()
        try:
            await self._budget.wait(self._waits, self._on_wait)
        finally:
            self.waited += trio.current_time() - began
        if self._intent is not None and self._lease is not None:
            await self._budget.store.store_intent(self._intent, self._lease)

    async def confirm(self) -> None:
        self.sent += 1

    async def pause(self, seconds: float) -> None:
        await self._waits.sleep(seconds)

    def written(self) -> None: ...

    def answered(self) -> None: ...

    def refused(self) -> None: ...
