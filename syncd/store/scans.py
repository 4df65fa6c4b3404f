"""What did a scan meet, what is gone, and does it leave?

Keys are noted in the transaction of each page.  What follows from them is decided after the
cycle's end, in a transaction of its own, so that no trouble with it can take a cycle back.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from syncd.store.checkpoints import must_stand, standing
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, is_of_the_record, words
from syncd.store.statements import as_page, statements
from syncd.sync.model import Checkpoint, DeadLetter, PageCommit, Row, StreamId, Table
from syncd.sync.scans import Absent, Reconciled, Scan, broken_in, question

NAMED = 10_000  # rows; of more that go, or are missing, at once the keys are not remembered

Cursor = psycopg.Cursor[tuple[Any, ...]]


def note(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    rows: Sequence[Row],
    page: PageCommit,
    refused: Sequence[DeadLetter],
) -> tuple[int, int]:
    """Note a page's keys; returns how many, and how many records had none that can be told."""
    if page.keys is None:
        return 0, 0
    stream = _names(checkpoint.stream)
    if rows:
        cursor.execute(statements(table).note_rows, {**stream, "page": as_page(rows)})
    keys = [*page.keys, *(letter.key for letter in refused if letter.key is not None)]
    noted = _note_keys(cursor, table, stream, keys)
    return len(rows) + noted, page.keyless + len(keys) - noted


def _note_keys(cursor: Cursor, table: Table, stream: dict[str, str], keys: list[str]) -> int:
    if not keys:
        return 0
    cursor.execute(sql("begin_half"))
    try:
        cursor.execute(statements(table).note_keys, {**stream, "keys": keys})
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
        # Postgres has no such value of the key's type: no row can have it, but be careful.
        cursor.execute(sql("undo_half"))
        return 0
    cursor.execute(sql("keep_half"))
    return len(keys)


def reconcile(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    cycle: int,
    moved: str,
    again: str,
) -> Reconciled:
    """Draw the conclusion of a scan that has ended."""
    try:
        return _reconcile(connection, table, checkpoint, cycle, moved, again)
    except (psycopg.Error, ValueError) as error:
        if not (is_of_the_record(error) or isinstance(error, psycopg.errors.QueryCanceled)):
            raise
        # A trigger of the user's, or a table too large for our patience.
        why = f"Postgres refused to mark rows as deleted: {words(error)}"
    return _reconcile(connection, table, checkpoint, cycle, why, "")


def _reconcile(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    cycle: int,
    moved: str,
    again: str,
) -> Reconciled:
    stream = _names(checkpoint.stream)
    with transaction(connection) as cursor:
        must_stand(cursor, checkpoint)
        cursor.execute(sql("scan"), {"cycle": cycle})
        taken_up, noted, keyless, outcome, reason, extra, there, before, at = (
            cursor.fetchone() or ()
        )
        scan = Scan(
            taken_up=taken_up,
            noted=noted,
            there=there,
            keyless=keyless,
            moved=moved,
            suspicious=reason if outcome == "suspicious" else "",
        )
        if scan.broken:
            found = Reconciled(broken=scan.broken)
            cursor.execute(
                sql("pass_over_scan"), {**stream, "again": None if extra else again or None}
            )
        else:
            found = _conclude(cursor, table, scan, {**stream, "cycle": cycle, "at": at})
            due = found.missing > 0 and not found.question
            cursor.execute(
                sql("settle_scan"),
                {
                    **stream,
                    "cycle": cycle,
                    "question": clean(found.question) or None,
                    "due": due,
                    "at_once": due and extra and not before,
                },
            )
        cursor.execute(sql("forget_seen"), stream)
        values = {"missing": found.missing, "deleted": found.deleted, "note": clean(found.note)}
        cursor.execute(sql("end_scan"), {"cycle": cycle, **values})
        return found


def reconciled(connection: Connection, cycle: int) -> Reconciled:
    """What came of a scan whose conclusion is known to have been drawn."""
    with transaction(connection) as cursor:
        cursor.execute(sql("reconciled"), {"cycle": cycle})
        missing, deleted, asked, reason = cursor.fetchone() or (0, 0, "", "")
        if broken := broken_in(reason):
            return Reconciled(broken=broken)
        return Reconciled(missing=missing, deleted=deleted, question=asked)


def _conclude(cursor: Cursor, table: Table, scan: Scan, where: dict[str, object]) -> Reconciled:
    cursor.execute(statements(table).find_missing, where)
    (live,) = cursor.fetchone() or (0,)
    cursor.execute(sql("count_missing"), where)
    first, again = cursor.fetchone() or (0, 0)
    cursor.execute(sql("note_missing"), {**where, "most": NAMED})
    asked = question(Absent(live=live, again=again), scan)
    which = {**where, "all": not asked}
    cursor.execute(statements(table).delete_missing, which)
    deleted = cursor.rowcount
    cursor.execute(sql("forget_deleted"), {**which, "most": NAMED})
    kept = first + (again if asked else 0)
    return Reconciled(deleted=deleted, missing=kept, question=asked)


def ask(connection: Connection, checkpoint: Checkpoint, why: str, *, approve: bool) -> Checkpoint:
    """Let a scan begin at once; with `approve` what is missing now may go."""
    stream = _names(checkpoint.stream)
    with transaction(connection) as cursor:
        must_stand(cursor, checkpoint)
        if approve:
            cursor.execute(sql("approve_missing"), stream)
        cursor.execute(sql("ask_to_reconcile"), {**stream, "why": clean(why)})
        return standing(cursor, checkpoint.stream)


def _names(stream: StreamId) -> dict[str, str]:
    return {"source": stream.source, "stream": stream.stream}
