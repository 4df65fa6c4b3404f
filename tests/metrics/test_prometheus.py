"""A real Prometheus scrapes a real daemon through outages of each kind.

The rules are the shipped ones, a minute of theirs made a second (`prometheus.faster`).  What
can't be brought about from outside within a test, promtool alone holds: a pool of HTTP
connections that has lost its slots.
"""

import json
import math
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store.embedded import Embedded, embedded_server
from tests.daemon.conftest import Syncd, place, syncd
from tests.daemon.running import RESTS, Daemon, daemon
from tests.metrics.dashboard import Target, targets
from tests.metrics.prometheus import EVERY, Prometheus, free_port, running_prometheus

__all__ = ["place", "syncd"]  # fixtures

pytestmark = [pytest.mark.prometheus, pytest.mark.long]

WITHIN = 400.0  # seconds for the whole outage
PHASE = 90.0  # seconds for each of its parts
RECORDS = 40

SOURCES = ("well", "down", "failing", "denied", "doubtful", "poor", "gone", "paused", "never")

SOURCE = """
[sources.{name}]
base_url = "{base_url}"
headers = {{ "X-Client-Id" = "{name}" }}
budget = {{ requests = 1000, per = "1s", slack = "50ms" }}
timeout = "5s"
backoff = "10ms"
retries = {retries}

[sources.{name}.auth]
kind = "token"
url = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}

[sources.{name}.streams.campaigns]
every = "2s"
slow_after = "5s"
reconcile = "{reconcile}"
path = "/api/campaigns"
records = "data"
key = ["id"]
page = {{ size = 100, more = "pagination.has_more" }}
table = "{name}"
columns = {{ id = "text", clicks = "bigint"{more} }}
"""

CALL = """
[sources.well.streams.campaigns.call]
path = "/api/campaigns/{id}/sync"
keep = { synced_at = "synced_at" }
success = "success"
repeat = "with-key"
"""


def of_source(base_url: str, name: str) -> str:
    return SOURCE.format(
        name=name,
        base_url=base_url,
        # With many retries its breaker opens before they are used up.
        retries={"down": 20, "failing": 0, "never": 0}.get(name, 3),
        reconcile="1s" if name == "gone" else "never",
        more=', synced_at = "timestamptz"' if name == "well" else "",
    )


def config(base_url: str, database: str, port: int) -> str:
    sources = [of_source(base_url, name) for name in SOURCES]
    admin = f'[admin]\nlisten = "127.0.0.1:{port}"\n'
    return f"[database]\nurl = '{database}'\n{admin}{''.join(sources)}{CALL}"


@attrs.define(eq=False, kw_only=True)
class World:
    """All that takes part."""

    syncd: Syncd
    mock: MockServer
    server: Embedded
    prometheus: Prometheus
    port: int
    good: str
    """The config without a fault."""

    def daemon(self) -> AbstractAsyncContextManager[Daemon]:
        return daemon(self.syncd, within=WITHIN)

    @property
    def conninfo(self) -> str:
        return f"host={self.server.place.data} dbname=postgres user=postgres"

    async def command(self, *arguments: str) -> None:
        done = await self.syncd.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def listed(self, client: str, records: list[dict[str, Any]]) -> dict[str, Any]:
        """A rule by which this client gets these records and no others."""
        body = {"success": True, "data": records, "pagination": {"has_more": False}}
        return {"client": client, "path": "/api/campaigns", "status": 200, "body": body}


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    port = free_port()
    syncd = Syncd(folder / "syncd.toml")
    async with (
        embedded_server(folder / "state") as server,
        running_mock(speed=100, campaigns=RECORDS, limit=0, fail_every=0, hang_every=0) as mock,
        running_prometheus(f"127.0.0.1:{port}") as prometheus,
    ):
        database = f"host={server.place.data} dbname=postgres user=postgres"
        good = config(mock.base_url, database, port)
        syncd.write(good)
        yield World(
            syncd=syncd, mock=mock, server=server, prometheus=prometheus, port=port, good=good
        )


