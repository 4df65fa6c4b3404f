"""Who is told what: a real daemon, a real Postgres, and a real HTTP receiver.

Each default kind is told once when it begins and once when it is over, signed.
"""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store.embedded import embedded_server
from tests.daemon.conftest import Syncd, config
from tests.daemon.running import RESTS, Daemon, daemon
from tests.daemon.test_postgres_troubles import inside
from tests.proxy.between import socket_of, through
from tests.proxy.relay import Proxy, running_proxy
from tests.receiving import Received, Receiver, running_receiver, verifier

SPEED = 60.0
SECRET = "a-canary-secret-that-signs"
PASSWORD = "a-canary-password"
PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text("utf-8")
verify = verifier(PAGE)

NOTIFY = """
[[notify]]
url = {{ env = "HOOK_URL" }}
secret = {{ env = "HOOK_SECRET" }}
{more}
"""


@attrs.define(eq=False, kw_only=True)
class Stage:
    """All that takes part."""

    syncd: Syncd
    database: str
    mock: MockServer
    receiver: Receiver
    password: Path
    stream: str = ""
    source: str = ""
    """More lines of the config, for the stream and the source."""

    notify: str = 'after = "0s"'
    heartbeat: bool = False

    def write(self, *, more: str = "") -> None:
        beat = f'heartbeat = "{self.receiver.url("beat")}"' if self.heartbeat else ""
        text = config(
            self.mock.base_url,
            self.database,
            speed=SPEED,
            size=4,
            source=self.source,
            stream=f"{beat}\n{self.stream}",
        )
        text = text.replace('{ env = "ADPLATFORM_PASSWORD" }', f'{{ file = "{self.password}" }}')
        self.syncd.write(text + NOTIFY.format(more=self.notify) + more)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        environ = {"HOOK_URL": self.receiver.url("hook"), "HOOK_SECRET": SECRET}
        self.syncd.env = environ
        async with daemon(self.syncd, within=90.0, environ=environ) as running:
            yield running

    async def sync(self) -> None:
        """A cycle now, to its end, however it ends."""
        await self.syncd.command("sync", "campaigns", "--wait")

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    async def told(self, alarm: str, state: str) -> dict[str, Any]:
        found = await self.receiver.message(alarm, state)
        assert_right(found)
        return found.json


def assert_right(found: Received) -> None:
    """Signed, whole, and without a secret."""
    assert verify(SECRET, found.headers, found.body)
    assert not verify(SECRET, found.headers, found.body + b" ")
    assert found.headers["webhook-id"] == found.json["id"]
    assert found.headers["content-type"] == "application/json"
    schema = PAGE.partition("```json\n")[2].partition("```")[0]
    assert set(found.json) == set(json.loads(schema))
    for canary in (SECRET, PASSWORD, "127.0.0.1:" + found.headers["host"].split(":")[1]):
        assert canary not in found.body.decode()


@pytest.fixture
async def stage(syncd: Syncd, postgres: str, tmp_path: Path) -> AsyncIterator[Stage]:
    password = tmp_path / "password"
    password.write_text("secret")
    options = {"speed": SPEED, "campaigns": 12, "fail_every": 0, "hang_every": 0}
    async with running_mock(**options) as mock, running_receiver() as receiver:
        yield Stage(syncd=syncd, database=postgres, mock=mock, receiver=receiver, password=password)


async def leave(running: Daemon) -> None:
    running.process.terminate()
    with trio.fail_after(20):
        await running.process.wait()
    assert running.process.returncode == 0, running.said


# --- each default kind -------------------------------------------------------------------------


