"""When does a failed attempt come again?  One policy, in one place.

Full jitter on an exponential backoff, as in "Exponential Backoff And Jitter"
(M. Brooker, AWS Architecture Blog, 2015): without it, all that failed together
comes again together.  A wait that the API asked for is never cut short and is
stretched upwards only; it holds the budget, so that it stops all who share it
and outlives a restart.

A Postgres that is away is another matter: nobody's attempt is counted, we wait
until it is back.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from syncd.errors import ApiUnavailable, RateLimited, StoreUnavailable, TryAgain
from syncd.sync.ports import Budget
from syncd.sync.waits import Waits

CAP = 60.0  # seconds; no backoff of our own is longer
STORE_BASE = 0.25  # seconds; the first wait for a Postgres that is away
STORE_CAP = 15.0  # seconds

T = TypeVar("T")
OnFailure = Callable[[int, TryAgain, float], None]
"""Hears the number of the try that failed, its error, and the wait before the next."""


def backoff(failures: int, *, base: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait after so many failures in a row (1 for the first)."""
    # 2 ** 1000 would still be a float; what matters is that it cannot overflow.
    return rng.uniform(0, min(cap, base * 2.0 ** min(failures - 1, 60)))


def stretched(hint: float, own: float, *, rng: random.Random) -> float:
    """Seconds to wait when the API said how long: never less, a little more against herds."""
    return max(hint * rng.uniform(1.0, 1.02), own)


@attrs.frozen(kw_only=True, eq=False)
class Retry:
    """Asks again for one source, as its settings allow."""

    retries: int
    """Tries after the first."""

    base: float
    window: float | None
    """The budget's `per`: how long an unexplained refusal holds everybody, in seconds."""

    budget: Budget
    waits: Waits
    rng: random.Random
    patience: float = float("inf")
    """How long a Postgres that is away is waited for, in seconds."""

    async def run(self, attempt: Callable[[], Awaitable[T]], on_failure: OnFailure) -> T:
        """Make attempts until one succeeds; raises the last TryAgain when they are used up."""
        failures = 0
        stale = False
        away = _Away(self)
        while True:
            try:
                return await attempt()
            except StoreUnavailable as error:
                await away.wait(error, on_failure)
            except TryAgain as error:
                if isinstance(error, ApiUnavailable) and error.stale_connection and not stale:
                    # The server had closed an idle connection: that says nothing of its
                    # health, costs no try, and the next one opens a new one.
                    stale = True
                    on_failure(failures + 1, error, 0.0)
                    continue
                failures += 1
                if failures > self.retries:
                    raise
                await self._pause(failures, error, on_failure)

    async def _pause(self, failures: int, error: TryAgain, on_failure: OnFailure) -> None:
        own = backoff(failures, base=self.base, cap=CAP, rng=self.rng)
        hint = error.hint
        if hint is None and isinstance(error, RateLimited):
            hint = self.window
        if hint is None:
            on_failure(failures, error, own)
            await self.waits.sleep(own)
            return
        pause = stretched(hint, own, rng=self.rng)
        on_failure(failures, error, pause)
        # Holding the budget is the wait: the next spend() returns when it is over.
        await self.through_outages(lambda: self.budget.hold_off(pause), on_failure)

    async def through_outages(
        self, step: Callable[[], Awaitable[T]], on_failure: OnFailure, *, to_the_end: bool = False
    ) -> T:
        """Repeat a step until Postgres is there to take it.

        `to_the_end`: go on while syncd drains, until the drain's deadline cuts us short.
        """
        away = _Away(self, to_the_end=to_the_end)
        while True:
            try:
                return await step()
            except StoreUnavailable as error:
                await away.wait(error, on_failure)


@attrs.define(eq=False)
class _Away:
    """One stretch of time in which Postgres did not answer."""

    _retry: Retry
    to_the_end: bool = attrs.field(default=False, kw_only=True)
    _failures: int = attrs.field(default=0, init=False)
    _since: float = attrs.field(factory=trio.current_time, init=False)

    async def wait(self, error: StoreUnavailable, on_failure: OnFailure) -> None:
        retry = self._retry
        self._failures += 1
        if self._failures == 1:
            self._since = trio.current_time()
        elif trio.current_time() - self._since > retry.patience:
            raise error
        own = backoff(self._failures, base=STORE_BASE, cap=STORE_CAP, rng=retry.rng)
        pause = own if error.hint is None else stretched(error.hint, own, rng=retry.rng)
        on_failure(self._failures, error, pause)
        if self.to_the_end:
            await trio.sleep(pause)
        else:
            await retry.waits.sleep(pause)
