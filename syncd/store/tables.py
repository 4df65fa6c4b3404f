"""Does a user's table stand as the config describes it, and how is it made?

All names are the user's and are quoted; what is written into it is `store.statements`'.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from syncd.errors import SchemaError, StoreRefused
from syncd.store import sql as queries
from syncd.store.connections import Connection, transaction
from syncd.store.sqlstate import is_of_the_record, words
from syncd.store.statements import CHANGED, DELETED, SOURCE
from syncd.sync.model import Table

Cursor = psycopg.Cursor[tuple[Any, ...]]

OURS = (SOURCE, CHANGED, DELETED)
"""Columns that each table has beside those that its user named."""

SPELLED = {"timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone"}
"""Types whose name in the catalogue is not ours."""


def _create(of: Table) -> tuple[sql.Composed, ...]:
    table = sql.Identifier(of.schema, of.name)

    def index(on: Sequence[str]) -> sql.Composed:
        return sql.SQL("CREATE INDEX ON {} ({})").format(
            table, sql.SQL(", ").join(map(sql.Identifier, on))
        )

    lines = [
        sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(kind)) for c, kind in of.columns.items()
    ]
    lines += [
        sql.SQL("{} text NOT NULL").format(sql.Identifier(SOURCE)),
        sql.SQL("{} timestamptz NOT NULL").format(sql.Identifier(CHANGED)),
        sql.SQL("{} timestamptz").format(sql.Identifier(DELETED)),
        sql.SQL("PRIMARY KEY ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, (SOURCE, *of.key)))
        ),
    ]
    create = sql.SQL("CREATE TABLE {} (\n    {}\n)").format(table, sql.SQL(",\n    ").join(lines))
    return (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(of.schema)),
        create,
        index([CHANGED]),
        *(index(on) for on in of.indexes),
    )


def missing(connection: Connection, table: Table) -> list[str]:
    """The SQL that makes the table, if it is not there; StoreRefused if it is another one."""
    with transaction(connection) as cursor:
        return _missing(cursor, table)


def _missing(cursor: Cursor, table: Table) -> list[str]:
    where = {"schema": table.schema, "table": table.name}
    cursor.execute(queries.sql("table_columns"), where)
    there = {str(name): str(of) for name, of in cursor}
    if there:
        cursor.execute(queries.sql("table_keys"), where)
        keys = [set(columns) for (columns,) in cursor]
        new = _new_columns(table, there)
        _compare(table, there | dict(new), keys)
        return [_add_column(table, name, of).as_string(cursor) for name, of in new]
    cursor.execute(queries.sql("schema_exists"), {"schema": table.schema})
    has_schema = cursor.fetchone() == (True,)
    create = _create(table)[1 if has_schema else 0 :]
    return [statement.as_string(cursor) for statement in create]


def must_be_usable(connection: Connection, table: Table) -> None:
    """Raise StoreRefused, with the grants that are missing, before a page is fetched in vain."""
    where = {"schema": table.schema, "table": table.name}
    with transaction(connection) as cursor:
        cursor.execute(queries.sql("table_rights"), where)
        role, enters, lacking = cursor.fetchone() or ("", True, [])
    if enters and not lacking:
        return
    name, to = sql.Identifier(table.schema, table.name).as_string(), _quoted(role)
    grants = [] if enters else [f"GRANT USAGE ON SCHEMA {_quoted(table.schema)} TO {to};"]
    grants += [f"GRANT {', '.join(lacking)} ON {name} TO {to};"] if lacking else []
    raise StoreRefused(
        f"role {role} may not use table {table.schema}.{table.name} as it has to",
        hint=f"as its owner run: {' '.join(grants)} (`syncd schema --roles` prints all grants)",
    )


def is_there(cursor: Cursor, table: Table) -> bool:
    cursor.execute(queries.sql("table_columns"), {"schema": table.schema, "table": table.name})
    return cursor.fetchone() is not None


def must_be_erasable(cursor: Cursor, table: Table) -> None:
    """Raise StoreRefused, with the right that is missing, if rows may not be deleted."""
    cursor.execute(queries.sql("right_to_erase"), {"schema": table.schema, "table": table.name})
    role, may = cursor.fetchone() or ("", True)
    if may:
        return
    name = sql.Identifier(table.schema, table.name).as_string()
    raise StoreRefused(
        f"role {role} may not delete rows of {table.schema}.{table.name}, which the daemon never "
        "does",
        hint="run this with the owner's `database.url` (--set database.url=…), or as the owner "
        f"run: GRANT DELETE ON {name} TO {_quoted(role)};",
    )


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _new_columns(table: Table, there: dict[str, str]) -> list[tuple[str, str]]:
    """Columns that a table which syncd writes to lacks; its key was made with the table."""
    if SOURCE not in there:
        return []
    return [(c, _spelled(of)) for c, of in table.columns.items() if c not in {*there, *table.key}]


def _add_column(table: Table, name: str, of: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(
        sql.Identifier(table.schema, table.name), sql.Identifier(name), sql.SQL(of)
    )


def _spelled(of: str) -> str:
    return SPELLED.get(of, of)


def must_still_fit(cursor: Cursor, table: Table) -> None:
    """Raise StoreRefused if somebody has given a column another type since the stream was opened.

    Postgres would cast what is written, and round it: nothing but a look at the table tells.  A
    column, a key, or a table that is gone is told by the first page.
    """
    cursor.execute(queries.sql("table_columns"), {"schema": table.schema, "table": table.name})
    there = {str(name): str(of) for name, of in cursor}
    if there:
        _compare(table, _wanted(table) | there, [{SOURCE, *table.key}])


def _wanted(table: Table) -> dict[str, str]:
    wanted = {name: _spelled(of) for name, of in table.columns.items()}
    times = SPELLED["timestamptz"]
    return wanted | {SOURCE: "text", CHANGED: times, DELETED: times}


def _compare(table: Table, there: dict[str, str], keys: list[set[str]]) -> None:
    wanted = _wanted(table)
    wrong = [
        f"column {name!r} is {there[name]}, not {of}" if name in there else f"no column {name!r}"
        for name, of in wanted.items()
        if there.get(name) != of
    ]
    key = {SOURCE, *table.key}
    if not wrong and key not in keys:
        wrong.append(f"it has no unique key on exactly {', '.join((SOURCE, *table.key))}")
    if wrong:
        raise StoreRefused(
            f"table {table.schema}.{table.name} is not as the config describes it: "
            + "; ".join(wrong),
            hint="change `columns` or `key`, write to another `table`, or alter this one",
        )


def create(connection: Connection, table: Table) -> list[str]:
    """Make the table be there; returns the SQL that was run."""
    try:
        with transaction(connection) as cursor:
            # Two streams, or two hosts, may come for the same schema or table at once.
            cursor.execute(queries.sql("lock_migrations"))
            todo = _missing(cursor, table)
            cursor.execute(queries.sql("lock_briefly"))
            for statement in todo:
                cursor.execute(statement)
    except psycopg.Error as error:
        if not is_of_the_record(error):
            raise
        # No record is in it: a limit of Postgres's (1600 columns), or a trigger of the owner's.
        raise StoreRefused(
            f"table {table.schema}.{table.name} can't be made as it is needed: {words(error)}",
            hint="change `columns`, or `contract`",
        ) from error
    return todo


def must_be_made(table: Table, todo: Sequence[str]) -> SchemaError:
    """What to say when the role may not make a table."""
    columns = all(statement.startswith("ALTER") for statement in todo)
    state, make = ("lacks columns", "add them") if columns else ("is not there", "make it")
    return SchemaError(
        f"table {table.schema}.{table.name} {state}, and this role may not {make}; run "
        "`syncd schema --apply` with the owner's `database.url`, or this:\n" + ";\n".join(todo)
    )
