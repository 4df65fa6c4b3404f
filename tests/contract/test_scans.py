"""Promise 6, no delete on absence, on every store."""

from typing import Any

import attrs
import pytest
from psycopg import sql

from syncd.errors import StoreUnavailable
from syncd.sync.model import Checkpoint, DeadLetter, Row, StreamId, Table
from syncd.sync.scans import Reconciled
from syncd.testing import FakeStore
from tests.contract.subjects import (
    ADS,
    PostgresSubject,
    Stream,
    Subject,
    campaigns,
    key,
    letter,
    opened,
    page,
    row,
)

FIVE = ("1", "2", "3", "4", "5")


async def scan(
    stream: Stream,
    *rows: Row,
    dead: tuple[DeadLetter, ...] = (),
    moved: str = "",
    interrupted: bool = False,
    **more: Any,
) -> Reconciled:
    """One whole cycle of one page that notes its keys, and its conclusion."""
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    assert stream.at.reconcile
    if interrupted:
        stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f")
        assert stream.at.resumed
    cycle = stream.at.cycle or 0
    known = [d.key for d in dead if d.key is not None]
    with_keys = attrs.evolve(
        page(*rows, dead=dead, next_cursor=None, **more),
        keys=tuple(known),
        keyless=len(dead) - len(known),
    )
    await stream.commit(with_keys)
    return await conclude(stream, cycle, moved)


async def conclude(stream: Stream, cycle: int, moved: str = "") -> Reconciled:
    found = await stream.store.reconcile(stream.table, stream.at, cycle, moved=moved)
    stream.at = await stream.store.read_checkpoint(stream.id)
    return found


async def filled(subject: Subject, *ids: str) -> Stream:
    """A stream whose table holds these."""
    stream = await opened(subject.store)
    await stream.whole_cycle(*campaigns(*(ids or FIVE)))
    return stream


async def test_no_delete_a_row_is_marked_after_two_scans_and_not_before(subject: Subject) -> None:
    """One absence is not enough; what was met in between is not gone."""
    stream = await filled(subject)
    assert await scan(stream, *campaigns("1", "2", "3")) == Reconciled(missing=2)
    assert await subject.gone() == set()
    assert await scan(stream, *campaigns("1", "2", "3", "4")) == Reconciled(deleted=1)
    assert await subject.gone() == {"5"}
    assert await scan(stream, *campaigns("1", "2", "3")) == Reconciled(missing=1)


async def test_no_delete_a_record_that_returns_loses_its_mark(subject: Subject) -> None:
    """It is written as if it were new, also where only what differs is called for."""
    stream = await filled(subject)
    for _ in range(2):
        await scan(stream, *campaigns("1", "2", "3", "4"))
    assert await subject.store.differing(stream.table, "ads", [row("5")]) == {key("5")}
    done = await stream.whole_cycle(*campaigns(*FIVE))
    assert (done.totals.written, done.totals.unchanged) == (1, 4)
    assert await subject.gone() == set()


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ({"interrupted": True}, "it was interrupted"),
        ({"dead": (letter(None),)}, "1 record had no key that could be told"),
        ({"moved": "rows moved"}, "rows moved"),
    ],
    ids=["interrupted", "keyless", "moved"],
)
async def test_no_delete_a_broken_scan_tells_nothing_and_is_due_again(
    subject: Subject, kind: dict[str, Any], broken: str
) -> None:
    """It neither confirms nor begins an absence."""
    stream = await filled(subject)
    assert await scan(stream, *campaigns("1"), **kind) == Reconciled(broken=broken)
    assert await scan(stream, *campaigns("1", "2", "3", "4")) == Reconciled(missing=1)
    assert await scan(stream, *campaigns("1"), **kind) == Reconciled(broken=broken)
    assert await stream.store.reconciled(4) == Reconciled(broken=broken)
    assert await subject.gone() == set()
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=None)
    assert stream.at.reconcile
    done = await subject.cycle(4)
    assert broken in done.reason


