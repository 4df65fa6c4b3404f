"""What does one request hold of the limits that count it, from the wait to its answer?

A request takes its tokens of all its limits in one statement, or of none: so nothing is
spent in vain, and no two requests wait for what the other holds.  Those that spend from the
same limits stand in one line, whatever they cost.  Two lines may meet at one limit: whose
head lacks nothing but tokens of that one has them kept for it, so that a request that costs
many is not overtaken for ever by those that cost few.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from syncd.errors import StoreUnavailable
from syncd.sync.clocks import Stopwatch
from syncd.sync.model import Intent, Lease
from syncd.sync.ports import PLAIN, Granted, NotYet, Price, Quota, Taken
from syncd.sync.waits import Waits

if TYPE_CHECKING:
    from syncd.sync.bucket import TokenBucket
    from syncd.sync.limits import Limits

GIVE_BACK = 2.0  # seconds that leaving may take to return or settle what it holds

OnWait = Callable[[float], None]


@attrs.define(eq=False, kw_only=True)
class Spending:
    """The tokens of one request; times are ours."""

    tokens: "Mapping[TokenBucket, Sequence[Taken]]"
    spent_at: float
    writing: bool = False
    written_at: float | None = None
    answered_at: float | None = None
    settled: "set[TokenBucket]" = attrs.field(factory=set)
    _since: Stopwatch = attrs.field(factory=Stopwatch, init=False)

    def age(self) -> float:
        """Seconds since they were spent, those of a suspend included."""
        return max(trio.current_time() - self.spent_at, self._since.elapsed)

    def counted_at(self, bucket: "TokenBucket") -> float:
        """Our time at which the server has counted the request for certain."""
        moments = [] if self.answered_at is None else [self.answered_at]
        if self.written_at is not None and not (bucket.from_answers and moments):
            moments.append(self.written_at + bucket.settings.slack)
        return min(moments)


@attrs.define(eq=False)
class TokenPermit:
    """One attempt's right to send; see `ports.Permit` for who calls what and when."""

    _limits: "Limits"
    lease: Lease | None
    spent_on: str
    _waits: Waits
    intent: Intent | None
    _on_wait: OnWait | None
    sent: int = attrs.field(default=0, init=False)
    waited: float = attrs.field(default=0.0, init=False)
    spending: Spending | None = attrs.field(default=None, init=False)
    _price: Price = attrs.field(default=PLAIN, init=False)

    async def spend(self, price: Price = PLAIN) -> None:
        await self.close()
        self._price = price
        began = trio.current_time()
        try:
            with self._waits.interruptible():
                await self._take(price)
        finally:
            self.waited += trio.current_time() - began

    async def _take(self, price: Price) -> None:
        while True:
            rest = self._limits.rest
            if rest is not None:
                await rest.wait(self._on_wait)
            counting = self._limits.counting(price)
            if not counting:
                break
            if await take(self, counting, price.cost):
                return
        if rest is not None and self.intent is not None and self.lease is not None:
            await rest.store.store_intent(self.intent, self.lease)
        self.spending = Spending(tokens={}, spent_at=trio.current_time())

    def counted_by(self, buckets: "Sequence[TokenBucket]") -> bool:
        return list(self._limits.counting(self._price)) == list(buckets)

    async def confirm(self) -> None:
        # A process that slept (SIGSTOP, a suspend, in which monotonic time stands still)
        # must not write on a token that has meanwhile come back to somebody else.  An
        # unsettled one does so `timeout + per` after it was spent: half of `timeout` is
        # early enough, and leaves a far host the time that a TLS handshake takes.
        timeouts = [bucket.timeout for bucket in self._current.tokens]
        if self._current.age() > min(timeouts, default=float("inf")) / 2:
            await self.spend(self._price)
        self._current.writing = True
        self.sent += 1

    async def pause(self, seconds: float) -> None:
        await self._waits.sleep(seconds)

    def written(self) -> None:
        now = self._current.written_at = trio.current_time()
        for bucket in self._current.tokens:
            if not bucket.from_answers:
                # At once, though it is counted `slack` from now: until it is settled, a death
                # makes the token wait for `timeout` on top of that.
                bucket.settle_at(self._current, now)

    def answered(self) -> None:
        now = self._current.answered_at = trio.current_time()
        for bucket in self._current.tokens:
            # One that was settled by its writing is settled again if the answer tells more: it
            # came within `slack`, or a refusal made us count from answers.  If the token has
            # gone to somebody else meanwhile, the store leaves it alone.
            sure = (self._current.written_at or now) + bucket.settings.slack
            unsettled = bucket not in self._current.settled
            if bucket.from_answers or unsettled or now < sure:
                bucket.settle_at(self._current, now)

    def refused(self) -> None:
        for bucket in self._current.tokens:
            bucket.refused()

    def told(self, quotas: Sequence[Quota]) -> None:
        self._limits.told(self._current, quotas)

    @property
    def _current(self) -> Spending:
        if self.spending is None:
            raise RuntimeError("a permit was used before spend()")
        return self.spending

    def tell_wait(self, seconds: float) -> None:
        if self._on_wait is not None:
            self._on_wait(seconds)

    async def close(self) -> None:
        """Give back tokens that were never used to write."""
        spending, self.spending = self.spending, None
        if spending is None or spending.writing:
            return
        with trio.move_on_after(GIVE_BACK, shield=True):
            for bucket, tokens in spending.tokens.items():
                try:
                    await bucket.give_back(*tokens)
                except StoreUnavailable:
                    return  # they come back by themselves after `lifetime`


