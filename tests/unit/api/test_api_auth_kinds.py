"""What each kind of credentials sends, on real sockets, and what its login's answer means."""

import base64
import json
import ssl
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import attrs
import pytest
import trio
import trustme

from syncd.api.auth.logins import OF_OAUTH, granted
from syncd.api.client import ApiClient
from syncd.api.decode import Envelope
from syncd.config.settings import (
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
from syncd.errors import AccessDenied, ApiUnavailable, UnexpectedAnswer
from tests.unit.api.rawserver import NotingPermit, RawServer, answer, ok, token_auth
from tests.unit.api.test_api_auth import GET


def secret(value: str) -> Secret:
    return Secret(value, "env TEST")


def header(head: str, name: str) -> str:
    lines = [x.partition(": ") for x in head.split("\r\n")]
    return next((value for key, _, value in lines if key.lower() == name.lower()), "")


def basic_in(head: str) -> str:
    return base64.b64decode(header(head, "Authorization").removeprefix("Basic ")).decode()


STATIC: dict[str, tuple[AuthSettings, str, str]] = {
    "basic": (
        BasicAuth(username="me", password=secret("p:ä")),
        "Authorization",
        "Basic " + base64.b64encode("me:p:ä".encode()).decode(),
    ),
    "bearer": (BearerAuth(token=secret("canary-1")), "Authorization", "Bearer canary-1"),
    "api-key": (KeyAuth(key=secret("canary-1")), "X-API-Key", "canary-1"),
    "api-key with a prefix": (
        KeyAuth(key=secret("canary-1"), header="Authorization", prefix="Token "),
        "Authorization",
        "Token canary-1",
    ),
}


@pytest.mark.parametrize("kind", STATIC)
async def test_credentials_that_need_no_login(
    server: RawServer, permit: NotingPermit, kind: str
) -> None:
    """They stand in each request, and a refusal says what to do without repeating them."""
    auth, name, value = STATIC[kind]
    echoed = auth.secrets()[0]
    server.will(ok(b"{}"), answer(401, f"who is {echoed}?".encode()))
    async with ApiClient(server.source(auth=auth)) as client:
        await client.send(GET, permit)
        with pytest.raises(AccessDenied, match="Correct the source's credentials") as e:
            await client.send(GET, permit)

    assert [header(h, name) for h in server.heads] == [value] * 2
    assert server.login_heads == []
    assert "who is" in str(e.value)
    assert echoed not in str(e.value)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("env PASSWORD", "restart syncd (env PASSWORD is read when it starts)"),
        ("credential pw", "restart syncd (credential pw is read when it starts)"),
        ("file /etc/pw", "`syncd reload`"),
        ("command vault", "`syncd reload`"),
    ],
)
async def test_who_is_refused_is_told_what_has_other_credentials_used(
    server: RawServer, permit: NotingPermit, origin: str, words: str
) -> None:
    """A reload reads files and asks commands; nothing changes a process's own environment."""
    password = Secret("wrong", origin)
    for auth in (token_auth(password=password), BasicAuth(username="me", password=password)):
        server.logins.append(answer(401, b"{}"))
        server.otherwise = answer(401, b"{}")
        async with ApiClient(server.source(auth=auth)) as client:
            with pytest.raises(AccessDenied) as e:
                await client.send(GET, permit)
        assert e.value.hint == f"Correct the source's credentials, then {words}"


