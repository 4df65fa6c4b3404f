"""A store in memory, on trio's clock: `ports.Store` with the semantics of the real one.

It can be told to fail: `fail_next` makes one call of a method raise, before or after
it did its work; `away` makes every method raise until it is False again.
"""

import copy
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from syncd.errors import CallDone, LeaseHeld, StoreRefused, StoreUnavailable
from syncd.sync.displaced import displaced, lost
from syncd.sync.model import (
    LETTER_LATER,
    LETTER_TRIES,
    REFUSED_WHOLE,
    Checkpoint,
    Committed,
    Counts,
    DeadLetter,
    Intent,
    Lease,
    LedgerEntry,
    PageCommit,
    Row,
    StreamId,
    Table,
)
from syncd.sync.ports import ApiFailing, BudgetState, NotYet, Request, Settlement, Taken, TokenState
from syncd.sync.ranges import Past, unusual
from syncd.sync.scans import Reconciled, broken_in
from syncd.testing.rows import (
    FakeBudget,
    FakeCall,
    FakeCycle,
    FakeDeadLetter,
    FakeLease,
    FakeScans,
)
from syncd.testing.scanning import DELETED, conclude, note
from syncd.testing.values import Key, RefusedError, Values, key_of, sorted_out, summed, values_of

COMMITTED = (
    *("tables", "checkpoints", "cycles", "put_aside", "parked", "paused", "requests"),
    *("calls", "budgets", "leases", "scans", "_next_starts"),
)
"""Attributes that hold what was committed."""

LASTS = 30.0  # seconds; as long as a lease of the real store


@attrs.frozen(kw_only=True)
class Trouble:
    """What befalls one statement on its way."""

    before: float = 0.0
    """Seconds until it is carried out."""

    after: float = 0.0
    """Seconds until its answer is there."""

    lost: Literal["", "request", "answer"] = ""


