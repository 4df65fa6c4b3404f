"""How do a page's rows get into a user's table, and how are they found there?

A page goes to Postgres as one JSON parameter, so that numbers arrive as the API wrote
them.  Unchanged rows are filtered before the upsert: a guard in DO UPDATE alone would
still lock them and write WAL.  Where nearly all rows of a cycle are new or differ the
filter looks each of them up in vain, and the guard does by itself.  `OFFSET 0` keeps the
planner from turning the filter into a hash over the whole table.  In a stream's first
cycle all rows are new: there a plain INSERT saves a fourth of what Postgres does, as ON
CONFLICT looks each row up before it writes it, and marks it in the WAL once more.  All
names are the user's and are quoted.
"""

import functools
from collections.abc import Sequence
from typing import LiteralString

import attrs
from psycopg import sql
from psycopg.types.json import Jsonb

from syncd.store import sql as queries
from syncd.sync.model import Block, Row, Table

CALLED = "_syncd_called"
SOURCE, CHANGED, DELETED = "_syncd_source", "_syncd_changed_at", "_syncd_deleted_at"

INSERT = """INSERT INTO {table} AS t ({names}, {source}, {changed}, {deleted})
SELECT {values}, k.source, k.at, NULL
FROM k, jsonb_to_recordset({page}) AS r ({record})
ORDER BY {order}
RETURNING t.{changed} AS at, jsonb_build_array({key_of})::text AS key"""
"""Writes rows of which none is there; fails if one is."""

UPSERT = """INSERT INTO {table} AS t ({names}, {source}, {changed}, {deleted})
SELECT {values}, k.source, k.at, NULL
FROM k, jsonb_to_recordset({page}) AS r ({record})
WHERE {in_vain}
   OR NOT EXISTS (SELECT FROM {table} o WHERE o.{source} = k.source AND {same_key}
                  AND o.{deleted} IS NULL AND {unchanged} OFFSET 0)
ORDER BY {order}
ON CONFLICT ({source}, {key}) DO UPDATE SET {sets}, {deleted} = NULL,
    {changed} = CASE WHEN {stable} AND t.{deleted} IS NULL THEN t.{changed}
                     ELSE EXCLUDED.{changed} END
WHERE t.{deleted} IS NOT NULL OR NOT {equal}
RETURNING t.{changed} AS at, jsonb_build_array({key_of})::text AS key"""
"""Writes rows; `k` is (source, at), and gives none where nothing may be written."""


def _spelt(statement: sql.Composed) -> LiteralString:
    """Once: psycopg would put its parts together each time."""
    return statement.as_string(None)


@attrs.define(kw_only=True)
class Statements:
    """The statements of one table; `page` is a JSON array of its rows' columns, `pages` several."""

    apart: bool = attrs.field(default=False, init=False)
    """Learned: what is in the table may differ from what was sent, so each page goes by itself."""

    met: bool = attrs.field(default=False, init=False)
    """Learned: in a stream's first cycle a row was there before."""

    commit: LiteralString = attrs.field(converter=_spelt)
    """Moves the checkpoint and upserts; gives (checkpoints moved, rows written, the moment,
    which is the rows' `_syncd_changed_at`, and the keys of the rows that got it)."""

    turn: LiteralString = attrs.field(converter=_spelt)
    """The same for pages of a cycle that goes on, with their sums and their history
    (`turn_pages`)."""

    first_turn: LiteralString = attrs.field(converter=_spelt)
    """The same for a stream's first cycle: it fails if one of the rows is there already."""

    upsert: LiteralString = attrs.field(converter=_spelt)
    """Upserts alone, as of the moment `at`, for a page that is being halved; gives the same."""

    note_rows: LiteralString = attrs.field(converter=_spelt)
    """Notes the keys of a page's rows in syncd.seen."""

    note_keys: LiteralString = attrs.field(converter=_spelt)
    """Notes canonical `keys` there, each a JSON array of the key columns' values."""

    find_missing: LiteralString = attrs.field(converter=_spelt)
    """Makes syncd.missing be the live rows whose keys are not noted; gives how many live."""

    delete_missing: LiteralString = attrs.field(converter=_spelt)
    """Marks those as deleted, as of the moment `at`, that are missing not for the first time
    (`cycle`), and that were approved or may go without asking (`all`)."""

    mark_gone: LiteralString = attrs.field(converter=_spelt)
    """Marks the rows of canonical `keys` as deleted, as of the moment `at`; gives the keys of
    those that were there and were not."""

    there: LiteralString = attrs.field(converter=_spelt)
    """Gives those of canonical `keys` that have a row, deleted or not."""

    differing: LiteralString = attrs.field(converter=_spelt)
    """Gives the positions, from 1, of rows that are new, deleted, or differ."""

    typed_key: LiteralString = attrs.field(converter=_spelt)
    """Gives the key that `parts`, as texts, make: a JSON array as Postgres holds it, as text."""

    erase: LiteralString = attrs.field(converter=_spelt)
    """Deletes the row that has the key that `parts` make; gives it as JSON text."""

    one: LiteralString = attrs.field(converter=_spelt)
    """Gives a row's key in that form and its two moments, by the texts of its key."""


