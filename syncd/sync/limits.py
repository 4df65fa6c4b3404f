"""What may a source send, and when?  All its limits together: fulfils `ports.Budget`.

Which of them count a request follows from its path, and how much of each it takes from its
cost.  What the API says is left goes to the limit that it speaks of, as far as that can be
told, else to all that counted the request.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.sync.bucket import TokenBucket
from syncd.sync.model import Intent, Lease
from syncd.sync.permit import OnWait, Spending, TokenPermit
from syncd.sync.ports import PLAIN, Price, Quota
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits

ROUNDING = 1.0  # seconds by which the end of a window may be told too late


def _in_order(buckets: Iterable[TokenBucket]) -> tuple[TokenBucket, ...]:
    """Always the same, so that those who take of the same buckets stand in one line."""
    return tuple(sorted(buckets, key=lambda bucket: bucket.settings.name))


@attrs.define(eq=False)
class Limits:
    """The limits of one source; each bucket may be shared with others.

    All its streams spend by them, so that a change holds for all of them at once.
    """

    buckets: Sequence[TokenBucket] = attrs.field(converter=_in_order)
    rest: Unlimited | None = None
    """Stands for the limit that counts every request, where there is none."""

    def follow(self, other: "Limits") -> None:
        """Be as others are from now on; who waits for tokens waits for those."""
        before, self.buckets, self.rest = self.buckets, other.buckets, other.rest
        for bucket in before:
            bucket.wake()

    async def open(self) -> None:
        for part in self._parts:
            await part.open()

    async def run(self) -> None:
        """Settle tokens as they are due, for as long as the limits are in use."""
        async with trio.open_nursery() as nursery:
            for part in self._parts:
                nursery.start_soon(part.run)

    @property
    def _parts(self) -> Sequence[TokenBucket | Unlimited]:
        return self.buckets if self.rest is None else (*self.buckets, self.rest)

    def counting(self, price: Price) -> Sequence[TokenBucket]:
        """The buckets that such a request takes of, always in the same order."""
        return [b for b in self.buckets if _counts(b, price)]

    @asynccontextmanager
    async def permit(
        self,
        *,
        lease: Lease | None,
        spent_on: str,
        waits: Waits,
        intent: Intent | None = None,
        on_wait: OnWait | None = None,
    ) -> AsyncIterator[TokenPermit]:
        permit = TokenPermit(self, lease, spent_on, waits, intent, on_wait)
        try:
            yield permit
        finally:
            await permit.close()  # noqa: ASYNC102 - shields itself

    async def hold_off(self, seconds: float) -> None:
        # Which of its limits has refused a request, an API does not say: nobody goes on.  Where
        # none counts them all, those who wait for one by path have passed `rest` already.
        for part in self._of_all if self.rest is None else self._parts:
            await part.hold_off(seconds)

    @property
    def _of_all(self) -> Sequence[TokenBucket | Unlimited]:
        """Those that every request passes."""
        return [self.rest] if self.rest is not None else self.counting(PLAIN)

    @property
    def held(self) -> bool:
        return any(part.held for part in self._parts)

    def is_free(self, price: Price) -> bool:
        return not self.counting(price)

    def outlook(self, *spends: tuple[Price, int]) -> float:
        waits = [part.outlook(0) for part in self._of_all]
        for bucket in self.buckets:
            of = [
                min(p.cost, bucket.settings.requests) * n for p, n in spends if _counts(bucket, p)
            ]
            waits.append(bucket.outlook(sum(of)))
        return max(waits, default=0.0) if any(many for _, many in spends) else 0.0

    def told(self, spending: Spending, quotas: Sequence[Quota]) -> None:
        """Lower what an answer speaks of."""
        if not spending.tokens:
            if self.rest is not None:
                self.rest.told(quotas)
            return
        found: dict[TokenBucket, list[Quota]] = {}
        for quota in quotas:
            for bucket in spoken_of(quota, [*spending.tokens]):
                found.setdefault(bucket, []).append(quota)
        for bucket, of in found.items():
            bucket.told(spending, of)


def _counts(bucket: TokenBucket, price: Price) -> bool:
    return bucket.settings.counts(price.path)


def spoken_of(quota: Quota, buckets: Sequence[TokenBucket]) -> Sequence[TokenBucket]:
    """Which of these a quota can be: the one of its size and window, else all of which it may be.

    No quota begins anew later than its window is long.
    """
    same = [
        b
        for b in buckets
        if b.settings.requests == quota.limit and quota.window in (None, b.settings.per)
    ]
    of_window = [b for b in buckets if b.settings.per == quota.window]
    long_enough = [b for b in buckets if b.settings.per + ROUNDING >= quota.seconds]
    return same or of_window or long_enough or buckets