NEVER = {
    "name": "never",
    "client": "never",
    "path": "/api/campaigns",
    "status": 503,
    "body": "down",
}
QUIET = (
    ("SyncdNeverWhole", "never"),
    ("SyncdStreamFailing", "never"),
    ("SyncdCycleSlow", "never"),
)
"""What fires from the first minute on: nothing else is expected of that source."""


async def test_each_alert_fires_in_its_outage_and_clears_after_it(place: Path) -> None:
    """An on-call engineer is woken for what needs a person, and told when it is over."""
    started = time.time()
    async with world(place) as here:
        await here.mock.faults(NEVER)
        async with here.daemon() as running:
            await running.until(RESTS)
            await settled(here)
            await api_outage(here, running)
            await reload_refused(here, running)
            await pool_exhausted(here)
            await postgres_stopped(here)
        await killed(here)
        async with here.prometheus.in_time(PHASE):
            await has_data(here.prometheus, targets(), started)


async def settled(here: World) -> None:
    """Cycle after cycle, until all know what is usual: nothing fires but for `never`."""
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until_value(
            "count(syncd_usual_cycle_duration_seconds)", len(SOURCES) - 1
        )
        await here.prometheus.until(QUIET)


async def api_outage(here: World, running: Daemon) -> None:
    """503s, a login that is refused, an empty list, bad records, missing ones; and a pause."""
    records = await here.mock.campaigns()
    down = {"path": "/api/campaigns", "status": 503, "body": "down"}
    rules = [
        NEVER,
        {"client": "down", **down},
        {"client": "failing", **down},
        {"client": "denied", "path": "/auth/token", "status": 401, "body": "no"},
        here.listed("doubtful", []),
        here.listed("gone", records[:20]),
    ]
    await here.mock.faults(*rules, here.listed("poor", spoiled(records, 6)))
    await here.mock.expire_tokens()
    await here.command("pause", "paused.campaigns")
    async with here.prometheus.in_time(PHASE):
        fired = await here.prometheus.until_firing(
            [
                ("SyncdBreakerOpen", "down"),
                ("SyncdCycleSlow", "down"),
                ("SyncdCycleOverUsual", "down"),
                ("SyncdDataTooOld", "down"),
                ("SyncdStreamFailing", "failing"),
                ("SyncdStreamParked", "denied"),
                ("SyncdAuthenticationFailing", "denied"),
                ("SyncdStreamSuspicious", "doubtful"),
                ("SyncdDeletesHeld", "gone"),
                ("SyncdSuccessUnder90", "poor"),
                ("SyncdDeadLettersGrowing", "poor"),
                ("SyncdStreamPausedForLong", "paused"),
            ]
        )
    assert not {name for name, source in fired if source == "well"}
    assert not {name for name, source in fired if not source}
    assert ("SyncdDataTooOld", "paused") not in fired
    await every_word(here.prometheus)
    await here.mock.faults(*rules, here.listed("poor", spoiled(records, 12)))
    async with here.prometheus.in_time(PHASE):
        fired = await here.prometheus.until_firing([("SyncdSuccessUnder80", "poor")])
    assert ("SyncdSuccessUnder90", "poor") not in fired
    await here.mock.faults(NEVER)
    await here.command("resume", "paused.campaigns")
    running.process.send_signal(signal.SIGHUP)  # what is parked or failing is tried again
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until(QUIET)


async def reload_refused(here: World, running: Daemon) -> None:
    """all-or-nothing-reload: a file with a fault, and the mended one."""
    here.syncd.write(here.good.replace('every = "2s"', 'every = "soon"', 1))
    running.process.send_signal(signal.SIGHUP)
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until([*QUIET, ("SyncdReloadRefused", "")])
    here.syncd.write(here.good)
    running.process.send_signal(signal.SIGHUP)
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until(QUIET)


async def pool_exhausted(here: World) -> None:
    """Somebody holds a lock that every commit needs: all connections wait for it."""
    with psycopg.connect(here.conninfo) as connection:
        connection.execute("LOCK TABLE syncd.checkpoint IN ACCESS EXCLUSIVE MODE")
        async with here.prometheus.in_time(PHASE):
            await here.prometheus.until_firing([("SyncdStorePoolExhausted", "")])
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until(QUIET)


