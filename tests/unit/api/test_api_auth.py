"""Who logs in, when, how often, and what a refusal means."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.config.settings import AuthSettings, Secret
from syncd.errors import AccessDenied, ApiUnavailable, RateLimited, SyncdError, UnexpectedAnswer
from tests.unit.api.rawserver import (
    Behaviour,
    Connection,
    NotingPermit,
    RawServer,
    after,
    answer,
    cut,
    hang,
    ok,
    token_auth,
)

GET = Ask(method="GET", path="/list")
POST = Ask(method="POST", path="/do")


def client_of(server: RawServer, **changes: Any) -> ApiClient:
    return ApiClient(server.source(auth=token_auth(), **changes))


def bearer_in(head: str) -> str:
    lines = [line for line in head.split("\r\n") if line.startswith("Authorization: ")]
    return lines[0].removeprefix("Authorization: Bearer ")


async def together(count: int, job: Callable[[], Awaitable[object]]) -> list[SyncdError | None]:
    """Run a job in so many tasks at once; what each of them met."""
    met: list[SyncdError | None] = []

    async def one() -> None:
        try:
            await job()
        except SyncdError as error:
            met.append(error)
        else:
            met.append(None)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return met


async def test_basic_credentials_buy_a_bearer_that_is_kept(
    server: RawServer, permit: NotingPermit
) -> None:
    """One login for many requests; the login costs no budget here."""
    lives: list[float] = []
    source = server.source(auth=token_auth())
    async with ApiClient(source, on_login=lives.append) as client:
        for _ in range(3):
            await client.send(GET, permit)

    assert [bearer_in(h) for h in server.heads] == ["bearer-1"] * 3
    assert lives == [3600.0]
    assert permit.notes == ["spend", "confirm", "written", "answered"] * 3


async def test_credentials_are_sent_in_utf8_whatever_they_hold(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 14: a colon and an umlaut in the password arrive as they are."""
    async with client_of(server) as client:
        await client.send(GET, permit)

    line = next(x for x in server.login_heads[0].split("\r\n") if x.startswith("Authorization"))
    sent = base64.b64decode(line.removeprefix("Authorization: Basic ")).decode()
    assert sent == "me@example.org:canary-pässword:1"


async def test_a_herd_without_a_bearer_logs_in_once(server: RawServer) -> None:
    """Case 11: twenty tasks, one POST to the token endpoint."""
    async with client_of(server) as client:
        met = await together(20, lambda: client.send(GET, NotingPermit()))

    assert met == [None] * 20
    assert len(server.login_heads) == 1


async def test_a_herd_that_is_refused_logs_in_once_more(server: RawServer) -> None:
    """Case 11: twenty 401s at once for the same bearer; it is replaced once."""

    async def only_the_second(connection: Connection) -> None:
        valid = bearer_in(server.heads[-1]) == "bearer-2"
        await (ok() if valid else answer(401))(connection)

    async with client_of(server, connections=20) as client:
        await client.send(GET, NotingPermit())
        server.otherwise = only_the_second
        met = await together(20, lambda: client.send(GET, NotingPermit()))

    assert met == [None] * 20
    assert len(server.login_heads) == 2


async def test_a_newer_bearer_is_not_thrown_away_for_an_older_ones_refusal(
    server: RawServer,
) -> None:
    """A slow 401 for the old bearer comes after somebody has bought the new one."""
    late = trio.Event()
    server.will(after(late, answer(401)), answer(401))
    async with client_of(server) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, GET, NotingPermit())
        while not server.heads:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send(GET, NotingPermit())
        late.set()

    assert len(server.login_heads) == 2
    assert [bearer_in(h)[-1] for h in server.heads] == ["1", "1", "2", "2"]


