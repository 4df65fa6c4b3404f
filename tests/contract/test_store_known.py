"""Pages that a 304 can stand for: the store in memory and the real one know the same ones."""

from typing import Any

import attrs
import pytest
from psycopg import sql

from syncd.errors import PageNotKnown, StoreRefused, StoreWentBack
from syncd.sync.drift import Drift
from syncd.sync.known import KnownPage, Validator, prints_of
from syncd.sync.model import PageCommit, Row
from tests.contract.subjects import (
    ADS,
    OTHER,
    TABLE,
    PostgresSubject,
    Stream,
    Subject,
    campaigns,
    commit_one,
    key,
    letter,
    opened,
    page,
    row,
    running,
)
from tests.contract.test_store_kept_out import forget, let_in

JUDGED = "as today"
BIG = 2**63


def read(asked: str, *rows: Row, known: bool = True, state: str = '"1"', **more: Any) -> PageCommit:
    """A page that was read whole, and has such a state."""
    there = KnownPage(
        asked=asked,
        judged=JUDGED,
        validator=Validator(text=state),
        next_cursor=more.get("next_cursor", "next"),
        total=25,
        records=len(rows),
        left_out=more.get("left_out", 0),
        folded=more.get("folded", 0),
        fingerprint=f"print of {asked}",
        keys=prints_of(r.key for r in rows),
    )
    return attrs.evolve(page(*rows, **more), asked=asked, known=there if known else None)


def unread(same: KnownPage, **more: Any) -> PageCommit:
    """The same page, as it comes without a body."""
    told = {"left_out": same.left_out, "folded": same.folded, "next_cursor": same.next_cursor}
    plain: dict[str, Any] = told | more
    return attrs.evolve(page(**plain), asked=same.asked, same=same)


async def known(stream: Stream, asked: str, judged: str = JUDGED) -> KnownPage | None:
    return await stream.store.known_page(ADS, stream.table, asked, judged)


async def surely(stream: Stream, asked: str) -> KnownPage:
    found = await known(stream, asked)
    assert found is not None
    return found


async def begun(stream: Stream) -> Stream:
    """The next cycle of the stream."""
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f")
    return stream


async def two_pages(subject: Subject) -> Stream:
    """A whole cycle of two pages, `1` and `2`, and the next one begun."""
    stream = await running(subject.store)
    await stream.commit(read("1", *campaigns("a", "b"), left_out=1, folded=2))
    await stream.commit(read("2", *campaigns("c"), next_cursor=None))
    return await begun(stream)


async def test_page_atomic_a_page_is_known_with_its_rows(subject: Subject) -> None:
    """All that a 304 would stand for comes back, and only to the same request and judgement."""
    stream = await running(subject.store)
    assert not stream.at.knows_pages
    sent = read("1", *campaigns("a", "b"), left_out=1, folded=2)
    done = await stream.commit(sent)
    assert done.checkpoint.knows_pages
    assert await known(stream, "1") == sent.known
    assert await known(stream, "2") is None
    assert await known(stream, "1", "otherwise") is None
    assert await stream.store.known_page(OTHER, stream.table, "1", JUDGED) is None


async def test_page_atomic_a_page_that_is_refused_is_not_known(subject: Subject) -> None:
    """With its rows goes what a 304 would have stood for."""
    stream = await running(subject.store)
    bad = [row(str(n), clicks=BIG) for n in range(10)]
    with pytest.raises(StoreRefused):
        await stream.commit(read("1", *bad))
    late = attrs.evolve(stream.at, seq=stream.at.seq + 1)
    with pytest.raises(StoreWentBack):
        await commit_one(stream.store, stream.table, late, read("1", *campaigns("a")))
    assert await known(stream, "1") is None
    assert not (await stream.store.read_checkpoint(ADS)).knows_pages


async def test_accounted_a_page_that_was_not_read_counts_what_it_stands_for(
    subject: Subject,
) -> None:
    """Its records are unchanged, left out and folded as they were when it was read."""
    stream = await two_pages(subject)
    await stream.commit(unread(await surely(stream, "1"), requests=1))
    cycle = stream.at.cycle or 0
    done = await stream.commit(unread(await surely(stream, "2"), requests=1))
    assert done.outcome == "ok"
    totals = (await subject.cycle(cycle)).totals
    assert totals == done.totals
    assert (totals.seen, totals.unchanged, totals.left_out, totals.folded) == (6, 3, 1, 2)
    assert (totals.written, totals.requests, totals.balanced) == (0, 2, True)
    assert set(await subject.rows()) == {"a", "b", "c"}
    await begun(stream)
    assert await known(stream, "1") is not None


