"""What moves through syncd, as plain frozen facts: records, pages, checkpoints, counts.

Records stay JSON: a field is the bytes that the API wrote, so that no number
passes through a float on its way to Postgres.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Generic, Literal, TypeVar, overload

import attrs

from syncd.sync.drift import Added, Drift, Evolution
from syncd.sync.known import KnownPage, Validator

REFUSED_WHOLE = 10  # records; a page of so many that is refused whole is no matter of records
LETTER_TRIES = 6  # times that a call is made again by itself after it was put aside
LETTER_LATER = 900.0  # seconds until the second of them; then twice as long each, up to a day
DRIFT = 1.001  # two clocks differ by less than 0.1 % in rate

DeadLetterKind = Literal["contract", "refused", "call-failed", "outcome-unknown"]
"""Refused by the record's contract; by Postgres; its call failed for good; outcome unknown."""

Outcome = Literal["ok", "suspicious", "failed", "abandoned"]


@attrs.frozen(kw_only=True)
class StreamId:
    """Names one stream of one source, everywhere: rows, logs, ledger."""

    source: str
    stream: str

    def __str__(self) -> str:
        return f"{self.source}.{self.stream}"


@attrs.frozen(kw_only=True)
class Table:
    """The user's table of one stream.  Names are arbitrary text and always quoted in SQL."""

    schema: str
    name: str
    columns: Mapping[str, str] = attrs.field(hash=False)
    """Column name to Postgres type, in the file's order; kept columns among them."""

    key: tuple[str, ...]
    volatile: frozenset[str] = frozenset()
    """A difference in these alone writes the row, but is no change: no call, no stamp."""

    kept: frozenset[str] = frozenset()
    """Columns filled from the answer of a record's call; volatile as well."""

    indexes: tuple[tuple[str, ...], ...] = ()
    ignored: frozenset[str] = frozenset()
    """Fields that nobody wants: what was added for them is filled no more."""

    evolves: bool = False
    """Columns are added to it; else those that were are filled as long as they are there."""

    def filled(self, found: Sequence[tuple[Added, bool]]) -> tuple[Added, ...]:
        """Those of the columns that were added which a stream fills.

        found: with each, whether it is in the table, and not only to be.
        """
        ours = [
            added
            for added, there in found
            if (there or self.evolves)
            and added.column not in self.columns
            and added.field not in self.ignored
        ]
        filled = {*self.columns, *(added.column for added in ours if added.field)}
        return tuple(a for a in ours if a.field or a.instead_of in filled)

    def widened(self, evolution: Evolution) -> "Table":
        """The same with the columns that were added."""
        added = {added.column: added.type for added in evolution.columns}
        return attrs.evolve(self, columns={**self.columns, **added}) if added else self


@attrs.frozen(kw_only=True)
class Lease:
    """The right to run one source."""

    source: str
    fence: int
    """Grows with every takeover; whoever holds an older one writes nothing."""


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One record that passed its contract."""

    key: str
    """Canonical key: a JSON array of the key columns' values as Postgres will hold them."""

    fields: Mapping[str, bytes]
    """The API's own JSON text of each top-level field, and of each column wherever it is."""

    raw: bytes
    """The whole record as the API wrote it: what a dead letter keeps."""


Keyed = TypeVar("Keyed", "Record", "Row")


@attrs.define(eq=False, kw_only=True)
class Block(Sequence[Keyed], Generic[Keyed]):
    """Records, or rows, that came as one text and can go as one: what each of them is by itself
    is found out where somebody looks at it.
    """

    keys: Sequence[str]
    """Canonical, in their order, each once."""

    text: bytes
    """A JSON array of them, in UTF-8; a record's row is in it as its fields."""

    each: Callable[[], Sequence[Keyed]]
    """Makes them."""

    _made: Sequence[Keyed] | None = attrs.field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Keyed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Keyed]: ...
    def __getitem__(self, index: int | slice) -> Keyed | Sequence[Keyed]:
        return self._all[index]

    def __iter__(self) -> Iterator[Keyed]:
        return iter(self._all)

    @property
    def _all(self) -> Sequence[Keyed]:
        if self._made is None:
            self._made = self.each()
        return self._made


def keys_of(these: "Sequence[Record] | Sequence[Row]") -> Sequence[str]:
    """The canonical keys of records, or of rows."""
    return these.keys if isinstance(these, Block) else [one.key for one in these]


