"""A daemon with very many small sources: what does it use, and does it keep their schedule?"""

import json
import math
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import click
import psycopg
import trio

from scripts.benchmarks import job, records
from scripts.benchmarks.counted import Asked, asked
from scripts.benchmarks.databases import one_postgres
from scripts.benchmarks.door import Daemon
from scripts.benchmarks.listing import PATH
from scripts.benchmarks.listserver import running_list

RECORDS = 5  # in the one page that each source has
LOOK = 0.5  # seconds between two looks
START = 600.0  # seconds until all sources have had their first cycle

CONFIG = """
state = {state}
[database]
url = {url}
[sources.s0]
base_url = {base_url}
[sources.s0.streams.records]
every = "{every:g}s"
path = {path}
records = "data"
key = ["id"]
page = {{ size = {size}, more = "has_more", total = "total" }}
[sources.s0.streams.records.columns]
"""

STARTS = """
SELECT extract(epoch FROM coalesce(started_at, clock_timestamp()) - before)::float8 - %(every)s
FROM (
    SELECT started_at, lag(started_at) OVER w AS before FROM syncd.cycle
    WINDOW w AS (PARTITION BY source ORDER BY id)
    UNION ALL
    -- Who is late, and has not even begun.
    SELECT NULL, max(started_at) FROM syncd.cycle GROUP BY source
    HAVING max(started_at) + make_interval(secs => %(every)s) < clock_timestamp()
) AS start
WHERE coalesce(started_at, clock_timestamp()) >= to_timestamp(%(since)s)
    AND before IS NOT NULL
"""

TOOK = """
SELECT extract(epoch FROM ended_at - started_at)::float8 FROM syncd.cycle
WHERE ended_at >= to_timestamp(%(since)s)
"""

ENDED = "SELECT count(DISTINCT source) FROM syncd.cycle WHERE ended_at IS NOT NULL"


@attrs.frozen(kw_only=True)
class Spread:
    """How long something took: seconds."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """Those of what took so many seconds; not a number where nothing did."""
        ordered = sorted(seconds) or [math.nan]
        at = [ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99)]
        return cls(count=len(seconds), p50=at[0], p99=at[1], most=ordered[-1])

    def line(self, what: str) -> str:
        return (
            f"{what}: p50 {self.p50:.3f} s, p99 {self.p99:.3f} s, at most {self.most:.3f} s "
            f"(of {self.count:,})"
        )


@attrs.frozen(kw_only=True)
class Used:
    """What the daemon used in a stretch of time."""

    seconds: float
    cpu_percent: float
    """Of one core."""

    postgres_cpu_percent: float
    """Not a number if Postgres isn't the benchmark's own."""

    wakeups: float
    """Voluntary context switches of all its threads, a second."""

    statements: int
    connects: int
    rss_mib: float
    """At the end."""

    peak_mib: float
    """The most that it ever held."""

    def lines(self) -> list[str]:
        statements = self.statements / self.seconds
        return [
            f"CPU: {self.cpu_percent:.2f} % of a core, Postgres {self.postgres_cpu_percent:.2f} %",
            f"wake-ups: {self.wakeups:.1f} a second",
            f"Postgres: {statements:.2f} statements a second, {self.connects} connections opened",
            f"memory: {self.rss_mib:.1f} MiB, at most {self.peak_mib:.1f} MiB",
        ]


@attrs.define(eq=False)
class Fleet:
    """The daemon, as it runs."""

    sources: int
    every: float
    daemon: Daemon
    count: Path
    postgres: int | None
    """Its process, if it is the benchmark's own."""

    began: float

    async def all_had_a_cycle(self) -> float:
        """Wait until each source had its first; seconds since the daemon was started."""
        with trio.move_on_after(START) as patience:
            await self.daemon.until("cycle ended")
            while self._one(ENDED) < self.sources:  # noqa: ASYNC110 - Postgres has no event for it
                await trio.sleep(LOOK)
        if patience.cancelled_caught:
            raise click.ClickException(f"{self.sources} sources had no cycle within {START:g} s")
        return trio.current_time() - self.began

    async def used(self, seconds: float) -> Used:
        """Let it run for so long."""
        threads = _Threads(self.daemon.process.pid)
        began, before = trio.current_time(), self._spent()
        with trio.move_on_after(seconds):
            while True:
                threads.look()
                await trio.sleep(LOOK)
        threads.look()
        took, after = trio.current_time() - began, self._spent()
        return Used(
            seconds=round(took, 1),
            cpu_percent=round(100 * (after[1] - before[1]) / took, 3),
            postgres_cpu_percent=round(100 * (after[2] - before[2]) / took, 2),
            wakeups=round(threads.switches / took, 2),
            statements=after[0].statements - before[0].statements,
            connects=after[0].connects - before[0].connects,
            rss_mib=round(self.daemon.rss, 1),
            peak_mib=round(_high_water(self.daemon.process.pid), 1),
        )

    def late(self, since: float) -> Spread:
        """How much later cycles began than `every` after the one before, which is the schedule."""
        return Spread.of(self._column(STARTS, {"every": self.every, "since": since}))

    def took(self, since: float) -> Spread:
        """How long the cycles took that ended since then."""
        return Spread.of(self._column(TOOK, {"since": since}))

    def _spent(self) -> tuple[Asked, float, float]:
        postgres = math.nan if self.postgres is None else _tree_cpu(self.postgres)
        return asked(self.count), self.daemon.cpu, postgres

    def _one(self, query: str) -> float:
        return self._column(query, {})[0]

    def _column(self, query: str, values: dict[str, float]) -> list[float]:
        with psycopg.connect(self.daemon.conninfo, autocommit=True) as connection:
            return [value for (value,) in connection.execute(query.encode(), values)]


