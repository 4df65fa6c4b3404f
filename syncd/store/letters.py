"""Which records and calls lie aside, and when do they leave?

A dead letter is written in the transaction of the page that put it aside, and leaves in
the one that writes its row.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from syncd.store import history, migrate
from syncd.store.connections import Connection, transaction
from syncd.store.history import Moment
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, storable
from syncd.sync.befell import What
from syncd.sync.model import (
    LETTER_LATER,
    LETTER_TRIES,
    DeadLetter,
    PageCommit,
    Row,
    StreamId,
    Table,
)

INDEXED = 500  # bytes of a key; an index takes some 2,700 with all that is beside it
TOLD = 100  # tries of one letter; further reasons are no events any more
AT_ONCE = 100  # letters that are due after one cycle

Cursor = psycopg.Cursor[tuple[Any, ...]]


# --- in a page's transaction ----------------------------------------------------------------


def resolve(
    cursor: Cursor,
    moment: Moment,
    rows: Sequence[Row],
    dead: Iterable[DeadLetter],
    page: PageCommit,
) -> None:
    """Let those go whose row was written, or whose record the API has deleted."""
    tried = page.letters
    if tried:
        cursor.execute(sql("note_retried"), {**moment.values, "ids": list(tried)})
    if rows:
        _leave(cursor, moment, [r.key for r in rows], what="recovered")
    if page.gone:
        # Tried again, it would bring the row back.
        why = "the API has deleted the record"
        _leave(cursor, moment, page.gone, what="discarded", reason=why)
    if tried:
        written = {r.key for r in rows}
        gone = [number for number, key in tried.items() if key is None or key in written]
        cursor.execute(sql("settle_letters"), {**moment.values, "ids": gone})
        # Of those that lie aside for another reason now that reason is told.
        aside = {storable(letter.key) for letter in dead if letter.key is not None}
        for number, key, kind in cursor.fetchall():
            found = tried[number]
            what: What = "left-out" if found is None else "recovered"
            named = key if found is None else storable(found)
            if named is not None and named not in aside:
                history.note(cursor, moment, what, named, kind=kind)


def _leave(
    cursor: Cursor, moment: Moment, keys: Iterable[str], *, what: What, reason: str = ""
) -> None:
    values = {"keys": [identity_of_key(key) for key in keys], "what": what, "reason": reason}
    cursor.execute(sql("resolve_dead"), {**moment.values, **values})


def put_aside(
    cursor: Cursor, letters: Iterable[DeadLetter], table: Table, moment: Moment, *, tried: bool
) -> None:
    """Write them; one that comes again counts its attempts.

    tried: they come of another try that was meant for them.
    """
    rows = [_row(letter, table) | moment.values | {"tried": tried} for letter in letters]
    if rows:
        cursor.executemany(sql("put_aside"), rows)


def _row(letter: DeadLetter, table: Table) -> dict[str, object]:
    return {
        "kind": letter.kind,
        "identity": identity_of(letter),
        "key": None if letter.key is None else storable(letter.key),
        "reason": clean(letter.reason),
        "payload": letter.payload,
        "target": clean(f"{table.schema}.{table.name}"),
        "schema_version": migrate.version(),
        "idempotency_key": letter.idempotency_key,
        "again": letter.again,
        "tries": LETTER_TRIES,
        "later": LETTER_LATER,
        "most": TOLD,
    }


def _hashed(payload: bytes) -> str:
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"


def identity_of(letter: DeadLetter) -> str:
    """What tells a letter from every other of its kind."""
    return _hashed(letter.payload) if letter.key is None else identity_of_key(letter.key)


def identity_of_key(key: str) -> str:
    """What tells this key from every other, and fits an index; `clean` is for eyes alone."""
    exact = key.encode("utf-8", "surrogatepass")
    if len(exact) <= INDEXED and clean(key) == key:
        return key
    return f"key-sha256:{hashlib.sha256(exact).hexdigest()}"


# --- by themselves ----------------------------------------------------------------------------


def these(connection: Connection, stream: StreamId, ids: Sequence[int]) -> dict[int, DeadLetter]:
    return _read(connection, "letters", stream, {"ids": list(ids)})


def due(connection: Connection, stream: StreamId) -> dict[int, DeadLetter]:
    return _read(connection, "due_letters", stream, {"limit": AT_ONCE})


def _read(
    connection: Connection, statement: str, stream: StreamId, values: Mapping[str, object]
) -> dict[int, DeadLetter]:
    with transaction(connection) as cursor:
        cursor.execute(sql(statement), {"source": stream.source, "stream": stream.stream, **values})
        return {
            number: DeadLetter(
                kind=kind, key=key, reason=reason, payload=payload, idempotency_key=first
            )
            for number, kind, key, reason, payload, first in cursor
        }


def discard(cursor: Cursor, ids: Sequence[int], why: str) -> list[int]:
    """Forget letters for good; those that there still were."""
    cursor.execute(sql("discard_dead"), {"ids": list(ids)})
    gone = cursor.fetchall()
    for _, source, stream, kind, key in gone:
        moment = Moment(stream=StreamId(source=source, stream=stream), at=None, cycle=None)
        if key is not None:
            history.note(cursor, moment, "discarded", key, kind=kind, reason=why)
    return sorted(number for number, *_ in gone)


def count(connection: Connection, stream: StreamId) -> int:
    with transaction(connection) as cursor:
        cursor.execute(sql("count_dead"), {"source": stream.source, "stream": stream.stream})
        (found,) = cursor.fetchone() or (0,)
    return int(found)


def purge(connection: Connection, stream: StreamId, keep: float) -> bool:
    """Let one batch of those go that lay there for so long; whether there may be more."""
    values = {
        "source": stream.source,
        "stream": stream.stream,
        "keep": keep,
        "batch": history.PURGE,
    }
    with transaction(connection) as cursor:
        cursor.execute(sql("purge_letters"), values)
        return cursor.rowcount == history.PURGE