@functools.lru_cache(maxsize=1024)
def _statements(
    schema: str,
    name: str,
    columns: tuple[tuple[str, str], ...],
    key: tuple[str, ...],
    volatile: frozenset[str],
    kept: frozenset[str],
) -> Statements:
    table = named(schema, name)
    names = [c for c, _ in columns]
    stable = [c for c in names if c not in volatile | kept]
    plain = [c for c in names if c not in kept]

    def listed(alias: str, chosen: Sequence[str]) -> sql.Composed:
        return sql.SQL(", ").join(named(alias, c) for c in chosen)

    def same(left: str, right: str, chosen: Sequence[str]) -> sql.Composed:
        return sql.SQL("ROW({}) IS NOT DISTINCT FROM ROW({})").format(
            listed(left, chosen), listed(right, chosen)
        )

    record = sql.SQL(", ").join(
        sql.SQL("{} {}").format(named(c), sql.SQL(of)) for c, of in [*columns, (CALLED, "boolean")]
    )
    same_key = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(named("o", c), named("r", c)) for c in key
    )
    unchanged = same("o", "r", plain)
    if kept:
        unchanged = sql.SQL("{} AND (r.{} IS NOT TRUE OR {})").format(
            unchanged, named(CALLED), same("o", "r", sorted(kept))
        )
    values = [
        named("r", c)
        if c not in kept
        # A row that was not called keeps what an earlier call gave.
        else sql.SQL(
            "CASE WHEN r.{called} THEN r.{c} ELSE (SELECT o.{c} FROM {table} o "
            "WHERE o.{source} = k.source AND {same_key}) END"
        ).format(
            called=named(CALLED),
            c=named(c),
            table=table,
            source=named(SOURCE),
            same_key=same_key,
        )
        for c in names
    ]
    types = dict(columns)
    parts = {
        "table": table,
        "key_of": listed("t", key),
        "names": sql.SQL(", ").join(map(named, names)),
        "source": named(SOURCE),
        "changed": named(CHANGED),
        "deleted": named(DELETED),
        "values": sql.SQL(", ").join(values),
        "record": record,
        "same_key": same_key,
        "unchanged": unchanged,
        # Any order will do that all keep to, against deadlocks; this one is the cheapest.
        "order": sql.SQL(", ").join(
            sql.SQL('{} COLLATE "C"' if types[c] == "text" else "{}").format(named("r", c))
            for c in key
        ),
        "key": sql.SQL(", ").join(map(named, key)),
        "sets": sql.SQL(", ").join(sql.SQL("{c} = EXCLUDED.{c}").format(c=named(c)) for c in names),
        "stable": same("t", "excluded", stable),
        "equal": same("t", "excluded", names),
    }

    def write(how: LiteralString, page: LiteralString, in_vain: LiteralString) -> sql.Composed:
        """in_vain: a condition, looked at once, by which rows need not be filtered."""
        return sql.SQL(how).format(page=sql.SQL(page), in_vain=sql.SQL(in_vain), **parts)

    def turn(how: LiteralString) -> sql.Composed:
        return sql.SQL("WITH m AS ({m}), d AS ({d}), k AS ({k}), w AS ({write}), {rest}").format(
            m=sql.SQL(queries.sql("move_checkpoint")),
            d=sql.SQL(queries.sql("mixed")).format(
                table=sql.SQL("{}::regclass").format(sql.Literal(table.as_string(None)))
            ),
            k=sql.SQL(queries.sql("turning")),
            write=write(how, "(%(pages)b::jsonb[])[k.n]", queries.sql("in_vain")),
            rest=sql.SQL(queries.sql("turn_pages")),
        )

    upsert = write(UPSERT, "%(page)s::jsonb", "false")
    shape = sql.SQL(
        "WITH k AS ({k}), w AS ({upsert}) SELECT (SELECT count(*) FROM k), count(*), "
        "(SELECT at FROM k), coalesce(array_agg(key) FILTER (WHERE at = (SELECT at FROM k)), "
        "'{{}}') FROM w"
    )
    return Statements(
        commit=shape.format(k=sql.SQL(queries.sql("move_checkpoint")), upsert=upsert),
        turn=turn(UPSERT),
        first_turn=turn(INSERT),
        upsert=shape.format(
            k=sql.SQL("SELECT %(source)s::text AS source, %(at)s::timestamptz AS at"),
            upsert=upsert,
        ),
        **_scanning(table, dict(columns), key),
        **_of_one(table, dict(columns), key),
        differing=sql.SQL(
            """SELECT r."_syncd_position" FROM (
    SELECT e.position AS "_syncd_position", x.*
    FROM jsonb_array_elements(%(page)s::jsonb) WITH ORDINALITY AS e (row, position),
         jsonb_to_record(e.row) AS x ({record})) AS r
WHERE NOT EXISTS (SELECT FROM {table} o WHERE o.{source} = %(source)s AND {same_key}
                  AND o.{deleted} IS NULL AND {same} OFFSET 0)"""
        ).format(
            record=record,
            table=table,
            source=named(SOURCE),
            same_key=same_key,
            deleted=named(DELETED),
            same=same("o", "r", stable),
        ),
    )


