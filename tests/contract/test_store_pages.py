"""Promises about pages: page-atomic, resume, accounted and contained, on every store."""

import itertools
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

import attrs
import pytest
import trio

from syncd.errors import CheckpointMoved, StoreRefused, StoreWentBack
from syncd.sync.model import Checkpoint, Counts, StreamId
from tests.contract.subjects import (
    ADS,
    OTHER,
    Subject,
    campaigns,
    commit_one,
    intent,
    key,
    letter,
    numbers,
    opened,
    page,
    row,
    running,
)

BIG = 2**63

# --- page-atomic --------------------------------------------------------------------------------


async def test_page_atomic_all_that_a_page_changes_is_there_after_it(subject: Subject) -> None:
    """Rows, dead letters, counters and checkpoint come together."""
    stream = await running(subject.store)
    before = stream.at
    done = await stream.commit(
        page(*campaigns("1", "2"), dead=(letter("3"),), left_out=1, folded=1, requests=4)
    )
    assert set(await subject.rows()) == {"1", "2"}
    assert [d.key for d in await subject.dead()] == [key("3")]
    expected = Counts(seen=5, written=2, dead=1, left_out=1, folded=1, requests=4)
    assert done.totals == expected
    assert (await subject.cycle(before.cycle or 0)).totals == expected
    now = await subject.store.read_checkpoint(ADS)
    assert now == done.checkpoint
    assert (now.seq, now.pages, now.cursor) == (before.seq + 1, 1, "next")
    assert (now.last_page, now.cycle) == ("print", before.cycle)


async def test_page_atomic_a_page_that_is_refused_leaves_nothing(subject: Subject) -> None:
    """Ten rows that are refused whole leave no row, dead letter, count or step behind."""
    stream = await running(subject.store)
    await stream.commit(page(row("0")))
    bad = [row(str(n), clicks=BIG) for n in range(10)]
    with pytest.raises(StoreRefused, match="all 10 rows"):
        await stream.commit(page(*bad, dead=(letter("x"),), requests=3))
    assert set(await subject.rows()) == {"0"}
    assert await subject.dead() == []
    assert (await subject.cycle(stream.at.cycle or 0)).totals == Counts(seen=1, written=1)
    assert await subject.store.read_checkpoint(ADS) == stream.at


@pytest.mark.parametrize("difference", [{"seq": -1}, {"seq": 1}, {"fence": -1}])
async def test_page_atomic_a_page_of_another_checkpoint_writes_nothing(
    subject: Subject, difference: dict[str, int]
) -> None:
    """Whoever expects another sequence number or fence is told so, and writes nothing."""
    stream = await running(subject.store)
    await stream.commit(page(row("1")))
    wrong = attrs.evolve(
        stream.at, **{name: getattr(stream.at, name) + by for name, by in difference.items()}
    )
    with pytest.raises((CheckpointMoved, StoreWentBack)):
        await commit_one(
            subject.store, stream.table, wrong, page(row("2"), dead=(letter("3"),), requests=1)
        )
    assert set(await subject.rows()) == {"1"}
    assert await subject.dead() == []
    assert (await subject.cycle(stream.at.cycle or 0)).totals == Counts(seen=1, written=1)
    assert await subject.store.read_checkpoint(ADS) == stream.at


async def test_page_atomic_a_bad_page_of_another_checkpoint_writes_nothing(
    subject: Subject,
) -> None:
    """Also where the page has to be taken apart, the checkpoint is what is asked first."""
    stream = await running(subject.store)
    late = stream.at
    await stream.commit(page(row("1")))
    with pytest.raises(CheckpointMoved):
        await commit_one(subject.store, stream.table, late, page(row("2"), row("3", clicks=BIG)))
    assert set(await subject.rows()) == {"1"}
    assert await subject.dead() == []


async def test_page_atomic_a_page_without_rows_moves_the_checkpoint(subject: Subject) -> None:
    """A page may hold nothing but dead letters, or nothing at all."""
    stream = await running(subject.store)
    await stream.commit(page(dead=(letter("1"),)))
    done = await stream.commit(page())
    assert (done.checkpoint.pages, done.totals) == (2, Counts(seen=1, dead=1))


