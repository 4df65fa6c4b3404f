"""The stores that have to keep the same promises, and ways to look into each from outside."""

import json
from decimal import Decimal
from typing import Any, Protocol

import attrs
import psycopg
import trio
from psycopg import sql
from psycopg.rows import dict_row

from syncd.store.postgres import PostgresStore
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    DeadLetter,
    Intent,
    Lease,
    PageCommit,
    Row,
    StreamId,
    Table,
    idempotency_key,
)
from syncd.sync.ports import ApiFailing, Granted, NotYet, Store, Taken, TokenStore, Want
from syncd.testing import FakeStore
from syncd.testing.scanning import DELETED

ADS = StreamId(source="ads", stream="campaigns")
OTHER = StreamId(source="ads", stream="adsets")

TABLE = Table(
    schema="public",
    name="campaigns",
    columns={
        "id": "text",
        "name": "text",
        "budget": "numeric",
        "clicks": "bigint",
        "heat": "numeric",
        "synced": "text",
    },
    key=("id",),
    volatile=frozenset({"heat"}),
    kept=frozenset({"synced"}),
)

Values = dict[str, Any]


@attrs.frozen(kw_only=True)
class Ended:
    """How a cycle stands on its row."""

    outcome: str | None
    reason: str
    totals: Counts


@attrs.frozen(kw_only=True)
class Aside:
    """A dead letter as it lies there."""

    kind: str
    key: str | None
    reason: str
    payload: bytes
    attempts: int
    idempotency_key: str | None


class Subject(Protocol):
    """A store under test, and what only a look behind it can tell."""

    @property
    def store(self) -> Store: ...

    async def rows(self, table: Table = TABLE) -> dict[str, Values]:
        """The table's rows by their id, in the columns that the user named."""

    async def gone(self, table: Table = TABLE) -> set[str]:
        """The ids of rows that are marked as deleted."""

    async def forget_seen(self) -> None:
        """Postgres has crashed: what it does not log is gone."""

    async def dead(self, stream: StreamId = ADS) -> list[Aside]: ...

    async def drifts(self, stream: StreamId = ADS) -> dict[str, tuple[str, int, bool]]:
        """By name and what was found: the rule, how many records, whether it was accepted."""

    async def drop(self, column: str) -> None:
        """Somebody drops a column that was added."""

    async def cycle(self, number: int) -> Ended: ...

    async def held_elsewhere(self, source: str) -> None:
        """The lease's holder is a syncd on another host from now on."""

    async def expire_lease(self, source: str) -> None:
        """Its holder has not renewed the lease for too long."""

    async def step_back_since(self, source: str) -> None:
        """The clock was stepped back by two hours since the lease was renewed."""

    async def lease_left(self, source: str) -> float:
        """Seconds until the lease runs out."""

    async def put_back(self, source: str, fence: int) -> None:
        """The database is an older one, with this lease."""

    async def go_back(self, checkpoint: Checkpoint) -> None:
        """The database is an older one, with this checkpoint."""

    async def failing(self, source: str) -> ApiFailing | None:
        """What is posted of its API."""


@attrs.define(eq=False)
class FakeSubject:
    store: FakeStore = attrs.field(factory=FakeStore)

    async def rows(self, table: Table = TABLE) -> dict[str, Values]:
        rows = self.store.tables[(table.schema, table.name)].values()
        return {str(row["id"]): dict(row) for row in rows}

    async def gone(self, table: Table = TABLE) -> set[str]:
        rows = self.store.tables[(table.schema, table.name)].values()
        return {str(row["id"]) for row in rows if row.get(DELETED) is not None}

    async def forget_seen(self) -> None:
        for scans in self.store.scans.values():
            scans.seen.clear()

    async def drifts(self, stream: StreamId = ADS) -> dict[str, tuple[str, int, bool]]:
        return {
            f"{n.drift.name} {n.drift.found}".rstrip(): (n.drift.rule, n.drift.records, n.accepted)
            for n in self.store.drifts[stream].values()
        }

    async def drop(self, column: str) -> None:
        self.store.dropped.add(column)

    async def dead(self, stream: StreamId = ADS) -> list[Aside]:
        return [
            Aside(
                kind=found.letter.kind,
                key=found.letter.key,
                reason=found.letter.reason,
                payload=found.letter.payload,
                attempts=found.attempts,
                idempotency_key=found.letter.idempotency_key,
            )
            for found in self.store.put_aside.values()
            if found.stream == stream
        ]

    async def cycle(self, number: int) -> Ended:
        found = self.store.cycles[number - 1]
        return Ended(outcome=found.outcome, reason=found.reason, totals=found.counts)

    async def held_elsewhere(self, source: str) -> None:
        self.store.leases[source].holder = "another host"

    async def expire_lease(self, source: str) -> None:
        self.store.leases[source].expires_at = float("-inf")

    async def step_back_since(self, source: str) -> None:
        self.store.leases[source].expires_at += 7200

    async def lease_left(self, source: str) -> float:
        return self.store.leases[source].expires_at - trio.current_time()

    async def put_back(self, source: str, fence: int) -> None:
        self.store.leases[source].fence = fence

    async def go_back(self, checkpoint: Checkpoint) -> None:
        self.store.checkpoints[checkpoint.stream] = checkpoint

    async def failing(self, source: str) -> ApiFailing | None:
        return self.store.leases[source].failing


