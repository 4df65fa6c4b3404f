"""Is this one record what the config promised, and what is its key?

A record is judged alone: whatever is wrong with it costs this record and no other.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import msgspec

from syncd.api import splitting
from syncd.api.columns import TYPES, Check, kind_of, text_of
from syncd.api.shown import shown
from syncd.sync.model import Record, Reject

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def text_form(value: bytes | None) -> str | None:
    """A value as text, the way a `where` rule or a path names it; None has no such form."""
    if value is None or value[:1] in b"n{[":
        return None
    return text_of(value) if value[:1] == b'"' else value.decode("utf-8", "backslashreplace")


def fields_of(raw: bytes) -> dict[str, bytes]:
    """The JSON text of each field.  MalformedError if `raw` is no object."""
    try:
        return {name: bytes(value) for name, value in _fields(raw).items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # NaN, a lone surrogate, bad bytes: only what stands in a column matters.
        return splitting.members(raw)


def reached(fields: Mapping[str, bytes], path: str, whole: bytes | None = None) -> bytes | None:
    """The JSON text at `a.b.c` of a record, or None if there is nothing; "" is the whole of it.

    A field that is itself called `a.b.c` comes first.
    """
    if not path:
        return whole
    if path in fields or "." not in path:
        return fields.get(path)
    name, _, rest = path.partition(".")
    value = fields.get(name)
    if value is None or value[:1] != b"{":
        return None
    try:
        return reached(fields_of(value), rest)
    except splitting.MalformedError:
        return None


@attrs.frozen(kw_only=True)
class LeftOut:
    """A record that a rule of the user's leaves out."""

    key: str


@attrs.define(eq=False)
class Contract:
    """What each record of one stream must be."""

    key: tuple[str, ...]
    columns: Mapping[str, str]
    """The columns that the record itself fills, with their types."""

    where: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    paths: Mapping[str, str] = attrs.field(factory=dict)
    """Where in the record a column is that is no field of that name; "" is the whole record."""

    deleted: tuple[str, frozenset[str]] | None = None
    """Path of what tells that the API has deleted a record, and the texts that say so."""

    hide: Callable[[bytes], bytes] | None = None
    """What is done to a record before anything looks at it."""

    _checks: tuple[tuple[str, Callable[[bytes], object], Check], ...] = attrs.field(init=False)
    _allowed: tuple[tuple[str, frozenset[str]], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._checks = tuple(
            (name, TYPES[of].fits, TYPES[of].check)
            for name, of in self.columns.items()
            if name not in self.key
        )
        self._allowed = tuple((name, frozenset(texts)) for name, texts in self.where.items())

    def judge(self, raw: bytes) -> Record | Reject | LeftOut:
        if self.hide is not None:
            raw = self.hide(raw)
        try:
            fields = fields_of(raw)
        except splitting.MalformedError:
            found = f"the record is {kind_of(raw)}: {shown(raw)}"
            return Reject(key=None, reason=f"{found}; allowed: an object", raw=raw)
        # Of the record as it came: a column may have the name of another field.
        gone = self.deleted is not None and _says(fields, *self.deleted)
        wanted = all(_says(fields, path, allowed) for path, allowed in self._allowed)
        if self.paths:
            there = {name: reached(fields, path, raw) for name, path in self.paths.items()}
            fields = {n: v for n, v in fields.items() if n not in there}
            fields |= {name: value for name, value in there.items() if value is not None}
        key = self._key(fields)
        if isinstance(key, _Fault):
            return Reject(key=None, reason=key.reason, raw=raw, column=key.column)
        if gone:
            return Record(key=key, fields=fields, raw=raw, gone=True)
        return self._judged(key, fields, raw) if wanted else LeftOut(key=key)

    def _judged(self, key: str, fields: Mapping[str, bytes], raw: bytes) -> Record | Reject:
        for name, fits, check in self._checks:
            value = fields.get(name)
            if value is None or fits(value) or value == b"null":
                continue
            wrong = check(value)
            if wrong is not None:
                return Reject(key=key, reason=fault(name, value, wrong), raw=raw, column=name)
        return Record(key=key, fields=fields, raw=raw)

    def _key(self, fields: Mapping[str, bytes]) -> "str | _Fault":
        parts = []
        for name in self.key:
            value = fields.get(name)
            if value is None or value == b"null":
                state = "missing" if value is None else "null"
                found = f"the key column {shown(name)} is {state}; it must have a value"
                return _Fault(name, found)
            of = TYPES[self.columns[name]]
            if not of.fits(value):
                wrong = of.check(value)
                if wrong is not None:
                    return _Fault(name, fault(name, value, wrong))
            parts.append(of.canonical(value))
        return canonical_key(parts)


@attrs.frozen
class _Fault:
    column: str
    reason: str


def canonical_key(parts: Sequence[object]) -> str:
    """A record's key of its columns' canonical values."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def fault(name: str, value: bytes, wrong: str) -> str:
    """A sentence: the column, what was found, what is allowed."""
    return f"column {shown(name)}: found {shown(value)}; {wrong}"


@attrs.frozen(kw_only=True)
class Judged:
    """A page's records, each in exactly one of the lists or folded."""

    records: list[Record]
    rejects: list[Reject]
    left_out: list[str]
    folded: int
    last: bytes | None = None
    """The JSON text of the last record, whatever became of it."""

    marks: list[bytes | None] = attrs.field(factory=list)
    """What each record has at `mark`, whatever became of it."""

    @property
    def seen(self) -> int:
        return len(self.records) + len(self.rejects) + len(self.left_out) + self.folded


def judge_all(contract: Contract, raws: Iterable[bytes], mark: str | None = None) -> Judged:
    """Judge each record, and fold those that come again: the last one wins.

    Two equal keys in one statement are an error in Postgres (21000), for ever.
    """
    kept: dict[str, Record] = {}
    rejects: list[Reject] = []
    left_out: list[str] = []
    accepted = 0
    raw = None
    marks = []
    for raw in raws:
        if mark is not None:
            marks.append(_at(raw, mark))
        match contract.judge(raw):
            case Record() as record:
                accepted += 1
                kept.pop(record.key, None)  # the place is the last one's, too
                kept[record.key] = record
            case Reject() as reject:
                rejects.append(reject)
            case LeftOut(key=key):
                left_out.append(key)
    return Judged(
        records=list(kept.values()),
        rejects=rejects,
        left_out=left_out,
        folded=accepted - len(kept),
        last=raw,
        marks=marks,
    )


def _says(fields: Mapping[str, bytes], path: str, texts: frozenset[str]) -> bool:
    return text_form(reached(fields, path)) in texts


def _at(raw: bytes, path: str) -> bytes | None:
    try:
        return reached(fields_of(raw), path)
    except splitting.MalformedError:
        return None