async def take(permit: TokenPermit, buckets: "Sequence[TokenBucket]", cost: int) -> bool:
    """Wait for tokens of all the buckets and put them into the permit as soon as they are taken.

    False if other buckets count the request by then: the file has changed.
    """
    async with buckets[0].line(buckets):  # FIFO: trio's Lock is fair
        line = _Line(permit, buckets, cost)
        try:
            while permit.counted_by(buckets):
                if await line.ask():
                    return True
            return False
        finally:
            line.keep(None)


@attrs.define(eq=False)
class _Line:
    """The head of a line, whose turn it is."""

    _permit: TokenPermit
    _buckets: "Sequence[TokenBucket]"
    _cost: int
    _overdue: "dict[TokenBucket, dict[int, int]]" = attrs.field(factory=dict, init=False)
    _kept: "TokenBucket | None" = attrs.field(default=None, init=False)
    """The one that keeps its tokens for us."""

    async def ask(self) -> bool:
        """Take the tokens; or wait until it is worth another try."""
        if self._kept is None:
            for bucket in self._buckets:
                await bucket.wait_for_others()
        news = {bucket: bucket.look_again for bucket in self._buckets}
        for bucket in self._buckets:
            await bucket.post_quota()
        # The store's stamp lies between here and its answer.
        asked_at = trio.current_time()
        answer = await self._buckets[0].store.take_tokens(
            [b.want(self._cost, self._overdue.get(b, {})) for b in self._buckets],
            spent_on=self._permit.spent_on,
            lease=self._permit.lease,
            intent=self._permit.intent,
        )
        now = trio.current_time()
        if isinstance(answer, Granted):
            return await self._taken(answer, asked_at, now)
        pauses = {}
        asked, self._overdue = self._overdue, {}
        for bucket, state in zip(self._buckets, answer, strict=True):
            bucket.look_at(state, now)
            self._overdue[bucket] = bucket.overdue(state, now)
            pauses[bucket] = bucket.until_free(state, now, self._cost)
        if any(self._overdue.values()) and self._overdue != asked:
            return False
        last = max(pauses, key=lambda bucket: pauses[bucket])
        self._permit.tell_wait(pauses[last])
        self._keep_what_alone_is_lacking(answer)
        state = answer[self._buckets.index(last)]
        with trio.move_on_after(last.until_worth_asking(state, pauses[last])):
            await news[last].wait()
        return False

    async def _taken(self, answer: Granted, asked_at: float, now: float) -> bool:
        tokens = dict(zip(self._buckets, answer.tokens, strict=True))
        for bucket, of in tokens.items():
            bucket.heed(of[0].from_answers)
        early = {b: early for b, of in tokens.items() if (early := b.early(of, now)) > 0}
        if not early:
            self._permit.spending = Spending(tokens=tokens, spent_at=asked_at)
            for bucket, of in tokens.items():
                bucket.expect(of, now)
            return True
        # The store's clock was stepped forward, and by ours these tokens are not free yet.
        # We keep them, so that nobody else is misled by them.  They are not the permit's: a
        # waiter that is cancelled leaves them to free themselves, never before their time.
        for bucket, of in tokens.items():
            if bucket in early:
                bucket.sit_out(of, now + early[bucket])
            else:
                await bucket.give_back(*of)
        self._permit.tell_wait(max(early.values()))
        await trio.sleep(max(early.values()))
        # Taken anew they have new versions, from which those who watch them count.
        for bucket in early:
            await bucket.give_back(*tokens[bucket])
        return False

    def _keep_what_alone_is_lacking(self, answer: Sequence[NotYet]) -> None:
        if len(self._buckets) == 1 and self._cost == 1:
            return  # it needs no more than what anybody takes
        lacking = [b for b, s in zip(self._buckets, answer, strict=True) if s.seconds > 0]
        self.keep(lacking[0] if len(lacking) == 1 else None)

    def keep(self, bucket: "TokenBucket | None") -> None:
        """Have one bucket keep its tokens for us, unless it does so for another."""
        if bucket is self._kept:
            return
        if self._kept is not None:
            self._kept.release()
        self._kept = bucket if bucket is not None and bucket.reserve() else None
