"""What must hold when a cycle has ended, whatever happened on the way."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import psycopg
import trio
from psycopg import sql

from mock_api.testing import MockServer
from syncd.app.database import table
from syncd.config.load import load
from syncd.demo import compare, repeated
from syncd.store.postgres import PostgresStore, open_store
from tests.daemon.conftest import CAMPAIGNS

SECRETS = {"ADPLATFORM_EMAIL": "x", "ADPLATFORM_PASSWORD": "x"}


@attrs.frozen(kw_only=True)
class Proof:
    """What the server's journal and the database say."""

    missing: int
    """Campaigns without a row."""

    differing: int
    dead: int
    seen: int
    balanced: bool
    outcome: str | None
    pages: int
    """Pages that were committed in the cycle."""

    transactions: int
    """How many transactions have written the rows that are there."""

    answered: dict[str, int]
    """List requests with a whole answer, by page."""

    unrepeated: bool
    """No call was made that had been settled."""

    calls: Counter[str]
    """Calls that arrived and were not refused, by record."""

    fullest: int
    refused: int

    def assert_equal(self, *, records: int, pages: int, said: str) -> None:
        """Nothing lost, nothing doubled; `said` is shown where that is not so."""
        told = f"{self}\n{said}"
        assert (self.missing, self.differing, self.dead) == (0, 0, 0), told
        assert self.outcome == "ok", told
        assert self.balanced, told
        assert self.seen == records, told
        assert self.pages == pages, told
        assert self.unrepeated, told
        assert self.fullest <= 10, told
        assert self.refused == 0, told


async def proof(mock: MockServer, database: str, config: Path) -> Proof:
    """Look at both ends; `database` without anything between."""
    async with open_store(database) as store:
        rows = await rows_of(store, config)
        standing = await store.standing(CAMPAIGNS)
        settled = {c.idempotency_key: c.settled_at for c in await store.calls(CAMPAIGNS)}
        dead = await store.dead_letter_count(CAMPAIGNS)
    pages, transactions = await trio.to_thread.run_sync(_counted, database)
    journal = [e for e in await mock.requests() if e["path"].startswith("/api/")]
    missing, differing = compare(await mock.campaigns(), rows)
    return Proof(
        missing=missing,
        differing=differing,
        dead=dead,
        seen=standing.totals.seen,
        balanced=standing.totals.balanced,
        outcome=standing.outcome,
        pages=pages,
        transactions=transactions,
        answered=dict(
            Counter(
                e["query"].split("&")[0]
                for e in journal
                if e["method"] == "GET" and e["status"] == 200
            )
        ),
        unrepeated=repeated(journal, settled) == 0,
        calls=Counter(
            e["path"].split("/")[3] for e in journal if e["method"] == "POST" and e["status"] != 429
        ),
        fullest=(await mock.windows())["fullest"],
        refused=sum(1 for e in journal if e["status"] == 429),
    )


async def rows_of(
    store: PostgresStore, config: Path, source: str = "adplatform"
) -> list[dict[str, Any]]:
    """A source's campaigns as they are in their table."""
    stream = load(config, environ=SECRETS).sources[source].streams["campaigns"]
    texts = await store.table_rows(table(stream), source)
    return [json.loads(text, parse_float=Decimal) for text in texts]


def _counted(database: str) -> tuple[int, int]:
    with psycopg.connect(database) as connection:
        (pages,) = connection.execute(
            "SELECT pages FROM syncd.cycle ORDER BY id DESC LIMIT 1"
        ).fetchone() or (0,)
        (written,) = connection.execute(
            "SELECT count(DISTINCT xmin::text) FROM campaigns"
        ).fetchone() or (0,)
    return pages, written


async def copied(template: str, name: str) -> str:
    """A database beside another one, made as that is; nobody may be connected to it."""

    def copy() -> str:
        info = psycopg.conninfo.conninfo_to_dict(template)
        admin = psycopg.conninfo.make_conninfo(template, dbname="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(str(info["dbname"]))
                )
            )
        return psycopg.conninfo.make_conninfo(template, dbname=name)

    return await trio.to_thread.run_sync(copy)
