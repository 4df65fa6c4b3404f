"""SIGHUP and `syncd reload` on the real daemon: at any moment, with each fate."""

import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import psycopg
import psycopg.conninfo
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.app.database import table
from syncd.config.load import load
from syncd.demo import compare, repeated
from syncd.store.postgres import open_store
from syncd.sync.model import StreamId
from tests.daemon.conftest import COLUMNS, Syncd, lines_until
from tests.daemon.running import AT_ONCE

SPEED = 60.0
LONG = 60.0  # seconds of the platform; a second here: longer than a reload takes
FATES = ("keep", "adopt", "replace", "retire", "add")
MOMENTS = ("page", "call", "budget wait", "backoff", "login")
OURS = StreamId(source="ads", stream="campaigns")
SECRETS = {"ADPLATFORM_EMAIL": "x", "ADPLATFORM_PASSWORD": "x"}

HEAD = """
[database]
url = '{database}'
[sources.pattern]
base_url = "{base_url}"
timeout = "5s"
retries = 5
backoff = "0.5s"
keepalive = "0.1s"
[sources.pattern.auth]
url = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}
"""

SOURCE = """
[sources.{source}]
like = "pattern"
headers = {{ "X-Client-Id" = "{source}" }}
budget = {{ requests = 10, per = "1s", slack = "0.25s" }}
"""

STREAM = """
[sources.{source}.streams.{name}]
every = "{every}"
path = "/api/campaigns"
records = "data"
key = ["id"]
table = "{source}_{name}"
volatile = ["impressions", "clicks", "conversions"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
[sources.{source}.streams.{name}.columns]
{columns}
synced_at = "timestamptz"
[sources.{source}.streams.{name}.call]
path = "/api/campaigns/{{id}}/sync"
keep = {{ synced_at = "synced_at" }}
success = "success"
repeat = "with-key"
"""


def stream(name: str = "campaigns", *, every: str = "1d", size: int = 4) -> tuple[str, str, int]:
    return name, every, size


def source(name: str, *streams: tuple[str, str, int]) -> str:
    """A source with these streams, which write to tables of their own."""
    return SOURCE.format(source=name) + "".join(
        STREAM.format(source=name, name=of, every=every, size=size, columns=COLUMNS)
        for of, every, size in streams
    )


STEADY = source("steady", stream())


