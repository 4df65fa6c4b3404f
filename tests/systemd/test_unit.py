"""The units as shipped, judged by systemd's own tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systemd.boxes import UNITS, Box, configured

UNIT = UNITS / "syncd.service"
NAMES = ("syncd.service", "syncd@.service")
DROP_INS = sorted((UNITS / "drop-ins").glob("*.conf"))
SHIPPED = "/opt/syncd/bin/python"
EXPOSURE = 10  # tenths: what `systemd-analyze security` may say at most is 1.0
NEW = {"notify-reload.conf": 253}
"""What an older systemd does not know."""

ANALYZE = shutil.which("systemd-analyze")
pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed"),
]


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def version() -> int:
    return int(analyze("--version").stdout.split()[1])


def adapted(name: str, folder: Path) -> Path:
    """A unit, with a Python that this machine has."""
    text = (UNITS / name).read_text(encoding="utf-8")
    assert SHIPPED in text
    made = folder / name
    made.write_text(text.replace(SHIPPED, sys.executable), encoding="utf-8")
    return made


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return adapted("syncd.service", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_every_line(tmp_path: Path, name: str) -> None:
    """`systemd-analyze verify` has nothing to say."""
    made = adapted(name, tmp_path)
    if "@" in name:
        made = made.rename(made.with_name(name.replace("@", "@eu")))
    assert_verified(made)


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_understands_every_line_of_a_drop_in(unit: Path, drop_in: Path) -> None:
    """Each example, alone with the unit."""
    if version() < NEW.get(drop_in.name, 0):
        pytest.skip(f"{drop_in.name} needs a newer systemd than {version()}")
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    shutil.copy(drop_in, folder)
    assert_verified(unit)


def assert_verified(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "syncd" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", NAMES)
def test_the_sandbox_is_as_tight_as_it_can_be(tmp_path: Path, name: str) -> None:
    """`systemd-analyze security` says 1.0 or less."""
    made = str(adapted(name, tmp_path))
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", made)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_judge_does_judge(unit: Path) -> None:
    """Without one of its walls the unit is refused: the threshold is no decoration."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    unit.write_text("\n".join(x for x in lines if not x.startswith("IPAddressDeny=")) + "\n")
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", str(unit))
    assert done.returncode != 0


def test_an_instance_differs_from_the_service_by_its_name_alone() -> None:
    """A wall that one of the two units lacks would be a hole in the other."""
    service, instance = (settings(UNITS / name) for name in NAMES)
    assert service - instance == {
        "Description=syncd, keeps REST APIs in Postgres",
        f"ExecStart={SHIPPED} -m syncd --config /etc/syncd/syncd.toml run",
        "StateDirectory=syncd",
    }
    assert instance - service == {
        "Description=syncd for %i, keeps REST APIs in Postgres",
        f"ExecStart={SHIPPED} -m syncd --config /etc/syncd/%i.toml run",
        "StateDirectory=syncd-%i",
        "User=syncd-%i",
    }


def settings(unit: Path) -> set[str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_the_config_beside_the_unit_is_the_example_with_credentials() -> None:
    """What examples/ teaches is what the service is installed with."""
    example = (UNITS.parent / "examples" / "campaigns.toml").read_text("utf-8")
    shipped = (UNITS / "syncd.toml").read_text("utf-8")
    for env, name in (("EMAIL", "email"), ("PASSWORD", "password")):
        before, after = f'env = "ADPLATFORM_{env}"', f'credential = "adplatform-{name}"'
        example = example.replace(before, after)
    first = "[sources.adplatform] "
    assert shipped.partition(first)[2] == example.partition(first)[2] != ""


def test_the_walls_stand_around_the_running_service(box: Box) -> None:
    """The running service can't see, reach or become what the unit says it can't."""
    box.install(configured())
    box.systemctl("start", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended")
    said = box.out("systemd-analyze", "security", "--no-pager", "syncd.service").splitlines()[-1]
    exposure = float(said.split(":")[1].split()[0])
    assert exposure <= EXPOSURE / 10
    pid = box.pid()
    status = dict(
        line.split(":\t", 1) for line in box.out("cat", f"/proc/{pid}/status").splitlines()
    )
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()
    limits = " ".join(box.out("cat", f"/proc/{pid}/limits").split())
    assert "Max core file size 0 0" in limits

    def inside(*command: str) -> int:
        """The exit status of a command in the service's own view of the machine."""
        enter = ("nsenter", "-t", str(pid), "-m", "--")
        return box.run(*enter, *command, check=False).returncode

    assert inside("test", "-e", "/proc/sys") != 0
    assert inside("sh", "-c", 'test -z "$(ls -A /root)$(ls -A /home)"') == 0
    assert inside("touch", "/etc/syncd/mine") != 0
    assert inside("touch", "/opt/syncd/mine") != 0
    assert inside("touch", "/var/lib/private/syncd/mine") == 0
    assert box.out("stat", "-L", "-c", "%a", "/var/lib/private/syncd") == "700"


def test_the_api_is_out_of_reach_until_it_is_allowed(box: Box) -> None:
    """IPAddressDeny= holds, and the drop-in that the README gives opens it."""
    box.run("ip", "addr", "add", "192.0.2.7/32", "dev", "lo")
    box.mock_elsewhere("192.0.2.7")
    box.install(configured(source="retries = 100").replace("127.0.0.1:3001", "192.0.2.7:3001"))
    box.systemctl("start", "syncd")
    failed = box.entry("SYNCD_EVENT=request-failed")
    if any("does not support BPF" in e["MESSAGE"] for e in box.journal("_PID=1")):
        pytest.skip("the kernel, or the container around the tests, has no firewall for a unit")
    assert "no answer" in failed["SYNCD_REASON"]
    assert box.ask("GET", "/requests?since=0", host="192.0.2.7")["requests"] == []
    box.drop_in("api", "IPAddressAllow=192.0.2.0/24")
    box.systemctl("restart", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended")
