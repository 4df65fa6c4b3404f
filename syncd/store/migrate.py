"""Is the database's schema the one that this syncd knows, and who may make it so?

Numbered SQL files with checksums, applied under a lock, all or nothing.  An older
syncd refuses a newer schema.
"""

import functools
import hashlib
import importlib.resources
import re
from typing import Any

import attrs
import psycopg

from syncd.errors import SchemaError
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import words


@attrs.frozen(kw_only=True)
class Migration:
    """One file under `migrations/`."""

    number: int
    name: str
    sql: str = attrs.field(repr=False)

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
