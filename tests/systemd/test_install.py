"""systemd/README.md, from a clean machine to rows in a table, by its own commands."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.systemd.boxes import ROOT, UNITS, Box, commands, configured, interpreter
from tests.systemd.conftest import copy_of_the_clone

pytestmark = pytest.mark.systemd

README = (UNITS / "README.md").read_text("utf-8")
CLONE = "/root/syncd"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels", "PIP_CONFIG_FILE": "/dev/null"}
"""For pip: the box has no way out, and what it needs was fetched before."""


@pytest.fixture(scope="session")
def wheels(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that pip asks for; kept beside the tests' own packages, and as old as they are."""
    folder = ROOT / ".venv" / ".wheels"
    want = (ROOT / "setup.cfg").read_text("utf-8") + (ROOT / "pyproject.toml").read_text("utf-8")
    stamp = folder / "made-from"
    if not stamp.exists() or stamp.read_text("utf-8") != want:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pip = [interpreter(), "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
        wanted = ["setuptools>=68", "wheel", ".[embedded]"]
        copy = copy_of_the_clone(tmp_path_factory.mktemp("clone"))  # pip builds in there
        subprocess.run([*pip, *wanted], check=True, timeout=600, cwd=copy)
        for ours in folder.glob("syncd-*"):
            ours.unlink()  # the box makes it from the clone, as the README says
        stamp.write_text(want, "utf-8")
    return folder


@pytest.fixture
def clean(new_box: Callable[..., Box], wheels: Path, clone: Path) -> Box:
    """A machine without syncd, but with a clone of it and an API to read."""
    box = new_box(places=["/opt/mock"], more=[(wheels, "/srv/wheels"), (clone, "/srv/clone")])
    # pip builds in the clone's folder: a copy, which it may write to.
    box.run("cp", "-r", "/srv/clone", CLONE)
    box.mock()
    return box


def follow(box: Box, *headings: str) -> None:
    """Do what stands under these headings of the README."""
    script = commands(README, headings)
    assert len(script.splitlines()) > 2, headings
    box.run("sh", "-eu", "-c", f"cd {CLONE}\n{script}", env=OFFLINE, within=300)


def assert_it_runs(box: Box) -> None:
    box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert box.show("ActiveState") == "active"
    box.says("resting, next cycle in")
    assert box.out("systemctl", "is-enabled", "syncd") == "enabled"
    assert not box.journal("-p", "err")
    told = box.out("syncd", "status")
    resting = r"^adplatform\.campaigns +resting, next in .+ 100 +100 +0 +0$"
    assert re.search(resting, told, re.MULTILINE), told
    assert f"run by pid {box.pid()}" in told


def test_the_readme_leads_to_a_running_service(clean: Box) -> None:
    """As it stands, with a Postgres of syncd's own: a hundred campaigns in the table."""
    follow(clean, "Install", "Start")
    assert_it_runs(clean)
    assert clean.psql("SELECT count(*) FROM campaigns") == "100"

    # And on with the same service: the same secrets, encrypted.
    cursor = clean.cursor()
    follow(clean, "Encrypted secrets")
    clean.entry("SYNCD_EVENT=resting", after=cursor)
    clean.becomes("ActiveState", "active")
    assert "LoadCredentialEncrypted" in clean.out("systemctl", "cat", "syncd")


def test_the_readme_leads_to_a_running_service_with_a_postgres_on_this_machine(
    clean: Box,
) -> None:
    """As it stands, with the distribution's Postgres: a hundred campaigns in the table."""
    clean.debian_cluster()
    follow(clean, "Install", "A Postgres on this machine", "Start")
    assert_it_runs(clean)
    query = "SELECT count(*) FROM campaigns"
    assert clean.local_psql(query) == "100"
    assert clean.out("runuser", "-u", "syncd", "--", "psql", "-XAtc", query, "syncd") == "100"
    assert clean.run("test", "-e", "/var/lib/syncd/postgres", check=False).returncode != 0


def test_the_readme_leads_to_a_second_instance(box: Box, clone: Path) -> None:
    """An instance has a config, a state, a user and a life of its own."""
    box.run("mkdir", "-p", f"{CLONE}/systemd/drop-ins")
    for path in clone.glob("systemd/**/*"):
        if path.is_file():
            box.write(f"{CLONE}/{path.relative_to(clone)}", path.read_text("utf-8"))
    box.write("/etc/syncd/adplatform-email", "ads@example.com", "0600")
    box.write("/etc/syncd/adplatform-password", "secret", "0600")
    follow(box, "Several of them")
    ended = box.entry("SYNCD_EVENT=cycle-ended", within=90)
    assert ended["_SYSTEMD_UNIT"] == "syncd@eu.service"
    folder = "/var/lib/syncd-eu/postgres/data"
    assert box.psql("SELECT count(*) FROM campaigns", folder=folder) == "100"
    assert box.out("ps", "-o", "user:32=", "-p", str(box.pid("syncd@eu"))) == "syncd-eu"
    assert box.says("resting", "syncd@eu").startswith("1 stream resting")
    box.run("install", "-D", f"{CLONE}/systemd/syncd", "/usr/local/bin/syncd")
    told = box.run("syncd", "status", env={"SYNCD_INSTANCE": "eu"}).stdout
    assert f"run by pid {box.pid('syncd@eu')}" in told


def test_the_command_is_as_bounded_as_the_service(box: Box) -> None:
    """`syncd check` finds out that the unit does not let it reach the API."""
    box.write("/usr/local/bin/syncd", (UNITS / "syncd").read_text("utf-8"), "0755")
    box.run("ip", "addr", "add", "192.0.2.7/32", "dev", "lo")
    box.mock_elsewhere("192.0.2.7")
    box.install(configured().replace("127.0.0.1:3001", "192.0.2.7:3001"))
    refused = box.run("syncd", "check", check=False)
    assert (refused.returncode, "no answer" in refused.stdout) == (1, True), refused
    box.drop_in("api", "IPAddressAllow=192.0.2.0/24")
    assert box.run("syncd", "check").returncode == 0
    # No state is left running by it, and none that the service could not use.
    assert "postgres" not in box.out("ps", "-eo", "comm")
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended")
