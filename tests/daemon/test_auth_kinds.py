"""Each kind of credentials, and each trouble that they can make: the table in docs/guarantees.md.

The real daemon, a real Postgres, and a server of the test's own behind a door of every kind
(`tests.daemon.accounts`).  Twenty things, four a page, and a call for each.
"""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from tests.daemon.accounts import ALL, SOLD, Api, Certificate, Way, config, guarded
from tests.daemon.conftest import Syncd
from tests.daemon.listing import SIZE, THINGS
from tests.daemon.looking import Database
from tests.daemon.running import RESTS, Daemon, daemon
from tests.daemon.serving import Gate, Herd

PAGES = THINGS // SIZE
PARKED = "stream parked"
BUDGET = 'budget = { requests = 100, per = "1h" }'
CALL = """
[sources.api.streams.{stream}.call]
path = "/things/{{id}}/call"
concurrency = 20
keep = {{ called = "called" }}
"""

STATIC = tuple(way for way in ALL if not way.sells and not isinstance(way, Certificate))


def cells(ways: tuple[Way, ...], default: str = "") -> pytest.MarkDecorator:
    """Each kind is a test; the default run has one of them at most."""
    return pytest.mark.parametrize(
        "way",
        [
            pytest.param(w, id=w.name, marks=() if w.name == default else pytest.mark.long)
            for w in ways
        ],
    )


SPENDS = pytest.mark.parametrize(
    "spends", [pytest.param(False, id="", marks=pytest.mark.long), pytest.param(True, id="spends")]
)


async def spent(at: Database) -> int:
    """Requests that the budget has counted."""
    (found,) = await at.query("SELECT count(*) FROM syncd.token WHERE free_at > clock_timestamp()")
    return int(found["count"])


async def assert_whole(api: Api, at: Database, *, cycles: int = 1) -> None:
    """No record was lost, and none was met twice."""
    assert await at.things() == api.listing.seen
    found = await at.cycles()
    assert [(c["outcome"], c["seen"]) for c in found] == [("ok", THINGS)] * cycles


def numbers(api: Api) -> list[str]:
    """The pages that were asked for, in order."""
    return [each.params["page"] for each in api.asked]


# --- tokens that end in a run -------------------------------------------------------------------


@SPENDS
@cells(SOLD, "token")
async def test_expiry_that_was_foreseen(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path, *, spends: bool
) -> None:
    """budget, accounted: one login more, before a refusal; it costs what `spends` says."""
    async with guarded(way, tmp_path) as api:
        api.life = 2.0
        more = "spends = true" if spends else ""
        syncd.write(config(api, postgres, source=BUDGET, auth=more))
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            assert len(api.logins) == 1
            api.life = 3600.0
            await api.wait_expired()
            gate.open()
            await running.leave()
        at = Database(postgres)
        assert len(api.logins) == 2
        assert (api.refused, api.families_ended) == ([], 0)
        assert numbers(api) == ["1", "2", "3", "4", "5"]
        assert await spent(at) == PAGES + (2 if spends else 0)
        await assert_whole(api, at)


@SPENDS
@cells(SOLD, "client-credentials")
async def test_expiry_that_nobody_foresaw(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path, *, spends: bool
) -> None:
    """budget, accounted: one 401, one login more, and the same page again."""
    async with guarded(way, tmp_path) as api:
        more = "spends = true" if spends else ""
        syncd.write(config(api, postgres, source=BUDGET, auth=more))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            api.expire()
            gate.open()
            await running.leave()
        at = Database(postgres)
        assert len(api.logins) == 2
        assert (len(api.refused), api.families_ended) == (1, 0)
        assert numbers(api) == ["1", "2", "3", "3", "4", "5"]
        assert await spent(at) == PAGES + 1 + (2 if spends else 0)
        await assert_whole(api, at)


