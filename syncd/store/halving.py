"""Which of a page's rows does Postgres refuse, and in which words?

Found by halving, under savepoints: what is done with the good ones stays done.
"""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from syncd.errors import StoreRefused
from syncd.store.sql import sql
from syncd.store.sqlstate import is_of_the_record, words
from syncd.sync.model import REFUSED_WHOLE, Row

Cursor = psycopg.Cursor[tuple[Any, ...]]
Refused = list[tuple[Row, str]]


def halved(cursor: Cursor, rows: Sequence[Row], step: Callable[[Sequence[Row]], None]) -> Refused:
    """Take the step with all rows that it can be taken with; returns the others, each with why."""
    if not rows:
        return []
    cursor.execute(sql("begin_half"))
    try:
        step(rows)
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
        cursor.execute(sql("undo_half"))
        if len(rows) == 1:
            return [(rows[0], words(error))]
        middle = len(rows) // 2
        return halved(cursor, rows[:middle], step) + halved(cursor, rows[middle:], step)
    cursor.execute(sql("keep_half"))
    return []


def must_not_be_all(rows: Sequence[Row], refused: Refused) -> None:
    """Raise StoreRefused for a page of which nothing can be written: no matter of records."""
    if len(refused) == len(rows) >= REFUSED_WHOLE:
        raise StoreRefused(
            f"all {len(rows)} rows of a page are refused, the first because {refused[0][1]}",
            hint="does the table still fit the API's data? nothing was written",
        )
