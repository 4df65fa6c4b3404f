"""Is this one record what the config promised, and what is its key?

A record is judged alone: whatever is wrong with it costs this record and no other.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import msgspec

from syncd.api import splitting
from syncd.api.columns import TYPES, Check, kind_of, text_of
from syncd.api.drifting import Drifts, rival
from syncd.api.shown import shown
from syncd.config.settings import ContractSettings
from syncd.sync.drift import Evolution
from syncd.sync.model import Record, Reject, spoken

LISTED = 10  # new fields that a reason names

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


@attrs.frozen(kw_only=True)
class Gone:
    """A record that the API says is deleted: nothing but its key counts."""

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

    rules: ContractSettings = attrs.field(factory=ContractSettings)
    named: frozenset[str] | None = None
    """Fields that are not new; None: nobody looks for new ones."""

    evolution: Evolution = attrs.field(factory=Evolution)
    """The columns that were added."""

    _known: frozenset[str] | None = attrs.field(default=None, init=False)
    _moved: Mapping[str, str] = attrs.field(factory=dict, init=False)
    """Added columns that have another name than their field, which none has that takes only
    what does not fit elsewhere."""

    _rivals: Mapping[str, tuple[tuple[str, Check], ...]] = attrs.field(factory=dict, init=False)
    """Column to those that take what does not fit it."""

    _checks: tuple[tuple[str, Callable[[bytes], object], Check], ...] = attrs.field(init=False)
    _types: Mapping[str, str] = attrs.field(init=False)
    _allowed: tuple[tuple[str, frozenset[str]], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        added = self.evolution.columns
        own = {**self.columns, **{a.column: a.type for a in added if not a.instead_of}}
        self._checks = tuple(
            (name, TYPES[of].fits, TYPES[of].check)
            for name, of in own.items()
            if name not in self.key
        )
        self._types = own
        self._moved = {a.column: a.field for a in added if a.column != a.field}
        rivals: dict[str, tuple[tuple[str, Check], ...]] = {}
        for a in added:
            if a.instead_of:
                beside = rivals.get(a.instead_of, ())
                rivals[a.instead_of] = (*beside, (a.column, TYPES[a.type].check))
        self._rivals = rivals
        if self.named is not None:
            self._known = self.named | {a.field for a in added if a.field}
        self._allowed = tuple((name, frozenset(texts)) for name, texts in self.where.items())

    @property
    def types(self) -> Mapping[str, str]:
        """The columns that are filled, those that were added among them, with their types."""
        return self._types

    @property
    def takes_all(self) -> bool:
        """Whether nothing but its columns' types decides what becomes of a record."""
        apart = self.hide or self.deleted or self._allowed or self.paths
        return not (apart or self._moved or self._rivals)

    @property
    def looks_for_new(self) -> bool:
        """Whether a field that nobody has named is something to be told."""
        return self._known is not None

    def judge(self, raw: bytes, drifts: Drifts | None = None) -> Record | Reject | LeftOut | Gone:
        """What it is; how it leaves the contract is told to `drifts`."""
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
        came = fields
        if self.paths or self._moved:
            there = {name: reached(fields, path, raw) for name, path in self.paths.items()}
            there |= {name: fields.get(field) for name, field in self._moved.items()}
            fields = {n: v for n, v in fields.items() if n not in there}
            fields |= {name: value for name, value in there.items() if value is not None}
        key = self._key(fields)
        if isinstance(key, _Fault):
            reject = Reject(key=None, reason=key.reason, raw=raw, column=key.column)
            return reject if key.value is None else self._wrong(reject, key.value, drifts)
        if gone:
            return Gone(key=key)
        if not wanted:
            return LeftOut(key=key)
        if self._known is not None and not self._known.issuperset(came):
            new = {name: came[name] for name in sorted(came.keys() - self._known)}
            refused = self._new(key, new, raw, drifts)
            if refused is not None:
                return refused
        return self._judged(key, fields, raw, drifts)

    def _new(
        self, key: str, fields: Mapping[str, bytes], raw: bytes, drifts: Drifts | None
    ) -> Reject | None:
        """What becomes of a record with fields that nobody has named."""
        rule = self.rules.new_fields
        if drifts is not None:
            for name, value in fields.items():
                drifts.new(name, value)
        if rule in ("discard", "evolve"):
            return None
        names = list(fields)
        more = f" (and {len(names) - LISTED} more)" if len(names) > LISTED else ""
        listed = ", ".join(map(shown, names[:LISTED])) + more
        what = f"the fields {listed} are" if len(names) > 1 else f"the field {listed} is"
        reason = f"{what} new: no column names {'them' if len(names) > 1 else 'it'}"
        reject = Reject(key=key, reason=reason, raw=raw, column=names[0])
        return self._frozen(reject, drifts) if rule == "freeze" else reject

    def _wrong(self, reject: Reject, value: bytes, drifts: Drifts | None) -> Reject:
        """A record with a value that no column takes."""
        freezes = self.rules.wrong_types == "freeze"
        if drifts is not None:
            drifts.wrong(reject.column, value, "freeze" if freezes else "dead-letter")
        return self._frozen(reject, drifts) if freezes else reject

    def _frozen(self, reject: Reject, drifts: Drifts | None) -> Reject:
        if drifts is not None and not drifts.frozen:
            which = "a record" if reject.key is None else f"record {shown(spoken(reject.key))}"
            drifts.frozen = f"{which}: {reject.reason}"
        return reject

    def _judged(
        self, key: str, fields: dict[str, bytes], raw: bytes, drifts: Drifts | None
    ) -> Record | Reject:
        rule = self.rules.wrong_types
        for name, fits, check in self._checks:
            value = fields.get(name)
            if value is None or fits(value) or value == b"null":
                continue
            wrong = check(value)
            if wrong is None:
                continue
            if rule == "discard" or (rule == "evolve" and self._kept(name, value, fields, drifts)):
                fields[name] = b"null"
                if drifts is not None:
                    drifts.wrong(name, value, rule)
                continue
            reject = Reject(key=key, reason=fault(name, value, wrong), raw=raw, column=name)
            return self._wrong(reject, value, drifts)
        return Record(key=key, fields=fields, raw=raw)

    def _kept(
        self, name: str, value: bytes, fields: dict[str, bytes], drifts: Drifts | None
    ) -> bool:
        """Whether another column takes the value, now or once it is there."""
        for column, check in self._rivals.get(name, ()):
            if check(value) is None:
                fields[column] = value
                return True
        beside = None if self.evolution.full else rival(name, self._types[name], value)
        if beside is not None and drifts is not None:
            drifts.want(beside)
        return beside is not None and drifts is not None

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
                    return _Fault(name, fault(name, value, wrong), value)
            parts.append(of.canonical(value))
        return canonical_key(parts)


