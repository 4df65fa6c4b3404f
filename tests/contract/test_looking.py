"""What the commands read, on real Postgres: rows written by the store itself."""

import pytest
import trio
from psycopg import sql

from syncd.errors import SchemaError
from syncd.store.looking import Looking
from syncd.store.postgres import open_store
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.model import StreamId
from syncd.sync.picture import Picture
from syncd.sync.ports import Taken
from tests.contract.subjects import (
    ADS,
    OTHER,
    PostgresSubject,
    campaigns,
    key,
    letter,
    one_token,
    opened,
    page,
    running,
)


async def look(real: PostgresSubject) -> Picture:
    return await Looking(real.store.connections).picture([ADS, OTHER], ["ads"], ["b"])


async def test_an_empty_database_shows_that_nothing_ever_ran(postgres: str) -> None:
    """No schema yet: that is an answer, and looking does not make one."""
    async with open_store(postgres, migrations=False) as store:
        looking = Looking(store.connections)
        picture = await looking.picture([ADS], ["ads"], ["b"])
        assert [s.stream for s in picture.streams] == [ADS]
        assert picture.streams[0].running is None
        assert picture.streams[0].last is None
        assert (list(picture.holders), list(picture.budgets)) == ([], [])
        assert (await looking.cycles(None, 5))[1] == []
        assert (await looking.dead(None, None, 5))[1:] == (0, [])
        assert await looking.streams() == []
        assert await looking.which_are_dead(ADS) == []
        assert len(await store.pending()) >= 1


async def test_a_newer_schema_is_not_guessed_at(real: PostgresSubject) -> None:
    """What an older syncd does not know it does not show."""
    await real.select(
        sql.SQL("INSERT INTO syncd.migration (number, name, checksum) VALUES (999, 'x', 'x')")
    )
    with pytest.raises(SchemaError, match="update syncd"):
        await look(real)


async def test_a_running_cycle_is_seen_with_its_pages_and_the_one_before(
    real: PostgresSubject,
) -> None:
    """Two cycles and a third on its second page."""
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("a", "b"))
    await stream.whole_cycle(*campaigns("a", "b", "c"), dead=(letter("d"),))
    await stream.begin()
    await stream.commit(page(*campaigns("a")))
    picture = await look(real)
    seen, other = picture.streams
    assert (seen.stream, other.stream) == (ADS, OTHER)
    assert seen.running is not None
    assert seen.last is not None
    assert (seen.running.id, seen.pages, seen.running.totals.seen) == (3, 1, 1)
    assert (seen.last.id, seen.last.outcome) == (2, "ok")
    assert (seen.last.totals.seen, seen.last.totals.dead) == (4, 1)
    assert seen.dead == 1
    assert 0 < (seen.next_start or 0) - picture.now <= 900
    assert (other.running, other.last, other.dead) == (None, None, 0)


async def test_a_cycle_that_was_abandoned_is_not_the_last_whole_one(real: PostgresSubject) -> None:
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("a"))
    await stream.begin()
    await stream.begin(abandon="page size changed")
    (seen, _) = (await look(real)).streams
    assert seen.last is not None
    assert seen.running is not None
    assert (seen.last.id, seen.running.id) == (1, 3)


async def test_trouble_stands_with_the_stream(real: PostgresSubject) -> None:
    stream = await running(real.store)
    counts = (await real.cycle(1)).totals
    await real.store.note_trouble(stream.at, parked=True, reason="no right. grant", counts=counts)
    (seen, _) = (await look(real)).streams
    assert seen.parked == "no right. grant"
    assert seen.running is not None
    assert seen.running.reason == "no right. grant"


async def test_a_holder_runs_until_it_says_goodbye_or_is_not_heard(real: PostgresSubject) -> None:
    stream = await opened(real.store)
    (holder,) = (await look(real)).holders
    assert holder.runs
    assert holder.source == "ads"
    assert holder.pid > 0
    assert abs(holder.heard - holder.since) < 5
    await real.held_elsewhere("ads")
    (holder,) = (await look(real)).holders
    assert (holder.host, holder.runs) == ("elsewhere", True)
    await real.expire_lease("ads")
    assert not (await look(real)).holders[0].runs
    await real.store.release_leases([stream.lease])
    assert list((await look(real)).holders) == []


async def test_a_holder_of_this_host_whose_process_is_gone_does_not_run(
    real: PostgresSubject,
) -> None:
    """Its lease lasts still, and nobody is there."""
    await opened(real.store)
    await real.select(
        sql.SQL('UPDATE syncd.lease SET holder = holder || \'{"started": "1"}\' WHERE true')
    )
    assert not (await look(real)).holders[0].runs


async def test_a_budget_shows_its_tokens_and_its_hold(real: PostgresSubject) -> None:
    await real.store.open_budget("b", requests=3, per=60)
    (budget,) = (await look(real)).budgets
    assert (budget.tokens, budget.free, budget.next_free) == (3, 3, None)
    assert (budget.held_until, budget.from_answers) == (None, False)
    taken = await one_token(
        real.store,
        "b",
        lifetime=60,
        spent_on="GET /",
    )
    assert isinstance(taken, Taken)
    await real.store.hold_budget("b", 90)
    await real.store.count_from_answers("b")
    await real.store.open_budget("b", requests=2, per=60)  # one of the free ones retires
    picture = await look(real)
    (budget,) = picture.budgets
    assert (budget.tokens, budget.free, budget.from_answers) == (2, 1, True)
    assert 55 < (budget.next_free or 0) - picture.now <= 60
    assert 85 < (budget.held_until or 0) - picture.now <= 90


