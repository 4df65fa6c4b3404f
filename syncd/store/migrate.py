"""Is the database's schema the one that this syncd knows, and who may make it so?

Numbered SQL files with checksums, applied under a lock, all or nothing.  An older
syncd refuses a newer schema.  The daemon needs no right to change it: `roles_sql`
prints the grants for who does what.
"""

import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterable
from typing import Any, LiteralString

import attrs
import psycopg
from psycopg import sql as composed

from syncd.errors import SchemaError
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import words
from syncd.sync.model import Table

OWNER, WRITER, READER = "syncd_owner", "syncd_writer", "syncd_reader"


@attrs.frozen(kw_only=True)
class Migration:
    """One file under `migrations/`."""

    number: int
    name: str
    sql: str = attrs.field(repr=False)

    @property
    def script(self) -> str:
        """All that applying it does, as SQL to be run by hand."""
        noted = f"VALUES ({self.number}, '{self.name}', '{self.checksum}')"
        note = f"INSERT INTO syncd.migration (number, name, checksum) {noted};"
        return "\n".join([sql("first_migration") + ";", "", self.sql.rstrip(), "", note])

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@functools.cache
def known() -> tuple[Migration, ...]:
    """All migrations of this syncd, in order."""
    folder = importlib.resources.files("syncd.store").joinpath("migrations")
    found = []
    for file in folder.iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            text = file.read_text("utf-8")
            found.append(Migration(number=int(match[1]), name=match[2], sql=text))
    return tuple(sorted(found, key=lambda m: m.number))


def version() -> int:
    """The schema's number that this syncd knows."""
    return known()[-1].number


def pending(connection: Connection) -> list[Migration]:
    """What is still to be applied; SchemaError if the schema is newer or was changed."""
    with transaction(connection) as cursor:
        return _pending(cursor)


def _pending(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[Migration]:
    cursor.execute(sql("migrations_exist"))
    applied: dict[int, str] = {}
    if cursor.fetchone() == (True,):
        cursor.execute(sql("migrations"))
        applied = dict(cursor.fetchall())
    ours = {m.number: m for m in known()}
    newer = sorted(n for n in applied if n not in ours)
    if newer:
        raise SchemaError(
            f"the database's schema is at migration {newer[-1]}, and this syncd knows only "
            f"{version()}: update syncd; an older one must not write to it"
        )
    for number, checksum in applied.items():
        if ours[number].checksum != checksum:
            raise SchemaError(
                f"migration {number} was applied in another form than this syncd has it; "
                "install the syncd that applied it"
            )
    return [m for m in known() if m.number not in applied]


def apply(connection: Connection) -> list[Migration]:
    """Apply what is pending, in one transaction; returns what was applied."""
    try:
        with transaction(connection) as cursor:
            cursor.execute(sql("lock_migrations"))
            todo = _pending(cursor)
            if todo:
                cursor.execute(sql("first_migration"))
            for migration in todo:
                cursor.execute(migration.sql)
                cursor.execute(
                    sql("note_migration"),
                    {
                        "number": migration.number,
                        "name": migration.name,
                        "checksum": migration.checksum,
                    },
                )
            return todo
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaError(
            f"the schema needs migration {version()}, and this role may not apply it "
            f"({words(error)}); run `syncd schema --apply` once with the owner's "
            "`database.url`, and give this role its rights with `syncd schema --roles`"
        ) from error


def roles_sql(tables: Iterable[Table]) -> str:
    """The SQL that makes three roles and grants each what it needs, and no more."""
    fixed = importlib.resources.files("syncd.store").joinpath("roles.sql").read_text("utf-8")
    by_schema: dict[str, set[str]] = {}
    for table in tables:
        by_schema.setdefault(table.schema, set()).add(table.name)
    parts = [fixed.rstrip()]
    for schema, names in sorted(by_schema.items()):
        parts.append(_schema_grants(schema))
        parts += [_table_grants(schema, name) for name in sorted(names)]
    return "\n\n".join(parts) + "\n"


def _schema_grants(schema: str) -> str:
    return _filled(
        """-- Your tables in one schema; those that syncd_owner makes later are granted as well.
CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner};
GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}
    GRANT SELECT, INSERT, UPDATE ON TABLES TO {writer};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}
    GRANT SELECT ON TABLES TO {reader};""",
        schema=composed.Identifier(schema),
    )


def _table_grants(schema: str, name: str) -> str:
    table = composed.Identifier(schema, name)
    grants = _filled(
        "        GRANT SELECT, INSERT, UPDATE ON {table} TO {writer};\n"
        "        GRANT SELECT ON {table} TO {reader};",
        table=table,
    )
    there = composed.Literal(table.as_string()).as_string()
    # A tag that no name can end.  (And no name stands in a comment: it may hold a newline.)
    tag = "$syncd$"
    while tag in grants or tag in there:
        tag = tag[:-1] + "_$"
    return (
        f"DO {tag}\nBEGIN\n    IF to_regclass({there}) IS NOT NULL THEN\n"
        f"{grants}\n    END IF;\nEND\n{tag};"
    )


def _filled(template: LiteralString, **names: composed.Identifier) -> str:
    roles = {"owner": OWNER, "writer": WRITER, "reader": READER}
    quoted = {role: composed.Identifier(name) for role, name in roles.items()}
    return composed.SQL(template).format(**quoted, **names).as_string()
