"""What is remembered of single records, so that `syncd why` can tell their story?

Which page gave a row the moment that it carries, and what befell a record beside being
written.  All of it is noted in the transaction in which it happens.  A page that changes
nothing leaves nothing.  It is for people alone: nothing in syncd is decided by it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import psycopg

from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import clean
from syncd.sync.befell import What
from syncd.sync.model import Checkpoint, PageCommit, StreamId

PURGE = 5000  # rows that leave in one transaction
KEYS = 1_000_000  # of one stream's changed rows; older pages than those leave before their time

Cursor = psycopg.Cursor[tuple[Any, ...]]


@attrs.frozen(kw_only=True)
class Moment:
    """When and where something happens to records."""

    stream: StreamId
    at: datetime | None
    """None: now."""

    cycle: int | None
    page: int | None = None
    """Its number in the cycle; None beside the list."""

    @property
    def values(self) -> dict[str, object]:
        """For a statement."""
        return {
            "source": self.stream.source,
            "stream": self.stream.stream,
            "at": self.at,
            "cycle": self.cycle,
            "page": self.page,
        }


def moment_of(checkpoint: Checkpoint, page: PageCommit, at: datetime) -> Moment:
    """When a page is written, and which of its cycle it is."""
    return Moment(
        stream=checkpoint.stream,
        at=at,
        cycle=checkpoint.cycle,
        page=None if page.aside else checkpoint.pages + 1,
    )


def note_page(
    cursor: Cursor, moment: Moment, request: str, counts: Mapping[str, int], changed: Sequence[str]
) -> None:
    """Note a page that changed something."""
    values = {"request": clean(request), "many": len(changed), "changed": list(changed), **counts}
    cursor.execute(sql("note_page"), {**moment.values, "number": moment.page, **values})


def note(
    cursor: Cursor, moment: Moment, what: What, key: str, *, kind: str, reason: str = ""
) -> None:
    """Note what befell one record."""
    values = {"what": what, "kind": kind, "reason": clean(reason), "many": 1, "keys": [key]}
    cursor.execute(sql("note_event"), {**moment.values, **values})


def purge(connection: Connection, stream: StreamId, keep: float) -> bool:
    """Let one batch of what is long past go; whether there may be more."""
    values = {"source": stream.source, "stream": stream.stream, "keep": keep, "batch": PURGE}
    with transaction(connection) as cursor:
        cursor.execute(sql("purge_pages"), {**values, "keys": KEYS})
        pages = cursor.rowcount
        cursor.execute(sql("purge_events"), values)
        return PURGE in (pages, cursor.rowcount)
