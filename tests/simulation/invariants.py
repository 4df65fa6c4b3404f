"""The promises as code: what must hold after each step, and at the end."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from syncd.errors import StoreUnavailable
from syncd.sync.breaker import Breaker
from syncd.sync.known import prints_of
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    Intent,
    Lease,
    Page,
    PageCommit,
    StreamId,
    Table,
    Verdict,
    idempotency_key,
)
from syncd.sync.ports import Granted, NotYet, Settlement, Want
from syncd.sync.scans import GUARD, GUARD_SHARE, Reconciled
from syncd.sync.waits import Waits
from syncd.testing import FakeApi, FakeStore
from syncd.testing.rows import FakeCycle
from syncd.testing.scanning import DELETED
from syncd.testing.values import Key, key_of, values_of

__all__ = ["StoreUnavailable", "Violation", "WatchedApi", "WatchedStore"]


WHO: ContextVar[str] = ContextVar("WHO", default="nobody")
"""The life of a daemon that a task belongs to."""

COMMITTING: ContextVar[tuple[Table, list[tuple[Checkpoint, PageCommit]]] | None] = ContextVar(
    "COMMITTING", default=None
)
"""What a task is about to commit, each page with where it takes the stream to stand."""


BREAKER: ContextVar["WatchedBreaker | None"] = ContextVar("BREAKER", default=None)
"""The one that stands before a task's requests."""


class Violation(AssertionError):
    """A promise was broken."""


def must(promise: str, holds: object, what: str) -> None:
    if not holds:
        raise Violation(f"{promise}: {what}")


@attrs.define(eq=False, kw_only=True)
class Served:
    """One page as the API gave it."""

    at: float
    cursor: str | None
    keys: tuple[str, ...]
    next_cursor: str | None
    version: str


