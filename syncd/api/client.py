"""In which order are a bearer, a pool slot and a token taken for one request?

The token last: auth first (a login has a connection of its own, so that it never
waits for those who wait for it), then the pool slot, then `permit.spend()`, then a
look whether the bearer still holds after that wait.  `Transport` confirms the
token when the first byte is about to be written.

An ApiClient belongs to one source and is shared by its streams.
"""

import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import attrs
import trio

from syncd.api.auth import CLOCKS, Bearer, Clock, Reread, TokenAuth
from syncd.api.shown import Redactor, excerpt
from syncd.api.transport import Answer, Ask, Heard, Transport
from syncd.config.settings import Secret, SourceSettings
from syncd.errors import AccessDenied
from syncd.sync.events import Purpose
from syncd.sync.ports import Permit

__all__ = ["Answer", "ApiClient", "Ask", "Statistics"]


@attrs.frozen(kw_only=True)
class Statistics:
    """For gauges."""

    in_flight: int
    waiting: int
    """Requests that wait for a pool slot."""

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

    reread: Reread | None = attrs.field(default=None, kw_only=True)
    """The credentials as they stand now, asked for when a login is refused."""

    clocks: tuple[Clock, ...] = attrs.field(default=CLOCKS, kw_only=True)
    redactor: Redactor = attrs.field(factory=Redactor, init=False)
    _slots: trio.CapacityLimiter = attrs.field(init=False)
    _transport: Transport = attrs.field(init=False)
    _auth: TokenAuth | None = attrs.field(init=False)
    _headers: dict[str, str | bytes] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self._slots = trio.CapacityLimiter(settings.connections)
        self._transport = Transport(
            base_url=settings.base_url,
            timeout=settings.timeout,
            # One more than our gate lets through, for the login.
            connections=settings.connections + 1,
            keepalive=settings.keepalive,
            max_body=settings.max_body,
            ssl_context=self.tls,
            heard=self.heard,
        )
        self._headers = {}
        for name, value in settings.headers.items():
            self._headers[name] = self._known(value)
        self._auth = None
        if settings.auth is not None:
            self._known(settings.auth.username)
            self._known(settings.auth.password)
            self._auth = TokenAuth(
                settings.auth,
                self._login,
                self.redactor,
                retry_after=settings.retry_after,
                on_login=self.on_login,
                reread=self.reread,
                clocks=self.clocks,
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
        if self._auth is not None:
            self._auth.forgive()

    async def aclose(self) -> None:
        await self._transport.aclose()

    @property
    def statistics(self) -> Statistics:
        slots = self._slots.statistics()
        return Statistics(
            in_flight=int(slots.borrowed_tokens),
            waiting=slots.tasks_waiting,
            under_way=dict(self._transport.under_way),
            logins=0 if self._auth is None else self._auth.logins,
            pools_rebuilt=self._transport.rebuilt,
        )

    async def send(self, ask: Ask, permit: Permit) -> Answer:
        """One attempt: the answer, whatever its status, but never a 401 or 403.

        A request that is refused with a bearer is sent once more with another; that
        takes a second token, for some APIs count what they refuse.
        """
        shared = _OneToken(permit)
        answer, bearer = await self._attempt(ask, shared)
        refused = (401, 403)
        if answer.status not in refused:
            return answer
        auth = self._auth
        if auth is not None and bearer is not None and auth.renews(bearer, answer.status):
            answer, bearer = await self._attempt(ask, shared)
            if answer.status not in refused:
                return answer
            if bearer is not None:
                auth.doubt(bearer)
        raise self._denied(ask, answer)

    async def _attempt(self, ask: Ask, permit: "_OneToken") -> tuple[Answer, Bearer | None]:
        auth = self._auth
        bearer = None if auth is None else await auth.bearer(permit)
        async with self._slots:
            await permit.spend()
            signed = _Signed(self._headers, permit, auth, bearer)
            return await self._transport.exchange(ask, permit, signing=signed), signed.bearer

    async def _login(self, ask: Ask, permit: Permit, *, headers: dict[str, str | bytes]) -> Answer:
        return await self._transport.exchange(
            ask, permit, signing=_Signed({**self._headers, **headers}, permit)
        )

    def _denied(self, ask: Ask, answer: Answer) -> AccessDenied:
        said = f"{ask} answered {answer.status}: {excerpt(answer.body, self.redactor)}"
        if self._auth is None:
            return AccessDenied(said, hint="The source has no `auth`; the API wants one")
        if answer.status == 403:
            return AccessDenied(said, hint="The account lacks the right to this; the login works")
        return AccessDenied(said, hint="The login works, but its bearer is refused here")

    def _known(self, value: "str | Secret") -> str:
        if isinstance(value, Secret):
            self.redactor.add(value.reveal())
            return value.reveal()
        return value


@attrs.define(eq=False)
class _Signed:
    """A request's headers, with a bearer that holds when it is written: fulfils `Signing`.

    It may have grown old while we waited for the token, or for another one just before the
    first byte.
    """

    _own: Mapping[str, str | bytes] = attrs.field(repr=False)
    _permit: Permit
    _auth: TokenAuth | None = None
    bearer: Bearer | None = None

    @property
    def holds(self) -> bool:
        return self.bearer is None or self.bearer.holds

    async def headers(self) -> Mapping[str, str | bytes]:
        if self._auth is not None and not self.holds:
            # A login that costs budget takes the token we have, and we another.
            self.bearer = await self._auth.bearer(self._permit)
            await self._permit.spend()
        if self.bearer is None:
            return self._own
        return {**self._own, "Authorization": self.bearer.header}


@attrs.define(eq=False)
class _OneToken:
    """Lets a login and the request after it share one permit: spends only if nothing is held."""

    _permit: Permit
    _held: bool = attrs.field(default=False, init=False)

    @property
    def sent(self) -> int:
        return self._permit.sent

    async def spend(self) -> None:
        if not self._held:
            await self._permit.spend()
            self._held = True

    async def confirm(self) -> None:
        await self._permit.confirm()

    def written(self) -> None:
        self._held = False
        self._permit.written()

    def answered(self) -> None:
        self._held = False
        self._permit.answered()

    def refused(self) -> None:
        self._permit.refused()
