"""A list behind a door, in every way that a config can open one, by a server that a test leads.

Twenty things by page number (`tests.daemon.listing`), and a call for each.  Whoever asks shows a
secret, or a token that a login has sold, or a certificate.

    a token ends         `api.life` says when the tokens end that are sold next; `api.expire()` now
    credentials end      `api.revoke()`; `api.secret` is then what the operator has to be given
    a used refresh token ends the whole family, as RFC 9700 (section 4.14.2) asks for
"""

import base64
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import trio
import trustme

from syncd.config.auth import KINDS
from tests.daemon.listing import PATH, SIZE, THINGS, Listing, Number
from tests.daemon.serving import Answer, Asked, Gate, Herd, served

LONG = 3600.0  # seconds; a token that does not end in a test
USER = "me"
TOKEN_URL = "/oauth/token"
SECRET = "{{ file = '{folder}/secret' }}"


class Way:
    """How an account is told apart from others."""

    name: str
    """As docs/guarantees.md has it."""

    auth: str
    """The source's table `auth`, or what stands in its place."""

    sells: bool = False
    """A login sells a token."""

    def shown(self, asked: Asked) -> str | None:  # noqa: ARG002 - one of them has none
        """The secret that a request shows, or its token."""
        return None

    def login(self, asked: Asked) -> str | None:  # noqa: ARG002 - most have none
        """The secret that a login shows."""
        return None

    def __str__(self) -> str:
        return self.name


class Nobody(Way):
    name, auth = "no auth", ""


class Basic(Way):
    name = "basic"
    auth = f'[sources.api.auth]\nkind = "basic"\nusername = "{USER}"\npassword = {SECRET}'

    def shown(self, asked: Asked) -> str | None:
        return of_basic(asked, USER)


class Bearer(Way):
    name, auth = "bearer", f'[sources.api.auth]\nkind = "bearer"\ntoken = {SECRET}'

    def shown(self, asked: Asked) -> str | None:
        return of_bearer(asked)


class HeaderKey(Way):
    name, auth = "api-key in a header", f'[sources.api.auth]\nkind = "api-key"\nkey = {SECRET}'

    def shown(self, asked: Asked) -> str | None:
        return asked.headers.get("x-api-key")


class QueryKey(Way):
    name = "api-key in the query"
    auth = f'[sources.api.auth]\nkind = "api-key"\nkey = {SECRET}\nquery = "api_key"'

    def shown(self, asked: Asked) -> str | None:
        return asked.params.get("api_key")


class Sold(Way):
    sells = True

    def shown(self, asked: Asked) -> str | None:
        return of_bearer(asked)


class Token(Sold):
    name = "token"
    auth = (
        f'[sources.api.auth]\nkind = "token"\nurl = "{TOKEN_URL}"\nusername = "{USER}"\n'
        f"password = {SECRET}"
    )

    def login(self, asked: Asked) -> str | None:
        return of_basic(asked, USER)


class Client(Sold):
    name = "client-credentials"
    auth = (
        f'[sources.api.auth]\nkind = "client-credentials"\nurl = "{TOKEN_URL}"\n'
        f'client_id = "{USER}"\nclient_secret = {SECRET}'
    )

    def login(self, asked: Asked) -> str | None:
        granted = asked.form.get("grant_type") == "client_credentials"
        return of_basic(asked, USER) if granted else None


class Refresh(Sold):
    name = "refresh-token"
    auth = (
        f'[sources.api.auth]\nkind = "refresh-token"\nurl = "{TOKEN_URL}"\n'
        f'client_id = "{USER}"\nrefresh_token = {SECRET}'
    )

    def login(self, asked: Asked) -> str | None:
        granted = asked.form.get("grant_type") == "refresh_token"
        return asked.form.get("refresh_token") if granted else None


class Certificate(Way):
    name = "certificate"
    auth = (
        "[sources.api.tls]\nca = {{ file = '{folder}/ca' }}\ncert = {{ file = '{folder}/secret' }}"
    )


