"""How are pages written of which nothing but their rows is to be said?

By one statement, with the step of the checkpoint, the sums and the history: nine round trips
otherwise.  Small pages that follow each other share one; of each row it is still known which of
them has written it, by its moment.
"""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString

import attrs
import psycopg

from syncd.store import kept_out, known_pages, letters
from syncd.store.checkpoints import standing, step
from syncd.store.cycles import counts_of
from syncd.store.history import moment_of
from syncd.store.sqlstate import clean
from syncd.store.statements import as_page, statements
from syncd.sync.displaced import displaced
from syncd.sync.model import Block, Checkpoint, Committed, PageCommit, Table, keys_of

GROUP_ROWS, GROUP_BYTES = 2500, 512 * 1024  # of pages that one statement writes, unless it is one
MOMENT = timedelta(microseconds=1)  # between such pages, as `turning` spells it

Cursor = psycopg.Cursor[tuple[Any, ...]]


class NotNewError(Exception):
    """In a stream's first cycle a row is there already."""


class NotToldApartError(Exception):
    """Of pages that were written by one statement nobody could tell what is whose."""


def _is_one_statement(checkpoint: Checkpoint, page: PageCommit) -> bool:
    """Whether a page is written by one statement, with nothing to do before the next one's."""
    # What has been read may be another page's that is known.
    reads = page.known is not None or (checkpoint.knows_pages and page.same is None)
    return page.turns and not reads


def together(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
) -> list[Committed]:
    """Those of the first pages, if there are several, of which nothing but rows is to be said.

    All are sent before the first answer is awaited: Postgres need not wait for us.
    """
    pages = list(itertools.takewhile(lambda page: _is_one_statement(checkpoint, page), pages))
    if len(pages) < 2:
        return []
    connection, groups = cursor.connection, grouped(table, pages)
    with connection.pipeline():
        sent, at = [connection.cursor() for _ in groups], checkpoint
        for one, group in zip(sent, groups, strict=True):
            one.execute(_statement(table, at), _of_turn(at, group))
            many = len(group)
            at = attrs.evolve(at, seq=at.seq + many, pages=at.pages + many)
        answers = [one.fetchone() for one in sent]
    done: list[Committed] = []
    for group, answer in zip(groups, answers, strict=True):
        for page, turned in zip(group, _turned(cursor, checkpoint, group, answer), strict=True):
            done.append(turned)
            checkpoint = turned.checkpoint
            kept_out.recheck(cursor, checkpoint, page, forgotten)
    if same := [page.same for page in pages if page.same is not None]:
        known_pages.meet(cursor, checkpoint, same)
    return done


def turn(cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit) -> Committed:
    """One such page."""
    cursor.execute(_statement(table, checkpoint), _of_turn(checkpoint, [page]))
    (turned,) = _turned(cursor, checkpoint, [page], cursor.fetchone())
    return turned


def are_new(table: Table, checkpoint: Checkpoint) -> bool:
    """Whether no row of the stream can be there, as far as we know.

    That is so in its first cycle: all that its checkpoint has moved over is this cycle's begin,
    and its pages.  Another one may have left rows in the table, and a list may have a record twice.
    """
    return checkpoint.seq == checkpoint.pages + 1 and not statements(table).met


def _statement(table: Table, checkpoint: Checkpoint) -> LiteralString:
    known = statements(table)
    return known.first_turn if are_new(table, checkpoint) else known.turn


def grouped(table: Table, pages: Sequence[PageCommit]) -> list[list[PageCommit]]:
    """Pages that one statement can write: to parse it and to plan it is half of a small one's work.

    None of them may have a row of another one's, of which the last has to win.  What came as one
    text has keys of which we know, as well as Postgres does, whether they are the same.
    """
    groups: list[list[PageCommit]] = []
    keys: set[str] = set()
    size = 0
    for page in pages:
        own, text = keys_of(page.rows), _text(table, page)
        size += len(text or b"")
        fits = text is not None and size <= GROUP_BYTES and len(keys) + len(own) <= GROUP_ROWS
        if groups and fits and keys.isdisjoint(own):
            groups[-1].append(page)
        else:
            groups.append([page])
            keys, size = set(), GROUP_BYTES + 1 if text is None else len(text)
        keys.update(own)
    return groups


def _text(table: Table, page: PageCommit) -> bytes | None:
    """A page's rows as they came; None if it can't share a statement."""
    if not page.rows:
        return b""
    # Of rows in which that alone has changed nobody could tell which page has written them.
    apart = table.volatile or table.kept or statements(table).apart
    if apart or not isinstance(page.rows, Block):
        return None
    return page.rows.text


def _of_turn(checkpoint: Checkpoint, pages: Sequence[PageCommit]) -> dict[str, object]:
    asked = ("calls", "requests", "retried", "refused", "kept_out")
    return {
        **step(checkpoint, pages[-1], len(pages)),
        "pages": [as_page(page.rows) for page in pages],
        "cycle": checkpoint.cycle,
        "number": checkpoint.pages + 1,
        "request": [clean(page.request) for page in pages],
        "seen": [page.seen for page in pages],
        "rows": [len(page.rows) + page.unread for page in pages],
        "left_out": [page.left_out for page in pages],
        "folded": [page.folded for page in pages],
        **{name: sum(getattr(page, name) for page in pages) for name in asked},
    }


def _turned(
    cursor: Cursor,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    row: tuple[Any, ...] | None,
) -> list[Committed]:
    """What that statement's answer says of each page."""
    if row is None:
        raise displaced(checkpoint, standing(cursor, checkpoint.stream))
    mixed, each, *rest = row
    at, next_start, paused, extra_due, question, version, clock, has_letters, *sums = rest
    if mixed:
        raise NotToldApartError
    moved = attrs.evolve(
        checkpoint,
        resumed=False,
        next_start=next_start,
        paused=paused,
        extra_due=extra_due,
        question=question,
        kept_out_version=version,
        clock=clock,
    )
    done = []
    added = [
        page.counted(written=written, unchanged=len(page.rows) + page.unread - written)
        for page, written in zip(pages, each, strict=True)
    ]
    totals = counts_of(sums)
    for counts in added:
        totals -= counts
    for number, (page, counts) in enumerate(zip(pages, added, strict=True)):
        if has_letters:
            moment = moment_of(moved, page, at + number * MOMENT)
            letters.resolve(cursor, moment, page.rows, (), page)
        moved = attrs.evolve(
            moved,
            seq=moved.seq + 1,
            pages=moved.pages + 1,
            cursor=page.next_cursor,
            last_page=page.last_page,
            high_seen=page.high_seen,
            api_clock=page.api_clock,
        )
        totals += counts
        done.append(Committed(checkpoint=moved, totals=totals))
    return done