@attrs.define(eq=False)
class WatchedStore(FakeStore):
    """A store that looks at each commit with the promises in mind."""

    served: dict[StreamId, list[Served]] = attrs.field(factory=dict, init=False)
    pages: dict[int, list[Served]] = attrs.field(factory=dict, init=False)
    """By cycle: the pages that were committed."""

    committers: dict[int, set[str]] = attrs.field(factory=dict, init=False)
    """By cycle: who committed its pages."""

    taken_up: set[int] = attrs.field(factory=set, init=False)
    """Cycles that were gone on with after a stop or a trouble."""

    started: dict[int, float] = attrs.field(factory=dict, init=False)
    """By cycle: when it was begun, on the API's clock."""

    elsewhere: dict[StreamId, list[float]] = attrs.field(factory=dict, init=False)
    """When a record left its place for a moment, or came back: a scan can't tell."""

    there_since: dict[tuple[StreamId, str], float] = attrs.field(factory=dict, init=False)
    """By record: from when on the API has had it without a break."""

    began: dict[int, str] = attrs.field(factory=dict, init=False)
    """By cycle: the fingerprint that it was begun with."""

    def who(self) -> object:
        return WHO.get()

    violations: list[Violation] = attrs.field(factory=list, init=False)
    _settled: set[str] = attrs.field(factory=set, init=False)

    def tell(self, promise: str, holds: object, what: str) -> None:
        """Note a violation, wherever it is found: raised there it could be taken for trouble."""
        try:
            must(promise, holds, what)
        except Violation as found:
            self.violations.append(found)

    async def begin_cycle(
        self,
        checkpoint: Checkpoint,
        *,
        fingerprint: str,
        abandon: str = "",
        extra: bool = False,
        reconcile: float | None = None,
        full: float | None = 0.0,
        next_start: float | None = None,
        table: Table | None = None,
    ) -> tuple[Checkpoint, Counts]:
        begun = await super().begin_cycle(
            checkpoint,
            fingerprint=fingerprint,
            abandon=abandon,
            extra=extra,
            reconcile=reconcile,
            full=full,
            next_start=next_start,
            table=table,
        )
        cycle = begun[0].cycle or 0
        if begun[0].resumed:
            self.taken_up.add(cycle)
        self.started.setdefault(cycle, trio.current_time())
        self.began.setdefault(cycle, fingerprint)
        return begun

    # --- no delete on absence ------------------------------------------------------------------

    async def reconcile(
        self, table: Table, checkpoint: Checkpoint, cycle: int, *, moved: str, again: str = ""
    ) -> Reconciled:
        there = self.tables[(table.schema, table.name)]
        live = {k for k, row in there.items() if row.get(DELETED) is None}
        approved = set(self.scans[checkpoint.stream].approved)
        try:
            return await super().reconcile(table, checkpoint, cycle, moved=moved, again=again)
        finally:
            gone = {k for k in live if there[k].get(DELETED) is not None}
            if gone:
                self._look_at_deletes(checkpoint.stream, gone, live, gone - approved)

    def _look_at_deletes(
        self, stream: StreamId, gone: set[Key], live: set[Key], unasked: set[Key]
    ) -> None:
        guarded = len(unasked) > GUARD and len(unasked) > GUARD_SHARE * len(live)
        self.tell("no-delete", not guarded, f"{len(unasked)} rows went without asking")
        scans = [c for c in self.cycles if c.stream == stream and self._is_whole_scan(c)]
        for key in gone:
            name = str(key[-1])
            absent = [c for c in scans if f'["{name}"]' not in self._met(c)]
            self.tell("no-delete", len(absent) > 1, f"{name} went after {len(absent)} scans")
            since = self.there_since.get((stream, name))
            began = [self.started[c.id] for c in absent[-2:]]
            always = since is not None and len(began) > 1 and since <= began[0]
            # Missed twice while the list reorders itself: what docs/guarantees.md says is left.
            moves = self.elsewhere.get(stream, [])
            if always and any(began[0] <= at < began[1] for at in moves):
                always = not any(began[1] <= at for at in moves)
            self.tell("no-delete", not always, f"{name} went, which the API had all along")

    def _is_whole_scan(self, cycle: FakeCycle) -> bool:
        """Every page was read without a stop between, in the life of one daemon."""
        pages = self.pages.get(cycle.id, [])
        whole = bool(pages) and pages[0].cursor is None and pages[-1].next_cursor is None
        unbroken = cycle.id not in self.taken_up and len(self.committers.get(cycle.id, ())) == 1
        return whole and cycle.reconcile and unbroken

    def _met(self, cycle: FakeCycle) -> set[str]:
        return {key for page in self.pages[cycle.id] for key in page.keys}

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        before = self.checkpoints[checkpoint.stream]
        rows_before = len(self.tables[(table.schema, table.name)])
        dead_before = set(self.put_aside)
        pages_before = len(self.pages.get(checkpoint.cycle or 0, []))
        cursors = [checkpoint.cursor, *(page.next_cursor for page in pages)]
        in_turn = [
            (attrs.evolve(checkpoint, cursor=cursor), page)
            for cursor, page in zip(cursors, pages, strict=False)
        ]
        committing = COMMITTING.set((table, in_turn))
        committed: Sequence[Committed] | None = None
        try:
            committed = await super().commit_pages(table, checkpoint, pages)
        finally:
            COMMITTING.reset(committing)
            after = self.checkpoints[checkpoint.stream]
            if committed is None and after.seq == before.seq:
                same = rows_before == len(self.tables[(table.schema, table.name)])
                same = same and dead_before == set(self.put_aside)
                self.tell("page-atomic", same, "a commit that failed has written something")
                # Of pages that were to be committed together one was refused after others.
                del self.pages.get(checkpoint.cycle or 0, [])[pages_before:]
        return committed

    def _move(self, at: Checkpoint, page: PageCommit) -> None:
        # Here and not when the answer has come: that may be late, and another one is at work.
        super()._move(at, page)
        committing = COMMITTING.get()
        assert committing is not None
        table, in_turn = committing
        self._look_at_commit(table, *in_turn.pop(0))

    def _look_at_commit(self, table: Table, checkpoint: Checkpoint, page: PageCommit) -> None:
        stream = checkpoint.stream
        lease = self.leases[stream.source]
        self.tell("resume", checkpoint.fence == lease.fence, "committed without the lease")
        there = self.tables[(table.schema, table.name)]
        for row in page.rows:
            present = key_of(table, stream.source, values_of(table, row)) in there
            self.tell("page-atomic", present, f"{row.key} is not in the table after its commit")
        if page.aside:
            return
        given = [s for s in self.served.get(stream, []) if s.next_cursor == page.next_cursor]
        if page.same is not None:
            known = sorted(page.same.keys)
            fitting = [s for s in given if sorted(prints_of(s.keys)) == known]
        else:
            keys = sorted([r.key for r in page.rows] + [d.key or "" for d in page.dead])
            fitting = [s for s in given if sorted(s.keys) == keys]
        self.tell("accounted", fitting, f"{page.seen} records committed that no page held")
        if not fitting:
            return
        found = fitting[-1]
        due = checkpoint.cursor
        right = found.cursor == due
        self.tell("resume", right, f"page {found.cursor} committed where {due} was due")
        cycle = checkpoint.cycle or 0
        again = any(s.cursor == found.cursor for s in self.pages.get(cycle, []))
        self.tell("resume", not again, f"page {found.cursor} committed twice in one cycle")
        self.pages.setdefault(cycle, []).append(found)
        self.committers.setdefault(cycle, set()).add(WHO.get())
        versions = {s.version for s in self.pages[cycle]}
        self.tell("resume", len(versions) == 1, "one cycle has pages of different settings")

    async def take_tokens(
        self,
        wants: Sequence[Want],
        *,
        spent_on: str,
        lease: Lease | None,
        intent: Intent | None,
    ) -> Granted | Sequence[NotYet]:
        right = True
        if intent is not None:
            started = self.cycles[intent.cycle - 1].started
            first = idempotency_key(intent.stream, intent.cycle, started, intent.record_key)
            known = {c.intent.idempotency_key for c in self.calls.values()}
            of_letter = any(
                found.letter.idempotency_key == intent.idempotency_key
                for found in self.put_aside.values()
            )
            right = intent.idempotency_key in {first, *known} or of_letter
        breaker = BREAKER.get()
        before = breaker and breaker.open
        answer = await super().take_tokens(wants, spent_on=spent_on, lease=lease, intent=intent)
        if isinstance(answer, Granted):  # who lost the lease may ask with what is gone by now
            self.tell("no-blind-repeat", right, "a call's key does not follow from what it is for")
        # One that opened while the statement was under way may come too late for it.
        if breaker is not None and before is not None and breaker.open is before:
            probes = breaker.probe is trio.lowlevel.current_task()
            free = not isinstance(answer, Granted)
            self.tell("budget", probes or free, "a token was spent while the breaker is open")
        return answer

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None:
        await super().settle_calls(settlements)
        self._settled |= {s.intent.idempotency_key for s in settlements if s.outcome == "done"}

    def has_settled(self, key: str) -> bool:
        """Whether its answer was settled, and whoever settled it has heard of that."""
        call = self.calls.get(key)
        return key in self._settled and call is not None and call.outcome == "done"