async def test_a_parked_stream_is_told_once_and_once_that_it_goes_on(stage: Stage) -> None:
    """contained, no-secret-out: signed, with what to do; and the log says what was delivered."""
    stage.write()
    stage.sql("CREATE TABLE campaigns (id text)")
    async with stage.daemon() as running:
        found = await stage.told("parked", "firing")
        assert found["source"] == "adplatform"
        assert found["stream"] == "campaigns"
        assert found["sentence"] == "adplatform.campaigns is parked: it needs a person"
        assert "campaigns" in found["reason"]
        assert "syncd resume adplatform.campaigns" in found["todo"]
        await running.until("notification delivered")
        again = await stage.syncd.command("resume", "campaigns")  # it parks again: no news
        assert again.returncode == 1
        assert "it is parked: " in again.stderr
        stage.sql("DROP TABLE campaigns")
        await stage.syncd.command("resume", "campaigns")
        over = await stage.told("parked", "recovered")
        assert over["lasted_seconds"] > 0
        begun = [datetime.fromisoformat(each["since"]) for each in (over, found)]
        assert abs((begun[0] - begun[1]).total_seconds()) < 1  # told by two clocks
        await running.until(RESTS)
        await leave(running)
    assert stage.receiver.said() == [("parked", "firing"), ("parked", "recovered")]
    assert stage.sql("SELECT * FROM syncd.notice") == []
    assert stage.sql("SELECT kind, ended_at IS NOT NULL FROM syncd.alarm") == [("parked", True)]
    kept = str(stage.sql("SELECT * FROM syncd.alarm"))
    assert "http" not in kept
    assert SECRET not in kept + running.said
    assert "can't be written down" not in running.said
    assert stage.receiver.url("hook") not in running.said


@pytest.mark.long
async def test_retries_that_are_used_up_are_told(stage: Stage) -> None:
    """contained: `failing`; the stream goes on by itself."""
    stage.source = "retries = 1"
    stage.write()
    await stage.mock.faults({"path": "/api/*", "status": 503})
    async with stage.daemon() as running:
        found = await stage.told("failing", "firing")
        assert "503" in found["reason"]
        await stage.mock.faults()
        await stage.syncd.command("resume", "campaigns")
        await stage.told("failing", "recovered")
        await running.until(RESTS)
        await leave(running)
    assert stage.receiver.said() == [("failing", "firing"), ("failing", "recovered")]


@pytest.mark.long
async def test_an_api_that_fails_everybody_is_told(stage: Stage) -> None:
    """contained: `api-failing`, of the source."""
    stage.source = "retries = 20"
    stage.write()
    await stage.mock.faults({"path": "/api/campaigns/*", "status": 503})
    async with stage.daemon() as running:
        found = await stage.told("api-failing", "firing")
        assert (found["source"], found["stream"]) == ("adplatform", None)
        await stage.mock.faults()
        await stage.syncd.command("resume", "campaigns")
        await stage.told("api-failing", "recovered")
        await running.until(RESTS)
        await leave(running)
    assert stage.receiver.said() == [("api-failing", "firing"), ("api-failing", "recovered")]


@pytest.mark.long
async def test_a_cycle_in_doubt_and_deletes_that_are_held_are_told(stage: Stage) -> None:
    """accounted, no-delete-on-absence: `suspicious` and `deletes-held`; no heartbeat is sent."""
    stage.heartbeat = True
    stage.write()
    async with stage.daemon() as running:
        await running.until(RESTS)
        await stage.receiver.until(1, "beat")
        ids = [c["id"] for c in await stage.mock.campaigns()]
        for each in ids:
            await stage.mock.remove(each)
        await stage.sync()
        found = await stage.told("suspicious", "firing")
        assert found["reason"]
        assert len(stage.receiver.taken("beat")) == 1
        await stage.syncd.command("reconcile", "campaigns", "--wait")
        held = await stage.told("deletes-held", "firing")
        assert "12 of 12 rows are gone" in held["reason"]
        assert "--approve" in held["todo"]
        assert len(stage.receiver.taken("beat")) == 1
        await stage.syncd.command("reconcile", "campaigns", "--approve", "--yes", "--wait")
        await stage.told("deletes-held", "recovered")
        await stage.mock.add(12)
        await stage.sync()
        await stage.told("suspicious", "recovered")
        await leave(running)
    assert sorted(stage.receiver.said()) == [
        ("deletes-held", "firing"),
        ("deletes-held", "recovered"),
        ("suspicious", "firing"),
        ("suspicious", "recovered"),
    ]


