"""The token bucket: one API's request budget, shared by all who spend it.

The bucket answers one question, "may I send the next request now?", and makes
the caller wait when the answer is no.  Its tokens are rows on the store's clock,
so that a restart, a command or a second host finds the budget as it was left.

A token comes back `per` after the request must have reached the server: at the
moment its answer came, or `slack` after it was written, whichever is earlier;
plus 0.1 % of `per` for clocks that run at different rates.  So no window of
`per` holds more than `requests` as the server counts.  The classic bucket (burst
C, refilled at C / per) would let nearly 2 C through in one window.

The store's clock may be stepped, ours cannot: a token that this process spent is
checked by our monotonic clock as well, and one that was watched unchanged for as
long as it can be in use is free whatever the store's clock says.

It knows nothing of HTTP and never retries: `sync.retry` decides whether to ask
again, and reports a Retry-After with `hold_off()`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.config.settings import BudgetSettings
from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.clocks import Stopwatch
from syncd.sync.model import DRIFT, Intent, Lease
from syncd.sync.ports import NotYet, Taken, TokenStore
from syncd.sync.waits import Waits

POLL = 30.0  # seconds; a longer hold is looked at again, since someone may have ended it
GIVE_BACK = 2.0  # seconds that leaving may take to return or settle what it holds

OnWait = Callable[[float], None]


@attrs.define(eq=False)
class TokenBucket:
    """One budget in this process.  `run` must be running for tokens to be settled."""

    settings: BudgetSettings
    store: TokenStore
    timeout: float
    """The longest that one attempt may take, in seconds, over all sources that share it."""

    from_answers: bool = False
    """Count from answers alone: set after a refusal that nothing here explains."""

    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _spent: dict[int, tuple[int, float]] = attrs.field(factory=dict, init=False)
    """What this process spent: token to (version, our time at which it is free)."""

    _watched: dict[int, tuple[int, float]] = attrs.field(factory=dict, init=False)
    """Tokens in use by anyone: token to (version, our time at which we first saw it)."""

    _due: "dict[Spending, float]" = attrs.field(factory=dict, init=False)
    """Tokens to be settled, and when."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _look_again: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when a token was given back: whoever waits for one need not wait for the next."""

    _held_until: float = attrs.field(default=float("-inf"), init=False)
    _seen_free_at: dict[int, float] = attrs.field(factory=dict, init=False)
    _settling: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _remembered: bool = attrs.field(default=True, init=False)
    """Whether the store knows of `from_answers`."""

    @property
    def takes(self) -> float:
        """Seconds from being counted until a token is free."""
        return self.settings.per * DRIFT

    @property
    def lifetime(self) -> float:
        """Seconds after which a token frees itself if nobody says when it was counted."""
        # Written in the last moment of `timeout`, it is still counted `slack` later.
        return self.timeout + self.settings.slack + self.takes

    async def open(self, settings: BudgetSettings | None = None) -> None:
        """Make the rows fit the settings, and learn what is remembered of this budget."""
        settings = settings or self.settings
        state = await self.store.open_budget(
            settings.name, requests=settings.requests, per=settings.per
        )
        self.from_answers = state.from_answers
        self._held_until = trio.current_time() + state.held_for

    async def change(self, settings: BudgetSettings, longest: float) -> None:
        """Follow other settings from now on; the debt that was run up stays.

        A longer `per` holds for what was already spent, too; a shorter one for what comes.
        Raises StoreUnavailable with nothing changed.
        """
        async with self._settling:  # no settlement is on its way with the old `per`
            before = self.takes
            old = self.settings, self.timeout
            longer = settings.per * DRIFT - before
            if longer > 0:
                self.settings, self.timeout = settings, longest
            try:
                await self.open(settings)
            except (StoreUnavailable, StreamBroken):
                self.settings, self.timeout = old
                raise
            self.settings, self.timeout = settings, longest
            if longer > 0:
                self._spent = {n: (v, at + longer) for n, (v, at) in self._spent.items()}
        self._look_again.set()

    @asynccontextmanager
    async def permit(
        self,
        *,
        lease: Lease | None,
        spent_on: str,
        waits: Waits,
        intent: Intent | None = None,
        on_wait: OnWait | None = None,
    ) -> AsyncIterator["TokenPermit"]:
        permit = TokenPermit(self, lease, spent_on, waits, intent, on_wait)
        try:
            yield permit
        finally:
            await permit.close()  # noqa: ASYNC102 - shields itself

    async def hold_off(self, seconds: float) -> None:
        self._held_until = max(self._held_until, trio.current_time() + seconds)
        # Before the hold is over, all who share it know how to count from then on.
        await self._remember()
        await self.store.hold_budget(self.settings.name, seconds)

    async def give_back(self, token: Taken) -> None:
        """Free a token that was never written."""
        if self._spent.get(token.number, (0, 0.0))[0] == token.version:
            del self._spent[token.number]
        await self.store.give_back(self.settings.name, token)
        self._look_again.set()

    @property
    def held(self) -> bool:
        return self._held_until > trio.current_time()

    def outlook(self, requests: int) -> float:
        if requests <= 0:
            return 0.0
        now = trio.current_time()
        free_at = {**self._seen_free_at, **{n: at for n, (_, at) in self._spent.items()}}
        # One that is in flight can be counted now, at the earliest.
        waits = sorted(min(max(0.0, at - now), self.takes) for at in free_at.values())
        waits = [0.0] * (self.settings.requests - len(waits)) + waits
        rounds, last = divmod(requests - 1, self.settings.requests)
        return max(waits[last] + rounds * self.takes, self._held_until - now)

    def refused(self) -> None:
        """Count from answers from now on: the server counted something later than we thought."""
        if not self.from_answers:
            self._remembered = False
            self._count_from_answers()

    def _count_from_answers(self) -> None:
        self.from_answers = True
        self._due = {s: at for s, at in self._due.items() if s.answered_at is not None}
        self._news.set()

    # --- taking ---------------------------------------------------------------------------

    async def take(self, permit: "TokenPermit") -> None:
        """Wait for a token and put it into the permit as soon as it is taken."""
        async with self._turn:  # FIFO: trio's Lock is fair
            overdue: dict[int, int] = {}
            while True:
                self._look_again = trio.Event()
                # The store's stamp lies between here and its answer.
                asked_at = trio.current_time()
                answer = await self.store.take_token(
                    self.settings.name,
                    lifetime=self.lifetime,
                    spent_on=permit.spent_on,
                    lease=permit.lease,
                    intent=permit.intent,
                    overdue=overdue,
                )
                now = trio.current_time()
                if answer.from_answers and not self.from_answers:
                    self._count_from_answers()  # somebody who shares it has found out
                if isinstance(answer, Taken):
                    early = self._spent.get(answer.number, (0, now))[1] - now
                    if early <= 0:
                        permit.spending = Spending(token=answer, spent_at=asked_at)
                        self._expect(answer, now + self.lifetime)
                        return
                    await self._sit_out(answer, early, permit)
                    continue
                self._look_at(answer, now)
                asked, overdue = overdue, self._overdue(answer, now)
                if overdue and overdue != asked:
                    continue
                permit.tell_wait(self._until_free(answer, now))
                with trio.move_on_after(self._until_worth_asking(answer, now)):
                    await self._look_again.wait()

    async def _sit_out(self, token: Taken, early: float, permit: "TokenPermit") -> None:
        """The store's clock was stepped forward, and by ours the token is not free yet.

        We keep it, so that nobody else is misled by it.  It is not the permit's: a
        waiter that is cancelled leaves it to free itself, never before its time.
        """
        self._spent[token.number] = (token.version, trio.current_time() + early)
        permit.tell_wait(early)
        await trio.sleep(early)
        # Taken anew it has a new version, from which those who watch it count.
        await self.give_back(token)

    def _expect(self, token: Taken, free_at: float) -> None:
        self._spent[token.number] = (token.version, free_at)
        self._seen_free_at.pop(token.number, None)

    def _look_at(self, answer: NotYet, now: float) -> None:
        """Remember what others hold, and since when we see them hold it."""
        self._held_until = now + answer.seconds if answer.held else now
        self._seen_free_at = {s.number: now + s.free_in for s in answer.tokens}
        seen = {}
        for state in answer.tokens:
            if self._spent.get(state.number, (state.version, 0.0))[0] < state.version:
                # Somebody else's now.  (An older version than ours is that of a Postgres that
                # has lost commits: it does not know what we have spent since.)
                del self._spent[state.number]
            version, since = self._watched.get(state.number, (state.version, now))
            seen[state.number] = (state.version, since if version == state.version else now)
        self._watched = seen

    def _free_by_our_clock(self, answer: NotYet) -> dict[int, tuple[int, float]]:
        """Token to (version, our time at which it is free whatever the store's clock says)."""
        moments = {}
        for state in answer.tokens:
            version, since = self._watched[state.number]
            moments[state.number] = (version, since + self.lifetime)
            ours = self._spent.get(state.number)
            if ours and ours[0] == state.version:
                moments[state.number] = ours
        return moments

    def _overdue(self, answer: NotYet, now: float) -> dict[int, int]:
        if answer.held:
            return {}
        moments = self._free_by_our_clock(answer)
        return {n: version for n, (version, at) in moments.items() if at <= now}

    def _until_free(self, answer: NotYet, now: float) -> float:
        """Seconds until a token can be had, as far as can be told."""
        if answer.held:
            return max(answer.seconds, 0.0)
        moments = [at - now for _, at in self._free_by_our_clock(answer).values()]
        # One that is not settled yet is shown with its latest moment; once settled it
        # is free `takes` after it was counted, which may be now.
        return min([answer.seconds, self.takes, *moments])

    def _until_worth_asking(self, answer: NotYet, now: float) -> float:
        pause = self._until_free(answer, now)
        # A token may be free and its row locked by another taker: ask again soon, but
        # never spin.
        return min(pause, POLL) if answer.held else max(pause, 0.001)

    # --- settling -------------------------------------------------------------------------

    def settle_at(self, spending: "Spending", when: float) -> None:
        """Have the token settled by `run` at that moment of our clock."""
        self._due[spending] = when
        self._news.set()

    async def run(self) -> None:
        """Settle tokens as they are due, for as long as the bucket is in use."""
        failures = 0
        try:
            while True:
                # Made before the statement: what is heard meanwhile must not be lost.
                self._news = trio.Event()
                try:
                    await self._settle_what_is_due()
                except (StoreUnavailable, StreamBroken):
                    # Nothing is lost: unsettled, a token comes back later than it need.
                    failures += 1
                    await trio.sleep(min(0.25 * 2 ** min(failures, 6), 15))
                    continue
                failures = 0
                with trio.move_on_at(min(self._due.values(), default=float("inf"))):
                    await self._news.wait()
        finally:
            with trio.move_on_after(GIVE_BACK, shield=True):
                await self.flush()

    async def _settle_what_is_due(self) -> None:
        await self._remember()
        now = trio.current_time()
        await self._settle([s for s, at in self._due.items() if at <= now])

    async def _remember(self) -> None:
        if not self._remembered:
            await self.store.count_from_answers(self.settings.name)
            self._remembered = True

    async def flush(self) -> None:
        """Settle all that was written, now: the last act of a process that leaves in peace."""
        try:
            await self._remember()
            await self._settle(list(self._due))
        except (StoreUnavailable, StreamBroken):
            return

    async def _settle(self, spendings: "list[Spending]") -> None:
        if not spendings:
            return
        async with self._settling:
            now = trio.current_time()
            counted = {s: s.counted_at(self) for s in spendings}
            await self.store.settle_tokens(
                self.settings.name, [(s.token, now - at, self.takes) for s, at in counted.items()]
            )
            for spending, at in counted.items():
                if spending.counted_at(self) == at:  # else a refusal came meanwhile: once more
                    self._due.pop(spending, None)
                spending.settled = True
                token = spending.token
                if self._spent.get(token.number, (0, 0.0))[0] == token.version:
                    self._spent[token.number] = (token.version, at + self.takes)


