"""The store on a real Postgres: `ports.Store`, one thread call for each method."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import psycopg
from psycopg import sql as composed

from syncd.errors import SchemaError, StoreUnavailable
from syncd.schedule import Schedule
from syncd.store import (
    checkpoints,
    cycles,
    evolution,
    history,
    kept_out,
    known_pages,
    leases,
    letters,
    migrate,
    pages,
    requests,
    scans,
    tables,
    tokens,
    vault,
)
from syncd.store.connections import Connection, Connections, clear_text_host, transaction
from syncd.store.listening import Listener
from syncd.store.sql import sql
from syncd.store.statements import DELETED, SOURCE, named
from syncd.sync.drift import Added, Evolution
from syncd.sync.keepout import KeptOut
from syncd.sync.known import KnownPage
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    DeadLetter,
    Intent,
    Lease,
    LedgerEntry,
    PageCommit,
    Row,
    StreamId,
    Table,
)
from syncd.sync.ports import (
    ApiFailing,
    BudgetState,
    Granted,
    NotYet,
    Request,
    Settlement,
    Taken,
    Want,
)
from syncd.sync.scans import Reconciled
from syncd.sync.vault import Sealed

OLDEST = 140000  # Postgres 14, as the server numbers itself
LONGEST_HOLD = 366 * 86400.0  # seconds
LARGEST = 2**62  # that an API can say is left
PURGES = 200  # batches of old calls, or of history, that leave after one another


@attrs.frozen(kw_only=True)
class Standing:
    """A stream's running cycle, else its last one."""

    cycle: int | None = None
    pages: int = 0
    outcome: str | None = None
    reason: str = ""
    parked: str | None = None
    totals: Counts = attrs.field(factory=Counts)


@attrs.frozen(kw_only=True)
class Call:
    """One row of the ledger, for people."""

    idempotency_key: str
    record_key: str
    outcome: str
    settled_at: float | None
    """Seconds since the epoch."""