ALL = (
    *(Nobody(), Basic(), Bearer(), HeaderKey(), QueryKey()),
    *(Token(), Client(), Refresh(), Certificate()),
)
SOLD = tuple(way for way in ALL if way.sells)


def of_config(way: Way) -> str | None:
    """The `kind` that the config has for it; None for what is no table `auth`."""
    return next((name for name in KINDS if f'kind = "{name}"' in way.auth), None)


def of_basic(asked: Asked, user: str) -> str | None:
    kind, _, text = asked.headers.get("authorization", "").partition(" ")
    if kind != "Basic":
        return None
    name, _, password = base64.b64decode(text).decode().partition(":")
    return password if name == user else None


def of_bearer(asked: Asked) -> str | None:
    kind, _, token = asked.headers.get("authorization", "").partition(" ")
    return token if kind == "Bearer" else None


@attrs.define(eq=False)
class Api:
    """The list, its door, and what was seen there."""

    way: Way
    folder: Path
    """Where the secrets lie that the config names."""

    base_url: str = attrs.field(default="", init=False)
    secret: str = attrs.field(default="", init=False)
    """What opens the door, or buys a token."""

    life: float = attrs.field(default=LONG, init=False)
    """Of the tokens that are sold from now on."""

    listing: Listing = attrs.field(factory=lambda: Listing(Number()), init=False)
    asked: list[Asked] = attrs.field(factory=list, init=False)
    """Each list request, let in or not."""

    refused: list[Asked] = attrs.field(factory=list, init=False)
    """Each request that was not let in."""

    logins: list[Asked] = attrs.field(factory=list, init=False)
    called: Counter[int] = attrs.field(factory=Counter, init=False)
    """Calls that were carried out, by record."""

    together: Herd | None = attrs.field(default=None, init=False)
    """Where those gather that are refused."""

    login_gate: Gate | None = attrs.field(default=None, init=False)
    """Where logins are held before anything comes of them."""

    families_ended: int = attrs.field(default=0, init=False)
    """How often a used refresh token came again."""

    handshakes: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _tokens: dict[str, float] = attrs.field(factory=dict, init=False)
    """Those that were sold, and when they end."""

    _used: set[str] = attrs.field(factory=set, init=False)
    _gates: dict[int, Gate] = attrs.field(factory=dict, init=False)
    _authority: trustme.CA = attrs.field(factory=trustme.CA, init=False)
    _trusted: trustme.CA = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._trusted = self._authority
        (self.folder / "ca").write_bytes(self._authority.cert_pem.bytes())
        self.renew()

    # --- what the test does ---------------------------------------------------------------------

    def gate(self, number: int) -> Gate:
        """Hold the answer to that list request (1: the first of all), once it was let in."""
        return self._gates.setdefault(number, Gate())

    def expire(self) -> None:
        """No token that was sold is good any more."""
        self._tokens.clear()

    async def wait_expired(self) -> None:
        """Until all that were sold have ended by themselves."""
        await trio.sleep_until(max(self._tokens.values()))

    def revoke(self) -> None:
        """Neither the credentials nor what they have bought are good any more."""
        self._closed, self.secret = True, ""
        self._trusted = trustme.CA()
        self.expire()

    def renew(self, *, until: datetime | None = None) -> None:
        """Let in whoever has the secret that the operator finds in the file from now on."""
        self._closed = False
        number = len(list(self.folder.iterdir()))
        self.secret = f"canary-{number}-{self.way.name.replace(' ', '-')}"
        text = self._certificate(until) if isinstance(self.way, Certificate) else self.secret
        (self.folder / "secret").write_text(text, encoding="utf-8")

    # --- what the server does -------------------------------------------------------------------

    async def answer(self, asked: Asked) -> Answer:
        if asked.path == TOKEN_URL:
            self.logins.append(asked)
            if self.login_gate is not None:
                await self.login_gate.passed()
            return self._login(asked)
        in_, number = self._lets_in(asked), 0
        if asked.path == PATH:
            self.asked.append(asked)
            number = len(self.asked)
        if not in_:
            self.refused.append(asked)
            if self.together is not None:
                await self.together.gathered()
            return Answer(status=401, body={"error": "unauthorized"})
        if number in self._gates:
            await self._gates[number].passed()
        if asked.path != PATH:
            self.called[int(asked.path.split("/")[2])] += 1
            return Answer(body={"called": 1})
        answer = await self.listing.answer(asked)
        # Each request shows its certificate anew.
        closing = {"Connection": "close"} if isinstance(self.way, Certificate) else {}
        return attrs.evolve(answer, headers={**answer.headers, **closing})

    def _lets_in(self, asked: Asked) -> bool:
        shown = self.way.shown(asked)
        if self.way.sells:
            return trio.current_time() < self._tokens.get(shown or "", 0.0)
        if isinstance(self.way, Nobody | Certificate):
            return not self._closed or isinstance(self.way, Certificate)
        return not self._closed and shown == self.secret

    def _login(self, asked: Asked) -> Answer:
        shown = self.way.login(asked)
        if shown in self._used:
            self.families_ended += 1
            self.revoke()
        if self._closed or shown != self.secret:
            return Answer(status=400, body={"error": "invalid_grant"})
        token = f"canary-token-{len(self.logins)}"
        self._tokens[token] = trio.current_time() + self.life
        sold: dict[str, Any] = {"access_token": token, "expires_in": self.life}
        if isinstance(self.way, Refresh):
            self._used.add(self.secret)
            self.secret = sold["refresh_token"] = f"canary-refresh-{len(self.logins)}"
        return Answer(body=sold)

    # --- certificates ---------------------------------------------------------------------------

    def context(self) -> ssl.SSLContext:
        """For the next connection: we show our own, and want one that leads to whom we trust."""
        self.handshakes += 1
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("127.0.0.1").configure_cert(context)
        self._trusted.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _certificate(self, until: datetime | None) -> str:
        until = until or datetime.now(UTC) + timedelta(days=1)
        ours = self._trusted.issue_cert("syncd.example.org", not_after=until)
        chain = "".join(part.bytes().decode() for part in ours.cert_chain_pems)
        return chain + ours.private_key_pem.bytes().decode()


