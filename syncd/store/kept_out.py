"""Which records may no page bring back?  Those that were forgotten, by their keyed hash.

A row of syncd.kept_out that is not lasting holds off the pages alone that were fetched before
it came: it is newer than what they were sifted by.  It goes when nothing can be under way.
"""

import os
from collections.abc import Sequence
from typing import Any

import psycopg

from syncd.errors import StoreRefused
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, storable
from syncd.sync.keepout import PAD, KeptOut, Salt, key_is, keys_of
from syncd.sync.model import Checkpoint, PageCommit, StreamId, Table

Cursor = psycopg.Cursor[tuple[Any, ...]]


class Forgotten(Exception):
    """A page holds records that were forgotten while it was under way."""

    def __init__(self, page: PageCommit, keys: list[str], version: int) -> None:
        super().__init__()
        self.page, self.keys, self.version = page, keys, version


def read(connection: Connection, stream: StreamId, table: Table) -> KeptOut:
    with transaction(connection) as cursor:
        cursor.execute(sql("look_consistently"))
        cursor.execute(sql("kept_out"), _names(stream))
        found = cursor.fetchall()
        cursor.execute(sql("kept_out_version"), _names(stream))
        (version,) = cursor.fetchone() or (0,)
        must_fit(stream, table, {of for _, of in found})
        return KeptOut(
            version=version,
            key_is=key_is(table),
            salt=_salt(cursor) if found else None,
            hashes=frozenset(bytes(known) for known, _ in found),
        )


def must_fit(stream: StreamId, table: Table, known: set[str]) -> None:
    """Raise StoreRefused where hashes were made of keys of another form than they have now."""
    now = key_is(table)
    others = sorted(known - {now})
    if others:
        raise StoreRefused(
            f"{stream}: its key is {now} now, and records are kept out that are known by "
            f"{' and by '.join(others)}: who they are can't be told any more",
            hint="write `key` as it was; or `syncd forget STREAM --let-in --all`, and keep them "
            "out anew by the key that they have now",
        )


def salt(cursor: Cursor) -> Salt:
    """The database's own; made by whoever needs it first."""
    made = Salt.of(os.urandom(PAD))
    cursor.execute(sql("make_salt"), {"inner": made.inner, "outer": made.outer})
    return _salt(cursor)


def _salt(cursor: Cursor) -> Salt:
    cursor.execute(sql("salt"))
    inner, outer = cursor.fetchone() or (b"", b"")
    return Salt(inner=bytes(inner), outer=bytes(outer))


# --- in a page's transaction, and before a cycle -----------------------------------------------


def recheck(
    cursor: Cursor, now: Checkpoint, page: PageCommit, forgotten: Sequence[str] = ()
) -> None:
    """Raise Forgotten if the page holds what was forgotten since it was sifted.

    Once the checkpoint has moved nobody can forget anything of the stream before COMMIT.
    forgotten: what was found so before; their calls were answered too late to be remembered.
    """
    of = _names(now.stream)
    if forgotten:
        cursor.execute(sql("forget_calls_of"), {**of, "keys": list(map(storable, forgotten))})
        forget_spendings(cursor, now.stream, forgotten)
    if now.kept_out_version == page.kept_out_version:
        return
    keys = {storable(key): key for key in keys_of(page)}
    cursor.execute(
        sql("which_are_kept_out"), {**of, "keys": list(keys), "version": page.kept_out_version}
    )
    found = [keys[key] for (key,) in cursor]
    if found:
        raise Forgotten(page, found, now.kept_out_version)


def forget_spendings(cursor: Cursor, stream: StreamId, keys: Sequence[str]) -> int:
    """Let no token tell whose call it went for; of how many."""
    spent_on = [clean(f"{stream} {what} {key}") for what in ("call", "verify") for key in keys]
    cursor.execute(sql("forget_spendings"), {"plain": str(stream), "spent_on": spent_on})
    return cursor.rowcount


def tidy_up(cursor: Cursor, at: Checkpoint) -> None:
    """Nothing is under way: calls that were answered after they were forgotten go now."""
    if not at.kept_out_version:
        return
    named = {**_names(at.stream), "name": str(at.stream)}
    cursor.execute(sql("begin_to_tidy_up"), named)
    if cursor.rowcount:
        for late in ("forget_late_calls", "forget_late_spendings", "let_pass"):
            cursor.execute(sql(late), named)


def _names(stream: StreamId) -> dict[str, object]:
    return {"source": stream.source, "stream": stream.stream}
