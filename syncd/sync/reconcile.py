"""What is in the table and not at the API any more?  The end of a cycle that was a scan.

`sync.scans` tells what follows from what; the store finds the rows.  Here it is found out
whether the list held still.
"""

from syncd.errors import TryAgain, UnexpectedAnswer
from syncd.sync import events
from syncd.sync.certain import written
from syncd.sync.context import StreamContext
from syncd.sync.displaced import displaced
from syncd.sync.model import Checkpoint
from syncd.sync.turn import Turn


async def conclude(stream: StreamContext, at: Checkpoint, cycle: int) -> Checkpoint:
    """Draw the conclusion of the scan `cycle`, whose last page was committed at `at`.

    Raises what a cycle raises; nothing has been concluded then, and the next scan has to.
    """
    moved, again = stream.movement.words, ""  # for these another pass follows already
    if not moved:
        moved, again = await changed_since(stream)
    found = await written(
        stream,
        at,
        lambda: stream.store.reconcile(stream.table, at, cycle, moved=moved, again=again),
        lambda: stream.store.reconciled(cycle),
    )
    stream.report(events.Reconciled(stream=stream.id, cycle=cycle, found=found))
    now = await stream.retry.through_outages(
        lambda: stream.store.read_checkpoint(stream.id), stream.on_failure
    )
    if now.fence != at.fence:
        raise displaced(at, now)
    return now


async def changed_since(stream: StreamContext) -> tuple[str, str]:
    """Ask for the first page once more: the list may have changed where nobody looked.

    What speaks against the scan, and why another pass is to follow at once.
    """
    if stream.resumed or stream.movement.pages < 2:
        return "", ""
    first = Turn(stream=stream, cycle=0, started="", cursor=None, number=1, page_before=None)
    try:
        page = await first.fetch("once more, to see whether rows moved")
    except (TryAgain, UnexpectedAnswer) as error:
        return f"the first page could not be looked at again: {error}", ""
    same = page.fingerprint() == stream.movement.first_page
    if page.kept_out and not same:
        # Maybe only since the first look: nothing has moved for that.
        there = stream.kept_out.without(stream.id, stream.movement.first_keys)
        same = there == set(page.keys)
    if same:
        return "", ""
    changed = "the first page changed while the others were read"
    return changed, f"rows moved while it paged: {changed}"
