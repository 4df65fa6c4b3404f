"""When does a failed attempt come again?  One policy, in one place.

Full jitter on an exponential backoff, as in "Exponential Backoff And Jitter"
(M. Brooker, AWS Architecture Blog, 2015): without it, all that failed together
comes again together.  A wait that the API asked for is never cut short and is
stretched upwards only; it holds the budget, so that it stops all who share it
and outlives a restart.

A Postgres that is away is another matter: nobody's attempt is counted, we wait
until it is back, and one asks for all.

Nor is it a try to wait for an API that fails everybody (`sync.breaker`): a wait is no
failure.  Only the probes are tries, of who makes them.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from syncd.errors import ApiUnavailable, RateLimited, StoreUnavailable, StreamBroken, TryAgain
from syncd.sync.breaker import CalledBackError, StillOpenError
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


@attrs.define(eq=False)
class _Round:
    """One question to Postgres, and those who wait for its answer."""

    over: trio.Event = attrs.field(factory=trio.Event, init=False)
    there: bool = attrs.field(default=False, init=False)


@attrs.define(eq=False, kw_only=True)
class Outage:
    """A Postgres that is away, as all streams of one process see it.

    Each finds it out by itself, and then one asks for all whether it is back.  Nobody is
    held up who has met no trouble: what one stream's lock or table costs is its own.
    """

    ask: Callable[[], Awaitable[object]] | None = None
    """Raises StoreUnavailable as long as it is away; None: each finds out by trying."""

    rng: random.Random = attrs.field(factory=random.Random)
    _rounds: int = attrs.field(default=0, init=False)
    """So often in a row it was asked and was away."""

    _asked_at: float = attrs.field(default=0.0, init=False)
    """Our time at which it will be asked the next time, while somebody is about to."""

    _asking: _Round | None = attrs.field(default=None, init=False)

    async def round(self, failures: int, tell: Callable[[float], None], waits: Waits) -> bool:
        """Wait until it was asked once more; true: it answers, as far as can be told.

        tell: hears how long that takes, in seconds.
        failures: of the caller, who waits no less for a Postgres that fails him alone.
        """
        asking = self._asking
        if asking is not None:
            tell(max(0.0, self._asked_at - trio.current_time()))
            with waits.interruptible():
                await asking.over.wait()
            return asking.there
        asking = self._asking = _Round()
        try:
            most = max(failures, self._rounds + 1)
            pause = backoff(most, base=STORE_BASE, cap=STORE_CAP, rng=self.rng)
            self._asked_at = trio.current_time() + pause
            tell(pause)
            await waits.sleep(pause)
            asking.there = await self._there()
        finally:  # whoever is told to leave leaves it to the next
            self._asking = None
            asking.over.set()
        self._rounds = 0 if asking.there else self._rounds + 1
        return asking.there

    async def _there(self) -> bool:
        try:
            if self.ask is not None:
                await self.ask()
        except StoreUnavailable:
            return False
        except StreamBroken:
            return True  # it answers; whom it refuses what, each finds out by himself
        return True


@attrs.frozen(kw_only=True, eq=False)
class Retry:
    """Asks again for one source, as its settings allow."""

    retries: int
    """Tries after the first."""

    base: float
    windows: tuple[float, ...]
    """Each limit's `per`, the shortest first: how long an unexplained refusal holds everybody, in
    seconds.  The first one the shortest, and each that follows it the next longer one."""

    budget: Budget
    waits: Waits
    rng: random.Random
    patience: float = float("inf")
    """How long a Postgres that is away, or an API that is failing, is waited for, in seconds."""

    outage: Outage = attrs.field(factory=Outage)
    """Of all streams of this process."""

    async def run(self, attempt: Callable[[], Awaitable[T]], on_failure: OnFailure) -> T:
        """Make attempts until one succeeds; raises the last TryAgain when they are used up."""
        failures = refusals = 0
        stale = False
        away = _Away(self)
        while True:
            try:
                return await attempt()
            except StoreUnavailable as error:
                await away.wait(error, on_failure)
            except CalledBackError:
                continue  # nothing was sent; the next attempt waits for the API to be well
            except StillOpenError:
                raise  # it was waited for all the patience there is
            except TryAgain as error:
                if isinstance(error, ApiUnavailable) and error.stale_connection and not stale:
                    # The server had closed an idle connection: that says nothing of its
                    # health, costs no try, and the next one opens a new one.
                    stale = True
                    on_failure(failures + 1, error, 0.0)
                    continue
                failures += 1
                refusals += isinstance(error, RateLimited)
                if failures > self.retries:
                    raise
                await self._pause(failures, refusals, error, on_failure)

    async def _pause(
        self, failures: int, refusals: int, error: TryAgain, on_failure: OnFailure
    ) -> None:
        own = backoff(failures, base=self.base, cap=CAP, rng=self.rng)
        hint = error.hint
        if hint is None and isinstance(error, RateLimited) and self.windows:
            hint = self.windows[min(refusals, len(self.windows)) - 1]
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
    """One stretch of time in which Postgres failed one step."""

    _retry: Retry
    to_the_end: bool = attrs.field(default=False, kw_only=True)
    _failures: int = attrs.field(default=0, init=False)
    _since: float = attrs.field(factory=trio.current_time, init=False)

    async def wait(self, error: StoreUnavailable, on_failure: OnFailure) -> None:
        """Return when the step is worth another try."""
        while not await self._wait(error, on_failure):
            pass

    async def _wait(self, error: StoreUnavailable, on_failure: OnFailure) -> bool:
        retry = self._retry
        self._failures += 1
        if self._failures == 1:
            self._since = trio.current_time()
        elif trio.current_time() - self._since > retry.patience:
            raise error
        # One that must be done goes on trying while syncd leaves.
        waits = Waits() if self.to_the_end else retry.waits
        if error.hint is not None:
            own = backoff(self._failures, base=STORE_BASE, cap=STORE_CAP, rng=retry.rng)
            pause = stretched(error.hint, own, rng=retry.rng)
            on_failure(self._failures, error, pause)
            await waits.sleep(pause)
            return True
        failures = self._failures
        return await retry.outage.round(
            failures, lambda pause: on_failure(failures, error, pause), waits
        )