async def test_a_refused_bearer_is_replaced_and_the_request_sent_once_more(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 13: the bearer died early; the replay takes a token of its own."""
    server.will(answer(401))
    async with client_of(server) as client:
        assert (await client.send(POST, permit)).status == 200

    assert len(server.login_heads) == 2
    assert permit.notes == ["spend", "confirm", "written", "answered"] * 2


async def test_a_fresh_bearer_that_is_refused_is_a_real_failure(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 13: a second 401 ends it, and the next requests do not log in again."""
    server.otherwise = answer(401, b'{"error": "no rights, bearer-2"}')
    async with client_of(server) as client:
        for _ in range(5):
            with pytest.raises(AccessDenied, match="answered 401") as caught:
                await client.send(GET, permit)
            assert "bearer-2" not in str(caught.value)

    assert len(server.login_heads) == 2


async def test_a_403_is_a_missing_right(server: RawServer, permit: NotingPermit) -> None:
    """A young bearer is not to blame; no login changes it."""
    server.otherwise = answer(403)
    async with client_of(server) as client:
        for _ in range(3):
            with pytest.raises(AccessDenied, match="lacks the right"):
                await client.send(GET, permit)

    assert len(server.login_heads) == 1


async def test_a_403_for_a_bearer_that_is_not_young_gets_one_login(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Case 13: some APIs say 403 for an expired bearer."""
    async with client_of(server) as client:
        await client.send(GET, permit)
        await trio.sleep(120)
        server.will(answer(403))
        assert (await client.send(GET, permit)).status == 200
        server.otherwise = answer(403)
        for _ in range(3):
            with pytest.raises(AccessDenied):
                await client.send(GET, permit)

    assert len(server.login_heads) == 2


@pytest.mark.parametrize(
    ("life", "holds_for"), [("3600", 3300), ("600", 540), ("60", 54), ('"600"', 540)]
)
async def test_a_bearer_is_replaced_ahead_of_its_end(
    server: RawServer,
    permit: NotingPermit,
    jumping: trio.testing.MockClock,
    life: str,
    holds_for: float,
) -> None:
    """Five minutes ahead, or a tenth of its life if that is less."""
    server.life = life
    async with client_of(server, keepalive=1e6) as client:
        await client.send(GET, permit)
        await trio.sleep(holds_for - 2)
        await client.send(GET, permit)
        assert len(server.login_heads) == 1
        await trio.sleep(4)
        await client.send(GET, permit)

    assert len(server.login_heads) == 2


async def test_a_login_that_does_not_say_how_long_is_good_for_five_minutes(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """A guess; a 401 before its end costs one replay."""
    server.logins.append(ok(b'{"access_token": "x"}'))
    async with client_of(server) as client:
        await client.send(GET, permit)
        await trio.sleep(271)
        await client.send(GET, permit)

    assert len(server.login_heads) == 2


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_age_is_what_the_fastest_clock_says(
    server: RawServer, permit: NotingPermit, which: int
) -> None:
    """Case 29: after a suspend of two hours, monotonic time says no time has passed."""
    now = [1000.0, 1000.0, 1000.0]
    clocks = (lambda: now[0], lambda: now[1], lambda: now[2])
    async with ApiClient(server.source(auth=token_auth()), clocks=clocks) as client:
        await client.send(GET, permit)
        now[which] -= 500  # set back: no clock makes a bearer young again
        await client.send(GET, permit)
        assert len(server.login_heads) == 1
        now[which] += 500 + 7200
        await client.send(GET, permit)

    assert len(server.login_heads) == 2


async def test_a_bearer_that_grows_old_in_the_budget_wait_is_replaced(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """Case 10: five seconds of life, ten of waiting; the header is built after the wait."""
    server.life = "5"
    async with client_of(server) as client:
        permit.spend_waits = 10
        await client.send(GET, permit)

    assert [bearer_in(h) for h in server.heads] == ["bearer-2"]


@pytest.mark.parametrize("spends", [False, True])
@pytest.mark.parametrize("waits", [3.0, 10.0])
async def test_a_bearer_that_grows_old_at_the_last_moment_is_replaced(
    server: RawServer,
    permit: NotingPermit,
    jumping: trio.testing.MockClock,
    waits: float,
    spends: bool,
) -> None:
    """Case 10: a token spent anew just before the first byte makes the request wait once more.

    Whether its connection outlives that wait (3 s) or not (10 s): it goes out with a bearer
    that holds, once, and nobody was refused for finding that out.
    """
    server.life = "4"
    source = server.source(auth=token_auth(spends=spends), keepalive=4.0)
    async with ApiClient(source) as client:
        await client.send(GET, permit)
        await trio.sleep(1)
        permit.notes.clear()
        permit.confirm_waits_once = waits
        await client.send(POST, permit)

    assert [bearer_in(h) for h in server.heads] == ["bearer-1", "bearer-2"]
    assert len(server.login_heads) == 2
    # Nothing was written on the first confirmation, and no token was lost by it.
    sent = ["confirm", "written", "answered"]
    assert permit.notes == ["spend", "confirm", *sent, *(["spend", *sent] if spends else [])]


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_wrong_credentials_are_a_terminal_state(server: RawServer, status: int) -> None:
    """One login for all tasks and all later calls: no storm of logins."""
    server.logins.extend([answer(status, b'{"error": "canary-p\\u00e4ssword:1 is wrong"}')] * 9)
    async with client_of(server) as client:
        met = await together(20, lambda: client.send(GET, NotingPermit()))
        met += await together(5, lambda: client.send(GET, NotingPermit()))

    assert all(isinstance(error, AccessDenied) for error in met)
    assert "canary" not in str(met[0])
    assert f"login: POST /auth/token answered {status}" in str(met[0])
    assert len({id(error) for error in met}) == 25, "each task has an exception of its own"
    assert len(server.login_heads) == 1
    assert server.heads == []


LOGIN_TROUBLES: dict[str, tuple[Behaviour, type[SyncdError], str]] = {
    "5xx": (answer(503, b"down", retry_after="7"), ApiUnavailable, "answered 503: down"),
    "timeout": (hang, ApiUnavailable, "no answer within 15 s"),
    "cut": (cut, ApiUnavailable, "lost before an answer"),
    "429": (answer(429, b'{"retry_after": 9}'), RateLimited, "answered 429"),
    "404": (answer(404, b"<html>"), UnexpectedAnswer, r"answered 404: <html>.*auth\.url"),
    "302": (answer(302, location="https://evil.example/?t=1"), UnexpectedAnswer, "answered 302"),
    "HTML": (ok(b"<html>Log in"), UnexpectedAnswer, "is not JSON"),
    "cut JSON": (ok(b'{"access_token": "x'), ApiUnavailable, "ends early"),
    "a list": (ok(b"[]"), UnexpectedAnswer, "access_token"),
    "no token": (ok(b'{"token": "abc"}'), UnexpectedAnswer, "missing .found: the keys token"),
    "token is a number": (ok(b'{"access_token": 1}'), UnexpectedAnswer, "of another form"),
    "token is empty": (ok(b'{"access_token": ""}'), UnexpectedAnswer, "of another form"),
    "token with newline": (ok(b'{"access_token": "a\\r\\nb"}'), UnexpectedAnswer, "another form"),
}
for bad in (b"true", b"-1", b"0", b"[]", b'"soon"', b"1e999", b"NaN", b'""', b"{}"):
    LOGIN_TROUBLES[f"expires_in {bad.decode()}"] = (
        ok(b'{"access_token": "x", "expires_in": ' + bad + b"}"),
        UnexpectedAnswer,
        "`expires_in` is",
    )


@pytest.mark.parametrize("case", LOGIN_TROUBLES)
async def test_a_login_that_fails_says_so_and_sends_nothing(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock, case: str
) -> None:
    """The request itself was not sent, so a POST may be repeated; the next login may work."""
    behaviour, kind, words = LOGIN_TROUBLES[case]
    server.logins.append(behaviour)
    async with client_of(server) as client:
        with pytest.raises(kind, match=words) as caught:
            await client.send(POST, permit)
        if isinstance(caught.value, ApiUnavailable):
            assert caught.value.sent == "no"
        if isinstance(caught.value, UnexpectedAnswer):
            assert caught.value.refused
        assert str(caught.value).startswith("login: ")
        assert "evil" not in str(caught.value)
        assert server.heads == []
        assert permit.notes == []
        await client.send(POST, permit)

    assert len(server.login_heads) == 2


async def test_a_herd_shares_a_failed_login(
    server: RawServer, jumping: trio.testing.MockClock
) -> None:
    """Twenty tasks wait for one login that hangs, not for twenty one after the other."""
    server.logins.append(hang)
    async with client_of(server) as client:
        started = trio.current_time()
        met = await together(20, lambda: client.send(GET, NotingPermit()))

    assert all(isinstance(error, ApiUnavailable) for error in met)
    assert trio.current_time() - started < 16
    assert len(server.login_heads) == 1


async def test_a_hint_of_a_failed_login_is_kept(server: RawServer, permit: NotingPermit) -> None:
    """Retry-After speaks for logins as well; the end of a window does for a 429 alone."""
    server.logins.extend(
        [
            answer(503, retry_after="7"),
            answer(429, b'{"retry_after": 9}'),
            answer(429, x_ratelimit_reset="8"),
            answer(500, x_ratelimit_reset="8"),
        ]
    )
    async with client_of(server) as client:
        for hint in (7.0, 9.0, 8.0, None):
            with pytest.raises((ApiUnavailable, RateLimited)) as caught:
                await client.send(GET, permit)
            assert caught.value.hint == hint


async def test_whoever_was_to_log_in_may_be_cancelled(server: RawServer) -> None:
    """The next in line logs in instead; nobody inherits a cancellation."""
    server.logins.append(hang)
    async with client_of(server) as client:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, GET, NotingPermit())
                while not server.login_heads:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()
        assert (await client.send(GET, NotingPermit())).status == 200

    assert len(server.login_heads) == 2


async def test_a_login_has_a_connection_of_its_own(server: RawServer) -> None:
    """With all slots taken by tasks that need a new bearer, the login still goes through."""
    server.otherwise = answer(401)
    async with client_of(server, connections=1) as client:
        with trio.fail_after(5):
            met = await together(5, lambda: client.send(GET, NotingPermit()))

    assert all(isinstance(error, AccessDenied) for error in met)


async def test_a_login_that_spends_takes_a_token_of_its_own(
    server: RawServer, permit: NotingPermit
) -> None:
    """With `spends`, login and request are two requests to the budget."""
    source = server.source(auth=token_auth(spends=True))
    async with ApiClient(source) as client:
        await client.send(GET, permit)

    assert permit.notes == ["spend", "confirm", "written", "answered"] * 2


async def test_a_login_after_the_wait_uses_the_token_at_hand(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock
) -> None:
    """The bearer outlived by the wait: the login takes the held token, the request another."""
    server.life = "5"
    source = server.source(auth=token_auth(spends=True))
    async with ApiClient(source) as client:
        await client.send(GET, permit)
        permit.notes.clear()
        permit.spend_waits = 4.6
        await client.send(GET, permit)

    assert permit.notes == ["spend", "confirm", "written", "answered"] * 2
    assert len(server.login_heads) == 2


async def test_a_source_without_auth_sends_no_authorization(
    server: RawServer, permit: NotingPermit
) -> None:
    """And a 401 says that the API wants one."""
    server.will(ok(), answer(401))
    async with ApiClient(server.source()) as client:
        await client.send(GET, permit)
        with pytest.raises(AccessDenied, match="no `auth`"):
            await client.send(GET, permit)

    assert "Authorization" not in server.heads[0]


async def test_a_refused_login_reads_the_credentials_again(
    server: RawServer, permit: NotingPermit
) -> None:
    """Rotated ones are used at once, and never is one pair of them sent twice."""
    now = token_auth()
    asked = 0

    async def reread() -> AuthSettings | None:
        nonlocal asked
        asked += 1
        await trio.lowlevel.checkpoint()
        return now

    server.logins.extend([answer(401, b"{}")] * 3)
    async with ApiClient(server.source(auth=token_auth()), reread=reread) as client:
        for _ in range(2):
            with pytest.raises(AccessDenied):
                await client.send(GET, permit)
        assert (asked, len(server.login_heads)) == (1, 1)

        now = token_auth(password=Secret("canary-new", "env PASSWORD"))
        client.forgive()  # a person has resumed the stream
        with pytest.raises(AccessDenied):
            await client.send(GET, permit)
        assert len(server.login_heads) == 3
        assert base64.b64encode(b"me@example.org:canary-new").decode() in server.login_heads[-1]

        client.forgive()
        assert (await client.send(GET, permit)).status == 200
        assert len(server.login_heads) == 4