@pytest.mark.long
async def test_dead_letters_are_told_until_none_lies_there(stage: Stage) -> None:
    """accounted: a record that breaks its contract; corrected, it is over."""
    stage.write()
    await stage.mock.change("camp_3", impressions="many")
    async with stage.daemon() as running:
        found = await stage.told("dead-letters", "firing")
        assert found["reason"] == "1 dead letter lies there"
        assert found["todo"] == "See `syncd dead list adplatform.campaigns`."
        await running.until(RESTS)
        await stage.sync()
        await stage.mock.restore("camp_3")
        await stage.sync()
        await stage.told("dead-letters", "recovered")
        await stage.told("contract", "recovered")
        await leave(running)
    # What is wrong with the data is told beside it, and each once.
    said = sorted(stage.receiver.said())
    both = ("contract", "dead-letters")
    assert said == [(kind, state) for kind in both for state in ("firing", "recovered")]


@pytest.mark.long
async def test_data_that_is_too_old_is_told(stage: Stage) -> None:
    """accounted: nothing fails, and no cycle ends well in time."""
    stage.notify = 'max_age = "2s"\non = ["data-too-old"]'
    stage.write()
    text = stage.syncd.path.read_text().replace('every = "1d"', 'every = "1s"')
    # 15 requests make a cycle, and 10 of them fit into any 3 seconds: no cycle is in time.
    stage.syncd.write(text.replace(f'per = "{60 / SPEED}s"', 'per = "3s"'))
    async with stage.daemon() as running:
        await running.until("cycle ended")
        found = await stage.told("data-too-old", "firing")
        assert found["reason"] == "no cycle has ended well for 2 s"
        await stage.told("data-too-old", "recovered")
        await leave(running)


@pytest.mark.long
async def test_a_refused_login_is_told_once_for_all_streams(stage: Stage) -> None:
    """contained: of the source, with what to do; the password is not among it."""
    stage.password.write_text(PASSWORD)
    stage.write()
    async with stage.daemon() as running:
        found = await stage.told("login-refused", "firing")
        assert (found["source"], found["stream"]) == ("adplatform", None)
        assert "restart syncd (env ADPLATFORM_EMAIL" in found["todo"]
        stage.password.write_text("secret")
        assert (await stage.syncd.command("reload")).returncode == 0
        await stage.told("login-refused", "recovered")
        await running.until(RESTS)
        await leave(running)
    assert stage.receiver.said() == [("login-refused", "firing"), ("login-refused", "recovered")]


@pytest.mark.long
async def test_a_refused_reload_is_told_and_one_that_is_taken_up(stage: Stage) -> None:
    """all-or-nothing-reload: with its faults."""
    stage.write()
    async with stage.daemon() as running:
        await running.until(RESTS)
        stage.write(more="\nfoo = 1\n[x]\n")
        running.process.send_signal(signal.SIGHUP)
        found = await stage.told("reload-refused", "firing")
        assert "unknown key" in found["reason"]
        assert (found["source"], found["stream"]) == (None, None)
        running.process.send_signal(signal.SIGHUP)
        stage.write()
        running.process.send_signal(signal.SIGHUP)
        await stage.told("reload-refused", "recovered")
        other = stage.receiver.url("other")
        secret = "secret = { env = 'HOOK_SECRET' }"
        stage.write(more=f"\n[[notify]]\nname = 'other'\nurl = '{other}'\n{secret}\n")
        assert (await stage.syncd.command("reload")).returncode == 0
        stage.write(more="\nfoo = 1\n[x]\n")
        running.process.send_signal(signal.SIGHUP)
        await stage.receiver.message("reload-refused", "firing", "other")
        await stage.receiver.until(3)
        await leave(running)
    assert stage.receiver.said("other") == [("reload-refused", "firing")]
    assert stage.receiver.said()[:2] == [
        ("reload-refused", "firing"),
        ("reload-refused", "recovered"),
    ]