@attrs.define(eq=False, kw_only=True)
class WatchedBreaker(Breaker):
    """A breaker that knows who is inside, whatever it believes itself."""

    probe: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    """Who was let in while it was open, and has not left."""

    @asynccontextmanager
    async def attempt(self, **others: Any) -> AsyncIterator[Waits]:
        async with Breaker.attempt(
            self, **others
        ) as tokens:  # super() finds no cell in a wrapped one
            found = self.open
            if found is not None:
                must("contained", self.probe is None, "a second probe beside the first")
                self.probe = trio.lowlevel.current_task()
            try:
                yield tokens
            finally:
                if found is not None:
                    self.probe = None

    def look(self, store: WatchedStore) -> None:
        """Between two steps of the streams."""
        lost = self.open is not None and self.open.probing and self.probe is None
        store.tell("contained", not lost, "a probe that nobody makes keeps all waiting")


@attrs.define(eq=False, kw_only=True)
class WatchedApi(FakeApi):
    """An API that looks at each request with the promises in mind."""

    stream: StreamId
    store: WatchedStore
    limits: list[tuple[float, int]] = attrs.field(factory=list, init=False)
    """When each limit began to hold, and what it is."""

    unknown: set[str] = attrs.field(factory=set, init=False)
    """Keys of calls whose outcome nobody was told."""

    under_way: Counter[str] = attrs.field(factory=Counter, init=False)
    """Keys of calls that have come and may still be carried out, asked for or not."""

    def allowed(self, now: float) -> int:
        """The most that a window which ends now may hold: debts of a larger limit stay."""
        within = [limit for at, limit in self.limits if at > now - self.per]
        before = [limit for at, limit in self.limits if at <= now - self.per]
        return max([*within, *before[-1:]])

    def look_at(self, now: float, everything: Sequence[float]) -> None:
        """A request has come; `everything`: when those that share the budget came."""
        counted = sum(1 for t in everything if t > now - self.per)
        most = self.allowed(now)
        self.store.tell("budget", counted <= most, f"{counted} requests in a window of {most}")

    def look_at_list(self, page: int, fence: int, *, ahead: int) -> None:
        """A page is asked for, in the course of a cycle; ahead: how many may be under way."""
        checkpoint = self.store.checkpoints[self.stream]
        if fence != self.store.leases[self.stream.source].fence or checkpoint.cycle is None:
            return
        due = range(checkpoint.pages + 1, checkpoint.pages + 1 + ahead)
        self.store.tell(
            "resume", page in due, f"page {page} asked for with {checkpoint.pages} committed"
        )

    def look_at_call(self, key: str, *, repeatable: bool, fence: int) -> None:
        """A record's call has come."""
        tell = self.store.tell
        tell("no-blind-repeat", key in self.store.calls, "a call was made before its intent")
        if fence == self.store.leases[self.stream.source].fence:
            tell("no-blind-repeat", not self.store.has_settled(key), "a settled call was repeated")
        if not repeatable:
            tell("no-blind-repeat", key not in self.unknown, "an unknown outcome was repeated")

    def look_at_verify(self, key: str, verdict: Verdict) -> None:
        """An answer says what became of a call; only a last word makes its outcome known."""
        if verdict.outcome == "not-done" and not self.under_way[key]:
            self.unknown.discard(key)

    def look_at_page(self, cursor: str | None, page: Page, now: float, version: str) -> None:
        keys = [r.key for r in page.records] + [r.key or "" for r in page.rejects]
        self.store.served.setdefault(self.stream, []).append(
            Served(
                at=now,
                cursor=cursor,
                keys=tuple(keys),
                next_cursor=page.next_cursor,
                version=version,
            )
        )
