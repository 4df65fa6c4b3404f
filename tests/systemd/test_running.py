"""The service under a real systemd: its ordinary way, and its end by any hand."""

import re
import signal
from collections.abc import Callable

import pytest

from tests.systemd.boxes import Box, configured, until

pytestmark = pytest.mark.systemd

PAGES, CAMPAIGNS = 10, 100
LOG = "/var/lib/syncd/postgres/postgres.log"
SLOW = {"speed": 20.0, "sync_delay": 20.0}
"""Of the mock: a call takes a second, so that one is always in flight."""


def asked_pages(box: Box, since: int = 0) -> list[int]:
    """The pages that the mock was asked for, in this order."""
    found = [e for e in box.requests() if e["method"] == "GET" and e["seq"] > since]
    return [int(re.findall(r"page=(\d+)", e["query"])[0]) for e in found]


def in_flight(box: Box) -> int:
    """Calls that the mock has not answered yet."""
    return sum(e["method"] == "POST" and e["answered"] is None for e in box.requests())


def settled(box: Box) -> dict[str, int]:
    """How often each key was asked that has an answer in syncd's ledger."""
    keys = box.psql("SELECT idempotency_key FROM syncd.call WHERE settled_at IS NOT NULL")
    asked = [e["key"] for e in box.requests() if e["method"] == "POST"]
    return {key: asked.count(key) for key in keys.splitlines()}


def assert_whole(box: Box) -> None:
    """All campaigns are in the table, and no budget was broken on the way."""
    assert box.psql("SELECT count(*) FROM campaigns") == str(CAMPAIGNS)
    assert box.psql("SELECT count(*) FROM syncd.dead_letter") == "0"
    assert box.ask("GET", "/windows")["fullest"] <= 10


def test_a_day_in_its_life(box: Box) -> None:
    """Started, it says what it does, ends its cycle, rests, is fed to the watchdog, and leaves."""
    box.install(configured(speed=20))
    box.drop_in("watchdog", "WatchdogSec=2")
    box.systemctl("start", "syncd")
    assert re.fullmatch(r"campaigns: page \d+ of 10, next token in \d s", box.says("next token in"))
    shown = box.systemctl("status", "syncd").stdout
    assert re.search(r'^ +Status: "campaigns: page \d+ of 10', shown, re.MULTILINE), shown
    assert "Active: active (running)" in shown
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert re.fullmatch(r"1 stream resting, next cycle in 24 h", box.says("resting, next"))
    assert_whole(box)
    counted = [e for e in box.requests() if e["cost"]]
    assert box.psql("SELECT requests, calls FROM syncd.cycle") == f"{len(counted)}|{CAMPAIGNS}"

    # At rest nothing but the watchdog's task turns: for four of its periods.
    fed = int(box.show("WatchdogTimestampMonotonic"))
    later = fed + 8_000_000
    until(lambda: int(box.show("WatchdogTimestampMonotonic")) > later, "the watchdog is fed")
    assert box.show("NRestarts") == "0"

    box.systemctl("stop", "syncd")
    assert (box.show("Result"), box.show("ExecMainStatus")) == ("success", "0")
    box.entry("SYNCD_EVENT=leaving")
    assert not box.journal("-p", "err")


def test_killed_it_starts_again_from_its_checkpoint(box: Box) -> None:
    """resume, no-blind-repeat: after kill -9 systemd starts it, and it goes on with the page."""
    box.install(configured(speed=20))
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed", many=4)
    first = box.pid()
    box.run("kill", "-KILL", str(first))
    asked_before = len(box.requests())
    # No sooner than the lease of the dead one has run out: the unit must not give up before.
    resumed = box.entry("SYNCD_EVENT=cycle-resumed", within=90)
    committed = int(resumed["SYNCD_PAGE"])
    assert committed >= 4
    assert int(resumed["_PID"]) == box.pid() != first
    assert box.show("Result") == "success"
    before = settled(box)
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert_whole(box)
    assert min(asked_pages(box, asked_before)) == committed + 1
    after = settled(box)
    assert {key: after[key] for key in before} == before


def test_hanging_it_is_killed_by_the_watchdog_and_starts_again(box: Box) -> None:
    """resume: a syncd whose loop no longer turns is replaced, and the cycle goes on."""
    box.install(configured(speed=20))
    box.drop_in("watchdog", "WatchdogSec=2", "TimeoutAbortSec=2")
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed")
    cursor = box.cursor()
    box.run("kill", "-STOP", str(box.pid()))
    box.entry("SYNCD_EVENT=cycle-resumed", after=cursor, within=90)
    said = [e["MESSAGE"] for e in box.journal("_PID=1")]
    assert any("Watchdog timeout" in line for line in said), said
    assert any("Failed with result 'watchdog'" in line for line in said), said
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert_whole(box)


def test_stopped_in_the_middle_of_a_page_it_awaits_what_is_in_flight(
    new_box: Callable[..., Box],
) -> None:
    """drain, page-atomic: each call is awaited, Postgres is closed in order, no half page stays."""
    box = new_box()
    box.mock(**SLOW)
    # Less than a drain may take: it asks for more as it goes.
    box.install(configured(speed=20, timeout=30))
    box.drop_in("stop", "TimeoutStopSec=1")
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed")
    until(lambda: in_flight(box) >= 2, "calls in flight")
    box.faults({"path": "/api/campaigns/*/sync", "delay": 120})  # six seconds at this speed
    until(lambda: any(e["fault"] and e["answered"] is None for e in box.requests()), "a slow one")
    box.systemctl("stop", "syncd")

    assert (box.show("Result"), box.show("ExecMainStatus")) == ("success", "0")
    posts = [e for e in box.requests() if e["method"] == "POST"]
    assert {e["status"] for e in posts} == {200}
    log = box.out("cat", LOG)
    assert "database system is shut down" in log
    assert "PANIC" not in log

    box.faults()
    box.systemctl("start", "syncd")
    resumed = box.entry("SYNCD_EVENT=cycle-resumed")  # the first life began at page 1
    rows = int(box.psql("SELECT count(*) FROM campaigns"))
    assert rows >= 10 * int(resumed["SYNCD_PAGE"])
    assert rows % 10 == 0
    assert "was not properly shut down" not in box.out(
        "cat", "/var/lib/syncd/postgres/postgres.log"
    )


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_of_a_person_ends_it_for_good(box: Box, sent: signal.Signals) -> None:
    """Whoever sends it SIGTERM by hand means it: no restart, and nothing is left behind."""
    box.install()
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended")
    box.run("kill", f"-{sent.name.removeprefix('SIG')}", str(box.pid()))
    box.becomes("ActiveState", "inactive")
    assert (box.show("Result"), box.show("NRestarts")) == ("success", "0")
    assert "postgres" not in box.out("ps", "-eo", "comm")