@attrs.define(eq=False)
class PostgresSubject:
    store: PostgresStore
    conninfo: str

    async def select(self, statement: sql.Composed | sql.SQL, *values: object) -> list[Values]:
        """Rows of a statement, on a connection that the store knows nothing of."""

        def run() -> list[Values]:
            with (
                psycopg.connect(self.conninfo, autocommit=True) as connection,
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

        return await trio.to_thread.run_sync(run)

    async def rows(self, table: Table = TABLE) -> dict[str, Values]:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        named = sql.Identifier(table.schema, table.name)
        found = await self.select(sql.SQL("SELECT {} FROM {}").format(columns, named))
        return {str(row["id"]): row for row in found}

    async def gone(self, table: Table = TABLE) -> set[str]:
        named = sql.Identifier(table.schema, table.name)
        marked = sql.SQL("SELECT id FROM {} WHERE _syncd_deleted_at IS NOT NULL").format(named)
        return {str(row["id"]) for row in await self.select(marked)}

    async def forget_seen(self) -> None:
        await self.select(sql.SQL("TRUNCATE syncd.seen"))

    async def drifts(self, stream: StreamId = ADS) -> dict[str, tuple[str, int, bool]]:
        found = await self.select(
            sql.SQL("SELECT * FROM syncd.drift WHERE source = %s AND stream = %s"),
            stream.source,
            stream.stream,
        )
        return {
            f"{row['name']} {row['found']}".rstrip(): (
                row["rule"],
                row["records"],
                row["accepted_at"] is not None,
            )
            for row in found
        }

    async def drop(self, column: str) -> None:
        alter = sql.SQL("ALTER TABLE campaigns DROP COLUMN {}")
        await self.select(alter.format(sql.Identifier(column)))

    async def dead(self, stream: StreamId = ADS) -> list[Aside]:
        found = await self.select(
            sql.SQL(
                "SELECT kind, key, reason, payload, attempts, idempotency_key "
                "FROM syncd.dead_letter WHERE source = %s AND stream = %s ORDER BY id"
            ),
            stream.source,
            stream.stream,
        )
        return [Aside(**row) for row in found]

    async def cycle(self, number: int) -> Ended:
        (row,) = await self.select(sql.SQL("SELECT * FROM syncd.cycle WHERE id = %s"), number)
        totals = Counts(**{name: row[name] for name in attrs.asdict(Counts())})
        return Ended(outcome=row["outcome"], reason=row["reason"], totals=totals)

    async def held_elsewhere(self, source: str) -> None:
        await self.select(
            sql.SQL(
                'UPDATE syncd.lease SET holder = holder || \'{"host": "elsewhere", "boot": "b"}\' '
                "WHERE source = %s"
            ),
            source,
        )

    async def expire_lease(self, source: str) -> None:
        await self.select(
            sql.SQL("UPDATE syncd.lease SET expires_at = clock_timestamp() WHERE source = %s"),
            source,
        )

    async def step_back_since(self, source: str) -> None:
        later = "UPDATE syncd.lease SET expires_at = expires_at + interval '2 hours'"
        await self.select(sql.SQL(later) + sql.SQL(" WHERE source = %s"), source)

    async def lease_left(self, source: str) -> float:
        left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 AS left"
        [row] = await self.select(
            sql.SQL(left) + sql.SQL(" FROM syncd.lease WHERE source = %s"), source
        )
        return float(row["left"])

    async def put_back(self, source: str, fence: int) -> None:
        await self.select(
            sql.SQL("UPDATE syncd.lease SET fence = %s WHERE source = %s"), fence, source
        )

    async def go_back(self, checkpoint: Checkpoint) -> None:
        values = attrs.asdict(checkpoint, recurse=False)
        names = ("seq", "fence", "cycle", "cursor", "pages", "fingerprint", "last_page")
        changes = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names
        )
        await self.select(
            sql.SQL("UPDATE syncd.checkpoint SET {} WHERE source = %s AND stream = %s").format(
                changes
            ),
            *(values[name] for name in names),
            checkpoint.stream.source,
            checkpoint.stream.stream,
        )

    async def failing(self, source: str) -> ApiFailing | None:
        (row,) = await self.select(
            sql.SQL(
                "SELECT extract(epoch FROM clock_timestamp() - failing_since)::float8 AS since,"
                " failing_reason AS reason,"
                " extract(epoch FROM next_probe - clock_timestamp())::float8 AS next_probe"
                " FROM syncd.lease WHERE source = %s"
            ),
            source,
        )
        return None if row["reason"] is None else ApiFailing(**row)


