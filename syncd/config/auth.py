"""What do `auth` and `tls` of a source say: how is an account told apart from others?"""

import ssl
from collections.abc import Collection, Mapping
from typing import Any, get_args

import attrs

from syncd.config.hosts import check_address
from syncd.config.names import HEADER
from syncd.config.reading import REQUIRED, Node, any_text
from syncd.config.settings import (
    UNRESOLVED,
    AuthSettings,
    BasicAuth,
    BearerAuth,
    ClientCredentials,
    KeyAuth,
    RefreshToken,
    Secret,
    TlsSettings,
    TokenLogin,
)

KINDS = ["basic", "bearer", "api-key", "token", "client-credentials", "refresh-token"]

OF_OAUTH = ("grant_type", "client_id", "client_secret", "refresh_token", "scope")
"""What keys of their own say, or the kind."""


def read_auth(node: Node) -> AuthSettings | None:
    """The table `auth`; without it, requests carry no credentials."""
    table = node.table("auth")
    if table is None:
        return None
    kind = table.choice("kind", KINDS, None if "kind" in table.values else "token")
    if kind is None:
        return None  # what the other keys mean can't be told
    auth: AuthSettings
    match kind:
        case "basic":
            auth = BasicAuth(username=_user(table, "username"), password=table.secret("password"))
        case "bearer":
            auth = BearerAuth(token=table.secret("token"))
        case "api-key":
            auth = _key(table)
        case "client-credentials":
            auth = ClientCredentials(
                url=_login_url(table, REQUIRED),
                client_id=_user(table, "client_id"),
                client_secret=table.secret("client_secret"),
                client=table.choice("client", ["basic", "body"], "basic"),
                scope=table.text("scope", None),
                body=_body(table, OF_OAUTH),
                spends=table.flag("spends", default=False),
                cost=table.count("cost", 1, most=100_000),
            )
        case "refresh-token":
            there = table.has("client_secret")
            if not there and table.values.get("client") == "basic":
                table.fault("client_secret", 'missing; client = "basic" needs it')
            auth = RefreshToken(
                url=_login_url(table, REQUIRED),
                client_id=_user(table, "client_id"),
                client_secret=table.secret("client_secret") if there else None,
                client=table.choice("client", ["basic", "body"], "basic" if there else "body"),
                refresh_token=table.secret("refresh_token"),
                scope=table.text("scope", None),
                body=_body(table, OF_OAUTH),
                spends=table.flag("spends", default=False),
                cost=table.count("cost", 1, most=100_000),
            )
        case _:
            auth = _token(table)
    table.finish(get_args(AuthSettings))
    return auth


def read_tls(node: Node) -> TlsSettings | None:
    """The table `tls`; without it, the system's certificates, and none of our own."""
    table = node.table("tls")
    if table is None:
        return None
    tls = TlsSettings(
        ca=_pem(table, "ca"),
        cert=_pem(table, "cert"),
        key=_pem(table, "key"),
        password=table.secret("password") if table.has("password") else None,
    )
    faults = len(table.faults)
    if tls.cert is None:
        for key in ("key", "password"):
            if key in table.values:
                table.fault(key, "it needs `cert`, the certificate that it belongs to")
    table.finish()
    if len(table.faults) == faults:
        _try(table, tls)
    return tls


def _try(table: Node, tls: TlsSettings) -> None:
    """What can't be used is a fault of the file, not of the first request."""
    parts = {"ca": tls.ca, "cert": tls.cert, "key": tls.key, "password": tls.password}
    if any(s is not None and s.value in ("", UNRESOLVED) for s in parts.values()):
        return  # that is told already, or only the file is looked at
    for name, only in (("ca", TlsSettings(ca=tls.ca)), ("cert", attrs.evolve(tls, ca=None))):
        try:
            only.context()
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else None
            table.fault(
                name,
                f"it can't be used: {(reason or str(error)).replace('_', ' ').lower()}; it must be "
                + ("certificates in PEM" if name == "ca" else "a certificate and its key in PEM"),
            )


def _pem(table: Node, key: str) -> Secret | None:
    """By reference, as other secrets: a file, or one of systemd's credentials."""
    return table.secret(key) if table.has(key) else None


def _token(table: Node) -> TokenLogin:
    login = TokenLogin(
        url=_login_url(table, "/auth/token"),
        username=_user(table, "username"),
        password=table.secret("password"),
        send=table.choice("send", ["basic", "json", "form"], "basic"),
        username_field=table.text("username_field", "username"),
        password_field=table.text("password_field", "password"),
        body=_body(table),
        token=table.path_text("token", "access_token"),
        expires=table.path_text("expires", "expires_in"),
        spends=table.flag("spends", default=False),
        cost=table.count("cost", 1, most=100_000),
    )
    if login.send == "basic":
        for key in ("username_field", "password_field", "body"):
            if key in table.values:
                table.fault(key, 'it needs send = "json" or send = "form"')
    return login


def _key(table: Node) -> KeyAuth:
    query, in_query = table.text("query", None), table.has("query")
    header = None if in_query else table.text("header", "X-API-Key")
    for name in ("header", "prefix"):
        if in_query and table.has(name):
            table.fault(name, "`query` says that the key stands there; leave one of the two out")
    if header is not None and not HEADER.fullmatch(header):
        table.wrong("header", header, "a header's name")
    return KeyAuth(
        key=table.secret("key"),
        header=header,
        query=query,
        prefix=table.get("prefix", "", 'text such as "Token "', any_text),
    )


def _login_url(table: Node, default: Any) -> str:
    """A path behind base_url, or the whole address of another server."""
    value = table.values.get("url")
    if isinstance(value, str) and "://" in value:
        table.has("url")
        check_address(table, "url", value)
        return value
    other = ', or an address such as "https://login.example.com/oauth/token"'
    return table.address("url", default, query=True, other=other)


def _user(table: Node, key: str) -> Secret | str:
    found: Secret | str = table.text_or_secret(key)
    text = found.reveal() if isinstance(found, Secret) else found
    sent_in_basic = table.values.get("send", "basic") == "basic"
    sent_in_basic = sent_in_basic and table.values.get("client", "basic") == "basic"
    if isinstance(text, str) and ":" in text and sent_in_basic:
        table.fault(key, "it holds a ':', which ends the user name in Basic credentials")
    return found


def _body(table: Node, ours: Collection[str] = ()) -> Mapping[str, str]:
    body = table.mapping("body", "text", any_text)
    for name in ours:
        if name in body:
            message = "syncd sends it; leave it out here"
            if name == "scope":
                message = "`scope` beside `body` says it; leave it out here"
            table.fault_at(("body", name), message)
    return body
