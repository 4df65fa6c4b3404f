"""The real daemon, a real Postgres and a real server that is the API, with a proxy before each.

Whoever lives here is killed and started again; what may not happen is noted in `violations`.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import psycopg
import trio

from mock_api.testing import MockServer, running_mock
from syncd.errors import StoreUnavailable
from syncd.logs import kinds
from syncd.store.embedded import Embedded, embedded_server
from syncd.store.postgres import open_store
from tests.daemon.conftest import Syncd
from tests.daemon.running import Daemon, daemon
from tests.proxy.between import socket_of, through
from tests.proxy.relay import Proxy, running_proxy
from tests.servers import postmaster
from tests.soak import ledger
from tests.soak.held import Life, held
from tests.soak.knobs import FAULT, LATE, Knobs

RECORDS = 30
SAMPLE = 2.0  # seconds between two looks at what the daemon holds
REVIVING = 60.0  # seconds for a Postgres that was killed to be there again
RATE = 100  # requests a second that the mock's journal has room for
TAIL = 4000  # characters of what a daemon said that did what it must not

MODULES = ("syncd", "syncd", "tests.daemon.impatient")
"""One in three lives gives a silent Postgres up after a second, and not after 45."""

Row = tuple[Any, ...]
T = TypeVar("T")


@attrs.define(eq=False, kw_only=True)
class World:
    """Everything that runs, and what was seen of it."""

    folder: Path
    speed: float
    server: Embedded
    mock: MockServer
    to_api: Proxy
    to_postgres: Proxy
    syncd: Syncd
    knobs: Knobs = attrs.field(factory=Knobs)
    ids: list[str] = attrs.field(factory=lambda: [f"camp_{n}" for n in range(1, RECORDS + 1)])
    """The campaigns that the API has."""

    spoilt: set[str] = attrs.field(factory=set)
    """Those of them that no table would take."""

    lives: list[Life] = attrs.field(factory=list)
    kills: int = 0
    reloads: int = 0
    violations: list[str] = attrs.field(factory=list)
    leaving: bool = False
    """From now on a daemon that ends is not started again."""

    file: trio.Lock = attrs.field(factory=trio.Lock)
    """Held while a faulty config is in place: no daemon may start with it."""

    running: Daemon | None = None
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _killed: bool = False
    _began: float = attrs.field(factory=trio.current_time)

    # --- the daemon ---------------------------------------------------------------------------

    async def keep_alive(self) -> None:
        """Start a daemon, and another one when it has ended, as systemd would."""
        while not self.leaving:
            module = MODULES[len(self.lives) % len(MODULES)]
            async with self.file:
                self.write(self.knobs)
            self._killed = False
            async with daemon(self.syncd, module, within=float("inf")) as running:
                life = Life(len(self.lives) + 1, running.process.pid)
                self.lives.append(life)
                born, self.running = trio.current_time(), running
                await running.process.wait()
                self.running, life.seconds = None, trio.current_time() - born
            self._look_at(life, running)
        self._ended.set()

    def _look_at(self, life: Life, ended: Daemon) -> None:
        (self.folder / f"life-{life.number}.log").write_text(ended.said, "utf-8")
        status = ended.process.returncode
        if status != (-signal.SIGKILL if self._killed else 0) or not (self._killed or self.leaving):
            self.violate(f"life {life.number} ended with {status}:\n{ended.said[-TAIL:]}")
        for line in ended.said.splitlines():
            if _says(line, kinds.BUG):
                self.violate(f"life {life.number} met a bug:\n{ended.said[-TAIL:]}")
            elif _says(line, kinds.PARKED):
                self.violate(f"life {life.number} parked a stream: {line}")
            elif _says(line, kinds.REFUSED) and FAULT not in line:
                self.violate(f"life {life.number} refused a good file: {line}")

    async def stop(self, within: float) -> None:
        """SIGTERM, and wait until it has left."""
        self.leaving = True
        if self.running is None:
            self.violate("no daemon runs that could be stopped")
            return
        self.running.process.terminate()
        with trio.move_on_after(within):
            await self._ended.wait()
            return
        self.violate(f"the daemon had not left {within:.0f} s after SIGTERM")
        self.running.process.kill()
        await self._ended.wait()

    def kill(self) -> bool:
        """SIGKILL, if there is one to kill."""
        if self.running is None or self.running.process.returncode is not None:
            return False
        self._killed = True
        self.running.process.kill()
        self.kills += 1
        return True

    def hup(self) -> bool:
        """SIGHUP, if the daemon has said something: before that its Python is not awake."""
        if self.running is None or self.running.process.returncode is not None:
            return False
        if not self.running.said:
            return False
        self.running.process.send_signal(signal.SIGHUP)
        return True

    def write(self, knobs: Knobs, more: str = "") -> None:
        """Put a config in place, whole at any moment."""
        text = more + knobs.config(
            base_url=f"http://{self.to_api.address}",
            database=through(self.to_postgres, self.conninfo),
            speed=self.speed,
        )
        whole = self.syncd.path.with_suffix(".new")
        whole.write_text(text, "utf-8")
        whole.replace(self.syncd.path)

    # --- Postgres -----------------------------------------------------------------------------

    @property
    def conninfo(self) -> str:
        """Without anything between."""
        return f"host={self.server.place.data} dbname=postgres user=postgres"

    def kill_postgres(self) -> None:
        """SIGKILL for the postmaster; its children see it, and go."""
        with suppress(ProcessLookupError):
            os.kill(postmaster(self.server.place.data), signal.SIGKILL)
            self.kills += 1

    async def revive(self) -> None:
        """Have Postgres accept connections again."""
        with trio.fail_after(REVIVING):
            while True:
                with suppress(StoreUnavailable):
                    return await self.server.revive()

    async def asked(self, ask: Callable[[psycopg.Connection[Row]], T]) -> T:
        """What an administrator sees; raises OperationalError while Postgres is away."""

        def connect() -> T:
            conninfo = psycopg.conninfo.make_conninfo(
                self.conninfo,
                connect_timeout=5,
                application_name="soak",
                options="-c statement_timeout=30s -c search_path=public",
            )
            with psycopg.connect(conninfo, autocommit=True) as connection:
                return ask(connection)

        return await trio.to_thread.run_sync(connect)

    async def rows(self, query: str, *values: object) -> list[Row]:
        return await self.asked(lambda c: c.execute(query.encode(), values).fetchall())

    # --- the API ------------------------------------------------------------------------------

    async def answer_badly(self, *rules: dict[str, Any]) -> None:
        """These faults in its answers; some requests of one source are always counted late."""
        late = {"client": "tardy", "path": "/api/*", "rate": 0.03, "late": LATE * self.speed}
        await self.mock.faults({**late, "name": "late"}, *rules)

    # --- what is seen of it -------------------------------------------------------------------

    def violate(self, what: str) -> None:
        self.violations.append(f"after {trio.current_time() - self._began:.0f} s: {what}")

    async def look(self) -> None:
        """Note what the daemon holds, again and again."""
        born: dict[int, float] = {}
        while True:
            await trio.sleep(SAMPLE)
            if self.running is None:
                continue
            life = self.lives[-1]
            began = born.setdefault(life.number, trio.current_time())
            connections = await self.connections()
            seen = held(life.pid, trio.current_time() - began, connections)
            if seen is not None:
                life.samples.append(seen)

    async def connections(self) -> int | None:
        """How many are open to Postgres; None while it is away."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncd'"
        try:
            return int((await self.rows(query))[0][0])
        except psycopg.OperationalError:
            return None


