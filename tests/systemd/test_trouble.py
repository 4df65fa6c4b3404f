"""The service on a bad day: what is away, what is wrong, and what an administrator then sees."""

import re
from collections.abc import Callable

import pytest

from tests.systemd.boxes import Box, configured, until

pytestmark = pytest.mark.systemd

LOCAL = "host=/run/postgresql dbname=syncd user=syncd"


def test_without_postgres_it_is_up_and_waits(box: Box) -> None:
    """Started before Postgres it is active, says what it waits for, and begins when it comes."""
    box.static_user()
    box.debian_postgres()
    box.systemctl("stop", "postgresql")
    box.install(configured(LOCAL))
    box.systemctl("start", "syncd")
    line = box.says("starting: the database is away, next try in")
    assert "No such file" in line or "Connection refused" in line
    assert box.show("ActiveState") == "active"
    assert box.entry("SYNCD_EVENT=postgres-away")["PRIORITY"] == "4"
    assert box.requests() == []

    box.systemctl("start", "postgresql")
    box.entry("SYNCD_EVENT=postgres-back")
    box.entry("SYNCD_EVENT=cycle-ended")
    assert box.local_psql("SELECT count(*) FROM campaigns") == "100"
    assert box.show("NRestarts") == "0"


def test_without_the_api_it_is_up_and_waits(new_box: Callable[..., Box]) -> None:
    """Started before the API it is active, says when it tries again, and begins when it comes."""
    box = new_box()
    box.install(configured(source="retries = 100", speed=2))
    box.systemctl("start", "syncd")
    assert re.fullmatch(r"campaigns: page 1, next try in \d+ s", box.says("next try in"))
    assert box.show("ActiveState") == "active"
    failed = box.entry("SYNCD_EVENT=request-failed")
    assert failed["PRIORITY"] == "4"
    assert "127.0.0.1:3001" in failed["SYNCD_REASON"]

    box.mock(speed=2)
    box.entry("SYNCD_EVENT=page-committed", within=90)
    assert box.show("NRestarts") == "0"


def test_wrong_credentials_are_told_and_tried_once(box: Box) -> None:
    """One login, no storm of them: it stays up, says what it needs, and waits for a person."""
    box.install()
    box.secrets("ads@example.com", "wrong")
    box.systemctl("start", "syncd")
    parked = box.entry("SYNCD_EVENT=parked")
    assert parked["PRIORITY"] == "3"
    assert "401" in parked["SYNCD_REASON"]
    assert "credentials" in parked["SYNCD_HINT"]
    line = box.says("parked")
    assert line.startswith("campaigns: parked, login: POST /auth/token answered 401")
    # It has gone on to wait for whoever mends it, and asks nobody meanwhile.
    fed = int(box.show("WatchdogTimestampMonotonic"))
    until(lambda: int(box.show("WatchdogTimestampMonotonic")) > fed, "the watchdog is fed")
    assert (box.show("ActiveState"), box.show("NRestarts")) == ("active", "0")
    assert [e["path"] for e in box.requests()] == ["/auth/token"]

    box.secrets("ads@example.com", "secret")
    box.systemctl("restart", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended")


def test_a_stream_that_needs_a_person_stands_first_in_the_status(box: Box) -> None:
    """contained: one source's wrong credentials stop that source, and the others go on."""
    other = """
[sources.other]
like = "adplatform"
headers = { "X-Client-Id" = "other" }
auth = { password = { credential = "api-username" } }
streams = { campaigns = { table = "other" } }
"""
    box.install(configured() + other)
    box.systemctl("start", "syncd")
    box.says("parked")
    line = box.says("; 1 stream resting")
    assert line.startswith("other.campaigns: parked, login: POST /auth/token answered 401")
    assert box.show("ActiveState") == "active"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("nonsense", ["syncd.toml"]),
        ("[sources.a]\nbase_url = 'ftp://x'\ntimeouts = 3\n", ["base_url", "timeouts", "streams"]),
        (configured().replace("api-password", "api-pasword"), ["api-pasword"]),
    ],
    ids=["no TOML", "several faults", "a credential that is not there"],
)
def test_a_broken_config_stops_it_with_78_and_no_restart(
    box: Box, text: str, faults: list[str]
) -> None:
    """Every fault is an error in the journal, and starting again would not mend it."""
    box.install(text)
    box.systemctl("start", "syncd", check=False)
    box.becomes("ActiveState", "failed")
    assert (box.show("ExecMainStatus"), box.show("NRestarts")) == ("78", "0")
    said = [e["MESSAGE"] for e in box.journal("-t", "syncd", "-p", "err")]
    assert all(any(fault in line for line in said) for fault in faults), said


def test_journald_restarted_under_it_costs_nothing(box: Box) -> None:
    """The next line gets through, and the service does not notice."""
    box.install(configured(speed=60))
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed")
    pid, cursor = box.pid(), box.cursor()
    box.systemctl("restart", "systemd-journald")
    box.entry("SYNCD_EVENT=page-committed", after=cursor)
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert (box.pid(), box.show("NRestarts")) == (pid, "0")
    pages = [e["SYNCD_PAGE"] for e in box.journal("SYNCD_EVENT=page-committed")]
    assert pages == [str(n) for n in range(1, 11)]


def test_lines_that_journald_did_not_take_are_counted_and_told(box: Box) -> None:
    """Without a journald nothing waits; when it is back it learns how many lines it missed."""
    units = ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald"]
    box.install(configured(speed=20))
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed")
    cursor = box.cursor()
    box.systemctl("stop", *units)
    box.run("rm", "-f", "/run/systemd/journal/socket")
    so_far = int(box.psql("SELECT sum(pages) FROM syncd.checkpoint"))
    query = "SELECT sum(pages) FROM syncd.checkpoint"
    until(lambda: int(box.psql(query)) >= so_far + 2, "pages without a journal")
    box.systemctl("start", *units)
    lost = box.entry("SYNCD_EVENT=lines-lost", after=cursor)
    assert int(lost["SYNCD_COUNT"]) >= 2
    assert lost["PRIORITY"] == "4"
    assert box.show("NRestarts") == "0"