async def test_no_delete_where_rows_moved_another_pass_is_due_at_once_and_one_only(
    subject: Subject,
) -> None:
    """CASES 20: a broken scan brings one pass out of turn; that one brings none."""
    stream = await filled(subject)
    for extra, due in ((False, "rows moved"), (True, "")):
        stream.at, _ = await stream.store.begin_cycle(
            stream.at, fingerprint="f", reconcile=0.0, extra=extra
        )
        cycle = stream.at.cycle or 0
        await stream.commit(attrs.evolve(page(*campaigns("1"), next_cursor=None), keys=()))
        found = await stream.store.reconcile(
            stream.table, stream.at, cycle, moved="moved", again="rows moved"
        )
        stream.at = await stream.store.read_checkpoint(stream.id)
        assert found == Reconciled(broken="moved")
        assert stream.at.extra_due == due


async def test_no_delete_what_postgres_lost_breaks_the_scan(subject: Subject) -> None:
    """The noted keys are not worth its log: a crash takes them, and nothing follows from that."""
    stream = await filled(subject)
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(*campaigns("1", "2")), keys=()))
    await subject.forget_seen()
    await stream.commit(attrs.evolve(page(*campaigns("3"), next_cursor=None), keys=()))
    assert "lost" in (await conclude(stream, cycle)).broken


async def test_no_delete_rejects_and_what_is_left_out_count_as_met(subject: Subject) -> None:
    """A bad record is there, and one that `where` leaves out is as well; a refused row, too."""
    stream = await filled(subject)
    for _ in range(2):
        stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
        cycle = stream.at.cycle or 0
        rows = [row("1"), row("2"), row("3", clicks=2**63)]
        commit = page(*rows, dead=(letter("4"),), left_out=1, next_cursor=None)
        await stream.commit(attrs.evolve(commit, keys=(key("4"), key("5"))))
        assert await conclude(stream, cycle) == Reconciled()
    assert await subject.gone() == set()


@pytest.mark.parametrize(
    ("many", "gone", "asked"),
    [(100, 11, True), (100, 10, False), (300, 11, False), (300, 16, True), (12, 12, True)],
)
async def test_no_delete_the_guard_asks_where_much_would_go(
    subject: Subject, many: int, gone: int, asked: bool
) -> None:
    """More than ten rows that are more than 5 %."""
    stream = await filled(subject, *map(str, range(many)))
    left = campaigns(*map(str, range(gone, many)))
    assert (await scan(stream, *left)).missing == gone
    found = await scan(stream, *left)
    assert bool(found.question) == asked
    assert (f"{gone} of {many} rows are gone" in found.question) == asked
    assert len(await subject.gone()) == (0 if asked else gone)


async def test_no_delete_what_was_approved_may_go_and_nothing_else(subject: Subject) -> None:
    """An approval is for what was missing when it was given, if it is missing once more."""
    stream = await filled(subject, *map(str, range(40)))
    for _ in range(2):
        await scan(stream, *campaigns(*map(str, range(12, 40))))
    assert "12 of 40 rows are gone" in stream.at.question
    stream.at = await stream.store.ask_to_reconcile(stream.at, "asked", approve=True)
    assert (stream.at.extra_due, stream.at.question) == ("asked", "")
    found = await scan(stream, *campaigns("3", *map(str, range(14, 40))))
    assert (found.deleted, found.missing, found.question) == (11, 2, "")
    assert await subject.gone() == {str(n) for n in range(12) if n != 3}


async def test_no_delete_a_suspicious_scan_asks(subject: Subject) -> None:
    """An empty list deletes not one row by itself."""
    stream = await filled(subject)
    for _ in range(2):
        found = await scan(stream)
    assert "the scan was suspicious: no records" in found.question
    assert await stream.store.reconciled(3) == found
    assert await subject.gone() == set()


