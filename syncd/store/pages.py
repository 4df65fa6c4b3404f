"""How does one page become visible, all of it or nothing?

In one transaction, whose first step is to move the checkpoint: whoever finds it
elsewhere writes nothing.  Pages that follow each other may share one.  A page that is
refused for what is in it is halved under savepoints until the bad records stand alone;
they become dead letters of the same transaction.
"""

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

import attrs
import psycopg

from syncd.errors import StoreRefused
from syncd.store import drifts, history, kept_out, known_pages, letters, scans
from syncd.store.checkpoints import must_stand, standing
from syncd.store.connections import Connection, transaction
from syncd.store.halving import halved, must_not_be_all
from syncd.store.history import Moment
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, is_of_the_record, words
from syncd.store.statements import as_page, statements
from syncd.sync import ranges
from syncd.sync.displaced import displaced
from syncd.sync.drift import Drift
from syncd.sync.keepout import dropped
from syncd.sync.model import (
    Block,
    Checkpoint,
    Committed,
    Counts,
    DeadLetter,
    PageCommit,
    Row,
    StreamId,
    Table,
    idempotency_key,
    keys_of,
)

PURGE = 5000  # ledger rows that leave in one transaction
GROUP_ROWS, GROUP_BYTES = 2500, 512 * 1024  # of pages that one statement writes, unless it is one
MOMENT = timedelta(microseconds=1)  # between such pages, as `turning` spells it


Cursor = psycopg.Cursor[tuple[Any, ...]]


class _NotToldApartError(Exception):
    """Of pages that were written by one statement nobody could tell what is whose."""


def commit_pages(
    connection: Connection, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
) -> list[Committed]:
    forgotten: list[str] = []
    while True:
        try:
            return _commit_pages(connection, table, checkpoint, pages, forgotten)
        except _NotToldApartError:
            statements(table).apart = True
        except kept_out.Forgotten as found:
            # While the pages were under way; nothing of them was written.
            forgotten += found.keys
            # The others are still to be looked through.
            pages = [
                dropped(page, found.keys, found.version) if page is found.page else page
                for page in pages
            ]


def _commit_pages(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
) -> list[Committed]:
    try:
        with transaction(connection, "begin_page") as cursor:
            done = _together(cursor, table, checkpoint, pages, forgotten)
            at = done[-1].checkpoint if done else checkpoint
            return done + _each(cursor, table, at, pages[len(done) :], forgotten, _put)
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error) or not any(page.rows for page in pages):
            raise
    return _commit_by_halves(connection, table, checkpoint, pages, forgotten)


def _commit_by_halves(
    connection: Connection,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
) -> list[Committed]:
    with transaction(connection, "begin_page") as cursor:
        cursor.execute(sql("constraints_now"))
        return _each(cursor, table, checkpoint, pages, forgotten, _put_by_halves)


Put = Callable[[Cursor, Table, Checkpoint, PageCommit], Committed]


def _each(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    pages: Sequence[PageCommit],
    forgotten: Sequence[str],
    put: Put,
) -> list[Committed]:
    done = []
    for page in pages:
        taken = known_pages.taken(cursor, table, checkpoint, page, careful=put is _put_by_halves)
        committed = put(cursor, table, checkpoint, page)
        read = attrs.evolve(page, known=None) if committed.refused else page
        knows = known_pages.note(cursor, table, checkpoint, read, taken)
        if knows != committed.checkpoint.knows_pages:
            now = attrs.evolve(committed.checkpoint, knows_pages=knows)
            committed = attrs.evolve(committed, checkpoint=now)
        kept_out.recheck(cursor, committed.checkpoint, page, forgotten)
        done.append(committed)
        checkpoint = committed.checkpoint
    return done


def _is_one_statement(checkpoint: Checkpoint, page: PageCommit) -> bool:
    """Whether a page is written by one statement, with nothing to do before the next one's."""
    # What has been read may be another page's that is known.
    reads = page.known is not None or (checkpoint.knows_pages and page.same is None)
    return page.turns and not reads


