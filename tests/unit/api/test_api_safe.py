"""Bought tokens that outlast a process: sealed, kept before they are used, one login for all."""

import base64
import json
import urllib.parse

import attrs
import pytest
import trio
import trio.testing

from syncd.api.auth.safe import Safe
from syncd.api.client import ApiClient
from syncd.config.settings import ClientCredentials, Login, RefreshToken, Secret
from syncd.errors import AccessDenied, ApiUnavailable, Draining, StoreUnavailable
from syncd.sync.limits import Limits
from syncd.sync.unlimited import Unlimited
from syncd.sync.vault import Sealed
from syncd.sync.waits import Waits
from syncd.testing import FakeStore
from tests.unit.api.rawserver import NotingPermit, RawServer, answer, ok, token_auth
from tests.unit.api.test_api_auth import GET, bearer_in, together

KEY = Secret(base64.b64encode(bytes(range(32))).decode(), "env KEY")
REFRESH = RefreshToken(
    url="/auth/token",
    client_id="app",
    client_secret=Secret("canary-client", "env CLIENT"),
    refresh_token=Secret("canary-r0", "env REFRESH"),
)


@attrs.define
class _Place:
    version: int = 0
    text: bytes | None = None
    ends: float = 0.0
    claimed: float = 0.0


@attrs.define(eq=False)
class MemoryVault:
    """`sync.vault.Vault` on trio's clock, away when a test says so."""

    places: dict[str, _Place] = attrs.field(factory=dict)
    away: set[str] = attrs.field(factory=set)
    """Methods that fail, once each."""

    def _place(self, method: str, source: str) -> _Place:
        if method in self.away:
            self.away.discard(method)
            raise StoreUnavailable("away")
        return self.places.setdefault(source, _Place())

    async def look_into_vault(self, source: str) -> Sealed:
        await trio.lowlevel.checkpoint()
        place = self._place("look", source)
        left = place.ends - trio.current_time()
        return Sealed(version=place.version, text=place.text, left=left)

    async def claim_login(self, source: str, version: int, seconds: float) -> bool:
        await trio.lowlevel.checkpoint()
        place, now = self._place("claim", source), trio.current_time()
        if place.version != version or place.claimed > now:
            return False
        place.claimed = now + seconds
        return True

    async def keep_bought(self, source: str, version: int, text: bytes, life: float) -> bool:
        await trio.lowlevel.checkpoint()
        place = self._place("keep", source)
        if place.version != version:
            return False
        place.version, place.text, place.claimed = version + 1, text, 0.0
        place.ends = trio.current_time() + life
        if "answer" in self.away:
            self._place("answer", source)
        return True

    async def give_claim_back(self, source: str, version: int) -> None:
        await trio.lowlevel.checkpoint()
        place = self._place("give back", source)
        if place.version == version:
            place.claimed = 0.0


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


def client_of(
    server: RawServer, vault: MemoryVault, auth: Login = REFRESH, key: Secret = KEY
) -> ApiClient:
    return ApiClient(server.source(auth=auth), safe=Safe(source="s", vault=vault, key=key))


def gives(token: str, refresh: str | None = None, life: int = 3600) -> bytes:
    fields = {"access_token": token, "expires_in": life}
    return json.dumps(fields if refresh is None else {**fields, "refresh_token": refresh}).encode()


def sent_refresh(server: RawServer) -> list[str]:
    """The refresh token of each login, in their order."""
    found = [urllib.parse.parse_qs(body.decode()) for body in server.bodies if body]
    return [form["refresh_token"][0] for form in found]


@pytest.mark.parametrize(
    "auth",
    [
        token_auth(),
        REFRESH,
        ClientCredentials(url="/auth/token", client_id="c", client_secret=Secret("s", "env S")),
    ],
)
async def test_a_restart_is_no_login(
    server: RawServer, vault: MemoryVault, permit: NotingPermit, auth: Login
) -> None:
    """What one life has bought the next one uses."""
    for _ in range(3):
        async with client_of(server, vault, auth) as client:
            await client.send(GET, permit)
    assert len(server.login_heads) == 1
    assert [bearer_in(h) for h in server.heads] == ["bearer-1"] * 3


