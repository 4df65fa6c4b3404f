"""Who may read, who may write, and how often?

Reading is open where only this host's own users come in; elsewhere it needs the token, and so do
whole records, which Postgres does not show to each of them.  Writing always needs it, in a header
that no other site's page can send.

The right token is let in whatever others have tried: so a guesser locks nobody out.  What
keeps him out is the token itself, of 16 characters at least; his tries are answered 429 from
the tenth in a minute on, and are told and remembered, thinned.
"""

import hmac
import re
from collections.abc import Callable
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import attrs
import trio
from starlette.requests import Request

from syncd.admin.limits import Allowance, Thinned
from syncd.config.settings import AdminSettings, Secret
from syncd.sync.asking import Asker, Deed

PORT = re.compile(r":[0-9]{1,5}\Z")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
LARGEST = 64 * 1024  # bytes of a request's body
DISCARDED = 1024 * 1024  # bytes of a larger one that are read, so that its answer is
READING = 10.0  # seconds for a body to come
CLOSE = {"Connection": "close"}
LONGEST = 200  # characters of what a client says of itself
TOLD = 60.0  # seconds between two entries about the same kind of refusal
WRONG = "wrong token"
ELSEWHERE = ("many places", "for several reasons")


class Refused(Exception):
    """A request that is not carried out, and why."""

    def __init__(
        self,
        status: int,
        sentence: str,
        headers: dict[str, str] | None = None,
        *,
        last: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}
        self.last = last
        """The connection is of no use afterwards: what it still sends is not read."""


@attrs.define(eq=False, kw_only=True)
class Entry:
    """Looks at who comes."""

    settings: Callable[[], AdminSettings]
    note: Callable[[Deed], None]
    """Remembers what was refused."""

    tell: Callable[[str, int], None]
    """Tells the log of wrong tokens: from where, and how many."""

    _writes: Allowance = attrs.field(factory=lambda: Allowance(most=30, per=60.0), init=False)
    _wrong: Allowance = attrs.field(factory=lambda: Allowance(most=10, per=60.0), init=False)
    _thinned: Thinned = attrs.field(factory=lambda: Thinned(every=TOLD), init=False)
    _staying: WeakValueDictionary[tuple[str, str], "Staying"] = attrs.field(
        factory=WeakValueDictionary, init=False
    )
    """By the name that was asked for, and the token that came."""

    async def tell_on(self) -> None:
        """Tell of who came again and then no more, until cancelled."""
        while True:
            await trio.sleep(TOLD)
            for what, times in self._thinned.untold(trio.current_time()):
                here, why = what or ELSEWHERE
                self._remember(_nobody(here), why, times)

    def host(self, request: Request) -> None:
        """Refuse a name that is none of ours: its page may be anybody's (DNS rebinding).

        A browser always names one; a health check by HTTP/1.0 may not.
        """
        settings = self.settings()
        if settings.socket is not None or not settings.local:
            return  # a browser can't come through the one, and brings no token to the other
        ours = LOOPBACK | {_bracketed(settings.address[0]), *settings.hosts}
        if "host" in request.headers and _name(request) not in ours:
            raise Refused(
                403,
                "this name is none that the side door answers to; ask for the address in "
                "`admin.listen`, or add the name to `admin.hosts`",
            )

    def reader(self, request: Request) -> None:
        """Let in who may read."""
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "asked from the page of another site")
        settings = self.settings()
        if _needs_token(settings, _name(request)):
            self._token(request, "read")

    def staying(self, request: Request) -> "Staying":
        """Whether who was let in may read on: one object for a crowd that came the same way."""
        came = _name(request), _given(request)
        return self._staying.setdefault(came, Staying(self.settings, *came))

    def of_records(self, request: Request) -> None:
        """Let in who may read whole records: by TCP any user of this host comes in."""
        self.reader(request)
        if self.settings().socket is None:
            self._token(request, "read whole records")

    def keyholder(self, request: Request) -> Asker:
        """Let in who has the token, wherever it comes from."""
        return self._token(request, "read")

    def writer(self, request: Request) -> Asker:
        """Let in who may write now, and say who that is."""
        self._same_origin(request)
        asker = self._token(request, "write")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # What has no body needs no type.  The token keeps other sites' forms out: none can send it.
        if kind != "application/json" and (kind or request.scope["state"]["body"]):
            raise Refused(415, "send `Content-Type: application/json`")
        wait = self._writes.spend(trio.current_time())
        if wait:
            self._refused(asker, request, "too many requests")
            raise Refused(429, "more than 30 requests in a minute; wait", _later(wait))
        return asker

    def _same_origin(self, request: Request) -> None:
        site = request.headers.get("sec-fetch-site", "none")
        came_from = request.headers.get("origin")
        place = urlsplit(came_from or "").netloc.lower()
        ours = place == _host(request) or PORT.sub("", place) in self.settings().hosts
        other = came_from is not None and not ours
        if other or site not in ("none", "same-origin"):
            self._refused(_stranger(request), request, "from the page of another site")
            raise Refused(403, "asked from the page of another site")

    def _token(self, request: Request, why: str) -> Asker:
        token = self.settings().token
        if token is None:
            raise Refused(403, "no token is configured (`admin.token`), so nobody may do this")
        given = _given(request)
        if not given:
            raise Refused(
                401,
                f"this needs the token, to {why}: `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": 'Bearer realm="syncd"'},
            )
        if _right(given, token):
            return Asker(who=f"the token from {token.origin}", origin=origin(request))
        stranger = _stranger(request)
        self._refused(stranger, request, WRONG)
        wait = self._wrong.spend(trio.current_time())
        if wait:
            raise Refused(429, "wrong token, and too many of them", _later(wait))
        challenge = 'Bearer realm="syncd", error="invalid_token"'
        raise Refused(401, WRONG, {"WWW-Authenticate": challenge})

    def _refused(self, asker: Asker, request: Request, why: str) -> None:
        # By where it comes from, not by what it says of that.
        here = str(request.scope["state"]["connection"].origin)
        times = self._thinned.happened(trio.current_time(), here, why)
        if times:
            self._remember(asker, why, times, f"{request.method} {request.url.path}"[:LONGEST])

    def _remember(self, asker: Asker, why: str, times: int, subject: str = "") -> None:
        answer = f"{why} ({times} times since the last entry)" if times > 1 else why
        self.note(Deed(asker=asker, what="refused", subject=subject, ok=False, answer=answer))
        if why == WRONG:
            self.tell(asker.origin, times)


