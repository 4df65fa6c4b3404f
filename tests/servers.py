"""Postgres servers for tests: the embedded one, started for a test session.

Each is kept by a thread with a Trio of its own, as the tests' own Trio ends with each test.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio
from psycopg import sql

from syncd.store.embedded import embedded_postgres

PATIENCE = 90.0  # seconds; initdb and start on a busy machine
CHOSEN = "SYNCD_POSTGRES_BIN"

_numbers = itertools.count(1)


def debian_binaries() -> Path | None:
    """The newest Postgres of the distribution, if one is installed."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return newest and newest.parent


@contextmanager
def short_place() -> Iterator[Path]:
    """Where an unprivileged Postgres can enter, and a socket's path is not too long."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes, such as `8m`; skips where none can be mounted."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs"]
    if subprocess.run(["mount", *options, place], check=False, capture_output=True).returncode:
        pytest.skip("a file system can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def postmaster(data: Path) -> int:
    """The process that runs a data directory."""
    return int((data / "postmaster.pid").read_text("utf-8").split()[0])


@attrs.define(eq=False)
class Server:
    """One embedded server; a thread with a Trio of its own keeps it until `stop`."""

    binaries: Path | None = None
    """Where its `postgres` is; None for the newest that is found."""

    _state: Path = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _ready: threading.Event = attrs.field(factory=threading.Event, init=False)
    _leave: threading.Event = attrs.field(factory=threading.Event, init=False)
    _trouble: BaseException | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        # Short, for the sake of sockets, and where an unprivileged Postgres can enter.
        self._state = Path(tempfile.mkdtemp(prefix="syncd-", dir="/tmp"))
        self._state.chmod(0o711)
        self._thread = threading.Thread(target=self._run, name="postgres", daemon=True)
        before = os.environ.get(CHOSEN)
        if self.binaries is not None:
            os.environ[CHOSEN] = str(self.binaries)
        try:
            self._thread.start()
            if not self._ready.wait(PATIENCE):
                raise TimeoutError("the embedded Postgres of the tests did not start")
        finally:
            if before is None:
                os.environ.pop(CHOSEN, None)
            else:
                os.environ[CHOSEN] = before
        if self._trouble is not None:
            raise self._trouble
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as admin:
            # Nothing here has to survive a power cut.
            for setting in ("fsync", "full_page_writes"):
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.SQL(setting)))
            admin.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)
        shutil.rmtree(self._state, ignore_errors=True)
        if self._trouble is not None:
            raise self._trouble

    def conninfo(self, database: str, user: str = "postgres") -> str:
        """By the socket's path, so that a subprocess can use it as well."""
        return f"host={self._state}/postgres/data dbname={database} user={user}"

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """A database that nobody has used before, gone afterwards."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield self.conninfo(name)
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody hears it
            self._trouble = error
            self._ready.set()

    async def _serve(self) -> None:
        async with embedded_postgres(self._state):
            self._ready.set()
            await trio.to_thread.run_sync(self._leave.wait)


@attrs.define(eq=False)
class Servers:
    """Each server that the session has asked for, by kind: `embedded`, `debian`."""

    _running: dict[str, Server] = attrs.field(factory=dict, init=False)

    def __getitem__(self, kind: str) -> Server:
        if kind not in self._running:
            binaries = debian_binaries() if kind == "debian" else None
            if kind == "debian" and binaries is None:
                pytest.skip("no Postgres of the distribution is installed")
            server = Server(binaries)
            server.start()
            self._running[kind] = server
        return self._running[kind]

    def stop(self) -> None:
        while self._running:
            self._running.popitem()[1].stop()


async def execute(conninfo: str, *statements: str) -> None:
    """Run SQL as the database's owner would, each statement by itself."""

    def run() -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    await trio.to_thread.run_sync(run)
