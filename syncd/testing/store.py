"""A store in memory, on trio's clock: `ports.Store` with the semantics of the real one.

It can be told to fail: `fail_next` makes one call of a method raise, before or after
it did its work; `away` makes every method raise until it is False again.  Here are its
streams and pages; what else it has, and what befalls it, is in its bases.
"""

from collections.abc import Sequence

import attrs

from syncd.errors import PageNotKnown
from syncd.schedule import Schedule
from syncd.sync.displaced import displaced
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    Lease,
    PageCommit,
    Row,
    StreamId,
    Table,
)
from syncd.sync.ranges import Past, unusual
from syncd.sync.scans import Reconciled, broken_in
from syncd.testing.asked import Requests
from syncd.testing.drifting import Drifting
from syncd.testing.forgetting import Forgetting
from syncd.testing.known import Known
from syncd.testing.letters import Letters
from syncd.testing.rows import FakeCycle
from syncd.testing.scanning import DELETED, conclude, note
from syncd.testing.tokens import Tokens
from syncd.testing.values import (
    RefusedError,
    Values,
    key_of,
    must_be_taken,
    typed_key,
    values_of,
)


@attrs.define(eq=False)
class FakeStore(Tokens, Letters, Requests, Drifting, Forgetting, Known):
    """Everything that lasts, until the test ends."""

    def hurry(self) -> None: ...

    async def open_stream(
        self,
        stream: StreamId,
        table: Table,
        lease: Lease,
        *,
        every: float,
        schedule: Schedule | None = None,
    ) -> Checkpoint:
        async with self._at("open_stream"):
            if stream not in self.checkpoints:
                self.checkpoints[stream] = Checkpoint(stream=stream, seq=0, fence=lease.fence)
            self.tables.setdefault((table.schema, table.name), {})
            if self.checkpoints[stream].fence == lease.fence:
                self.parked.pop(stream, None)
                if schedule is None:
                    self._plan_next_start(stream, every)
                else:
                    self._follow(stream, schedule)
            for cycle in self.cycles:
                if cycle.stream == stream and cycle.aside and cycle.outcome is None:
                    cycle.outcome = "abandoned"
            return self._read(stream)

    def _follow(self, stream: StreamId, schedule: Schedule) -> None:
        same = self._schedules.get(stream) == str(schedule)
        start = schedule.opened(self._next_starts.get(stream), self._now(), same=same)
        self._schedules[stream] = str(schedule)
        if start is not None:
            self._next_starts[stream] = start

    def _plan_next_start(self, stream: StreamId, every: float) -> None:
        self._schedules.pop(stream, None)
        ended = self._whole(stream)
        if stream in self._next_starts and ended:
            self._next_starts[stream] = ended[-1].started_at + every
        else:
            self._next_starts.pop(stream, None)

    async def clock(self) -> float:
        async with self._at("clock"):
            return self._now()

    async def read_checkpoint(
        self,
        stream: StreamId,
        *,
        fresh: bool = True,  # noqa: ARG002 - there is no connection that could be a wrong one
    ) -> Checkpoint:
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
            clock=self._now(),
            paused=stream in self.paused,
            follows=cycle.follows if cycle else None,
            reconcile=cycle is not None and cycle.reconcile,
            question=self.scans[stream].question,
            since=cycle.since if cycle else None,
            kept_out_version=self.kept_out_versions.get(stream, 0),
            knows_pages=self._knows(stream),
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
        full: float | None = 0.0,
        next_start: float | None = None,
        table: Table | None = None,  # noqa: ARG002 - nobody else has this one's tables
    ) -> tuple[Checkpoint, Counts]:
        async with self._at("begin_cycle"):
            now = self._unmoved(checkpoint)
            self._tidy_up(now)
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
                self.high_water.pop(now.stream, None)
            old = self._now() - scans.reconciled_at
            follows = whole[-1] if extra and whole else None
            reconciles = scans.due or (reconcile is not None and old > reconcile)
            cycle = FakeCycle(
                id=len(self.cycles) + 1,
                stream=now.stream,
                started_at=self._now(),
                follows=follows.id if follows else None,
                reconcile=reconciles,
                since=follows.since if follows else self._since(now.stream, full, reconciles),
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
            if next_start is not None:
                self._next_starts[now.stream] = next_start
            return self._read(now.stream), Counts()

    def _since(self, stream: StreamId, full: float | None, reconciles: bool) -> str | None:
        lists = [c for c in self._whole(stream) if c.since is None and c.outcome == "ok"]
        if reconciles or not lists:
            return None
        old = self._now() - max(c.started_at for c in lists)
        recent = old > 0 and (full is None or old <= full)
        return self.high_water.get(stream) if recent else None

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

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        async with self._at("commit_pages"):
            self._unmoved(checkpoint)
            for page in pages[1:]:  # the first one, too, is refused before anything is written
                must_be_taken(table, page, checkpoint)
            # What one page writes may take from another what it stands for.
            before = self.kept() if any(page.same for page in pages[1:]) else {}
            done = []
            try:
                for page in pages:
                    done.append(self._commit(table, checkpoint, page))
                    checkpoint = done[-1].checkpoint
            except PageNotKnown:
                self.go_back(before)
                raise
            return done

    def _commit(self, table: Table, checkpoint: Checkpoint, page: PageCommit) -> Committed:
        now = self._unmoved(checkpoint)
        page = self._without_forgotten(now.stream, page)
        self._must_be_known(now, page)
        taken = self._taken(table, now, page)
        good, refused = must_be_taken(table, page, checkpoint)
        source = now.stream.source
        written = sum(self._write(table, source, row, values) for row, values in good)
        written += sum(self._mark_gone(table, source, key) for key in page.gone)
        succeeded = {row.key for row, _ in good}
        self._resolve_dead(now.stream, succeeded | set(page.gone))
        for letter in [*page.dead, *refused]:
            self._put_aside(now.stream, letter, checkpoint.cycle or 0)
        for number, key in page.letters.items():
            if key is None or key in succeeded:
                self._letter_leaves(number)
        if page.aside:
            now = attrs.evolve(now, cycle=checkpoint.cycle)
        cycle = self._cycle(now.cycle or 0)
        note(self.scans[now.stream], cycle, table, now.stream.source, good, page, refused)
        kept = len(good) + len(page.gone) - written + page.unread
        self._count(now, page, written, kept, len(page.dead) + len(refused))
        ended = cycle.outcome == "ok" and not page.aside
        if ended and cycle.follows is None and cycle.since is None:
            self._drop_keyless(now.stream, cycle.id)
        if ended and page.high_water is not None:
            self.high_water[now.stream] = page.high_water
        news = self._note_drifts(now.stream, page.drifts, cycle.id)
        self._note_known(table, now, attrs.evolve(page, known=None) if refused else page, taken)
        whole = not self._were_met(now.stream, cycle.id)
        if ended and cycle.follows is None and cycle.since is None and whole:
            self._settle_drifts(now.stream, cycle.id)
        self._move(now, page)
        return attrs.evolve(self._committed(now), refused=tuple(refused), drifts=news)

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
            self._unknow(now.stream)
            self.parked.pop(now.stream, None)
            return self._read(now.stream)

    async def reconcile(
        self, table: Table, checkpoint: Checkpoint, cycle: int, *, moved: str, again: str = ""
    ) -> Reconciled:
        async with self._at("reconcile"):
            now = self._unmoved(checkpoint)
            there = self.tables[(table.schema, table.name)]
            scans, of = self.scans[now.stream], self._cycle(cycle)
            source, again = now.stream.source, "" if of.follows is not None else again
            found, extra_due = conclude(scans, of, there, source, moved, again, self._now())
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
                self.high_water.pop(now.stream, None)
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
            cycle.counts += counts

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

    def _mark_gone(self, table: Table, source: str, text: str) -> bool:
        there = self.tables[(table.schema, table.name)]
        key = typed_key(table, source, text)
        if (live := _live(there.get(key))) is None:
            return False
        there[key] = {**live, DELETED: self._now()}
        return True

    def _count(
        self, at: Checkpoint, page: PageCommit, written: int, unchanged: int, dead: int
    ) -> None:
        cycle = self._cycle(at.cycle or 0)
        cycle.pages += 1
        cycle.counts += page.counted(written=written, unchanged=unchanged, dead=dead)
        if page.next_cursor is not None:
            return
        if page.aside:
            cycle.outcome = "ok"
            return
        known = [
            c
            for c in self._whole(at.stream)
            if c.id > self.scans[at.stream].usual_from and c.since is None
        ]
        past = [Past(seen=c.counts.seen, written=c.counts.written) for c in reversed(known)]
        odd = ""
        if cycle.since is None:
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
            high_seen=page.high_seen,
            api_clock=page.api_clock,
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