@attrs.define(eq=False)
class FakeStore:
    """Everything that lasts, until the test ends."""

    tables: dict[tuple[str, str], dict[Key, Values]] = attrs.field(factory=dict, init=False)
    checkpoints: dict[StreamId, Checkpoint] = attrs.field(factory=dict, init=False)
    cycles: list[FakeCycle] = attrs.field(factory=list, init=False)
    put_aside: dict[tuple[Any, ...], FakeDeadLetter] = attrs.field(factory=dict, init=False)
    parked: dict[StreamId, str] = attrs.field(factory=dict, init=False)
    paused: set[StreamId] = attrs.field(factory=set, init=False)
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
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _letters: int = attrs.field(default=0, init=False)
    _next_starts: dict[StreamId, float] = attrs.field(factory=dict, init=False)
    _failures: dict[str, list[tuple[Exception, bool]]] = attrs.field(factory=dict, init=False)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """All that lie there, of every stream, oldest first."""
        return [found.letter for found in self.put_aside.values()]

    # --- failing on request ----------------------------------------------------------------

    def fail_next(self, method: str, error: Exception, *, after: bool = False) -> None:
        """Let the next call of a method raise; `after`: it did its work, the answer is lost."""
        self._failures.setdefault(method, []).append((error, after))

    def kept(self) -> dict[str, Any]:
        """All that it has committed so far, as a backup or a replica that is behind has it."""
        return {name: copy.deepcopy(getattr(self, name)) for name in COMMITTED}

    def go_back(self, to: Mapping[str, Any]) -> None:
        """Be a server that has lost what was committed since."""
        for name, value in to.items():
            setattr(self, name, copy.deepcopy(value))

    def steal_lease(self, source: str) -> None:
        """Be another syncd that takes the source over."""
        lease = self.leases[source]
        lease.fence += 1
        lease.holder = "somebody else"
        self._raise_fences(source, lease.fence)

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

    # --- tokens ------------------------------------------------------------------------------

    async def open_budget(self, budget: str, *, requests: int, per: float) -> BudgetState:
        async with self._at("open_budget"):
            now = self._now()
            found = self.budgets.setdefault(budget, FakeBudget(per=per))
            longer = (per - found.per) * 1.001
            found.per = per
            for token in found.tokens.values():
                if longer > 0 and token.free_at > now - longer:
                    counted = token.counted_at
                    until = token.free_at + longer if counted is None else counted + per * 1.001
                    token.free_at = max(token.free_at, until)
            found.make(requests, now)
            return BudgetState(
                from_answers=found.from_answers, held_for=max(0.0, found.held_until - now)
            )

    async def take_token(
        self,
        budget: str,
        *,
        lifetime: float,
        spent_on: str,
        lease: Lease | None,
        intent: Intent | None,
        overdue: Mapping[int, int],
    ) -> Taken | NotYet:
        async with self._at("take_token"):
            self._must_hold(lease)
            self._must_not_be_done(intent)
            now = self._now()
            found = self.budgets[budget]
            held = found.held_until - now
            free = [
                (token.free_at, number)
                for number, token in found.allowed.items()
                if token.free_at <= now or overdue.get(number) == token.version
            ]
            if free and held <= 0:
                number = min(free)[1]
                token = found.tokens[number]
                token.version += 1
                token.free_at, token.counted_at = now + lifetime, None
                token.spent_on = spent_on
                if intent is not None:
                    self.calls.setdefault(intent.idempotency_key, FakeCall(intent=intent))
                return Taken(number=number, version=token.version, from_answers=found.from_answers)
            tokens = tuple(
                TokenState(number=n, version=t.version, free_in=t.free_at - now)
                for n, t in found.allowed.items()
            )
            if not tokens:
                raise StoreRefused(f"the budget {budget!r} has no tokens any more")
            first = min(max(0.0, t.free_in) for t in tokens)
            return NotYet(
                seconds=held if held > 0 else first,
                held=held > 0,
                tokens=tokens,
                from_answers=found.from_answers,
            )

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        async with self._at("settle_tokens"):
            now = self._now()
            for taken, since, takes in settlements:
                token = self.budgets[budget].tokens.get(taken.number)
                if token is not None and token.version == taken.version:
                    token.counted_at = now - since
                    token.free_at = now - since + takes

    async def give_back(self, budget: str, token: Taken) -> None:
        async with self._at("give_back"):
            found = self.budgets[budget].tokens.get(token.number)
            if found is not None and found.version == token.version:
                found.version += 1
                found.free_at = self._now()

    async def hold_budget(self, budget: str, seconds: float) -> None:
        async with self._at("hold_budget"):
            found = self.budgets[budget]
            found.held_until = max(found.held_until, self._now() + seconds)

    async def count_from_answers(self, budget: str) -> None:
        async with self._at("count_from_answers"):
            self.budgets[budget].from_answers = True

    def _must_not_be_done(self, intent: Intent | None) -> None:
        call = intent and self.calls.get(intent.idempotency_key)
        if intent and call and call.outcome == "done":
            raise CallDone(f"the call for {intent.record_key} is done already")

    async def store_intent(self, intent: Intent, lease: Lease) -> None:
        async with self._at("store_intent"):
            self._must_hold(lease)
            self._must_not_be_done(intent)
            self.calls.setdefault(intent.idempotency_key, FakeCall(intent=intent))

    # --- the ledger ----------------------------------------------------------------------------

    async def ledger(self, keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        async with self._at("ledger"):
            return {
                key: LedgerEntry(
                    idempotency_key=key,
                    outcome=call.outcome,  # type: ignore[arg-type]  # only ours are ever set
                    kept=call.kept,
                    reason=call.reason,
                )
                for key in keys
                if (call := self.calls.get(key)) is not None
            }

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None:
        async with self._at("settle_calls"):
            for settlement in settlements:
                key = settlement.intent.idempotency_key
                call = self.calls.setdefault(key, FakeCall(intent=settlement.intent))
                known = settlement.outcome in ("done", "failed")
                if call.outcome == "open" or (call.outcome == "unknown" and known):
                    call.outcome = settlement.outcome
                    call.kept, call.reason = settlement.kept, settlement.reason

    async def forget_calls(self, keys: Sequence[str], *, unknown: bool) -> None:
        async with self._at("forget_calls"):
            for key in keys:
                outcome = self.calls[key].outcome if key in self.calls else "done"
                if outcome == "failed" or (unknown and outcome != "done"):
                    del self.calls[key]

    async def letters(self, stream: StreamId, ids: Sequence[int]) -> Mapping[int, DeadLetter]:
        async with self._at("letters"):
            return {
                found.id: found.letter
                for found in self.put_aside.values()
                if found.stream == stream and found.id in ids
            }

    async def due_letters(self, stream: StreamId) -> Mapping[int, DeadLetter]:
        async with self._at("due_letters"):
            now = self._now()
            ours = [f for f in self.put_aside.values() if f.stream == stream]
            return {f.id: f.letter for f in ours if f.next_try is not None and f.next_try <= now}

    async def purge_letters(self, stream: StreamId, keep: float) -> int:
        async with self._at("purge_letters"):
            before = self._now() - keep
            ours = [f for f in self.put_aside.values() if f.stream == stream]
            old = [f.id for f in ours if f.last_at < before]
            for number in old:
                self._letter_leaves(number)
            return len(old)

    def hurry(self) -> None: ...

    # --- what operators ask for -------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Be an operator who asks for something."""
        self.requests.append(request)
        self._news.set()

    async def take_requests(self, leases: Sequence[Lease]) -> Sequence[Request]:
        async with self._at("take_requests"):
            ours = {x.source for x in leases if self.leases[x.source].fence == x.fence}
            taken = [r for r in self.requests if r.source in ours]
            self.requests = [r for r in self.requests if r.source not in ours]
            return taken

    async def answer_request(self, request: Request, *, ok: bool, answer: str) -> None:
        async with self._at("answer_request"):
            self.answers[request.id] = (ok, answer)

    async def abandon_requests(
        self,
        leases: Sequence[Lease],  # noqa: ARG002 - here they are answered or lost with the process
        answer: str,  # noqa: ARG002
    ) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_for_requests(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._news.wait()
        self._news = trio.Event()

    # --- leases --------------------------------------------------------------------------------

    async def acquire_lease(self, source: str) -> Lease:
        async with self._at("acquire_lease"):
            lease = self.leases.setdefault(source, FakeLease())
            now = self._now()
            if lease.holder not in (None, self.who()) and lease.expires_at > now:
                # Later than any that was just renewed: the clock was stepped back since.
                lease.expires_at = min(lease.expires_at, now + LASTS)
                raise LeaseHeld(f"source {source!r} is run by another syncd: {lease.holder}")
            # Grows with time as well: none is given twice when an older state comes back.
            lease.fence = max(lease.fence + 1, int(now * 1_000_000))
            lease.holder, lease.expires_at = self.who(), now + LASTS
            lease.failing = None
            self._raise_fences(source, lease.fence)
            return Lease(source=source, fence=lease.fence)

    def who(self) -> object:
        """The process that asks."""
        return self.holder

    async def renew_leases(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        async with self._at("renew_leases"):
            ours = [x for x in leases if self.leases[x.source].fence == x.fence]
            for lease in ours:
                self.leases[lease.source].expires_at = self._now() + LASTS
            return ours

    async def release_leases(self, leases: Sequence[Lease]) -> None:
        async with self._at("release_leases"):
            for lease in leases:
                found = self.leases[lease.source]
                if found.fence == lease.fence:
                    found.holder, found.expires_at, found.failing = None, float("-inf"), None

    async def post_failing(self, lease: Lease, failing: ApiFailing | None) -> None:
        async with self._at("post_failing"):
            found = self.leases[lease.source]
            if found.fence == lease.fence:
                found.failing = failing

    def _must_hold(self, lease: Lease | None) -> None:
        if lease is not None and self.leases[lease.source].fence != lease.fence:
            raise lost(lease, self.leases[lease.source].fence)

    def _raise_fences(self, source: str, fence: int) -> None:
        for stream, checkpoint in self.checkpoints.items():
            if stream.source == source:
                self.checkpoints[stream] = attrs.evolve(checkpoint, fence=fence)

    # --- streams and pages ------------------------------------------------------------------------

    async def open_stream(
        self, stream: StreamId, table: Table, lease: Lease, *, every: float
    ) -> Checkpoint:
        async with self._at("open_stream"):
            if stream not in self.checkpoints:
                self.checkpoints[stream] = Checkpoint(stream=stream, seq=0, fence=lease.fence)
            self.tables.setdefault((table.schema, table.name), {})
            if self.checkpoints[stream].fence == lease.fence:
                self.parked.pop(stream, None)
                self._plan_next_start(stream, every)
            for cycle in self.cycles:
                if cycle.stream == stream and cycle.aside and cycle.outcome is None:
                    cycle.outcome = "abandoned"
            return self._read(stream)

    def _plan_next_start(self, stream: StreamId, every: float) -> None:
        ended = self._whole(stream)
        if stream in self._next_starts and ended:
            self._next_starts[stream] = ended[-1].started_at + every

    async def read_checkpoint(self, stream: StreamId) -> Checkpoint:
        async with self._at("read_checkpoint"):
            return self._read(stream)

    def _read(self, stream: StreamId) -> Checkpoint:
        at = self._next_starts.get(stream)
        next_start = None if at is None else at - self._now()
        found = self.checkpoints[stream]
        cycle = None if found.cycle is None else self._cycle(found.cycle)
        calls_of = cycle and self._cycle(cycle.follows or cycle.id)
        return attrs.evolve(
            found,
            started=calls_of.started if calls_of else "",
            next_start=next_start,
            paused=stream in self.paused,
            follows=cycle.follows if cycle else None,
            reconcile=cycle is not None and cycle.reconcile,
        )

    def _whole(self, stream: StreamId) -> list[FakeCycle]:
        """Its cycles in turn that came to their end."""
        return [
            c
            for c in self.cycles
            if c.stream == stream
            and not c.aside
            and c.follows is None
            and c.outcome in ("ok", "suspicious")
        ]

    async def begin_cycle(
        self,
        checkpoint: Checkpoint,
        *,
        fingerprint: str,
        abandon: str = "",
        extra: bool = False,
        reconcile: float | None = None,
    ) -> tuple[Checkpoint, Counts]:
        async with self._at("begin_cycle"):
            now = self._unmoved(checkpoint)
            self.parked.pop(now.stream, None)
            if now.cycle is not None and not abandon:
                cycle = self._cycle(now.cycle)
                cycle.reason = ""
                cycle.taken_up += 1
                now = self._read(now.stream)
                return attrs.evolve(now, resumed=True), cycle.counts
            if now.cycle is not None:
                left = self._cycle(now.cycle)
                left.outcome, left.reason = "abandoned", abandon
            scans, whole = self.scans[now.stream], self._whole(now.stream)
            scans.seen.clear()
            if now.fingerprint not in ("", fingerprint):
                scans.missing.clear()
                scans.usual_from = len(self.cycles)
            old = self._now() - scans.reconciled_at
            cycle = FakeCycle(
                id=len(self.cycles) + 1,
                stream=now.stream,
                started_at=self._now(),
                follows=whole[-1].id if extra and whole else None,
                reconcile=scans.due or (reconcile is not None and old > reconcile),
            )
            self.cycles.append(cycle)
            begun = Checkpoint(
                stream=now.stream,
                seq=now.seq + 1,
                fence=now.fence,
                cycle=cycle.id,
                started=cycle.started,
                fingerprint=fingerprint,
            )
            self.checkpoints[now.stream] = begun
            return self._read(now.stream), Counts()

    async def differing(self, table: Table, source: str, rows: Sequence[Row]) -> set[str]:
        async with self._at("differing"):
            there = self.tables[(table.schema, table.name)]
            ignored = table.volatile | table.kept
            found = set()
            for row in rows:
                try:
                    values = values_of(table, row)
                except RefusedError:
                    continue
                old = _live(there.get(key_of(table, source, values)))
                if old is None or any(old[c] != values[c] for c in values if c not in ignored):
                    found.add(row.key)
            return found

    async def commit_page(
        self, table: Table, checkpoint: Checkpoint, page: PageCommit
    ) -> Committed:
        async with self._at("commit_page"):
            now = self._unmoved(checkpoint)
            good, refused = sorted_out(table, page.rows, checkpoint)
            if len(refused) == len(page.rows) >= REFUSED_WHOLE:
                raise StoreRefused(f"all {len(refused)} rows of a page are refused")
            source = now.stream.source
            written = sum(self._write(table, source, row, values) for row, values in good)
            succeeded = {row.key for row, _ in good}
            self._resolve_dead(now.stream, succeeded)
            for letter in [*page.dead, *refused]:
                self._put_aside(now.stream, letter)
            for number, key in page.letters.items():
                if key is None or key in succeeded:
                    self._letter_leaves(number)
            if page.aside:
                now = attrs.evolve(now, cycle=checkpoint.cycle)
            cycle = self._cycle(now.cycle or 0)
            note(self.scans[now.stream], cycle, table, now.stream.source, good, page, refused)
            self._count(now, page, written, len(good) - written, len(page.dead) + len(refused))
            self._move(now, page)
            return attrs.evolve(self._committed(now), refused=tuple(refused))

    async def begin_aside(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        async with self._at("begin_aside"):
            now = self._unmoved(checkpoint)
            cycle = FakeCycle(
                id=len(self.cycles) + 1,
                stream=now.stream,
                started_at=self._now(),
                reason=why,
                aside=True,
            )
            self.cycles.append(cycle)
            return attrs.evolve(
                self._read(now.stream),
                cycle=cycle.id,
                started=cycle.started,
                follows=None,
                reconcile=False,
            )

    async def reset(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        async with self._at("reset"):
            now = self._unmoved(checkpoint)
            if now.cycle is not None:
                cycle = self._cycle(now.cycle)
                cycle.outcome, cycle.reason = "abandoned", why
            self.checkpoints[now.stream] = Checkpoint(
                stream=now.stream, seq=now.seq + 1, fence=now.fence
            )
            self._next_starts.pop(now.stream, None)
            self.scans[now.stream].missing.clear()
            self.parked.pop(now.stream, None)
            return self._read(now.stream)

    async def reconcile(
        self, table: Table, checkpoint: Checkpoint, cycle: int, *, moved: str
    ) -> Reconciled:
        async with self._at("reconcile"):
            now = self._unmoved(checkpoint)
            there = self.tables[(table.schema, table.name)]
            scans, of = self.scans[now.stream], self._cycle(cycle)
            found, extra_due = conclude(scans, of, there, now.stream.source, moved, self._now())
            self.checkpoints[now.stream] = attrs.evolve(
                now, seq=now.seq + 1, extra_due=extra_due or now.extra_due
            )
            return found

    async def reconciled(self, cycle: int) -> Reconciled:
        async with self._at("reconciled"):
            of = self._cycle(cycle)
            if broken := broken_in(of.reason):
                return Reconciled(broken=broken)
            asked = self.scans[of.stream].question
            return Reconciled(missing=of.missing or 0, deleted=of.deleted, question=asked)

    async def ask_to_reconcile(
        self, checkpoint: Checkpoint, why: str, *, approve: bool = False
    ) -> Checkpoint:
        async with self._at("ask_to_reconcile"):
            now = self._unmoved(checkpoint)
            scans = self.scans[now.stream]
            if approve:
                scans.approved, scans.question = set(scans.missing), ""
                scans.usual_from = len(self.cycles)
            scans.due = True
            self.checkpoints[now.stream] = attrs.evolve(now, seq=now.seq + 1, extra_due=why)
            return self._read(now.stream)

    async def committed(self, checkpoint: Checkpoint) -> Committed:
        async with self._at("committed"):
            return self._committed(checkpoint)

    async def note_trouble(
        self, checkpoint: Checkpoint, *, parked: bool, reason: str, counts: Counts
    ) -> None:
        async with self._at("note_trouble"):
            found = self.checkpoints.get(checkpoint.stream)
            if found is None or found.fence != checkpoint.fence:
                return
            if parked:
                self.parked[checkpoint.stream] = reason
            if checkpoint.cycle is None:
                return
            cycle = self._cycle(checkpoint.cycle)
            cycle.reason = reason
            cycle.counts = summed(cycle.counts, counts)

    def _unmoved(self, checkpoint: Checkpoint) -> Checkpoint:
        now = self.checkpoints[checkpoint.stream]
        if (now.seq, now.fence) != (checkpoint.seq, checkpoint.fence):
            raise displaced(checkpoint, now)
        return now

    def _cycle(self, number: int) -> FakeCycle:
        return self.cycles[number - 1]

    def _write(self, table: Table, source: str, row: Row, values: Values) -> bool:
        there = self.tables[(table.schema, table.name)]
        key = key_of(table, source, values)
        old = there.get(key)
        if not row.called:
            values |= {c: old[c] if old else None for c in table.kept}
        if (live := _live(old)) is not None and all(live[c] == values[c] for c in values):
            return False
        there[key] = values
        return True

    def _letter_leaves(self, number: int) -> None:
        self.put_aside = {k: f for k, f in self.put_aside.items() if f.id != number}

    def _resolve_dead(self, stream: StreamId, keys: set[str]) -> None:
        self.put_aside = {
            identity: found
            for identity, found in self.put_aside.items()
            if found.stream != stream or found.letter.key is None or found.letter.key not in keys
        }

    def _put_aside(self, stream: StreamId, letter: DeadLetter) -> None:
        unkeyed = letter.payload if letter.key is None else None
        identity = (stream, letter.kind, letter.key, unkeyed)
        found = self.put_aside.get(identity)
        if found is None:
            self._letters += 1
            self.put_aside[identity] = FakeDeadLetter(
                id=self._letters,
                stream=stream,
                letter=letter,
                last_at=self._now(),
                next_try=self._now() if letter.again else None,
            )
            return
        later = min(LETTER_LATER * 2.0 ** (found.attempts - 1), 86400.0)
        again = letter.again and found.attempts < LETTER_TRIES
        found.last_at, found.next_try = self._now(), self._now() + later if again else None
        found.attempts += 1
        found.letter = attrs.evolve(letter, idempotency_key=found.letter.idempotency_key)

    def _count(
        self, at: Checkpoint, page: PageCommit, written: int, unchanged: int, dead: int
    ) -> None:
        cycle = self._cycle(at.cycle or 0)
        cycle.pages += 1
        cycle.counts = summed(
            cycle.counts,
            Counts(
                seen=page.seen,
                written=written,
                unchanged=unchanged,
                left_out=page.left_out,
                dead=dead,
                folded=page.folded,
                calls=page.calls,
                requests=page.requests,
                retried=page.retried,
                refused=page.refused,
            ),
        )
        if page.next_cursor is not None:
            return
        if page.aside:
            cycle.outcome = "ok"
            return
        known = [c for c in self._whole(at.stream) if c.id > self.scans[at.stream].usual_from]
        past = [Past(seen=c.counts.seen, written=c.counts.written) for c in reversed(known)]
        odd = unusual(past, cycle.counts, extra=cycle.follows is not None)
        cycle.outcome = "suspicious" if odd else "ok"
        cycle.reason = "; ".join(filter(None, [odd, page.moved]))

    def _move(self, at: Checkpoint, page: PageCommit) -> None:
        if page.aside:
            now = self.checkpoints[at.stream]
            self.checkpoints[at.stream] = attrs.evolve(now, seq=now.seq + 1)
            return
        ends = page.next_cursor is None
        if ends and page.rest is not None:
            started = self._cycle(at.cycle or 0).started_at
            self._next_starts[at.stream] = started + page.rest
        self.checkpoints[at.stream] = attrs.evolve(
            at,
            seq=at.seq + 1,
            cycle=None if ends else at.cycle,
            started="" if ends else at.started,
            cursor=page.next_cursor,
            pages=0 if ends else at.pages + 1,
            last_page=page.last_page,
            extra_due=page.extra_due or at.extra_due,
        )

    def _committed(self, before: Checkpoint) -> Committed:
        cycle = self._cycle(before.cycle or 0)
        return Committed(
            checkpoint=self._read(before.stream),
            totals=cycle.counts,
            outcome=cycle.outcome,
            reason=cycle.reason,
        )


def _live(row: Values | None) -> Values | None:
    """None for one that is deleted: it comes back as if it were new."""
    return row if row is not None and row.get(DELETED) is None else None
