"""Which pages are known, so that an answer without a body can stand for them (`sync.known`)?

All of it changes in the transaction that writes the page's rows.  A page is known by the keys of
its records also where the API has no name for its state: a row that comes to it from another page
takes that one's state away, and one that was there before does not.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql as composed

from syncd.errors import PageNotKnown
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import is_of_the_record
from syncd.store.statements import SOURCE, named, statements
from syncd.sync.known import WHOLE, KnownPage, Validator, prints_of
from syncd.sync.model import Checkpoint, PageCommit, StreamId, Table, keys_of

Cursor = psycopg.Cursor[tuple[Any, ...]]


def find(
    connection: Connection, stream: StreamId, table: Table, asked: str, judged: str
) -> KnownPage | None:
    """What a 304 would stand for; None unless the rows that it means are all there."""
    statement = composed.SQL(
        "{} AND p.table_is = ({}) AND EXISTS (SELECT FROM {} WHERE {} = %(source)s)"
    ).format(
        composed.SQL(sql("known_page")),
        composed.SQL(sql("table_is")),
        named(table.schema, table.name),
        named(SOURCE),
    )
    values = {**_names(stream), **_place(table), "asked": asked, "judged": judged, "whole": WHOLE}
    with transaction(connection, "begin_page") as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    if row is None:
        return None
    of, validator, of_time, following, total, records, left_out, folded, fingerprint, keys = row
    return KnownPage(
        asked=asked,
        judged=of,
        validator=Validator(text=validator, of_time=of_time),
        next_cursor=following,
        total=total,
        records=records,
        left_out=left_out,
        folded=folded,
        fingerprint=fingerprint,
        keys=tuple(keys),
    )


def taken(
    cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit, *, careful: bool
) -> Sequence[str] | None:
    """Keys of rows that are there, and that the page did not hold before: another one may have.

    None where all others have to be read again: a row of the page's own is gone, which nobody
    does who knows pages.  To be asked before the page is written.

    careful: a key may be none that Postgres has.
    """
    if page.same is not None or not (page.asked and checkpoint.knows_pages and _keys(page)):
        return ()
    if not careful:
        return _taken(cursor, table, checkpoint, page)
    cursor.execute(sql("begin_half"))
    try:
        found = _taken(cursor, table, checkpoint, page)
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
        cursor.execute(sql("undo_half"))
        return None
    cursor.execute(sql("keep_half"))
    return found


def _taken(
    cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit
) -> Sequence[str] | None:
    names, keys = _names(checkpoint.stream), _keys(page)
    cursor.execute(sql("keys_of_known"), {**names, "asked": page.asked})
    before, whole = cursor.fetchone() or ([], False)
    cursor.execute(statements(table).there, {**names, "keys": keys})
    there, ours = {key for (key,) in cursor}, set(before)
    own = {key for key, known in zip(keys, prints_of(keys), strict=True) if known in ours}
    strange = [key for key in keys if key in there and key not in own]
    return None if whole and own - there else strange


def note(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    page: PageCommit,
    taken: Sequence[str] | None,
) -> bool:
    """Note what is known now that the page is written; whether the stream knows pages then.

    Raises PageNotKnown if what stands for the page is known no more.
    """
    stream, knows = checkpoint.stream, checkpoint.knows_pages
    if page.same is not None:
        meet(cursor, checkpoint, [page.same])
    elif page.asked and (page.known is not None or knows):
        if taken is None:
            _forget(cursor, stream, but=page.asked)
        elif taken:
            held = {"but": page.asked, "keys": list(prints_of(taken))}
            cursor.execute(sql("unknow_pages_with"), {**_names(stream), **held})
        known = page.known or KnownPage(
            asked=page.asked, judged="", validator=None, keys=prints_of(_keys(page))
        )
        _know(cursor, table, checkpoint, known)
        knows = True
    elif knows and (page.rows or page.gone or page.dead):
        forget(cursor, stream)  # nobody can tell whose rows these are
        knows = False
    if page.next_cursor is None and not page.aside and checkpoint.knows_pages:
        cursor.execute(sql("unknow_unmet_pages"), {**_names(stream), "cycle": checkpoint.cycle})
    return knows


def meet(cursor: Cursor, checkpoint: Checkpoint, pages: Sequence[KnownPage]) -> None:
    """Note that the cycle has come by pages that have not changed.

    Raises PageNotKnown if what stands for one of them is known no more.
    """
    values = {
        **_names(checkpoint.stream),
        "cycle": checkpoint.cycle,
        "asked": [page.asked for page in pages],
        "validator": [page.validator and page.validator.text for page in pages],
        "judged": [page.judged for page in pages],
    }
    cursor.execute(sql("meet_known_page"), values)
    if cursor.rowcount < len(pages):
        raise PageNotKnown(f"{checkpoint.stream}: a page has not changed, but is known no more")


def _know(cursor: Cursor, table: Table, checkpoint: Checkpoint, known: KnownPage) -> None:
    cursor.execute(sql("table_is"), _place(table))
    (table_is,) = cursor.fetchone() or ("",)
    values = {
        **_names(checkpoint.stream),
        "cycle": checkpoint.cycle,
        "asked": known.asked,
        "judged": known.judged,
        "table_is": table_is,
        "validator": known.validator and known.validator.text,
        "of_time": known.validator is not None and known.validator.of_time,
        "next_cursor": known.next_cursor,
        "total": known.total,
        "records": known.records,
        "left_out": known.left_out,
        "folded": known.folded,
        "fingerprint": known.fingerprint,
        "keys": list(known.keys),
    }
    cursor.execute(sql("know_page"), values)


def were_met(cursor: Cursor, checkpoint: Checkpoint, page: PageCommit) -> bool:
    """Whether the cycle, with this page, has had one that was not read."""
    if page.same is not None or not checkpoint.knows_pages:
        return page.same is not None
    names = _names(checkpoint.stream)
    cursor.execute(sql("known_was_met"), {**names, "cycle": checkpoint.cycle})
    return cursor.fetchone() == (True,)


def forget(cursor: Cursor, stream: StreamId) -> None:
    """Let all pages of a stream be read whole the next time."""
    _forget(cursor, stream, but=None)


def _forget(cursor: Cursor, stream: StreamId, *, but: str | None) -> None:
    cursor.execute(sql("unknow_pages"), {**_names(stream), "but": but})


def _keys(page: PageCommit) -> list[str]:
    """Of all that it writes, or marks as deleted."""
    return [*keys_of(page.rows), *page.gone]


def _place(table: Table) -> dict[str, object]:
    return {"schema": table.schema, "table": table.name}


def _names(stream: StreamId) -> dict[str, object]:
    return {"source": stream.source, "stream": stream.stream}
