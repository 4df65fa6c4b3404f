"""How do streams, sources and budgets stand, at one moment?  What people are shown.

Read from the database alone, so that it is the same for a command, another host and the
daemon's own side door.  Times are seconds since the epoch on Postgres's clock, `now` among
them, so that ages are right on any host.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import attrs

from syncd.sync import ranges
from syncd.sync.model import Counts, StreamId

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

    missing: int | None
    """Rows that it did not meet, and that stay for now; None until that is known."""

    deleted: int
    totals: Counts


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

    usual: ranges.Usual = attrs.field(factory=ranges.Usual)


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