@attrs.define(eq=False, kw_only=True)
class Stage:
    """A daemon, its log as it comes, its mock, and the file that it reads."""

    mock: MockServer
    syncd: Syncd
    process: trio.Process
    database: str
    head: str
    log: list[str] = attrs.field(factory=list)

    async def until(self, text: str, *, within: float = 30) -> list[str]:
        """Read the log on until a line holds the text; what was read."""
        lines = await lines_until(self.process, text, within=within)
        self.log += lines
        return lines

    async def ended(self, name: str) -> None:
        """Read the log on until the stream's cycle has ended, if it has not yet."""
        while not any("cycle ended" in x and f"=ads.{name} " in x for x in self.log):
            await self.until("cycle ended")

    def write(self, *sources: str) -> None:
        self.syncd.write(self.head + "".join(sources))

    def hup(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    async def journal(self) -> list[dict[str, Any]]:
        """What the server saw of the client under test, logins left out."""
        return [e for e in await self.mock.requests() if e["client"] == "ads"]

    async def seen(self, true: Callable[[dict[str, Any]], object], many: int = 1) -> None:
        """Wait until the server has seen so many such requests."""
        with trio.fail_after(30):
            while True:
                if sum(1 for e in await self.mock.requests() if true(e)) >= many:
                    return
                await trio.sleep(0.01)

    async def rows(self, name: str) -> list[dict[str, Any]]:
        settings = load(self.syncd.path, environ=SECRETS)
        chosen = table(settings.sources["ads"].streams[name])
        async with open_store(self.database) as store:
            texts = await store.table_rows(chosen, "ads")
        return [json.loads(text, parse_float=Decimal) for text in texts]


@asynccontextmanager
async def stage(
    syncd: Syncd, database: str, *sources: str, rules: tuple[dict[str, Any], ...] = ()
) -> AsyncIterator[Stage]:
    """A daemon that has just been started, with nine campaigns to sync."""
    async with running_mock(speed=SPEED, campaigns=9, fail_every=0, hang_every=0) as mock:
        await mock.faults(*rules)
        head = HEAD.format(base_url=mock.base_url, database=database)
        syncd.write(head + "".join(sources))
        async with syncd.started("run") as process:
            staged = Stage(mock=mock, syncd=syncd, process=process, database=database, head=head)
            yield staged
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0


def ours(entry: dict[str, Any]) -> bool:
    return bool(entry["client"] == "ads")


def _rule(name: str) -> tuple[dict[str, Any], ...]:
    """What makes the moment last."""
    second = {"path": "/api/campaigns", "query": "page=2*", "client": "ads", "times": 1}
    return {
        "page": ({**second, "delay": LONG},),
        "backoff": ({**second, "status": 503},),
        "call": ({"path": "*/camp_6/sync", "client": "ads", "delay": LONG, "times": 1},),
        "login": ({"path": "/auth/token", "delay": LONG, "times": 2},),
        "budget wait": (),
    }[name]


async def _reached(staged: Stage, name: str) -> None:
    """Wait until the daemon is in the middle of it."""
    if name == "page":
        await staged.seen(lambda e: ours(e) and e["query"].startswith("page=2"))
    elif name == "backoff":
        await staged.seen(lambda e: ours(e) and e["status"] == 503)
    elif name == "call":
        await staged.seen(lambda e: ours(e) and e["path"].endswith("camp_6/sync"))
    elif name == "login":
        await staged.seen(lambda e: e["path"] == "/auth/token")
    else:
        await staged.seen(lambda e: ours(e) and e["cost"], many=10)


@pytest.mark.long
@pytest.mark.parametrize("fate", FATES)
async def test_a_reload_loses_doubles_and_asks_nothing_again(
    fate: str, postgres: str, tmp_path: Path
) -> None:
    """all-or-nothing-reload: proved by the server's log and the table, at each moment."""
    limiter = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for number, name in enumerate(MOMENTS):
            nursery.start_soon(_at, name, fate, f"{fate}{number}", postgres, tmp_path, limiter)


async def _at(
    name: str, fate: str, schema: str, database: str, folder: Path, limiter: trio.CapacityLimiter
) -> None:
    """One moment, with sources, tables and a budget of its own in the database."""
    syncd = Syncd(folder / f"{name}.toml")
    async with limiter, _database(database, schema) as own:
        sources = (STEADY, source("ads", stream()))
        async with stage(syncd, own, *sources, rules=_rule(name)) as staged:
            await _reached(staged, name)
            await _reload(staged, fate)
            await _must_be_whole(staged, fate)


@asynccontextmanager
async def _database(database: str, name: str) -> AsyncIterator[str]:
    """A database of its own on the same server."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE reload_{name}")
    yield psycopg.conninfo.make_conninfo(database, dbname=f"reload_{name}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE reload_{name} WITH (FORCE)")


async def _reload(staged: Stage, fate: str) -> None:
    new = {
        "keep": source("ads", stream()),
        "adopt": source("ads", stream(every="2d")),
        "replace": source("ads", stream(size=3)),
        "retire": "",
        "add": source("ads", stream(), stream("again")),
    }[fate]
    staged.write(STEADY, new)
    staged.hup()
    told = await staged.until("config reloaded")
    plan = next(line for line in told if "config reloaded" in line)
    assert ("2 keep" if fate == "keep" else f"1 {fate}") in plan
    if fate == "retire":
        await _until_nothing_is_asked(staged)
        staged.write(STEADY, source("ads", stream()))
        staged.hup()
        await staged.until("config reloaded")
    await staged.ended("campaigns")
    if fate == "add":
        await staged.ended("again")


async def _until_nothing_is_asked(staged: Stage) -> None:
    """Its call or its page may still be under way; two seconds of silence are its end."""
    with trio.fail_after(30):
        asked = -1
        while True:
            now = len(await staged.journal())
            if now == asked:
                return
            asked = now
            await trio.sleep(2.0)


async def _must_be_whole(staged: Stage, fate: str) -> None:
    async with open_store(staged.database) as store:
        settled = {c.idempotency_key: c.settled_at for c in await store.calls(OURS)}
    campaigns = await staged.mock.campaigns()
    for name in ("campaigns", "again") if fate == "add" else ("campaigns",):
        assert compare(campaigns, await staged.rows(name)) == (0, 0)
    journal = await staged.journal()
    assert not [e for e in journal if e["status"] == 429]
    assert (await staged.mock.windows())["fullest"] <= 10
    assert repeated(journal, settled) == 0
    keys = Counter(e["key"] for e in journal if e["method"] == "POST" and e["key"])
    assert max(keys.values()) == 1, "a call was made again"
    if fate in ("keep", "adopt"):
        pages = Counter(
            e["query"] for e in journal if e["path"] == "/api/campaigns" and e["status"] == 200
        )
        assert max(pages.values()) == 1, "a page was asked again"
        assert len(keys) == 9


async def test_a_bad_file_changes_nothing_and_tells_every_fault(
    syncd: Syncd, postgres: str
) -> None:
    """all-or-nothing-reload: in the log, by the command, and the old settings go on whole."""
    async with stage(syncd, postgres, source("ads", stream(every="2s"))) as staged:
        await staged.until("cycle ended")
        staged.write(source("ads", stream(every="0s", size=0)))
        staged.hup()
        await staged.until("config refused")
        if not any("size: found 0" in line for line in staged.log):
            await staged.until("size: found 0")
        asked = await syncd.command("reload")
        assert asked.returncode == 78
        assert "every: found '0s'" in asked.stderr
        assert "size: found 0" in asked.stderr
        await staged.until("cycle ended")  # with the interval and the size that it had
        staged.write(source("ads", stream(every="2s")))
        good = await syncd.command("reload")
        assert (good.returncode, good.stderr) == (0, "")
        assert "ads.campaigns: keep" in good.stdout
        pages = {e["query"] for e in await staged.journal() if e["path"] == "/api/campaigns"}
        assert all(query.endswith("limit=4") for query in pages)


@pytest.mark.long
async def test_what_a_running_syncd_stands_on_is_refused(
    syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """all-or-nothing-reload: what can't be reloaded says so, and nothing else is taken up."""
    async with stage(syncd, postgres, source("ads", stream())) as staged:
        await staged.until("cycle ended")
        syncd.write(
            f'state = "{tmp_path}/other"\n' + staged.head + source("ads", stream(every="2s"))
        )
        done = await syncd.command("reload")
        assert done.returncode == 1
        assert "state: it can't be changed while syncd runs" in done.stderr
        with pytest.raises(trio.TooSlowError):
            await staged.until("cycle started", within=3)


async def test_reloads_that_come_at_once_are_all_done(syncd: Syncd, postgres: str) -> None:
    """all-or-nothing-reload: one after the other; the last file counts."""
    async with stage(syncd, postgres, source("ads", stream())) as staged:
        await staged.until("page committed")
        for every in ("3h", "2h", "1h"):
            staged.write(source("ads", stream(every=every)))
            staged.hup()
        done = await syncd.command("reload")
        assert done.returncode == 0
        assert "ads.campaigns" in done.stdout
        log = await staged.until("resting until the next cycle")
        rest = next(line for line in log if "resting until" in line)
        assert 3500 < int(rest.rpartition("seconds=")[2]) <= 3600
        keys = Counter(e["key"] for e in await staged.journal() if e["key"])
        assert max(keys.values()) == 1


@pytest.mark.parametrize("command", ["reload", "resume campaigns"])
async def test_rotated_credentials_need_no_restart(
    command: str, syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """all-or-nothing-reload: read again by a reload, and when a login is refused."""
    secret = tmp_path / "password"
    secret.write_text("wrong")
    where = f"password = {{{{ file = '{secret}' }}}}"
    head = HEAD.replace('password = {{ env = "ADPLATFORM_PASSWORD" }}', where)
    async with running_mock(speed=SPEED, campaigns=9, fail_every=0, hang_every=0) as mock:
        syncd.write(
            head.format(base_url=mock.base_url, database=postgres) + source("ads", stream())
        )
        async with syncd.started("run") as process:
            await lines_until(process, "stream parked")
            logins = [e for e in await mock.requests() if e["path"] == "/auth/token"]
            assert len(logins) == 1
            secret.write_text("secret")
            done = await syncd.command(*command.split())
            assert done.returncode == 0
            if command == "reload":
                assert "ads.campaigns: adopt (auth.password)" in done.stdout
            log = await lines_until(process, "cycle ended")
            assert not any("secret" in line for line in log)


@pytest.mark.long
async def test_a_source_that_somebody_else_runs_is_not_taken_up(
    syncd: Syncd, postgres: str, tmp_path: Path
) -> None:
    """all-or-nothing-reload: a lease that can't be had refuses the whole file."""
    other = Syncd(tmp_path / "other.toml")
    async with stage(syncd, postgres, source("ads", stream())) as staged:
        await staged.until("cycle ended")
        other.write(staged.head + STEADY)
        async with other.started("run") as second:
            await lines_until(second, "cycle started")
            staged.write(STEADY, source("ads", stream(every="2s")))
            done = await syncd.command("reload")
            assert done.returncode == 1
            assert "sources.steady: source 'steady' is run by another syncd" in done.stderr
            second.send_signal(signal.SIGTERM)
            await second.wait()
        done = await syncd.command("reload")
        assert done.returncode == 0, done.stderr
        assert "steady.campaigns: add" in done.stdout
