"""THE loop.  How does one stream get from its checkpoint to the end of a cycle?

    run_cycle   begins a cycle, or takes up the one that was left, and turns pages; if it was
                a scan, what it did not meet is looked at (`sync.reconcile`)
    Line        which pages are under way at once (`sync.line`)
    Turn        one page: fetched, its calls made (`sync.turn`)
    commit      its last step: rows and checkpoint together, or nothing

Everything that is remembered is in the checkpoint, so that a death at any point
costs at most the page that was not committed.  The loop knows neither HTTP nor
SQL; when to ask again is `sync.retry`'s business, and whether to ask at all is
the budget's.
"""

from collections.abc import Collection, Sequence

import attrs
import trio

from syncd.errors import (
    Draining,
    PageNotKnown,
    StoreUnavailable,
    StoreWentBack,
    StreamBroken,
    SyncdError,
    TryAgain,
    UnexpectedAnswer,
)
from syncd.sync import events
from syncd.sync.certain import written
from syncd.sync.clocks import Stopwatch
from syncd.sync.context import StreamContext
from syncd.sync.displaced import displaced
from syncd.sync.drift import What
from syncd.sync.due import Missed, following, missed
from syncd.sync.line import Line
from syncd.sync.model import Checkpoint, Committed, Counts, PageCommit
from syncd.sync.moves import Movement
from syncd.sync.reconcile import conclude
from syncd.sync.turn import Turn
from syncd.sync.turned import Turned

NOTED = 1000  # drifts that one cycle notes; Postgres remembers no more than 100 of a stream
TOO_MANY = 20  # dead letters of one cycle …
TOO_LARGE_A_SHARE = 0.05  # … that are more than this part of its records, park the stream


async def run_cycle(
    stream: StreamContext,
    at: Checkpoint | None = None,
    *,
    extra: bool = False,
    due: float | None = None,
) -> Committed:
    """Run one cycle to its end, from wherever the checkpoint stands.

    at: where this process has halted (see below), to go on there.
    extra: a cycle that begins now is one out of turn.
    due: the start of its schedule that was found due (`sync.due`), if that is why it begins.

    Raises TryAgain when the retries are used up, StreamBroken when someone has to
    act, Draining when syncd leaves.  The checkpoint stays, and the next call goes on.
    Returns at a page boundary with no outcome when `stream.halt` asks for it.
    """
    while True:
        try:
            return await _run_cycle(stream, at, extra=extra, due=due)
        except StoreWentBack as error:
            # The lease is still ours, and pages are upserts: what was lost is fetched again.
            stream.report(events.WentBack(stream=stream.id, reason=str(error)))
            at = None
        except PageNotKnown:
            # Nothing was written: the cycle is taken up, and the page is looked up anew.
            at = None
            continue
        await store_answers_again(stream)


async def store_answers_again(stream: StreamContext) -> None:
    """What the ledger may have lost, as far as this process knows it: before it is looked at."""
    await stream.retry.through_outages(
        lambda: stream.ledger.store_again(stream.id), stream.on_failure
    )


async def _run_cycle(
    stream: StreamContext, at: Checkpoint | None, *, extra: bool, due: float | None
) -> Committed:
    if at is None or at.cycle is None or at.fingerprint != stream.source.fingerprint:
        at, totals, abandoned, late = await _begin(stream, extra=extra, due=due)
        stream.source.anew()
        stream.began, stream.resumed, stream.before = Stopwatch(), at.resumed, totals
        stream.movement, stream.alerts, stream.turned = Movement(), {}, Turned()
        stream.noted = set()
        if at.follows is None:
            stream.in_turn = None if at.resumed else stream.began
        stream.report(
            events.CycleStarted(stream=stream.id, checkpoint=at, totals=totals, abandoned=abandoned)
        )
        if late is not None:
            stream.report(events.CaughtUp(stream=stream.id, missed=late))
    await stream.learn_kept_out(at)
    committed = await _turn_pages(stream, at)
    if committed.outcome is not None:
        stream.report(
            events.CycleEnded(
                stream=stream.id,
                cycle=at.cycle or 0,
                outcome=committed.outcome,
                reason=committed.reason,
                totals=committed.totals,
                seconds=stream.began.elapsed if stream.began else 0.0,
            )
        )
        if at.reconcile:
            standing = await conclude(stream, committed.checkpoint, at.cycle or 0)
            committed = attrs.evolve(committed, checkpoint=standing)
        refuse_too_many_dead(stream, committed.totals)
    return committed