async def test_a_budget_shows_what_the_api_says_is_left(real: PostgresSubject) -> None:
    await real.store.open_budget("b", requests=3, per=60)
    taken = await one_token(
        real.store,
        "b",
        lifetime=60,
        spent_on="GET /",
    )
    assert isinstance(taken, Taken)
    await real.store.settle_tokens("b", [(taken, 0.0, 60.0)])
    await real.store.note_quota("b", taken, left=1, seconds=40, since=0.0)
    picture = await look(real)
    (budget,) = picture.budgets
    assert (budget.tokens, budget.free, budget.quota_left) == (3, 1, 1)
    assert 35 < (budget.quota_until or 0) - picture.now <= 40
    assert 35 < (budget.next_free or 0) - picture.now <= 40
    await real.store.note_quota("b", taken, left=100, seconds=40, since=0.0)
    (budget,) = (await look(real)).budgets
    assert (budget.free, budget.quota_left, budget.quota_until) == (2, None, None)


async def test_cycles_come_newest_first_of_one_stream_or_all(real: PostgresSubject) -> None:
    mine, other = await opened(real.store), await opened(real.store, OTHER)
    # Both opened with the newest lease of their source.
    mine = await opened(real.store)
    await mine.whole_cycle(*campaigns("a"))
    other = await opened(real.store, OTHER)
    await other.whole_cycle(*campaigns("b"))
    mine = await opened(real.store)
    await mine.begin()
    looking = Looking(real.store.connections)
    now, found = await looking.cycles(None, 10)
    assert [(c.id, c.stream, c.outcome) for c in found] == [
        (3, ADS, None),
        (2, OTHER, "ok"),
        (1, ADS, "ok"),
    ]
    assert all(c.started <= now and (c.ended is None or c.ended >= c.started) for c in found)
    assert [c.id for c in (await looking.cycles(ADS, 10))[1]] == [3, 1]
    assert [c.id for c in (await looking.cycles(None, 1))[1]] == [3]
    assert await looking.streams() == [OTHER, ADS]


async def test_dead_letters_are_listed_shown_and_discarded(real: PostgresSubject) -> None:
    stream = await opened(real.store)
    payload = b'{"id": "\xff\x00"}'
    await stream.whole_cycle(
        *campaigns("a"),
        dead=(
            letter("x", reason="bad x", payload=payload),
            letter("y", kind="call-failed", reason="409"),
            letter(None, reason="no key"),
        ),
    )
    looking = Looking(real.store.connections)
    now, many, found = await looking.dead(None, None, 2)
    assert (many, len(found)) == (3, 2)
    assert found[0].last >= found[1].last
    _, many, (failed,) = await looking.dead(ADS, "call-failed", 50)
    assert (many, failed.key, failed.reason, failed.attempts) == (1, key("y"), "409", 1)
    assert (failed.idempotency_key, failed.cycle) == ("first of y", 1)
    assert failed.first <= now
    assert (failed.next_try, failed.target) == (None, "public.campaigns")
    assert (await looking.dead(OTHER, None, 50))[1:] == (0, [])
    ids = await looking.which_are_dead(ADS)
    _, letters = await looking.letters([*ids, 12345])
    assert payload in [each.payload for each in letters]
    asking = Asking(real.store.connections)
    assert await asking.discard([failed.id, 12345], asked_by=Asker(who="me")) == [failed.id]
    assert await asking.discard([failed.id], asked_by=Asker(who="me")) == []
    assert len(await looking.which_are_dead(ADS)) == 2


async def test_looking_waits_for_nobody(real: PostgresSubject) -> None:
    """Rows that a daemon has locked are read as they were."""
    stream = await running(real.store)
    await real.store.open_budget("b", requests=3, per=60)
    import psycopg  # noqa: PLC0415 - only here

    def held() -> psycopg.Connection[tuple[object, ...]]:
        connection = psycopg.connect(real.conninfo)
        for table in ("checkpoint", "cycle", "lease", "budget", "token"):
            connection.execute(
                sql.SQL("SELECT FROM {} FOR UPDATE").format(sql.Identifier("syncd", table))
            )
        return connection

    connection = await trio.to_thread.run_sync(held)
    try:
        with trio.fail_after(15):
            picture = await look(real)
    finally:
        connection.close()
    assert picture.streams[0].running is not None
    assert picture.streams[0].running.id == stream.at.cycle


async def test_any_name_is_read_back(real: PostgresSubject) -> None:
    odd = StreamId(source="[red]ads'\";", stream="a\nb [/] 👩‍🚀")
    await running(real.store, odd)
    picture = await Looking(real.store.connections).picture([odd], [odd.source], [])
    assert picture.streams[0].running is not None
    assert picture.holders[0].source == odd.source
