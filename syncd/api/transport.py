"""How does one request reach the API, and what is known of it if no answer comes?

All of httpx is behind this module.  Each exchange has one deadline from the first
packet to the last byte; while the permit waits for the budget the deadline stands
still.  Errors leave here as ours, and say whether the request can have been acted on.

Each connection is a pool of its own to httpcore: one of many looks at all of them, with
two calls of the kernel for each, whenever a request begins and whenever one ends.

Hazards, each reproduced on httpcore 1.0.9: requests that are cancelled while they
queue in its pool lose its slots for good (so none queues there: a connection is one
request's at a time, and a PoolTimeout throws it away); its timeouts are for each
read (so none is used); following a redirect may carry headers off the origin (so
none is followed).
"""

import functools
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

import attrs
import httpx
import trio

from syncd import __version__
from syncd.api.body import ACCEPTED, read_body
from syncd.api.exchange import Answer, Ask, Exchange, Heard
from syncd.errors import ApiUnavailable, UnexpectedAnswer
from syncd.sync.events import Purpose, Trouble
from syncd.sync.ports import Permit

MAX_AGE = 300.0  # seconds; then another connection is opened, which looks up the name again
POOL_TIMEOUT = 5.0  # seconds in httpcore's own queue, which should always be empty

OURS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", ACCEPTED.encode()),
    (b"Connection", b"keep-alive"),
    (b"User-Agent", f"syncd/{__version__}".encode()),
)
"""Headers of each request that has none of its own by their names."""


@functools.cache
def shared_ssl_context() -> ssl.SSLContext:
    """One for the whole process: each costs 0.9 MiB and 39 ms."""
    return ssl.create_default_context()


@functools.cache
def _unused_ssl_context() -> ssl.SSLContext:
    """For where there is no TLS: it trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@attrs.define(eq=False)
class _Connection:
    """One connection, or the place of one, and of one request at a time."""

    transport: httpx.AsyncHTTPTransport
    born: float
    since: float
    """When it was given back the last time."""


class Signing(Protocol):
    """What a request carries in its source's name."""

    @property
    def headers(self) -> Mapping[str, str | bytes]:
        """The source's own."""

    @property
    def holds(self) -> bool:
        """Whether the credentials that were given last can still be sent."""

    async def auth(self) -> httpx.Auth | None:
        """The credentials, bought anew if they don't hold; raises what a login raises."""


class _IdledError(Exception):
    """The budget made the request wait for too long: nothing was written.

    Its connection may be closed by now, or its bearer too old.
    """


