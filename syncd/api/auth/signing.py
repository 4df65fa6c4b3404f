"""What does each request carry in its account's name?  As httpx.Auth, one class each.

None of them asks for anything: what has to be bought is bought before (`bought`), so that a
request never waits for a login while it holds a connection and a token.
"""

import urllib.parse
from collections.abc import Generator

import httpx

from syncd.config.settings import BasicAuth, BearerAuth, KeyAuth, basic

Flow = Generator[httpx.Request, httpx.Response, None]


class InHeader(httpx.Auth):
    """Credentials in a header."""

    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value.encode()

    def auth_flow(self, request: httpx.Request) -> Flow:
        # As bytes: httpx would refuse text that is not ASCII; servers that take it at all take
        # UTF-8.
        kept = [(n, v) for n, v in request.headers.raw if n.lower() != self._name.lower().encode()]
        request.headers = httpx.Headers([*kept, (self._name.encode(), self._value)])
        yield request


class InQuery(httpx.Auth):
    """Credentials in a parameter of the query."""

    def __init__(self, name: str, value: str) -> None:
        self._query = urllib.parse.urlencode({name: value}, quote_via=urllib.parse.quote).encode()

    def auth_flow(self, request: httpx.Request) -> Flow:
        # Appended as it is: an address that the API gave is not written anew for it.
        parts = [part for part in (request.url.query, self._query) if part]
        request.url = request.url.copy_with(query=b"&".join(parts))
        yield request


def signed_with(auth: BasicAuth | BearerAuth | KeyAuth) -> httpx.Auth:
    """What requests carry whose credentials need no login."""
    match auth:
        case BasicAuth():
            return InHeader("Authorization", f"Basic {basic(auth.username, auth.password)}")
        case BearerAuth():
            return InHeader("Authorization", f"Bearer {auth.token.reveal()}")
        case KeyAuth() if auth.query is not None:
            return InQuery(auth.query, auth.key.reveal())
        case KeyAuth():
            return InHeader(auth.header or "X-API-Key", auth.prefix + auth.key.reveal())