async def test_accounted_a_304_that_stands_for_nothing_any_more_writes_nothing(
    subject: Subject,
) -> None:
    """What was forgotten meanwhile, or is known by another state, is read whole."""
    stream = await two_pages(subject)
    same = await surely(stream, "1")
    at = stream.at
    await forget(subject, "c")
    with pytest.raises(PageNotKnown):
        await stream.commit(unread(same))
    now = await subject.store.read_checkpoint(ADS)
    assert (now.seq, now.pages, now.knows_pages) == (at.seq, 0, False)
    stream.at = now
    await stream.commit(read("1", *campaigns("a", "b"), state='"2"'))
    with pytest.raises(PageNotKnown):
        await stream.commit(unread(same))


async def test_accounted_pages_that_were_not_read_are_committed_together(subject: Subject) -> None:
    """With one that was read behind them, and the last of the cycle."""
    stream = await running(subject.store)
    for of in ("1", "2", "3"):
        await stream.commit(read(of, *campaigns(f"{of}a", f"{of}b"), left_out=1))
    await stream.commit(read("4", *campaigns("c"), next_cursor=None))
    await begun(stream)
    same = [await surely(stream, of) for of in ("1", "2", "4")]
    pages = [unread(same[0], requests=1), unread(same[1], requests=1)]
    pages += [read("3", *campaigns("3a", "3b"), state='"2"', left_out=1)]
    pages += [unread(same[2], next_cursor=None)]
    first, second, third, last = await stream.store.commit_pages(stream.table, stream.at, pages)
    seen = [one.totals.seen for one in (first, second, third, last)]
    assert (seen, last.totals.unchanged, last.totals.left_out) == ([3, 6, 9, 10], 7, 3)
    assert (first.checkpoint.pages, second.checkpoint.pages) == (1, 2)
    assert (last.outcome, last.totals.requests) == ("ok", 2)
    assert last.checkpoint.knows_pages
    stream.at = last.checkpoint
    await begun(stream)
    states = [(await surely(stream, of)).validator for of in ("1", "2", "3", "4")]
    assert [state and state.text for state in states] == ['"1"', '"1"', '"2"', '"1"']


async def test_page_atomic_of_pages_that_were_not_read_all_stand_for_something_or_none(
    subject: Subject,
) -> None:
    stream = await two_pages(subject)
    one = await surely(stream, "1")
    other = attrs.evolve(await surely(stream, "2"), validator=Validator(text="another"))
    pages = [unread(one), unread(other, next_cursor="next")]
    with pytest.raises(PageNotKnown):
        await stream.store.commit_pages(stream.table, stream.at, pages)
    assert (await subject.store.read_checkpoint(ADS)).seq == stream.at.seq
    await stream.commit(unread(one))


@pytest.mark.parametrize("keep_out", [True, False])
async def test_accounted_nothing_is_known_after_a_record_was_forgotten_or_let_in(
    subject: Subject, keep_out: bool
) -> None:
    """A page that was read while a record was kept out does not stand for one that has it."""
    stream = await two_pages(subject)
    await forget(subject, keep_out=keep_out)
    assert await known(stream, "1") is None
    stream.at = await subject.store.read_checkpoint(ADS)
    version = stream.at.kept_out_version
    await stream.commit(attrs.evolve(read("1", *campaigns("a")), kept_out_version=version))
    assert await known(stream, "1") is not None
    if keep_out:
        await let_in(subject)
        assert await known(stream, "1") is None


async def test_accounted_a_record_that_is_dropped_leaves_its_page_unknown(
    subject: Subject,
) -> None:
    """Forgotten while the page was under way: what is known of the page is not of that one."""
    stream = await two_pages(subject)
    await forget(subject, "a")
    stream.at = await subject.store.read_checkpoint(ADS)
    await stream.commit(read("1", *campaigns("a", "b")))
    assert await known(stream, "1") is None


async def test_accounted_a_page_with_a_refused_record_is_not_known(subject: Subject) -> None:
    """Postgres may take it another time."""
    stream = await two_pages(subject)
    await stream.commit(read("1", row("a"), row("b", clicks=BIG), state='"2"'))
    assert await known(stream, "1") is None
    assert await known(stream, "2") is not None