@attrs.define(eq=False)
class Transport:
    """Sends requests to one origin.

    Each that is under way has a connection: how many there may be is for the callers to see to.
    """

    base_url: str
    timeout: float
    keepalive: float
    max_body: int
    ssl_context: ssl.SSLContext | None = None
    heard: Heard | None = None
    rebuilt: int = attrs.field(default=0, init=False)
    """How often a connection was thrown away because httpcore had lost its slot."""

    under_way: Counter[Purpose] = attrs.field(factory=Counter, init=False)
    """Requests now on their way, by what they are for."""

    _free: list[_Connection] = attrs.field(factory=list, init=False)
    """Those that no request has, the one that was given back last at the end."""

    _closed: bool = attrs.field(default=False, init=False)
    _origin: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        base = httpx.URL(self.base_url)
        self._origin = f"{base.scheme}://{base.netloc.decode()}"
        # At INFO they write whole URLs, at DEBUG the Authorization header.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def url(self, ask: Ask) -> str:
        """The whole address of a request; UnexpectedAnswer if there can be none."""
        return str(self._url(ask))

    async def exchange(self, ask: Ask, permit: Permit, *, signing: Signing | None = None) -> Answer:
        """Send one request whose permit has been spent, and read its answer."""
        url, headers = self._url(ask), _headers(ask, signing)
        patience = max(self.keepalive, 1.0)
        try:
            auth = None if signing is None else await signing.auth()
            # What did not even outlast its own making can't do better another time.
            aging = signing if signing is not None and signing.holds else None
            return await self._fly(_Flight(ask, permit, patience, aging), url, headers, auth)
        except _IdledError:
            # Once: the second connection is used however long the budget makes it wait.
            auth = None if signing is None else await signing.auth()
            return await self._fly(_Flight(ask, permit, float("inf"), None), url, headers, auth)

    async def _fly(
        self,
        flight: "_Flight",
        url: httpx.URL,
        headers: list[tuple[bytes, bytes]],
        auth: httpx.Auth | None,
    ) -> Answer:
        ask = flight.ask
        async with self._counted(ask.purpose), self._borrow() as connection:
            try:
                with trio.fail_after(self.timeout) as flight.scope:
                    request = self._request(flight, url, headers, auth)
                    response = await connection.transport.handle_async_request(request)
                    async with aclosing(response):
                        flight.status = response.status_code
                        told = {k.lower(): v for k, v in response.headers.items()}
                        encoding = told.get("content-encoding", "")
                        body = await read_body(response.aiter_raw(), encoding, self.max_body)
                        flight.permit.answered()
                        self._tell(flight, response.status_code)
                        return Answer(status=response.status_code, headers=told, body=body)
            except trio.TooSlowError:
                self._tell(flight, None, "timeout")
                raise flight.late(self.timeout) from None
            # UnicodeError: a host name that passes for one until IDNA looks at it.
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
                if isinstance(error, httpx.PoolTimeout):
                    self.rebuilt += 1
                    self._tell(flight, None, "pool")
                else:
                    self._tell(flight, None, "lost" if flight.writing else "unreachable")
                raise flight.translated(error, url) from error
            except ApiUnavailable as error:  # the body broke off
                self._tell(flight, None, "lost")
                raise flight.lost(str(error)) from None
            except UnexpectedAnswer as error:  # the body is too long, or no such encoding
                self._tell(flight, None, "lost")
                raise UnexpectedAnswer(f"{ask}: {error.reason}", hint=error.hint) from None

    def _request(
        self,
        flight: "_Flight",
        url: httpx.URL,
        headers: list[tuple[bytes, bytes]],
        auth: httpx.Auth | None,
    ) -> httpx.Request:
        own = {name.lower() for name, _ in headers}
        queued = min(POOL_TIMEOUT, self.timeout / 2)
        request = httpx.Request(
            flight.ask.method,
            url,
            headers=[*(pair for pair in OURS if pair[0].lower() not in own), *headers],
            content=flight.ask.body,
            # The whole exchange has a deadline of ours; what makes one wait has lost its slot.
            extensions={"trace": flight.trace, "timeout": {"pool": queued}},
        )
        return request if auth is None else next(auth.sync_auth_flow(request))

    def _tell(self, flight: "_Flight", status: int | None, trouble: Trouble = "") -> None:
        if self.heard is not None:
            took = trio.current_time() - flight.began
            self.heard(Exchange(ask=flight.ask, status=status, trouble=trouble, seconds=took))

    def _url(self, ask: Ask) -> httpx.URL:
        """On base_url's origin, always: no path can lead off it."""
        start = self._origin if ask.rooted else self.base_url
        text = start.rstrip("/") + "/" + ask.path.lstrip("/")
        try:
            if ask.params and not {"?", "#"} & set(text):
                return httpx.URL(f"{text}?{httpx.QueryParams(ask.params)}")
            # Params of its own are kept; those that go with it take the place of equal ones.
            url = httpx.URL(text)
            return url.copy_merge_params(ask.params) if ask.params else url
        except httpx.InvalidURL:
            raise UnexpectedAnswer(
                f"{ask.method}: the address cannot be built", hint="Check base_url and path"
            ) from None

    @asynccontextmanager
    async def _counted(self, purpose: Purpose) -> AsyncIterator[None]:
        self.under_way[purpose] += 1
        try:
            yield
        finally:
            self.under_way[purpose] -= 1

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[_Connection]:
        now = trio.current_time()
        await self._close_old(now)
        connection = (
            self._free.pop() if self._free else _Connection(self._transport(), born=now, since=now)
        )
        try:
            yield connection
        except BaseException:
            # It is of no use: closed, or cancelled at a moment that httpcore does not survive.
            await _close(connection)  # noqa: ASYNC102 - shields itself
            raise
        await self._give_back(connection)

    async def _give_back(self, connection: _Connection) -> None:
        connection.since = trio.current_time()
        if self._closed:
            await _close(connection)
            return
        self._free.append(connection)
        await self._close_old(connection.since)

    async def _close_old(self, now: float) -> None:
        """Those that have not been used for long, and those whose name is to be looked up again."""
        old = [connection for connection in self._free if self._is_old(connection, now)]
        if old:
            self._free = [connection for connection in self._free if connection not in old]
            for connection in old:
                await _close(connection)

    def _is_old(self, connection: _Connection, now: float) -> bool:
        return now - connection.since > self.keepalive or now - connection.born >= MAX_AGE

    def _transport(self) -> httpx.AsyncHTTPTransport:
        # An httpx client would keep cookies, follow redirects and log in anew; we want none of it.
        return httpx.AsyncHTTPTransport(
            verify=self.ssl_context or self._tls(),
            http1=True,
            http2=False,
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=self.keepalive
            ),
            trust_env=False,
        )

    def _tls(self) -> ssl.SSLContext:
        if httpx.URL(self.base_url).scheme == "https":
            return shared_ssl_context()
        return _unused_ssl_context()

    async def aclose(self) -> None:
        """Close all of them; those that requests have, when these are over."""
        self._closed = True
        while self._free:
            await _close(self._free.pop())


async def _close(connection: _Connection) -> None:
    # Also while we are being cancelled: a socket is closed, nothing is awaited for long.
    with trio.move_on_after(2, shield=True):
        await connection.transport.aclose()


def _headers(ask: Ask, signing: Signing | None) -> list[tuple[bytes, bytes]]:
    own = {} if signing is None else signing.headers
    # httpx would refuse what is not ASCII; servers that take it at all take UTF-8.
    return [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in {**own, **ask.headers}.items()
    ]


