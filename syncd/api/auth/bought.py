"""Which bearer token does a request carry, and when is a new one bought?

A login buys it (`logins`).  All tasks of a source share it, and of
twenty that find it expired one logs in; the others take what that one got, be it
a bearer or a refusal.  Credentials that are refused stay refused until the client
is built anew: no number of tasks makes a storm of logins out of a wrong password.

A bearer that is refused is replaced once for each request: exactly the one that
was refused, never a newer one that somebody else has bought meanwhile.
"""

import copy
import time
from collections.abc import Awaitable, Callable, Sequence

import attrs
import httpx
import trio

from syncd.api.auth.logins import Granted, login_kind
from syncd.api.auth.safe import Kept, Safe
from syncd.api.auth.signing import InHeader
from syncd.api.decode import open_envelope
from syncd.api.exchange import Answer, Ask
from syncd.api.hints import wait_hint
from syncd.api.shown import Redactor, excerpt
from syncd.config.settings import AuthSettings, Login, mended_by
from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    Draining,
    RateLimited,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.clocks import boot_time
from syncd.sync.ports import PLAIN, Permit, Price, Quota

AHEAD = 300.0  # seconds before its end that a bearer is replaced …
AHEAD_SHARE = 0.1  # … but no more than this part of its life
REMEMBERED = 3  # bearers, and refresh tokens, that are struck out of what is shown
LOOK_AGAIN = 0.5  # seconds between two looks whether another has logged in
GIVING_BACK = 5.0  # seconds that giving a claim back may take
DOUBT = 60.0  # seconds; a bearer this young is not to blame for a refusal

Clock = Callable[[], float]
Reread = Callable[[], Awaitable[AuthSettings | None]]
"""The credentials as they stand now; None if they can't be read."""


CLOCKS: tuple[Clock, ...] = (trio.current_time, boot_time, time.time)
"""Age is what the fastest of them says: monotonic time stops in a suspend, the
wall clock may be set back.  Thinking a bearer too old costs a login, too young a refusal."""


@attrs.frozen(kw_only=True, eq=False)
class Bearer:
    """One access token; compared by identity."""

    value: str = attrs.field(repr=False)
    life: float
    bought: tuple[float, ...]
    """What each clock said before it was asked for."""

    clocks: tuple[Clock, ...] = attrs.field(repr=False)

    @property
    def age(self) -> float:
        pairs = zip(self.clocks, self.bought, strict=True)
        return max(clock() - bought for clock, bought in pairs)

    @property
    def holds(self) -> bool:
        return self.age < self.life - min(AHEAD, AHEAD_SHARE * self.life)

    @property
    def auth(self) -> httpx.Auth:
        return InHeader("Authorization", f"Bearer {self.value}")


Exchange = Callable[[Ask, Permit], Awaitable[Answer]]
"""Sends a login."""


