"""The next start of a stream that begins by a calendar, on every store.

Due times are minutes from now: a minute is the shortest that a calendar tells apart.
"""

import attrs
import pytest

from syncd.schedule import Schedule
from syncd.sync.model import Checkpoint
from tests.contract.subjects import ADS, TABLE, Stream, Subject, opened, page, row

DAILY = Schedule(("30 2 * * *",), "Europe/Berlin")
WEEKLY = Schedule(("30 2 * * SUN",), "Europe/Berlin")
HOUR, DAY = 3600.0, 86400.0


async def opens(
    stream: Stream, schedule: Schedule | None = DAILY, *, every: float = 900.0
) -> Checkpoint:
    stream.at = await stream.store.open_stream(
        ADS, TABLE, stream.lease, every=every, schedule=schedule
    )
    return stream.at


async def begin(stream: Stream, next_start: float | None, *, extra: bool = False) -> None:
    stream.at, _ = await stream.store.begin_cycle(
        stream.at, fingerprint="f", next_start=next_start, extra=extra
    )


async def end(stream: Stream, *, again: str | None = None) -> None:
    """Its only page, as a stream commits it that has no interval."""
    last = attrs.evolve(page(row("1"), next_cursor=None), rest=None, extra_due=again)
    await stream.commit(last)


def planned(at: Checkpoint) -> float:
    assert at.next_start is not None
    return at.clock + at.next_start


async def test_a_new_stream_waits_for_its_first_due_time(subject: Subject) -> None:
    """resume: on the store's own clock, to the second."""
    stream = await opened(subject.store)
    assert stream.at.next_start is None
    before = await subject.store.clock()
    at = await opens(stream)
    after = await subject.store.clock()
    assert before <= at.clock <= after
    assert planned(at) == pytest.approx(DAILY.after(at.clock), abs=1e-3)


async def test_opened_again_a_start_stands_until_its_cycle_begins(subject: Subject) -> None:
    """resume: one that has passed is owed, however late; the cycle that begins moves it."""
    stream = await opened(subject.store)
    await opens(stream)
    now = await subject.store.clock()
    await begin(stream, now - 5 * HOUR)
    await end(stream)
    for _ in range(2):
        assert planned(await opens(stream)) == pytest.approx(now - 5 * HOUR, abs=1)
    following = DAILY.after(now)
    await begin(stream, following)
    assert planned(stream.at) == pytest.approx(following, abs=1e-3)
    assert planned(await opens(stream)) == pytest.approx(following, abs=1e-3)
    await end(stream)
    assert planned(stream.at) == pytest.approx(following, abs=1e-3)


async def test_a_cycle_out_of_turn_or_taken_up_moves_nothing(subject: Subject) -> None:
    """resume: whoever takes a cycle up covers no due time by that."""
    stream = await opened(subject.store)
    first = planned(await opens(stream))
    await begin(stream, None)
    assert planned(stream.at) == pytest.approx(first, abs=1e-3)
    await begin(stream, first + DAY)
    assert stream.at.resumed
    assert planned(stream.at) == pytest.approx(first, abs=1e-3)
    await end(stream, again="look again")
    await begin(stream, None, extra=True)
    await end(stream)
    assert planned(stream.at) == pytest.approx(first, abs=1e-3)


async def test_another_schedule_counts_from_now(subject: Subject) -> None:
    """all-or-nothing-reload: unless something is owed."""
    stream = await opened(subject.store)
    await opens(stream)
    at = await opens(stream, WEEKLY)
    assert planned(at) == pytest.approx(WEEKLY.after(at.clock), abs=1e-3)
    at = await opens(stream, attrs.evolve(WEEKLY, zone="Asia/Tokyo"))
    assert planned(at) == pytest.approx(Schedule(WEEKLY.crons, "Asia/Tokyo").after(at.clock))
    await begin(stream, at.clock - HOUR)
    await end(stream)
    assert planned(await opens(stream)) == pytest.approx(at.clock - HOUR, abs=1)


@pytest.mark.parametrize("days", [0.9, 400.0])
async def test_a_start_beyond_a_step_of_the_clock_is_found_anew(
    subject: Subject, days: float
) -> None:
    """resume: what was run before a step back is not run again; years ahead are an error."""
    stream = await opened(subject.store)
    at = await opens(stream)
    far = DAILY.after(at.clock + days * DAY)
    await begin(stream, far)
    await end(stream)
    at = await opens(stream)
    stands = far if days < 1 else DAILY.after(at.clock)
    assert planned(at) == pytest.approx(stands, abs=1e-3)


async def test_a_stream_that_was_reset_begins_at_once_under_a_schedule_too(
    subject: Subject,
) -> None:
    """resume: also if syncd was away when it was reset."""
    stream = await opened(subject.store)
    stream.at = await subject.store.reset(await opens(stream), "reset by me")
    assert (await opens(stream)).next_start is None
    await begin(stream, DAILY.after(stream.at.clock))
    assert planned(stream.at) == pytest.approx(DAILY.after(stream.at.clock), abs=1e-3)


async def test_from_a_schedule_to_an_interval(subject: Subject) -> None:
    """all-or-nothing-reload: it counts from the last whole cycle's start, or begins."""
    stream = await opened(subject.store)
    await opens(stream)
    assert (await opens(stream, None)).next_start is None
    await opens(stream)
    await begin(stream, None)
    await end(stream)
    at = await opens(stream, None, every=100.0)
    assert at.next_start == pytest.approx(100.0, abs=5)
    # Back again it is a schedule that counts from now.
    at = await opens(stream)
    assert planned(at) == pytest.approx(DAILY.after(at.clock), abs=1e-3)


async def test_who_has_lost_the_lease_plans_nothing(subject: Subject) -> None:
    """contained: the next start is the holder's."""
    stream = await opened(subject.store)
    first = planned(await opens(stream))
    old = attrs.evolve(stream.lease, fence=stream.lease.fence - 1)
    at = await subject.store.open_stream(ADS, TABLE, old, every=900.0, schedule=WEEKLY)
    assert planned(at) == pytest.approx(first, abs=1e-3)
