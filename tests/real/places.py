"""Where do servers that nobody here wrote live?  Each in an environment of its own, made once.

They need libraries that would fight with syncd's, and none of them belongs among what a
developer installs.  An environment is named for what is in it, and kept under the user's cache
folder (or $SYNCD_REAL_CACHE); the first test that asks for one waits for it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

PATIENCE = 600.0  # seconds for an installation


@attrs.frozen
class Place:
    """One environment."""

    name: str
    packages: tuple[str, ...]
    kind: str = "python"

    def folder(self) -> Path:
        """Make it if it is not there; its path."""
        text = "\n".join([self.kind, sys.version.split()[0], *self.packages])
        folder = _cache() / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        stamp = folder / ".whole"
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Test processes that run side by side make it once.
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists():
                shutil.rmtree(folder, ignore_errors=True)
                (_node if self.kind == "node" else _python)(folder, self.packages)
                stamp.touch()
        return folder


KINTO = Place("kinto", ("kinto==26.5.0", "waitress==3.0.2"))
DATASETTE = Place("datasette", ("datasette==0.65.5",))
JSON_SERVER = Place("json-server", ("json-server@0.17.4",), kind="node")
DJANGO = Place(
    "django",
    (
        "Django==5.2.19",
        "djangorestframework==3.18.3",
        "django-oauth-toolkit==3.4.1",
        "waitress==3.0.2",
    ),
)


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SYNCD_REAL_CACHE") or home / "syncd-real")


def _python(folder: Path, packages: Sequence[str]) -> None:
    _done([sys.executable, "-m", "venv", str(folder)])
    _done([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])


def _node(folder: Path, packages: Sequence[str]) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here, and this server is a package of Node")
    folder.mkdir()
    options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel", "error"]
    _done(["npm", "install", *options, *packages])


def _done(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=_plain()
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"


def _plain() -> dict[str, str]:
    """Without our own modules, which the servers' Python must not see."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
