"""What operators ask of a running daemon, by the real commands and through a real Postgres."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import Syncd, config, lines_until

SPEED = 60.0


@attrs.frozen(kw_only=True)
class Running:
    """A daemon whose first cycle has ended, and its mock."""

    mock: MockServer
    process: trio.Process
    syncd: Syncd


@asynccontextmanager
async def running(
    syncd: Syncd, database: str, *, call: str = 'repeat = "with-key"', campaigns: int = 12
) -> AsyncIterator[Running]:
    options = {"speed": SPEED, "campaigns": campaigns, "fail_every": 0, "hang_every": 0}
    async with running_mock(**options) as mock:
        syncd.write(config(mock.base_url, database, speed=SPEED, size=4, call=call))
        async with syncd.started("run") as process:
            yield Running(mock=mock, process=process, syncd=syncd)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0


def rows(database: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


async def test_sync_waits_for_the_cycle_that_it_begins(syncd: Syncd, postgres: str) -> None:
    """accounted: what changed at the API is in the table when the command returns."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        await at.mock.change("camp_3", name="renamed")
        done = await syncd.command("sync", "campaigns", "--wait")
        assert (done.returncode, done.stderr) == (0, "")
        assert "begins now" in done.stdout
        assert "ended ok: 12 seen, 12 written, 0 unchanged, 0 dead" in done.stdout
        assert rows(postgres, "SELECT name FROM campaigns WHERE id = 'camp_3'") == [("renamed",)]


@pytest.mark.long
async def test_sync_of_single_records(syncd: Syncd, postgres: str) -> None:
    """accounted: just these, with a call each; what is not there is said, with exit status 1."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        before = (await at.mock.calls())["asked"]
        await at.mock.change("camp_11", name="renamed")
        done = await syncd.command("sync", "campaigns", "camp_11", "camp_2")
        assert (done.returncode, done.stderr) == (0, "")
        assert "2 written" in done.stdout
        assert (await at.mock.calls())["asked"] == before + 2
        missing = await syncd.command("sync", "campaigns", "camp_99")
        assert missing.returncode == 1
        assert "the API does not list: camp_99" in missing.stderr
        cycles = json.loads((await syncd.command("cycles", "--json")).stdout)
        assert [c["whole"] for c in cycles] == [False, True]


@pytest.mark.long
async def test_pause_and_resume(syncd: Syncd, postgres: str) -> None:
    """drain: after `pause` has returned nothing is asked, a restart included."""
    async with running(syncd, postgres, campaigns=40) as at:
        await lines_until(at.process, "page committed")
        done = await syncd.command("pause", "campaigns")
        assert (done.returncode, done.stdout) == (0, "adplatform.campaigns: paused\n")
        asked = len(await at.mock.requests())
        state = json.loads((await syncd.command("status", "--json")).stdout)["streams"][0]
        assert state["state"] == "paused"
        assert len(await at.mock.requests()) == asked
        at.process.send_signal(signal.SIGTERM)
        await at.process.wait()
        async with syncd.started("run") as again:
            await lines_until(again, "paused by an operator")
            assert len(await at.mock.requests()) == asked
            done = await syncd.command("resume", "campaigns")
            assert done.returncode == 0
            await lines_until(again, "cycle ended")
        pages = [e["query"] for e in await at.mock.requests() if e["path"] == "/api/campaigns"]
        assert len(pages) == len(set(pages)) == 10


@pytest.mark.long
async def test_reset_begins_anew(syncd: Syncd, postgres: str) -> None:
    """resume: with a daemon and without one; the table keeps its rows."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "page committed")
        refused = await syncd.command("reset", "campaigns")
        assert refused.returncode == 1  # nobody answered whether it is meant
        done = await syncd.command("reset", "campaigns", "--yes")
        assert done.returncode == 0
        assert "the next begins now, at its first page" in done.stdout
        await lines_until(at.process, "cycle ended")
        await lines_until(at.process, "resting")
        at.process.send_signal(signal.SIGTERM)
        await at.process.wait()
        done = await syncd.command("reset", "campaigns", "--yes")
        assert "no daemon runs it now" in done.stdout
        assert rows(postgres, "SELECT next_start, cycle FROM syncd.checkpoint") == [(None, None)]
        assert rows(postgres, "SELECT count(*) FROM campaigns") == [(12,)]


