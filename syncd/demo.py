"""Does it do what it says?  The main job, with a kill -9 in the middle, and the proof.

A mock of the ads API (a real server in a process of its own), an embedded Postgres,
and the real daemon as its users run it.  The daemon is killed while calls are in
flight, started again, and left to finish; then the table is compared with the API
record by record.  All figures are the server's or the database's, none is the
daemon's own.
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import trio

from syncd.app import database
from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.errors import SyncdError
from syncd.store.postgres import PostgresStore
from syncd.sync.model import StreamId
from syncd.views.words import seconds

STREAM = StreamId(source="adplatform", stream="campaigns")
SPEED = 20.0
KILL_AFTER = 7  # pages; the kill comes in the page after that, with calls in flight
SETTLED = 3  # calls of that page whose answers are in the ledger by then
POLL = 0.02  # seconds between two looks into the database
LEAVING = 40.0  # seconds that the daemon has to leave at the end

CONFIG = """\
state = {state}

[sources.adplatform]
base_url = {base_url}
headers  = {{ "X-Client-Id" = "demo" }}
budget   = {{ requests = 10, per = {per}, slack = {slack} }}
timeout  = {timeout}
backoff  = {backoff}
keepalive = {keepalive}

[sources.adplatform.auth]
kind     = "token"
url      = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}

[sources.adplatform.streams.campaigns]
every    = "1d"
path     = "/api/campaigns"
records  = "data"
key      = ["id"]
page     = {{ size = 10, more = "pagination.has_more", total = "pagination.total" }}
volatile = ["impressions", "clicks", "conversions"]

[sources.adplatform.streams.campaigns.columns]
id = "text"
name = "text"
status = "text"
budget = "numeric"
impressions = "bigint"
clicks = "bigint"
conversions = "bigint"
created_at = "timestamptz"
synced_at = "timestamptz"

[sources.adplatform.streams.campaigns.call]
method      = "POST"
path        = "/api/campaigns/{{id}}/sync"
concurrency = 5
when        = "always"
repeat      = "with-key"
success     = "success"
keep        = {{ synced_at = "synced_at" }}
"""

EMAIL, PASSWORD = "ads@example.com", "secret"

Say = Callable[[str], None]
Pair = tuple[int, int]


@attrs.frozen(kw_only=True)
class Figures:
    """What the demo came to; `--json` prints these."""

    campaigns: int
    in_table: int
    missing: int
    differing: int
    dead_letters: int
    requests: int
    """That the server counted, list and call."""

    refused_429: int
    retries: int
    kills: int
    pages_fetched_again: int
    calls_repeated: int
    """Made again although the ledger held their answer."""

    calls_unsettled: int
    """In flight at a kill: nobody can know whether they were carried out."""

    seconds: float
    """First request to last answer, by the server's log."""

    floor_seconds: float
    """What so many requests need at least: full windows, and the last answer."""

    ratio: float

    @property
    def equal(self) -> bool:
        """The table equals the API."""
        wrong = self.missing + self.differing + self.dead_letters
        return wrong == 0 and self.in_table == self.campaigns

    def story(self) -> list[str]:
        """The figures as a person reads them."""
        equal = (
            "The table equals the API, record by record."
            if self.equal
            else (
                f"THE TABLE DIFFERS: {self.missing} missing, {self.differing} differing, "
                f"{self.dead_letters} dead letters."
            )
        )
        again = f"{self.pages_fetched_again} page(s) fetched again"
        unknown = f"{self.calls_unsettled} in flight, of which nobody can know"
        floor = f"{self.floor_seconds:.1f} s is the least that the budget allows"
        asked = f"{self.requests} requests, {self.refused_429} refused, {self.retries} tried again"
        return [
            f"{equal} {self.in_table} of {self.campaigns} campaigns are in it.",
            f"{self.kills} kill -9: {again}, {self.calls_repeated} calls repeated, {unknown}",
            f"{asked}; {self.seconds:.1f} s ({floor}: {self.ratio:.3f})",
        ]


