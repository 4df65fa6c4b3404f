"""Where do the contenders write?  Each into a fresh database of one and the same Postgres."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import click
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from scripts.benchmarks import records
from syncd.store.embedded import embedded_postgres

BATCH = 10_000  # records in one statement

# Values, not their spelling: 12.50 and 12.5 are the same amount.
DIGEST = """
SELECT count(*), sum(hashtextextended(ROW(
    id, name, status, country, trim_scale(amount::numeric), views::bigint, active,
    extract(epoch FROM updated_at::timestamptz)::numeric(20, 6))::text, 0)::numeric)
FROM {}
"""

TRUTH = "INSERT INTO records SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r({})"


@attrs.frozen
class Digest:
    """All records of a table, in two numbers."""

    count: int
    total: int
    """Of the hashes of the records' values."""


@attrs.define(eq=False)
class Databases:
    """One Postgres, and the databases made in it."""

    conninfo: str
    """Of the database from which others are made."""

    _number: int = attrs.field(default=0, init=False)
    _may_checkpoint: bool = attrs.field(default=True, init=False)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A database that nobody has used before, gone afterwards."""
        self._number += 1
        name = f"syncd_bench_{os.getpid()}_{self._number}"
        with self._admin() as admin:
            try:
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except psycopg.errors.InsufficientPrivilege:
                raise click.UsageError(
                    "--url: this role may not make databases; give it CREATEDB, or leave --url "
                    "out for a Postgres of the benchmark's own"
                ) from None
        try:
            yield make_conninfo(self.conninfo, dbname=name)
        finally:
            with self._admin() as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def version(self) -> str:
        with self._admin() as admin:
            return _one(admin, "SHOW server_version").split()[0]

    def settle(self, conninfo: str) -> None:
        """What Postgres would do in the minutes after, so that no run pays for another's."""
        with psycopg.connect(conninfo, autocommit=True) as database:
            database.execute("VACUUM (ANALYZE)")
        if self._may_checkpoint:
            with self._admin() as admin:
                try:
                    admin.execute("CHECKPOINT")
                except psycopg.errors.InsufficientPrivilege:
                    self._may_checkpoint = False
                    click.echo("this role may not CHECKPOINT: WAL figures vary more", err=True)

    def wal(self) -> int:
        """Bytes that were ever written, by anybody on this server."""
        with self._admin() as admin:
            return int(_one(admin, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))

    def truth(self, count: int, edition: int = 1) -> Digest:
        """What a table with all records comes to, told by this Postgres."""
        columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
        with self.fresh() as conninfo, psycopg.connect(conninfo, autocommit=True) as database:
            database.execute(f"CREATE UNLOGGED TABLE records ({columns})".encode())
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                rows = ",".join(records.texts(numbers, edition))
                database.execute(TRUTH.format(columns).encode(), [f"[{rows}]"])
            return _digest(database, ("public", "records"))

    def digest(self, conninfo: str, table: tuple[str, str]) -> Digest:
        """What a contender's table comes to."""
        with psycopg.connect(conninfo, autocommit=True) as database:
            return _digest(database, table)

    def _admin(self) -> psycopg.Connection:
        return psycopg.connect(self.conninfo, autocommit=True)


def _digest(database: psycopg.Connection, table: tuple[str, str]) -> Digest:
    database.execute("SET timezone = 'UTC'")  # what has no zone is in UTC
    row = database.execute(sql.SQL(DIGEST).format(sql.Identifier(*table))).fetchone()
    count, total = row or (0, 0)
    return Digest(count, int(total or 0))


def _one(connection: psycopg.Connection, statement: str) -> str:
    (found,) = connection.execute(statement.encode()).fetchone() or ("",)
    return str(found)


@asynccontextmanager
async def one_postgres(folder: Path, url: str | None) -> AsyncIterator[Databases]:
    """The Postgres at `url`, or an embedded one in `folder`."""
    if url is not None:
        yield Databases(_reached(url))
        return
    async with embedded_postgres(folder):
        # By the socket's path, so that other processes can use it as well.
        yield Databases(f"host={folder}/postgres/data dbname=postgres user=postgres")


def _reached(url: str) -> str:
    """With the user's name in it, which others than libpq would not guess."""
    try:
        with psycopg.connect(url) as connection:
            return make_conninfo(url, user=connection.info.user)
    except psycopg.Error as error:
        raise click.UsageError(f"--url: no Postgres there: {error}") from None