@attrs.define(eq=False, kw_only=True)
class Spending:
    """One token and the request that it was spent on; times are ours."""

    token: Taken
    spent_at: float
    writing: bool = False
    written_at: float | None = None
    answered_at: float | None = None
    settled: bool = False
    _since: Stopwatch = attrs.field(factory=Stopwatch, init=False)

    def age(self) -> float:
        """Seconds since it was spent, those of a suspend included."""
        return max(trio.current_time() - self.spent_at, self._since.elapsed)

    def counted_at(self, bucket: TokenBucket) -> float:
        """Our time at which the server has counted the request for certain."""
        moments = [] if self.answered_at is None else [self.answered_at]
        if self.written_at is not None and not (bucket.from_answers and moments):
            moments.append(self.written_at + bucket.settings.slack)
        return min(moments)


@attrs.define(eq=False)
class TokenPermit:
    """One attempt's right to send; see `ports.Permit` for who calls what and when."""

    _bucket: TokenBucket
    lease: Lease | None
    spent_on: str
    _waits: Waits
    intent: Intent | None
    _on_wait: OnWait | None
    sent: int = attrs.field(default=0, init=False)
    waited: float = attrs.field(default=0.0, init=False)
    spending: Spending | None = attrs.field(default=None, init=False)

    async def spend(self) -> None:
        await self.close()
        began = trio.current_time()
        try:
            with self._waits.interruptible():
                await self._bucket.take(self)
        finally:
            self.waited += trio.current_time() - began

    async def confirm(self) -> None:
        # A process that slept (SIGSTOP, a suspend, in which monotonic time stands still)
        # must not write on a token that has meanwhile come back to somebody else.  An
        # unsettled one does so `timeout + per` after it was spent: half of `timeout` is
        # early enough, and leaves a far host the time that a TLS handshake takes.
        if self._current.age() > self._bucket.timeout / 2:
            await self.spend()
        self._current.writing = True
        self.sent += 1

    async def pause(self, seconds: float) -> None:
        await self._waits.sleep(seconds)

    def written(self) -> None:
        now = self._current.written_at = trio.current_time()
        if not self._bucket.from_answers:
            # At once, though it is counted `slack` from now: until it is settled, a death
            # makes the token wait for `timeout` on top of that.
            self._bucket.settle_at(self._current, now)

    def answered(self) -> None:
        now = self._current.answered_at = trio.current_time()
        # One that was settled by its writing is settled again if the answer tells more: it
        # came within `slack`, or a refusal made us count from answers.  If the token has
        # gone to somebody else meanwhile, the store leaves it alone.
        sure = (self._current.written_at or now) + self._bucket.settings.slack
        if self._bucket.from_answers or not self._current.settled or now < sure:
            self._bucket.settle_at(self._current, now)

    def refused(self) -> None:
        self._bucket.refused()

    @property
    def _current(self) -> Spending:
        if self.spending is None:
            raise RuntimeError("a permit was used before spend()")
        return self.spending

    def tell_wait(self, seconds: float) -> None:
        if self._on_wait is not None:
            self._on_wait(seconds)

    async def close(self) -> None:
        """Give back a token that was never used to write."""
        spending, self.spending = self.spending, None
        if spending is None or spending.writing:
            return
        with trio.move_on_after(GIVE_BACK, shield=True):
            try:
                await self._bucket.give_back(spending.token)
            except StoreUnavailable:
                return  # it comes back by itself after `lifetime`
