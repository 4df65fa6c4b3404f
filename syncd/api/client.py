"""In which order are a bearer, a connection and a token taken for one request?

The token last: auth first (a login has a connection of its own, so that it never
waits for those who wait for it), then its place among the connections, then
`permit.spend()`, then a look whether the bearer still holds after that wait.
`Transport` confirms the token when the first byte is about to be written.

An ApiClient belongs to one source and is shared by its streams.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs
import httpx
import trio

from syncd.api.auth.bought import CLOCKS, Bearer, Bought, Clock, Reread
from syncd.api.auth.safe import Safe
from syncd.api.auth.signing import signed_with
from syncd.api.exchange import Answer, Ask, Heard
from syncd.api.quotas import told
from syncd.api.rules import rule_of, turned_away, with_words
from syncd.api.shown import Redactor, excerpt
from syncd.api.transport import Transport
from syncd.config.settings import (
    BasicAuth,
    BearerAuth,
    BudgetSettings,
    KeyAuth,
    Secret,
    SourceSettings,
    mended_by,
)
from syncd.errors import AccessDenied
from syncd.sync.events import Purpose
from syncd.sync.ports import PLAIN, Permit, Price, Quota

MARGIN = 30.0  # seconds beyond its deadline for which a login is still one process's own


@attrs.frozen(kw_only=True)
class Statistics:
    """For gauges."""

    in_flight: int
    waiting: int
    """Requests that wait for a connection."""

    under_way: Mapping[Purpose, int]
    """Requests on their way to the API or back; of `in_flight` some still wait for a token."""

    logins: int
    pools_rebuilt: int


@attrs.define(eq=False)
class ApiClient:
    """Asks one API, as one account."""

    settings: SourceSettings
    tls: ssl.SSLContext | None = attrs.field(default=None, kw_only=True)
    on_login: Callable[[float], None] | None = attrs.field(default=None, kw_only=True)
    """Hears after each login how many seconds it is good for."""

    heard: Heard | None = attrs.field(default=None, kw_only=True)
    """Hears of each request when it has come to its end."""

    misread: Callable[[str], None] | None = attrs.field(default=None, kw_only=True)
    """Hears, once, of a header with a limit that can't be meant."""

    reread: Reread | None = attrs.field(default=None, kw_only=True)
    """The credentials as they stand now, asked for when a login is refused."""

    safe: Safe | None = attrs.field(default=None, kw_only=True)
    """Where bought tokens outlast this process; None: nowhere."""

    clocks: tuple[Clock, ...] = attrs.field(default=CLOCKS, kw_only=True)
    redactor: Redactor = attrs.field(factory=Redactor, init=False)
    _slots: trio.CapacityLimiter = attrs.field(init=False)
    _transport: Transport = attrs.field(init=False)
    _bought: Bought | None = attrs.field(default=None, init=False)
    _static: httpx.Auth | None = attrs.field(default=None, init=False)
    """Credentials that need no login."""

    _login_transport: Transport | None = attrs.field(default=None, init=False)
    """For a login at another server."""

    _headers: dict[str, str | bytes] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self._slots = trio.CapacityLimiter(settings.connections)
        if self.tls is None and settings.tls is not None:
            self.tls = settings.tls.context()
        self._transport = self._to(settings.base_url)
        self._headers = {}
        for name, value in settings.headers.items():
            self._headers[name] = self._known(value)
        auth = settings.auth
        if auth is not None:
            self.redactor.add(*auth.secrets())
        if isinstance(auth, BasicAuth | BearerAuth | KeyAuth):
            self._static = signed_with(auth)
        elif auth is not None:
            if not auth.url.startswith("/"):
                self._login_transport = self._to(auth.url)
            self._bought = Bought(
                auth,
                self._login,
                self.redactor,
                retry_after=settings.retry_after,
                on_login=self.on_login,
                reread=self.reread,
                safe=self.safe,
                claim=settings.timeout + MARGIN,
                clocks=self.clocks,
            )

    def _to(self, url: str) -> Transport:
        settings = self.settings
        return Transport(
            base_url=url,
            timeout=settings.timeout,
            keepalive=settings.keepalive,
            max_body=settings.max_body,
            ssl_context=self.tls,
            heard=self.heard,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def forgive(self) -> None:
        """A person says that credentials which were refused are worth another try."""
        if self._bought is not None:
            self._bought.forgive()

    async def aclose(self) -> None:
        await self._transport.aclose()
        if self._login_transport is not None:
            await self._login_transport.aclose()

    @property
    def statistics(self) -> Statistics:
        slots = self._slots.statistics()
        return Statistics(
            in_flight=int(slots.borrowed_tokens),
            waiting=slots.tasks_waiting,
            under_way=dict(self._transport.under_way),
            logins=0 if self._bought is None else self._bought.logins,
            pools_rebuilt=self._transport.rebuilt,
        )

    def price(self, ask: Ask) -> Price:
        """What a request costs, and of which limits."""
        path = ask.path
        if ask.rooted:
            base = httpx.URL(self.settings.base_url).path.rstrip("/")
            path = path.removeprefix(base) if path.startswith(f"{base}/") else path
        return Price(path=path, cost=ask.cost)

    def url(self, ask: Ask) -> str:
        """The whole address of a request."""
        return self._transport.url(ask)

    async def send(self, ask: Ask, permit: Permit) -> Answer:
        """One attempt: the answer, whatever its status, but no 401 or 403 that no rule names.

        A request that is refused with a bearer is sent once more with another; that
        takes a second token, for some APIs count what they refuse.
        """
        shared = _OneToken(permit, self.price(ask), self.settings.budget)
        answer, bearer = await self._attempt(ask, shared)
        refused = _refused(ask, answer)
        if refused is None:
            return answer
        auth = self._bought
        if auth is not None and bearer is not None and auth.renews(bearer, refused):
            answer, bearer = await self._attempt(ask, shared)
            if _refused(ask, answer) is None:
                return answer
            if bearer is not None:
                auth.doubt(bearer)
        if answer.rule is not None and answer.rule.then != "login":
            return answer
        raise self._denied(ask, answer)

    async def _attempt(self, ask: Ask, permit: "_OneToken") -> tuple[Answer, Bearer | None]:
        auth = self._bought
        bearer = None if auth is None else await auth.bearer(permit)
        async with self._slots:
            await permit.spend(permit.price)
            signed = _Signed(self._headers, permit, self._static, auth, bearer, permit.price)
            answer = await self._transport.exchange(ask, permit, signing=signed)
            self._heed(answer, permit)
        if ask.rules:
            answer = attrs.evolve(answer, rule=rule_of(ask.rules, answer))
        return answer, signed.bearer

    def _heed(self, answer: Answer, permit: Permit) -> None:
        """Pass on what the answer says is left; of a refusal the retry says what follows."""
        if not self.settings.ratelimit_headers or answer.status == 429 or answer.status >= 500:
            return
        said = told(answer.headers)
        if said.quotas:
            permit.told(said.quotas)
        if said.nonsense and self.misread is not None:
            hear, self.misread = self.misread, None
            hear(self.redactor.text(said.nonsense))

    async def _login(self, ask: Ask, permit: Permit) -> Answer:
        if self._login_transport is not None:
            # Another server: our headers, which may hold secrets, are none of its business.
            return await self._login_transport.exchange(ask, permit)
        answer = await self._transport.exchange(
            ask, permit, signing=_Signed(self._headers, permit, None)
        )
        self._heed(answer, permit)
        return answer

    def _denied(self, ask: Ask, answer: Answer) -> AccessDenied:
        said = f"{ask} answered {answer.status}: {excerpt(answer.body, self.redactor)}"
        if answer.rule is not None:
            said = with_words(answer.rule, said)
        if self.settings.auth is None:
            return AccessDenied(said, hint="The source has no `auth`; the API wants one")
        if self._bought is None and answer.status == 401:
            mended = mended_by(*attrs.asdict(self.settings.auth, recurse=False).values())
            return AccessDenied(said, hint=f"Correct the source's credentials, then {mended}")
        if answer.status == 403 and answer.rule is None:
            return AccessDenied(said, hint="The account lacks the right to this; the login works")
        return AccessDenied(said, hint="The login works, but its bearer is refused here")

    def _known(self, value: "str | Secret") -> str:
        if isinstance(value, Secret):
            self.redactor.add(value.reveal())
            return value.reveal()
        return value


def _refused(ask: Ask, answer: Answer) -> int | None:
    """As which status an answer refuses the credentials: 401, or the less certain 403.

    A 401 comes before any rule: a bearer that has ended is no matter of theirs.
    """
    rule = answer.rule
    if rule is None:
        return answer.status if answer.status in (401, 403) else None
    if rule.then == "login":
        # Else its call may have been carried out, and is not sent again.
        return 401 if not ask.once or turned_away(rule, answer.status) else None
    return 401 if answer.status == 401 else None


@attrs.define(eq=False)
class _Signed:
    """What a request carries, with a bearer that holds when it is written: fulfils `Signing`.

    It may have grown old while we waited for the token, or for another one just before the
    first byte.
    """

    headers: Mapping[str, str | bytes] = attrs.field(repr=False)
    _permit: Permit
    _static: httpx.Auth | None
    _bought: Bought | None = None
    bearer: Bearer | None = None
    _price: Price = PLAIN

    @property
    def holds(self) -> bool:
        return self.bearer is None or self.bearer.holds

    async def auth(self) -> httpx.Auth | None:
        if self._bought is not None and not self.holds:
            # A login that costs budget takes the token we have, and we another.
            self.bearer = await self._bought.bearer(self._permit)
            await self._permit.spend(self._price)
        return self._static if self.bearer is None else self.bearer.auth


@attrs.define(eq=False)
class _OneToken:
    """Lets a login and the request after it share one permit: spends only if nothing is held.

    What costs something else, or of other limits, is no use: it is given back.
    """

    _permit: Permit
    price: Price
    """The request's own."""

    _limits: Sequence[BudgetSettings] = ()
    _held: Price | None = attrs.field(default=None, init=False)

    @property
    def sent(self) -> int:
        return self._permit.sent

    async def spend(self, price: Price = PLAIN) -> None:
        if self._held is None or not self._same(self._held, price):
            self._held = None
            await self._permit.spend(price)
            self._held = price

    def _same(self, one: Price, other: Price) -> bool:
        """Whether both take as many tokens of the same limits."""
        counted = (limit.counts(one.path) == limit.counts(other.path) for limit in self._limits)
        return one.cost == other.cost and all(counted)

    async def confirm(self) -> None:
        await self._permit.confirm()

    async def pause(self, seconds: float) -> None:
        await self._permit.pause(seconds)

    def written(self) -> None:
        self._held = None
        self._permit.written()

    def answered(self) -> None:
        self._held = None
        self._permit.answered()

    def refused(self) -> None:
        self._permit.refused()

    def told(self, quotas: Sequence[Quota]) -> None:
        self._permit.told(quotas)
