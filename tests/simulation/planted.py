"""Bugs that the search has to find: each breaks one rule that the code keeps."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from syncd.daemon.runner import Runner
from syncd.errors import Draining, StoreUnavailable, TryAgain
from syncd.sync import stream as loop
from syncd.sync.breaker import Breaker
from syncd.sync.bucket import TokenBucket
from syncd.sync.calls import _PageCalls
from syncd.sync.line import Line
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    Intent,
    LedgerEntry,
    PageCommit,
    Record,
    Table,
)
from syncd.sync.permit import TokenPermit
from syncd.sync.ports import PLAIN, Price
from syncd.sync.turn import Turn
from syncd.sync.waits import Waits
from syncd.testing import FakeSource, FakeStore
from syncd.testing.values import values_of
from tests.simulation.planted_deletes import DELETES
from tests.simulation.planted_known import KNOWN
from tests.simulation.world import SimSource

Patch = tuple[object, str, Any]


def checkpoint_before_the_rows() -> list[Patch]:
    whole = FakeStore.commit_pages

    async def commit(
        self: FakeStore, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        nothing = [
            attrs.evolve(page, rows=[], dead=[], left_out=len(page.rows) + len(page.dead))
            for page in pages
        ]
        committed = await whole(self, table, checkpoint, nothing)
        await trio.sleep(0.05)
        for row in (row for page in pages for row in page.rows):
            self._write(table, checkpoint.stream.source, row, values_of(table, row))
        return committed

    return [(FakeStore, "commit_pages", commit)]


def token_refunded_on_failure() -> list[Patch]:
    close = TokenPermit.close

    async def refund(self: TokenPermit) -> None:
        spending = self.spending
        if spending is not None and spending.writing and spending.answered_at is None:
            for bucket, tokens in spending.tokens.items():
                await bucket.give_back(*tokens)
        await close(self)

    return [(TokenPermit, "close", refund)]


def token_back_too_early() -> list[Patch]:
    return [(TokenBucket, "takes", property(lambda self: self.settings.per * 0.9))]


def cursor_from_memory_after_an_unknown_commit() -> list[Patch]:
    whole = loop.commit

    async def commit(
        stream: Any, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        try:
            return await stream.store.commit_pages(stream.table, checkpoint, pages)  # type: ignore[no-any-return]
        except StoreUnavailable:
            if pages[-1].next_cursor is None:
                return await whole(stream, checkpoint, pages)
            moved = attrs.evolve(
                checkpoint,
                seq=checkpoint.seq + len(pages),
                cursor=pages[-1].next_cursor,
                pages=checkpoint.pages + len(pages),
            )
            return [Committed(checkpoint=moved, totals=Counts())]

    def unmoved(self: FakeStore, checkpoint: Checkpoint) -> Checkpoint:
        return attrs.evolve(self.checkpoints[checkpoint.stream], cursor=checkpoint.cursor)

    return [(loop, "commit", commit), (FakeStore, "_unmoved", unmoved)]


def sequence_not_checked_in_the_commit() -> list[Patch]:
    async def commit(
        stream: Any, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        # Sent again until somebody says yes.
        async def attempt() -> Sequence[Committed]:
            now = await stream.store.read_checkpoint(stream.id)
            again = attrs.evolve(checkpoint, seq=now.seq)
            return await stream.store.commit_pages(stream.table, again, pages)  # type: ignore[no-any-return]

        return await stream.retry.through_outages(attempt, stream.on_failure)  # type: ignore[no-any-return]

    return [(loop, "commit", commit)]


def lease_not_checked_in_the_commit() -> list[Patch]:
    def unmoved(self: FakeStore, checkpoint: Checkpoint) -> Checkpoint:
        return self.checkpoints[checkpoint.stream]

    return [(FakeStore, "_unmoved", unmoved)]


def key_made_after_the_first_try() -> list[Patch]:
    spend = TokenPermit.spend

    async def late(self: TokenPermit, price: Price = PLAIN) -> None:
        self.intent = None
        await spend(self, price)

    return [(TokenPermit, "spend", late)]


def post_repeated_on_a_read_error() -> list[Patch]:
    whole = FakeSource.call

    async def call(self: SimSource, record: Record, key: str, permit: Any) -> bytes:
        before, self.repeatable = self.repeatable, True
        try:
            return await whole(self, record, key, permit)
        finally:
            self.repeatable = before

    return [(FakeSource, "call", call)]


def page_size_changed_in_mid_cycle() -> list[Patch]:
    return [(SimSource, "fingerprint", property(lambda _: "the same"))]


def ledger_not_read() -> list[Patch]:
    async def nothing(self: _PageCalls, keys: list[str]) -> dict[str, LedgerEntry]:
        return {}

    def made_all_the_same(self: FakeStore, intent: Intent | None) -> None:
        pass

    return [
        (_PageCalls, "_known", nothing),
        (FakeStore, "_must_not_be_done", made_all_the_same),
    ]


def open_call_repeated_after_a_crash() -> list[Patch]:
    settled = _PageCalls._settled

    def only_ended(self: _PageCalls, record: Record, entry: Any) -> bool:
        return entry is not None and entry.outcome != "open" and settled(self, record, entry)

    return [(_PageCalls, "_settled", only_ended)]


def not_done_believed_at_once() -> list[Patch]:
    return [(_PageCalls, "_too_early", lambda *_: 0.0)]


def what_verify_says_ignored() -> list[Patch]:
    async def ignored(self: _PageCalls, record: Record) -> None:
        doubt = self._doubts.pop(record.key, None)
        if doubt is not None:
            await self._verify(record, doubt)

    return [(_PageCalls, "_read_back", ignored)]


def doubt_that_ends_with_its_attempt() -> list[Patch]:
    whole = _PageCalls._attempt

    async def attempt(self: _PageCalls, record: Record) -> bytes:
        try:
            return await whole(self, record)
        finally:
            self._doubts.pop(record.key, None)

    return [(_PageCalls, "_attempt", attempt)]


def key_not_the_same_again() -> list[Patch]:
    drawn = random.Random(1)

    def key_of(self: Turn, record_key: str) -> str:
        del self
        return f"{record_key} {drawn.random()}"

    return [(Turn, "key_of", key_of)]


def a_page_skipped() -> list[Patch]:
    following = Turn.following

    def further(self: Turn) -> Turn | None:
        turn = following(self)
        if turn is not None and turn.number == 3:
            turn.cursor = str(int(turn.cursor or 1) + 1)
        return turn

    return [(Turn, "following", further)]


def dead_letters_forgotten() -> list[Patch]:
    return [(_PageCalls, "_put_aside", lambda *_: None)]


def a_count_forgotten() -> list[Patch]:
    count = FakeStore._count

    def without_unchanged(
        self: FakeStore, at: Checkpoint, page: PageCommit, written: int, unchanged: int, dead: int
    ) -> None:
        count(self, at, page, written, 0 * unchanged, dead)

    return [(FakeStore, "_count", without_unchanged)]


def waits_that_do_not_end() -> list[Patch]:
    def end(self: Waits) -> None:
        self._ended = True

    return [(Waits, "end", end)]


def a_failing_page_given_up() -> list[Patch]:
    ready, run_pages = Line.ready, loop.run_pages

    async def given_up(self: Line) -> Sequence[Turn]:
        try:
            return await ready(self)
        except TryAgain:
            return []

    async def commit(stream: Any, checkpoint: Checkpoint, turns: Sequence[Turn]) -> Committed:
        if turns:
            return await run_pages(stream, checkpoint, turns)
        page = PageCommit(
            rows=[], dead=[], left_out=0, folded=0, next_cursor=None, last_page="", rest=1.0
        )
        return (await loop.commit(stream, checkpoint, [page]))[-1]

    return [(Line, "ready", given_up), (loop, "run_pages", commit)]


def a_cycle_taken_up_at_its_first_page() -> list[Patch]:
    begin = FakeStore.begin_cycle

    async def from_the_first(
        self: FakeStore, checkpoint: Checkpoint, **others: Any
    ) -> tuple[Checkpoint, Counts]:
        begun, counts = await begin(self, checkpoint, **others)
        again = attrs.evolve(begun, cursor=None, pages=0, last_page=None)
        self.checkpoints[begun.stream] = again
        return again, counts

    return [(FakeStore, "begin_cycle", from_the_first)]


def trouble_of_one_stream_ends_all() -> list[Patch]:
    async def park(self: Runner, error: Exception) -> None:
        del self
        raise RuntimeError("a stream is broken") from error

    return [(Runner, "_park", park)]


def paused_streams_go_on() -> list[Patch]:
    return [(Runner, "_paused", property(lambda _: False, lambda _, __: None))]


def few_records_move_the_checkpoint() -> list[Patch]:
    move = FakeStore._move

    def as_a_page(self: FakeStore, at: Checkpoint, page: PageCommit) -> None:
        now = self.checkpoints[at.stream]
        if page.aside and now.cycle is not None:
            self.checkpoints[at.stream] = attrs.evolve(now, seq=now.seq + 1, pages=now.pages + 1)
            return
        move(self, at, page)

    return [(FakeStore, "_move", as_a_page)]


def a_budget_change_forgives_the_debt() -> list[Patch]:
    async def change(self: TokenBucket, settings: Any, longest: float) -> None:
        self.settings, self.timeout = settings, longest
        found = self.store.budgets[settings.name]  # type: ignore[attr-defined]  # the fake
        found.tokens.clear()
        self._spent.clear()
        await self.open()

    return [(TokenBucket, "change", change)]


def a_probe_that_was_not_sent_keeps_its_right() -> list[Patch]:
    attempt = Breaker.attempt

    @asynccontextmanager
    async def keep(self: Breaker, **others: Any) -> AsyncIterator[Waits]:
        probes = None
        try:
            async with attempt(self, **others) as tokens:
                probes = self.open  # who is let in while it is open is the probe
                yield tokens
        except (Draining, StoreUnavailable, trio.Cancelled):
            if probes is not None:
                probes.probing = True
            raise

    return [(Breaker, "attempt", keep)]


def tokens_spent_by_who_waited_when_the_breaker_opened() -> list[Patch]:
    failed = Breaker._failed

    def forget(self: Breaker, *told: Any, probes: bool) -> None:
        self._tokens.clear()
        failed(self, *told, probes=probes)

    return [(Breaker, "_failed", forget)]


def an_open_breaker_lets_all_in() -> list[Patch]:
    async def let_in(self: Breaker, *_: Any) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    return [(Breaker, "_admitted", let_in)]


def a_mark_ahead_of_the_api() -> list[Patch]:
    return [(SimSource, "bounded", lambda _self, mark, _clock: mark)]


def a_mark_reached_before_the_end() -> list[Patch]:
    whole = FakeStore._move

    def move(self: FakeStore, at: Checkpoint, page: PageCommit) -> None:
        whole(self, at, page)
        if page.high_seen is not None and self.high_water.get(at.stream) is not None:
            self.high_water[at.stream] = page.high_seen

    return [(FakeStore, "_move", move)]


BUGS: tuple[Callable[[], list[Patch]], ...] = (
    checkpoint_before_the_rows,
    token_refunded_on_failure,
    token_back_too_early,
    cursor_from_memory_after_an_unknown_commit,
    sequence_not_checked_in_the_commit,
    lease_not_checked_in_the_commit,
    key_made_after_the_first_try,
    post_repeated_on_a_read_error,
    page_size_changed_in_mid_cycle,
    ledger_not_read,
    open_call_repeated_after_a_crash,
    not_done_believed_at_once,
    what_verify_says_ignored,
    doubt_that_ends_with_its_attempt,
    key_not_the_same_again,
    a_page_skipped,
    dead_letters_forgotten,
    a_count_forgotten,
    waits_that_do_not_end,
    a_failing_page_given_up,
    a_cycle_taken_up_at_its_first_page,
    trouble_of_one_stream_ends_all,
    paused_streams_go_on,
    few_records_move_the_checkpoint,
    a_budget_change_forgives_the_debt,
    *DELETES,
    *KNOWN,
    a_probe_that_was_not_sent_keeps_its_right,
    tokens_spent_by_who_waited_when_the_breaker_opened,
    an_open_breaker_lets_all_in,
    a_mark_ahead_of_the_api,
    a_mark_reached_before_the_end,
)