async def test_accounted_a_page_that_can_not_be_known_takes_its_old_state_away(
    subject: Subject,
) -> None:
    """It may have that state again, and its rows are of another one."""
    stream = await two_pages(subject)
    await stream.commit(attrs.evolve(read("1", *campaigns("a"), known=False), dead=[letter("b")]))
    assert await known(stream, "1") is None
    assert await known(stream, "2") is not None
    assert (await stream.store.read_checkpoint(ADS)).knows_pages


# --- rows that come from elsewhere ------------------------------------------------------------


async def test_accounted_a_row_that_another_page_has_written_makes_its_own_be_read(
    subject: Subject,
) -> None:
    """It is not any more as its own page has written it; other pages stay known."""
    stream = await two_pages(subject)
    await stream.commit(read("3", *campaigns("d"), next_cursor="4"))
    await stream.commit(read("4", row("c", name="elsewhere"), row("e"), next_cursor="5"))
    assert await known(stream, "1") is not None
    assert await known(stream, "2") is None
    assert await known(stream, "3") is not None


async def test_accounted_a_row_that_is_new_or_its_own_takes_no_state_away(
    subject: Subject,
) -> None:
    """A list that grows, or whose rows change where they are, stays known elsewhere."""
    stream = await two_pages(subject)
    await stream.commit(read("1", row("a", name="changed"), *campaigns("b", "new"), state='"2"'))
    assert await known(stream, "2") is not None


async def test_accounted_a_page_without_a_state_is_known_by_its_keys(subject: Subject) -> None:
    """Else each cycle would take its own rows for others'."""
    stream = await two_pages(subject)
    await stream.commit(read("0", *campaigns("z"), known=False))
    await stream.commit(read("1", *campaigns("a", "b")))
    await stream.commit(read("2", *campaigns("c"), next_cursor=None))
    await begun(stream)
    await stream.commit(read("0", row("z", name="changed"), known=False))
    assert await known(stream, "1") is not None


async def test_accounted_many_rows_from_elsewhere_make_their_pages_be_read(
    subject: Subject,
) -> None:
    """And no others, however many rows they are."""
    many = campaigns(*(f"n{n}" for n in range(1000)))
    stream = await two_pages(subject)
    await stream.commit(read("3", *many))
    await stream.commit(read("4", *many[1:]))
    assert await known(stream, "3") is None
    assert [await known(stream, asked) is not None for asked in ("1", "2", "4")] == [True] * 3


async def test_accounted_large_pages_of_rows_that_are_there_are_known(subject: Subject) -> None:
    """They are noted from the second cycle on: that their rows were there takes from nobody."""
    stream = await running(subject.store)
    whole = [campaigns(*(f"n{page}-{n}" for n in range(100))) for page in range(3)]
    for rows in whole:
        await stream.commit(read("0", *rows, known=False))
    for number, rows in enumerate(whole):
        await stream.commit(read(str(number), *rows))
    assert [await known(stream, str(n)) is not None for n in range(3)] == [True] * 3


async def test_accounted_a_row_that_somebody_has_deleted_makes_all_be_read(
    subject: Subject,
) -> None:
    """Where a known page's own row is not there, others may be missing as well."""
    stream = await two_pages(subject)
    await forget_row(subject, "a")
    await stream.commit(read("1", *campaigns("a", "b"), state='"2"'))
    assert await known(stream, "2") is None


async def forget_row(subject: Subject, name: str) -> None:
    if isinstance(subject, PostgresSubject):
        await subject.select(sql.SQL("DELETE FROM campaigns WHERE id = %s"), name)
    else:
        del subject.store.tables["public", "campaigns"]["ads", name]  # type: ignore[attr-defined]


async def test_accounted_an_empty_table_is_what_no_304_speaks_of(subject: Subject) -> None:
    """Somebody has deleted all rows: the list is read."""
    stream = await two_pages(subject)
    for name in "abc":
        await forget_row(subject, name)
    assert await known(stream, "1") is None


async def test_page_atomic_pages_that_share_a_commit_are_all_known_or_nothing_is_written(
    subject: Subject,
) -> None:
    """Where one of them takes from a later one what it stands for, that one is to be read."""
    stream = await two_pages(subject)
    one, two = await surely(stream, "1"), await surely(stream, "2")
    moved = read("0", row("c", name="elsewhere"), next_cursor="1")
    with pytest.raises(PageNotKnown):
        await subject.store.commit_pages(stream.table, stream.at, [moved, unread(two)])
    assert (await subject.store.read_checkpoint(ADS)).seq == stream.at.seq
    assert (await subject.rows())["c"]["name"] == "n"
    done = await subject.store.commit_pages(stream.table, stream.at, [unread(one), unread(two)])
    assert [committed.checkpoint.knows_pages for committed in done] == [True, True]
    assert done[-1].outcome == "ok"
    assert (done[-1].totals.seen, done[-1].totals.unchanged) == (6, 3)


