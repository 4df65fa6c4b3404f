"""The token bucket: one limit of an API's, shared by all who spend from it.

The bucket answers one question, "may I send the next request now?", and says how long
it takes when the answer is no; `sync.permit` waits and takes.  Its tokens are rows on the
store's clock, so that a restart, a command or a second host finds them as they were left.

A token comes back `per` after the request must have reached the server: at the
moment its answer came, or `slack` after it was written, whichever is earlier;
plus 0.1 % of `per` for clocks that run at different rates.  So no window of
`per` holds more than `requests` as the server counts.  The classic bucket (burst
C, refilled at C / per) would let nearly 2 C through in one window.

The store's clock may be stepped, ours cannot: a token that this process spent is
checked by our monotonic clock as well, and one that was watched unchanged for as
long as it can be in use is free whatever the store's clock says.

What the API itself says is left can lower it: tokens beyond that are withheld until the
API's limit begins anew.

It knows nothing of HTTP and never retries: `sync.retry` decides whether to ask
again, and reports a Retry-After with `hold_off()`.
"""

from collections.abc import Mapping, Sequence

import attrs
import trio

from syncd.config.settings import BudgetSettings
from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.model import DRIFT
from syncd.sync.permit import GIVE_BACK, Spending
from syncd.sync.ports import NotYet, Quota, Taken, TokenStore, Want

POLL = 30.0  # seconds; a longer hold is looked at again, since someone may have ended it
WHOLE = 1.0  # seconds; an API that tells an end in whole ones may mean one so much earlier