def _scanning(
    table: sql.Identifier, columns: dict[str, str], key: tuple[str, ...]
) -> dict[str, sql.Composed]:
    """Keys are compared as Postgres holds them, as jsonb: 1.0 is 1 there, as in the table."""

    def key_of(alias: str) -> sql.Composed:
        return sql.SQL("jsonb_build_array({})").format(
            sql.SQL(", ").join(named(alias, c) for c in key)
        )

    record = sql.SQL(", ").join(sql.SQL("{} {}").format(named(c), sql.SQL(columns[c])) for c in key)
    typed = sql.SQL(", ").join(
        sql.SQL("(e.key ->> {})::{}").format(sql.Literal(n), sql.SQL(columns[c]))
        for n, c in enumerate(key)
    )
    # By column, unlike the others: it is of few rows, and has the primary key's index find them.
    columns_of = [
        sql.SQL("(e.key ->> {})::{} AS {}").format(sql.Literal(n), sql.SQL(columns[c]), named(c))
        for n, c in enumerate(key)
    ]
    same = [sql.SQL("{} = {}").format(named("o", c), named("g", c)) for c in key]
    same_as_key = [
        sql.SQL("{} = (e.key ->> {})::{}").format(
            named("o", c), sql.Literal(n), sql.SQL(columns[c])
        )
        for n, c in enumerate(key)
    ]
    live = sql.SQL("o.{} = %(source)s AND o.{} IS NULL").format(named(SOURCE), named(DELETED))
    parts = {
        "table": table,
        "record": record,
        "typed": typed,
        "named": sql.SQL(", ").join(columns_of),
        "same": sql.SQL(" AND ").join(same),
        "same_as_key": sql.SQL(" AND ").join(same_as_key),
        "source": named(SOURCE),
        "live": live,
        "of_row": key_of("r"),
        "of_old": key_of("o"),
        "changed": named(CHANGED),
        "deleted": named(DELETED),
    }
    texts = {
        "note_rows": """INSERT INTO syncd.seen (source, stream, key)
SELECT %(source)s, %(stream)s, {of_row} FROM jsonb_to_recordset(%(page)s::jsonb) AS r ({record})""",
        "note_keys": """INSERT INTO syncd.seen (source, stream, key)
SELECT %(source)s, %(stream)s, jsonb_build_array({typed})
FROM (SELECT k::jsonb AS key FROM unnest(%(keys)s::text[]) AS k) AS e""",
        "mark_gone": """UPDATE {table} o SET {deleted} = %(at)s, {changed} = %(at)s
FROM (SELECT {named} FROM (SELECT k::jsonb AS key FROM unnest(%(keys)s::text[]) AS k) AS e) AS g
WHERE {live} AND {same}
RETURNING {of_old}::text""",
        "there": """SELECT e.text FROM (
    SELECT k AS text, k::jsonb AS key FROM unnest(%(keys)s::text[]) AS k) AS e
WHERE EXISTS (SELECT FROM {table} o WHERE o.{source} = %(source)s AND {same_as_key})""",
        "find_missing": """WITH absent AS MATERIALIZED (
    SELECT {of_old} AS key FROM {table} o WHERE {live} AND NOT EXISTS (
        SELECT FROM syncd.seen s
        WHERE s.source = %(source)s AND s.stream = %(stream)s AND s.key = {of_old})
), before AS (
    DELETE FROM syncd.missing WHERE source = %(source)s AND stream = %(stream)s
    RETURNING key, cycle, approved
), now AS (
    INSERT INTO syncd.missing (source, stream, key, cycle, approved)
    SELECT %(source)s, %(stream)s, a.key, coalesce(b.cycle, %(cycle)s), coalesce(b.approved, false)
    FROM absent a LEFT JOIN before b ON b.key = a.key
)
SELECT count(*) FROM {table} o WHERE {live}""",
        "delete_missing": """UPDATE {table} o
SET {deleted} = %(at)s, {changed} = %(at)s
FROM syncd.missing m
WHERE m.source = %(source)s AND m.stream = %(stream)s AND m.cycle < %(cycle)s
  AND (m.approved OR %(all)s) AND {live} AND m.key = {of_old}""",
    }
    return {name: sql.SQL(text).format(**parts) for name, text in texts.items()}