# --- resume -------------------------------------------------------------------------------------


async def test_resume_a_new_stream_stands_at_its_beginning(subject: Subject) -> None:
    """Before its first cycle a stream has no cycle, no cursor and no next start."""
    stream = await opened(subject.store)
    assert stream.at == Checkpoint(stream=ADS, seq=0, fence=stream.lease.fence)


async def test_resume_opening_again_changes_nothing(subject: Subject) -> None:
    """A stream that is opened again stands where it stood."""
    stream = await running(subject.store)
    await stream.commit(page(row("1")))
    again = await subject.store.open_stream(ADS, stream.table, stream.lease, every=900)
    assert again == stream.at
    assert set(await subject.rows()) == {"1"}


async def test_resume_each_commit_moves_the_checkpoint_by_one(subject: Subject) -> None:
    """The sequence number counts the changes, so that a commit can name what it expects."""
    stream = await running(subject.store)
    seqs = [stream.at.seq]
    for n in range(3):
        await stream.commit(page(row(str(n)), next_cursor=f"p{n}"))
        seqs.append(stream.at.seq)
        assert (stream.at.cursor, stream.at.pages) == (f"p{n}", n + 1)
    assert [b - a for a, b in itertools.pairwise(seqs)] == [1, 1, 1]


async def test_resume_a_late_copy_of_a_page_writes_nothing(subject: Subject) -> None:
    """A page that was committed can't be committed a second time."""
    stream = await running(subject.store)
    before, sent = stream.at, page(row("1"), requests=1)
    done = await stream.commit(sent)
    with pytest.raises(CheckpointMoved):
        await commit_one(subject.store, stream.table, before, sent)
    assert await subject.store.read_checkpoint(ADS) == done.checkpoint
    assert (await subject.cycle(before.cycle or 0)).totals == done.totals


async def test_resume_what_a_commit_came_to_can_be_asked_later(subject: Subject) -> None:
    """`committed` gives the answer that was lost on its way."""
    stream = await running(subject.store)
    before = stream.at
    done = await stream.commit(page(row("1"), requests=1))
    assert await subject.store.committed(before) == done
    before = stream.at
    done = await stream.commit(page(next_cursor=None))
    asked = await subject.store.committed(before)
    assert (asked.outcome, asked.totals) == (done.outcome, done.totals) == ("ok", done.totals)
    assert asked.checkpoint.seq == done.checkpoint.seq


async def test_resume_a_running_cycle_is_taken_up_with_its_counts(subject: Subject) -> None:
    """The next process goes on after the last committed page, and with the sums so far."""
    first = await running(subject.store)
    done = await first.commit(page(*campaigns("1", "2"), requests=2))
    second = await opened(subject.store)
    counts = await second.begin()
    assert counts == done.totals
    assert second.at == attrs.evolve(done.checkpoint, fence=second.lease.fence, resumed=True)
    await second.commit(page(row("3"), next_cursor=None))
    ended = await subject.cycle(first.at.cycle or 0)
    assert (ended.outcome, ended.totals.seen) == ("ok", 3)


async def test_resume_a_cycle_that_is_given_up_says_why(subject: Subject) -> None:
    """A new cycle begins at the first page; the old one keeps its sums and its reason."""
    stream = await running(subject.store)
    await stream.commit(page(row("1")))
    old = stream.at
    counts = await stream.begin(abandon="the address has changed")
    assert counts == Counts()
    assert (stream.at.cursor, stream.at.pages, stream.at.last_page) == (None, 0, None)
    assert stream.at.seq == old.seq + 1
    assert stream.at.cycle not in (None, old.cycle)
    given_up = await subject.cycle(old.cycle or 0)
    assert (given_up.outcome, given_up.reason) == ("abandoned", "the address has changed")
    assert given_up.totals == Counts(seen=1, written=1)


