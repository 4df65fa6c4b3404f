"""What operators ask for, records out of their turn, and streams that rest, paused or reset."""

from typing import Any

import attrs
import pytest

from syncd.errors import CheckpointMoved
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.model import LETTER_TRIES, Counts
from syncd.sync.ports import Request, Settlement
from syncd.testing import FakeStore
from tests.contract.subjects import (
    ADS,
    TABLE,
    Subject,
    commit_one,
    intent,
    key,
    letter,
    opened,
    page,
    row,
    running,
)

# --- records out of their turn ------------------------------------------------------------


async def test_page_atomic_records_out_of_their_turn_leave_the_checkpoint(
    subject: Subject,
) -> None:
    """The running cycle goes on where it was; the few records are a cycle of their own."""
    stream = await running(subject.store)
    await stream.commit(page(row("1"), next_cursor="2"))
    before = stream.at
    beside = await subject.store.begin_aside(before, "asked for")
    done = await commit_one(
        subject.store,
        TABLE,
        beside,
        attrs.evolve(page(row("7"), next_cursor=None), aside=True),
    )
    assert done.totals == Counts(seen=1, written=1)
    assert done.outcome == "ok"
    now = done.checkpoint
    assert (now.cycle, now.cursor, now.pages) == (before.cycle, "2", 1)
    assert (now.last_page, now.fingerprint) == (before.last_page, before.fingerprint)
    assert now.seq == before.seq + 1
    assert set(await subject.rows()) == {"1", "7"}
    stream.at = now
    whole = await stream.commit(page(row("2"), next_cursor=None))
    assert whole.totals == Counts(seen=2, written=2)
    assert (await subject.cycle(beside.cycle or 0)).reason == "asked for"


async def test_page_atomic_records_out_of_their_turn_need_the_checkpoint(
    subject: Subject,
) -> None:
    """Whoever moved it meanwhile wins, and nothing is written."""
    stream = await running(subject.store)
    beside = await subject.store.begin_aside(stream.at, "asked for")
    before = stream.at
    await stream.commit(page(row("1"), next_cursor="2"))
    with pytest.raises(CheckpointMoved):
        await commit_one(
            subject.store,
            TABLE,
            beside,
            attrs.evolve(page(row("7"), next_cursor=None), aside=True),
        )
    with pytest.raises(CheckpointMoved):
        await subject.store.begin_aside(before, "asked for")
    assert set(await subject.rows()) == {"1"}


async def test_accounted_few_records_are_no_measure_for_a_whole_cycle(subject: Subject) -> None:
    """An empty cycle after one record asked for is judged by the last whole one."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1"), row("2"), row("3"))
    beside = await subject.store.begin_aside(stream.at, "asked for")
    done = await commit_one(
        subject.store,
        TABLE,
        beside,
        attrs.evolve(page(row("1"), next_cursor=None), aside=True),
    )
    stream.at = done.checkpoint
    assert (await stream.whole_cycle()).outcome == "suspicious"


async def test_resume_an_aside_of_a_process_that_died_is_over(subject: Subject) -> None:
    """The next one to open the stream says so on its row."""
    stream = await opened(subject.store)
    beside = await subject.store.begin_aside(stream.at, "asked for")
    await opened(subject.store)
    assert (await subject.cycle(beside.cycle or 0)).outcome == "abandoned"


# --- dead letters tried again -----------------------------------------------------------------


async def _ids(subject: Subject) -> list[int]:
    store: Any = subject.store
    if isinstance(store, FakeStore):
        return [found.id for found in store.put_aside.values()]
    return await Looking(store.connections).which_are_dead(ADS)


async def test_accounted_a_letter_leaves_with_the_row_it_was_about(subject: Subject) -> None:
    """Also one whose key could not be read before; one that fails again stays."""
    stream = await running(subject.store)
    dead = (letter(None, payload=b'{"id": 5}'), letter("6"), letter("8"))
    await stream.commit(page(dead=dead, next_cursor="2"))
    ids = sorted(await _ids(subject))
    found = await subject.store.letters(ADS, [*ids, 999])
    assert sorted(found) == ids
    assert found[ids[0]].payload == b'{"id": 5}'
    beside = await subject.store.begin_aside(stream.at, "again")
    again = attrs.evolve(
        page(row("5"), dead=(letter("6"),), next_cursor=None, left_out=1),
        aside=True,
        letters={ids[0]: key("5"), ids[1]: "", ids[2]: None},
    )
    done = await commit_one(subject.store, TABLE, beside, again)
    assert (done.totals.written, done.totals.dead, done.totals.left_out) == (1, 1, 1)
    assert [(d.key, d.attempts) for d in await subject.dead()] == [(key("6"), 2)]


async def test_no_blind_repeat_only_a_call_that_did_not_succeed_is_forgotten(
    subject: Subject,
) -> None:
    """One that succeeded gives its answer to the row, and is never made again."""
    stream = await running(subject.store)
    cycle = stream.at.cycle or 0
    done = Settlement(intent=intent("1", cycle=cycle), outcome="done", kept=b"{}")
    failed = Settlement(intent=intent("2", cycle=cycle), outcome="failed", reason="no")
    await subject.store.settle_calls([done, failed])
    keys = [done.intent.idempotency_key, failed.intent.idempotency_key]
    lost = Settlement(intent=intent("3", cycle=cycle), outcome="unknown", reason="lost")
    await subject.store.settle_calls([lost])
    keys.append(lost.intent.idempotency_key)
    await subject.store.forget_calls(keys, unknown=False)
    assert set(await subject.store.ledger(keys)) == {keys[0], keys[2]}
    await subject.store.forget_calls(keys, unknown=True)
    assert set(await subject.store.ledger(keys)) == {keys[0]}


async def test_no_blind_repeat_only_an_open_call_is_withdrawn_and_only_by_who_has_the_lease(
    subject: Subject,
) -> None:
    """An answer that is known stays, and so does what another makes of the source's calls."""
    stream = await running(subject.store)
    cycle = stream.at.cycle or 0
    done, refused = intent("1", cycle=cycle), intent("2", cycle=cycle)
    for each in (done, refused):
        await subject.store.store_intent(each, stream.lease)
    await subject.store.settle_calls([Settlement(intent=done, outcome="done", kept=b"{}")])
    keys = [done.idempotency_key, refused.idempotency_key]
    earlier = attrs.evolve(stream.lease, fence=stream.lease.fence - 1)
    await subject.store.withdraw_intents(keys, earlier)
    assert set(await subject.store.ledger(keys)) == set(keys)
    await subject.store.withdraw_intents(keys, stream.lease)
    assert set(await subject.store.ledger(keys)) == {keys[0]}