def _together(
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
            one.execute(statements(table).turn, _of_turn(at, group))
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


def _put(cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit) -> Committed:
    if page.turns:
        # In one statement, as there is nothing to say of the page but its rows.
        cursor.execute(statements(table).turn, _of_turn(checkpoint, [page]))
        return _turned(cursor, checkpoint, [page], cursor.fetchone())[0]
    cursor.execute(
        statements(table).commit, {**_move(checkpoint, page), "page": as_page(page.rows)}
    )
    moved, *wrote = cursor.fetchone() or (0,)
    if not moved:
        raise displaced(checkpoint, standing(cursor, checkpoint.stream))
    news = _finish(cursor, table, checkpoint, page, page.rows, _Written(*wrote), [])
    # Read before COMMIT: afterwards the answer could get lost a second time.
    return attrs.evolve(_committed(cursor, checkpoint), drifts=news)


def _of_turn(checkpoint: Checkpoint, pages: Sequence[PageCommit]) -> dict[str, object]:
    asked = ("calls", "requests", "retried", "refused", "kept_out")
    return {
        **_move(checkpoint, pages[-1], len(pages)),
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
        raise _NotToldApartError
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
    totals = Counts(**_counts(sums))
    for counts in added:
        totals -= counts
    for number, (page, counts) in enumerate(zip(pages, added, strict=True)):
        if has_letters:
            moment = _moment(moved, page, at + number * MOMENT)
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


def _put_by_halves(
    cursor: Cursor, table: Table, checkpoint: Checkpoint, page: PageCommit
) -> Committed:
    cursor.execute(sql("move_checkpoint"), _move(checkpoint, page))
    moved = cursor.fetchone()
    if moved is None:
        raise displaced(checkpoint, standing(cursor, checkpoint.stream))
    halves = _Halves(
        cursor=cursor,
        upsert=statements(table).upsert,
        checkpoint=checkpoint,
        done=_Written(0, moved[1], []),
    )
    # Sorted as the whole page is, against deadlocks.
    rows = sorted(page.rows, key=lambda row: row.key)
    refused = halved(cursor, rows, halves.put)
    must_not_be_all(rows, refused)
    dead = [_refused(row, reason, checkpoint) for row, reason in refused]
    bad = {id(row) for row, _ in refused}
    good = [row for row in rows if id(row) not in bad]
    news = _finish(cursor, table, checkpoint, page, good, halves.done, dead)
    return attrs.evolve(_committed(cursor, checkpoint), refused=tuple(dead), drifts=news)


def _refused(row: Row, reason: str, checkpoint: Checkpoint) -> DeadLetter:
    called = row.called and checkpoint.cycle is not None
    return DeadLetter(
        kind="refused",
        key=row.key,
        reason=reason,
        payload=row.raw or row.json,
        # Its call was made in this cycle, and a retry of the letter must not make another.
        idempotency_key=_key_of_call(checkpoint, row) if called else None,
    )


def _key_of_call(of: Checkpoint, row: Row) -> str:
    return idempotency_key(of.stream, of.calls_of, of.started, row.key)


@attrs.define(eq=False)
class _Written:
    """What a page has written."""

    many: int
    at: datetime
    """The moment of the page: what the rows that it changed have in `_syncd_changed_at`."""

    changed: list[str]
    """Their keys."""


@attrs.define(eq=False, kw_only=True)
class _Halves:
    """Writes what can be written."""

    cursor: Cursor
    upsert: LiteralString
    checkpoint: Checkpoint
    done: _Written

    def put(self, rows: Sequence[Row]) -> None:
        source, at = self.checkpoint.stream.source, self.done.at
        self.cursor.execute(self.upsert, {"source": source, "at": at, "page": as_page(rows)})
        _, written, _, changed = self.cursor.fetchone() or (0, 0, None, [])
        self.done.many += written
        self.done.changed += changed


def _finish(
    cursor: Cursor,
    table: Table,
    checkpoint: Checkpoint,
    page: PageCommit,
    rows: Sequence[Row],
    done: _Written,
    refused: Sequence[DeadLetter],
) -> tuple[Drift, ...]:
    """Dead letters, history and counters, in the transaction that has written the rows.

    The drifts that were never noted before come back.
    """
    dead = [*page.dead, *refused]
    moment = _moment(checkpoint, page, done.at)
    letters.resolve(cursor, moment, rows, dead, page)
    letters.put_aside(cursor, dead, table, moment, tried=bool(page.letters))
    noted, keyless = scans.note(cursor, table, checkpoint, rows, page, refused)
    _mark_gone(cursor, table, moment, page.gone, done)
    news = drifts.note(cursor, checkpoint.stream, page.drifts, checkpoint.cycle)
    outcome, reason = _outcome(cursor, checkpoint, page, done.many)
    whole = outcome == "ok" and not page.aside
    if whole and checkpoint.follows is None and checkpoint.since is None:
        # It has met all that there is: whose key nobody can tell, leaves as well.
        cursor.execute(sql("drop_keyless"), moment.values)
        if not known_pages.were_met(cursor, checkpoint, page):
            drifts.settle(cursor, checkpoint.stream, checkpoint.cycle)
    if outcome == "ok" and page.high_water is not None:
        stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
        cursor.execute(sql("reach"), {**stream, "high_water": clean(page.high_water)})
    counts = {
        "seen": page.seen,
        "written": done.many,
        "unchanged": len(rows) + len(page.gone) - done.many + page.unread,
        "left_out": page.left_out,
        "dead": len(dead),
        "folded": page.folded,
    }
    if done.changed or dead:
        history.note_page(cursor, moment, page.request, counts, done.changed)
    cursor.execute(
        sql("count_page"),
        {
            **counts,
            "cycle": checkpoint.cycle,
            "outcome": outcome,
            "reason": reason,
            "noted": noted,
            "keyless": keyless,
            "calls": page.calls,
            "requests": page.requests,
            "retried": page.retried,
            "refused": page.refused,
            "kept_out": page.kept_out,
        },
    )
    return news


def _moment(checkpoint: Checkpoint, page: PageCommit, at: datetime) -> Moment:
    return Moment(
        stream=checkpoint.stream,
        at=at,
        cycle=checkpoint.cycle,
        page=None if page.aside else checkpoint.pages + 1,
    )


def _mark_gone(
    cursor: Cursor, table: Table, moment: Moment, gone: Sequence[str], done: _Written
) -> None:
    """Mark rows as deleted of which the API says so; those that are there."""
    if not gone:
        return
    values = {"source": moment.stream.source, "at": moment.at, "keys": list(gone)}
    try:
        cursor.execute(statements(table).mark_gone, values)
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
        raise StoreRefused(
            f"rows that the API has deleted can't be marked so: {words(error)}",
            hint="does a trigger or a constraint of the table refuse it? nothing was written",
        ) from error
    for (key,) in cursor.fetchall():
        done.many += 1
        done.changed.append(key)
        history.note(cursor, moment, "deleted", key, kind="", reason="the API says so")


def _outcome(
    cursor: Cursor, checkpoint: Checkpoint, page: PageCommit, written: int
) -> tuple[str | None, str]:
    """How the cycle ends with this page, and why so; None while it goes on."""
    if page.next_cursor is not None:
        return None, ""
    if page.aside:
        return "ok", ""
    cursor.execute(sql("cycle"), {"cycle": checkpoint.cycle})
    _, _, *counts = cursor.fetchone() or ()
    before = Counts(**_counts(counts))
    totals = attrs.evolve(before, seen=before.seen + page.seen, written=before.written + written)
    known = past(cursor, checkpoint.stream)
    odd = ""
    if checkpoint.since is None:  # of what has changed, nothing is usual
        odd = ranges.unusual(known, totals, extra=checkpoint.follows is not None)
    reason = "; ".join(filter(None, [odd, page.moved]))
    return ("suspicious" if odd else "ok"), clean(reason)


def past(cursor: Cursor, stream: StreamId) -> list[ranges.Past]:
    """What its last whole cycles came to, for `sync.ranges`; the newest first."""
    values = {"source": stream.source, "stream": stream.stream, "limit": ranges.LEARNED_FROM}
    cursor.execute(sql("past"), values)
    return [
        ranges.Past(seen=seen, written=written, seconds=seconds)
        for seen, written, seconds in cursor
    ]


def _move(checkpoint: Checkpoint, page: PageCommit, many: int = 1) -> dict[str, object]:
    """The checkpoint's step over so many pages, of which this is the last."""
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


# --- around the pages -----------------------------------------------------------------------


def begin_cycle(
    connection: Connection,
    checkpoint: Checkpoint,
    fingerprint: str,
    abandon: str,
    *,
    extra: bool,
    reconcile: float | None,
    full: float | None,
    next_start: float | None,
) -> tuple[Checkpoint, Counts]:
    stream = {"source": checkpoint.stream.source, "stream": checkpoint.stream.stream}
    with transaction(connection) as cursor:
        now = must_stand(cursor, checkpoint)
        kept_out.tidy_up(cursor, now)
        if now.cycle is not None and not abandon:
            cursor.execute(sql("unpark"), stream)
            cursor.execute(sql("take_up_cycle"), {"cycle": now.cycle})
            return attrs.evolve(now, resumed=True), Counts(**_counts(cursor.fetchone() or ()))
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


def purge_ledger(connection: Connection, stream: StreamId) -> tuple[bool, bool]:
    """Let one batch of old calls go; whether there may be more, and whether there were any."""
    with transaction(connection) as cursor:
        cursor.execute(
            sql("purge_ledger"),
            {"source": stream.source, "stream": stream.stream, "batch": PURGE},
        )
        gone, there = cursor.fetchone() or (0, False)
        return gone == PURGE, there


def committed(connection: Connection, before: Checkpoint) -> Committed:
    with transaction(connection) as cursor:
        return _committed(cursor, before)


def _committed(cursor: Cursor, before: Checkpoint) -> Committed:
    now = standing(cursor, before.stream)
    cursor.execute(sql("cycle"), {"cycle": before.cycle})
    outcome, reason, *counts = cursor.fetchone() or (None, "")
    return Committed(
        checkpoint=now, totals=Counts(**_counts(counts)), outcome=outcome, reason=reason
    )


COUNTS = (
    *("seen", "written", "unchanged", "left_out", "dead", "folded"),
    *("calls", "requests", "retried", "refused", "kept_out"),
)


def _counts(values: "Sequence[Any]") -> dict[str, int]:
    return dict(zip(COUNTS, values, strict=True))


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


def differing(connection: Connection, table: Table, source: str, rows: Sequence[Row]) -> set[str]:
    try:
        with transaction(connection) as cursor:
            values = {"page": as_page(rows), "source": source}
            cursor.execute(statements(table).differing, values)
            return {rows[position - 1].key for (position,) in cursor}
    except (psycopg.Error, ValueError) as error:
        if not is_of_the_record(error):
            raise
    if len(rows) == 1:
        return set()  # it can't be written, so there is nothing to call for
    middle = len(rows) // 2
    first = differing(connection, table, source, rows[:middle])
    return first | differing(connection, table, source, rows[middle:])
