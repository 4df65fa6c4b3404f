"""What is done for a page whose records need columns that the table does not have?

They are added before the page is written, in a transaction of their own: a column that is
there, and empty, is no harm should the page never be committed, and the page that first
brings a field is written whole with it.
"""

from collections.abc import Sequence

from syncd.sync import events
from syncd.sync.context import StreamContext
from syncd.sync.drift import Added, Evolution
from syncd.sync.model import Page

PASSES = 3  # a value that the first pass finds no column for may need one that another has named


async def evolved(stream: StreamContext, page: Page) -> Page:
    """The page, its records judged with the columns that they need.

    Raises StreamBroken if nobody may add them, Draining.
    """
    for _ in range(PASSES):
        if not page.wanted:
            break
        evolution = await _evolve(stream, page.wanted)
        stream.follow(evolution)
        for added in evolution.fresh:
            stream.report(events.ColumnAdded(stream=stream.id, added=added))
        page = stream.source.look_again(page)
    return page


async def _evolve(stream: StreamContext, wanted: Sequence[Added]) -> Evolution:
    return await stream.retry.through_outages(
        lambda: stream.store.evolve(stream.id, stream.configured, stream.lease, wanted),
        stream.on_failure,
    )