async def test_resume_a_page_of_a_cycle_that_was_given_up_writes_nothing(
    subject: Subject,
) -> None:
    """What was under way when the cycle was given up comes too late."""
    stream = await running(subject.store)
    late = stream.at
    await stream.begin(abandon="asked to")
    with pytest.raises(CheckpointMoved):
        await commit_one(subject.store, stream.table, late, page(row("1")))
    assert await subject.rows() == {}


async def test_resume_a_cycle_begins_only_where_the_checkpoint_is(subject: Subject) -> None:
    """A stale checkpoint or a stale fence can't begin a cycle."""
    stream = await opened(subject.store)
    stale = stream.at
    await stream.begin()
    with pytest.raises(CheckpointMoved):
        await subject.store.begin_cycle(stale, fingerprint="f")
    await subject.store.acquire_lease(ADS.source)
    with pytest.raises(CheckpointMoved):
        await subject.store.begin_cycle(stream.at, fingerprint="f")


async def test_resume_the_fingerprint_is_kept_with_the_cycle(subject: Subject) -> None:
    """What makes a cursor valid is known to the next process."""
    stream = await opened(subject.store)
    begun, _ = await subject.store.begin_cycle(stream.at, fingerprint="of today")
    assert begun.fingerprint == "of today"
    assert (await subject.store.read_checkpoint(ADS)).fingerprint == "of today"


async def test_resume_the_last_page_ends_the_cycle_and_names_the_next(subject: Subject) -> None:
    """The next start counts from the cycle's start, and is due when that time has passed."""
    stream = await running(subject.store)
    done = await stream.commit(page(row("1"), next_cursor=None, rest=100.0))
    assert (done.outcome, done.reason) == ("ok", "")
    now = await subject.store.read_checkpoint(ADS)
    assert (now.cycle, now.cursor, now.pages) == (None, None, 0)
    assert now.next_start is not None
    assert 40 < now.next_start <= 100
    await stream.whole_cycle(row("1"), rest=0.0)
    again = await subject.store.read_checkpoint(ADS)
    assert again.next_start is not None
    assert again.next_start <= 0


async def test_resume_streams_of_one_source_stand_each_for_itself(subject: Subject) -> None:
    """A page of one stream moves no other."""
    one = await running(subject.store)
    other = await subject.store.open_stream(OTHER, one.table, one.lease, every=900)
    await one.commit(page(row("1")))
    assert await subject.store.read_checkpoint(OTHER) == other


async def test_resume_trouble_is_written_on_the_running_cycle(subject: Subject) -> None:
    """Why a cycle stands, and what was asked in vain, is there to read, until it goes on."""
    stream = await running(subject.store)
    spent = Counts(calls=1, requests=3, retried=2, refused=1)
    await subject.store.note_trouble(stream.at, parked=True, reason="no access", counts=spent)
    found = await subject.cycle(stream.at.cycle or 0)
    assert (found.outcome, found.reason, found.totals) == (None, "no access", spent)
    assert await stream.begin() == spent
    assert (await subject.cycle(stream.at.cycle or 0)).reason == ""


async def test_resume_trouble_of_a_holder_that_was_replaced_is_not_written(
    subject: Subject,
) -> None:
    """Only who holds the lease may say why a stream stands."""
    stream = await running(subject.store)
    await subject.store.acquire_lease(ADS.source)
    await subject.store.note_trouble(
        stream.at, parked=True, reason="mine", counts=Counts(requests=1)
    )
    found = await subject.cycle(stream.at.cycle or 0)
    assert (found.reason, found.totals) == ("", Counts())


