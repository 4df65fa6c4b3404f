"""How does a page differ from the table, and would Postgres take it?  Nothing is written.

Fulfils `sync.diff.Comparing`.  A page's rows are compared by reads.  Then they are tried: the
very upsert of a cycle, in the same short transaction, which is rolled back; so what a
constraint refuses is told in Postgres's own words.  Not where a try could act beyond that:
triggers, rules, cascades, sequences behind the owner's columns.  It gives way to whoever holds
a lock.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import psycopg
import trio

from syncd.store import cycles, letters, tables
from syncd.store.connections import Connection, Connections, transaction, undone
from syncd.store.differences import Reads, reads
from syncd.store.findings import Findings, Missing
from syncd.store.halving import Refused, halved, must_not_be_all
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, is_of_the_record, storable
from syncd.store.statements import as_page, statements
from syncd.sync.diff import (
    APPROVED,
    FIRST,
    HELD,
    STAYS,
    TWICE,
    Absence,
    Coming,
    Compared,
    Difference,
)
from syncd.sync.model import DeadLetter, PageCommit, Row, StreamId, Table

NAMED = 5  # things that a try would set off, in words

Cursor = psycopg.Cursor[tuple[Any, ...]]
Calls = Literal["", "always", "changed"]


@attrs.frozen
class _Row:
    """What would become of one row."""

    row: Row
    key: str
    change: Any
    columns: str


@attrs.define(eq=False)
class PostgresComparing:
    """Compares one stream's pages with its table."""

    _connections: Connections
    stream: StreamId
    table: Table
    findings: Findings
    _reads: Reads | None = attrs.field(default=None, init=False)
    _tries: bool = attrs.field(default=False, init=False)
    _knows_scans: bool = attrs.field(default=True, init=False)
    """What scans have missed before holds for the next one."""

    _there: bool = attrs.field(default=False, init=False)

    async def coming(
        self, *, fingerprint: str, reconcile: float | None, full: float | None
    ) -> Coming:
        def work(connection: Connection) -> Coming:
            makes = tables.missing(connection, self.table)
            lacking = _lacking(connection, self.table)
            self._there = lacking is not None
            if self._there and not makes:
                tables.must_be_usable(connection, self.table)
            untried = self._why_not_tried(connection) if self._there and not makes else ""
            if makes:
                untried = "the table is still to be made or changed"
            self._reads, self._tries = reads(self.table, lacking), not untried
            coming = self._next(connection, fingerprint, reconcile, full)
            return attrs.evolve(coming, makes=tuple(makes), untried=untried)

        return await self._connections.run(work)

    def _why_not_tried(self, connection: Connection) -> str:
        with transaction(connection) as cursor:
            cursor.execute(sql("look_consistently"))
            where = {"schema": self.table.schema, "table": self.table.name}
            columns = [*self.table.columns, *tables.OURS]
            values = {**where, "columns": columns, "kept": list(self.table.kept)}
            cursor.execute(sql("look_what_a_try_sets_off"), values)
            found = [what for (what,) in cursor]
        if not found:
            return ""
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        return f"it has {', '.join(found[:NAMED])}{more}"

    def _next(
        self,
        connection: Connection,
        fingerprint: str,
        reconcile: float | None,
        full: float | None,
    ) -> Coming:
        with transaction(connection) as cursor:
            cursor.execute(sql("look_consistently"))
            values = {**self._names, "reconcile": reconcile, "full": full}
            cursor.execute(sql("look_at_the_next_cycle"), values)
            row = cursor.fetchone()
            if row is None:
                return Coming(reconcile=reconcile is not None)
            runs, turned, valid_for, paused, parked, scans, since, due, mark = row
            goes_on = runs and valid_for == fingerprint
            # Of other settings, what was learned and missed with these says nothing.
            self._knows_scans = valid_for in ("", fingerprint)
            if not goes_on:
                since = mark if self._knows_scans else None
            return Coming(
                since=None if full == 0 else since,
                reconcile=scans if goes_on else due,
                under_way=turned if goes_on else None,
                paused=paused,
                parked=parked,
                past=tuple(cycles.past(cursor, self.stream)) if self._knows_scans else (),
            )

    @property
    def _names(self) -> dict[str, str]:
        return {"source": self.stream.source, "stream": self.stream.stream}

    # --- a page ---------------------------------------------------------------------------

    async def compare(self, page: PageCommit, calls: Calls) -> Compared:
        return await self._connections.run(lambda c: self._compare(c, page, calls))

    def _compare(self, connection: Connection, page: PageCommit, calls: Calls) -> Compared:
        rows = sorted(page.rows, key=lambda row: row.key)  # against deadlocks, as a cycle does
        untried = 0
        try:
            found, refused = self._rows(connection, rows, tries=self._tries)
        except psycopg.errors.LockNotAvailable:
            untried = len(rows)
            found, refused = self._rows(connection, rows, tries=False)
        must_not_be_all(rows, refused)
        dead = [
            *page.dead,
            *(
                DeadLetter(kind="refused", key=r.key, reason=why, payload=r.raw or r.json)
                for r, why in refused
            ),
        ]
        with transaction(connection) as cursor:
            cursor.execute(sql("look_consistently"))
            aside = self._lying_aside(cursor, found, dead)
            gone = self._gone(cursor, page.gone)
        keys = [*(page.keys or ()), *(r.key for r, _ in refused)]
        met, keyless = self._in_the_table(connection, keys)
        self.findings.meet([*(f.key for f in found), *gone, *met])
        written = self._keep(page.rows, found, calls)
        written += sum(self._keep_gone(key) for key, live in gone.items() if live)
        self._keep_letters(found, dead, aside)
        return Compared(
            written=written,
            unchanged=len(found) + len(page.gone) - written,
            dead=len(dead),
            keyless=page.keyless + keyless,
            calls=self._calls(rows, found, calls),
            recovered=sum(
                (identity, kind) in aside
                for identity in {letters.identity_of_key(f.row.key) for f in found}
                for kind in ("contract", "refused", "call-failed", "outcome-unknown")
            ),
            untried=untried,
        )

    def _rows(
        self, connection: Connection, rows: Sequence[Row], *, tries: bool
    ) -> tuple[list[_Row], Refused]:
        """What would become of each row, and what is refused; by reads alone unless `tries`."""
        found: list[_Row] = []
        source = {"source": self.stream.source}

        def step(some: Sequence[Row]) -> None:
            values = {**source, "page": as_page(some)}
            cursor.execute(self._ready.compare, values)
            here = [
                _Row(some[position - 1], key, change, columns or "")
                for position, key, change, columns in cursor.fetchall()
            ]
            if tries:
                cursor.execute(statements(self.table).upsert, {**values, "at": at})
            found.extend(here)

        with undone(connection) as cursor:
            if tries:
                cursor.execute(sql("constraints_now"))
                cursor.execute(sql("wait_briefly"))
            else:
                cursor.execute(sql("look_consistently"))
            cursor.execute("SELECT clock_timestamp()")
            (at,) = cursor.fetchone() or (None,)
            refused = halved(cursor, rows, step)
        return found, refused

    @property
    def _ready(self) -> Reads:
        if self._reads is None:
            raise RuntimeError("what is coming is asked for first")
        return self._reads

    def _lying_aside(
        self, cursor: Cursor, found: Sequence[_Row], dead: Sequence[DeadLetter]
    ) -> dict[tuple[str, str], str]:
        """The reasons of letters that lie there, by identity and kind."""
        identities = [letters.identity_of_key(f.row.key) for f in found]
        identities += [letters.identity_of(letter) for letter in dead]
        cursor.execute(sql("look_at_what_lies_aside"), {**self._names, "identities": identities})
        return {(identity, kind): reason for identity, kind, reason in cursor}

    def _gone(self, cursor: Cursor, keys: Sequence[str]) -> dict[str, bool]:
        """Of records that the API calls deleted the keys of those there are; which are live."""
        if not keys:
            return {}
        cursor.execute(self._ready.gone, {"source": self.stream.source, "keys": list(keys)})
        return {key: live for key, live in cursor}  # noqa: C416 - a cursor is no list of pairs

    def _in_the_table(self, connection: Connection, keys: Sequence[str]) -> tuple[list[str], int]:
        """The rows of records that give none now; and how many keys no row can have."""
        if not keys:
            return [], 0
        try:
            with transaction(connection) as cursor:
                cursor.execute(sql("look_consistently"))
                values = {"source": self.stream.source, "keys": list(keys)}
                cursor.execute(self._ready.keys, values)
                return [key for (key,) in cursor], 0
        except (psycopg.Error, ValueError) as error:
            if not is_of_the_record(error):
                raise
            return [], len(keys)  # as a scan does

    # --- what is kept of it -----------------------------------------------------------------

    def _keep(self, rows: Sequence[Row], found: Sequence[_Row], calls: Calls) -> int:
        """Keep what differs, in the order of the list; how many rows would be written."""
        by_row = {id(f.row): f for f in found}
        written = 0
        for row in rows:
            of = by_row.get(id(row))
            if of is None:
                continue
            called = calls == "always" or (calls == "changed" and _is_change(of.change))
            line = None
            if of.change is not None:
                line = Difference(change=of.change, key=of.key, columns=of.columns, called=called)
            written += self.findings.row(of.key, line)
        return written

    def _keep_gone(self, key: str) -> bool:
        gone = Difference(change="deleted", key=key, reason="the API says so")
        return self.findings.row(key, gone)

    def _keep_letters(
        self,
        found: Sequence[_Row],
        dead: Sequence[DeadLetter],
        aside: Mapping[tuple[str, str], str],
    ) -> None:
        for of in found:
            self.findings.well(letters.identity_of_key(of.row.key))
        for letter in dead:
            identity, reason = letters.identity_of(letter), clean(letter.reason)
            self.findings.letter(
                identity,
                Difference(
                    change="put-aside",
                    key=None if letter.key is None else storable(letter.key),
                    reason=reason,
                    kind=letter.kind,
                    again=aside.get((identity, letter.kind)) == reason,
                ),
            )

    def _calls(self, rows: Sequence[Row], found: Sequence[_Row], calls: Calls) -> int:
        if calls == "always":
            return len(rows)
        return sum(_is_change(f.change) for f in found) if calls == "changed" else 0

    # --- what is gone -------------------------------------------------------------------------

    async def absent(self) -> Absence:
        return await self._connections.run(self._absent)

    def _absent(self, connection: Connection) -> Absence:
        self.findings.forget_absent()
        live, many = 0, dict[Missing, int](first=0, again=0, approved=0)
        if self._there:
            with transaction(connection) as cursor:
                cursor.execute(sql("look_consistently"))
                cursor.execute(self._ready.first, self._names)
                while rows := cursor.fetchall():
                    live += len(rows)
                    keys = {key: self._missing(cycle, ok) for key, cycle, ok, *_ in rows}
                    for missing, more in self.findings.absent(keys, STAYS).items():
                        many[missing] += more
                    after = list(rows[-1][3:])
                    cursor.execute(self._ready.after, {**self._names, "after": after})
        return Absence(live=live, **many)

    def _missing(self, cycle: int | None, approved: bool) -> Missing:
        if cycle is None or not self._knows_scans:
            return "first"
        return "approved" if approved else "again"

    async def conclude(self, *, scan: bool, held: bool) -> None:
        if scan:
            await trio.to_thread.run_sync(self._conclude, held)

    def _conclude(self, held: bool) -> None:
        self.findings.judge("first", "missing", FIRST)
        self.findings.judge("approved", "deleted", APPROVED)
        if held:
            self.findings.judge("again", "missing", HELD)
        else:
            self.findings.judge("again", "deleted", TWICE)


def _is_change(change: str | None) -> bool:
    """Whether a call with `when = "changed"` is made for it."""
    return change in ("added", "changed", "returned")


def _lacking(connection: Connection, table: Table) -> list[str] | None:
    """The columns that the table does not have; None if there is no table."""
    with transaction(connection) as cursor:
        cursor.execute(sql("table_columns"), {"schema": table.schema, "table": table.name})
        there = {name for name, _ in cursor}
    return [c for c in table.columns if c not in there] if there else None