@attrs.frozen
class _Fault:
    column: str
    reason: str
    value: bytes | None = None
    """Of the wrong type; None: it is missing."""


def canonical_key(parts: Sequence[object]) -> str:
    """A record's key of its columns' canonical values."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def fault(name: str, value: bytes, wrong: str) -> str:
    """A sentence: the column, what was found, what is allowed."""
    return f"column {shown(name)}: found {shown(value)}; {wrong}"


@attrs.frozen(kw_only=True)
class Judged:
    """A page's records, each in exactly one of the lists or folded."""

    records: Sequence[Record]
    rejects: list[Reject] = attrs.field(factory=list)
    left_out: list[str] = attrs.field(factory=list)
    gone: list[str] = attrs.field(factory=list)
    folded: int = 0
    last: bytes | None = None
    """The JSON text of the last record, whatever became of it."""

    marks: list[bytes | None] = attrs.field(factory=list)
    """What each record has at `mark`, whatever became of it."""

    drifts: Drifts = attrs.field(factory=Drifts)
    raws: tuple[bytes, ...] = ()
    """All of them, as they came."""

    @property
    def seen(self) -> int:
        there = len(self.records) + len(self.rejects) + len(self.left_out) + len(self.gone)
        return there + self.folded


def judge_all(contract: Contract, raws: Iterable[bytes], mark: str | None = None) -> Judged:
    """Judge each record, and fold those that come again: the last one wins.

    Two equal keys in one statement are an error in Postgres (21000), for ever.
    """
    kept: dict[str, Record | Gone] = {}
    rejects: list[Reject] = []
    left_out: list[str] = []
    accepted = 0
    raw = None
    marks = []
    drifts = Drifts()
    raws = tuple(raws)
    for raw in raws:
        if mark is not None:
            marks.append(_at(raw, mark))
        match contract.judge(raw, drifts):
            case Record() | Gone() as found:
                accepted += 1
                kept.pop(found.key, None)  # the place is the last one's, too
                kept[found.key] = found
            case Reject() as reject:
                rejects.append(reject)
            case LeftOut(key=key):
                left_out.append(key)
    return Judged(
        records=[r for r in kept.values() if isinstance(r, Record)],
        rejects=rejects,
        left_out=left_out,
        gone=[r.key for r in kept.values() if isinstance(r, Gone)],
        folded=accepted - len(kept),
        last=raw,
        marks=marks,
        drifts=drifts,
        raws=raws,
    )


def _says(fields: Mapping[str, bytes], path: str, texts: frozenset[str]) -> bool:
    return text_form(reached(fields, path)) in texts


def _at(raw: bytes, path: str) -> bytes | None:
    try:
        return reached(fields_of(raw), path)
    except splitting.MalformedError:
        return None
