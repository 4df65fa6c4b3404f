"""Which request buys a bearer token, and what does its answer hold?  Pure; one class a kind.

Sources: RFC 6749, sections 2.3.1 (the client's credentials), 4.4 (client credentials), 5.1 (the
answer), 5.2 (errors) and 6 (refreshing, with a token that may change each time).
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Protocol

import attrs
import msgspec

from syncd.api.decode import Envelope
from syncd.api.exchange import Ask
from syncd.api.shown import shown
from syncd.config.settings import (
    ClientCredentials,
    Login,
    RefreshToken,
    Secret,
    TokenLogin,
    basic,
    plain,
)
from syncd.errors import UnexpectedAnswer

UNSAID_LIFE = 300.0  # seconds; for logins that do not say how long they are good

OF_OAUTH = ("access_token", "expires_in")
"""Where its answers have the token, and its life in seconds (section 5.1)."""

_BEARER = re.compile(r"[\x21-\x7e]+")
_INTEGER = re.compile(rb"\d{1,12}", re.ASCII)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_JSON = {"Content-Type": "application/json"}


@attrs.frozen(kw_only=True)
class Granted:
    """What a login gave."""

    token: str = attrs.field(repr=False)
    life: float
    """In seconds."""

    refresh: str | None = attrs.field(default=None, repr=False)
    """The refresh token to use the next time, if it gave one."""


class LoginKind(Protocol):
    """One way to buy a token."""

    def ask(self, refresh: str | None) -> Ask:
        """The request; `refresh` is the refresh token that stands now, if this kind has any."""

    def read(self, envelope: Envelope) -> Granted:
        """What a 2xx gave; UnexpectedAnswer if that is not said."""


def login_kind(settings: Login) -> LoginKind:
    match settings:
        case TokenLogin():
            return _Token(settings)
        case ClientCredentials():
            return _Client(settings)
        case RefreshToken():
            return _Refresh(settings)


@attrs.frozen
class _Token:
    settings: TokenLogin

    def ask(self, refresh: str | None) -> Ask:  # noqa: ARG002 - this kind has none
        login = self.settings
        if login.send == "basic":
            credentials = basic(login.username, login.password)
            return _to(login.url, {"Authorization": f"Basic {credentials}"}, None)
        fields = {
            **login.body,
            login.username_field: plain(login.username),
            login.password_field: login.password.reveal(),
        }
        if login.send == "form":
            return _to(login.url, _FORM, urllib.parse.urlencode(fields).encode())
        return _to(login.url, _JSON, json.dumps(fields).encode())

    def read(self, envelope: Envelope) -> Granted:
        return granted(envelope, self.settings.token, self.settings.expires)


@attrs.frozen
class _Client:
    settings: ClientCredentials

    def ask(self, refresh: str | None) -> Ask:  # noqa: ARG002 - this kind has none
        login = self.settings
        fields = {"grant_type": "client_credentials", **_scope(login.scope), **login.body}
        return _of_client(login, login.client_secret, fields)

    def read(self, envelope: Envelope) -> Granted:
        return granted(envelope, *OF_OAUTH)


@attrs.frozen
class _Refresh:
    settings: RefreshToken

    def ask(self, refresh: str | None) -> Ask:
        login = self.settings
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": refresh or login.refresh_token.reveal(),
            **_scope(login.scope),
            **login.body,
        }
        return _of_client(login, login.client_secret, fields)

    def read(self, envelope: Envelope) -> Granted:
        found = granted(envelope, *OF_OAUTH)
        raw = envelope.at("refresh_token")
        if raw is None or raw == b"null":
            return found
        return attrs.evolve(found, refresh=_token(envelope, "refresh_token"))


def _of_client(
    login: ClientCredentials | RefreshToken, secret: Secret | None, fields: Mapping[str, str]
) -> Ask:
    if login.client == "basic" and secret is not None:
        # Each is encoded before they are put together (section 2.3.1).
        pair = ":".join(
            urllib.parse.quote_plus(text) for text in (plain(login.client_id), secret.reveal())
        )
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", **_FORM}
        return _to(login.url, headers, urllib.parse.urlencode(fields).encode())
    own = {"client_id": plain(login.client_id)}
    if secret is not None:
        own["client_secret"] = secret.reveal()
    return _to(login.url, _FORM, urllib.parse.urlencode({**fields, **own}).encode())


def _to(url: str, headers: Mapping[str, str], body: bytes | None) -> Ask:
    parts = urllib.parse.urlsplit(url)
    rooted = bool(parts.netloc)
    path = url if not rooted else parts.path + (f"?{parts.query}" if parts.query else "")
    return Ask(method="POST", path=path, rooted=rooted, headers=headers, body=body, purpose="login")


def _scope(scope: str | None) -> dict[str, str]:
    return {} if scope is None else {"scope": scope}


def granted(envelope: Envelope, token: str, expires: str) -> Granted:
    """The bearer and its life, from a login's answer."""
    return Granted(token=_token(envelope, token), life=_life(envelope.at(expires), expires))


def _token(envelope: Envelope, path: str) -> str:
    raw = envelope.at(path)
    try:
        value = None if raw is None else msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        value = None
    if value is None or not _BEARER.fullmatch(value):
        there = envelope.keys(path.rpartition(".")[0])
        found = "of another form" if raw is not None else f"missing (found: {there})"
        raise UnexpectedAnswer(f"`{path}` is {found}; it must be text without spaces")
    return value


def _life(raw: bytes | None, path: str) -> float:
    if raw is None or raw == b"null":
        return UNSAID_LIFE
    # Some servers write the number as text.
    figures = raw[1:-1] if raw[:1] == b'"' else raw
    if _INTEGER.fullmatch(figures.partition(b".")[0]) and b"e" not in figures.lower():
        try:
            life = float(figures)
        except ValueError:
            life = 0.0
        if life > 0:
            return life
    raise UnexpectedAnswer(f"`{path}` is {shown(raw)}; it must be a number of seconds above 0")