@attrs.frozen(kw_only=True, eq=False)
class Reject:
    """One record that broke its contract."""

    key: str | None
    """Canonical key if it could be read; a reject without one forbids deletes."""

    reason: str
    raw: bytes
    column: str = ""
    """The one at fault; empty where it is the record as a whole."""


@attrs.frozen(kw_only=True, eq=False)
class Page:
    """One answer of the API, decoded: every record in it is in exactly one of the lists."""

    records: Sequence[Record]
    rejects: list[Reject] = attrs.field(factory=list)
    left_out: list[str] = attrs.field(factory=list)
    """Keys of records that a `where` rule left out."""

    gone: list[str] = attrs.field(factory=list)
    """Keys of records that the API says are deleted."""

    folded: int = 0
    """Records whose key came again later in the same page; the last one won."""

    next_cursor: str | None = None
    """The request for the next page; None ends the cycle."""

    total: int | None = None
    """What the API says it has: a hint for progress and warnings, never a stop rule."""

    request: str = ""
    """What was asked and answered, for people: without secrets."""

    kept_out: int = 0
    """Records that were dropped because they are to stay forgotten (`sync.keepout`)."""

    printed: str = ""
    """With those: the fingerprint of the page as it came."""

    mark: str | None = None
    """The highest high-water mark among its records, whatever became of them."""

    clock: float | None = None
    """The API's own, when it answered: epoch seconds."""

    drifts: tuple[Drift, ...] = ()
    """How its records leave the contract."""

    frozen: str = ""
    """Why nothing of it may be written, where the contract says so."""

    wanted: tuple[Added, ...] = ()
    """Columns that its records need, and that are not there."""

    size: int = 0
    """Bytes of the answer."""

    raws: tuple[bytes, ...] = ()
    """All of its records, where one leaves the contract: they are judged again then."""

    validator: Validator | None = None
    """What the API calls its state, if it can be asked by that."""

    same: KnownPage | None = None
    """It came without a body: what is known of it stands for its records."""

    @property
    def seen(self) -> int:
        there = len(self.records) + len(self.rejects) + len(self.left_out) + len(self.gone)
        return there + self.kept_out + self.folded + (self.same.seen if self.same else 0)

    @property
    def keys(self) -> list[str]:
        """Canonical keys of all records whose key could be told."""
        known = [r.key for r in self.rejects if r.key is not None]
        return [*keys_of(self.records), *self.left_out, *self.gone, *known]

    @cached_property
    def _print(self) -> str:
        return self.printed or self.fingerprint_of(self.keys)

    def fingerprint(self) -> str:
        """Equal for two pages that hold the same keys: how a page that repeats is noticed."""
        return self._print

    def fingerprint_of(self, keys: Sequence[str]) -> str:
        """The same, with these for the keys of its records."""
        unknown = [r.raw.decode("utf-8", "replace") for r in self.rejects if r.key is None]
        keys = [*keys, *unknown]
        return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:32]


@attrs.frozen(kw_only=True)
class Checkpoint:
    """Where a stream stands, as Postgres has committed it."""

    stream: StreamId
    seq: int
    """Grows by one with every change; a commit names the value it expects."""

    fence: int
    """The lease's fencing token that this checkpoint obeys."""

    cycle: int | None = None
    """The running cycle, or None between cycles."""

    started: str = ""
    """When the running cycle was begun, as the store wrote it down.  A number comes again when the
    database is restored from a backup; the two together never do."""

    cursor: str | None = None
    """Request for the next page of the running cycle; None asks for the first page."""

    pages: int = 0
    """Pages committed in the running cycle."""

    fingerprint: str = ""
    """Of what makes the cursor valid (address, path, page size, params, filters)."""

    last_page: str | None = None
    """`Page.fingerprint()` of the last committed page of this cycle."""

    next_start: float | None = None
    """Seconds from now until the next cycle is due, as read; None when it never ran."""

    clock: float = attrs.field(default=0.0, eq=False)
    """The store's own, when that was read, in epoch seconds; two readings of one are equal."""

    resumed: bool = False
    """The running cycle was taken up by a process that did not begin it."""

    paused: bool = False
    """An operator asked that nothing be begun until one resumes the stream."""

    extra_due: str = ""
    """Why another cycle begins at once, out of turn; empty when none does."""

    follows: int | None = None
    """Of a running cycle that began out of turn: the whole one before it."""

    reconcile: bool = False
    """The running cycle notes what it sees, so that what is gone can be found."""

    question: str = ""
    """What has to be approved before rows may go; empty if nothing has."""

    since: str | None = None
    """The high-water mark from which the running cycle asks for what has changed; None: it asks
    for the whole list."""

    high_seen: str | None = None
    """The highest mark of the running cycle so far."""

    api_clock: float | None = None
    """The API's clock when the running cycle asked for its first page, in epoch seconds."""

    kept_out_version: int = 0
    """Grows when another record is kept out, or let in (`sync.keepout`)."""

    knows_pages: bool = False
    """Pages of the stream are known (`sync.known`)."""

    @property
    def calls_of(self) -> int:
        """The cycle whose calls are not to be repeated, and whose keys they have."""
        return self.follows or self.cycle or 0


