"""How would Postgres hold a row's values, as far as equality and refusal go?"""

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from syncd.errors import StoreRefused
from syncd.sync.model import (
    REFUSED_WHOLE,
    Checkpoint,
    DeadLetter,
    PageCommit,
    Row,
    Table,
    idempotency_key,
)

Key = tuple[Any, ...]
Values = dict[str, Any]


class RefusedError(Exception):
    """A row that Postgres would refuse for its value."""


def sorted_out(
    table: Table, rows: Sequence[Row], at: Checkpoint
) -> tuple[list[tuple[Row, Values]], list[DeadLetter]]:
    good, refused = [], []
    for row in rows:
        try:
            good.append((row, values_of(table, row)))
        except RefusedError as error:
            payload = row.raw or row.json
            refused.append(
                DeadLetter(
                    kind="refused",
                    key=row.key,
                    reason=str(error),
                    payload=payload,
                    idempotency_key=idempotency_key(at.stream, at.calls_of, at.started, row.key)
                    if row.called
                    else None,
                )
            )
    return good, refused


def must_be_taken(
    table: Table, page: PageCommit, at: Checkpoint
) -> tuple[list[tuple[Row, Values]], list[DeadLetter]]:
    """The page's rows sorted out; StoreRefused if none of them can be taken."""
    good, refused = sorted_out(table, page.rows, at)
    if len(refused) == len(page.rows) >= REFUSED_WHOLE:
        raise StoreRefused(f"all {len(refused)} rows of a page are refused")
    return good, refused


def values_of(table: Table, row: Row) -> Values:
    """The row as Postgres would hold it, as far as equality goes."""
    found = json.loads(row.json, parse_float=Decimal, parse_int=Decimal)
    columns = [c for c in table.columns if row.called or c not in table.kept]
    return {c: value_of(c, table.columns[c], found.get(c)) for c in columns}


def value_of(column: str, of: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and "\x00" in value:
        raise RefusedError(f"{column}: unsupported Unicode escape sequence")
    if of in ("numeric", "bigint", "integer", "smallint"):
        try:
            number = Decimal(value)
        except (InvalidOperation, ValueError, TypeError):
            raise RefusedError(f"{column}: invalid input syntax for type {of}") from None
        if of == "bigint" and not -(2**63) <= number < 2**63:
            raise RefusedError(f"{column}: value is out of range for type bigint")
        return number
    return value


def key_of(table: Table, source: str, values: Values) -> Key:
    return (source, *(values[c] for c in table.key))


def typed_key(table: Table, source: str, text: str) -> Key:
    """The key that a canonical one names, as the table holds it."""
    parts = json.loads(text, parse_int=Decimal, parse_float=Decimal)
    named = zip(table.key, parts, strict=True)
    return (source, *(value_of(c, table.columns[c], part) for c, part in named))
