"""How are contenders compared?  In turn, in one run, on the same list and the same Postgres."""

import platform
import statistics
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import click

from scripts.benchmarks import job
from scripts.benchmarks.contenders import Contender, Entry, Task
from scripts.benchmarks.databases import Databases, Digest, one_postgres
from scripts.benchmarks.listserver import ListServer, running_list
from scripts.benchmarks.spent import Spent, spent

F = TypeVar("F", bound=attrs.AttrsInstance)


@attrs.frozen(kw_only=True)
class Figures:
    """What moving the list once came to; or the medians of several times."""

    seconds: float
    cpu_seconds: float
    """Of the contender alone; Postgres's and the list's are not in it."""

    peak_bytes: int
    wal_bytes: int
    requests: int
    body_bytes: int


@attrs.define(eq=False)
class Arena:
    """One list and one Postgres, for all turns."""

    records: int
    size: int
    folder: Path
    server: ListServer
    databases: Databases
    truth: Digest
    """What a table that holds the list comes to."""

    truths: Mapping[int, Digest]
    """The same for each edition of the list."""

    alone: float
    """Seconds for the list when nobody decodes or writes it: it must not be the limit."""

    @contextmanager
    def entered(self, contender: Contender, *, changes: bool = False) -> Iterator["Turn"]:
        """A contender with a fresh database; `changes`: it is to ask for these alone."""
        with self.databases.fresh() as conninfo:
            task = Task(
                folder=Path(tempfile.mkdtemp(dir=self.folder)),
                base_url=self.server.base_url,
                conninfo=conninfo,
                size=self.size,
                changes=changes,
            )
            yield Turn(self, contender, contender.enter(task), conninfo)

    async def publish(self, edition: int) -> None:
        """From now on the list is in this edition."""
        await self.server.publish(edition)
        self.truth = self.truths[edition]

    def described(self) -> dict[str, str]:
        """What the figures hang on, besides the contenders."""
        python = platform.python_version()
        return {"python": python, "postgres": self.databases.version()}


@attrs.frozen
class Turn:
    """A contender in its database."""

    arena: Arena
    contender: Contender
    entry: Entry
    conninfo: str

    async def prepare(self) -> None:
        if self.entry.prepare is not None:
            await spent(self.entry.prepare, self.arena.folder / "log")

    async def run(self) -> Figures:
        """Move the list once, and look whether all of it is there."""
        databases, server = self.arena.databases, self.arena.server
        databases.settle(self.conninfo)
        await server.counts()
        before = databases.wal()
        used = await spent(self.entry.run, self.arena.folder / "log")
        wal = databases.wal() - before
        counts = await server.counts()
        self.verify()
        return _figures(used, wal, counts.requests, counts.body_bytes)

    async def to_first_request(self) -> float:
        """Seconds from its start until the list is asked for the first time."""
        await self.arena.server.counts()
        used = await spent(self.entry.run, self.arena.folder / "log")
        first_at = (await self.arena.server.counts()).first_at
        if first_at is None:
            raise click.ClickException(f"{self.contender.name} asked for nothing")
        return first_at - used.began

    def verify(self) -> None:
        """Fail if the table is not the list, value by value."""
        found = self.arena.databases.digest(self.conninfo, self.contender.table)
        if found != self.arena.truth:
            raise click.ClickException(
                f"{self.contender.name}: the table is not the list: {found.count:,} of "
                f"{self.arena.truth.count:,} rows, or other values; its figures mean nothing"
            )


def _figures(used: Spent, wal: int, requests: int, body_bytes: int) -> Figures:
    return Figures(
        seconds=round(used.seconds, 3),
        cpu_seconds=round(used.cpu_seconds, 3),
        peak_bytes=used.peak_bytes,
        wal_bytes=wal,
        requests=requests,
        body_bytes=body_bytes,
    )


@asynccontextmanager
async def arena(
    *, records: int, size: int, url: str | None, editions: int = 1, etags: bool = True
) -> AsyncIterator[Arena]:
    """The list, rendered ahead, and the Postgres."""
    with job.place() as folder:
        async with (
            running_list(records, size, etags=etags) as server,
            one_postgres(folder, url) as databases,
        ):
            truths = {e: databases.truth(records, e) for e in range(1, editions + 1)}
            alone = await server.alone(size)
            yield Arena(records, size, folder, server, databases, truths[1], truths, alone)


def median(figures: Sequence[F]) -> F:
    """Each figure's own."""
    names = [field.name for field in attrs.fields(type(figures[0]))]
    middle = {n: statistics.median([getattr(f, n) for f in figures]) for n in names}
    digits = {n: 3 if n.endswith("seconds") else None for n in names}
    return type(figures[0])(**{n: round(value, digits[n]) for n, value in middle.items()})
