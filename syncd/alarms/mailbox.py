"""How does one receiver get its messages?  One at a time, in order, until it has taken them.

A receiver that is away holds nobody but the messages behind: they are tried again with a
wait that grows, for half a day, and then given up with a line in the log.
"""

import random
from collections import deque
from collections.abc import Callable

import attrs
import trio

from syncd.config.settings import NotifySettings
from syncd.errors import NotDelivered
from syncd.sync.alarm import Log, Message, Post
from syncd.sync.retry import backoff, stretched

MOST = 500  # messages that wait; for more the oldest are given up
BASE, CAP = 5.0, 600.0  # seconds; the first wait for another try is up to so long, and no later one
PATIENCE = 12 * 3600.0  # seconds; what is older is no news
LONGEST_HINT = 3600.0  # seconds; no receiver makes us wait for longer


@attrs.define(eq=False, kw_only=True)
class Mailbox:
    """Of one receiver."""

    receiver: NotifySettings
    post: Post
    log: Log
    settled: Callable[[str], None]
    """Hears the id of a message that is delivered, or given up."""

    rng: random.Random
    _waiting: deque[Message] = attrs.field(factory=deque, init=False)
    _made: dict[str, float] = attrs.field(factory=dict, init=False)
    """When each was made, on the loop's clock."""

    _failing: bool = attrs.field(default=False, init=False)
    """The last try came to nothing."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Deliver this after what waits already; one that waits does not wait twice."""
        if message.id in self._made:
            return
        self._made[message.id] = trio.current_time() - message.age
        self._waiting.append(message)
        if len(self._waiting) > MOST:
            # The first is on its way.
            self._give_up(self._waiting[1], "too many wait for this receiver")
        self._tell()

    def change(self, receiver: NotifySettings) -> None:
        """Deliver there from now on; what failed is worth another try."""
        self.receiver = receiver
        self._failing = False
        self._tell()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._waiting:
                await self._news.wait()
            await self._deliver(self._waiting[0])

    async def emptied(self) -> None:
        """Return when nothing waits that could be delivered: a receiver that fails is no hope."""
        while self._waiting and not self._failing:
            await self._news.wait()

    async def _deliver(self, message: Message) -> None:
        """Try until it is taken, or not worth it any more."""
        attempts = 0
        while True:
            attempts += 1
            try:
                await self.post.deliver(self.receiver, message)
            except NotDelivered as error:
                reason, hint = str(error), error.hint or 0.0
            else:
                self.log.told(self.receiver.name, message.what, attempts=attempts)
                self._failing = False
                self._leave(message)
                return
            own = BASE / 2 + backoff(attempts, base=BASE, cap=CAP, rng=self.rng)
            pause = stretched(min(hint, LONGEST_HINT), own, rng=self.rng)
            if trio.current_time() + pause > self._made[message.id] + PATIENCE:
                self._give_up(message, reason)
                return
            if not self._failing:
                self.log.not_told(self.receiver.name, message.what, reason=reason, again_in=pause)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the receiver is another one."""
        self._failing = True
        self._tell()
        until = trio.current_time() + seconds
        with trio.move_on_at(until):
            while self._failing:
                await self._news.wait()

    def _give_up(self, message: Message, reason: str) -> None:
        self.log.given_up(self.receiver.name, message.what, reason=reason)
        self._leave(message)

    def _leave(self, message: Message) -> None:
        self._waiting.remove(message)
        del self._made[message.id]
        self.settled(message.id)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
