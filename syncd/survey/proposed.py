"""Which column would a field be that nobody has named, by the values that it has so far?

The types are those that `syncd init` would give.  Where a few records speak for whole numbers
alone, a numeric is the safer column: it takes those that are none.
"""

import json
from collections.abc import Sequence
from decimal import Decimal

from syncd.api.columns import TYPES
from syncd.config.names import LONGEST, SYSTEM_COLUMNS
from syncd.survey.records import type_of
from syncd.sync.drift import Added

LONGEST_FIELD = 500  # bytes of a field's name that gets a column


def proposed(field: str, values: Sequence[bytes]) -> Added | None:
    """Its column's name and type; None for a field that can't have one.

    values: as the API wrote them, none of them null.
    """
    try:
        fits = 0 < len(field.encode()) <= LONGEST_FIELD
    except UnicodeEncodeError:  # a lone surrogate
        fits = False
    if not fits or "\x00" in field:
        return None
    return Added(column=_column(field), type=_type(field, values), field=field)


def _column(field: str) -> str:
    """What Postgres and syncd take for a column's name."""
    name = field
    if name.casefold() in SYSTEM_COLUMNS:
        name = f"{name}_"
    if name.casefold().startswith("_syncd_"):
        name = name.lstrip("_")
    return name.encode()[:LONGEST].decode("utf-8", "ignore")


def _type(field: str, values: Sequence[bytes]) -> str:
    try:
        read = [json.loads(value, parse_float=Decimal) for value in values]
    except (ValueError, RecursionError):  # what is no JSON is not for a column of any type
        return "jsonb"
    of, sure, _ = type_of(field, read)
    if of == "bigint" and not sure:
        of = "numeric"
    return of if all(_fits(of, value) for value in values) else _wide(read)


def _fits(of: str, value: bytes) -> bool:
    return bool(TYPES[of].fits(value)) or TYPES[of].check(value) is None


def _wide(values: Sequence[object]) -> str:
    """Where a value is refused by any such column, the type that refuses the fewest."""
    return "jsonb" if any(isinstance(v, dict | list | bool) for v in values) else "text"