@asynccontextmanager
async def behind_a_proxy(stage: Stage) -> AsyncIterator[Proxy]:
    """Postgres is reached through something that can be taken away."""
    direct = stage.database
    async with running_proxy(to=socket_of(direct)) as proxy:
        stage.database = through(proxy, direct)
        stage.write()
        stage.database = direct
        yield proxy


@pytest.mark.long
async def test_a_postgres_that_is_away_is_told_all_the_same(stage: Stage, place: Path) -> None:
    """contained: it can't be written down, and this process remembers; also before the start."""
    stage.notify = 'after = "1s"'
    missing = place / "nowhere"
    stage.write()
    text = stage.syncd.path.read_text()
    stage.syncd.write(text.replace(stage.database.split("=")[1].split()[0], str(missing)))
    async with stage.daemon() as running:
        found = await stage.told("postgres-away", "firing")
        assert (found["source"], found["stream"]) == (None, None)
        host = stage.database.split("=")[1].split()[0]
        os.symlink(host, missing)  # noqa: PTH211 - it is there now
        await stage.told("postgres-away", "recovered")
        await running.until(RESTS)
        await leave(running)
    assert stage.receiver.said() == [("postgres-away", "firing"), ("postgres-away", "recovered")]


@pytest.mark.long
async def test_a_postgres_that_goes_away_is_told_and_what_it_missed_is_kept_later(
    stage: Stage, place: Path
) -> None:
    """contained: stopped under a running daemon, for longer than it may pass."""
    stage.notify = 'after = "1s"'
    async with embedded_server(place / "state") as server:
        stage.database = inside(server)
        stage.write()
        text = stage.syncd.path.read_text().replace('every = "1d"', 'every = "1s"')
        stage.syncd.write(text)
        async with stage.daemon() as running:
            await running.until("cycle ended")
            stop: list[str | Path] = [server._binaries / "pg_ctl", "stop", "-m", "immediate"]
            await trio.run_process(
                [*stop, "-D", server.place.data], capture_stdout=True, **server.place.as_user
            )
            await stage.told("postgres-away", "firing")
            await server.revive()
            await stage.told("postgres-away", "recovered")
            await leave(running)
        assert stage.sql("SELECT kind, ended_at IS NULL FROM syncd.alarm") == [
            ("postgres-away", False)
        ]
        assert stage.sql("SELECT * FROM syncd.notice") == []
    assert stage.receiver.said() == [("postgres-away", "firing"), ("postgres-away", "recovered")]


# --- how it is delivered -----------------------------------------------------------------------


async def park(stage: Stage) -> None:
    """The next daemon's stream is parked at once."""
    stage.write()
    stage.sql("CREATE TABLE campaigns (id text)")


@pytest.mark.long
async def test_a_killed_syncd_tells_nothing_again(stage: Stage) -> None:
    """resume: kill -9 after it was told; the next start knows, and tells when it is over."""
    await park(stage)
    async with stage.daemon() as running:
        await stage.told("parked", "firing")
        await running.until("notification delivered")
        while stage.sql("SELECT * FROM syncd.notice"):  # noqa: ASYNC110 - another process's doing
            await trio.sleep(0.05)
        running.process.kill()
        await running.process.wait()
    async with stage.daemon() as running:
        await running.until("stream parked")
        stage.sql("DROP TABLE campaigns")
        await stage.syncd.command("resume", "campaigns")
        await stage.told("parked", "recovered")
        await leave(running)
    assert stage.receiver.said() == [("parked", "firing"), ("parked", "recovered")]


@pytest.mark.long
async def test_what_a_receiver_did_not_take_is_delivered_by_the_next_start(stage: Stage) -> None:
    """drain, resume: 500s hold neither the stream nor the end; the message keeps its id."""
    stage.receiver.status["hook"] = 500
    await park(stage)
    async with stage.daemon() as running:
        await running.until("a receiver does not take notifications: it is tried again")
        began = trio.current_time()
        await leave(running)
        assert trio.current_time() - began < 2.0
        assert "left with notifications undelivered" in running.said
    first = stage.receiver.received[0].json["id"]
    stage.receiver.status.clear()
    async with stage.daemon() as running:
        assert (await stage.told("parked", "firing"))["id"] == first
        await leave(running)
    assert stage.receiver.said() == [("parked", "firing")]


