"""How are a page and a user's table compared?  The statements of a diff, all of them reads.

Rows differ here where the upsert of `store.statements` would write them: by Postgres's own
equality, column by column.  The table may lack columns, or not be there at all.
"""

from collections.abc import Collection, Sequence
from typing import LiteralString

import attrs
from psycopg import sql

from syncd.store.statements import CALLED, CHANGED, DELETED, SOURCE, named
from syncd.sync.model import Table

LIVE = 5000  # rows whose keys are read at once


@attrs.frozen(kw_only=True)
class Reads:
    """The statements for one table; `page` is a JSON array of its rows' columns."""

    compare: sql.Composed
    """Gives for each row its position from 1, the key as Postgres holds it, what would become of
    it (null: nothing), and the columns that differ."""

    gone: sql.Composed
    """Gives those of canonical `keys` that are in the table, and whether they are live."""

    keys: sql.Composed
    """Gives those of canonical `keys` that are in the table, as Postgres holds them."""

    first: sql.Composed
    """Gives the first live rows by their key: the key, since which scan it is missing, whether
    that is approved, and the key's columns as texts."""

    after: sql.Composed
    """The same for those that follow the key `after`."""


def reads(table: Table, lacking: Collection[str] | None) -> Reads:
    """The statements; lacking: the columns that the table does not have, None: it is not there."""
    names = list(table.columns)
    stable = [c for c in names if c not in table.volatile | table.kept]
    plain = [c for c in names if c not in table.kept]
    parts = {
        "there": _there(table, lacking),
        "record": _typed(table, [*names, CALLED]),
        "source": named(SOURCE),
        "deleted": named(DELETED),
        "same_key": _all("{} = {}", "o", "r", table.key),
        "stable": _all("{} IS NOT DISTINCT FROM {}", "o", "r", stable),
        "plain": _all("{} IS NOT DISTINCT FROM {}", "o", "r", plain),
        "key": _listed("o", table.key),
        "either": sql.SQL(", ").join(
            sql.SQL("coalesce({}, {})").format(named("o", c), named("r", c)) for c in table.key
        ),
        "fields": sql.SQL(", ").join(
            sql.SQL(
                "({name}, to_json({old}), to_json({new}), {old} IS DISTINCT FROM {new})"
            ).format(name=sql.Literal(c.replace("%", "%%")), old=named("o", c), new=named("r", c))
            for c in plain
        ),
        "typed": sql.SQL(", ").join(
            sql.SQL("(e.key ->> {})::{} AS {}").format(
                sql.Literal(n), sql.SQL(table.columns[c]), named(c)
            )
            for n, c in enumerate(table.key)
        ),
        "texts": sql.SQL(", ").join(sql.SQL("{}::text").format(named("o", c)) for c in table.key),
        "given": sql.SQL(", ").join(
            sql.SQL("(%(after)s::text[])[{}]::{}").format(sql.Literal(n), sql.SQL(table.columns[c]))
            for n, c in enumerate(table.key, start=1)
        ),
        "live": sql.Literal(LIVE),
    }
    return Reads(
        compare=sql.SQL(COMPARE).format(**parts),
        gone=sql.SQL(GONE).format(**parts),
        keys=sql.SQL(KEYS).format(**parts),
        first=sql.SQL(ABSENT).format(further=sql.SQL(""), **parts),
        after=sql.SQL(ABSENT).format(
            further=sql.SQL(" AND ({key}) > ({given})").format(**parts), **parts
        ),
    )


# OFFSET 0: a row is looked up by its key, and the table not made a hash of.
COMPARE = """SELECT c.position, c.key, c.change,
       CASE WHEN c.change IS NOT NULL THEN c.columns END
FROM (
    SELECT r."_syncd_position" AS position, jsonb_build_array({either})::text AS key,
           CASE WHEN o.{source} IS NULL THEN 'added'
                WHEN o.{deleted} IS NOT NULL THEN 'returned'
                WHEN NOT ({stable}) THEN 'changed'
                WHEN NOT ({plain}) THEN 'volatile' END AS change,
           (SELECT json_object_agg(d.name, json_build_object('old', d.old, 'new', d.new))::text
            FROM (VALUES {fields}) AS d (name, old, new, differs) WHERE d.differs) AS columns
    FROM (SELECT e.position AS "_syncd_position", x.*
          FROM jsonb_array_elements(%(page)s::jsonb) WITH ORDINALITY AS e (row, position),
               jsonb_to_record(e.row) AS x ({record})) AS r
    LEFT JOIN LATERAL (SELECT * FROM {there} AS o
                       WHERE o.{source} = %(source)s AND {same_key} OFFSET 0) AS o ON true) AS c"""

GONE = """SELECT jsonb_build_array({key})::text, o.{deleted} IS NULL
FROM (SELECT {typed} FROM (SELECT k::jsonb AS key FROM unnest(%(keys)s::text[]) AS k) AS e) AS r
JOIN {there} AS o ON o.{source} = %(source)s AND {same_key}"""

KEYS = """SELECT jsonb_build_array({key})::text
FROM (SELECT {typed} FROM (SELECT k::jsonb AS key FROM unnest(%(keys)s::text[]) AS k) AS e) AS r
JOIN {there} AS o ON o.{source} = %(source)s AND {same_key}"""

ABSENT = """SELECT jsonb_build_array({key})::text, m.cycle, coalesce(m.approved, false), {texts}
FROM (SELECT * FROM {there} AS o
      WHERE o.{source} = %(source)s AND o.{deleted} IS NULL{further}
      ORDER BY {key} LIMIT {live}) AS o
LEFT JOIN syncd.missing m ON m.source = %(source)s AND m.stream = %(stream)s
     AND m.key = jsonb_build_array({key})
ORDER BY {key}"""


def _there(table: Table, lacking: Collection[str] | None) -> sql.Composable:
    """The table as it will be, to be read from now."""
    name = named(table.schema, table.name)
    if lacking is None:
        of = [*table.columns.items(), (SOURCE, "text"), (CHANGED, "timestamptz")]
        nulls = _nulls([*of, (DELETED, "timestamptz")])
        return sql.SQL("(SELECT {} WHERE false)").format(nulls)
    if not lacking:
        return name
    new = _nulls([(c, of) for c, of in table.columns.items() if c in lacking])
    return sql.SQL("(SELECT t.*, {} FROM {} AS t)").format(new, name)


def _nulls(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("NULL::{} AS {}").format(sql.SQL(of), named(c)) for c, of in columns
    )


def _typed(table: Table, columns: Sequence[str]) -> sql.Composed:
    of = {**table.columns, CALLED: "boolean"}
    return sql.SQL(", ").join(sql.SQL("{} {}").format(named(c), sql.SQL(of[c])) for c in columns)


def _listed(alias: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(named(alias, c) for c in columns)


def _all(relation: LiteralString, left: str, right: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL(relation).format(named(left, c), named(right, c)) for c in columns
    )