async def test_a_key_in_the_query_is_sent_and_never_shown(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-secret-out: beside what the request asks for itself, encoded, and in no error."""
    server.will(ok(b"{}"), answer(403, b"no"))
    auth = KeyAuth(key=secret("canary &1"), header=None, query="api_key")
    ask = attrs.evolve(GET, params={"page": "2"})
    async with ApiClient(server.source(auth=auth)) as client:
        await client.send(ask, permit)
        with pytest.raises(AccessDenied) as e:
            await client.send(ask, permit)

    query = urllib.parse.parse_qs(server.heads[0].split()[1].partition("?")[2])
    assert query == {"page": ["2"], "api_key": ["canary &1"]}
    assert "canary" not in str(e.value)


async def test_a_login_with_its_credentials_in_the_body(
    server: RawServer, permit: NotingPermit
) -> None:
    """As JSON or as a form, under the names that the API has for them."""
    server.logins.append(ok(b'{"data": {"jwt": "t1", "ttl": "60"}}'))
    as_json = token_auth(
        send="json",
        username_field="email",
        body={"realm": "eu"},
        token="data.jwt",
        expires="data.ttl",
    )
    async with ApiClient(server.source(auth=as_json)) as client:
        await client.send(GET, permit)
    async with ApiClient(server.source(auth=token_auth(send="form"))) as client:
        await client.send(GET, permit)

    fields = json.loads(server.bodies[0])
    assert fields == {"realm": "eu", "email": "me@example.org", "password": "canary-pässword:1"}
    assert header(server.login_heads[0], "Content-Type") == "application/json"
    assert header(server.heads[0], "Authorization") == "Bearer t1"
    form = urllib.parse.parse_qs(server.bodies[2].decode())
    assert form == {"username": ["me@example.org"], "password": ["canary-pässword:1"]}
    assert "Authorization" not in server.login_heads[1]


CLIENT = ClientCredentials(
    url="/auth/token", client_id="id:1", client_secret=secret("canary é/+"), scope="read write"
)


@pytest.mark.parametrize("where", ["basic", "body"])
async def test_client_credentials(
    server: RawServer, permit: NotingPermit, where: Literal["basic", "body"]
) -> None:
    """RFC 6749, sections 2.3.1 and 4.4: each part is encoded before they are put together."""
    auth = attrs.evolve(CLIENT, client=where, body={"audience": "https://api"})
    async with ApiClient(server.source(auth=auth)) as client:
        await client.send(GET, permit)

    form = {k: v[0] for k, v in urllib.parse.parse_qs(server.bodies[0].decode()).items()}
    own = {} if where == "basic" else {"client_id": "id:1", "client_secret": "canary é/+"}
    assert form == {
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "https://api",
        **own,
    }
    if where == "basic":
        assert basic_in(server.login_heads[0]) == "id%3A1:canary+%C3%A9%2F%2B"
    assert header(server.heads[0], "Authorization") == "Bearer bearer-1"


async def test_a_refused_client_is_told_without_its_secret(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-secret-out: whatever the server echoes."""
    body = b'{"error": "invalid_client", "error_description": "canary \xc3\xa9/+ is wrong"}'
    server.logins.append(answer(401, body))
    async with ApiClient(server.source(auth=CLIENT)) as client:
        with pytest.raises(AccessDenied, match="invalid_client") as e:
            await client.send(GET, permit)
    assert "canary" not in str(e.value)


async def test_a_login_at_another_server_gets_none_of_the_sources_headers(
    server: RawServer, permit: NotingPermit, nursery: trio.Nursery
) -> None:
    """They may hold secrets of the API's; and the API gets the bearer alone."""
    other = RawServer()
    await nursery.start(other.serve)
    auth = attrs.evolve(CLIENT, url=f"{other.url}/auth/token")
    headers = {"X-Key": secret("canary-key")}
    async with ApiClient(server.source(auth=auth, headers=headers)) as client:
        await client.send(GET, permit)

    assert header(server.heads[0], "X-Key") == "canary-key"
    assert header(other.login_heads[0], "X-Key") == ""
    assert header(server.heads[0], "Authorization") == "Bearer bearer-1"
    assert server.login_heads == []


@pytest.mark.parametrize("auth", [token_auth(), CLIENT])
async def test_each_request_is_signed_anew_when_its_bearer_was_refused(
    server: RawServer, permit: NotingPermit, auth: TokenLogin | ClientCredentials
) -> None:
    """Case 13, whatever the login: one replay with another bearer."""
    server.will(answer(401), ok(b"{}"))
    async with ApiClient(server.source(auth=auth)) as client:
        await client.send(GET, permit)
    sent = [header(h, "Authorization") for h in server.heads]
    assert sent == ["Bearer bearer-1", "Bearer bearer-2"]


def test_what_a_refresh_asks_for() -> None:
    """RFC 6749, section 6: with the token that stands now, the config's at first."""
    from syncd.api.auth.logins import login_kind  # noqa: PLC0415 - beside its one use

    auth = RefreshToken(url="/t", client_id="app", refresh_token=secret("first"))
    kind = login_kind(auth)
    first = urllib.parse.parse_qs((kind.ask(None).body or b"").decode())
    assert first["refresh_token"] == ["first"]
    assert first["client_id"] == ["app"]
    later = urllib.parse.parse_qs((kind.ask("second").body or b"").decode())
    assert later["refresh_token"] == ["second"]
    answered = {"access_token": "a", "expires_in": 60, "refresh_token": "third"}
    assert kind.read(Envelope(json.dumps(answered).encode())).refresh == "third"
    assert kind.read(Envelope(b'{"access_token": "a"}')).refresh is None


@pytest.mark.parametrize(
    "body", [b"{}", b'{"access_token": 7}', b'{"access_token": "a b"}', b'{"access_token": ""}']
)
def test_an_answer_without_a_token_is_an_error(body: bytes) -> None:
    """And says what is there instead."""
    with pytest.raises(UnexpectedAnswer, match="access_token"):
        granted(Envelope(body), *OF_OAUTH)


# --- certificates -----------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> TlsSettings:
    ours = authority.issue_cert("syncd.example.org")
    chain = "".join(p.bytes().decode() for p in ours.cert_chain_pems)
    return TlsSettings(
        ca=secret(authority.cert_pem.bytes().decode()),
        cert=secret(chain),
        key=secret(ours.private_key_pem.bytes().decode()),
    )


async def serve_tls(
    authority: trustme.CA,
    nursery: trio.Nursery,
) -> str:
    """A server that wants a certificate of its clients; its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (trio.BrokenResourceError, ssl.SSLError):
            return

    (open_,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, serve, [trio.SSLListener(open_, context)])
    return f"https://localhost:{open_.socket.getsockname()[1]}"


async def test_both_sides_prove_who_they_are(
    server: RawServer,
    permit: NotingPermit,
    authority: trustme.CA,
    tls: TlsSettings,
    nursery: trio.Nursery,
) -> None:
    """mTLS, with a CA of one's own; without our certificate, or with another CA, nothing."""
    url = await serve_tls(authority, nursery)

    async def status(settings: TlsSettings | None) -> int:
        source = attrs.evolve(server.source(), base_url=url, tls=settings)
        async with ApiClient(source) as client:
            return (await client.send(GET, permit)).status

    assert await status(tls) == 200
    nobody = TlsSettings(ca=tls.ca)
    stranger = attrs.evolve(tls, ca=secret(trustme.CA().cert_pem.bytes().decode()))
    for settings in (nobody, stranger, None):
        with pytest.raises(ApiUnavailable, match=r"TLS|connection was lost|answer broke"):
            await status(settings)


EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)
TO_TRUST = "; to trust it, name its CA in `tls.ca`"


