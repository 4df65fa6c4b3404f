"""Is the API of a source well enough to be asked?

A breaker stands before the token bucket, one for each source.  Closed, it only counts
how attempts end.  When at least `LEAST` of them ended within `WINDOW` and at least
`SHARE` of those failed, it opens: nobody logs in, spends a token or sends a request, and
who waited for a token is called back.  After a while one attempt goes as the probe; if it
is answered all go on, else the wait is longer.  A probe that is cancelled, or that ends
before the API had its say, gives its right to the next.

What counts is what speaks of the API's health: no answer, a broken one, a 5xx.  Not a
429 (that is an answer, and holds the budget), not a kept-alive connection that the server
had closed, not a 4xx.

Why these numbers.  `LEAST` is more than the tries of one request with the usual five
retries: in a stream that is alone, and asks for one page at a time, the retries have their
say first, and the breaker only holds back what comes after.  An API that fails one request
in five, or in three, is slow and not down: with half of them it stays closed, whatever comes
in a row.  A share is measured over a time that a hundred streams fill in seconds, and one
hanging stream never: that one asks no more than once in its timeout anyway.

It knows neither HTTP nor SQL, and never retries; see `sync.retry`.
"""

import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.errors import (
    ApiUnavailable,
    CallFailed,
    CallSkipped,
    Draining,
    NotNow,
    ParkedByRule,
    RateLimited,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.waits import Waits

WINDOW = 60.0  # seconds; older attempts say nothing
LEAST = 10  # attempts that must have ended within the window
SHARE = 0.5  # of them, failed
MOST = 1000  # attempts that are remembered, however many a window holds
FIRST = 15.0  # seconds; the first wait for a probe is up to this …
CAP = 300.0  # … and no later one is longer

OnWait = Callable[[float, str], None]
"""Hears the seconds until the next probe (0: one is under way), and why there is one."""


@attrs.frozen(kw_only=True)
class Open:
    """It has opened, or a probe has failed."""

    failed: int
    attempts: int
    """Of so many; both 1 after a probe."""

    seconds: float
    """Until the next probe."""

    reason: str


@attrs.frozen(kw_only=True)
class Closed:
    """A probe was answered."""

    seconds: float
    """For which it was open."""


class StillOpenError(ApiUnavailable):
    """Patience ended before the API was well again; nothing was sent."""


class CalledBackError(SyncdError):
    """The breaker opened while a token was waited for: nothing was sent, begin again."""


@attrs.define(kw_only=True)
class _Standing:
    """What is known while it is open; times are ours."""

    since: float
    reason: str
    probe_at: float
    probes: int = 0
    """That failed."""

    probing: bool = False


@attrs.define(eq=False, kw_only=True)
class Breaker:
    """Of one source, in this process."""

    rng: random.Random = attrs.field(factory=random.Random)
    open: _Standing | None = attrs.field(default=None, init=False)
    _ended: deque[tuple[float, bool]] = attrs.field(factory=lambda: deque(maxlen=MOST), init=False)
    """When an attempt ended, and whether it failed."""

    _tokens: set[Waits] = attrs.field(factory=set, init=False)
    """The waits for a token, to be ended when it opens."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    @asynccontextmanager
    async def attempt(
        self,
        *,
        waits: Waits,
        until: Waits,
        patience: float,
        on_wait: OnWait,
        tell: Callable[[Open | Closed], None],
    ) -> AsyncIterator[Waits]:
        """Make one attempt, as soon as it may be made; yields what ends its wait for a token.

        until: what ends the wait for the API, with Draining.

        Raises StillOpenError if that is longer than `patience`, CalledBackError if the
        breaker opened while the body waited for a token.
        """
        # While it is closed the end of a stream's waits is no matter: it may finish its page.
        probes = self.open is not None and await self._admitted(until, patience, on_wait)
        tokens = Waits(waits)
        if not probes:
            self._tokens.add(tokens)
        try:
            yield tokens
        except SyncdError as error:
            self._heard(error, tell, probes=probes)
            if isinstance(error, Draining) and tokens.ended and not waits.ended:
                raise CalledBackError("the breaker opened") from None
            raise
        else:
            self._answered(tell, probes=probes)
        finally:
            tokens.leave()
            self._tokens.discard(tokens)
            if probes and self.open is not None:
                self.open.probing = False
                self._announce()

    def hurry(self) -> None:
        """A person says that the API is worth a probe now."""
        if self.open is not None:
            self.open.probe_at = min(self.open.probe_at, trio.current_time())
            self._announce()

    @property
    def news(self) -> trio.Event:
        """Set with the next change of any kind."""
        return self._news

    async def _admitted(self, until: Waits, patience: float, on_wait: OnWait) -> bool:
        """Wait until an attempt may be made; true: it is the probe."""
        give_up = trio.current_time() + patience
        with until.interruptible():
            while (found := self.open) is not None:
                now = trio.current_time()
                if not found.probing and found.probe_at <= now:
                    found.probing = True
                    return True
                if give_up <= now:
                    raise StillOpenError(f"the API is failing: {found.reason}", sent="no")
                on_wait(0.0 if found.probing else found.probe_at - now, found.reason)
                due = give_up if found.probing else min(give_up, found.probe_at)
                with trio.move_on_at(due):
                    await self._news.wait()
        return False

    def _heard(
        self, error: SyncdError, tell: Callable[[Open | Closed], None], *, probes: bool
    ) -> None:
        """What an error says of the API's health; some say nothing."""
        match error:
            case NotNow() | ParkedByRule() | CallSkipped():
                self._answered(tell, probes=probes)
            case ApiUnavailable(stale_connection=False):
                self._failed(str(error), error.hint, tell, probes=probes)
            case CallFailed(kind="outcome-unknown"):
                # An answer that never came, to a call that may not be repeated.
                self._failed(error.reason, None, tell, probes=probes)
            case RateLimited() | UnexpectedAnswer() | CallFailed():
                self._answered(tell, probes=probes)
            case _:
                return

    def _answered(self, tell: Callable[[Closed], None], *, probes: bool) -> None:
        now = trio.current_time()
        if self.open is None:
            self._ended.append((now, False))
        elif probes:
            closed = Closed(seconds=now - self.open.since)
            self.open = None
            self._announce()
            tell(closed)

    def _failed(
        self, reason: str, hint: float | None, tell: Callable[[Open], None], *, probes: bool
    ) -> None:
        now = trio.current_time()
        failed = attempts = 1
        if self.open is None:
            self._ended.append((now, True))
            recent = [bad for at, bad in self._ended if at > now - WINDOW]
            failed, attempts = sum(recent), len(recent)
            if attempts < LEAST or failed < SHARE * attempts:
                return
            self.open = _Standing(since=now, reason=reason, probe_at=now)
            self._ended.clear()  # what comes after it is another time
            for waits in self._tokens:
                waits.end()
        elif probes:
            self.open.probes += 1
            self.open.reason = reason
        else:
            return  # begun before it opened: no news
        most = min(CAP, FIRST * 2.0 ** min(self.open.probes, 60))
        # Jitter, for other hosts ask the same API; a wait that it asked for is kept.
        pause = max(hint or 0.0, most * self.rng.uniform(0.75, 1.0))
        self.open.probe_at = now + pause
        self._announce()
        tell(Open(failed=failed, attempts=attempts, seconds=pause, reason=reason))

    def _announce(self) -> None:
        self._news.set()
        self._news = trio.Event()