@attrs.define(eq=False)
class _Threads:
    """How often the threads of a process have gone to sleep, those that have ended as well."""

    pid: int
    _first: dict[str, int] | None = None
    _last: dict[str, int] = attrs.field(factory=dict)

    def look(self) -> None:
        seen = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                lines = (task / "status").read_text("ascii", "replace").splitlines()
            except OSError:
                continue  # it has just ended
            seen[task.name] = next(
                int(x.split()[1]) for x in lines if x.startswith("voluntary_ctxt_switches")
            )
        self._last |= seen
        if self._first is None:
            self._first = seen

    @property
    def switches(self) -> int:
        first = self._first or {}
        return sum(count - first.get(name, 0) for name, count in self._last.items())


def _high_water(pid: int) -> float:
    """MiB."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith("VmHWM"))


def _tree_cpu(pid: int) -> float:
    """Seconds of a process, of its children, and of those that have ended."""
    total = sum(_times(pid))
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
        try:
            total += sum(_times(int(child))[:2])
        except OSError:
            continue  # it has just ended, and is in the next look
    return total / os.sysconf("SC_CLK_TCK")


def _times(pid: int) -> list[int]:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2]
    return list(map(int, fields.split()[11:15]))


def config(folder: Path, base_url: str, conninfo: str, *, sources: int, every: float) -> Path:
    """So many sources that are like the first, each with its rows in one and the same table."""
    told = {"state": str(folder), "url": conninfo, "base_url": base_url, "path": PATH}
    values = {name: json.dumps(value) for name, value in told.items()}
    parts = [CONFIG.format(**values, every=every, size=RECORDS)]
    parts += [f'{name} = "{kind}"\n' for name, kind in records.COLUMNS.items()]
    parts += [f'[sources.s{number}]\nlike = "s0"\n' for number in range(1, sources)]
    path = folder / "syncd.toml"
    path.write_text("".join(parts), "utf-8")
    return path


@asynccontextmanager
async def running(*, sources: int, every: float, url: str | None) -> AsyncIterator[Fleet]:
    """A daemon that has just been started, with so many sources."""
    with job.place() as folder:
        async with running_list(RECORDS, RECORDS) as server, one_postgres(folder, url) as databases:
            with databases.fresh() as conninfo:
                path = config(folder, server.base_url, conninfo, sources=sources, every=every)
                count = folder / "count"
                async with _daemon(path, count, conninfo) as daemon:
                    own = None if url is not None else _postmaster(folder)
                    yield Fleet(sources, every, daemon, count, own, trio.current_time())


@asynccontextmanager
async def _daemon(path: Path, count: Path, conninfo: str) -> AsyncIterator[Daemon]:
    module = [sys.executable, "-m", "scripts.benchmarks.counted"]
    log = path.with_suffix(".log")
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            [*module, "--config", str(path), "run", "--log", "json"],
            env={**job.environment(), "SYNCD_COUNT": str(count)},
            stdout=output,
            stderr=output,
        )
    try:
        yield Daemon(process, log, conninfo)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _postmaster(folder: Path) -> int:
    first, *_ = (folder / "postgres/data/postmaster.pid").read_text("ascii").splitlines()
    return int(first)