async def test_a_refresh_token_is_replaced_by_its_successor(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """The config's buys the first; from then on the one that the server gave last."""
    server.logins.extend(ok(gives(f"a{n}", f"canary-r{n}", life=1)) for n in (1, 2))
    server.logins.append(ok(gives("a3", life=1)))
    server.logins.append(ok(gives("a4", life=1)))
    server.will(*[ok(b"{}")] * 4)
    for _ in range(4):
        async with client_of(server, vault) as client:
            await client.send(GET, permit)
        vault.places["s"].ends = trio.current_time()  # it has ended when the next life begins
    assert sent_refresh(server) == ["canary-r0", "canary-r1", "canary-r2", "canary-r2"]
    assert [bearer_in(h) for h in server.heads] == ["a1", "a2", "a3", "a4"]


async def test_no_refresh_token_is_shown_and_none_but_the_last_are_remembered(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """no-secret-out: whoever bought it; and a login an hour makes 8,760 of them in a year."""
    many = 9
    server.logins.extend(ok(gives(f"a{n}", f"canary-r{n}", life=1)) for n in range(1, many))
    server.will(*[ok(b"{}")] * (many - 1))
    async with client_of(server, vault) as client:
        for _ in range(1, many):
            await client.send(GET, permit)
            vault.places["s"].ends = trio.current_time()
            await trio.sleep(2)
        shown = client.redactor.text(" ".join(f"canary-r{n}" for n in range(many)))
        # The config's is one of its secrets for as long as that is in force.
        assert shown == "*** canary-r1 canary-r2 canary-r3 canary-r4 canary-r5 *** *** ***"
    # Another life has it from the safe, and hears it back from a server that refuses it.
    server.logins.append(answer(400, b"what is canary-r8? and canary-client?"))
    async with client_of(server, vault) as client:
        with pytest.raises(AccessDenied, match=r"what is \*\*\*\? and \*\*\*\?"):
            await client.send(GET, permit)


async def test_what_was_bought_is_kept_before_it_is_used(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """With Postgres away nothing is sent; when it is back the same purchase is kept, and used."""
    server.logins.append(ok(gives("a1", "canary-r1")))
    vault.away.add("keep")
    async with client_of(server, vault) as client:
        with pytest.raises(StoreUnavailable):
            await client.send(GET, permit)
        assert server.heads == []
        await client.send(GET, permit)
    assert len(server.login_heads) == 1
    assert vault.places["s"].version == 1
    async with client_of(server, vault) as client:
        await client.send(GET, permit)
    assert [bearer_in(h) for h in server.heads] == ["a1", "a1"]


async def test_an_answer_of_postgres_that_was_lost_loses_no_purchase(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """resume: it is kept, and found to be kept; never bought a second time."""
    server.logins.append(ok(gives("a1", "canary-r1")))
    vault.away.add("answer")
    async with client_of(server, vault) as client:
        with pytest.raises(StoreUnavailable):
            await client.send(GET, permit)
        await client.send(GET, permit)
    assert len(server.login_heads) == 1
    assert vault.places["s"].version == 1


async def test_a_herd_in_two_processes_logs_in_once(
    server: RawServer, vault: MemoryVault, jumping: trio.testing.MockClock
) -> None:
    """Cases 11 and 12: the others wait for the one, and take what it got."""
    server.logins.append(ok(gives("a1", "canary-r1")))
    async with client_of(server, vault) as one, client_of(server, vault) as two:
        clients = [one, two] * 10
        met = await together(20, lambda: clients.pop().send(GET, NotingPermit()))
    assert met == [None] * 20
    assert len(server.login_heads) == 1
    assert {bearer_in(h) for h in server.heads} == {"a1"}


async def test_a_bearer_that_was_refused_is_not_taken_from_the_safe_again(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """Case 13: revoked before its time, it is bought anew, by its refresh token."""
    server.logins.extend([ok(gives("a1", "canary-r1")), ok(gives("a2", "canary-r2"))])
    server.will(ok(b"{}"), answer(401), ok(b"{}"))
    async with client_of(server, vault) as client:
        await client.send(GET, permit)
    async with client_of(server, vault) as client:
        await client.send(GET, permit)
    assert [bearer_in(h) for h in server.heads] == ["a1", "a1", "a2"]
    assert sent_refresh(server) == ["canary-r0", "canary-r1"]


async def test_who_finds_the_refresh_token_used_up_reads_again(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """Case 11: the loser's invalid_grant is no end while there is a newer purchase."""
    async with client_of(server, vault) as other, client_of(server, vault) as client:
        taken = trio.Event()

        async def slow_refusal(connection: object) -> None:
            # Meanwhile our claim has ended, and another process has logged in.
            vault.places["s"].claimed = 0.0
            server.logins.append(ok(gives("a1", "canary-r1")))
            await other.send(GET, NotingPermit())
            taken.set()
            await answer(400, b'{"error": "invalid_grant"}')(connection)  # type: ignore[arg-type]

        server.logins.append(slow_refusal)
        await client.send(GET, permit)
    assert taken.is_set()
    assert [bearer_in(h) for h in server.heads] == ["a1", "a1"]


async def test_a_refusal_that_is_one_parks_and_lets_others_try(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """And shows none of the tokens."""
    server.logins.append(answer(400, b'{"error": "invalid_grant", "was": "canary-r0"}'))
    async with client_of(server, vault) as client:
        with pytest.raises(AccessDenied, match="invalid_grant") as e:
            await client.send(GET, permit)
    assert "canary" not in str(e.value)
    assert vault.places["s"].claimed == 0.0


async def test_a_login_that_failed_gives_its_claim_back(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """The next try, here or elsewhere, need not wait until it ends."""
    server.logins.append(answer(503, b"{}"))
    async with client_of(server, vault) as client:
        with pytest.raises(ApiUnavailable):
            await client.send(GET, permit)
        await client.send(GET, permit)
    assert len(server.login_heads) == 2


async def test_who_leaves_waits_for_nobodys_login(
    server: RawServer, vault: MemoryVault, jumping: trio.testing.MockClock
) -> None:
    """drain: a claim that a dead process has left ends no wait; and leaving is no failed login."""
    await vault.claim_login("s", 0, 45.0)
    leaving, staying = Waits(), Waits()
    met: list[Draining] = []

    async def send(waits: Waits) -> None:
        try:
            limits = Limits([], Unlimited("s", FakeStore()))
            async with limits.permit(lease=None, spent_on="", waits=waits) as permit:
                await client.send(GET, permit)
        except Draining as error:
            met.append(error)

    async with client_of(server, vault) as client, trio.open_nursery() as nursery:
        nursery.start_soon(send, leaving)
        await trio.sleep(1.0)
        nursery.start_soon(send, staying)
        await trio.sleep(1.0)
        leaving.end()
        await trio.sleep(0.1)
        assert len(met) == 1
    assert len(met) == 1
    assert len(server.login_heads) == 1
    assert trio.current_time() >= 45.0


async def test_other_credentials_or_another_key_find_nothing(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """no-secret-out: what is kept is sealed, and stands for these credentials alone."""
    server.logins.extend(ok(gives(f"canary-a{n}", f"canary-r{n}")) for n in (1, 2, 3))
    other = attrs.evolve(REFRESH, refresh_token=Secret("other", "env REFRESH"))
    other_key = Secret(base64.b64encode(bytes(32)).decode(), "env KEY")
    for auth, key in ((REFRESH, KEY), (other, KEY), (REFRESH, other_key)):
        async with client_of(server, vault, auth, key) as client:
            await client.send(GET, permit)
        assert b"canary" not in (vault.places["s"].text or b"")
    assert sent_refresh(server) == ["canary-r0", "other", "canary-r0"]


async def test_what_is_kept_of_one_source_is_none_of_anothers(
    server: RawServer, vault: MemoryVault, permit: NotingPermit
) -> None:
    """Whoever can write to the table can't give one account the token of another."""
    server.logins.extend(ok(gives(f"a{n}", f"canary-r{n}")) for n in (1, 2))
    async with client_of(server, vault) as client:
        await client.send(GET, permit)
    vault.places["t"] = vault.places["s"]
    safe = Safe(source="t", vault=vault, key=KEY)
    async with ApiClient(server.source(auth=REFRESH), safe=safe) as client:
        await client.send(GET, permit)
    assert [bearer_in(h) for h in server.heads] == ["a1", "a2"]