@attrs.define(eq=False)
class Staying:
    """Whether who reads for long may go on to, told whenever it is called: a reload may end it."""

    _settings: Callable[[], AdminSettings]
    _name: str
    _given: str = attrs.field(repr=False)

    def __call__(self) -> bool:
        settings = self._settings()
        if not _needs_token(settings, self._name):
            return True
        return settings.token is not None and _right(self._given, settings.token)


def _needs_token(settings: AdminSettings, name: str) -> bool:
    """Whether one needs it to read; by a proxy's name come those whom it lets in, from wherever."""
    return not settings.local or name in settings.hosts


def _given(request: Request) -> str:
    """The token that somebody brings; empty if none."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _right(given: str, token: Secret) -> bool:
    return hmac.compare_digest(given.encode(), token.reveal().encode())


async def body_of(request: Request) -> bytes:
    """What was sent with a request; Refused if it is too much, or does not come."""
    read, over = b"", 0
    with trio.move_on_after(READING):
        async for piece in request.stream():
            if len(read) + len(piece) <= LARGEST and not over:
                read += piece
                continue
            over += len(piece)
            if over > DISCARDED:
                break
        if over:
            raise Refused(413, "more than 64 KiB", CLOSE, last=over > DISCARDED)
        return read
    raise Refused(400, "the request's body did not come in time", CLOSE, last=True)


def origin(request: Request) -> str:
    """From where a request comes, as far as we know, and as it says."""
    here = request.scope["state"]["connection"].origin
    forwarded = request.headers.get("x-forwarded-for", "")[:LONGEST]
    return f"{here}, which says for {forwarded}" if forwarded else str(here)


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower()


def _name(request: Request) -> str:
    """The host's name without its port."""
    return PORT.sub("", _host(request))


def _stranger(request: Request) -> Asker:
    return _nobody(origin(request))


def _nobody(here: str) -> Asker:
    return Asker(who="nobody known", origin=here)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _later(wait: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(wait + 0.5)))}