@pytest.mark.long
async def test_expiry_of_a_certificate(syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """contained: it is tried a few times, and a renewed one is taken up with a reload."""
    async with guarded(Certificate(), tmp_path) as api:
        syncd.write(config(api, postgres, source="retries = 2"))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            # One that has ended meanwhile: nobody waits for that here, it comes by a reload.
            api.renew(until=datetime.now(UTC) - timedelta(days=1))
            running.process.send_signal(signal.SIGHUP)
            await running.until("config reloaded")
            gate.open()
            await running.until("retries used up, the cycle goes on later")
            assert "CERTIFICATE_EXPIRED" in running.said
            assert api.handshakes == 2 + 3
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        assert numbers(api) == ["1", "2", "3", "4", "5"]
        await assert_whole(api, Database(postgres))


# --- credentials that are refused for good ------------------------------------------------------


@cells(tuple(way for way in ALL if not isinstance(way, Certificate)), "refresh-token")
async def test_revoked(way: Way, syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """contained: one refusal, and the stream parks with what to do; nothing is asked meanwhile."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            api.revoke()
            gate.open()
            await running.until(PARKED)
            sold = len(api.logins)
            assert (len(api.refused), sold) == (1, 2 if way.sells else 0)
            said = told(running)
            if not way.name.startswith("no"):
                assert "Correct the source's credentials, then `syncd reload`" in said
            else:
                assert "The source has no `auth`; the API wants one" in said
            # Whoever reloads is believed to have mended something: that is one try more.
            running.process.send_signal(signal.SIGHUP)
            await running.until(PARKED, 2)
            assert (len(api.refused), len(api.logins)) == ((1, sold + 1) if way.sells else (2, 0))
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        tries = ["3"] if way.sells else ["3", "3"]
        assert numbers(api) == ["1", "2", *tries, "3", "4", "5"]
        assert "canary" not in running.said
        await assert_whole(api, Database(postgres))


def told(running: Daemon) -> str:
    """The line that tells why a stream is parked."""
    return next(line for line in running.said.splitlines() if PARKED in line)


@pytest.mark.long
async def test_revoked_certificate(syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """contained: below HTTP nobody tells why; it is tried a few times, then seldom."""
    async with guarded(Certificate(), tmp_path) as api:
        syncd.write(config(api, postgres, source="retries = 2"))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            api.revoke()
            gate.open()
            await running.until("retries used up, the cycle goes on later")
            assert api.handshakes == 2 + 3
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        assert numbers(api) == ["1", "2", "3", "4", "5"]
        await assert_whole(api, Database(postgres))


# --- a herd -------------------------------------------------------------------------------------


@cells(SOLD, "refresh-token")
async def test_herd_of_20_calls(way: Way, syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """no-blind-repeat: all get a 401 at once, one logs in, and each call is carried out once."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, call=CALL))
        api.together = Herd(THINGS)
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            api.expire()
            gate.open()
            await running.leave()
        assert len(api.refused) == THINGS
        assert (len(api.logins), api.families_ended) == (2, 0)
        assert api.called == dict.fromkeys(range(1, THINGS + 1), 1)
        at = Database(postgres)
        await assert_whole(api, at)
        assert await at.rows("id, called") == [(n, 1) for n in range(1, THINGS + 1)]


@cells(tuple(way for way in SOLD if way.name != "refresh-token"))
async def test_herd_of_20_calls_without_a_token_key(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """contained: one login for all in the process alone, too."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, call=CALL, kept=False))
        api.together = Herd(THINGS)
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            api.expire()
            gate.open()
            await running.leave()
        assert (len(api.refused), len(api.logins)) == (THINGS, 2)
        assert api.called == dict.fromkeys(range(1, THINGS + 1), 1)
        await assert_whole(api, Database(postgres))


@cells(SOLD)
async def test_herd_of_20_calls_whose_login_is_refused(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """contained, no-blind-repeat: one login is tried for all; each call waits to be made once."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, call=CALL))
        api.together = Herd(THINGS)
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            api.revoke()
            gate.open()
            await running.until(PARKED)
            assert (len(api.refused), len(api.logins)) == (THINGS, 2)
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        assert (len(api.refused), len(api.logins)) == (THINGS, 3)
        assert api.called == dict.fromkeys(range(1, THINGS + 1), 1)
        at = Database(postgres)
        await assert_whole(api, at)
        assert await at.query("SELECT id FROM syncd.dead_letter") == []


@cells(STATIC)
async def test_herd_of_20_calls_that_no_login_helps(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """contained: each is refused once, nothing is written, and the stream parks."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, call=CALL))
        api.together = Herd(THINGS)
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            api.revoke()
            gate.open()
            await running.until(PARKED)
            assert len(api.refused) == THINGS
            assert await Database(postgres).things() == {}
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        assert len(api.refused) == THINGS
        assert api.called == dict.fromkeys(range(1, THINGS + 1), 1)
        at = Database(postgres)
        await assert_whole(api, at)
        assert await at.query("SELECT id FROM syncd.dead_letter") == []


@pytest.mark.long
async def test_herd_of_20_calls_whose_certificate_is_refused(
    syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """no-blind-repeat: what ends in the handshake was not carried out, though it was written."""
    async with guarded(Certificate(), tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, source="retries = 0", call=CALL))
        gate = api.gate(1)
        async with daemon(syncd) as running:
            await gate.wait()
            api.revoke()
            gate.open()
            await running.until("retries used up, the cycle goes on later")
            assert "the server refuses our certificate" in running.said
            assert api.called == {}
            api.renew()
            running.process.send_signal(signal.SIGHUP)
            await running.leave()
        assert api.called == dict.fromkeys(range(1, THINGS + 1), 1)
        at = Database(postgres)
        await assert_whole(api, at)
        assert await at.query("SELECT id FROM syncd.dead_letter") == []


@pytest.mark.long
async def test_herd_of_20_streams(syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """contained: the streams of a source share its token, and one of them buys the next."""
    way = next(way for way in SOLD if way.name == "refresh-token")
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres, size=THINGS, streams=THINGS))
        async with daemon(syncd) as running:
            await running.until(RESTS, THINGS)
            assert len(api.logins) == 1
            api.expire()
            api.together = Herd(THINGS)
            names = [f"things{number or ''}" for number in range(THINGS)]
            await Database(postgres).ask("sync", *names)
            await running.until(RESTS, 2 * THINGS)
        assert len(api.refused) == THINGS
        assert (len(api.logins), api.families_ended) == (2, 0)


# --- two processes ------------------------------------------------------------------------------


@cells(SOLD, "refresh-token")
async def test_two_processes(way: Way, syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """contained: of a daemon and a `check` that are refused at once one logs in, for both."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            api.expire()
            api.together = Herd(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(checked, syncd)
                gate.open()
            await running.until(RESTS)
        assert len(api.refused) == 2
        assert (len(api.logins), api.families_ended) == (2, 0)
        # What they have bought outlasts them.
        async with daemon(syncd) as running:
            await running.until(RESTS)
            await Database(postgres).ask("sync")
            await running.until(RESTS, 2)
        assert (len(api.logins), len(api.refused)) == (2, 2)
        await assert_whole(api, Database(postgres), cycles=2)


@cells(SOLD)
async def test_killed_in_a_login(way: Way, syncd: Syncd, postgres: str, tmp_path: Path) -> None:
    """drain, resume: the next life waits until that login is nobody's, but not to be stopped."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres))
        api.login_gate = Gate()
        async with daemon(syncd) as running:
            await api.login_gate.wait()
            running.process.kill()
        api.login_gate = None
        async with daemon(syncd) as running:
            await running.until("cycle started")
            with trio.fail_after(10):
                running.process.terminate()
                await running.process.wait()
            assert running.process.returncode == 0, running.said
        assert len(api.logins) == 1
        # The claim of who was killed, ended by hand instead of by half a minute.
        await Database(postgres).query("UPDATE syncd.vault SET claimed_until = 'epoch' RETURNING 1")
        async with daemon(syncd) as running:
            await running.leave()
        assert (len(api.logins), api.families_ended) == (2, 0)
        await assert_whole(api, Database(postgres))


async def checked(syncd: Syncd) -> None:
    done = await syncd.command("check")
    assert done.returncode == 0, done.stdout + done.stderr


@cells(STATIC)
async def test_two_processes_that_share_nothing(
    way: Way, syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """contained: each shows the same credentials; neither is in the other's way."""
    async with guarded(way, tmp_path) as api:
        syncd.write(config(api, postgres))
        gate = api.gate(2)
        async with daemon(syncd) as running:
            await gate.wait()
            await checked(syncd)
            gate.open()
            await running.leave()
        assert api.refused == []
        await assert_whole(api, Database(postgres))
