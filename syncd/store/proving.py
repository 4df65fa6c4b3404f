"""Is anything left of a record?  Every table is looked through, those that nobody thought of too.

Which tables and columns there are, the catalogue tells.  Of syncd's own tables each column that
can hold words is looked at, in the rows of the stream, of its source, and of nobody in
particular; the user's table is asked by the key itself.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import psycopg
from psycopg import sql as composed

from syncd.store import tables
from syncd.store.sql import sql
from syncd.store.statements import SOURCE, named, statements
from syncd.store.struck import Words
from syncd.sync.model import StreamId, Table, key_parts

Cursor = psycopg.Cursor[tuple[Any, ...]]

NAMES = {"source", "stream", "kind", "what", "outcome", "receiver", "instance", "key_is", "name"}
"""Columns that hold names of the config's, or words of syncd's own."""

HASHES = {"syncd.salt", "syncd.kept_out", "syncd.vault", "syncd.migration"}
"""Tables of which only the rows are counted: what is in them is sealed, hashed or our own."""

CURSORS = {"cursor", "high_water", "high_seen", "since"}
"""Where to go on from: a key may stand there by itself until the stream has moved on."""


@attrs.define(eq=False, kw_only=True)
class Proof:
    """What was looked through, and what was found."""

    tables: int = 0
    rows: int = 0
    left: list[str] = attrs.field(factory=list)
    """Where something is left, in words."""


def prove(
    cursor: Cursor, stream: StreamId, table: Table, typed: Sequence[str], known: Words
) -> Proof:
    """Look for records; typed: their keys, each as a JSON array of Postgres's."""
    found = Proof()
    _look_at_rows(cursor, stream, table, typed, found)
    cursor.execute(sql("columns_to_search"))
    for name, texts, lists, jsons, bytes_ in cursor.fetchall():
        _look_through(cursor, stream, name, (texts, lists, jsons, bytes_), known, found)
    return found


def _look_at_rows(
    cursor: Cursor, stream: StreamId, table: Table, typed: Sequence[str], found: Proof
) -> None:
    if not tables.is_there(cursor, table):
        return
    count = composed.SQL("SELECT count(*) FROM {} WHERE {} = %(source)s").format(
        named(table.schema, table.name), named(SOURCE)
    )
    cursor.execute(count, {"source": stream.source})
    (rows,) = cursor.fetchone() or (0,)
    found.tables, found.rows = found.tables + 1, found.rows + rows
    for key in typed:
        values = {"source": stream.source, "parts": key_parts(key, len(table.key))}
        cursor.execute(statements(table).one, values)
        if cursor.fetchone() is not None:
            found.left.append(f"{table.schema}.{table.name}: its row is there")


def _look_through(
    cursor: Cursor,
    stream: StreamId,
    name: str,
    columns: tuple[list[str] | None, ...],
    known: Words,
    found: Proof,
) -> None:
    texts, lists, jsons, blobs = ([c for c in of or () if c not in NAMES] for of in columns)
    there = set(columns[0] or ())
    scope, whose = _scope(there)
    of = {"source": stream.source, "stream": stream.stream}
    where = composed.SQL("FROM {} WHERE ").format(composed.Identifier("syncd", name)) + scope
    cursor.execute(composed.SQL("SELECT count(*) ") + where, of)
    (rows,) = cursor.fetchone() or (0,)
    found.tables, found.rows = found.tables + 1, found.rows + rows
    if f"syncd.{name}" in HASHES:
        return
    forms = [(c, composed.SQL("{}").format(composed.Identifier(c))) for c in texts]
    forms += [
        (c, composed.SQL("array_to_string({}, E'\\n')").format(composed.Identifier(c)))
        for c in lists
    ]
    forms += [(c, composed.SQL("{}::text").format(composed.Identifier(c))) for c in jsons]
    whole = composed.SQL("concat_ws(' ', '', {}, '')").format(
        composed.SQL(", ").join(text for _, text in forms)
    )
    for column, text in forms:
        if column == "cursor" and not known.in_addresses:
            continue  # the number of a page, or of rows
        looked = composed.SQL(
            "SELECT {text}, {whole} {where} AND EXISTS ("
            "SELECT FROM unnest(%(marks)s::text[]) AS m (mark) WHERE strpos({text}, mark) > 0)"
        ).format(text=text, whole=whole, where=where)
        cursor.execute(looked, {**of, "marks": known.keys})
        for said, row in cursor.fetchall():
            # What is of nobody in particular, must speak of the stream to be about its records.
            if (whose or f" {stream} " in row) and known.names(said):
                found.left.append(f"syncd.{name}, column {column}{_what_to_do(column, stream)}")
                break
    for column in blobs:
        _look_into(cursor, name, column, where, of, known, found)


def _look_into(
    cursor: Cursor,
    name: str,
    column: str,
    where: composed.Composed,
    of: dict[str, str],
    known: Words,
    found: Proof,
) -> None:
    """Payloads: those of other records may well name this one, those of no key may be its own."""
    keyless = composed.SQL(" AND key IS NULL") if name == "dead_letter" else composed.SQL("")
    marks = [m.encode("utf-8", "backslashreplace") for m in known.keys]
    cursor.execute(
        composed.SQL(
            "SELECT {column} {where}{keyless} AND EXISTS (SELECT FROM unnest(%(marks)s::bytea[]) "
            "AS m (mark) WHERE position(mark IN {column}) > 0)"
        ).format(column=composed.Identifier(column), where=where, keyless=keyless),
        {**of, "marks": marks},
    )
    named_in = [x for (x,) in cursor if known.names(bytes(x).decode("utf-8", "backslashreplace"))]
    if named_in:
        letter = "; a dead letter without a key names it: `syncd dead list`, then `dead discard`"
        found.left.append(f"syncd.{name}, column {column}{letter if keyless.as_string() else ''}")


def _scope(there: set[str]) -> tuple[composed.Composable, bool]:
    """Which rows are looked at, and whether they are known to be the stream's or its source's."""
    if "source" not in there:
        return composed.SQL("true"), False
    if "stream" not in there:
        return composed.SQL("source = %(source)s"), True
    return composed.SQL("source = %(source)s AND coalesce(stream, '') IN (%(stream)s, '')"), True


def _what_to_do(column: str, stream: StreamId) -> str:
    if column not in CURSORS:
        return ""
    return f": the list is paged by it; it goes with the next page, or `syncd reset {stream}`"
