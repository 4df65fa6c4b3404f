"""Who runs Postgres when no database is configured?  syncd, under its state directory.

The server is in a session of its own, so that Ctrl-C does not reach it.  All who use it
hold a shared lock; the last to leave stops it.  After a kill -9 of syncd it runs on, and
the next start finds it.  After a kill -9 of Postgres itself the next start, or `revive`,
waits out the dead server's memory.

It listens on a Unix socket in its own folder and nowhere else.  Such a path may be too
long for a socket (107 bytes), so that we reach it through /proc/self/fd.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import attrs
import psycopg
import trio

from syncd.errors import StoreUnavailable
from syncd.store import binaries, place
from syncd.store.place import EmbeddedFailed, Place

__all__ = ["Embedded", "EmbeddedFailed", "embedded_postgres", "embedded_server"]

START = 60.0  # seconds for initdb, and for a start that replays its log
STOP = 30.0  # seconds for a fast shutdown
PAUSE = 0.05  # seconds between two looks
TAIL = 15  # lines of Postgres's own log in an error

BLOCKED = ("pre-existing shared memory block", "lock file", "is the database system")
"""What a start says while a server that was killed has not quite gone."""

SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_directories": "'.'",
    "jit": "off",  # small statements; and the unit forbids memory that is written and run
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "'32MB'",
    "logging_collector": "off",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
}
"""Of a cluster that is made."""

QUIET = {
    # What Postgres refuses is told where it was asked for.  Here each try of a bad record would
    # leave its statement, whole: 20 kB a cycle, with values in it that nobody forgets or hides.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
"""Of each start, also of a cluster that was made before."""

LARGEST = 10 * 2**20  # bytes of Postgres's own log; a start makes a new one, and keeps that one


@attrs.define(eq=False)
class Embedded:
    """The embedded server, as long as it is used."""

    place: Place = attrs.field(repr=False)
    _binaries: Path
    _folder: int
    """A descriptor of the data directory; in it is the socket."""

    @property
    def conninfo(self) -> str:
        """For this process alone: a child has descriptors of its own."""
        return f"host=/proc/self/fd/{self._folder} dbname=postgres user=postgres"

    async def revive(self) -> None:
        """Start it again if it has died; raises StoreUnavailable if that fails."""
        try:
            async with _one_at_a_time(self.place):
                await _start(self.place, self._binaries, self.conninfo)
        except EmbeddedFailed as error:
            # It did start once, so it is worth waiting for: a full disk is emptied.
            raise StoreUnavailable(str(error)) from error


@asynccontextmanager
async def embedded_server(state: Path) -> AsyncIterator[Embedded]:
    """Use the server, started if need be; raises EmbeddedFailed, StoreUnavailable."""
    where = place.made(state)
    with _opened(where.home / "users.lock") as users:
        async with _one_at_a_time(where):
            # Nobody holds it alone for longer than they hold the other lock: no wait.
            fcntl.flock(users, fcntl.LOCK_SH)
            chosen = await binaries.fitting(where)
            if where.version is None:
                await _initdb(where, chosen)
            folder = os.open(where.data, os.O_RDONLY | os.O_DIRECTORY)
            server = Embedded(where, chosen, folder)
            try:
                await _start(where, chosen, server.conninfo)
            except BaseException:
                os.close(folder)
                raise
        try:
            yield server
        finally:
            os.close(folder)
            with trio.CancelScope(shield=True):
                await _leave(where, users)


@asynccontextmanager
async def embedded_postgres(state: Path) -> AsyncIterator[str]:
    """The same for those who need no more than its conninfo."""
    async with embedded_server(state) as server:
        yield server.conninfo


# --- who may be there at once ---------------------------------------------------------------


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    """A file to lock; the kernel lets go of it if we die."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedFailed(
            f"{lock} can't be opened: {error.strerror}; does another user run syncd there? "
            "set `state` to a directory of your own, or set `database.url`"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _one_at_a_time(where: Place) -> AsyncIterator[None]:
    """One process at a time starts or stops the server."""
    with _opened(where.home / "start.lock") as descriptor:
        with trio.move_on_after(START + STOP) as patience:
            while not _is_ours_alone(descriptor):  # noqa: ASYNC110 - the kernel's lock
                await trio.sleep(PAUSE)
        if patience.cancelled_caught:
            raise StoreUnavailable(
                f"the embedded Postgres under {where.home} has been starting or stopping for too "
                f"long, for this syncd or another; see {where.log}"
            )
        yield