def _of_one(
    table: sql.Identifier, columns: dict[str, str], key: tuple[str, ...]
) -> dict[str, sql.Composed]:
    """A person names a key by texts: what they mean is for the columns' types to say."""
    typed = [
        sql.SQL("(%(parts)s::text[])[{}]::{}").format(sql.Literal(n), sql.SQL(columns[c]))
        for n, c in enumerate(key, start=1)
    ]
    same = [
        sql.SQL("o.{} = {}").format(named(c), value) for c, value in zip(key, typed, strict=True)
    ]
    one = """SELECT jsonb_build_array({of_old})::text, extract(epoch FROM o.{changed})::float8,
       extract(epoch FROM o.{deleted})::float8
FROM {table} o WHERE o.{source} = %(source)s AND {same}"""
    return {
        "typed_key": sql.SQL("SELECT jsonb_build_array({})::text").format(
            sql.SQL(", ").join(typed)
        ),
        "erase": sql.SQL(
            "DELETE FROM {table} o WHERE o.{source} = %(source)s AND {same} "
            "RETURNING row_to_json(o)::text"
        ).format(table=table, source=named(SOURCE), same=sql.SQL(" AND ").join(same)),
        "one": sql.SQL(one).format(
            of_old=sql.SQL(", ").join(named("o", c) for c in key),
            changed=named(CHANGED),
            deleted=named(DELETED),
            source=named(SOURCE),
            table=table,
            same=sql.SQL(" AND ").join(same),
        ),
    }


def statements(table: Table) -> Statements:
    """The statements of a table, composed once."""
    return _statements(
        table.schema,
        table.name,
        tuple(table.columns.items()),
        table.key,
        table.volatile,
        table.kept,
    )


def named(*parts: str) -> sql.Identifier:
    """A quoted name for a statement with parameters, in which a % has to be doubled."""
    return sql.Identifier(*(part.replace("%", "%%") for part in parts))


def as_page(rows: Sequence[Row]) -> Jsonb:
    """The rows as one JSON array, each with the mark whether its call was made."""
    if isinstance(rows, Block):
        return Jsonb(rows.text, dumps=bytes)  # as they came, and not even copied
    mark = b'{"_syncd_called":true,'
    parts = [
        (mark + r.json[1:] if len(r.json) > 2 else b'{"_syncd_called":true}')
        if r.called
        else r.json
        for r in rows
    ]
    return Jsonb(b"[" + b",".join(parts) + b"]", dumps=bytes)
