"""The records that each server is loaded with, and whether a table holds what a server has."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

MANY = 257  # records to begin with: on no page size of anybody's does the last page come out even

WORDS = ["Ångström", "日本", "O'Brien", 'quoted "so"', "naïve", "plain", "", "tab\tbed"]


def record(n: int) -> dict[str, Any]:
    """What the n-th record says, but for the id and the times that a server gives itself."""
    return {
        "sku": f"{n:06}",
        "name": f"{WORDS[n % len(WORDS)]} {n}",
        "price": f"{n % 97}.{n % 100:02}",
        "stock": n * 7 % 1000,
        "active": n % 3 != 0,
        "since": str(dt.date(2020, 1, 1) + dt.timedelta(days=n)),
        "note": None if n % 5 else f"note {n}",
        "tags": [WORDS[n % 5], n],
    }


def rows(conninfo: str, table: str) -> list[dict[str, Any]]:
    """What the table holds, without what is marked as deleted."""
    query = sql.SQL("SELECT * FROM {} WHERE _syncd_deleted_at IS NULL")
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        return connection.execute(query.format(sql.Identifier(table))).fetchall()


def differences(
    records: Iterable[Mapping[str, Any]], table: Iterable[Mapping[str, Any]], key: str = "id"
) -> list[str]:
    """Whatever is not equal, record by record and column by column; nothing if they are."""
    wanted = {str(of[key]): of for of in records}
    there = {str(of[key]): of for of in table}
    found = [f"{k}: not in the table" for k in wanted.keys() - there.keys()]
    found += [f"{k}: not at the server" for k in there.keys() - wanted.keys()]
    for k in wanted.keys() & there.keys():
        for column, value in there[k].items():
            if column.startswith("_syncd_"):
                continue
            told = wanted[k].get(column)
            if not _equal(told, value):
                found.append(f"{k}: {column} is {value!r}, told was {told!r}")
    return sorted(found)


def _equal(told: object, value: object) -> bool:
    match value:
        case bool() | None:
            return told is value
        case Decimal():
            return Decimal(str(told)) == value
        case dt.datetime():
            return dt.datetime.fromisoformat(str(told)) == value
        case dt.date():
            return str(value) == told
        case uuid.UUID():
            return uuid.UUID(str(told)) == value
        case str():
            return str(told) == value
        case _:
            return told == value
