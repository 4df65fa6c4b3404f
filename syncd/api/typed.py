"""Does a whole page fit its contract, seen at one look?

A record that is judged alone costs as much as the rest of its way to Postgres.  Most pages
hold nothing but what they should: msgspec reads such a page as what the columns say, and if
all of it fits, its text goes to Postgres as it came.  What is accepted here would be accepted
record by record as well, never the other way round; where this look is not sure the records
are judged one by one (`api.contract`), and only there is anything said of them.
"""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta, Raw

from syncd.api.columns import TYPES, Check
from syncd.api.contract import Contract

DIGITS = 8000  # bytes; a number of more than twice as many digits may be none for Postgres
SMALL = 128  # bytes; one that is 0 for a float, and has more than twice as many digits
ZONES = dt.timedelta(hours=16)  # from UTC, which Postgres takes no more
_plain = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*').fullmatch  # a name that msgspec takes
LARGER = 2.0  # times; what the columns leave out of a record costs Postgres more than it saves us


def _whole(bits: int) -> object:
    return Annotated[int, Meta(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)]


READ_AS: dict[str, object] = {
    "text": str,
    "bigint": _whole(64),
    "integer": _whole(32),
    "smallint": _whole(16),
    "numeric": float,
    "double precision": float,
    "boolean": bool,
    "date": dt.date,
    "timestamp": dt.datetime,
    "timestamptz": dt.datetime,
    "uuid": uuid.UUID,
    "jsonb": Raw,
}
"""What accepts nothing that the column's type would not, but for what is looked at below."""

SPELL: dict[str, Callable[[Any], str]] = {
    "text": encode_basestring,
    "bigint": str,
    "integer": str,
    "smallint": str,
}
"""A key's part as `contract.canonical_key` writes it; keys of other types are not read here."""


@attrs.frozen(kw_only=True)
class Fitting:
    """The records of a page that fits."""

    keys: list[str]
    """Canonical."""

    text: bytes
    """All of them, as a JSON array in UTF-8."""


@attrs.define(eq=False)
class Typed:
    """Reads the pages of one stream."""

    contract: Contract
    also: frozenset[str] = frozenset()
    """Fields that have no column, and are known all the same."""

    _decode: Callable[[bytes], list[Any]] = attrs.field(init=False)
    _keys: tuple[str, ...] = attrs.field(init=False)
    _checked: tuple[tuple[str, Check], ...] = attrs.field(init=False)
    _floats: tuple[str, ...] = attrs.field(init=False)
    _times: tuple[str, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        columns = self.contract.types
        # Names of our own: a column may be called what no attribute can be.
        names = {column: f"c{number}" for number, column in enumerate(columns)}
        beside = [f for f in sorted(self.also) if f not in columns]
        called = {names[c]: c for c in columns} | {f"f{n}": f for n, f in enumerate(beside)}
        fields: list[Any] = [(names[c], READ_AS[columns[c]]) for c in self.contract.key]
        for column in columns:
            if column not in self.contract.key:
                of: Any = READ_AS[columns[column]]
                fields.append((names[column], of if of is Raw else of | None, None))
        record = msgspec.defstruct(
            "Record",
            [*fields, *((f"f{number}", Raw, None) for number in range(len(beside)))],
            rename=called,
            forbid_unknown_fields=self.contract.looks_for_new,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]
        self._keys = tuple(names[c] for c in self.contract.key)
        of_type = {o: [names[c] for c in columns if columns[c] == o] for o in READ_AS}
        self._checked = tuple((name, TYPES["jsonb"].check) for name in of_type["jsonb"])
        self._floats = (*of_type["numeric"], *of_type["double precision"])
        self._times = (*of_type["timestamp"], *of_type["timestamptz"])

    @classmethod
    def of(cls, contract: Contract, also: Iterable[str] = ()) -> "Typed | None":
        """What reads them; None where each record has to be looked at in any case."""
        readable = all(of in READ_AS and _plain(name) for name, of in contract.types.items())
        spelt = all(contract.types[name] in SPELL for name in contract.key)
        if not (readable and spelt and contract.takes_all):
            return None
        return cls(contract, frozenset(filter(_plain, also)))

    def read(self, text: bytes) -> Fitting | None:
        """The records of a JSON array; None if any may not fit, or comes twice."""
        try:
            records = self._decode(text)
            if not text.isascii():
                text.decode()  # what has no column was not looked at
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        if b"\\" in text and b"\\u0000" in text:
            return None
        if not (self._floats_fit(records, text) and self._times_fit(records)):
            return None
        for name, check in self._checked:
            values = (getattr(record, name) for record in records)
            if any(value is not None and check(bytes(value)) for value in values):
                return None
        keys = self._spelt(records)
        if len(set(keys)) < len(keys):
            return None
        return Fitting(keys=keys, text=text)

    def _spelt(self, records: Sequence[Any]) -> list[str]:
        parts = [
            map(SPELL[self.contract.types[column]], [getattr(r, name) for r in records])
            for column, name in zip(self.contract.key, self._keys, strict=True)
        ]
        if len(parts) == 1:
            return [f"[{part}]" for part in parts[0]]
        return [f"[{','.join(each)}]" for each in zip(*parts, strict=True)]

    def _floats_fit(self, records: Sequence[Any], text: bytes) -> bool:
        """Numbers of too many digits, or too close to 0, are taken for others by a float."""
        if not self._floats:
            return True
        if _has_digits(text, DIGITS):
            return False
        if not any(0.0 in [getattr(r, name) for r in records] for name in self._floats):
            return True
        return not (_has_digits(text, SMALL) or b"e-" in text or b"E-" in text)

    def _times_fit(self, records: Sequence[Any]) -> bool:
        for name in self._times:
            values = [getattr(r, name) for r in records]
            for zone in {value.tzinfo for value in values if value is not None}:
                if zone is not None and abs(zone.utcoffset(None)) >= ZONES:
                    return False
        return True


def _has_digits(text: bytes, many: int) -> bool:
    """Whether so many digits may follow each other twice; sees all that do."""
    if len(text) < 2 * many:
        return False
    return any(text[at : at + many].isdigit() for at in range(0, len(text), many))