@attrs.frozen(kw_only=True)
class Counts:
    """What became of what was asked, for one cycle.  seen = the sum of the five below it."""

    seen: int = 0
    written: int = 0
    unchanged: int = 0
    left_out: int = 0
    dead: int = 0
    folded: int = 0
    calls: int = 0
    """Record calls answered in this cycle."""

    requests: int = 0
    """Requests sent, list and call, failed tries included; logins not."""

    retried: int = 0
    refused: int = 0
    """Requests that the API refused for its quota's sake (429)."""

    kept_out: int = 0
    """Of those left out: records that are to stay forgotten."""

    def __add__(self, more: "Counts") -> "Counts":
        return Counts(**{name: getattr(self, name) + getattr(more, name) for name in _COUNTED})

    def __sub__(self, less: "Counts") -> "Counts":
        return Counts(**{name: getattr(self, name) - getattr(less, name) for name in _COUNTED})

    def with_asked(self, more: "Counts") -> "Counts":
        """With what was asked besides, of which no record has come."""
        return attrs.evolve(
            self,
            calls=self.calls + more.calls,
            requests=self.requests + more.requests,
            retried=self.retried + more.retried,
            refused=self.refused + more.refused,
        )

    @property
    def success(self) -> float | None:
        """The part of what was seen that was not put aside; None of nothing."""
        return (self.seen - self.dead) / self.seen if self.seen else None

    @property
    def balanced(self) -> bool:
        """Promise 4: every record that was seen has an end."""
        ends = self.written + self.unchanged + self.left_out + self.dead + self.folded
        return self.seen == ends


_COUNTED = tuple(field.name for field in attrs.fields(Counts))


@attrs.frozen(kw_only=True, eq=False)
class Row:
    """One row as it goes to the table."""

    key: str
    json: bytes
    """A JSON object: the columns' values, the kept fields of its call among them."""

    called: bool = False
    """Whether the kept fields are in it; if not, the row keeps the ones it has."""

    raw: bytes = b""
    """For the dead letter, should Postgres refuse the row."""


@attrs.frozen(kw_only=True, eq=False)
class DeadLetter:
    """A record or a call put aside, with its reason."""

    kind: DeadLetterKind
    key: str | None
    reason: str
    payload: bytes
    idempotency_key: str | None = None
    """The first key of its call: a later retry uses the same one."""

    again: bool = False
    """Its call is worth another try by itself, and may be repeated."""


