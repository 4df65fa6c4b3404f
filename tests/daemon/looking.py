"""What a test asks of a running daemon, and what it finds in the database."""

from typing import Any

import attrs
import psycopg
import psycopg.rows
import trio

from syncd.store.postgres import open_store
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.ports import RequestKind


@attrs.frozen
class Database:
    """One database, with the stream `api.things` in it, and maybe others."""

    url: str

    async def ask(self, kind: RequestKind, *streams: str) -> None:
        """Ask the daemon as a command would, without waiting for the answer."""
        async with open_store(self.url, migrations=False) as store:
            asking = Asking(store.connections)
            for stream in streams or ("things",):
                await asking.ask(kind, "api", stream, asked_by=Asker(who="test"))

    async def query(self, statement: str) -> list[dict[str, Any]]:
        def run() -> list[dict[str, Any]]:
            with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as connection:
                return connection.execute(statement.encode()).fetchall()

        return await trio.to_thread.run_sync(run)

    async def rows(self, columns: str = "id, name") -> list[tuple[Any, ...]]:
        """What is in the table and not marked as deleted."""
        found = await self.query(
            f"SELECT {columns} FROM things WHERE _syncd_deleted_at IS NULL ORDER BY id"  # noqa: S608
        )
        return [tuple(row.values()) for row in found]

    async def things(self) -> dict[int, str]:
        return dict(await self.rows())

    async def gone(self) -> set[int]:
        """Rows that are marked as deleted."""
        found = await self.query("SELECT id FROM things WHERE _syncd_deleted_at IS NOT NULL")
        return {row["id"] for row in found}

    async def left(self) -> None:
        """Wait until Postgres is done with what a syncd had sent that was killed."""
        there = (
            "SELECT FROM pg_stat_activity "
            "WHERE application_name = 'syncd' AND datname = current_database()"
        )
        with trio.fail_after(30):
            while True:
                if not await self.query(there):
                    return
                await trio.sleep(0.02)

    async def cycles(self) -> list[dict[str, Any]]:
        """All of them, in order."""
        return await self.query("SELECT * FROM syncd.cycle ORDER BY id")

    async def checkpoint(self) -> dict[str, Any]:
        (found,) = await self.query("SELECT * FROM syncd.checkpoint")
        return found
