"""The unit as shipped, judged by systemd's own tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "syncd.service"
SHIPPED = "/opt/syncd/bin/python"
EXPOSURE = 10  # tenths: what `systemd-analyze security` may say at most is 1.0

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


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a Python that this machine has."""
    text = UNIT.read_text(encoding="utf-8")
    assert SHIPPED in text
    made = tmp_path / UNIT.name
    made.write_text(text.replace(SHIPPED, sys.executable), encoding="utf-8")
    return made


def test_systemd_understands_every_line(unit: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    done = analyze("verify", str(unit))
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.stem in line]
    assert (done.returncode, ours) == (0, [])


def test_the_sandbox_is_as_tight_as_it_can_be(unit: Path) -> None:
    """`systemd-analyze security` says 1.0 or less."""
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_judge_does_judge(unit: Path) -> None:
    """Without one of its walls the unit is refused: the threshold is no decoration."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    unit.write_text("\n".join(x for x in lines if not x.startswith("IPAddressDeny=")) + "\n")
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", str(unit))
    assert done.returncode != 0