@attrs.define(eq=False)
class PostgresStore:
    """Everything that lasts, in one database."""

    connections: Connections
    listener: Listener = attrs.field(init=False)
    _without_calls: set[StreamId] = attrs.field(factory=set, init=False)
    """Streams of which the ledger had no call, and has heard of none since: nothing to purge."""

    def __attrs_post_init__(self) -> None:
        self.listener = Listener(self.connections)

    # --- tokens and the ledger -------------------------------------------------------------

    async def open_budget(
        self,
        budget: str,
        *,
        requests: int,
        per: float,
        seed: str | None = None,
        whole: bool = False,
    ) -> BudgetState:
        return await self.connections.run(
            lambda c: tokens.open_budget(c, budget, requests, per, seed=seed, whole=whole)
        )

    async def take_tokens(
        self,
        wants: Sequence[Want],
        *,
        spent_on: str,
        lease: Lease | None,
        intent: Intent | None,
    ) -> Granted | Sequence[NotYet]:
        if intent is not None:
            self._without_calls.discard(intent.stream)
        return await self.connections.run(
            lambda c: tokens.take_tokens(c, wants, spent_on, lease, intent)
        )

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        await self.connections.run(lambda c: tokens.settle_tokens(c, budget, settlements))

    async def give_back(self, budget: str, *tokens_: Taken) -> None:
        await self.connections.run(lambda c: tokens.give_back(c, budget, tokens_))

    async def hold_budget(self, budget: str, seconds: float) -> None:
        # Longer than any API means it, and short enough for an interval.
        values = {"budget": budget, "seconds": min(seconds, LONGEST_HOLD)}
        await self.connections.run(lambda c: tokens.change_budget(c, "hold_budget", values))

    async def note_quota(
        self, budget: str, token: Taken, *, left: int, seconds: float, since: float
    ) -> None:
        values = {
            "budget": budget,
            "number": token.number,
            "version": token.version,
            "left": min(left, LARGEST),
            "seconds": min(seconds, LONGEST_HOLD),
            "since": since,
        }
        await self.connections.run(lambda c: tokens.change_budget(c, "note_quota", values))

    async def count_from_answers(self, budget: str) -> None:
        values = {"budget": budget}
        await self.connections.run(lambda c: tokens.change_budget(c, "count_from_answers", values))

    async def store_intent(self, intent: Intent, lease: Lease) -> None:
        self._without_calls.discard(intent.stream)
        await self.connections.run(lambda c: tokens.store_intent(c, intent, lease))

    async def ledger(self, keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        return await self.connections.run(lambda c: tokens.ledger(c, keys))

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None:
        self._without_calls -= {s.intent.stream for s in settlements}
        await self.connections.run(lambda c: tokens.settle_calls(c, settlements))

    async def forget_calls(self, keys: Sequence[str], *, unknown: bool) -> None:
        await self.connections.run(lambda c: tokens.forget_calls(c, keys, unknown))

    async def withdraw_intents(self, keys: Sequence[str], lease: Lease) -> None:
        await self.connections.run(lambda c: tokens.withdraw_intents(c, keys, lease))

    # --- leases ------------------------------------------------------------------------------

    async def acquire_lease(self, source: str) -> Lease:
        return await self.connections.run(lambda c: leases.acquire(c, source))

    async def renew_leases(self, held: Sequence[Lease]) -> Sequence[Lease]:
        return await self.connections.run(lambda c: leases.renew(c, held))

    async def release_leases(self, held: Sequence[Lease]) -> None:
        await self.connections.run(lambda c: leases.release(c, held))

    async def post_failing(self, lease: Lease, failing: ApiFailing | None) -> None:
        await self.connections.run(lambda c: leases.post_failing(c, lease, failing))

    # --- what logins have bought ---------------------------------------------------------------

    async def look_into_vault(self, source: str) -> Sealed:
        return await self.connections.run(lambda c: vault.look(c, source))

    async def claim_login(self, source: str, version: int, seconds: float) -> bool:
        return await self.connections.run(lambda c: vault.claim(c, source, version, seconds))

    async def keep_bought(self, source: str, version: int, text: bytes, life: float) -> bool:
        return await self.connections.run(lambda c: vault.keep(c, source, version, text, life))

    async def give_claim_back(self, source: str, version: int) -> None:
        await self.connections.run(lambda c: vault.give_back(c, source, version))

    # --- streams and pages -------------------------------------------------------------------

    async def open_stream(
        self,
        stream: StreamId,
        table: Table,
        lease: Lease,
        *,
        every: float,
        schedule: Schedule | None = None,
    ) -> Checkpoint:
        return await self.connections.run(
            lambda c: _open_stream(c, stream, table, lease, every, schedule)
        )

    async def evolution(self, table: Table) -> Evolution:
        return await self.connections.run(lambda c: evolution.known(c, table))

    async def evolve(
        self, stream: StreamId, table: Table, lease: Lease, wanted: Sequence[Added]
    ) -> Evolution:
        return await self.connections.run(
            lambda c: evolution.evolve(c, stream, table, lease, wanted)
        )

    async def read_checkpoint(self, stream: StreamId, *, fresh: bool = True) -> Checkpoint:
        return await self.connections.run(
            lambda c: checkpoints.read(c, stream, lock=True), fresh=fresh
        )

    async def clock(self) -> float:
        return await self.connections.run(checkpoints.clock)

    async def begin_cycle(
        self,
        checkpoint: Checkpoint,
        *,
        fingerprint: str,
        abandon: str = "",
        extra: bool = False,
        reconcile: float | None = None,
        full: float | None = 0.0,
        next_start: float | None = None,
        table: Table | None = None,
    ) -> tuple[Checkpoint, Counts]:
        begun = await self.connections.run(
            lambda c: cycles.begin(
                c,
                checkpoint,
                fingerprint,
                abandon,
                extra=extra,
                reconcile=reconcile,
                full=full,
                next_start=next_start,
                table=table,
            )
        )
        if begun[0].cycle != checkpoint.cycle:
            await self._purge_ledger(checkpoint.stream)
        return begun

    async def _purge_ledger(self, stream: StreamId) -> None:
        if stream in self._without_calls:
            return

        def batch(connection: Connection) -> bool:
            more, there = tokens.purge_ledger(connection, stream)
            if not there:
                self._without_calls.add(stream)
            return more

        await self._purge(batch)

    async def _purge(self, batch: Callable[[Connection], bool]) -> None:
        """Let what is long past go, in batches that nobody has to wait for.

        batch: lets one go, and tells whether there may be more.
        """
        for _ in range(PURGES):
            try:
                if not await self.connections.run(batch):
                    return
            except StoreUnavailable:
                return  # the rest leaves another time

    async def differing(self, table: Table, source: str, rows: Sequence[Row]) -> set[str]:
        return await self.connections.run(lambda c: pages.differing(c, table, source, rows))

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages_: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        return await self.connections.run(
            lambda c: pages.commit_pages(c, table, checkpoint, pages_)
        )

    async def known_page(
        self, stream: StreamId, table: Table, asked: str, judged: str
    ) -> KnownPage | None:
        return await self.connections.run(
            lambda c: known_pages.find(c, stream, table, asked, judged)
        )

    async def kept_out(self, stream: StreamId, table: Table) -> KeptOut:
        return await self.connections.run(lambda c: kept_out.read(c, stream, table))

    async def begin_aside(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        return await self.connections.run(lambda c: cycles.begin_aside(c, checkpoint, why))

    async def reset(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        return await self.connections.run(lambda c: cycles.reset(c, checkpoint, why))

    async def reconcile(
        self, table: Table, checkpoint: Checkpoint, cycle: int, *, moved: str, again: str = ""
    ) -> Reconciled:
        return await self.connections.run(
            lambda c: scans.reconcile(c, table, checkpoint, cycle, moved, again)
        )

    async def reconciled(self, cycle: int) -> Reconciled:
        return await self.connections.run(lambda c: scans.reconciled(c, cycle))

    async def ask_to_reconcile(
        self, checkpoint: Checkpoint, why: str, *, approve: bool = False
    ) -> Checkpoint:
        return await self.connections.run(lambda c: scans.ask(c, checkpoint, why, approve=approve))

    async def letters(self, stream: StreamId, ids: Sequence[int]) -> Mapping[int, DeadLetter]:
        return await self.connections.run(lambda c: letters.these(c, stream, ids))

    async def due_letters(self, stream: StreamId) -> Mapping[int, DeadLetter]:
        return await self.connections.run(lambda c: letters.due(c, stream))

    async def streams_to_purge(self, held: Sequence[Lease]) -> Sequence[StreamId]:
        return await self.connections.run(lambda c: leases.streams(c, held))

    async def purge(self, stream: StreamId, keep: float) -> None:
        await self._purge(lambda c: letters.purge(c, stream, keep))
        await self._purge(lambda c: history.purge(c, stream, keep))
        await self._purge(lambda c: cycles.purge(c, stream, keep))

    async def purge_requests(self) -> None:
        await self.connections.run(requests.purge)

    async def committed(self, checkpoint: Checkpoint) -> Committed:
        return await self.connections.run(lambda c: cycles.committed(c, checkpoint))

    async def note_trouble(
        self, checkpoint: Checkpoint, *, parked: bool, reason: str, counts: Counts
    ) -> None:
        await self.connections.run(
            lambda c: cycles.note_trouble(c, checkpoint, parked, reason, counts)
        )

    # --- what operators ask for -------------------------------------------------------------

    async def take_requests(self, leases: Sequence[Lease]) -> Sequence[Request]:
        return await self.connections.run(lambda c: requests.take(c, leases))

    async def answer_request(self, request: Request, *, ok: bool, answer: str) -> None:
        await self.connections.run(lambda c: requests.answer(c, request, ok, answer))

    async def abandon_requests(self, leases: Sequence[Lease], answer: str) -> None:
        await self.connections.run(lambda c: requests.abandon(c, leases, answer))

    async def wait_for_requests(self, seconds: float) -> None:
        await self.listener.wait(seconds)

    def hurry(self) -> None:
        """From now on wait no longer than a moment for any answer."""
        self.connections.hurry()

    # --- the schema, and what people want to see ----------------------------------------------

    async def apply(self) -> list[migrate.Migration]:
        """Apply what is pending; SchemaError if the role may not."""
        return await self.connections.run(migrate.apply)

    async def pending(self) -> list[migrate.Migration]:
        """Migrations that are still to be applied."""
        return await self.connections.run(migrate.pending)

    async def make_table(self, table: Table) -> list[str]:
        """Make a user's table be there; the SQL that was run."""
        return await self.connections.run(lambda c: tables.create(c, evolution.widened(c, table)))

    async def missing_table(self, table: Table) -> list[str]:
        """The SQL that would make a user's table; StoreRefused if it is another one."""
        return await self.connections.run(lambda c: tables.missing(c, evolution.widened(c, table)))

    async def must_be_usable(self, table: Table) -> None:
        """Raise StoreRefused, with the grants, if a table that is there may not be written to."""
        await self.connections.run(lambda c: tables.must_be_usable(c, table))

    async def version(self) -> str:
        """The server's version in words, such as `15.18`; SchemaError if it is too old."""
        return await self.connections.run(_version)

    async def clear_text_host(self) -> str | None:
        """The remote host that is spoken to in clear text; None if there is none."""
        return await self.connections.run(clear_text_host)

    async def standing(self, stream: StreamId) -> Standing:
        return await self.connections.run(lambda c: _standing(c, stream))

    async def calls(self, stream: StreamId) -> list[Call]:
        """The ledger of the stream's newest cycle."""
        return await self.connections.run(lambda c: _calls(c, stream))

    async def dead_letter_count(self, stream: StreamId) -> int:
        return await self.connections.run(lambda c: letters.count(c, stream))

    async def table_rows(self, table: Table, source: str) -> list[str]:
        """Every row of a source that is not deleted, as JSON text."""
        return await self.connections.run(lambda c: _rows(c, table, source))


@asynccontextmanager
async def open_store(
    conninfo: str,
    *,
    migrations: bool = True,
    revive: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[PostgresStore]:
    """Open the store; with `migrations` its schema is made as new as this syncd.

    `revive` starts the server again, if it is an embedded one that has died.
    """
    store = PostgresStore(Connections(conninfo, revive))
    try:
        await store.version()
        if migrations and await store.pending():
            await store.apply()
        yield store
    finally:
        store.listener.close()
        store.connections.close()


def _open_stream(
    c: Connection,
    stream: StreamId,
    table: Table,
    lease: Lease,
    every: float,
    schedule: Schedule | None,
) -> Checkpoint:
    # Its row first: should the table not be usable, the reason has a place to stand.
    names = {"source": stream.source, "stream": stream.stream, "fence": lease.fence}
    with transaction(c) as cursor:
        cursor.execute(sql("ensure_checkpoint"), names)
    table = evolution.widened(c, table)
    todo = tables.missing(c, table)
    if todo:
        try:
            tables.create(c, table)
        except psycopg.errors.InsufficientPrivilege as error:
            raise tables.must_be_made(table, todo) from error
    else:
        tables.must_be_usable(c, table)
    with transaction(c) as cursor:
        if schedule is None:
            cursor.execute(sql("plan_next_start"), {**names, "every": every})
        else:
            checkpoints.follow(cursor, names, schedule)
        cursor.execute(sql("abandon_asides"), names)
        return checkpoints.standing(cursor, stream)


def _version(c: Connection) -> str:
    number = c.info.server_version
    words = f"{number // 10000}.{number % 10000}"
    if number < OLDEST:
        raise SchemaError(f"Postgres {words} is too old; syncd needs 14 or newer")
    return words


def _standing(c: Connection, stream: StreamId) -> Standing:
    with transaction(c) as cursor:
        cursor.execute(sql("standing"), {"source": stream.source, "stream": stream.stream})
        row = cursor.fetchone()
    if row is None:
        return Standing()
    cycle, turned, outcome, reason, parked, *counts = row
    totals = cycles.counts_of(counts)
    return Standing(
        cycle=cycle, pages=turned, outcome=outcome, reason=reason, parked=parked, totals=totals
    )


def _calls(c: Connection, stream: StreamId) -> list[Call]:
    with transaction(c) as cursor:
        cursor.execute(sql("calls_of_stream"), {"source": stream.source, "stream": stream.stream})
        return [
            Call(idempotency_key=key, record_key=record, outcome=outcome, settled_at=at)
            for key, record, outcome, at in cursor
        ]


def _rows(c: Connection, table: Table, source: str) -> list[str]:
    statement = composed.SQL(
        "SELECT row_to_json(t)::text FROM {} t WHERE {} = %s AND {} IS NULL"
    ).format(
        named(table.schema, table.name),
        named(SOURCE),
        named(DELETED),
    )
    with transaction(c) as cursor:
        cursor.execute(statement, (source,))
        return [text for (text,) in cursor]
