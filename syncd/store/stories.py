"""What is known of one record, beside how its stream stands?  Reads of one snapshot.

A person names a key by words, the API's records by a canonical JSON array, and Postgres has
its own way to write a value: all the forms that one key can have are looked for.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs
import psycopg

from syncd.store.sql import sql
from syncd.store.sqlstate import storable, words
from syncd.store.statements import statements
from syncd.sync.model import StreamId, Table, key_parts
from syncd.sync.picture import CallOf, Happened, PageOf, Row

FOR_GOOD = 2**62  # a version that none is newer than: what is kept out for good is left
TOLD = 100  # pages, events and calls each, the last ones, that a story has at most

T = TypeVar("T", bound=attrs.AttrsInstance)
Cursor = psycopg.Cursor[tuple[Any, ...]]


@attrs.define(eq=False, kw_only=True)
class Found:
    """One record: the forms of its key, and its row."""

    keys: list[str]
    key: str | None = None
    misfit: str = ""
    unread: str = ""
    row: Row | None = None
    missing: int | None = None
    approved: bool = False

    @property
    def cycles(self) -> set[int]:
        """Those that are to be told of."""
        return set() if self.missing is None else {self.missing}


def find(cursor: Cursor, stream: StreamId, table: Table, asked: str) -> Found:
    """What the key can mean, and the row that has it."""
    parts = key_parts(storable(asked), len(table.key))
    if parts is None:
        listed = ", ".join(table.key)
        return Found(
            keys=[storable(asked)],
            misfit=f"the key has {len(table.key)} columns ({listed}), to be separated by commas",
        )
    found = Found(keys=_forms(asked, parts))
    values = {"source": stream.source, "parts": parts}
    typed, found.misfit = _try(cursor, statements(table).typed_key, values)
    if typed is None:
        return found
    written, found.unread = _try(cursor, statements(table).one, values)
    found.key = str(typed[0])
    found.keys = list(dict.fromkeys([*found.keys, *_canonical(found.key)]))
    if written is not None:
        own, changed, deleted = written
        found.row = Row(changed=changed, deleted=deleted)
        found.keys = list(dict.fromkeys([*found.keys, *_canonical(own)]))
    where = {"source": stream.source, "stream": stream.stream, "keys": found.keys}
    cursor.execute(sql("look_whether_missing"), where)
    found.missing, found.approved = cursor.fetchone() or (None, False)
    return found


def _try(
    cursor: Cursor, statement: Any, values: Mapping[str, object]
) -> tuple[tuple[Any, ...] | None, str]:
    """A row, or why Postgres gives none: no such value, no such table, no right to read it."""
    cursor.execute(sql("begin_half"))
    try:
        cursor.execute(statement, values)
        found = cursor.fetchone()
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(("22", "42", "3F")):
            raise
        cursor.execute(sql("undo_half"))
        return None, words(error)
    cursor.execute(sql("keep_half"))
    return found, ""


def _forms(asked: str, parts: Sequence[str]) -> list[str]:
    """The key as a JSON array, whatever its columns hold."""
    choices = [[p, *_scalar(p)] for p in parts]
    arrays = [list(chosen) for chosen in itertools.islice(itertools.product(*choices), 64)]
    return list(dict.fromkeys([storable(asked), *(_dumped(array) for array in arrays)]))


def _scalar(part: str) -> list[object]:
    """A number, true or false, if it reads as one."""
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):
        return []
    return [value] if isinstance(value, bool | int) else []


def _canonical(key: str) -> list[str]:
    """A key of Postgres's as the records of the API have it (`api.columns`), and as it is."""

    def other(value: object) -> object:
        if isinstance(value, str) and value.endswith("+00:00"):
            return value.removesuffix("+00:00") + "Z"
        return value

    exact = json.loads(key, parse_float=str)
    return [key, _dumped(exact), _dumped([other(value) for value in exact])]


def _dumped(parts: Sequence[object]) -> str:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


# --- the rest -----------------------------------------------------------------------------------


def pages(cursor: Cursor, statement: str, values: Mapping[str, object]) -> list[PageOf]:
    """Pages, the oldest first."""
    return _facts(PageOf, cursor, statement, values)


def pages_beside(
    cursor: Cursor, of: Mapping[str, object], events: Sequence[Happened]
) -> dict[tuple[int, int], PageOf]:
    """The pages at which something happened."""
    where = [(e.cycle, e.page) for e in events if e.cycle is not None and e.page is not None]
    values = {**of, "cycles": [c for c, _ in where], "numbers": [n for _, n in where]}
    found = pages(cursor, "look_at_pages_with", values)
    return {(p.cycle, p.number): p for p in found if p.number is not None}


def events(cursor: Cursor, values: Mapping[str, object]) -> list[Happened]:
    """What befell the record, the oldest first."""
    return _facts(Happened, cursor, "look_at_events_of", values)


def calls(cursor: Cursor, values: Mapping[str, object]) -> list[CallOf]:
    """Its calls, the oldest first."""
    return _facts(CallOf, cursor, "look_at_calls_of", values)


def _facts(of: type[T], cursor: Cursor, statement: str, values: Mapping[str, object]) -> list[T]:
    """Rows, which come newest first, whose columns are the fields of a class in their order."""
    cursor.execute(sql(statement), values)
    names = [f.name for f in attrs.fields(of)]
    return [of(**dict(zip(names, row, strict=True))) for row in reversed(cursor.fetchall())]


def is_kept_out(cursor: Cursor, stream: StreamId, keys: Sequence[str]) -> bool:
    """Whether a record is to stay forgotten; False for who may not read the salt."""
    of = {"source": stream.source, "stream": stream.stream}
    now = {"keys": list(keys), "version": FOR_GOOD}
    found, _ = _try(cursor, sql("which_are_kept_out"), {**of, **now})
    return found is not None


def elsewhere(cursor: Cursor, stream: StreamId, keys: Sequence[str]) -> list[StreamId]:
    """Other streams that know a record by this key."""
    cursor.execute(sql("look_elsewhere"), {"keys": list(keys)})
    found = [StreamId(source=source, stream=stream) for source, stream in cursor]
    return [other for other in found if other != stream]