async def test_accounted_rows_written_beside_the_list_make_it_be_read(subject: Subject) -> None:
    """Records asked for by an operator, and dead letters that are tried again."""
    stream = await two_pages(subject)
    aside = await subject.store.begin_aside(stream.at, "asked for")
    done = await commit_one(
        subject.store, stream.table, aside, page(row("a", name="x"), next_cursor=None, aside=True)
    )
    assert not done.checkpoint.knows_pages
    assert await known(stream, "2") is None


async def test_accounted_pages_without_a_name_of_their_request_make_all_be_read(
    subject: Subject,
) -> None:
    """As long as nothing is to be known, nobody can tell whose rows are written."""
    stream = await two_pages(subject)
    await stream.commit(page(row("c", name="x")))
    assert not stream.at.knows_pages


async def test_a_reset_forgets_the_pages(subject: Subject) -> None:
    """Who resets a stream has it read whole."""
    stream = await two_pages(subject)
    await subject.store.reset(stream.at, "asked")
    assert await known(stream, "1") is None


async def test_pages_that_a_whole_cycle_has_not_met_leave(subject: Subject) -> None:
    """And those that it has met, read or not, stay."""
    stream = await two_pages(subject)
    await stream.commit(unread(await surely(stream, "1")))
    await stream.commit(read("3", *campaigns("d"), next_cursor=None))
    assert await known(stream, "1") is not None
    assert await known(stream, "2") is None
    assert await known(stream, "3") is not None


async def test_accounted_drifts_are_settled_only_by_a_cycle_that_has_read_all(
    subject: Subject,
) -> None:
    """What stood on a page that was not read is still true."""
    stream = await running(subject.store)
    drift = Drift(what="new-field", name="color", rule="discard")
    await stream.commit(attrs.evolve(read("1", *campaigns("a")), drifts=(drift,)))
    await stream.commit(read("2", *campaigns("c"), next_cursor=None))
    for first in (unread(await surely(stream, "1")), read("1", *campaigns("a"))):
        assert set(await subject.drifts()) == {"color"}
        await begun(stream)
        await stream.commit(first)
        await stream.commit(read("2", *campaigns("c"), next_cursor=None))
    assert not await subject.drifts()


# --- on Postgres alone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE campaigns",
        "ALTER TABLE campaigns ADD COLUMN more text",
        "ALTER TABLE campaigns ALTER COLUMN name TYPE varchar(100)",
        "UPDATE syncd.known_page SET read_at = read_at - interval '25 hours'",
        "UPDATE syncd.known_page SET read_at = read_at + interval '1 hour'",
    ],
)
async def test_accounted_a_page_stands_for_nothing_once_its_table_is_another(
    real: PostgresSubject, change: Any
) -> None:
    """Made anew, emptied or altered; or read too long ago, or by a clock that was stepped."""
    stream = await two_pages(real)
    assert await known(stream, "1") is not None
    await real.select(sql.SQL(change))
    assert await known(stream, "1") is None


async def test_what_is_known_stays_small(real: PostgresSubject) -> None:
    """A cycle in which nothing changes leaves one row for each page, and writes little to it."""
    stream = await running(real.store)
    rows = [campaigns(*(f"{n}-{i}" for i in range(100))) for n in range(5)]
    for n, some in enumerate(rows):
        await stream.commit(read(str(n), *some, next_cursor=None if n == 4 else "next"))
    [size] = await real.select(
        sql.SQL("SELECT max(pg_column_size(p.*)) AS most, count(*) AS many FROM syncd.known_page p")
    )
    assert size["many"] == 5
    assert size["most"] < 1200


async def test_another_stream_of_another_source_keeps_its_pages(subject: Subject) -> None:
    """Each stream's pages are its own."""
    stream = await two_pages(subject)
    other = await opened(subject.store, OTHER)
    await subject.store.reset(other.at, "asked")
    assert await known(stream, "1") is not None
    assert set(await subject.rows(TABLE)) == {"a", "b", "c"}
    assert key("a") == '["a"]'