# --- the next start --------------------------------------------------------------------------


async def test_the_next_start_follows_the_interval(subject: Subject) -> None:
    """all-or-nothing-reload: it counts from the start of the last whole cycle."""
    stream = await opened(subject.store)
    assert stream.at.next_start is None
    await stream.whole_cycle(row("1"), rest=900.0)
    for every in (100.0, 5000.0):
        at = await subject.store.open_stream(ADS, TABLE, stream.lease, every=every)
        assert at.next_start == pytest.approx(every, abs=5)


async def test_a_reset_stream_begins_at_once_at_its_first_page(subject: Subject) -> None:
    """resume: the running cycle is given up on its row, and opening it changes nothing."""
    stream = await opened(subject.store)
    await stream.whole_cycle(row("1"))
    await stream.begin()
    given_up = stream.at.cycle or 0
    await stream.commit(page(row("2"), next_cursor="2"))
    at = await subject.store.reset(stream.at, "reset by me")
    assert (at.cycle, at.cursor, at.pages, at.next_start) == (None, None, 0, None)
    assert at.seq == stream.at.seq + 1
    ended = await subject.cycle(given_up)
    assert (ended.outcome, ended.reason) == ("abandoned", "reset by me")
    at = await subject.store.open_stream(ADS, TABLE, stream.lease, every=900.0)
    assert at.next_start is None
    with pytest.raises(CheckpointMoved):
        await subject.store.reset(stream.at, "again")


# --- requests -------------------------------------------------------------------------------


async def ask(subject: Subject, kind: Any, stream: str | None = "campaigns", *of: str) -> None:
    store: Any = subject.store
    if isinstance(store, FakeStore):
        number = len(store.requests) + len(store.answers) + 1
        store.ask(Request(id=number, kind=kind, source="ads", stream=stream, subjects=of))
    else:
        await Asking(store.connections).ask(
            kind, "ads", stream, asked_by=Asker(who="me"), subjects=of
        )


async def test_a_request_is_taken_once_and_by_who_holds_the_lease(subject: Subject) -> None:
    """contained: in the order in which they were asked."""
    stream = await opened(subject.store)
    await ask(subject, "sync", "campaigns", "c1", "c2")
    await ask(subject, "reload", None)
    strange = attrs.evolve(stream.lease, fence=stream.lease.fence + 1)
    assert list(await subject.store.take_requests([strange])) == []
    assert list(await subject.store.take_requests([])) == []
    first, second = await subject.store.take_requests([stream.lease])
    assert (first.kind, first.stream, first.subjects) == ("sync", "campaigns", ("c1", "c2"))
    assert (second.kind, second.stream) == ("reload", None)
    assert list(await subject.store.take_requests([stream.lease])) == []
    await subject.store.answer_request(first, ok=True, answer="done \x00 it")


async def test_waiting_for_requests_ends_when_one_comes(subject: Subject) -> None:
    """contained: heard at once, and otherwise after its seconds."""
    await opened(subject.store)
    await subject.store.wait_for_requests(0.01)  # the first one opens what listens
    await subject.store.wait_for_requests(0.01)
    await ask(subject, "sync")
    await subject.store.wait_for_requests(30.0)


# --- dead letters, in time -----------------------------------------------------------------------


async def test_no_blind_repeat_a_call_put_aside_is_due_at_once_and_then_later(
    subject: Subject,
) -> None:
    """Only one that may be repeated; and no more often than a few times."""
    stream = await running(subject.store)
    again = attrs.evolve(letter("1", kind="call-failed"), again=True)
    never = letter("2", kind="outcome-unknown")
    await stream.commit(page(dead=(again, never), next_cursor="2"))
    (due,) = await subject.store.due_letters(ADS)
    found = await subject.store.letters(ADS, [due])
    assert found[due].key == key("1")
    for n in range(LETTER_TRIES):
        await stream.commit(page(dead=(again,), next_cursor=f"3 {n}"))
        assert list(await subject.store.due_letters(ADS)) == []


async def test_accounted_old_letters_go(subject: Subject) -> None:
    """By when they were put aside the last time."""
    stream = await running(subject.store)
    await stream.commit(page(dead=(letter("1"),), next_cursor="2"))
    await subject.store.purge(ADS, 1000.0)
    assert len(await subject.dead()) == 1
    await subject.store.purge(ADS, -1.0)
    assert await subject.dead() == []
