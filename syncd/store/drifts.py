"""How does a stream's data leave its contract, and who has seen that?

Noted in the transaction of the page that shows it; the alarms are made of these rows, so that
a restart tells nothing again.
"""

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import storable
from syncd.sync.drift import Drift, bounded
from syncd.sync.model import StreamId

Cursor = psycopg.Cursor[tuple[Any, ...]]


def note(
    cursor: Cursor, stream: StreamId, drifts: Sequence[Drift], cycle: int | None = None
) -> tuple[Drift, ...]:
    """Note them; those that were never noted before.  cycle: None is the one that runs."""
    if not drifts:
        return ()
    values = {"source": stream.source, "stream": stream.stream, "cycle": cycle}
    cursor.execute(sql("noted_drifts"), values)
    there = set(cursor.fetchall())
    rows = [
        {
            "what": drift.what,
            "name": storable(drift.name),
            "found": drift.found,
            "rule": drift.rule,
            "records": drift.records,
        }
        for drift in bounded(drifts, there)
    ]
    cursor.execute(sql("note_drifts"), {**values, "drifts": json.dumps(rows)})
    return tuple(
        Drift(what=what, name=name, found=found, rule=rule, records=records, expected=expected)
        for what, name, found, rule, records, expected in cursor
        if (what, name, found) not in there
    )


def settle(cursor: Cursor, stream: StreamId, cycle: int | None) -> None:
    """A whole cycle has ended: what it did not meet is true no more, what comes now is new."""
    values = {"source": stream.source, "stream": stream.stream, "cycle": cycle}
    cursor.execute(sql("settle_drifts"), values)


def unaccepted(connection: Connection, stream: StreamId) -> Sequence[Drift]:
    """Those that nobody has seen yet."""
    with transaction(connection) as cursor:
        values = {"source": stream.source, "stream": stream.stream}
        cursor.execute(sql("unaccepted_drifts"), values)
        return [
            Drift(what=what, name=name, found=found, rule=rule, records=records)
            for what, name, found, rule, records in cursor
        ]


def accept(cursor: Cursor, stream: StreamId, names: Sequence[str]) -> list[str]:
    """Somebody has seen them; no names: all.  Those that there were."""
    values = {"source": stream.source, "stream": stream.stream, "names": list(names)}
    cursor.execute(sql("accept_drifts"), values)
    return sorted({name for (name,) in cursor})