async def test_no_delete_other_settings_begin_anew(subject: Subject) -> None:
    """What another list missed says nothing of this one."""
    stream = await filled(subject)
    await scan(stream, *campaigns("1"))
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="g", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(*campaigns("1"), next_cursor=None), keys=()))
    assert await conclude(stream, cycle) == Reconciled(missing=4)


async def test_no_delete_rows_of_another_source_are_not_looked_at(subject: Subject) -> None:
    """Accounts that share a table do not meet."""
    other = await opened(subject.store, StreamId(source="other", stream="campaigns"))
    await other.whole_cycle(*campaigns("7", "8"))
    stream = await filled(subject)
    for _ in range(2):
        await scan(stream, *campaigns("1", "2", "3", "4"))
    assert await subject.gone() == {"5"}


KEYED = Table(
    schema="public",
    name="keyed",
    columns={"id": "numeric", "at": "timestamptz", "of": "uuid"},
    key=("id", "at", "of"),
)
LOWER = "2f1e8f5a-0000-4000-8000-00000000000a"


async def test_no_delete_keys_are_compared_as_postgres_holds_them(real: Subject) -> None:
    """1.0 is 1, a moment is the same in any zone, a uuid in any case."""
    stream = await opened(real.store, ADS, KEYED)
    rows = [f'{{"id": 1.0, "at": "2026-01-01T02:00:00+02:00", "of": "{LOWER}"}}']
    again = [f'{{"id": 1, "at": "2026-01-01T00:00:00Z", "of": "{LOWER.upper()}"}}']
    for texts in (rows, again, rows):
        found = await scan(stream, *(Row(key="x", json=text.encode()) for text in texts))
        assert found == Reconciled()
    as_key = f'[1.00, "2026-01-01 00:00:00Z", "{LOWER.upper()}"]'
    for _ in range(2):
        rejected = attrs.evolve(letter(None), key=as_key)
        assert await scan(stream, dead=(rejected,)) == Reconciled()


async def test_no_delete_a_conclusion_whose_answer_is_lost_is_known_later(
    subject: Subject,
) -> None:
    """What came of it is on the cycle's row; the checkpoint has moved by one."""
    stream = await filled(subject)
    await scan(stream, *campaigns("1", "2", "3", "4"))
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle, before = stream.at.cycle or 0, stream.at.seq
    gone = attrs.evolve(page(*campaigns("1", "2", "3", "4"), next_cursor=None), keys=())
    await stream.commit(gone)
    if isinstance(subject.store, FakeStore):
        subject.store.fail_next("reconcile", StoreUnavailable("broke off"), after=True)
        with pytest.raises(StoreUnavailable):
            await conclude(stream, cycle)
    else:
        await conclude(stream, cycle)
    now: Checkpoint = await stream.store.read_checkpoint(ADS)
    assert now.seq == before + 2
    assert await stream.store.reconciled(cycle) == Reconciled(deleted=1)


REFUSES = """
CREATE FUNCTION keep_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW._syncd_deleted_at IS NOT NULL THEN RAISE EXCEPTION 'nothing leaves here'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_all BEFORE UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION keep_all();
"""


async def test_contained_a_trigger_that_refuses_breaks_the_scan_and_not_the_cycle(
    real: PostgresSubject,
) -> None:
    """What was committed stays so, and what the trigger said is on the cycle's row."""
    stream = await filled(real)
    await real.select(sql.SQL(REFUSES))
    for _ in range(2):
        found = await scan(stream, *campaigns("1", "2", "3", "4", "new"))
    assert "nothing leaves here" in found.broken
    assert await real.gone() == set()
    assert "new" in await real.rows()
    ended = await real.cycle(3)
    assert ended.outcome == "ok"
    assert "nothing leaves here" in ended.reason
    await real.select(sql.SQL("DROP TRIGGER keep_all ON campaigns"))
    assert (await scan(stream, *campaigns("1", "2", "3", "4", "new"))).deleted == 1
