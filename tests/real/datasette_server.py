"""Datasette: tables of SQLite; the next page in the Link header and in the body, by keyset."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.real.places import DATASETTE
from tests.real.records import MANY, record
from tests.real.running import free_port, serving
from tests.real.server import Server

COLUMNS = ("id", *record(0))


@attrs.define(eq=False, kw_only=True)
class Datasette(Server):
    """One table."""

    file: Path

    @property
    def address(self) -> str:
        return "/shop/things.json"

    @property
    def source(self) -> str:
        return """
[sources.datasette.streams.things]
path = "/shop/things.json"
params = { _shape = "objects", _ttl = 0 }
records = "rows"
key = ["id"]
page = { kind = "url", next = "next_url", size = 25, size_param = "_size" }

[sources.datasette.streams.things.columns]
id = "bigint"
sku = "text"
name = "text"
price = "text"
stock = "bigint"
active = "bigint"
since = "date"
note = "text"
tags = "text"
"""

    def records(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.file)) as database:
            found = database.execute("SELECT * FROM things ORDER BY id")
            return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    def add(self, values: Mapping[str, Any]) -> None:
        self._write(_INSERT, _stored(values))

    def change(self, key: Any, values: Mapping[str, Any]) -> None:
        self._write(
            "UPDATE things SET name = :name, stock = :stock WHERE id = :id", {**values, "id": key}
        )

    def remove(self, key: Any) -> None:
        self._write("DELETE FROM things WHERE id = :id", {"id": key})

    def _write(self, statement: str, values: Mapping[str, Any]) -> None:
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            database.execute(statement, values)


_INSERT = (
    "INSERT INTO things (sku, name, price, stock, active, since, note, tags)"
    " VALUES (:sku, :name, :price, :stock, :active, :since, :note, :tags)"
)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "active": int(values["active"]), "tags": json.dumps(values["tags"])}


@contextmanager
def datasette(folder: Path) -> Iterator[Datasette]:
    port = free_port()
    file = folder / "shop.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA journal_mode = wal")
        database.execute(
            "CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, sku TEXT, name TEXT,"
            " price TEXT, stock INTEGER, active INTEGER, since TEXT, note TEXT, tags TEXT)"
        )
        database.executemany(_INSERT, [_stored(record(n)) for n in range(MANY)])
    command = [str(DATASETTE.folder() / "bin" / "datasette"), "serve", str(file), "-p", str(port)]
    with serving(command, port, folder):
        yield Datasette(port=port, file=file)
