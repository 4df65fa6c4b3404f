"""How do streams, sources and budgets stand, at one moment?  What people are shown.

Read from the database alone, so that it is the same for a command, another host and the
daemon's own side door.  Times are seconds since the epoch on Postgres's clock, `now` among
them, so that ages are right on any host.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import attrs

from syncd.sync import ranges
from syncd.sync.befell import What
from syncd.sync.drift import Drift
from syncd.sync.model import Counts, StreamId, Table

SHOWN = 200  # spent tokens of one budget that a picture holds


@attrs.frozen(kw_only=True)
class Cycle:
    """One pass over a stream, as its row tells it."""

    id: int
    stream: StreamId
    started: float
    ended: float | None
    outcome: str | None
    """None while it runs."""

    reason: str
    taken_up: int
    pages: int
    aside: bool
    """A few records that were asked for, not a pass over the whole list."""

    follows: int | None
    """Of a pass out of turn: the whole cycle that it came after."""

    reconcile: bool
    """It looked for what is gone."""

    since: str | None = None
    """The mark from which it asked for what has changed; None: for the whole list."""

    missing: int | None
    """Rows that it did not meet, and that stay for now; None until that is known."""

    deleted: int
    totals: Counts

    @property
    def seconds(self) -> float | None:
        """From its start to its end, rests and stops included; None while it runs."""
        return None if self.ended is None else self.ended - self.started


@attrs.frozen(kw_only=True)
class Seen:
    """Where one stream stands."""

    stream: StreamId
    parked: str | None = None
    paused: float | None = None
    """Since when an operator has it paused."""

    paused_by: str | None = None
    next_start: float | None = None
    pages: int | None = None
    """Committed in the running cycle; None between cycles."""

    running: Cycle | None = None
    """The cycle that was begun and has not ended."""

    last: Cycle | None = None
    """The last one that came to its end."""

    whole: Cycle | None = None
    """The last one that met all that the API has: it ended as `ok`."""

    dead: int = 0
    """Dead letters that lie there now."""

    question: str | None = None
    """What has to be approved before rows may go; None if nothing has."""

    reconciled: float | None = None
    """When the last complete scan began."""

    extra: str | None = None
    """Why a pass out of turn begins at once; None if none does."""

    missing: int = 0
    """Rows that the last complete scan did not meet, and that are there still."""

    kept_out: int = 0
    """Records that are to stay forgotten."""

    usual: ranges.Usual = attrs.field(factory=ranges.Usual)
    drifts: int = 0
    """Ways in which its data leaves its contract that nobody has accepted."""


@attrs.frozen(kw_only=True)
class Noted:
    """One way in which a stream's data leaves its contract."""

    stream: StreamId
    drift: Drift
    first: float
    last: float
    accepted: float | None
    """Since when nobody needs to be told."""


@attrs.frozen(kw_only=True)
class Holder:
    """Who has the right to run a source."""

    source: str
    host: str
    pid: int
    since: float
    heard: float
    """When it renewed its lease the last time."""

    runs: bool
    """False when its lease has run out, or the process is provably gone."""

    failing: "Failing | None" = None
    """Its API fails everybody, so that nobody asks it; only told of one that runs."""


@attrs.frozen(kw_only=True)
class Failing:
    """Why nobody asks an API."""

    since: float
    reason: str
    next_probe: float


@attrs.frozen(kw_only=True)
class Token:
    """A token that was spent, and is not free again."""

    number: int
    counted: float | None
    """When the API must have counted its request; None: it is under way."""

    free: float
    spent_on: str


@attrs.frozen(kw_only=True)
class Budget:
    """How the tokens of one budget stand."""

    name: str
    per: float
    tokens: int
    free: int
    next_free: float | None
    """When the next of the others is free."""

    held_until: float | None
    from_answers: bool
    quota_left: int | None = None
    """What the API says is left, where that has lowered the budget …"""

    quota_until: float | None = None
    """… and until when."""

    spent: Sequence[Token] = ()
    """Those that are not free, the longest spent first: at most SHOWN of them."""


@attrs.frozen(kw_only=True)
class Picture:
    """Everything that `status` shows, of one moment."""

    now: float
    streams: Sequence[Seen]
    holders: Sequence[Holder]
    budgets: Sequence[Budget]


@attrs.frozen(kw_only=True)
class Taken:
    """A picture, and when it was taken on the clock of who took it."""

    picture: Picture
    at: float
    """As `time.monotonic` tells it: Postgres's clock does not say how old it has become."""


