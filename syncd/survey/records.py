"""What makes a record the same one, and of which types are its fields?

Judged by all records that were seen.  A type must hold for records that were not seen, too:
where in doubt the wider one is taken, so that no record is refused later.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any

import attrs

from syncd.api.columns import TYPES
from syncd.config.names import LONGEST, SYSTEM_COLUMNS
from syncd.errors import UnexpectedAnswer
from syncd.survey.answers import plain

Record = Mapping[str, Any]

KEYS = ("id", "_id", "uuid", "guid", "gid", "sid", "key", "slug", "objectid", "recordid")
WRAPPERS = ("attributes", "fields", "properties")
"""Objects that hold a record's own fields: JSON:API, Airtable, HubSpot."""

UPDATED = (
    *("updatedat", "updated", "lastmodified", "modifiedat", "modified", "lastupdated"),
    *("updatedon", "dateupdated", "datemodified", "systemmodstamp", "lastmodifieddate"),
    *("lastmodifiedat", "lastupdatedat", "lasteditedtime", "changedat", "hslastmodifieddate"),
    *("updatedtime", "lastmodifieddatetime", "updateddate", "mtime"),
)
MEASURE = re.compile(
    r"(price|amount|cost|total|rate|score|weight|balance|budget|percent|ratio|tax|fee|revenue"
    r"|discount|lat|lng|lon|latitude|longitude|subtotal|average|avg)$"
)
"""Names whose whole numbers may well be followed by others."""

MOST_COLUMNS = 300
FEW = 20  # records; a type that fewer of them speak for is a guess
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MONEY = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_ID = re.compile(r"(^|_)(id|uuid|guid|gid)$")


@attrs.frozen(kw_only=True)
class Column:
    """One column of the table."""

    name: str
    type: str
    path: str
    """Where in the record."""

    sure: bool
    note: str = ""
    """What to know of it, for a comment."""


@attrs.frozen(kw_only=True)
class Key:
    columns: tuple[str, ...]
    sure: bool
    why: str


def identities(records: Iterable[Record]) -> set[str]:
    """Something for each record by which it is known again, before its key is known."""
    return set(map(_identity, records))


def _identity(record: Record) -> str:
    name = next((n for k in KEYS for n in record if plain(n) == plain(k)), None)
    value = record.get(name) if name is not None else None
    whole = record if value is None or isinstance(value, dict | list) else value
    return json.dumps(whole, default=str, sort_keys=True)


def columns_of(records: Sequence[Record]) -> tuple[list[Column], list[str]]:
    """The columns, and the paths that get none."""
    paths = list(_paths(records))
    taken: set[str] = set()
    columns = []
    for path in paths[:MOST_COLUMNS]:
        values = [at(record, path) for record in records]
        of, sure, note = type_of(path.rpartition(".")[2], [v for v in values if v is not None])
        columns.append(Column(name=_name(path, taken), type=of, path=path, sure=sure, note=note))
    return columns, paths[MOST_COLUMNS:]


def at(record: Record, path: str) -> Any:
    """The value at a path, the way the config's own paths are followed."""
    if path in record:
        return record[path]
    name, _, rest = path.partition(".")
    value = record.get(name)
    return at(value, rest) if rest and isinstance(value, dict) else None


def _paths(records: Sequence[Record]) -> Iterator[str]:
    """Each field, and those within an object that only wraps a record's own fields."""
    names = dict.fromkeys(name for record in records for name in record)
    for name in names:
        inner = [r[name] for r in records if r.get(name) is not None]
        if not name:
            continue
        wraps = plain(name) in WRAPPERS and inner and all(isinstance(v, dict) for v in inner)
        if wraps and "." not in name:
            fields = dict.fromkeys(field for value in inner for field in value)
            yield from (f"{name}.{field}" for field in fields if field)
        else:
            yield name


def _name(path: str, taken: set[str]) -> str:
    """What Postgres and syncd take for a column's name, and nobody else has."""
    name = path.partition(".")[2] if path.partition(".")[0].lower() in WRAPPERS else path
    name = (name or path).replace("\x00", "")
    if name in SYSTEM_COLUMNS or name.startswith("_syncd_") or name in taken or not name:
        name = path.replace(".", "_").replace("\x00", "") if "." in path else f"{name}_"
    if name.startswith("_syncd_"):
        name = name.lstrip("_")
    name = name.encode()[:LONGEST].decode("utf-8", "ignore") or "column"
    number = 2
    whole = name
    while name in taken:
        name = whole.encode()[: LONGEST - 4].decode("utf-8", "ignore") + f"_{number}"
        number += 1
    taken.add(name)
    return name


def type_of(name: str, values: Sequence[Any]) -> tuple[str, bool, str]:
    """The type that all values have, whether that is sure, and what to know of it."""
    if not values:
        return "jsonb", False, "null in all records that were seen, so that it may be anything"
    enough = len(values) >= FEW
    if any(isinstance(v, dict | list) for v in values):
        return "jsonb", all(isinstance(v, dict | list) for v in values) or enough, ""
    if all(isinstance(v, bool) for v in values):
        return "boolean", enough, ""
    if any(isinstance(v, bool) for v in values):
        return "jsonb", False, "true or false in some records, other values in others"
    if all(isinstance(v, int | Decimal) for v in values):
        return _number(name, values, enough=enough)
    if all(isinstance(v, str) for v in values):
        return _text(name, values, enough=enough)
    return "text", enough, "numbers in some records, text in others"


