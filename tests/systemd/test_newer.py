"""The same README and unit on a newer systemd, from a tree of another release.

SYNCD_NEWER_SYSTEMD names a folder that `.ci/newer-systemd` has made.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.systemd.boxes import UNITS, Box
from tests.systemd.test_install import CLONE, OFFLINE, assert_it_runs, follow
from tests.systemd.test_unit import EXPOSURE

FOLDER = os.environ.get("SYNCD_NEWER_SYSTEMD")
CONFIG = "/etc/syncd/syncd.toml"

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(FOLDER is None, reason="SYNCD_NEWER_SYSTEMD names no folder"),
]


@pytest.fixture
def newer(new_box: Callable[..., Box], clone: Path) -> Box:
    """A box with that systemd, a clone, and a mock of its own Python."""
    folder = Path(str(FOLDER))
    box = new_box(
        places=(),
        more=[(folder / "wheels", "/srv/wheels"), (clone, "/srv/clone")],
        root=folder / "root",
    )
    box.run("cp", "-r", "/srv/clone", CLONE)
    pip = f"cd {CLONE} && python3 -m venv /opt/mock && /opt/mock/bin/pip install --quiet '.[demo]'"
    box.run("sh", "-c", pip, env=OFFLINE, within=300)
    box.mock()
    return box


def test_the_readme_and_the_unit_hold_on_a_newer_systemd(newer: Box) -> None:
    """A hundred campaigns, nothing that it does not understand, and no wall that is lower."""
    follow(newer, "Install", "Start")
    assert_it_runs(newer)
    assert newer.psql("SELECT count(*) FROM campaigns") == "100"

    said = newer.run("systemd-analyze", "verify", "--man=no", "syncd.service")
    assert (said.stdout, said.stderr) == ("", "")
    score = newer.out("systemd-analyze", "security", "--no-pager", "syncd.service").splitlines()[-1]
    assert float(score.split(":")[1].split()[0]) <= EXPOSURE / 10


def test_with_notify_reload_a_reload_ends_when_it_is_in_force(newer: Box) -> None:
    """The drop-in for 253 and newer: no need to look whether it has happened yet."""
    version = int(newer.out("systemctl", "--version").split()[1])
    assert version >= 253, "this is not newer"
    follow(newer, "Install")
    drop_in = (UNITS / "drop-ins" / "notify-reload.conf").read_text("utf-8")
    newer.write("/etc/systemd/system/syncd.service.d/notify-reload.conf", drop_in)
    follow(newer, "Start")
    assert_it_runs(newer)
    assert newer.show("Type") == "notify-reload"
    pid = newer.pid()

    text = newer.out("cat", CONFIG)
    newer.write(CONFIG, text.replace('"15m"', '"2d"'))
    newer.systemctl("reload", "syncd")
    assert len(newer.journal("SYNCD_EVENT=reloaded")) == 1

    newer.write(CONFIG, "nonsense")
    newer.systemctl("reload", "syncd")
    assert newer.show("StatusText").startswith("config refused (1 fault), the one before runs; ")
    assert len(newer.journal("SYNCD_EVENT=reload-refused")) == 1
    assert (newer.pid(), newer.show("ActiveState")) == (pid, "active")
