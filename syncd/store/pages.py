"""How does one page become visible, all of it or nothing?

In one transaction, whose first step is to move the checkpoint: whoever finds it
elsewhere writes nothing.  Pages that follow each other may share one.  A page that is
refused for what is in it is halved under savepoints until the bad records stand alone;
they become dead letters of the same transaction.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, LiteralString

import attrs
import psycopg

from syncd.errors import StoreRefused
from syncd.store import cycles, drifts, history, kept_out, known_pages, letters, scans, turns
from syncd.store.checkpoints import standing, step
from syncd.store.connections import Connection, transaction
from syncd.store.halving import halved, must_not_be_all
from syncd.store.history import Moment, moment_of
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, is_of_the_record, words
from syncd.store.statements import as_page, statements
from syncd.sync import ranges
from syncd.sync.displaced import displaced
from syncd.sync.drift import Drift
from syncd.sync.keepout import dropped
from syncd.sync.model import (
    Checkpoint,
    Committed,
    DeadLetter,
    PageCommit,
    Row,
    Table,
    idempotency_key,
)

Cursor = psycopg.Cursor[tuple[Any, ...]]


def commit_pages(
    connection: Connection, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
) -> list[Committed]:
    forgotten: list[str] = []
    while True:
        try:
            return _commit_pages(connection, table, checkpoint, pages, forgotten)
        except turns.NotToldApartError:
            statements(table).apart = True
        except turns.NotNewError:
            statements(table).met = True
        except kept_out.Forgotten as found:
            # While the pages were under way; nothing of them was written.
            forgotten += found.keys
            # The others are still to be looked through.
            pages = [
                dropped(page, found.keys, found.version) if page is found.page else page
                for page in pages
            ]


def _commit_pages(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
) -> list[Committed]:
    try:
        with transaction(connection, "begin_page") as cursor:
            done = turns.together(cursor, table, checkpoint, pages, forgotten)
            at = done[-1].checkpoint if done else checkpoint
            return done + _each(cursor, table, at, pages[len(done) :], forgotten, _put)
    except (psycopg.Error, ValueError) as error:
        if isinstance(error, psycopg.errors.UniqueViolation) and turns.are_new(table, checkpoint):
            raise turns.NotNewError from error
        if not is_of_the_record(error) or not any(page.rows for page in pages):
            raise
    return _commit_by_halves(connection, table, checkpoint, pages, forgotten)


def _commit_by_halves(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
) -> list[Committed]:
    with transaction(connection, "begin_page") as cursor:
        cursor.execute(sql("constraints_now"))
        return _each(cursor, table, checkpoint, pages, forgotten, _put_by_halves)


Put = Callable[[Cursor, Table, Checkpoint, PageCommit], Committed]


def _each(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
    put: Put,
) -> list[Committed]:
    done = []
    for page in pages:
        taken = known_pages.taken(cursor, table, checkpoint, page, careful=put is _put_by_halves)
        committed = put(cursor, table, checkpoint, page)
        read = attrs.evolve(page, known=None) if committed.refused else page
        knows = known_pages.note(cursor, table, checkpoint, read, taken)
        if knows != committed.checkpoint.knows_pages:
            now = attrs.evolve(committed.checkpoint, knows_pages=knows)
            committed = attrs.evolve(committed, checkpoint=now)
        kept_out.recheck(cursor, committed.checkpoint, page, forgotten)
        done.append(committed)
        checkpoint = committed.checkpoint
    return done


def _put(cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit) -> Committed:
    if page.turns:
        return turns.turn(cursor, table, checkpoint, page)
    cursor.execute(statements(table).commit, {**step(checkpoint, page), "page": as_page(page.rows)})
    moved, *wrote = cursor.fetchone() or (0,)
    if not moved:
        raise displaced(checkpoint, standing(cursor, checkpoint.stream))
    news = _finish(cursor, table, checkpoint, page, page.rows, _Written(*wrote), [])
    # Read before COMMIT: afterwards the answer could get lost a second time.
    return attrs.evolve(cycles.came_to(cursor, checkpoint), drifts=news)


def _put_by_halves(
    cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit
) -> Committed:
    cursor.execute(sql("move_checkpoint"), step(checkpoint, page))
    moved = cursor.fetchone()
    if moved is None:
        raise displaced(checkpoint, standing(cursor, checkpoint.stream))
    halves = _Halves(
        cursor=cursor,
        upsert=statements(table).upsert,
        checkpoint=checkpoint,
        done=_Written(0, moved[1], []),
    )
    # Sorted as the whole page is, against deadlocks.
    rows = sorted(page.rows, key=lambda row: row.key)
    refused = halved(cursor, rows, halves.put)
    must_not_be_all(rows, refused)
    dead = [_refused(row, reason, checkpoint) for row, reason in refused]
    bad = {id(row) for row, _ in refused}
    good = [row for row in rows if id(row) not in bad]
    news = _finish(cursor, table, checkpoint, page, good, halves.done, dead)
    return attrs.evolve(cycles.came_to(cursor, checkpoint), refused=tuple(dead), drifts=news)


def _refused(row: Row, reason: str, checkpoint: Checkpoint) -> DeadLetter:
    called = row.called and checkpoint.cycle is not None
    return DeadLetter(
        kind="refused",
        key=row.key,
        reason=reason,
        payload=row.raw or row.json,
        # Its call was made in this cycle, and a retry of the letter must not make another.
        idempotency_key=_key_of_call(checkpoint, row) if called else None,
    )


def _key_of_call(of: Checkpoint, row: Row) -> str:
    return idempotency_key(of.stream, of.calls_of, of.started, row.key)


@attrs.define(eq=False)
class _Written:
    """What a page has written."""

    many: int
    at: datetime
    """The moment of the page: what the rows that it changed have in `_syncd_changed_at`."""

    changed: list[str]
    """Their keys."""


@attrs.define(eq=False, kw_only=True)
class _Halves:
    """Writes what can be written."""

    cursor: Cursor
    upsert: LiteralString
    checkpoint: Checkpoint
    done: _Written

    def put(self, rows: Sequence[Row]) -> None:
        source, at = self.checkpoint.stream.source, self.done.at
        self.cursor.execute(self.upsert, {"source": source, "at": at, "page": as_page(rows)})
        _, written, _, changed = self.cursor.fetchone() or (0, 0, None, [])
        self.done.many += written
        self.done.changed += changed


def _finish(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    page: PageCommit,
    rows: Sequence[Row],
    done: _Written,
    refused: Sequence[DeadLetter],
) -> tuple[Drift, ...]:
    """Dead letters, history and counters, in the transaction that has written the rows.

    The drifts that were never noted before come back.
    """
    dead = [*page.dead, *refused]
    moment = moment_of(checkpoint, page, done.at)
    letters.resolve(cursor, moment, rows, dead, page)
    letters.put_aside(cursor, dead, table, moment, tried=bool(page.letters))
    noted, keyless = scans.note(cursor, table, checkpoint, rows, page, refused)
    _mark_gone(cursor, table, moment, page.gone, done)
    news = drifts.note(cursor, checkpoint.stream, page.drifts, checkpoint.cycle)
    outcome, reason = _outcome(cursor, checkpoint, page, done.many)
    whole = outcome == "ok" and not page.aside
    if whole and checkpoint.follows is None and checkpoint.since is None:
        # It has met all that there is: whose key nobody can tell, leaves as well.
        cursor.execute(sql("drop_keyless"), moment.values)
        if not known_pages.were_met(cursor, checkpoint, page):
            drifts.settle(cursor, checkpoint.stream, checkpoint.cycle)
    if outcome == "ok" and page.high_water is not None:
        stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
        cursor.execute(sql("reach"), {**stream, "high_water": clean(page.high_water)})
    counts = {
        "seen": page.seen,
        "written": done.many,
        "unchanged": len(rows) + len(page.gone) - done.many + page.unread,
        "left_out": page.left_out,
        "dead": len(dead),
        "folded": page.folded,
    }
    if done.changed or dead:
        history.note_page(cursor, moment, page.request, counts, done.changed)
    cursor.execute(
        sql("count_page"),
        {
            **counts,
            "cycle": checkpoint.cycle,
            "outcome": outcome,
            "reason": reason,
            "noted": noted,
            "keyless": keyless,
            "calls": page.calls,
            "requests": page.requests,
            "retried": page.retried,
            "refused": page.refused,
            "kept_out": page.kept_out,
        },
    )
    return news


def _mark_gone(
    cursor: Cursor, table: Table, moment: Moment, gone: Sequence[str], done: _Written
) -> None:
    """Mark rows as deleted of which the API says so; those that are there."""
    if not gone:
        return
    values = {"source": moment.stream.source, "at": moment.at, "keys": list(gone)}
    try:
        cursor.execute(statements(table).mark_gone, values)
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
        raise StoreRefused(
            f"rows that the API has deleted can't be marked so: {words(error)}",
            hint="does a trigger or a constraint of the table refuse it? nothing was written",
        ) from error
    for (key,) in cursor.fetchall():
        done.many += 1
        done.changed.append(key)
        history.note(cursor, moment, "deleted", key, kind="", reason="the API says so")


def _outcome(
    cursor: Cursor, checkpoint: Checkpoint, page: PageCommit, written: int
) -> tuple[str | None, str]:
    """How the cycle ends with this page, and why so; None while it goes on."""
    if page.next_cursor is not None:
        return None, ""
    if page.aside:
        return "ok", ""
    cursor.execute(sql("cycle"), {"cycle": checkpoint.cycle})
    _, _, *counts = cursor.fetchone() or ()
    before = cycles.counts_of(counts)
    totals = attrs.evolve(before, seen=before.seen + page.seen, written=before.written + written)
    known = cycles.past(cursor, checkpoint.stream)
    odd = ""
    if checkpoint.since is None:  # of what has changed, nothing is usual
        odd = ranges.unusual(known, totals, extra=checkpoint.follows is not None)
    reason = "; ".join(filter(None, [odd, page.moved]))
    return ("suspicious" if odd else "ok"), clean(reason)


def differing(connection: Connection, table: Table, source: str, rows: Sequence[Row]) -> set[str]:
    try:
        with transaction(connection) as cursor:
            values = {"page": as_page(rows), "source": source}
            cursor.execute(statements(table).differing, values)
            return {rows[position - 1].key for (position,) in cursor}
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
    if len(rows) == 1:
        return set()  # it can't be written, so there is nothing to call for
    middle = len(rows) // 2
    first = differing(connection, table, source, rows[:middle])
    return first | differing(connection, table, source, rows[middle:])