async def test_resume_trouble_between_cycles_is_no_cycles_trouble(subject: Subject) -> None:
    """Where no cycle runs there is none to write on."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1"))
    await subject.store.note_trouble(
        stream.at, parked=False, reason="late", counts=Counts(requests=1)
    )
    found = await subject.cycle(1)
    assert (found.outcome, found.reason, found.totals.requests) == ("ok", "", 0)


# --- accounted ----------------------------------------------------------------------------------


async def test_accounted_every_record_has_an_end_and_the_sums_balance(subject: Subject) -> None:
    """What was seen is the sum of what became of it, over pages and kinds."""
    stream = await running(subject.store)
    await stream.commit(page(*campaigns("1", "2"), left_out=3, folded=2, dead=(letter(None),)))
    done = await stream.commit(
        page(row("1"), row("3"), row("4", clicks=BIG), next_cursor=None, calls=1, retried=2)
    )
    assert done.totals == Counts(
        seen=11, written=3, unchanged=1, left_out=3, dead=2, folded=2, calls=1, retried=2
    )
    assert done.totals.balanced


async def test_accounted_a_row_that_does_not_differ_is_unchanged(subject: Subject) -> None:
    """The second cycle over the same records writes nothing."""
    stream = await opened(subject.store)
    rows = [row("1", budget="1.50", name=None), row("2", name="日本 🎉 \"'\\", budget=None)]
    assert (await stream.whole_cycle(*rows)).totals == Counts(seen=2, written=2)
    assert (await stream.whole_cycle(*rows)).totals == Counts(seen=2, unchanged=2)


async def test_accounted_numbers_that_are_equal_do_not_differ(subject: Subject) -> None:
    """1.5 and 1.50 are one number, whatever the API wrote."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1", budget=Decimal("1.5")))
    assert (await stream.whole_cycle(row("1", budget="1.50"))).totals.unchanged == 1


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"name": None}, {"budget": 2}, {"clicks": 1}, {"heat": 5}]
)
async def test_accounted_a_row_that_differs_in_any_column_is_written(
    subject: Subject, change: dict[str, object]
) -> None:
    """Also in a volatile one: the row is written, though it counts as no change."""
    stream = await opened(subject.store)
    await stream.whole_cycle(*campaigns("1", "2"))
    done = await stream.whole_cycle(row("1", **change), row("2"))  # type: ignore[arg-type]
    assert done.totals == Counts(seen=2, written=1, unchanged=1)
    (column,) = change
    wanted = change[column]
    found = numbers((await subject.rows())["1"])[column]
    assert found == (Decimal(wanted) if isinstance(wanted, int) else wanted)


async def test_accounted_kept_columns_stay_where_no_call_was_made(subject: Subject) -> None:
    """What an earlier call gave survives a row that was not called."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1", synced="yesterday"))
    assert (await stream.whole_cycle(row("1"))).totals.unchanged == 1
    assert (await stream.whole_cycle(row("1", name="new"))).totals.written == 1
    found = (await subject.rows())["1"]
    assert (found["name"], found["synced"]) == ("new", "yesterday")
    assert (await stream.whole_cycle(row("1", name="new", synced="today"))).totals.written == 1
    assert (await subject.rows())["1"]["synced"] == "today"


async def test_accounted_a_new_row_without_a_call_has_no_kept_values(subject: Subject) -> None:
    """There is nothing to keep yet."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1"))
    assert (await subject.rows())["1"]["synced"] is None


async def test_accounted_differing_names_what_is_new_or_changed(subject: Subject) -> None:
    """Volatile and kept columns make no difference, and so no call."""
    stream = await opened(subject.store)
    await stream.whole_cycle(*campaigns("1", "2", "3", "4"))
    rows = [
        row("1"),
        row("2", name="new"),
        row("3", heat=9),
        row("4", synced="now"),
        row("5"),
    ]
    found = await subject.store.differing(stream.table, ADS.source, rows)
    assert found == {key("2"), key("5")}
    assert await subject.store.differing(stream.table, ADS.source, []) == set()


async def test_accounted_differing_leaves_out_what_cannot_be_written(subject: Subject) -> None:
    """A record that Postgres refuses needs no call; the others of its page do."""
    stream = await opened(subject.store)
    rows = [row("1"), row("2", clicks=BIG), row("3", budget="x"), row("4"), row("5", name="\x00")]
    found = await subject.store.differing(stream.table, ADS.source, rows)
    assert found == {key("1"), key("4")}


