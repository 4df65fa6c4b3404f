"""Boxes for the tests of this folder: skipped with one line where a machine can't boot one."""

import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.systemd.boxes import ROOT, SPEED, Box, interpreter, refusal

_numbers = itertools.count(1)

NOT_NEEDED = ("__editable__*", "__pycache__", "mypy", "mypyc", "*__mypyc*", "libcst", "hypothesis")
"""Of the packages beside the tests; the box has a Python without them."""


@pytest.fixture(scope="session")
def machine() -> None:
    """Skips whoever asks for a box that this machine can't boot."""
    if why := refusal():
        pytest.skip(why)
    if not interpreter():
        pytest.skip("box: the Python of the tests is where a service can't see it")


@pytest.fixture(scope="session")
def venv(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with syncd and the mock in it, to be shown in a box at any place."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    make = [interpreter(), "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(make, check=True, timeout=120)
    there = Path(sysconfig.get_path("purelib"))
    here = folder / there.relative_to(sys.prefix)
    shutil.copytree(
        there, here, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_NEEDED)
    )
    for package in ("syncd", "mock_api"):
        shutil.copytree(
            ROOT / package, here / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    # An unprivileged service reads all of it, whatever this user's umask is.
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture
def new_box(machine: None, venv: Path) -> Iterator[Callable[..., Box]]:
    """Boots a box; all of them end with the test."""
    started: list[Box] = []

    def boot(
        *,
        places: Sequence[str] = ("/opt/mock", "/opt/syncd"),
        more: Sequence[tuple[Path, str]] = (),
        root: Path | None = None,
    ) -> Box:
        name = f"syncd-{os.getpid()}-{next(_numbers)}"
        box = Box(name=name, binds=[*((venv, place) for place in places), *more], root=root)
        started.append(box)
        box.start()
        return box

    yield boot
    for box in started:
        box.stop()


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Box:
    """A box with a mock and with syncd's code at /opt/syncd; the unit is still to be installed."""
    box = new_box()
    box.mock()
    return box


def copy_of_the_clone(folder: Path) -> Path:
    """What git knows of this one, and what it would."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, timeout=60)
    for name in filter(None, files.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The clone that an administrator has, with the example's times divided for a fast mock."""
    folder = copy_of_the_clone(tmp_path / "clone")
    config = folder / "systemd" / "syncd.toml"
    text = config.read_text("utf-8")
    for before, after in (
        ('per = "60s"', f'per = "{60 / SPEED}s", slack = "250ms"'),
        ('timeout  = "15s"', 'timeout = "0.5s"\nbackoff = "5ms"\nkeepalive = "0.1s"'),
    ):
        assert before in text
        text = text.replace(before, after)
    config.write_text(text, "utf-8")
    return folder