@attrs.define(eq=False)
class _Flight:
    """What is known of one request on its way, as httpcore's trace tells it."""

    ask: Ask
    permit: Permit
    patience: float
    """A new connection that the budget keeps waiting for longer may be closed by then."""

    signing: Signing | None
    """To be looked at once more before it is written; None: it is sent as it is."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    reused: bool = attrs.field(default=True, init=False)
    """On a kept-alive connection; a new one says so by connecting."""

    began: float = attrs.field(factory=trio.current_time, init=False)
    """When its first byte was about to be written; before that, when it was begun."""

    writing: bool = attrs.field(default=False, init=False)
    status: int | None = attrs.field(default=None, init=False)
    """The answer's, from when its head has come."""

    async def trace(self, event: str, _: object) -> None:
        """Called by httpcore at each step; what is raised here closes the connection."""
        match event:
            case "connection.connect_tcp.started":
                self.reused = False
            case "http11.send_request_headers.started":
                await self._confirm()
                self.writing, self.began = True, trio.current_time()
            case "http11.send_request_body.complete":
                self.permit.written()

    async def _confirm(self) -> None:
        # Waiting for the budget is not the API's slowness: the clock stands still.
        began = trio.current_time()
        left = self.scope.deadline - began
        self.scope.deadline = float("inf")
        try:
            await self.permit.confirm()
        finally:
            waited = trio.current_time() - began
            self.scope.deadline = trio.current_time() + left
        if waited > self.patience or (self.signing is not None and not self.signing.holds):
            raise _IdledError

    def lost(
        self, reason: str, *, stale: bool = False, unread: bool = False, untrusted: bool = False
    ) -> ApiUnavailable:
        return ApiUnavailable(
            f"{self.ask}: {reason}",
            sent="unknown" if self.writing and not unread else "no",
            stale_connection=stale,
            untrusted=untrusted,
        )

    def late(self, timeout: float) -> ApiUnavailable:
        if self.status is None:
            return self.lost(f"no answer within {timeout:g} s")
        return self.lost(f"the answer ({self.status}) was not complete within {timeout:g} s")

    def translated(self, error: Exception, url: httpx.URL) -> Exception:
        """The one table from httpx's errors to ours."""
        name = url.raw_host.decode("ascii", "replace")
        host = f"{name}:{url.port}" if url.port else name
        match error:
            case httpx.PoolTimeout():
                return self.lost("no connection was free; another one is opened")
            case httpx.ConnectError() | httpx.ConnectTimeout():
                refused = refused_certificate(error)
                unknown = refused is not None and refused.verify_code in UNKNOWN_ISSUER
                todo = "; to trust it, name its CA in `tls.ca`" if unknown else ""
                return self.lost(
                    f"cannot connect to {host}: {cause(error)}{todo}",
                    untrusted=refused is not None,
                )
            case (
                UnicodeError()
                | httpx.InvalidURL()
                | httpx.UnsupportedProtocol()
                | httpx.LocalProtocolError()
            ):
                return UnexpectedAnswer(
                    f"{self.ask}: the request cannot be built",
                    hint="Check base_url, path and headers",
                    refused=True,
                )
            case _ if self.status is not None:
                return self.lost(f"the answer broke off ({cause(error)})")
            case _ if self.writing and not self.reused and refuses_our_certificate(error):
                # In TLS 1.3 that is told after we have begun to write; nothing of it was read.
                return self.lost(
                    f"the server refuses our certificate, or misses it ({cause(error)}); see `tls`",
                    unread=True,
                )
            case _ if self.writing:
                # Closed before any answer: the server had given up the idle connection.
                return self.lost(
                    f"the connection was lost before an answer came ({cause(error)})",
                    stale=self.reused and not isinstance(error, httpx.TimeoutException),
                )
            case _:
                return self.lost(f"the connection was lost ({cause(error)})")


OF_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""In the names of the alerts by which a server ends a handshake for our certificate's sake
(RFC 8446, section 6.2)."""


def refuses_our_certificate(error: BaseException) -> bool:
    """Whether the server's alert says so."""
    for seen in _chain(error):
        if isinstance(seen, ssl.SSLError) and "_ALERT_" in (seen.reason or ""):
            return any(word in seen.reason for word in OF_CERTIFICATES)
    return False


UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""OpenSSL's verify codes of a certificate that leads to none that we trust; 18 and 19 are the
self-signed ones."""


def refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Why the server's certificate was refused; None if it was not."""
    found = (seen for seen in _chain(error) if isinstance(seen, ssl.SSLCertVerificationError))
    return next(found, None)


def cause(error: BaseException) -> str:
    """The root's own words: httpcore often raises without any."""
    words = str(error)
    for seen in _chain(error):
        if isinstance(seen, ssl.SSLCertVerificationError):
            # As OpenSSL says it: those words are what people search for.
            return f"TLS: certificate verify failed: {seen.verify_message.rstrip('.')}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS: {seen.reason or seen.strerror or 'handshake failed'}"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        words = words or str(seen)
    return words.rstrip(".").lower() or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came of."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        if isinstance(seen, BaseExceptionGroup):  # trio tried several addresses
            seen = seen.exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__
