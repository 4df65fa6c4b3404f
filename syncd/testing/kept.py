"""What lasts in the store in memory, and what befalls each statement on its way to it?"""

import copy
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from syncd.errors import StoreUnavailable
from syncd.sync.drift import Added
from syncd.sync.model import Checkpoint, StreamId
from syncd.sync.ports import Request
from syncd.testing.rows import (
    FakeBudget,
    FakeCall,
    FakeCycle,
    FakeDeadLetter,
    FakeDrift,
    FakeKeptOut,
    FakeKnownPage,
    FakeLease,
    FakeScans,
)
from syncd.testing.values import Key, Values

COMMITTED = (
    *("tables", "checkpoints", "cycles", "put_aside", "parked", "paused", "requests"),
    *("calls", "budgets", "leases", "scans", "_next_starts", "_schedules"),
    *("evolved", "drifts", "fields_known", "forgotten", "kept_out_versions", "known"),
)
"""Attributes that hold what was committed."""


@attrs.frozen(kw_only=True)
class Trouble:
    """What befalls one statement on its way."""

    before: float = 0.0
    """Seconds until it is carried out."""

    after: float = 0.0
    """Seconds until its answer is there."""

    lost: Literal["", "request", "answer"] = ""


@attrs.define(eq=False)
class Kept:
    """Everything that lasts, until the test ends."""

    tables: dict[tuple[str, str], dict[Key, Values]] = attrs.field(factory=dict, init=False)
    checkpoints: dict[StreamId, Checkpoint] = attrs.field(factory=dict, init=False)
    cycles: list[FakeCycle] = attrs.field(factory=list, init=False)
    high_water: dict[StreamId, str] = attrs.field(factory=dict, init=False)
    put_aside: dict[tuple[Any, ...], FakeDeadLetter] = attrs.field(factory=dict, init=False)
    parked: dict[StreamId, str] = attrs.field(factory=dict, init=False)
    paused: set[StreamId] = attrs.field(factory=set, init=False)
    evolved: dict[tuple[str, str], list[Added]] = attrs.field(
        factory=lambda: defaultdict(list), init=False
    )
    """By table: the columns that were added to it."""

    dropped: set[str] = attrs.field(factory=set, init=False)
    """Added columns that somebody has dropped from their table."""

    may_alter: bool = attrs.field(default=True, init=False)
    drifts: dict[StreamId, dict[Any, FakeDrift]] = attrs.field(
        factory=lambda: defaultdict(dict), init=False
    )
    fields_known: set[StreamId] = attrs.field(factory=set, init=False)
    """Streams of which a whole cycle has ended."""

    requests: list[Request] = attrs.field(factory=list, init=False)
    """Asked for, and not taken yet."""

    answers: dict[int, tuple[bool, str]] = attrs.field(factory=dict, init=False)
    """By the request's id: whether it was carried out, and what was said."""
    calls: dict[str, FakeCall] = attrs.field(factory=dict, init=False)
    budgets: dict[str, FakeBudget] = attrs.field(factory=dict, init=False)
    leases: dict[str, FakeLease] = attrs.field(factory=dict, init=False)
    away: bool = attrs.field(default=False, init=False)
    clock_offset: float = attrs.field(default=0.0, init=False)
    """Seconds by which its clock was stepped: tokens, leases and next starts are on it."""

    troubles: Callable[[str], Trouble] | None = attrs.field(default=None, init=False)
    """Asked at each method with its name."""

    holder: object = attrs.field(default="this process", init=False)
    """Who acquires leases: change it to be another process on another host."""

    scans: dict[StreamId, FakeScans] = attrs.field(
        factory=lambda: defaultdict(FakeScans), init=False
    )
    forgotten: dict[tuple[StreamId, bytes], FakeKeptOut] = attrs.field(factory=dict, init=False)
    """By the hash of the key."""

    kept_out_versions: dict[StreamId, int] = attrs.field(factory=dict, init=False)
    known: dict[tuple[StreamId, str], FakeKnownPage] = attrs.field(factory=dict, init=False)
    """Pages by stream and request."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _letters: int = attrs.field(default=0, init=False)
    _next_starts: dict[StreamId, float] = attrs.field(factory=dict, init=False)
    _schedules: dict[StreamId, str] = attrs.field(factory=dict, init=False)
    _failures: dict[str, list[tuple[Exception, bool]]] = attrs.field(factory=dict, init=False)

    def fail_next(self, method: str, error: Exception, *, after: bool = False) -> None:
        """Let the next call of a method raise; `after`: it did its work, the answer is lost."""
        if not hasattr(self, method):
            raise AttributeError(f"no method {method!r} that could fail")
        self._failures.setdefault(method, []).append((error, after))

    def kept(self) -> dict[str, Any]:
        """All that it has committed so far, as a backup or a replica that is behind has it."""
        return {name: copy.deepcopy(getattr(self, name)) for name in COMMITTED}

    def go_back(self, to: Mapping[str, Any]) -> None:
        """Be a server that has lost what was committed since."""
        for name, value in to.items():
            setattr(self, name, copy.deepcopy(value))

    def _now(self) -> float:
        return trio.current_time() + self.clock_offset

    @asynccontextmanager
    async def _at(self, method: str) -> AsyncIterator[None]:
        """One statement: what is done in it is done at one moment, between two waits."""
        trouble = self.troubles(method) if self.troubles else Trouble()
        await trio.sleep(trouble.before)
        if self.away or trouble.lost == "request":
            raise StoreUnavailable("Postgres: the connection was refused")
        error, after = (
            self._failures[method].pop(0) if self._failures.get(method) else (None, False)
        )
        if error is not None and not after:
            raise error
        yield
        if trouble.after:
            await trio.sleep(trouble.after)
        if error is not None:
            raise error
        if trouble.lost == "answer":
            raise StoreUnavailable("Postgres: the connection was lost")
