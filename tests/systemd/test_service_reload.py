"""A reload under a real systemd: at any moment, with a good file and with a bad one."""

from collections.abc import Callable

import pytest

from tests.systemd.boxes import Box, configured, until

pytestmark = pytest.mark.systemd

CONFIG = "/etc/syncd/syncd.toml"
LATER = configured(speed=60, every="2d")
BAD = configured(speed=60).replace('every = "1d"', 'evry = "1d"')


@pytest.fixture
def running(box: Box) -> Box:
    """A box in which a cycle is under way."""
    box.install(configured(speed=60))
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=page-committed")
    return box


def assert_it_goes_on(box: Box, pid: int) -> None:
    """The same process is active, and ends its cycle as if nothing had been."""
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert box.psql("SELECT count(*) FROM campaigns") == "100"
    assert [e["SYNCD_OUTCOME"] for e in box.journal("SYNCD_EVENT=cycle-ended")] == ["ok"]
    box.becomes("ActiveState", "active")
    box.says("resting")
    assert (box.pid(), box.show("NRestarts")) == (pid, "0")


def test_a_reload_of_a_good_file_is_taken_up(running: Box) -> None:
    """The cycle goes on, and the next one is due as the new file says."""
    pid = running.pid()
    running.write(CONFIG, LATER)
    running.systemctl("reload", "syncd")
    running.entry("SYNCD_EVENT=reloaded")
    assert_it_goes_on(running, pid)
    assert "next cycle in 48 h" in running.says("next cycle in")


def test_a_reload_of_a_bad_file_changes_nothing(running: Box) -> None:
    """all-or-nothing-reload: the journal and the status tell the fault, and the work goes on."""
    pid = running.pid()
    running.write(CONFIG, BAD)
    running.systemctl("reload", "syncd")
    refused = running.entry("SYNCD_EVENT=reload-refused")
    assert refused["PRIORITY"] == "3"
    assert "evry" in refused["SYNCD_FAULT"]
    assert running.says("; ").startswith("config refused (1 fault), the one before runs; campaigns")
    running.becomes("ActiveState", "active")
    # Mended, it is taken up, and the status says no more of it.
    running.write(CONFIG, LATER)
    running.systemctl("reload", "syncd")
    running.entry("SYNCD_EVENT=reloaded")
    assert_it_goes_on(running, pid)
    assert "refused" not in running.show("StatusText")


def test_two_reloads_at_once_are_taken_up(running: Box) -> None:
    """However many signals come, what is in force is the file as it was at the last one."""
    pid = running.pid()
    running.write(CONFIG, LATER)
    running.run("sh", "-c", f"kill -HUP {pid}; kill -HUP {pid}; systemctl reload syncd")
    running.entry("SYNCD_EVENT=reloaded")
    assert_it_goes_on(running, pid)
    assert "next cycle in 48 h" in running.says("next cycle in")


def test_a_reload_in_the_first_moments_ends_nothing_for_good(box: Box) -> None:
    """A signal that comes before anybody can hear it costs a start, and not the service.

    It ends the process before READY, which is a failure to systemd, whatever the signal.
    """
    box.install(configured())
    # The process is there, and Python is not yet.
    script = """
        systemctl start --no-block syncd
        until pid=$(systemctl show --value -p MainPID syncd); [ "$pid" != 0 ]; do :; done
        kill -HUP "$pid"
    """
    box.run("sh", "-c", script)
    box.entry("SYNCD_EVENT=cycle-ended")
    assert box.show("ActiveState") == "active"
    assert box.psql("SELECT count(*) FROM campaigns") == "100"


def test_a_reload_asked_for_during_the_start_is_done_after_it(box: Box) -> None:
    """Systemd keeps the order: READY, and then the reload."""
    box.install(configured())
    box.run("sh", "-c", "systemctl start --no-block syncd; systemctl reload syncd")
    box.entry("SYNCD_EVENT=cycle-ended")
    box.becomes("ActiveState", "active")
    assert box.show("NRestarts") == "0"


def test_a_reload_during_a_drain_is_not_taken_up(new_box: Callable[..., Box]) -> None:
    """Drain: who leaves goes on leaving, and in order."""
    box = new_box()
    box.mock(speed=20, sync_delay=60)  # a call takes three seconds
    box.install(configured(speed=20, timeout=30))
    box.systemctl("start", "syncd")
    until(
        lambda: any(e["method"] == "POST" and e["answered"] is None for e in box.requests()),
        "a call in flight",
    )
    box.systemctl("stop", "--no-block", "syncd")
    box.entry("SYNCD_EVENT=leaving")
    box.write(CONFIG, LATER)
    box.run("kill", "-HUP", str(box.pid()))
    box.becomes("ActiveState", "inactive")
    assert (box.show("Result"), box.show("ExecMainStatus")) == ("success", "0")
    assert not box.journal("SYNCD_EVENT=reloaded")
    assert {e["status"] for e in box.requests() if e["method"] == "POST"} == {200}
