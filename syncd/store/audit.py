"""Who asked for what, when and from where?  One row each, kept for 400 days."""

from typing import Any

import psycopg

from syncd.store.sql import sql
from syncd.store.sqlstate import clean
from syncd.sync.asking import Asker, Deed

Cursor = psycopg.Cursor[tuple[Any, ...]]


def note(cursor: Cursor, deed: Deed, *, request: int | None = None) -> None:
    """Write a row in the transaction of what it tells of; long-gone ones leave by the way."""
    cursor.execute(sql("purge_audit"))
    cursor.execute(
        sql("note_in_audit"),
        {
            "who": clean(deed.asker.who),
            "origin": clean(deed.asker.origin),
            "what": clean(deed.what),
            "subject": clean(deed.subject),
            "request": request,
            "ok": deed.ok,
            "answer": clean(deed.answer),
        },
    )


def last(cursor: Cursor, limit: int) -> list[tuple[float, Deed]]:
    """The newest rows, each with its moment."""
    cursor.execute(sql("look_at_audit"), {"limit": limit})
    return [
        (
            at,
            Deed(
                asker=Asker(who=who, origin=origin),
                what=what,
                subject=subject,
                ok=ok,
                answer=answer,
            ),
        )
        for at, who, origin, what, subject, ok, answer in cursor
    ]