# --- records, pages, calls --------------------------------------------------------------------


def key(of: str) -> str:
    """The canonical key of a campaign."""
    return json.dumps([of], ensure_ascii=False)


def row(
    of: str,
    *,
    name: object = "n",
    budget: object = 1,
    clicks: object = 0,
    heat: object = 0,
    synced: str | None = None,
) -> Row:
    """A campaign; with `synced` its call was made and said so."""
    values = {"id": of, "name": name, "budget": budget, "clicks": clicks, "heat": heat}
    if synced is not None:
        values["synced"] = synced
    return Row(
        key=key(of),
        json=json.dumps(values, default=str).encode(),
        called=synced is not None,
        raw=json.dumps({"raw": of}).encode(),
    )


def campaigns(*ids: str) -> list[Row]:
    return [row(of) for of in ids]


def page(
    *rows: Row,
    dead: tuple[DeadLetter, ...] = (),
    next_cursor: str | None = "next",
    rest: float | None = None,
    **counts: Any,
) -> PageCommit:
    """A page of these rows; without a next cursor it ends the cycle."""
    plain = {"left_out": 0, "folded": 0} | counts
    if next_cursor is None and rest is None:
        rest = 900.0
    return PageCommit(
        rows=list(rows),
        dead=list(dead),
        next_cursor=next_cursor,
        last_page="print",
        rest=rest,
        **plain,
    )


def letter(
    of: str | None, *, kind: Any = "contract", reason: str = "bad", payload: bytes = b"{}"
) -> DeadLetter:
    return DeadLetter(
        kind=kind,
        key=None if of is None else key(of),
        reason=reason,
        payload=payload,
        idempotency_key=f"first of {of}" if kind != "contract" else None,
    )


def intent(of: str, cycle: int = 1, started: str = "") -> Intent:
    return Intent(
        idempotency_key=idempotency_key(ADS, cycle, started, key(of)),
        stream=ADS,
        cycle=cycle,
        record_key=key(of),
    )


async def one_token(
    store: TokenStore,
    budget: str = "b",
    *,
    lifetime: float = 60.0,
    spent_on: str = "a test",
    lease: Lease | None = None,
    intent: Intent | None = None,
    overdue: dict[int, int] | None = None,
) -> Taken | NotYet:
    """A token of one budget, as a request takes it that costs one."""
    want = Want(budget=budget, lifetime=lifetime, overdue=overdue or {})
    found = await store.take_tokens([want], spent_on=spent_on, lease=lease, intent=intent)
    return found.tokens[0][0] if isinstance(found, Granted) else found[0]


async def commit_one(store: Store, table: Table, at: Checkpoint, page: PageCommit) -> Committed:
    """Commit one page by itself."""
    (committed,) = await store.commit_pages(table, at, [page])
    return committed


# --- a stream on its way ------------------------------------------------------------------------


@attrs.define(eq=False)
class Stream:
    """One stream whose lease is ours and whose cycle runs."""

    store: Store
    lease: Lease
    at: Checkpoint
    id: StreamId = ADS
    table: Table = TABLE

    async def commit(self, page: PageCommit) -> Committed:
        """Commit a page on top of the last one."""
        done = await commit_one(self.store, self.table, self.at, page)
        self.at = done.checkpoint
        return done

    async def begin(self, *, abandon: str = "") -> Counts:
        self.at, counts = await self.store.begin_cycle(self.at, fingerprint="f", abandon=abandon)
        return counts

    async def whole_cycle(self, *rows: Row, **page_of: Any) -> Committed:
        """A cycle of one page."""
        await self.begin()
        return await self.commit(page(*rows, next_cursor=None, **page_of))


async def opened(store: Store, stream: StreamId = ADS, table: Table = TABLE) -> Stream:
    """Take the lease and open the stream; no cycle runs yet."""
    lease = await store.acquire_lease(stream.source)
    at = await store.open_stream(stream, table, lease, every=900)
    return Stream(store, lease, at, stream, table)


async def running(store: Store, stream: StreamId = ADS, table: Table = TABLE) -> Stream:
    """The same with a cycle that runs."""
    found = await opened(store, stream, table)
    await found.begin()
    return found


def numbers(values: Values) -> Values:
    """The row without what the test did not set, numbers as exact decimals."""
    return {c: Decimal(v) if isinstance(v, int) else v for c, v in values.items()}
