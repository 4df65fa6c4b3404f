"""How long a cycle's row is remembered, and that none goes by which something is decided."""

import pytest
from psycopg import sql

from syncd.daemon.purging import Purging
from syncd.store import cycles, history
from syncd.store.looking import Looking
from syncd.sync.model import StreamId
from syncd.sync.picture import Look
from syncd.sync.ranges import LEARNED_FROM
from syncd.sync.waits import Waits
from tests.contract.subjects import ADS, OTHER, PostgresSubject, letter, opened, page, row

LONG_AGO = "UPDATE syncd.cycle SET started_at = 'epoch', ended_at = 'epoch' WHERE id <= %s"
YEAR = 365 * 86400.0


async def ids(subject: PostgresSubject) -> list[int]:
    rows = await subject.select(sql.SQL("SELECT id FROM syncd.cycle ORDER BY id"))
    return [found["id"] for found in rows]


async def aged(subject: PostgresSubject, upto: int) -> None:
    """Cycles up to this one are of fifty years ago."""
    await subject.select(sql.SQL(LONG_AGO), upto)


async def test_old_cycles_go_but_for_the_first_and_those_learned_from(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that grows with each cycle for ever would fill the disk."""
    monkeypatch.setattr(history, "PURGE", 2)  # so that it takes several batches
    stream = await opened(real.store)
    many = LEARNED_FROM + 6
    for _ in range(many):
        await stream.whole_cycle(row("1"))
    await aged(real, many)
    await stream.begin()
    await real.store.purge(ADS, YEAR)
    newest = list(range(many - LEARNED_FROM + 1, many + 1))
    assert await ids(real) == [1, *newest, many + 1]
    await real.store.purge(ADS, YEAR)
    assert len(await ids(real)) == LEARNED_FROM + 2  # and no more go another time


async def test_what_the_next_start_and_its_mark_hang_on_stays_behind_any_number_of_bad_ones(
    real: PostgresSubject,
) -> None:
    """The last good cycle is asked for by the page, by alerts, and by the plan of a restart."""
    stream = await opened(real.store)
    last = 4 + LEARNED_FROM
    for _ in range(last):
        await stream.whole_cycle(row("1"))
    # 2 is the last good one of the whole list, 3 of what had changed.
    await real.select(sql.SQL("UPDATE syncd.cycle SET since = 'mark' WHERE id = 3"))
    await real.select(sql.SQL("UPDATE syncd.cycle SET outcome = 'suspicious' WHERE id > 3"))
    await aged(real, last)
    looking: Look = Looking(real.store.connections)
    before = (await looking.picture([ADS], ["ads"], [])).streams[0]
    await real.store.purge(ADS, YEAR)
    assert await ids(real) == [1, 2, 3, *range(5, last + 1)]
    after = (await looking.picture([ADS], ["ads"], [])).streams[0]
    assert (after.whole, after.last) == (before.whole, before.last)
    assert after.whole is not None
    assert after.whole.id == 3


async def test_one_that_was_followed_by_nothing_good_is_still_the_last(
    real: PostgresSubject,
) -> None:
    """Nothing is learned from cycles without records, however many there are."""
    stream = await opened(real.store)
    await stream.whole_cycle(row("1"))
    for _ in range(3):
        assert (await stream.whole_cycle()).outcome == "suspicious"
    await aged(real, 4)
    await real.store.purge(ADS, YEAR)
    assert await ids(real) == [1, 4]


async def test_one_that_runs_stays(real: PostgresSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is kept, and however long ago it began."""
    monkeypatch.setattr(cycles, "KEPT", 0)
    stream = await opened(real.store)
    await stream.whole_cycle(row("1"))
    await stream.begin()
    await real.select(sql.SQL("UPDATE syncd.cycle SET started_at = 'epoch'"))
    await real.store.purge(ADS, YEAR)
    assert await ids(real) == [1, 2]


async def test_of_a_stream_that_never_rests_the_newest_cycles_stay(
    real: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However young they are; another stream's are its own matter."""
    monkeypatch.setattr(cycles, "KEPT", 3)
    monkeypatch.setattr("syncd.sync.ranges.LEARNED_FROM", 1)
    other = await opened(real.store, OTHER)
    for _ in range(5):
        await other.whole_cycle(row("1"))  # 1 to 5
    stream = await opened(real.store)
    for _ in range(6):
        await stream.whole_cycle(row("1"))  # 6 to 11
    await real.store.purge(ADS, YEAR)
    assert await ids(real) == [1, 2, 3, 4, 5, 6, 9, 10, 11]


# --- whose past is looked through ----------------------------------------------------------------

OTHERS = StreamId(source="others", stream="orders")


async def test_streams_that_left_the_config_are_looked_through_by_who_runs_their_source(
    real: PostgresSubject,
) -> None:
    """accounted: by nobody else, since for how long another keeps letters only he knows."""
    lost = await opened(real.store, ADS)
    await lost.whole_cycle(row("1"))
    mine = await opened(real.store, OTHER)
    await mine.whole_cycle(row("1"))
    await (await opened(real.store, OTHERS)).whole_cycle(row("1"))
    await aged(real, 3)
    assert await real.store.streams_to_purge([mine.lease]) == [OTHER, ADS]
    assert await real.store.streams_to_purge([lost.lease]) == []  # taken over since
    assert await real.store.streams_to_purge([]) == []


async def test_what_is_refused_of_one_stream_goes_of_the_others(real: PostgresSubject) -> None:
    """accounted: one whose past can't go is no reason to keep all others' for ever."""
    first, second = await opened(real.store, OTHER), await opened(real.store, ADS)
    await second.begin()
    await second.commit(page(dead=(letter("1"),), next_cursor=None))
    await real.select(sql.SQL("UPDATE syncd.dead_letter SET last_at = 'epoch'"))
    refused = """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE insufficient_privilege; END $$;
        CREATE TRIGGER no BEFORE DELETE ON syncd.event FOR EACH ROW
            WHEN (OLD.stream = 'adsets') EXECUTE FUNCTION no();
        INSERT INTO syncd.event (source, stream, at, what, many, keys)
        VALUES ('ads', 'adsets', 'epoch', 'put-aside', 0, '{}')"""
    await real.select(sql.SQL(refused))
    leases = [second.lease]
    purging = Purging(store=real.store, leases=lambda: leases, keep=lambda: YEAR, waits=Waits())
    assert await real.store.streams_to_purge(leases) == [first.id, second.id]
    await purging.look()
    assert await real.dead() == []
