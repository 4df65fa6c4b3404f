"""How is each record's own call made once, and its answer kept?

The calls of one page run a few at a time inside the page.  What the ledger holds
is not asked again; what was in flight when a process died has an unknown outcome.
An answer is settled as soon as it is read.  When syncd leaves, calls in flight are
awaited and the rest is left: their page stays uncommitted, the settled ones count.

A call whose outcome is unknown and that may not be repeated is in doubt, until a verify
request says what became of it (`sync.doubts`) or it is put aside.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallDone,
    CallFailed,
    CallSkipped,
    Draining,
    RateLimited,
    StoreUnavailable,
    StreamBroken,
    SyncdError,
    TryAgain,
)
from syncd.sync import events
from syncd.sync.clocks import Stopwatch
from syncd.sync.context import StreamContext
from syncd.sync.doubts import Doubt, what_to_do
from syncd.sync.model import (
    DeadLetter,
    Intent,
    LedgerEntry,
    Page,
    Record,
    Row,
    Verdict,
)
from syncd.sync.ports import Permit, Settlement

if TYPE_CHECKING:
    from syncd.sync.turn import Turn  # which imports us

T = TypeVar("T")

INTERRUPTED = (
    "syncd was stopped, or the stream parked, while this call was in flight, and it may not be "
    "repeated"
)
LOST = "the answer to its call never came"
SKIPPED = "a rule left its record out: "
"""Before the reason of a call that failed so, in the ledger: it makes no dead letter."""


async def make_calls(turn: "Turn", page: Page) -> tuple[Sequence[Row], list[DeadLetter]]:
    """Make the calls that the page's records need; returns its rows and its dead letters.

    `turn.begun` is set when the last of them has been begun, and `turn.skipped` holds the
    records that a rule left out for what their calls were answered.
    """
    stream = turn.stream
    dead = [
        DeadLetter(kind="contract", key=r.key, reason=r.reason, payload=r.raw) for r in page.rejects
    ]
    need = await _in_need_of_a_call(turn, page)
    plain = page.records if not need else [r for r in page.records if r.key not in need]
    rows = stream.source.rows(plain)
    calls = _PageCalls(stream=stream, turn=turn)
    wanted = await calls.look_up([r for r in page.records if r.key in need]) if need else []
    stream.report(
        events.PageFetched(
            stream=stream.id,
            page=turn.number,
            last=page.next_cursor is None,
            records=page.seen,
            calls=len(wanted),
            total=page.total,
            seconds=turn.fetched_in,
        )
    )
    await calls.make(wanted)
    for letter, reject in zip(dead, page.rejects, strict=True):
        stream.tell_of(letter, reject.column)
    for letter in calls.dead:
        stream.tell_of(letter)
    return [*rows, *calls.rows] if calls.rows else rows, dead + calls.dead


async def _in_need_of_a_call(turn: "Turn", page: Page) -> set[str]:
    stream = turn.stream
    if not stream.source.has_call:
        return set()
    if not turn.only_changed:
        return {r.key for r in page.records}
    rows = stream.source.rows(page.records)
    return await stream.retry.through_outages(
        lambda: stream.store.differing(stream.table, stream.id.source, rows), stream.on_failure
    )


def _came_to_nothing(error: SyncdError) -> bool:
    """Whether it is certain that the call was not carried out."""
    match error:
        case RateLimited() | AccessDenied():
            return True
        case Draining() | StoreUnavailable():
            # Out of a wait for a token: what was sent before it, with another bearer, was
            # answered by a refusal.
            return True
        case ApiUnavailable(sent="refused" | "no") | StreamBroken(refused=True):
            return True
        case _:
            return False


@attrs.define(eq=False, kw_only=True)
class _PageCalls:
    """The calls of one page's records, and what became of them."""

    stream: StreamContext
    turn: "Turn"
    rows: list[Row] = attrs.field(factory=list, init=False)
    dead: list[DeadLetter] = attrs.field(factory=list, init=False)
    _queue: deque[Record] = attrs.field(factory=deque, init=False)
    _answered: bool = attrs.field(default=False, init=False)
    """The API has answered one of this page's calls, for good or ill."""

    _doubts: dict[str, Doubt] = attrs.field(factory=dict, init=False)
    """By record key: calls whose outcome is unknown and can be asked for."""

    _undone: set[str] = attrs.field(factory=set, init=False)
    """Idempotency keys of calls that are known not to be carried out: nobody has tried, or each
    try came to nothing for certain."""

    _begun: dict[str, Stopwatch] = attrs.field(factory=dict, init=False)
    """By record key: since its call is being made."""

    _exhausted: list[tuple[Record, TryAgain]] = attrs.field(factory=list, init=False)
    _stop: SyncdError | None = attrs.field(default=None, init=False)

    async def look_up(self, records: list[Record]) -> list[Record]:
        """Take from the ledger what was settled before; returns the records still to call."""
        if not records:
            return []
        keys = [self._key(r) for r in records]
        for key in keys:
            # A record that moved from the page before may still be called for there.
            if key in self.stream.in_flight:
                await self.stream.in_flight[key].wait()
        known = await self._known(keys)
        self._undone = {
            key
            for record, key in zip(records, keys, strict=True)
            if (key not in known and record.key not in self.turn.doubtful)
            or key in self.stream.unsent
        }
        return [
            record
            for record, key in zip(records, keys, strict=True)
            if not self._settled(record, known.get(key))
        ]

    async def _known(self, keys: list[str]) -> Mapping[str, LedgerEntry]:
        return await self.stream.retry.through_outages(
            lambda: self.stream.store.ledger(keys), self.stream.on_failure
        )

    def _settled(self, record: Record, entry: LedgerEntry | None) -> bool:
        asked_anew = record.key in self.turn.doubtful
        if entry is None or entry.outcome == "open" or (asked_anew and entry.outcome == "unknown"):
            if self._may_be_made(entry, asked_anew=asked_anew):
                return False
            return self._put_aside_unless_asked(record, entry.reason if entry else LOST)
        self._answered = True
        if entry.outcome == "done":
            self.rows.append(self.stream.source.row(record, entry.kept))
        elif entry.reason.startswith(SKIPPED):
            self.turn.skipped.append(record.key)
        elif entry.outcome == "unknown":
            self._put_aside(record, CallFailed("outcome-unknown", entry.reason))
        else:
            self._put_aside(record, CallFailed("call-failed", entry.reason))
        return True

    def _may_be_made(self, entry: LedgerEntry | None, *, asked_anew: bool) -> bool:
        """Whether a call whose answer nobody knows is no blind repeat."""
        if entry is not None and entry.outcome == "open":
            return self.stream.source.repeatable or entry.idempotency_key in self.stream.unsent
        return self.stream.source.repeatable or (entry is None and not asked_anew)

    def _put_aside_unless_asked(self, record: Record, reason: str) -> bool:
        """A call whose outcome is unknown is settled as that, unless the API can be asked."""
        reason = reason or INTERRUPTED
        if self.stream.source.verifiable:
            self._doubts[record.key] = Doubt.of(reason, repeat=self.turn.repeats)
            return False
        self._put_aside(record, CallFailed("outcome-unknown", reason))
        return True

    async def make(self, records: list[Record]) -> None:
        self._queue.extend(records)
        self.turn.has_calls = bool(records)
        over = trio.Event()
        ours = {self._key(r): over for r in records}
        self.stream.in_flight |= ours
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(min(self.stream.concurrency, len(records))):
                    nursery.start_soon(self._work)
        finally:
            over.set()
            for key in ours:
                del self.stream.in_flight[key]
        # Nothing was cancelled: what had begun has ended, the rest waits for another time.
        trouble = self._stop
        if trouble is None and self._exhausted and not self._answered:
            # Not one call got through: that is the API's trouble, not these records'.
            trouble = self._exhausted[0][1]
        if trouble is not None:
            await self._withdraw(list(ours))
            raise trouble
        for record, error in self._exhausted:
            failed = CallFailed("call-failed", f"gave up after {self._tries} tries: {error}")
            if record.key in self._doubts:
                failed = self._doubts[record.key].stays(failed.reason)
            await self._settle(record, failed)
            self._put_aside(record, failed)

    async def _withdraw(self, keys: list[str]) -> None:
        """Calls that are known not to be carried out are made another time, by whoever it is.

        An intent that stays without an answer is one of which nobody knows what became of it.
        """
        stream = self.stream
        undone = [key for key in keys if key in self._undone]
        if undone:
            await stream.retry.through_outages(
                lambda: stream.store.withdraw_intents(undone, stream.lease),
                stream.on_failure,
                to_the_end=True,
            )
            stream.unsent.difference_update(undone)

    @property
    def _tries(self) -> int:
        return self.stream.retry.retries + 1

    async def _work(self) -> None:
        while self._queue and not self._stop and (self._answered or not self._exhausted):
            record = self._queue.popleft()
            if not self._queue:
                self.turn.begun.set()
            try:
                await self._call(record)
            except TryAgain as error:
                self._exhausted.append((record, error))
                if self.stream.breaker.open is not None:
                    # It fails everybody: that is no matter of this record, whatever was
                    # answered before.
                    self._stop = self._stop or error
            except (StreamBroken, Draining) as error:
                self._stop = self._stop or error

    async def _call(self, record: Record) -> None:
        self._begun[record.key] = Stopwatch()
        try:
            kept = await self.stream.retry.run(
                lambda: self._attempt(record),
                lambda n, error, pause: self.stream.on_failure(n, error, pause, key=record.key),
            )
        except CallDone:
            # Whoever had the source before us was answered while we waited for a token.
            known = await self._known([self._key(record)])
            self._settled(record, known.get(self._key(record)))
        except CallFailed as error:
            self._answered = True
            await self._settle(record, error)
            self._put_aside(record, error)
        except CallSkipped as error:
            self._answered = True
            await self._settle(record, CallFailed("call-failed", f"{SKIPPED}{error.reason}"))
            self.turn.skipped.append(record.key)
            self.stream.tell_left_out(record.key, error.reason, error.cause)
        else:
            self._answered = True
            await self._settle(record, kept)
            self.rows.append(self.stream.source.row(record, kept))

    async def _attempt(self, record: Record) -> bytes:
        """Make the call, but never one that is in doubt: what is asked for then is its outcome.

        The doubt outlasts the attempt, so that the next one asks first, whatever ended this.
        """
        if (kept := await self._read_back(record)) is not None:
            return kept
        source, intent = self.stream.source, self._intent(record)
        key = intent.idempotency_key

        async def call(permit: Permit) -> bytes:
            came_to_nothing = False
            try:
                return await source.call(record, key, permit)
            except SyncdError as error:
                came_to_nothing = _came_to_nothing(error)
                raise
            finally:
                if permit.sent and not came_to_nothing:
                    self.stream.unsent.discard(key)
                    self._undone.discard(key)

        if key in self._undone:  # else an earlier try may have been carried out
            self.stream.unsent.add(key)
        try:
            return await self._ask("call", record, call, intent)
        except CallFailed as error:
            if error.kind != "outcome-unknown" or not source.verifiable:
                raise
            lost = self._doubts[record.key] = Doubt.of(error.reason)
        if (kept := await self._read_back(record)) is not None:
            return kept
        raise ApiUnavailable(f"{lost.reason}; {lost.said}: it was not carried out", sent="refused")

    async def _read_back(self, record: Record) -> bytes | None:
        """What the call gives if it is in doubt and was carried out; None if it is to be made.

        Raises CallFailed if that can't be told.
        """
        doubt = self._doubts.get(record.key)
        if doubt is None:
            return None
        verdict = await self._verify(record, doubt)
        early = self._too_early(doubt)
        if verdict.outcome == "not-done" and early > 0:
            # The API may still be at it, or the request on its way: only what is not done
            # after that is believed.
            await self.stream.waits.sleep(early)
            verdict = await self._verify(record, doubt)
        if verdict.outcome == "unknown" and not doubt.repeat:
            raise doubt.stays(verdict.reason)
        del self._doubts[record.key]
        return verdict.kept if verdict.outcome == "done" else None

    def _too_early(self, doubt: Doubt) -> float:
        """Seconds for which "not done" is not yet the last word."""
        return doubt.since + self.stream.source.timeout - trio.current_time()

    async def _verify(self, record: Record, doubt: Doubt) -> Verdict:
        source, key = self.stream.source, self._key(record)
        try:
            verdict = await self._ask("verify", record, lambda p: source.verify(record, key, p))
        except ApiUnavailable as error:
            if not doubt.repeat:
                raise
            verdict = Verdict(outcome="unknown", reason=str(error))
        doubt.said = verdict.reason
        return verdict

    async def _ask(
        self,
        what: str,
        record: Record,
        send: Callable[[Permit], Awaitable[T]],
        intent: Intent | None = None,
    ) -> T:
        """One request about a record, on a token of its own."""
        async with self.stream.permit(f"{self.stream.id} {what} {record.key}", intent) as permit:
            try:
                return await send(permit)
            except RateLimited:
                self.stream.tally.refused += 1
                raise

    async def _settle(self, record: Record, answer: bytes | CallFailed) -> None:
        self.stream.tally.calls += 1
        if isinstance(answer, CallFailed):
            settlement = Settlement(
                intent=self._intent(record),
                outcome="unknown" if answer.kind == "outcome-unknown" else "failed",
                reason=answer.reason,
            )
        else:
            settlement = Settlement(intent=self._intent(record), outcome="done", kept=answer)
        await self.stream.retry.through_outages(
            lambda: self.stream.ledger.settle(settlement), self.stream.on_failure, to_the_end=True
        )
        self.stream.unsent.discard(settlement.intent.idempotency_key)
        self.stream.report(
            events.CallAnswered(
                stream=self.stream.id,
                key=record.key,
                ok=settlement.outcome == "done",
                seconds=self._begun[record.key].elapsed,
                page=self.turn.number,
                kind=answer.kind if isinstance(answer, CallFailed) else "",
            )
        )

    def _put_aside(self, record: Record, error: CallFailed) -> None:
        reason = error.reason
        if error.kind == "outcome-unknown":
            reason = f"{reason}. {what_to_do(verifiable=self.stream.source.verifiable)}"
        self.dead.append(
            DeadLetter(
                kind=error.kind,
                key=record.key,
                reason=reason,
                payload=record.raw,
                idempotency_key=self._key(record),
                again=error.kind == "call-failed" or self.stream.source.repeatable,
            )
        )

    def _intent(self, record: Record) -> Intent:
        return Intent(
            idempotency_key=self._key(record),
            stream=self.stream.id,
            cycle=self.turn.cycle,
            record_key=record.key,
        )

    def _key(self, record: Record) -> str:
        return self.turn.key_of(record.key)