async def test_accounted_sources_share_a_table_without_meeting(subject: Subject) -> None:
    """The same key of two sources is two rows."""
    one = await opened(subject.store)
    other = await opened(subject.store, StreamId(source="shop", stream="campaigns"))
    assert (await one.whole_cycle(row("1"))).totals.written == 1
    assert (await other.whole_cycle(row("1", name="theirs"))).totals.written == 1
    assert (await one.whole_cycle(row("1"))).totals.unchanged == 1


async def test_accounted_no_records_where_there_were_some_is_suspicious(
    subject: Subject,
) -> None:
    """An empty answer after a good cycle is not ok, and says what it is compared with."""
    stream = await opened(subject.store)
    assert (await stream.whole_cycle()).outcome == "ok"
    assert (await stream.whole_cycle(*campaigns("1", "2"))).outcome == "ok"
    empty = await stream.whole_cycle()
    assert empty.outcome == "suspicious"
    assert empty.reason == "no records, where the last good cycle saw 2"
    assert (await stream.whole_cycle()).outcome == "suspicious"
    assert (await stream.whole_cycle(row("1"))).outcome == "ok"


async def test_accounted_records_on_an_earlier_page_are_records(subject: Subject) -> None:
    """A cycle whose last page is empty is not empty."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1"))
    await stream.begin()
    await stream.commit(page(row("1")))
    assert (await stream.commit(page(next_cursor=None))).outcome == "ok"


# --- contained ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"clicks": BIG}, {"clicks": -BIG - 1}, {"clicks": "x"}, {"budget": "x"}, {"name": "\0"}]
)
async def test_contained_a_bad_value_costs_its_record_alone(
    subject: Subject, bad: dict[str, object]
) -> None:
    """The others of its page are written; it becomes a dead letter with its reason."""
    stream = await running(subject.store)
    rows = [row("1"), row("2", **bad), row("3")]  # type: ignore[arg-type]
    done = await stream.commit(page(*rows))
    assert done.totals == Counts(seen=3, written=2, dead=1)
    assert set(await subject.rows()) == {"1", "3"}
    [found] = await subject.dead()
    assert (found.kind, found.key, found.attempts) == ("refused", key("2"), 1)
    assert found.payload == rows[1].raw
    assert found.reason
    assert [(d.key, d.reason) for d in done.refused] == [(key("2"), found.reason)]


async def test_contained_several_bad_rows_among_many(subject: Subject) -> None:
    """Wherever they stand in the page, the bad ones are told from the good ones."""
    stream = await running(subject.store)
    bad = {0, 1, 7, 12, 24}
    rows = [row(f"{n:02}", clicks=BIG if n in bad else n) for n in range(25)]
    done = await stream.commit(page(*rows))
    assert done.totals == Counts(seen=25, written=20, dead=5)
    assert {d.key for d in await subject.dead()} == {key(f"{n:02}") for n in bad}
    again = await stream.commit(page(*rows))
    assert again.totals == Counts(seen=50, written=20, unchanged=20, dead=10)


async def test_no_blind_repeat_a_refused_row_keeps_the_key_of_its_call(subject: Subject) -> None:
    """Its call was made: whoever retries the dead letter must not make another one."""
    stream = await running(subject.store)
    first = intent("1", stream.at.cycle or 0, stream.at.started).idempotency_key
    await stream.commit(page(row("1", clicks=BIG, synced="s"), row("2", clicks=BIG), row("3")))
    found = {d.key: d.idempotency_key for d in await subject.dead()}
    assert found == {key("1"): first, key("2"): None}


async def test_contained_nine_bad_rows_are_a_matter_of_records(subject: Subject) -> None:
    """Only a page of ten or more that is refused whole says that the table does not fit."""
    stream = await running(subject.store)
    done = await stream.commit(page(*(row(str(n), clicks=BIG) for n in range(9))))
    assert done.totals == Counts(seen=9, dead=9)
    done = await stream.commit(page(row("9"), *(row(f"1{n}", clicks=BIG) for n in range(10))))
    assert done.totals == Counts(seen=20, written=1, dead=19)


async def test_contained_a_dead_letter_that_comes_again_counts_its_attempts(
    subject: Subject,
) -> None:
    """It stands there once, with its newest reason and the first key of its call."""
    stream = await running(subject.store)
    await stream.commit(page(dead=(letter("1", kind="call-failed", reason="503", payload=b"1"),)))
    later = attrs.evolve(
        letter("1", kind="call-failed", reason="404", payload=b"2"), idempotency_key="second"
    )
    await stream.commit(page(dead=(later,)))
    [found] = await subject.dead()
    assert (found.attempts, found.reason, found.payload) == (2, "404", b"2")
    assert found.idempotency_key == "first of 1"


async def test_contained_dead_letters_leave_when_the_record_succeeds(subject: Subject) -> None:
    """Of whatever kind they were; those of other records and streams stay."""
    stream = await running(subject.store)
    await subject.store.open_stream(OTHER, stream.table, stream.lease, every=900)
    await stream.commit(
        page(dead=(letter("1"), letter("1", kind="call-failed"), letter("2"), letter(None)))
    )
    other = await running(subject.store, OTHER)
    await other.commit(page(dead=(letter("1"),)))
    stream = await opened(subject.store)
    await stream.begin()
    await stream.commit(page(row("1"), row("3", clicks=BIG)))
    assert {d.key for d in await subject.dead()} == {key("2"), key("3"), None}
    assert [d.key for d in await subject.dead(OTHER)] == [key("1")]


async def test_contained_an_unchanged_record_has_succeeded_too(subject: Subject) -> None:
    """Its dead letter leaves although no row was written."""
    stream = await running(subject.store)
    await stream.commit(page(row("1")))
    await stream.commit(page(dead=(letter("1"),)))
    await stream.commit(page(row("1")))
    assert await subject.dead() == []


async def test_contained_rejects_without_a_key_are_told_apart_by_their_bytes(
    subject: Subject,
) -> None:
    """Two of them are two dead letters; the same bytes again are the same one."""
    stream = await running(subject.store)
    a, b = letter(None, payload=b"\x00\xff"), letter(None, payload=b"\x00\xfe")
    await stream.commit(page(dead=(a, b)))
    await stream.commit(page(dead=(a,)))
    assert {d.payload: d.attempts for d in await subject.dead()} == {
        b"\x00\xff": 2,
        b"\x00\xfe": 1,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("a b", "a  b"), ("a", "a "), ("x" * 1200 + "1", "x" * 1200 + "2"), ("\0", "\\0")],
    ids=["blanks", "a blank at the end", "long", "NUL"],
)
async def test_contained_keys_that_differ_are_different_dead_letters(
    subject: Subject, one: str, other: str
) -> None:
    """However alike they look: one's success is not the other's."""
    stream = await running(subject.store)
    letters = [attrs.evolve(letter("1"), key=name) for name in (one, other)]
    done = await stream.commit(page(dead=tuple(letters)))
    assert done.totals == Counts(seen=2, dead=2)
    assert [d.attempts for d in await subject.dead()] == [1, 1]
    await stream.commit(page(attrs.evolve(row("1"), key=one)))
    assert len(await subject.dead()) == 1


async def test_accounted_a_letter_without_a_key_leaves_when_no_whole_cycle_meets_it(
    subject: Subject,
) -> None:
    """Nothing else could tell that its record is well: not another page, nor a cycle cut short."""
    stream = await opened(subject.store)
    a, b = letter(None, payload=b"a"), letter(None, payload=b"b")
    await stream.whole_cycle(dead=(a, b, letter("1")))
    await stream.begin()
    await stream.commit(page(*campaigns("2"), dead=(a,)))
    assert len(await subject.dead()) == 3
    await stream.commit(page(*campaigns("3"), next_cursor=None))
    assert sorted(d.payload for d in await subject.dead() if d.key is None) == [b"a"]
    assert [d.key for d in await subject.dead() if d.key is not None] == [key("1")]
    await stream.whole_cycle(*campaigns("2"))
    assert [d.key for d in await subject.dead()] == [key("1")]


async def test_contained_a_key_of_any_size_can_be_put_aside(subject: Subject) -> None:
    """A key that no index would take costs its record, not the page."""
    stream = await running(subject.store)
    rng = random.Random(1)  # so that compression doesn't make it fit after all
    long = key("".join(chr(rng.randrange(0x20000, 0x2A000)) for _ in range(4000)))
    done = await stream.commit(page(row("1"), dead=(attrs.evolve(letter("x"), key=long),)))
    assert done.totals == Counts(seen=2, written=1, dead=1)


async def test_contained_a_reason_of_any_bytes_can_be_put_aside(subject: Subject) -> None:
    """The writer of dead letters survives the very bytes that killed the record."""
    stream = await running(subject.store)
    nasty = "\x00 \ud800 '; DROP TABLE syncd.call; -- %s %(x)s " + "x" * 5000
    await stream.commit(
        page(dead=(letter("1", reason=nasty, payload=nasty.encode("utf-8", "replace")),))
    )
    assert len(await subject.dead()) == 1


async def test_two_pages_of_one_checkpoint_only_one_is_written(subject: Subject) -> None:
    """Whoever comes second is told so, also when both come at once."""
    stream = await running(subject.store)
    came: list[str] = []

    async def commit(of: str) -> None:
        try:
            await commit_one(subject.store, stream.table, stream.at, page(row(of)))
        except CheckpointMoved:
            return
        came.append(of)

    async with trio.open_nursery() as nursery:
        for n in range(4):
            nursery.start_soon(commit, str(n))
    assert len(came) == 1
    assert set(await subject.rows()) == set(came)


# --- a number that comes again ------------------------------------------------------------------


async def test_no_blind_repeat_a_cycle_is_told_from_one_of_its_number(subject: Subject) -> None:
    """After a restore numbers come again; when the cycle was begun tells them apart.

    Taken up again, it is the same one, so that the keys of its calls are the same.
    """
    stream = await running(subject.store)
    first = stream.at
    assert first.started
    await stream.commit(page(row("1"), next_cursor="2"))
    assert stream.at.started == first.started
    again = await running(subject.store)
    assert (again.at.cycle, again.at.started) == (first.cycle, first.started)
    ended = await again.commit(page(row("2"), next_cursor=None))
    assert ended.checkpoint.started == ""
    beside = await subject.store.begin_aside(again.at, "asked for")
    await again.begin()
    assert len({first.started, beside.started, again.at.started}) == 3


# --- an older state of the database -------------------------------------------------------------


async def test_resume_a_checkpoint_that_went_back_is_told_from_one_that_was_taken(
    subject: Subject,
) -> None:
    """Behind us Postgres was restored, or lost commits; nothing is written on top of it."""
    stream = await running(subject.store)
    await stream.commit(page(row("1"), next_cursor="2"))
    older = stream.at
    await stream.commit(page(row("2"), next_cursor="3"))
    await subject.go_back(older)
    ahead = stream.at
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: stream.commit(page(row("3"), next_cursor="4")),
        lambda: subject.store.begin_cycle(ahead, fingerprint="f"),
        lambda: subject.store.begin_aside(ahead, "asked for"),
        lambda: subject.store.reset(ahead, "asked for"),
    ]
    for step in steps:
        with pytest.raises(StoreWentBack, match=f"checkpoint {older.seq} where {ahead.seq} was"):
            await step()
    assert set(await subject.rows()) == {"1", "2"}  # here the table did not go back
    stream.at = older
    assert (await stream.commit(page(row("2"), next_cursor="3"))).checkpoint.cursor == "3"


async def test_resume_with_an_older_lease_nothing_is_written_and_nobody_is_accused(
    subject: Subject,
) -> None:
    """Restored to before our start: the lease is taken anew, and no other syncd is to blame."""
    before = await opened(subject.store)
    stream = await running(subject.store)
    await subject.put_back("ads", before.lease.fence)
    await subject.go_back(before.at)
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: stream.commit(page(row("1"))),
        lambda: subject.store.store_intent(intent("1"), stream.lease),
    ]
    for step in steps:
        with pytest.raises(CheckpointMoved, match=r"older lease.*goes on by itself"):
            await step()
    assert await subject.rows() == {}
