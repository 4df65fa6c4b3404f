"""Which columns were added to a user's table, and how is another one?

What is to be added is written down first, in a transaction of its own: where the role may not
alter the table, `syncd schema --apply` finds there what to do.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from syncd.errors import StoreRefused
from syncd.store import drifts, tables
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.sync.displaced import lost
from syncd.sync.drift import MOST, Added, Drift, Evolution, free_name
from syncd.sync.model import Lease, StreamId, Table

Cursor = psycopg.Cursor[tuple[Any, ...]]


def known(connection: Connection, table: Table) -> Evolution:
    """What a stream whose config describes this table has filled as well."""
    with transaction(connection) as cursor:
        cursor.execute(sql("evolved_exists"))
        # Else the migration that brings it is still to be applied.
        return _known(cursor, table) if cursor.fetchone() == (True,) else Evolution()


def added(cursor: Cursor, table: Table) -> dict[str, str]:
    """The columns that are filled beside those of the config, and their types."""
    return {found.column: found.type for found in _known(cursor, table).columns}


def widened(connection: Connection, table: Table) -> Table:
    """The table with the columns that were added, or are still to be."""
    return table.widened(known(connection, table))


def evolve(
    connection: Connection, stream: StreamId, table: Table, lease: Lease, wanted: Sequence[Added]
) -> Evolution:
    """Have the columns that are wanted, as far as there is room."""
    with transaction(connection) as cursor:
        cursor.execute(sql("lock_migrations"))
        cursor.execute(sql("fence_of_lease"), {"source": lease.source})
        (fence,) = cursor.fetchone() or (0,)
        if fence != lease.fence:
            raise lost(lease, fence)
        _register(cursor, stream, table, wanted)
        evolution = _known(cursor, table)
        # Not what was registered just now: an earlier try may have come no further than that.
        there = {added for added, there in _all(cursor, table) if there}
    todo = tables.missing(connection, table.widened(evolution))
    if todo:
        try:
            tables.create(connection, table.widened(evolution))
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreRefused(
                f"table {table.schema}.{table.name} needs columns, and this role may not add them",
                hint="run `syncd schema --apply` with the owner's `database.url`, or this: "
                + "; ".join(todo),
            ) from error
    fresh = tuple(added for added in evolution.columns if added not in there)
    return Evolution(columns=evolution.columns, full=evolution.full, fresh=fresh)


def _named(table: Table) -> dict[str, object]:
    return {"schema": table.schema, "table": table.name}


def _all(cursor: Cursor, table: Table) -> list[tuple[Added, bool]]:
    """Each column that was added to the table, and whether it is there."""
    cursor.execute(sql("evolved"), _named(table))
    return [
        (Added(column=column, type=of, field=field, instead_of=instead_of), there)
        for column, of, field, instead_of, there in cursor
    ]


def _known(cursor: Cursor, table: Table) -> Evolution:
    found = _all(cursor, table)
    return Evolution(columns=table.filled(found), full=len(found) >= MOST)


def _register(cursor: Cursor, stream: StreamId, table: Table, wanted: Sequence[Added]) -> None:
    """Write down what is to be added, and that it was new."""
    found = [added for added, _ in _all(cursor, table)]
    there = {added.identity for added in found}
    cursor.execute(sql("table_columns"), _named(table))
    taken = {str(name).casefold() for name, _ in cursor}
    taken |= {name.casefold() for name in (*table.columns, *(a.column for a in found))}
    fresh: list[Added] = []
    for added in wanted:
        if added.identity in there or len(there) >= MOST:
            continue
        named = Added(
            column=free_name(added.column, taken),
            type=added.type,
            field=added.field,
            instead_of=added.instead_of,
        )
        there.add(named.identity)
        taken.add(named.column.casefold())
        fresh.append(named)
        cursor.execute(
            sql("note_evolved"),
            {
                **_named(table),
                "column": named.column,
                "type": named.type,
                "field": named.field,
                "instead_of": named.instead_of,
                "source": stream.source,
                "stream": stream.stream,
            },
        )
    new = [Drift(what="new-field", name=a.field, rule="evolve") for a in fresh if a.field]
    drifts.note(cursor, stream, new)