@pytest.mark.long
async def test_a_parked_stream_is_resumed(syncd: Syncd, postgres: str) -> None:
    """contained: `status` says what to do, and doing it helps."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting")
        await at.mock.faults({"path": "/api/campaigns", "status": 404})
        await syncd.command("sync", "campaigns")
        await lines_until(at.process, "stream parked")
        shown = (await syncd.command("status")).stdout
        assert "`syncd resume adplatform.campaigns`" in shown
        await at.mock.faults()
        assert (await syncd.command("resume", "campaigns")).returncode == 0
        await lines_until(at.process, "cycle ended")
        state = json.loads((await syncd.command("status", "--json")).stdout)["streams"][0]
        assert state["state"] == "resting"


@pytest.mark.long
async def test_a_dead_letter_is_retried(syncd: Syncd, postgres: str) -> None:
    """no-blind-repeat: with its first key; it leaves with the row."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting")
        await at.mock.faults({"path": "*/camp_7/sync", "status": 422})
        assert (await syncd.command("sync", "campaigns", "camp_7")).returncode == 1
        (letter,) = json.loads((await syncd.command("dead", "list", "--json")).stdout)["letters"]
        again = await syncd.command("dead", "retry", str(letter["id"]))
        assert again.returncode == 1
        assert "1 put aside" in again.stderr
        await at.mock.faults()
        done = await syncd.command("dead", "retry", "--all", "campaigns")
        assert (done.returncode, done.stdout) == (0, "adplatform.campaigns: 1 written\n")
        assert (await syncd.command("dead", "list")).stdout == "no dead letters\n"
        keys = {
            e["key"]
            for e in await at.mock.requests()
            if e["path"].endswith("camp_7/sync") and e["seq"] > 20
        }
        assert letter["idempotency_key"] in keys


@pytest.mark.long
async def test_a_call_that_may_be_twice_is_not_repeated_by_the_way(
    syncd: Syncd, postgres: str
) -> None:
    """no-blind-repeat: an unknown outcome needs a person who has looked, and says so."""
    async with running(syncd, postgres, call='repeat = "never"') as at:
        await lines_until(at.process, "resting")
        await at.mock.faults({"path": "*/camp_7/sync", "cut": "before-headers", "handle": True})
        await syncd.command("sync", "campaigns", "camp_7")
        await at.mock.faults()
        (letter,) = json.loads((await syncd.command("dead", "list", "--json")).stdout)["letters"]
        assert letter["kind"] == "outcome-unknown"
        before = (await at.mock.calls())["asked"]
        refused = await syncd.command("dead", "retry", str(letter["id"]))
        assert refused.returncode == 1
        assert "--repeat" in refused.stderr
        assert (await at.mock.calls())["asked"] == before
        done = await syncd.command("dead", "retry", str(letter["id"]), "--repeat")
        assert done.returncode == 0
        assert (await at.mock.calls())["asked"] == before + 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("sync", "campaigns"), "no daemon runs adplatform; `syncd once adplatform.campaigns`"),
        (("reload",), "no daemon runs a source of this config"),
        (("sync", "nothing"), "there is no stream 'nothing'"),
        (("sync", "campaigns", "1", "--wait"), "leave --wait out"),
        (("sync", "campaigns", " "), "a KEY is empty"),
        (("dead", "retry"), "name the IDs"),
    ],
)
async def test_without_a_daemon_it_says_what_to_do(
    command: tuple[str, ...], says: str, syncd: Syncd, postgres: str
) -> None:
    """contained: never a wait for somebody who is not there."""
    syncd.write(config("http://127.0.0.1:9", postgres, speed=SPEED))
    done = await syncd.command(*command, within=30)
    assert done.returncode in (1, 2)
    assert says in done.stderr


async def test_pausing_without_a_daemon_holds_for_the_next(syncd: Syncd, postgres: str) -> None:
    """drain: also for a stream that never ran."""
    syncd.write(config("http://127.0.0.1:9", postgres, speed=SPEED))
    done = await syncd.command("pause", "campaigns")
    assert (done.returncode, "no daemon runs it" in done.stdout) == (0, True)
    async with syncd.started("run") as process:
        await lines_until(process, "paused by an operator")


@pytest.mark.long
async def test_a_daemon_that_is_stopped_does_not_take_a_request_later(
    syncd: Syncd, postgres: str
) -> None:
    """contained: who has given up waiting is not surprised by it afterwards."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting")
        at.process.send_signal(signal.SIGSTOP)
        async with syncd.started("sync", "campaigns") as asking:
            with trio.fail_after(60):
                while True:
                    if rows(postgres, "SELECT count(*) FROM syncd.request") == [(1,)]:
                        break
                    await trio.sleep(0.05)
            asking.send_signal(signal.SIGINT)
            await asking.wait()
        at.process.send_signal(signal.SIGCONT)
        assert rows(postgres, "SELECT count(*) FROM syncd.request") == [(0,)]