@attrs.frozen(kw_only=True)
class Letter:
    """A dead letter as it lies there."""

    id: int
    stream: StreamId
    kind: str
    key: str | None
    reason: str
    attempts: int
    first: float
    last: float
    next_try: float | None
    cycle: int | None
    target: str
    schema_version: int
    idempotency_key: str | None
    payload: bytes = b""
    """Only read for one letter at a time."""


@attrs.frozen(kw_only=True)
class Row:
    """A record's row in the user's table."""

    changed: float
    """`_syncd_changed_at`."""

    deleted: float | None
    """`_syncd_deleted_at`."""


@attrs.frozen(kw_only=True)
class PageOf:
    """A page that changed a row or put a record aside."""

    cycle: int
    number: int | None
    """In its cycle; None beside the list, for single records."""

    at: float
    """Equals `Row.changed` of the rows that it was the last to change."""

    request: str
    seen: int
    written: int
    unchanged: int
    left_out: int
    dead: int
    folded: int
    changed: int
    """Rows that are new, back, or differ in more than volatile columns."""


@attrs.frozen(kw_only=True)
class Happened:
    """What befell a record, beside being written."""

    at: float
    what: What
    cycle: int | None
    page: int | None
    kind: str | None
    """Of the dead letter."""

    reason: str
    many: int
    """Records that it befell at once."""

    named: bool
    """False where they were too many: then this record may be among them, or not."""


@attrs.frozen(kw_only=True)
class CallOf:
    """A record's call, as the ledger has it."""

    idempotency_key: str
    cycle: int
    intended: float
    settled: float | None
    outcome: str
    reason: str


@attrs.frozen(kw_only=True)
class Story:
    """All that is known of one record, of one moment."""

    asked: str
    """The key as it was asked for."""

    key: str | None = None
    """Canonical, as Postgres holds it; None if the table can have no such key."""

    misfit: str = ""
    """Why not."""

    unread: str = ""
    """Why the table could not be looked at; then nothing is known of its row."""

    picture: Picture
    """Of its stream, and who runs its source."""

    row: Row | None = None
    pages: Sequence[PageOf] = ()
    """Those that changed its row, the oldest first."""

    last: PageOf | None = None
    """The one whose moment its row carries, if it is known."""

    beside: Mapping[tuple[int, int], PageOf] = attrs.field(factory=dict)
    """Pages at which something befell it, by cycle and number."""

    known_since: float | None = None
    """The oldest page that is known of the stream at all."""

    from_the_first: bool = False
    """That page was the first of the stream's first cycle."""

    events: Sequence[Happened] = ()
    """The oldest first."""

    calls: Sequence[CallOf] = ()
    """The oldest first; those of long ago are not kept."""

    letters: Sequence[Letter] = ()
    """That lie there now."""

    missing: int | None = None
    """The scan that was the first not to meet its row; None if the last one did."""

    approved: bool = False
    """An operator said that it may go."""

    cycles: Mapping[int, Cycle] = attrs.field(factory=dict)
    """Those that are spoken of."""

    elsewhere: Sequence[StreamId] = ()
    """Other streams that know a record by this key; only told of one that is unknown."""

    kept_out: bool = False
    """It is to stay forgotten; only told of one that is unknown, to who may know it."""

    @property
    def now(self) -> float:
        return self.picture.now

    @property
    def known(self) -> bool:
        """Whether anything at all is known of the record."""
        named = any(event.named for event in self.events)
        return bool(self.row or self.pages or named or self.calls or self.letters)


class Look(Protocol):
    """Reads pictures, each of one moment; raises StoreUnavailable, SchemaError.

    Nothing here locks what a running daemon waits for.
    """

    async def picture(
        self, streams: Collection[StreamId], sources: Collection[str], budgets: Collection[str]
    ) -> Picture:
        """How these streams, sources and budgets stand; those never seen included."""

    async def cycles(self, stream: StreamId | None, limit: int) -> tuple[float, list[Cycle]]:
        """The moment, and the last cycles, newest first."""

    async def streams(self) -> list[StreamId]:
        """Every stream that was ever opened."""

    async def dead(
        self, stream: StreamId | None, kind: str | None, limit: int
    ) -> tuple[float, int, list[Letter]]:
        """The moment, how many there are, and the newest of them without their payloads."""

    async def letters(self, ids: Collection[int]) -> tuple[float, list[Letter]]:
        """The moment, and those of these letters that there are, whole."""

    async def story(self, stream: StreamId, table: Table, key: str) -> Story:
        """All that is known of one record; key: as a person says it, or a JSON array."""