@asynccontextmanager
async def made(folder: Path, *, speed: float, minutes: float) -> AsyncIterator[World]:
    """Start everything but the daemon."""
    journal = max(200_000, int(minutes * 60 * RATE))
    async with (
        embedded_server(folder / "state") as server,
        running_mock(speed=speed, campaigns=RECORDS, journal=journal) as mock,
        running_proxy(to=mock.base_url.removeprefix("http://")) as to_api,
        running_proxy(to=socket_of(f"host={server.place.data}")) as to_postgres,
    ):
        world = World(
            folder=folder,
            speed=speed,
            server=server,
            mock=mock,
            to_api=to_api,
            to_postgres=to_postgres,
            syncd=Syncd(folder / "syncd.toml"),
        )
        async with open_store(world.conninfo):
            await world.asked(_prepare)
        await world.answer_badly()
        yield world


def _says(line: str, kind: kinds.Kind) -> bool:
    """Whether a line is of this kind: a reason may hold the same words."""
    return " ".join(line.split()[2:]).startswith(kind.sentence)


def _prepare(connection: psycopg.Connection[Row]) -> None:
    ledger.watch(connection)
    # A killed process leaves its writes with the kernel; only a power cut would need this.
    connection.execute("ALTER SYSTEM SET fsync = off")
    connection.execute("SELECT pg_reload_conf()")