@asynccontextmanager
async def guarded(way: Way, folder: Path) -> AsyncIterator[Api]:
    """A server of twenty things, with one account."""
    secrets = folder / "secrets"
    secrets.mkdir()
    api = Api(way, secrets)
    tls = isinstance(way, Certificate)
    async with served(api.answer, api.context if tls else None) as port:
        api.base_url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        yield api


def config(
    api: Api,
    database: str,
    *,
    size: int = SIZE,
    streams: int = 1,
    source: str = "",
    auth: str = "",
    call: str = "",
    kept: bool = True,
) -> str:
    """A config with streams of that list, the first one `api.things`.

    kept: what logins buy outlasts the process.
    """
    key = base64.b64encode(bytes(range(32))).decode()
    (api.folder / "token-key").write_text(key, encoding="ascii")
    head = f"""
{f"token_key = {{ file = '{api.folder}/token-key' }}" if kept else ""}
[database]
url = '{database}'
[sources.api]
base_url = "{api.base_url}"
timeout = "30s"
backoff = "20ms"
connections = {THINGS if call else streams}
{source}
{api.way.auth.format(folder=api.folder)}
{auth}
"""
    names = ["things", *(f"things{n}" for n in range(1, streams))]
    return head + "".join(_stream(name, size, call) for name in names)


def _stream(name: str, size: int, call: str) -> str:
    return f"""
[sources.api.streams.{name}]
every = "1d"
path = "{PATH}"
records = "data"
key = ["id"]
columns = {{ id = "bigint", name = "text"{', called = "bigint"' if call else ""} }}
page = {{ size = {size}, total = "total" }}
{call.format(stream=name)}
"""