class NoPermit:
    """For a request that costs no budget: fulfils `ports.Permit`."""

    sent = 0

    async def spend(self, price: Price = PLAIN) -> None: ...

    async def confirm(self) -> None: ...

    async def pause(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def written(self) -> None: ...

    def answered(self) -> None: ...

    def refused(self) -> None: ...

    def told(self, quotas: Sequence[Quota]) -> None: ...


@attrs.define(eq=False)
class Bought:
    """The bearer tokens of one account."""

    settings: Login
    _exchange: Exchange
    _redactor: Redactor
    retry_after: str | None = attrs.field(default=None, kw_only=True)
    on_login: Callable[[float], None] | None = attrs.field(default=None, kw_only=True)
    reread: Reread | None = attrs.field(default=None, kw_only=True)
    """Asked once when a login is refused: the credentials may have been rotated."""

    claim: float = attrs.field(default=60.0, kw_only=True)
    """Seconds for which one process alone may log in: longer than a login can take."""

    safe: Safe | None = attrs.field(default=None, kw_only=True)
    """Where what was bought outlasts this process."""

    clocks: tuple[Clock, ...] = attrs.field(default=CLOCKS, kw_only=True)
    logins: int = attrs.field(default=0, init=False)
    _bearer: Bearer | None = attrs.field(default=None, init=False)
    _doubted: Bearer | None = attrs.field(default=None, init=False)
    _denied: AccessDenied | None = attrs.field(default=None, init=False)
    _bearers: list[str] = attrs.field(factory=list, init=False, repr=False)
    _refreshes: list[str] = attrs.field(factory=list, init=False, repr=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _tries: int = attrs.field(default=0, init=False)
    _refused: str | None = attrs.field(default=None, init=False, repr=False)
    """The bearer that the API has refused last: the safe may hold it still."""

    _unkept: "tuple[int, _Purchase] | None" = attrs.field(default=None, init=False, repr=False)
    """Bought instead of that version, and not in the safe yet."""

    _failure: SyncdError | None = attrs.field(default=None, init=False)

    async def bearer(self, permit: Permit) -> Bearer:
        """A bearer that holds; logs in if there is none.  Raises AccessDenied, TryAgain."""
        if self._bearer is not None and self._bearer.holds:
            return self._bearer
        before = self._tries
        async with self._turn:
            if self._bearer is not None and self._bearer.holds:
                return self._bearer
            if self._denied is not None:
                raise copy.copy(self._denied)
            if self._tries != before and self._failure is not None:
                # Whoever had the turn has asked for all of us.
                raise copy.copy(self._failure)
            return await self._try(permit)

    def renews(self, refused: Bearer, status: int) -> bool:
        """Whether a refused request is worth another try, with another bearer.

        A 401 always is, unless a bearer as fresh as this one was just refused, too.
        A 403 is if the bearer is not young: some APIs answer so to an expired one,
        but most mean that the account lacks a right, which no login changes.
        """
        if self._bearer is not None and self._bearer is not refused:
            return True  # somebody else has already bought another
        if self._doubted is refused and refused.age < DOUBT:
            return False
        if status == 403 and refused.age < DOUBT:
            return False
        self._bearer, self._refused = None, refused.value
        return True

    def doubt(self, refused: Bearer) -> None:
        """Even this bearer, bought for the replay, was refused: logging in again is no use."""
        self._doubted = refused

    def forgive(self) -> None:
        """A person says that credentials which were refused are worth another try."""
        self._denied = None

    async def _try(self, permit: Permit) -> Bearer:
        try:
            bearer = await (self._log_in(permit) if self.safe is None else self._share(permit))
        except Draining:
            raise  # who leaves leaves alone: the next in line asks for itself
        except SyncdError as error:
            self._tries += 1
            self._failure = error
            if isinstance(error, AccessDenied):
                self._denied = error
            raise
        self._tries += 1
        self._failure = None
        self._bearer = bearer
        self._strike_out(self._bearers, bearer.value)
        return bearer

    def _strike_out(self, last: list[str], value: str) -> None:
        """Show it nowhere.  Answers on their way may echo the last ones; older are forgotten."""
        if value in last:
            last.remove(value)
        last.append(value)
        forgotten = last[:-REMEMBERED]
        del last[:-REMEMBERED]
        stay = (*self.settings.secrets(), *self._bearers, *self._refreshes)
        self._redactor.replace(forgotten, stay)

    async def _log_in(self, permit: Permit) -> Bearer:
        purchase = await self._buy(permit, None)
        return purchase.bearer(self.clocks)

    # --- with a safe: what other lives and processes have bought serves us, too ----------------

    async def _share(self, permit: Permit) -> Bearer:
        safe = self.safe
        assert safe is not None  # noqa: S101 - who calls has looked
        while True:
            if self._unkept is not None:
                # Bought before Postgres went away: that it is there first.
                version, purchase = self._unkept
                if await safe.keep(version, purchase.granted, self.settings):
                    self._unkept = None
                    return purchase.bearer(self.clocks)
                self._unkept = None
            kept = await safe.look(self.settings)
            found = self._of(kept)
            if found is not None:
                return found
            if self.settings.spends:
                await permit.spend(self._price)  # which may take longer than any claim lasts
            if not await safe.claim(kept.version, self.claim):
                await permit.pause(LOOK_AGAIN)  # the other's claim ends by itself
                continue
            purchase_or_none = await self._buy_claimed(safe, kept, permit)
            if purchase_or_none is not None:
                # Kept before it is used: a successor that only we knew would die with us.
                self._unkept = (kept.version, purchase_or_none)

    def _of(self, kept: Kept) -> Bearer | None:
        granted = kept.granted
        if granted is None or granted.token == self._refused:
            return None
        gone = granted.life - kept.left
        bearer = Bearer(
            value=granted.token,
            life=granted.life,
            bought=tuple(clock() - gone for clock in self.clocks),
            clocks=self.clocks,
        )
        return bearer if bearer.holds else None

    async def _buy_claimed(self, safe: Safe, kept: Kept, permit: Permit) -> "_Purchase | None":
        """Buy with the claim; None if somebody else has bought meanwhile."""
        denied: AccessDenied | None = None
        done = False
        try:
            purchase = await self._buy(permit, kept.granted.refresh if kept.granted else None)
            done = True
        except AccessDenied as error:
            denied = error
        finally:
            if not done:
                with trio.move_on_after(GIVING_BACK, shield=True):
                    await safe.give_back(kept.version)  # noqa: ASYNC102 - shielded
        if denied is None:
            return purchase
        # Was the refresh token used up by somebody, when our claim had ended?
        if (await safe.look(self.settings)).version == kept.version:
            raise denied
        return None

    # --- the login itself ---------------------------------------------------------------------

    async def _buy(self, permit: Permit, refresh: str | None) -> "_Purchase":
        try:
            return await self._login(permit, refresh)
        except AccessDenied as error:
            denied = error
        fresh = None if self.reread is None else await self.reread()
        if not isinstance(fresh, Login) or fresh == self.settings:
            raise denied
        self.settings = fresh
        self._redactor.add(*fresh.secrets())
        return await self._login(permit, None)

    @property
    def _price(self) -> Price:
        return Price(path=self.settings.price_path, cost=self.settings.cost)

    async def _login(self, permit: Permit, refresh: str | None) -> "_Purchase":
        if refresh is not None:
            self._strike_out(self._refreshes, refresh)  # another process may have been given it
        kind, spends = login_kind(self.settings), self.settings.spends
        ask = kind.ask(refresh)
        if spends:
            await permit.spend(self._price)
        spending: Permit = permit if spends else NoPermit()
        bought = tuple(clock() for clock in self.clocks)
        try:
            answer = await self._exchange(ask, spending)
        except ApiUnavailable as error:
            # Whatever became of the login: the request itself was not sent.
            raise ApiUnavailable(
                f"login: {error}", hint=error.hint, sent="no", untrusted=error.untrusted
            ) from None
        if answer.status == 429:
            spending.refused()
        refuse_login(ask, answer, self.retry_after, self._redactor, self.settings)
        try:
            envelope = open_envelope(answer.body, answer.content_type, self._redactor)
            granted = kind.read(envelope)
        except ApiUnavailable as error:
            raise ApiUnavailable(f"login: {ask}: {error}", sent="no") from None
        except UnexpectedAnswer as error:
            said = f"login: {ask}: {error.reason}"
            raise UnexpectedAnswer(said, hint="Check auth.url", refused=True) from None
        self.logins += 1
        if self.on_login is not None:
            self.on_login(granted.life)
        if granted.refresh is None:
            granted = attrs.evolve(granted, refresh=refresh)
        else:
            self._strike_out(self._refreshes, granted.refresh)
        return _Purchase(granted=granted, bought=bought)


@attrs.frozen(kw_only=True)
class _Purchase:
    """What a login gave, and what each clock said before it was asked for."""

    granted: Granted
    bought: tuple[float, ...]

    def bearer(self, clocks: tuple[Clock, ...]) -> Bearer:
        granted = self.granted
        return Bearer(value=granted.token, life=granted.life, bought=self.bought, clocks=clocks)


def refuse_login(
    ask: Ask, answer: Answer, path: str | None, redactor: Redactor, login: Login
) -> None:
    """Raise what the status of a login's answer means, unless it is a 2xx."""
    status = answer.status
    if 200 <= status < 300:
        return
    said = f"login: {ask} answered {status}: {excerpt(answer.body, redactor)}"
    hint = wait_hint(answer.headers, answer.body, path, refused=status == 429)
    if status == 429:
        raise RateLimited(said, hint=hint)
    if status >= 500 or status in (408, 425):
        raise ApiUnavailable(said, hint=hint, sent="no")
    if status in (400, 401, 403):
        mended = mended_by(*attrs.asdict(login, recurse=False).values())
        raise AccessDenied(said, hint=f"Correct the source's credentials, then {mended}")
    raise UnexpectedAnswer(said, hint="Check auth.url", refused=True)