@pytest.mark.long
async def test_a_receiver_that_is_down_gets_it_when_it_is_up(stage: Stage) -> None:
    """contained: and meanwhile the stream goes on; told in the log once."""
    stage.receiver.status["hook"] = 302  # not followed
    stage.write()
    await stage.mock.change("camp_3", impressions="many")
    async with stage.daemon() as running:
        await running.until("a receiver does not take notifications: it is tried again")
        await running.until(RESTS)
        await stage.receiver.until(2, any_status=True)
        stage.receiver.status.clear()
        await stage.told("dead-letters", "firing")
        await leave(running)
        assert running.said.count("a receiver does not take") == 1
        assert "attempts=3" in running.said
    assert not [r for r in stage.receiver.received if r.path == "/elsewhere"]


@pytest.mark.long
async def test_a_receiver_that_does_not_answer_delays_neither_stream_nor_end(stage: Stage) -> None:
    """drain, contained: it hangs; the cycle ends, and leaving takes two seconds more at most."""
    stage.receiver.silent.add("hook")
    stage.write()
    await stage.mock.change("camp_3", impressions="many")
    async with stage.daemon() as running:
        await stage.receiver.until(1, any_status=True)
        await stage.sync()
        began = trio.current_time()
        await leave(running)
        assert trio.current_time() - began < 4.0


@pytest.mark.long
async def test_a_heartbeat_is_asked_for_once_after_each_good_cycle(stage: Stage) -> None:
    """accounted: and its address stands in no line."""
    stage.heartbeat = True
    stage.write()
    async with stage.daemon() as running:
        await stage.receiver.until(1, "beat")
        await running.until(RESTS)
        await stage.sync()
        await stage.receiver.until(2, "beat")
        await leave(running)
        assert stage.receiver.url("beat") not in running.said
    beats = stage.receiver.taken("beat")
    assert [(b.method, b.body) for b in beats] == [("GET", b"")] * 2
    assert stage.receiver.said() == []


async def test_a_test_message_is_sent_to_each_and_it_is_said_what_came_of_it(stage: Stage) -> None:
    """no-secret-out: by `syncd notify test`, without a daemon; the address is not shown."""
    slack = stage.receiver.url("a-canary-path-of-slack")
    stage.notify = f'[[notify]]\nname = "channel"\nkind = "slack"\nurl = "{slack}"'
    stage.write()
    stage.syncd.env = {"HOOK_URL": stage.receiver.url("hook"), "HOOK_SECRET": SECRET}
    done = await stage.syncd.command("notify", "test")
    assert done.returncode == 0, done.stderr
    assert [line[:20] for line in done.stdout.splitlines()] == [
        "ok    notify[1]: tak",
        "ok    channel: taken",
    ]
    (message,) = stage.receiver.taken()
    assert_right(message)
    assert (message.json["alarm"], message.json["state"]) == ("test", "test")
    (shaped,) = stage.receiver.taken("a-canary-path-of-slack")
    assert "this is a test" in shaped.json["text"]
    stage.receiver.status["a-canary-path-of-slack"] = 404
    done = await stage.syncd.command("notify", "test", "channel")
    assert (done.returncode, done.stdout) == (1, "FAIL  channel: it answered 404\n")
    done = await stage.syncd.command("notify", "test", "nobody")
    assert done.returncode == 2
    assert "name one of: notify[1], channel" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    text = stage.syncd.path.read_text().partition("[[notify]]")[0]
    stage.syncd.write(text)
    done = await stage.syncd.command("notify", "test")
    assert done.returncode == 1
    assert "has no [[notify]]" in done.stderr
