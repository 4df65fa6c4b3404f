"""Where does a stream stand, and is that where whoever wants to change it left it?"""

from collections.abc import Mapping
from typing import Any

import psycopg

from syncd.errors import CheckpointMoved
from syncd.schedule import Schedule
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.sync.displaced import displaced
from syncd.sync.model import Checkpoint, PageCommit, StreamId

Cursor = psycopg.Cursor[tuple[Any, ...]]


def read(connection: Connection, stream: StreamId, *, lock: bool) -> Checkpoint:
    with transaction(connection) as cursor:
        return standing(cursor, stream, lock=lock)


def standing(cursor: Cursor, stream: StreamId, *, lock: bool = False) -> Checkpoint:
    """As this transaction sees it; `lock` waits for a lost backend that may still commit."""
    name = "lock_checkpoint" if lock else "read_checkpoint"
    cursor.execute(sql(name), {"source": stream.source, "stream": stream.stream})
    row = cursor.fetchone()
    if row is None:
        raise CheckpointMoved(
            f"{stream}: its checkpoint is gone", hint="restart syncd; the stream begins anew"
        )
    seq, fence, cycle, cursor_text, pages, fingerprint, last_page, next_start, paused, *scan = row
    extra_due, follows, reconcile, question, since, high_seen, api_clock, *rest = scan
    kept_out, knows_pages, clock = rest
    started = ""
    if cycle is not None:
        # A statement of its own: what we waited for the lock to see may have begun it.
        cursor.execute(sql("cycle_started"), {"cycle": follows or cycle})
        (started,) = cursor.fetchone() or ("",)
    return Checkpoint(
        stream=stream,
        seq=seq,
        fence=fence,
        cycle=cycle,
        started=started,
        cursor=cursor_text,
        pages=pages,
        fingerprint=fingerprint,
        last_page=last_page,
        next_start=next_start,
        clock=clock,
        paused=paused,
        extra_due=extra_due,
        follows=follows,
        reconcile=reconcile,
        question=question,
        since=since,
        high_seen=high_seen,
        api_clock=api_clock,
        kept_out_version=kept_out,
        knows_pages=knows_pages,
    )


def follow(cursor: Cursor, names: Mapping[str, object], schedule: Schedule) -> None:
    """Let the next start be one of the schedule's, or what is owed of the one before it."""
    cursor.execute(sql("lock_schedule"), names)
    for text, next_start, now in cursor.fetchall():  # none: the lease is not ours any more
        start = schedule.opened(next_start, now, same=text == str(schedule))
        cursor.execute(
            sql("follow_schedule"), {**names, "schedule": str(schedule), "next_start": start}
        )


def clock(connection: Connection) -> float:
    with transaction(connection) as cursor:
        cursor.execute(sql("clock"))
        (now,) = cursor.fetchone() or (0.0,)
        return float(now)


def must_stand(cursor: Cursor, checkpoint: Checkpoint) -> Checkpoint:
    """Lock it, and raise (`sync.displaced`) if it is not where it is expected."""
    now = standing(cursor, checkpoint.stream, lock=True)
    if (now.seq, now.fence) != (checkpoint.seq, checkpoint.fence):
        raise displaced(checkpoint, now)
    return now


def step(checkpoint: Checkpoint, page: PageCommit, many: int = 1) -> dict[str, object]:
    """Its step over so many pages, of which this is the last: for the statements that take it."""
    return {
        "many": many,
        "source": checkpoint.stream.source,
        "stream": checkpoint.stream.stream,
        "seq": checkpoint.seq,
        "fence": checkpoint.fence,
        "next_cursor": page.next_cursor,
        "last_page": page.last_page,
        "ends": page.next_cursor is None and not page.aside,
        "aside": page.aside,
        "rest": page.rest,
        "extra_due": page.extra_due,
        "high_seen": page.high_seen,
        "api_clock": page.api_clock,
    }