@attrs.define(eq=False)
class TokenBucket:
    """One budget in this process.  `run` must be running for tokens to be settled."""

    settings: BudgetSettings
    store: TokenStore
    timeout: float
    """The longest that one attempt may take, in seconds, over all sources that share it."""

    from_answers: bool = False
    """Count from answers alone: set after a refusal that nothing here explains."""

    _lines: dict[tuple[str, ...], trio.Lock] = attrs.field(factory=dict, init=False)
    """Those who take of the same buckets, of which this is the first, by their names."""

    _kept: trio.Event | None = attrs.field(default=None, init=False)
    """Tokens are kept for somebody until it is set."""

    _spent: dict[int, tuple[int, float]] = attrs.field(factory=dict, init=False)
    """What this process spent: token to (version, our time at which it is free)."""

    _watched: dict[int, tuple[int, float]] = attrs.field(factory=dict, init=False)
    """Tokens in use by anyone: token to (version, our time at which we first saw it)."""

    _due: dict[Spending, float] = attrs.field(factory=dict, init=False)
    """Tokens to be settled, and when."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    look_again: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when a token was given back: whoever waits for one need not wait for the next."""

    _held_until: float = attrs.field(default=float("-inf"), init=False)
    _seen_free_at: dict[int, float] = attrs.field(factory=dict, init=False)
    _settling: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _remembered: bool = attrs.field(default=True, init=False)
    """Whether the store knows of `from_answers`."""

    _quota: "_Heard | None" = attrs.field(default=None, init=False)
    """What the API said of the request that it counted last."""

    _unposted: "_Heard | None" = attrs.field(default=None, init=False)
    _lowered_until: float = attrs.field(default=float("-inf"), init=False)
    """Our time until which tokens are withheld, as far as we know."""

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
            settings.name,
            requests=settings.requests,
            per=settings.per,
            seed=settings.seed,
            whole=not settings.paths,
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
        self.wake()

    async def hold_off(self, seconds: float) -> None:
        self._held_until = max(self._held_until, trio.current_time() + seconds)
        # Before the hold is over, all who share it know how to count from then on.
        await self._remember()
        await self.store.hold_budget(self.settings.name, seconds)

    async def give_back(self, *tokens: Taken) -> None:
        """Free tokens that were never written."""
        for token in tokens:
            if self._spent.get(token.number, (0, 0.0))[0] == token.version:
                del self._spent[token.number]
        await self.store.give_back(self.settings.name, *tokens)
        self.wake()

    def wake(self) -> None:
        """Have who waits for a token ask again."""
        news, self.look_again = self.look_again, trio.Event()
        news.set()

    @property
    def held(self) -> bool:
        return self._held_until > trio.current_time()

    def outlook(self, requests: int) -> float:
        if requests <= 0:
            return 0.0
        now = trio.current_time()
        free_at = self._free_at()
        # One that is in flight can be counted now, at the earliest.
        waits = sorted(min(max(0.0, at - now), self.takes) for at in free_at.values())
        waits = [0.0] * (self.settings.requests - len(waits)) + waits
        rounds, last = divmod(requests - 1, self.settings.requests)
        return max(waits[last] + rounds * self.takes, self._held_until - now)

    def told(self, spending: Spending, quotas: Sequence[Quota]) -> None:
        """Lower the budget to what is left, as the answer to that request has it.

        It is nobody's business but ours where it changes nothing: then no statement is made.
        """
        lowest = min(quotas, key=lambda q: (q.left, -q.seconds))
        now = trio.current_time()
        heard = _Heard(
            token=spending.tokens[self][0],
            left=lowest.left,
            until=now + lowest.seconds,
            soonest=(spending.written_at or now) + lowest.seconds - WHOLE,
            counted=spending.counted_at(self),
        )
        if self._quota is not None and heard.counted < self._quota.counted:
            return  # it is older than what we know
        lowers = self._lowers(heard, now)
        if not lowers and self._lowered_until <= now:
            return
        self._quota = self._unposted = heard
        self._lowered_until = heard.until if lowers else now
        if lowers and heard.left == 0:
            self._held_until = max(self._held_until, heard.until)
        self._news.set()
        self.wake()

    def _lowers(self, heard: "_Heard", now: float) -> bool:
        """Whether more than that could be sent until then, as far as this process knows."""
        # Our own tokens come back after the API's limit has begun anew, so that one which is
        # back before the latest end that can be meant is not one too many.
        until = max(now, heard.soonest)
        # With fewer in flight than there are tokens it can't come down to what we have.
        if heard.left > 2 * self.settings.requests:
            return False
        each = 1 + int((until - now) / self.takes)
        if heard.left >= each * self.settings.requests:
            return False
        busy = [at for at in self._free_at().values() if at > now]
        uses = [1 + int((until - at) / self.takes) for at in busy if at <= until]
        return heard.left < sum(uses) + each * (self.settings.requests - len(busy))

    def _free_at(self) -> dict[int, float]:
        """Our time at which tokens are free that were spent, as far as we know of them."""
        return {**self._seen_free_at, **{n: at for n, (_, at) in self._spent.items()}}

    async def post_quota(self) -> None:
        """Have the store know of it: before the next token is taken, and else soon."""
        heard, self._unposted = self._unposted, None
        now = trio.current_time()
        if heard is None or heard.until <= now:
            return
        done = False
        try:
            await self.store.note_quota(
                self.settings.name,
                heard.token,
                left=heard.left,
                seconds=heard.until - now,
                since=now - heard.counted,
            )
            done = True
        finally:
            if not done:  # Postgres is away, or who asked was cancelled: `run` sees to it
                self._unposted = self._unposted or heard
                self._news.set()

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

    def line(self, buckets: "Sequence[TokenBucket]") -> trio.Lock:
        """Where those stand who take of these, the first of which is this one."""
        return self._lines.setdefault(tuple(b.settings.name for b in buckets), trio.Lock())

    def want(self, cost: int, overdue: Mapping[int, int]) -> Want:
        """What is asked of the store; never more than there are."""
        return Want(
            budget=self.settings.name,
            lifetime=self.lifetime,
            cost=min(cost, self.settings.requests),
            overdue=overdue,
        )

    def heed(self, from_answers: bool) -> None:
        """Count from answers if somebody who shares it has found out."""
        if from_answers and not self.from_answers:
            self._count_from_answers()

    def reserve(self) -> bool:
        """Keep the tokens for who asks, unless they are kept for another."""
        if self._kept is not None:
            return False
        self._kept = trio.Event()
        return True

    def release(self) -> None:
        if self._kept is not None:
            self._kept.set()
            self._kept = None

    async def wait_for_others(self) -> None:
        """Return when the tokens are kept for nobody."""
        while self._kept is not None:
            await self._kept.wait()

    def early(self, tokens: Sequence[Taken], now: float) -> float:
        """For how long these are not free by our clock; 0 or less if they are."""
        return max(self._spent.get(t.number, (0, now))[1] - now for t in tokens)

    def expect(self, tokens: Sequence[Taken], now: float) -> None:
        """These are spent: until it is known when they were counted, their lifetime counts."""
        self.sit_out(tokens, now + self.lifetime)
        for token in tokens:
            self._seen_free_at.pop(token.number, None)

    def sit_out(self, tokens: Sequence[Taken], until: float) -> None:
        self._spent |= {t.number: (t.version, until) for t in tokens}

    def look_at(self, answer: NotYet, now: float) -> None:
        """Remember what others hold, and since when we see them hold it."""
        self.heed(answer.from_answers)
        self._held_until = now + answer.seconds if answer.held else now
        self._seen_free_at = {s.number: now + max(s.free_in, s.withheld_for) for s in answer.tokens}
        withheld = max((s.withheld_for for s in answer.tokens), default=0.0)
        self._lowered_until = max(self._lowered_until, now + withheld)
        seen = {}
        for state in answer.tokens:
            if self._spent.get(state.number, (state.version, 0.0))[0] < state.version:
                # Somebody else's now.  (An older version than ours is that of a Postgres that
                # has lost commits: it does not know what we have spent since.)
                del self._spent[state.number]
            version, since = self._watched.get(state.number, (state.version, now))
            seen[state.number] = (state.version, since if version == state.version else now)
        self._watched = seen

    def _free_by_our_clock(self, answer: NotYet, now: float) -> dict[int, tuple[int, float]]:
        """Token to (version, our time at which it is free whatever the store's clock says)."""
        moments = {}
        for state in answer.tokens:
            version, since = self._watched[state.number]
            at = since + self.lifetime
            ours = self._spent.get(state.number)
            if ours and ours[0] == state.version:
                version, at = ours
            moments[state.number] = version, max(at, now + state.withheld_for)
        return moments

    def overdue(self, answer: NotYet, now: float) -> dict[int, int]:
        """Tokens that are free whatever the store's clock says, with their versions."""
        if answer.held or answer.seconds <= 0:
            return {}
        moments = self._free_by_our_clock(answer, now)
        return {n: version for n, (version, at) in moments.items() if at <= now}

    def until_free(self, answer: NotYet, now: float, cost: int = 1) -> float:
        """Seconds until so many tokens can be had, as far as can be told."""
        if answer.held or answer.seconds <= 0:
            return max(answer.seconds, 0.0)
        moments = sorted(at - now for _, at in self._free_by_our_clock(answer, now).values())
        last = moments[min(cost, len(moments)) - 1 :][:1]
        # One that is not settled yet is shown with its latest moment; once settled it
        # is free `takes` after it was counted, which may be now.
        return max(min([answer.seconds, self.takes, *last]), _withheld(answer))

    def until_worth_asking(self, answer: NotYet, pause: float) -> float:
        # A token may be free and its row locked by another taker: ask again soon, but
        # never spin.
        ends_early = answer.held or _withheld(answer) > 0
        return max(min(pause, POLL) if ends_early else pause, 0.001)

    # --- settling -------------------------------------------------------------------------

    def settle_at(self, spending: Spending, when: float) -> None:
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
        # First what the API has counted, then what it says is left without that.
        await self._settle([s for s, at in self._due.items() if at <= now])
        await self.post_quota()

    async def _remember(self) -> None:
        if not self._remembered:
            await self.store.count_from_answers(self.settings.name)
            self._remembered = True

    async def flush(self) -> None:
        """Settle all that was written, now: the last act of a process that leaves in peace."""
        try:
            await self._remember()
            await self._settle(list(self._due))
            await self.post_quota()
        except (StoreUnavailable, StreamBroken):
            return

    async def _settle(self, spendings: list[Spending]) -> None:
        if not spendings:
            return
        async with self._settling:
            now = trio.current_time()
            counted = {s: s.counted_at(self) for s in spendings}
            settlements = [
                (token, now - at, self.takes)
                for s, at in counted.items()
                for token in s.tokens[self]
            ]
            await self.store.settle_tokens(self.settings.name, settlements)
            for spending, at in counted.items():
                if spending.counted_at(self) == at:  # else a refusal came meanwhile: once more
                    self._due.pop(spending, None)
                spending.settled.add(self)
                for token in spending.tokens[self]:
                    if self._spent.get(token.number, (0, 0.0))[0] == token.version:
                        self._spent[token.number] = (token.version, at + self.takes)


@attrs.frozen(kw_only=True, eq=False)
class _Heard:
    """What an answer said is left; times are ours."""

    token: Taken
    """That its request was spent on."""

    left: int
    until: float
    """The latest end that can be meant: it is told for when the answer came."""

    soonest: float
    """The earliest: for when the request was written, and rounded up."""

    counted: float


def _withheld(answer: NotYet) -> float:
    """Seconds for which the API says that nothing is left, or all of it is on its way."""
    return min((s.withheld_for for s in answer.tokens), default=0.0)