async def postgres_stopped(here: World) -> None:
    """`pg_ctl stop`, and a start."""
    command: list[str | Path] = [here.server._binaries / "pg_ctl", "stop", "-m", "fast"]
    command += ["-D", here.server.place.data]
    await trio.run_process(command, capture_stdout=True, **here.server.place.as_user)
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until_firing([("SyncdPostgresAway", "")])
    await here.server.revive()
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until(QUIET)


async def killed(here: World) -> None:
    """SIGKILL, and nobody starts it; then it is started and killed again and again."""
    async with here.prometheus.in_time(PHASE):
        await here.prometheus.until_firing([("SyncdDaemonGone", "")])
    for _ in range(4):
        seen = await here.prometheus.value("max(max_over_time(process_start_time_seconds[1h]))")
        async with here.daemon(), here.prometheus.in_time(PHASE):
            await here.prometheus.until_value("max(process_start_time_seconds)", seen + 0.01)
    async with here.daemon():
        async with here.prometheus.in_time(PHASE):
            await here.prometheus.until_firing([("SyncdRestarting", "")])
        async with here.prometheus.in_time(PHASE):
            await here.prometheus.until(QUIET)


def spoiled(records: list[dict[str, Any]], many: int) -> list[dict[str, Any]]:
    """So many of them break the contract."""
    return [{**r, "clicks": "many"} if n < many else r for n, r in enumerate(records)]


async def every_word(prometheus: Prometheus) -> None:
    """What is written to whoever is woken: no template failed."""
    for alert in await prometheus.alerts():
        words = alert["annotations"]
        assert set(words) == {"summary", "description", "action", "runbook"}
        assert not [text for text in words.values() if "<" in text or "%!" in text], words


async def has_data(prometheus: Prometheus, wanted: list[Target], started: float) -> None:
    """Every query of the dashboard gives numbers, for some of the time."""
    without = []
    for target in wanted:
        found = await prometheus.over(target.expression, started, time.time(), EVERY)
        values = [float(value) for series in found for _, value in series["values"]]
        if not any(math.isfinite(value) for value in values):
            without.append(f"{target.panel}: {target.expression}")
    assert not without, json.dumps(without, indent=2)


async def test_a_door_beyond_the_loopback_is_scraped_with_its_token(
    postgres: str, syncd: Syncd
) -> None:
    """no-secret-out: reading needs the token there, and Prometheus brings it."""
    port, token = free_port(), "a-token-of-thirty-two-characters"
    admin = f'[admin]\nlisten = "0.0.0.0:{port}"\ntoken = {{ env = "DOOR" }}\n'
    address = f"127.0.0.1:{port}"
    async with running_mock(speed=100, limit=0) as mock:
        syncd.write(
            f"{admin}[database]\nurl = '{postgres}'\n{of_source(mock.base_url, 'well')}{CALL}"
        )
        async with (
            daemon(syncd, environ={"DOOR": token}) as running,
            running_prometheus(address, token=token) as prometheus,
            httpx.AsyncClient(trust_env=False) as stranger,
        ):
            await running.until(RESTS)
            async with prometheus.in_time(PHASE):
                await prometheus.until_value("syncd_last_cycle_success_ratio", 1)
            assert (await stranger.get(f"http://{address}/metrics")).status_code == 401


async def test_a_door_that_is_a_unix_socket_is_read_by_hand(
    postgres: str, syncd: Syncd, place: Path
) -> None:
    """As the page shows it with curl."""
    admin = f'[admin]\nlisten = "unix:{place}/admin.sock"\n'
    async with running_mock(speed=100, limit=0) as mock:
        syncd.write(
            f"{admin}[database]\nurl = '{postgres}'\n{of_source(mock.base_url, 'well')}{CALL}"
        )
        by_socket = httpx.AsyncHTTPTransport(uds=f"{place}/admin.sock")
        async with daemon(syncd) as running, httpx.AsyncClient(transport=by_socket) as http:
            await running.until(RESTS)
            answer = await http.get("http://localhost/metrics")
            assert answer.status_code == 200
            assert 'syncd_records_total{result="written"' in answer.text
            await running.leave()
