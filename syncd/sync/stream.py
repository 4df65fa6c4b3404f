"""THE loop.  How does one stream get from its checkpoint to the end of a cycle?

    run_cycle   begins a cycle, or takes up the one that was left, and turns pages
    run_page    one turn: fetch, call, commit
    commit_page its last step (the store's): rows and checkpoint, or nothing

Everything that is remembered is in the checkpoint, so that a death at any point
costs at most the page that was not committed.  The loop knows neither HTTP nor
SQL; when to ask again is `sync.retry`'s business, and whether to ask at all is
the budget's.
"""

import attrs
import trio

from syncd.errors import (
    CheckpointMoved,
    RateLimited,
    StoreUnavailable,
    StreamBroken,
    TryAgain,
    UnexpectedAnswer,
)
from syncd.sync import events
from syncd.sync.calls import make_calls
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint, Committed, Counts, DeadLetter, Page, PageCommit, Row

REFUSED_WHOLE = 10  # records; a page of so many that is refused whole is no matter of records


async def run_cycle(stream: StreamContext) -> Committed:
    """Run one cycle to its end, from wherever the checkpoint stands.

    Raises TryAgain when the retries are used up, StreamBroken when someone has to
    act, Draining when syncd leaves.  The checkpoint stays, and the next call goes on.
    """
    started = trio.current_time()
    checkpoint = None
    try:
        checkpoint, totals = await _begin(stream)
        cycle = checkpoint.cycle or 0
        stream.report(events.CycleStarted(stream=stream.id, checkpoint=checkpoint, totals=totals))
        while True:
            committed = await run_page(stream, checkpoint)
            checkpoint = committed.checkpoint
            if committed.outcome is not None:
                break
    except (TryAgain, StreamBroken) as error:
        if checkpoint is not None:
            await _leave_word(stream, checkpoint, error)
        if isinstance(error, StreamBroken):
            stream.report(events.Parked(stream=stream.id, reason=error.reason, hint=error.hint))
        raise
    stream.report(
        events.CycleEnded(
            stream=stream.id,
            cycle=cycle,
            outcome=committed.outcome,
            reason=committed.reason,
            totals=committed.totals,
            seconds=trio.current_time() - started,
        )
    )
    return committed


async def run_page(stream: StreamContext, checkpoint: Checkpoint) -> Committed:
    """Fetch the page that the checkpoint asks for, make its calls, and commit it."""
    page = await _fetch(stream, checkpoint)
    _refuse_what_never_ends(checkpoint, page)
    rows, dead = await make_calls(stream, checkpoint, page)
    return await _commit(stream, checkpoint, _page_commit(stream, page, rows, dead))


async def _begin(stream: StreamContext) -> tuple[Checkpoint, Counts]:
    async def begin() -> tuple[Checkpoint, Counts]:
        # Read anew at each try: after an unknown outcome the cycle may have begun.
        checkpoint = await stream.store.read_checkpoint(stream.id)
        if checkpoint.fence != stream.lease.fence:
            raise _taken(stream)
        fingerprint = stream.source.fingerprint
        changed = checkpoint.cycle is not None and checkpoint.fingerprint != fingerprint
        return await stream.store.begin_cycle(
            checkpoint,
            fingerprint=fingerprint,
            abandon="address, path, page, params or filter changed" if changed else "",
        )

    return await stream.retry.through_outages(begin, stream.on_failure)


async def _fetch(stream: StreamContext, checkpoint: Checkpoint) -> Page:
    async def attempt() -> Page:
        spent_on = f"{stream.id} page {checkpoint.pages + 1}"
        async with stream.permit(spent_on) as permit:
            try:
                return await stream.source.fetch(checkpoint.cursor, permit)
            except RateLimited:
                stream.tally.refused += 1
                raise

    return await stream.retry.run(attempt, stream.on_failure)


def _refuse_what_never_ends(checkpoint: Checkpoint, page: Page) -> None:
    number = checkpoint.pages + 1
    if len(page.rejects) >= REFUSED_WHOLE and len(page.rejects) == page.seen:
        raise UnexpectedAnswer(
            f"page {number}: all {page.seen} records break the contract, "
            f"the first because {page.rejects[0].reason}",
            hint="compare `columns` and `key` with what the API sends; nothing was written",
        )
    if page.next_cursor is not None and page.fingerprint() == checkpoint.last_page:
        what = f"the same {page.seen} records as" if page.seen else "no records, like"
        raise UnexpectedAnswer(
            f"page {number} holds {what} page {number - 1}, and another is said to follow",
            hint="does the API know the page parameter? compare `page` with its documentation",
        )


def _page_commit(
    stream: StreamContext, page: Page, rows: list[Row], dead: list[DeadLetter]
) -> PageCommit:
    return PageCommit(
        rows=rows,
        dead=dead,
        left_out=len(page.left_out),
        folded=page.folded,
        next_cursor=page.next_cursor,
        last_page=page.fingerprint(),
        rest=stream.every if page.next_cursor is None else None,
        **attrs.asdict(stream.tally),
    )


async def _commit(stream: StreamContext, checkpoint: Checkpoint, page: PageCommit) -> Committed:
    """Commit; and if the answer is lost, find out what happened before anything else."""
    unknown = False

    async def commit() -> Committed:
        nonlocal unknown
        if unknown:
            now = await stream.store.read_checkpoint(stream.id)
            if now.fence != checkpoint.fence:
                raise _taken(stream)
            if now.seq == checkpoint.seq + 1:
                return await stream.store.committed(checkpoint)
            if now.seq != checkpoint.seq:
                raise _taken(stream)
            unknown = False
        try:
            return await stream.store.commit_page(stream.table, checkpoint, page)
        except StoreUnavailable:
            unknown = True
            raise

    committed = await stream.retry.through_outages(commit, stream.on_failure)
    stream.tally.clear()
    stream.report(
        events.PageCommitted(
            stream=stream.id, checkpoint=committed.checkpoint, totals=committed.totals
        )
    )
    return committed


def _taken(stream: StreamContext) -> CheckpointMoved:
    return CheckpointMoved(
        f"{stream.id}: the checkpoint was moved by somebody else, and nothing was written",
        hint="one syncd at a time may run a source; stop the other one",
    )


async def _leave_word(
    stream: StreamContext, checkpoint: Checkpoint, error: TryAgain | StreamBroken
) -> None:
    """Write on the cycle's row why it stands, if that can be done."""
    try:
        await stream.store.note_trouble(
            checkpoint,
            parked=isinstance(error, StreamBroken),
            reason=str(error),
            counts=stream.tally.counts(),
        )
    except (StoreUnavailable, StreamBroken):
        return  # the error itself is on its way to whoever called
    stream.tally.clear()
