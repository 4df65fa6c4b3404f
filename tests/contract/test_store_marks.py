"""resume, no-delete-on-absence: cycles that ask only for what has changed, on every store."""

from collections.abc import Sequence

import attrs
from psycopg import sql

from syncd.sync.model import Counts, DeadLetter, Row
from tests.contract.subjects import (
    ADS,
    PostgresSubject,
    Stream,
    Subject,
    campaigns,
    opened,
    page,
    row,
)

DAY = 86400.0


async def begin(stream: Stream, *, full: float | None = DAY, **options: object) -> str | None:
    """Begin a cycle, or take it up; from where it asks."""
    given = {"fingerprint": "f", "full": full, **options}
    stream.at, _ = await stream.store.begin_cycle(stream.at, **given)  # type: ignore[arg-type]  # as named
    return stream.at.since


async def end(
    stream: Stream, *rows: Row, mark: str | None = None, gone: Sequence[str] = ()
) -> None:
    """Its last page."""
    last = page(*rows, next_cursor=None)
    keys = tuple(f'["{key}"]' for key in gone)
    await stream.commit(attrs.evolve(last, high_seen=mark, high_water=mark, gone=keys))


async def test_the_whole_list_first_and_then_what_has_changed(subject: Subject) -> None:
    """The mark moves with the end of a cycle, and never without one."""
    stream = await opened(subject.store)
    assert await begin(stream) is None
    first = page(*campaigns("1"))
    await stream.commit(attrs.evolve(first, high_seen="7", api_clock=100.5))
    assert (stream.at.high_seen, stream.at.api_clock) == ("7", 100.5)
    assert await begin(stream) is None
    assert (stream.at.resumed, stream.at.high_seen, stream.at.api_clock) == (True, "7", 100.5)
    await end(stream, *campaigns("2"), mark="9")
    assert await begin(stream) == "9"
    assert (stream.at.high_seen, stream.at.api_clock) == (None, None)
    # Nothing has changed: the mark stays.
    await end(stream)
    assert await begin(stream) == "9"


async def test_the_whole_list_again_after_its_interval(subject: Subject) -> None:
    """And at each cycle where it is 0; never where that is said."""
    stream = await opened(subject.store)
    await begin(stream)
    await end(stream, mark="9")
    assert await begin(stream, full=0.0) is None
    await end(stream, mark="11")
    assert await begin(stream, full=None) == "11"


async def test_a_scan_asks_for_the_whole_list(subject: Subject) -> None:
    """No absence from what has changed means anything."""
    stream = await opened(subject.store)
    await begin(stream)
    await end(stream, *campaigns("1"), mark="9")
    assert await begin(stream, reconcile=0.0) is None
    assert stream.at.reconcile


async def test_a_pass_out_of_turn_asks_as_the_one_that_it_follows(subject: Subject) -> None:
    """Its mark is that one's, not the one that was reached since."""
    stream = await opened(subject.store)
    await begin(stream)
    await end(stream, mark="9")
    await begin(stream)
    await end(stream, mark="11")
    assert await begin(stream, extra=True) == "9"


async def test_other_settings_begin_with_the_whole_list(subject: Subject) -> None:
    """A mark of another field says nothing."""
    stream = await opened(subject.store)
    await begin(stream)
    await end(stream, mark="9")
    assert await begin(stream, fingerprint="g") is None
    await end(stream)
    assert await begin(stream, fingerprint="g") is None


async def test_few_changes_are_nothing_suspicious_and_teach_nothing(subject: Subject) -> None:
    """accounted: what is usual is told by whole lists alone."""
    stream = await opened(subject.store)
    ids = [str(n) for n in range(30)]
    for n in range(4):
        await begin(stream, full=0.0)
        await end(stream, *campaigns(*ids), mark=str(n))
    for _ in range(9):
        await begin(stream)
        cycle = stream.at.cycle or 0
        await end(stream)
        assert (await subject.cycle(cycle)).outcome == "ok"
    await begin(stream, full=0.0)
    cycle = stream.at.cycle or 0
    await end(stream, mark="99")
    assert (await subject.cycle(cycle)).outcome == "suspicious"
    # Whatever it showed, it is no ground to stand on.
    assert await begin(stream) == "3"


async def test_what_the_api_says_is_gone_is_marked_at_once(subject: Subject) -> None:
    """accounted: one that is there is written, one that is not, or is marked, is unchanged."""
    stream = await opened(subject.store)
    await begin(stream)
    await end(stream, *campaigns("1", "2"), mark="9")
    await begin(stream)
    cycle = stream.at.cycle or 0
    await end(stream, *campaigns("3"), mark="10", gone=["1", "7"])
    assert await subject.gone() == {"1"}
    assert (await subject.cycle(cycle)).totals == Counts(seen=3, written=2, unchanged=1)
    assert (await subject.rows())["1"]["name"] is not None
    await begin(stream)
    await end(stream, mark="10", gone=["1"])
    await begin(stream)
    await end(stream, row("1"), mark="11")
    assert await subject.gone() == set()


async def test_a_dead_letter_of_a_deleted_record_leaves(subject: Subject) -> None:
    """accounted: tried again, it would bring the row back."""
    stream = await opened(subject.store)
    await begin(stream)
    letters = [DeadLetter(kind="refused", key=f'["{n}"]', reason="r", payload=b"{}") for n in "12"]
    await stream.commit(page(dead=tuple(letters), next_cursor=None))
    await begin(stream)
    await end(stream, gone=["1"])
    assert [letter.key for letter in await subject.dead()] == ['["2"]']


async def test_the_story_tells_that_the_api_said_so(real: PostgresSubject) -> None:
    """accounted: by whom a row was marked."""
    stream = await opened(real.store)
    await begin(stream)
    await end(stream, *campaigns("1"), mark="9")
    await begin(stream)
    await end(stream, gone=["1"])
    told = await real.select(sql.SQL("SELECT what, reason, keys FROM syncd.event"))
    assert told == [{"what": "deleted", "reason": "the API says so", "keys": ['["1"]']}]
    assert stream.id == ADS