async def _turn_pages(stream: StreamContext, checkpoint: Checkpoint) -> Committed:
    trouble: SyncdError | None = None
    async with trio.open_nursery() as turns:
        # A scan reads its list in order: what is not met may be taken for gone.
        line = Line(stream=stream, nursery=turns, foresees=not checkpoint.reconcile)
        line.begin(
            Turn(
                stream=stream,
                cycle=checkpoint.calls_of,
                started=checkpoint.started,
                cursor=checkpoint.cursor,
                number=checkpoint.pages + 1,
                # While nobody looked, so many rows may have come in as a page holds: the page
                # that comes next is then the one that was committed, and that is no loop.
                page_before=None if checkpoint.resumed else checkpoint.last_page,
                turned=stream.turned,
                since=checkpoint.since,
                # A scan has to meet each key.
                conditional=checkpoint.knows_pages and not checkpoint.reconcile,
                # In its first cycle all is new: to note what would stand for a page costs
                # then as much as half of writing it.
                notes=checkpoint.next_start is not None,
            )
        )
        try:
            while True:
                ready = await line.ready()
                committed = await run_pages(stream, checkpoint, ready)
                checkpoint = committed.checkpoint
                if committed.outcome is None:
                    await stream.learn_kept_out(checkpoint)
                    refuse_too_many_dead(stream, committed.totals)
                line.committed(ready)
                if committed.outcome is not None or not line.go_on():
                    break
        except (TryAgain, StreamBroken, Draining) as error:
            # Nothing is cancelled: what the next page has in flight is awaited, and it
            # waits for nothing more.
            trouble = error
            stream.waits.end()
    if trouble is None:
        return committed
    stream.waits.reopen()
    if isinstance(trouble, TryAgain | StreamBroken) and not isinstance(trouble, PageNotKnown):
        await _leave_word(stream, checkpoint, trouble)
    raise trouble


async def run_pages(
    stream: StreamContext, checkpoint: Checkpoint, turns: Sequence[Turn]
) -> Committed:
    """Commit pages that are ready, of which the checkpoint asks for the first."""
    pages: list[PageCommit] = []
    at, noted = checkpoint, set(stream.noted)
    for turn in turns:
        prepared = turn.prepared or await turn.ready()
        page = _told_of_the_whole(stream, at, turn, prepared, noted)
        noted |= {drift.identity for drift in page.drifts}
        # What was asked until now is told with the first.
        pages.append(page if pages else attrs.evolve(page, **attrs.asdict(stream.tally)))
        at = attrs.evolve(
            at, pages=at.pages + 1, high_seen=page.high_seen, api_clock=page.api_clock
        )
    took = Stopwatch()
    done = await commit(stream, checkpoint, pages)
    stream.noted = noted
    for committed in done:
        for letter in committed.refused:
            stream.tell_of(letter)
        stream.tell_of_drifts(committed.drifts)
        stream.report(
            events.PageCommitted(
                stream=stream.id,
                checkpoint=committed.checkpoint,
                totals=committed.totals,
                seconds=took.elapsed / len(done),
            )
        )
    return done[-1]


def _told_of_the_whole(
    stream: StreamContext,
    checkpoint: Checkpoint,
    turn: Turn,
    page: PageCommit,
    noted: Collection[tuple[What, str, str]],
) -> PageCommit:
    """The page with what only a look at the whole cycle tells; `noted`: drifts that are."""
    # One that is noted need not be again, unless its records are counted.
    room = len(noted) < NOTED
    fresh = tuple(d for d in page.drifts if d.records or (room and d.identity not in noted))
    page = attrs.evolve(page, drifts=fresh)
    if turn.page is not None:
        stream.movement.look(turn.page)
    if checkpoint.reconcile:
        known = [d.key for d in page.dead if d.key is not None]
        keys = (*(turn.page.left_out if turn.page else ()), *turn.skipped, *known)
        page = attrs.evolve(page, keys=keys, keyless=len(page.dead) - len(known))
    page = _marked(stream, checkpoint, turn, page)
    if page.next_cursor is not None:
        return page
    moved, in_turn = stream.movement.words, checkpoint.follows is None
    if not moved:
        return page if in_turn else attrs.evolve(page, rest=None)
    if in_turn:
        why = f"rows moved while it paged: {moved}"
        return attrs.evolve(page, moved=f"{why}; a second pass follows", extra_due=why)
    return attrs.evolve(
        page,
        rest=None,
        moved=f"rows moved again: {moved}; what both passes missed is left to the next cycle",
    )


