"""What stands in the bucket's place where no limit counts every request?

Requests go at once, unless the API asked everybody to hold off; that hold outlives a
restart, as a budget's does.
"""

from collections.abc import Sequence

import attrs
import trio

from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.permit import OnWait
from syncd.sync.ports import Quota, TokenStore

PAUSE = 1.0  # seconds; until a store that is away is told again


@attrs.define(eq=False)
class Unlimited:
    """Requests go at once, unless the API asked everybody to hold off."""

    name: str
    store: TokenStore
    _held_until: float = attrs.field(default=float("-inf"), init=False)
    _unposted: bool = attrs.field(default=False, init=False)
    """An answer said that nothing is left, and the store does not know."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def open(self) -> None:
        state = await self.store.open_budget(self.name, requests=0, per=0.0)
        self._held_until = trio.current_time() + state.held_for

    async def run(self) -> None:
        """Have the store know of a hold that an answer's headers asked for."""
        while True:
            self._news = trio.Event()
            if self._unposted and self.held:
                self._unposted = False
                try:
                    await self.hold_off(self._held_until - trio.current_time())
                except (StoreUnavailable, StreamBroken):
                    self._unposted = True
                    await trio.sleep(PAUSE)
                    continue
            await self._news.wait()

    def told(self, quotas: Sequence[Quota]) -> None:
        """Hold off if nothing is left; there is no budget that could be lowered to a few."""
        until = max((q.seconds for q in quotas if q.left == 0), default=0.0) + trio.current_time()
        if until > max(self._held_until, trio.current_time()):
            self._held_until, self._unposted = until, True
            self._news.set()

    async def hold_off(self, seconds: float) -> None:
        self._held_until = max(self._held_until, trio.current_time() + seconds)
        await self.store.hold_budget(self.name, seconds)

    @property
    def held(self) -> bool:
        return self._held_until > trio.current_time()

    def outlook(self, requests: int) -> float:  # noqa: ARG002 - any number can go at once
        return max(0.0, self._held_until - trio.current_time())

    async def wait(self, on_wait: OnWait | None) -> None:
        while (pause := self._held_until - trio.current_time()) > 0:
            if on_wait is not None:
                on_wait(pause)
            await trio.sleep(pause)