@attrs.frozen(kw_only=True, eq=False)
class PageCommit:
    """Everything that one page changes, to become visible in one transaction or not at all."""

    rows: Sequence[Row]
    dead: list[DeadLetter]
    left_out: int
    """By a rule of the user's, or kept out."""

    folded: int
    next_cursor: str | None
    """None ends the cycle in the same transaction."""

    last_page: str
    request: str = ""
    """What was asked and answered, for people."""

    gone: tuple[str, ...] = ()
    """Keys of records that the API says are deleted: their rows are marked, if they are there."""

    high_seen: str | None = None
    """The highest mark of the cycle, this page included."""

    api_clock: float | None = None
    high_water: str | None = None
    """With the end of a cycle: how far the stream has come, if that is known."""

    rest: float | None = None
    """With the end of a cycle: seconds from the cycle's start until the next is due."""

    aside: bool = False
    """Beside the running cycle, if there is one: the checkpoint stays where it points to."""

    keys: tuple[str, ...] | None = None
    """Canonical keys of records that gave no row; None when the cycle notes none."""

    keyless: int = 0
    """Rejects whose key could not be told."""

    moved: str = ""
    """With the end of a cycle: how rows moved while it paged, if that was noticed."""

    extra_due: str | None = None
    """With the end of a cycle: why another one begins at once."""

    drifts: tuple[Drift, ...] = ()
    """How its records leave the contract, as far as that is not noted in this cycle already."""

    letters: Mapping[int, str | None] = attrs.field(factory=dict)
    """Dead letters tried again here, each with the record key that it was found to hold: it
    leaves if that row is written, or at once if a rule leaves it out now (None)."""

    kept_out: int = 0
    """Of those left out."""

    kept_out_version: int = 0
    """`Checkpoint.kept_out_version` before the page was fetched, or an older one: what was
    forgotten since is dropped by the store."""

    asked: str = ""
    """A hash of its request; empty where nothing is to be known of it."""

    known: KnownPage | None = None
    """What is to be known of it from now on."""

    same: KnownPage | None = None
    """What is known of it stands for its records: there was no body."""

    calls: int = 0
    requests: int = 0
    retried: int = 0
    refused: int = 0

    @property
    def turns(self) -> bool:
        """Whether the cycle goes on after it, and there is nothing to say of it but its rows."""
        apart = self.dead or self.gone or self.drifts or self.letters or self.keys is not None
        return self.next_cursor is not None and not (apart or self.aside or self.extra_due)

    @property
    def unread(self) -> int:
        """Records that are unchanged, which nobody needed to read."""
        return self.same.records if self.same else 0

    def counted(self, *, written: int, unchanged: int, dead: int = 0) -> Counts:
        """What it adds to its cycle's sums, if this is what became of its records."""
        return Counts(
            seen=self.seen,
            written=written,
            unchanged=unchanged,
            left_out=self.left_out,
            dead=dead,
            folded=self.folded,
            calls=self.calls,
            requests=self.requests,
            retried=self.retried,
            refused=self.refused,
            kept_out=self.kept_out,
        )

    @property
    def seen(self) -> int:
        read = len(self.rows) + len(self.gone) + len(self.dead) + self.left_out + self.folded
        return read + self.unread


@attrs.frozen(kw_only=True)
class Committed:
    """What Postgres answered to a commit."""

    checkpoint: Checkpoint
    totals: Counts
    """Of the whole cycle so far, this page included."""

    outcome: Outcome | None = None
    """Set when this page ended the cycle."""

    reason: str = ""
    """Why the outcome is what it is, in words."""

    refused: tuple[DeadLetter, ...] = ()
    """Records of the page that Postgres did not take; unknown where the answer was lost."""

    drifts: tuple[Drift, ...] = ()
    """Those that were never noted before; unknown where the answer was lost."""


@attrs.frozen(kw_only=True)
class Intent:
    """A record's call that is about to be made; stored before its first try."""

    idempotency_key: str
    stream: StreamId
    cycle: int
    record_key: str


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """What the ledger knows of a call: settled calls are never made again."""

    idempotency_key: str
    outcome: Literal["open", "done", "failed", "unknown"]
    """"open": the intent was stored and no answer was; after a crash that means unknown."""

    kept: bytes | None = None
    """For "done": a JSON object of what its answer gives to the row."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class Verdict:
    """What the API says, asked what became of a call whose answer never came."""

    outcome: Literal["done", "not-done", "unknown"]
    """"unknown": it was asked, and the answer does not tell."""

    kept: bytes | None = None
    """For "done": a JSON object of what the call gives to the row."""

    reason: str = ""
    """What was found, where that is not what a call that was carried out would leave."""


def spoken(key: str) -> str:
    """A canonical key as a person would say it: `42`, or `eu, 42` for two columns."""
    try:
        parts = json.loads(key)
    except ValueError:
        return key
    if not isinstance(parts, list):
        return key
    return ", ".join(p if isinstance(p, str) else json.dumps(p) for p in parts)


def key_parts(text: str, columns: int) -> list[str] | None:
    """The values of so many key columns, from a key as a person or syncd says it; else None."""
    try:
        parts = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        parts = None
    if isinstance(parts, list) and len(parts) == columns:
        return [p if isinstance(p, str) else json.dumps(p) for p in parts]
    if columns == 1:
        return [text]
    words = [word.strip() for word in text.split(",")]
    return words if len(words) == columns else None


def idempotency_key(stream: StreamId, cycle: int, started: str, record_key: str) -> str:
    """The same call of the same cycle always has the same key, also after a crash.

    started: see `Checkpoint`.  Without it an API would take the calls of a cycle after a restore
    for those of the one that had its number before, and answer with their results.

    Formatted as a UUID (version 8, RFC 9562) because many APIs ask for one.
    """
    text = "\x1f".join((stream.source, stream.stream, str(cycle), started, record_key))
    digest = bytearray(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