@attrs.define(eq=False, kw_only=True)
class Snapshot:
    """What was in flight and what was committed when the daemon was killed."""

    pages: int
    in_flight: int
    settled: int


async def demo(*, real_time: bool, say: Say, show: Say) -> Figures:
    """Run the demo; raises SyncdError if it could not be run to its end.

    `say` takes a line of the story, `show` what stands on the line that changes.
    """
    from mock_api.testing import running_mock  # noqa: PLC0415 - an extra, and only the demo's

    speed = 1.0 if real_time else SPEED
    with _folder() as folder:
        async with running_mock(speed=speed, email=EMAIL, password=PASSWORD) as mock:
            settings = _settings(folder, mock.base_url, speed)
            say(
                f"the API is at {mock.base_url}: 10 requests in any {60 / speed:g} s, each 5th "
                f"list request a 503, each 10th never answered, {2 / speed:g} s for each call"
            )
            async with database.store(settings) as store:
                say(f"Postgres {await store.version()} of its own, under {folder}")
                run = _Run(settings=settings, store=store, say=say, show=show)
                await run.to_the_end()
                rows = [json.loads(r, parse_float=Decimal) for r in await run.rows()]
                dead = await store.dead_letter_count(STREAM)
                calls = await store.calls(STREAM)
                standing = await store.standing(STREAM)
            campaigns = await mock.campaigns()
            journal = [e for e in await mock.requests() if e["path"].startswith("/api/")]
    missing, differing = compare(campaigns, rows)
    counted = [e for e in journal if e["cost"]]
    took, floor = duration(counted, limit=10, window=60 / speed)
    return Figures(
        campaigns=len(campaigns),
        in_table=len(rows),
        missing=missing,
        differing=differing,
        dead_letters=dead,
        requests=len(counted),
        refused_429=sum(1 for e in journal if e["status"] == 429),
        retries=standing.totals.retried,
        kills=len(run.kills),
        pages_fetched_again=fetched_again(journal),
        calls_repeated=repeated(journal, {c.idempotency_key: c.settled_at for c in calls}),
        calls_unsettled=sum(k.in_flight for k in run.kills),
        seconds=round(took, 3),
        floor_seconds=round(floor, 3),
        ratio=round(took / floor, 4),
    )


# --- the proof: plain functions on what server and database say ---------------------------------


