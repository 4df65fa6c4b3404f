"""How does a cycle begin, how is it given up, what has it come to, when is it forgotten?"""

from collections.abc import Sequence
from typing import Any

import attrs
import psycopg

from syncd.store import history, kept_out, known_pages, tables
from syncd.store.checkpoints import must_stand, standing
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import clean
from syncd.sync import ranges
from syncd.sync.model import Checkpoint, Committed, Counts, StreamId, Table

KEPT = 10_000  # of one stream; older ones leave before their time

Cursor = psycopg.Cursor[tuple[Any, ...]]

COUNTS = (
    *("seen", "written", "unchanged", "left_out", "dead", "folded"),
    *("calls", "requests", "retried", "refused", "kept_out"),
)
"""The sums of a cycle, in the order in which statements give them."""


def counts_of(values: Sequence[int]) -> Counts:
    """Such sums."""
    return Counts(**dict(zip(COUNTS, values, strict=True)))


def begin(
    connection: Connection,
    checkpoint: Checkpoint,
    fingerprint: str,
    abandon: str,
    *,
    extra: bool,
    reconcile: float | None,
    full: float | None,
    next_start: float | None,
    table: Table | None,
) -> tuple[Checkpoint, Counts]:
    stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
    with transaction(connection) as cursor:
        now = must_stand(cursor, checkpoint)
        if table is not None:
            tables.must_still_fit(cursor, table)
        kept_out.tidy_up(cursor, now)
        if now.cycle is not None and not abandon:
            cursor.execute(sql("unpark"), stream)
            cursor.execute(sql("take_up_cycle"), {"cycle": now.cycle})
            return attrs.evolve(now, resumed=True), counts_of(cursor.fetchone() or ())
        if now.cycle is not None:
            cursor.execute(sql("abandon_cycle"), {"cycle": now.cycle, "reason": abandon})
        cursor.execute(sql("forget_seen"), stream)
        if now.fingerprint not in ("", fingerprint):
            for anew in ("forget_missing", "learn_anew", "forget_mark"):
                cursor.execute(sql(anew), stream)
        values = {"extra": extra, "reconcile": reconcile, "full": full}
        cursor.execute(sql("insert_cycle"), {**stream, **values})
        (cycle,) = cursor.fetchone() or (0,)
        cursor.execute(
            sql("enter_cycle"),
            {
                **stream,
                "cycle": cycle,
                "fingerprint": fingerprint,
                "next_start": next_start,
                "seq": now.seq,
                "fence": now.fence,
            },
        )
        return standing(cursor, checkpoint.stream), Counts()


def begin_aside(connection: Connection, checkpoint: Checkpoint, why: str) -> Checkpoint:
    stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
    with transaction(connection) as cursor:
        now = must_stand(cursor, checkpoint)
        cursor.execute(sql("begin_aside"), {**stream, "reason": clean(why)})
        cycle, started = cursor.fetchone() or (0, "")
        return attrs.evolve(now, cycle=cycle, started=started, follows=None, reconcile=False)


def reset(connection: Connection, checkpoint: Checkpoint, why: str) -> Checkpoint:
    stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
    with transaction(connection) as cursor:
        now = must_stand(cursor, checkpoint)
        if now.cycle is not None:
            cursor.execute(sql("abandon_cycle"), {"cycle": now.cycle, "reason": clean(why)})
        cursor.execute(sql("forget_missing"), stream)
        known_pages.forget(cursor, checkpoint.stream)
        cursor.execute(sql("reset_checkpoint"), stream)
        return standing(cursor, checkpoint.stream)


def committed(connection: Connection, before: Checkpoint) -> Committed:
    with transaction(connection) as cursor:
        return came_to(cursor, before)


def came_to(cursor: Cursor, before: Checkpoint) -> Committed:
    """Where the stream stands in this transaction, and what the cycle has come to so far."""
    now = standing(cursor, before.stream)
    cursor.execute(sql("cycle"), {"cycle": before.cycle})
    outcome, reason, *counts = cursor.fetchone() or (None, "")
    return Committed(checkpoint=now, totals=counts_of(counts), outcome=outcome, reason=reason)


def note_trouble(
    connection: Connection, checkpoint: Checkpoint, parked: bool, reason: str, counts: Counts
) -> None:
    stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
    values = {**stream, "fence": checkpoint.fence, "cycle": checkpoint.cycle}
    values |= {"reason": clean(reason), "calls": counts.calls, "requests": counts.requests}
    values |= {"retried": counts.retried, "refused": counts.refused}
    with transaction(connection) as cursor:
        cursor.execute(sql("note_trouble"), values)
        if parked:
            cursor.execute(sql("park"), values)


def past(cursor: Cursor, stream: StreamId) -> list[ranges.Past]:
    """What its last whole cycles came to, for `sync.ranges`; the newest first."""
    values = {"source": stream.source, "stream": stream.stream, "limit": ranges.LEARNED_FROM}
    cursor.execute(sql("past"), values)
    return [
        ranges.Past(seen=seen, written=written, seconds=seconds)
        for seen, written, seconds in cursor
    ]


def purge(connection: Connection, stream: StreamId, keep: float) -> bool:
    """Let one batch of those that ended over `keep` seconds ago go; whether there may be more.

    Those stay by which something is decided still: see the statement.
    """
    values = {"source": stream.source, "stream": stream.stream, "keep": keep}
    values |= {"kept": KEPT, "learned": ranges.LEARNED_FROM, "batch": history.PURGE}
    with transaction(connection) as cursor:
        cursor.execute(sql("purge_cycles"), values)
        return cursor.rowcount == history.PURGE