def _number(name: str, values: Sequence[Any], *, enough: bool) -> tuple[str, bool, str]:
    whole = all(isinstance(v, int) and abs(v) < 2**63 for v in values)
    if not whole:
        return "numeric", True, ""
    if MEASURE.search(plain(name)):
        return "numeric", False, "whole numbers so far"
    if plain(name) in UPDATED or plain(name) in ("created", "createdat", "timestamp"):
        if all(10**9 < v < 10**11 for v in values):
            return "bigint", enough, "seconds since 1970"
        if all(10**12 < v < 10**14 for v in values):
            return "bigint", enough, "milliseconds since 1970"
    return "bigint", enough, ""


def _text(name: str, values: Sequence[str], *, enough: bool) -> tuple[str, bool, str]:
    filled = [v for v in values if v]
    if len(filled) < len(values) or not filled:
        return "text", enough, ""  # an empty text is neither a time nor a number
    for of in ("uuid", "date", "timestamptz", "timestamp"):
        if _all_are(of, filled):
            return of, enough, "" if of != "timestamp" else "no time zone is told"
    if all(map(_MONEY.fullmatch, filled)):
        return "numeric", enough, "numbers with a point, in text"
    if all(v.isascii() and v.isdigit() for v in filled):
        zeros = any(v[0] == "0" and len(v) > 1 for v in filled)
        note = "figures with leading zeros" if zeros else "figures so far, in text"
        return "text", zeros or bool(_ID.search(name.lower())), note
    return "text", True, ""


def _all_are(of: str, values: Sequence[str]) -> bool:
    texts = [json.dumps(v, ensure_ascii=False).encode("utf-8", "surrogatepass") for v in values]
    if any(TYPES[of].check(text) is not None for text in texts):
        return False
    if of == "uuid":
        return all(len(v) == 36 for v in values)
    days = [bool(_DATE.fullmatch(v)) for v in values]
    if of == "date":
        return all(days)
    if any(days) or not all(_DATE.match(v) for v in values):
        return False
    zoned = [bool(re.search(r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)$", v[10:])) for v in values]
    return all(zoned) if of == "timestamptz" else not any(zoned)


def ordered(columns: Sequence[Column], key: Key) -> list[Column]:
    """With the key first."""
    return sorted(columns, key=lambda c: c.name not in key.columns)


def key_of(records: Sequence[Record], columns: Sequence[Column], stream: str) -> Key:
    """What is different in all records, and never null."""
    fit = [c for c in columns if c.type != "jsonb" and _filled(records, c)]
    unique = [c for c in fit if _unique(records, [c])]
    best = min(unique, key=lambda c: _rank(c.name, stream, fit.index(c)), default=None)
    many = f"{len(records)} records"
    if best is not None and _rank(best.name, stream, 0)[0] < 2:
        return Key(
            columns=(best.name,),
            sure=len(records) >= FEW,
            why=f"different in all of {many}, and it is called so",
        )
    ids = [c for c in fit if _ID.search(c.name.lower())]
    for pair in combinations(ids[:6], 2) if best is None else ():
        if _unique(records, pair):
            why = f"no field alone is different in all of {many}, these two are"
            return Key(columns=tuple(c.name for c in pair), sure=False, why=why)
    if best is not None:
        why = f"different in all of {many}; its name does not say so"
        return Key(columns=(best.name,), sure=False, why=why)
    scalars = fit or [c for c in columns if c.type != "jsonb"]
    if not scalars:
        raise UnexpectedAnswer(
            "no field of the records can be a key: each is null, a list or an object",
            hint="A record needs something by which it is known again",
        )
    named = min(scalars, key=lambda c: _rank(c.name, stream, 0))
    why = f"NO field is different in all of {many}: name what makes a record the same one"
    return Key(columns=(named.name,), sure=False, why=why)


def _rank(name: str, stream: str, place: int) -> tuple[int, int]:
    names = [plain(k) for k in KEYS]
    short = plain(name)
    single = plain(stream).removesuffix("s")
    if short in names:
        return 0, names.index(short)
    if single and short in (f"{single}id", f"{single}uuid", f"{single}key", f"{single}number"):
        return 1, place
    return (2 if _ID.search(name.lower()) else 3), place


def _filled(records: Sequence[Record], column: Column) -> bool:
    return all(at(r, column.path) not in (None, "") for r in records)


def _unique(records: Sequence[Record], columns: Iterable[Column]) -> bool:
    paths = [c.path for c in columns]
    found = {tuple(str(at(r, p)) for p in paths) for r in records}
    return len(found) == len(records)


def together(*pages: Sequence[Record]) -> list[Record]:
    """The records of several answers, each once: rows may move between two requests."""
    found: dict[str, Record] = {}
    for page in pages:
        for record in page:
            found.setdefault(_identity(record), record)
    return list(found.values())


def volatile_of(first: Sequence[Record], again: Sequence[Record], key: Key) -> list[str]:
    """Fields that differ between two reads in most records, though nobody changed them."""
    before = {_identity(r): r for r in first}
    both = [(before[i], r) for r in again if (i := _identity(r)) in before]
    counts: dict[str, int] = {}
    for old, new in both:
        for name in new.keys() & old.keys():
            counts[name] = counts.get(name, 0) + (old[name] != new[name])
    enough = max(2, len(both) // 2)
    return sorted(n for n, many in counts.items() if many >= enough and n not in key.columns)


def updated_field(columns: Sequence[Column]) -> Column | None:
    """The field that tells when a record changed, if there is one."""
    good = [c for c in columns if c.type in ("timestamptz", "timestamp", "bigint", "date")]
    ranked = [c for c in good if plain(c.name) in UPDATED]
    return min(ranked, key=lambda c: UPDATED.index(plain(c.name)), default=None)