def _is_ours_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _leave(where: Place, users: int) -> None:
    async with _one_at_a_time(where):
        if not _is_ours_alone(users):
            return  # somebody else is still there
        pid = _pid(where)
        if pid is None or not _runs(where, pid):
            return
        # SIGINT is the fast shutdown; SIGTERM would wait for every client to go.
        _signal(pid, signal.SIGINT)
        with trio.move_on_after(STOP):
            while _runs(where, pid):  # noqa: ASYNC110 - perhaps no child of ours
                await trio.sleep(PAUSE)
            return
        _signal(pid, signal.SIGQUIT)  # it recovers from its log at the next start


# --- making and starting it ------------------------------------------------------------------


async def _initdb(where: Place, chosen: Path) -> None:
    fresh = where.home / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command: list[str | Path] = [chosen / "initdb", "--pgdata", fresh, "--username=postgres"]
    command += ["--auth=trust", "--encoding=UTF8", "--no-instructions"]
    try:
        with trio.fail_after(START):
            try:
                await _ran([*command, "--locale-provider=builtin", "--locale=C.UTF-8"], where)
            except subprocess.CalledProcessError:  # before Postgres 17
                shutil.rmtree(fresh, ignore_errors=True)
                await _ran([*command, "--locale=C.UTF-8"], where)
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n# set by syncd\n")
            file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        fresh.rename(where.data)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode("utf-8", "replace").strip()
        raise EmbeddedFailed(f"initdb failed in {where.home}: {said}") from None
    except trio.TooSlowError:
        raise EmbeddedFailed(f"initdb in {where.home} took longer than {START:.0f} s") from None
    except OSError as error:
        raise EmbeddedFailed(f"initdb failed in {where.home}: {error}") from None


async def _ran(command: list[str | Path], where: Place) -> None:
    await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, cwd=where.home, **where.as_user
    )


async def _start(where: Place, chosen: Path, conninfo: str) -> None:
    """Have the server accept connections; one that runs already is taken as it is."""
    process: subprocess.Popen[bytes] | None = None
    written = 0
    last = "it did not answer"
    with trio.move_on_after(START):
        while True:
            try:
                await trio.to_thread.run_sync(_connect, conninfo)
            except psycopg.OperationalError as error:
                last = str(error).strip()
            else:
                if process is not None:
                    process.returncode = 0  # it outlives this object, and that is meant
                return
            if process is None and not _runs(where, _pid(where)):
                process, written = _launch(where, chosen)
            elif process is not None and process.poll() is not None:
                process = None
                last = _said(where, since=written)
                if not any(words in last for words in BLOCKED):
                    break
                await trio.sleep(10 * PAUSE)
            await trio.sleep(PAUSE)
    if process is not None:
        process.returncode = process.poll() or 0
    raise EmbeddedFailed(f"the embedded Postgres under {where.home} did not start: {last}")


def _launch(where: Place, chosen: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """The server, and how long its log was before."""
    quiet = [word for name, value in QUIET.items() for word in ("-c", f"{name}={value}")]
    try:
        _turn(where.log)
        with where.log.open("ab") as log:
            if where.user is not None:
                os.chown(where.log, where.user.pw_uid, where.user.pw_gid)
            before = os.fstat(log.fileno()).st_size
            # trio.Process would tie its life to ours: it is to outlive a kill -9 of syncd.
            process = subprocess.Popen(  # noqa: S603 - our own command line
                [chosen / "postgres", "-D", where.data, *quiet],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=where.data,
                start_new_session=True,
                **where.as_user,
            )
            return process, before
    except OSError as error:
        raise EmbeddedFailed(f"{chosen / 'postgres'} can't be run: {error}") from None


def _turn(log: Path) -> None:
    """Make room; a log that can't be moved goes on to grow."""
    with suppress(OSError):
        if log.stat().st_size > LARGEST:
            log.replace(log.with_suffix(".log.1"))


def _connect(conninfo: str) -> None:
    psycopg.connect(conninfo, connect_timeout=5).close()


def _said(where: Place, *, since: int) -> str:
    """The end of what Postgres has logged since its log was so long."""
    try:
        with where.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode("utf-8", "replace").splitlines()[-TAIL:]
    except OSError as error:
        return str(error)
    return f"the last lines of {where.log}:\n" + "\n".join(lines)


# --- its process -------------------------------------------------------------------------------


def _pid(where: Place) -> int | None:
    try:
        return int((where.data / "postmaster.pid").read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _runs(where: Place, pid: int | None) -> bool:
    """Whether that process is a server of this very data directory."""
    if pid is None:
        return False
    _reap(pid)
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == where.data.resolve()
    except PermissionError:
        # Root in a container may not look there, but everybody may read this.
        return os.fsencode(where.data) in _command_line(pid)
    except OSError:
        return False


def _command_line(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


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