@pytest.mark.parametrize(
    ("issued", "trusted", "said"),
    [
        (
            {"names": ("elsewhere.example.org",)},
            True,
            "Hostname mismatch, certificate is not valid for 'localhost'",
        ),
        (
            {"names": ("localhost",), "until": EXPIRED},
            True,
            "certificate has expired",
        ),
        (
            {"names": ("localhost",)},
            False,
            f"unable to get local issuer certificate{TO_TRUST}",
        ),
        (
            {"names": ("localhost",), "with_root": True},
            False,
            f"self-signed certificate in certificate chain{TO_TRUST}",
        ),
    ],
    ids=["hostname", "expired", "unknown-issuer", "self-signed"],
)
@pytest.mark.parametrize("login", [False, True])
async def test_a_refused_certificate_is_told_in_openssls_words(
    server: RawServer,
    permit: NotingPermit,
    authority: trustme.CA,
    nursery: trio.Nursery,
    *,
    issued: dict[str, Any],
    trusted: bool,
    said: str,
    login: bool,
) -> None:
    """Which of all things is wrong with it, and what to do where its issuer is nobody's."""
    url = await serve_as(authority, nursery, **issued)
    ca = authority if trusted else trustme.CA()
    source = server.source(tls=TlsSettings(ca=secret(ca.cert_pem.bytes().decode())))
    if login:
        source = attrs.evolve(source, auth=token_auth(url=f"{url}/auth/token"))
    else:
        source = attrs.evolve(source, base_url=url)
    async with ApiClient(source) as client:
        with pytest.raises(ApiUnavailable) as caught:
            await client.send(GET, permit)
    what = "login: POST /auth/token" if login else "GET /list"
    where = url.removeprefix("https://")
    assert str(caught.value) == (
        f"{what}: cannot connect to {where}: TLS: certificate verify failed: {said}"
    )
    assert caught.value.untrusted
    assert caught.value.sent == "no"


async def serve_as(
    authority: trustme.CA,
    nursery: trio.Nursery,
    *,
    names: tuple[str, ...],
    until: datetime | None = None,
    with_root: bool = False,
) -> str:
    """A server with such a certificate; its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue_cert(*names, not_after=until)
    parts = [issued.private_key_pem, *issued.cert_chain_pems]
    parts += [authority.cert_pem] if with_root else []
    with trustme.Blob(b"".join(part.bytes() for part in parts)).tempfile() as path:
        context.load_cert_chain(path)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError, ssl.SSLError):
            await stream.receive_some()

    (open_,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, serve, [trio.SSLListener(open_, context)])
    return f"https://localhost:{open_.socket.getsockname()[1]}"