def _marked(
    stream: StreamContext, checkpoint: Checkpoint, turn: Turn, page: PageCommit
) -> PageCommit:
    """How far the cycle has come with the page; at its end how far the stream has.

    Not above what the API could have made visible when the first page was asked for: what it
    was still committing then may be older than what it showed.
    """
    seen, clock = checkpoint.high_seen, checkpoint.api_clock
    if turn.page is not None:
        seen = stream.source.higher(seen, turn.page.mark)
        clock = turn.page.clock if clock is None else clock
    page = attrs.evolve(page, high_seen=seen, api_clock=clock)
    if page.next_cursor is not None or seen is None or clock is None:
        return page
    reached = stream.source.bounded(seen, clock)
    paged = checkpoint.since is not None and checkpoint.pages > 0
    changing = stream.source.by_place and reached != seen
    if paged and (changing or stream.movement.words):
        # A record that changes while its list is paged may let another one slip by: what was
        # asked for is asked for again.  After a whole list that is left to the next one.
        return page
    # A lookback, or a clock that was stepped back, does not lead back.
    return attrs.evolve(page, high_water=stream.source.higher(checkpoint.since, reached))


def refuse_too_many_dead(stream: StreamContext, totals: Counts) -> None:
    """So many are no matter of single records.  Whoever resumes the stream has seen them."""
    dead, seen = totals.dead - stream.before.dead, totals.seen - stream.before.seen
    if dead > TOO_MANY and dead > TOO_LARGE_A_SHARE * seen:
        raise UnexpectedAnswer(
            f"{dead} of {seen} records were put aside",
            hint=f"see `syncd dead list {stream.id}`; to go on all the same, resume the stream",
        )


async def read_ours(stream: StreamContext, *, fresh: bool = True) -> Checkpoint:
    """The checkpoint as it stands; raises (`sync.displaced`) if the lease is not ours."""
    now = await stream.store.read_checkpoint(stream.id, fresh=fresh)
    if now.fence != stream.lease.fence:
        raise displaced(Checkpoint(stream=stream.id, seq=0, fence=stream.lease.fence), now)
    return now


async def _begin(
    stream: StreamContext, *, extra: bool, due: float | None
) -> tuple[Checkpoint, Counts, str, Missed | None]:
    schedule = stream.schedule
    again = False

    async def begin() -> tuple[Checkpoint, Counts, str, Missed | None]:
        nonlocal again
        # Read anew at each try: after an unknown outcome the cycle may have begun.
        checkpoint = await read_ours(stream, fresh=again)
        again = True
        fingerprint = stream.source.fingerprint
        changed = checkpoint.cycle is not None and checkpoint.fingerprint != fingerprint
        abandon = "address, path, page, params or filter changed" if changed else ""
        begun = await stream.store.begin_cycle(
            checkpoint,
            fingerprint=fingerprint,
            abandon=abandon,
            extra=extra,
            reconcile=stream.reconcile,
            full=stream.full,
            next_start=None if schedule is None or extra else following(schedule, checkpoint, due),
            table=stream.table,
        )
        late = None if schedule is None or extra else missed(schedule, checkpoint)
        return *begun, abandon, None if begun[0].resumed else late

    return await stream.retry.through_outages(begin, stream.on_failure)


async def commit(
    stream: StreamContext, checkpoint: Checkpoint, pages: Sequence[PageCommit]
) -> Sequence[Committed]:
    """Commit, once, whatever becomes of Postgres's answers.

    Of pages whose answer was lost only what came of the last of them comes back.
    """

    async def what_was() -> Sequence[Committed]:
        return [await stream.store.committed(checkpoint)]

    committed = await written(
        stream,
        checkpoint,
        lambda: stream.store.commit_pages(stream.table, checkpoint, pages),
        what_was,
        steps=len(pages),
    )
    for page in pages:
        stream.tally.settle(page)
    return committed


async def _leave_word(
    stream: StreamContext, checkpoint: Checkpoint, error: TryAgain | StreamBroken
) -> None:
    """Write on the cycle's row why it stands, if that can be done."""
    counts = stream.tally.counts()
    try:
        await stream.store.note_trouble(
            checkpoint,
            parked=isinstance(error, StreamBroken),
            reason=str(error),
            counts=counts,
        )
    except (StoreUnavailable, StreamBroken):
        return  # the error itself is on its way to whoever called
    stream.tally.settle(counts)
    stream.report(events.CycleStopped(stream=stream.id, counts=counts))