def compare(campaigns: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Pair:
    """How many campaigns have no row, and how many rows differ from the API or have no campaign."""
    by_id = {row["id"]: row for row in rows}
    missing = sum(1 for c in campaigns if c["id"] not in by_id)
    differing = sum(1 for c in campaigns if c["id"] in by_id and not _same(c, by_id[c["id"]]))
    known = {c["id"] for c in campaigns}
    return missing, differing + sum(1 for i in by_id if i not in known)


def _same(campaign: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    when = dt.datetime.fromisoformat
    return (
        all(campaign[name] == row[name] for name in ("name", "status"))
        and all(campaign[name] == row[name] for name in ("impressions", "clicks", "conversions"))
        and Decimal(str(campaign["budget"])) == row["budget"]
        and when(campaign["created_at"]) == when(row["created_at"])
        and row["synced_at"] is not None
    )


def duration(
    counted: Sequence[Mapping[str, Any]], *, limit: int, window: float
) -> tuple[float, float]:
    """Seconds from the first request to the last answer, and the least that they need."""
    answered = [e for e in counted if e["answered"] is not None]
    last = max(answered, key=lambda e: e["answered"])
    took = last["answered"] - min(e["arrived"] for e in counted)
    floor = (len(counted) - 1) // limit * window + (last["answered"] - last["arrived"])
    return took, floor


def fetched_again(journal: Sequence[Mapping[str, Any]]) -> int:
    """List requests that were answered although the same page had been answered before."""
    pages = Counter(e["query"] for e in journal if e["method"] == "GET" and e["status"] == 200)
    return sum(times - 1 for times in pages.values())


def repeated(journal: Sequence[Mapping[str, Any]], settled: Mapping[str, float | None]) -> int:
    """Calls that arrived after the ledger held the answer to their idempotency key."""
    return sum(
        1
        for e in journal
        if e["method"] == "POST" and (at := settled.get(e["key"])) is not None and e["wall"] > at
    )


# --- the run ------------------------------------------------------------------------------------


@attrs.define(eq=False, kw_only=True)
class _Run:
    """The daemon, killed once and started again."""

    settings: Settings
    store: PostgresStore
    say: Say
    show: Say
    kills: list[Snapshot] = attrs.field(factory=list, init=False)
    _began: float = attrs.field(factory=trio.current_time, init=False)

    async def to_the_end(self) -> None:
        async with self._daemon() as first:
            self.say(f"syncd runs (pid {first.pid})")
            await self._watch(first, self._in_the_middle)
            first.kill()
            await first.wait()
            self.kills.append(await self._snapshot())
        killed = self.kills[-1]
        self.say(
            f"killed with SIGKILL after {killed.pages} committed pages, {killed.settled} calls of "
            f"the next one settled and {killed.in_flight} in flight"
        )
        async with self._daemon() as second:
            self.say(f"syncd runs again (pid {second.pid})")
            await self._watch(second, self._ended)
            second.terminate()
            with trio.move_on_after(LEAVING):
                await second.wait()
        self.show("")

    async def rows(self) -> list[str]:
        stream = self.settings.sources[STREAM.source].streams[STREAM.stream]
        return await self.store.table_rows(database.table(stream), STREAM.source)

    @asynccontextmanager
    async def _daemon(self) -> AsyncIterator[trio.Process]:
        command = [sys.executable, "-m", "syncd", "--config", str(self.settings.path), "run"]
        log = self.settings.state / "syncd.log"
        with log.open("ab") as output:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment()
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def _watch(self, daemon: trio.Process, until: Callable[[], Awaitable[bool]]) -> None:
        while not await until():
            if daemon.returncode is not None:
                tail = (self.settings.state / "syncd.log").read_text("utf-8").splitlines()[-8:]
                raise SyncdError("\n".join(["the daemon ended by itself; its last lines:", *tail]))
            await trio.sleep(POLL)

    async def _in_the_middle(self) -> bool:
        now = await self._snapshot()
        return now.pages >= KILL_AFTER and now.in_flight > 0 and now.settled >= SETTLED

    async def _ended(self) -> bool:
        await self._snapshot()
        return (await self.store.standing(STREAM)).outcome is not None

    async def _snapshot(self) -> Snapshot:
        standing = await self.store.standing(STREAM)
        calls = await self.store.calls(STREAM)
        total = sum(1 for c in calls if c.outcome != "open")
        elapsed = trio.current_time() - self._began
        self.show(
            f"page {standing.pages + 1}: {total} campaigns called, {standing.totals.seen} "
            f"committed, {seconds(elapsed)} gone"
        )
        return Snapshot(
            pages=standing.pages,
            in_flight=sum(1 for c in calls if c.outcome == "open"),
            settled=total - standing.totals.seen,
        )


def _settings(folder: Path, base_url: str, speed: float) -> Settings:
    def scaled(value: float) -> str:
        return json.dumps(f"{value / speed:g}s")

    path = folder / "syncd.toml"
    text = CONFIG.format(
        state=json.dumps(str(folder)),
        base_url=json.dumps(base_url),
        per=scaled(60),
        # At twenty times the speed the machine is not twenty times as fast.
        slack=json.dumps(f"{max(0.25 / speed, 0.1):g}s"),
        timeout=scaled(15),
        backoff=scaled(1),
        keepalive=scaled(4),
    )
    path.write_text(text, encoding="utf-8")
    return load(path, environ=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "ADPLATFORM_EMAIL": EMAIL, "ADPLATFORM_PASSWORD": PASSWORD}


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of its own that goes away, and that an embedded Postgres can enter."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-demo-"))
    try:
        # Started by root, Postgres runs as somebody else and must get to its own folder.
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
