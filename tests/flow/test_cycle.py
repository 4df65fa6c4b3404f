"""One stream, from its checkpoint to the end of a cycle, while everything stumbles."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallFailed,
    CheckpointMoved,
    Draining,
    RateLimited,
    StoreUnavailable,
    UnexpectedAnswer,
)
from syncd.sync import events
from syncd.sync.limits import Limits
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Intent,
    Page,
    PageCommit,
    Table,
    idempotency_key,
)
from syncd.sync.ports import Settlement
from syncd.sync.stream import run_cycle
from syncd.testing import Asked, FakeStore, record, reject
from tests.flow.conftest import CAMPAIGNS, World

Clock = trio.testing.MockClock


async def test_a_cycle_puts_every_record_into_the_table(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: all that the API has is in the table, and the sums are on the cycle's row."""
    done = await world.cycle()
    assert set(world.rows) == set(world.api.records)
    assert all(row["synced_at"] for row in world.rows.values())
    assert done.outcome == "ok"
    assert done.totals.balanced
    assert (done.totals.seen, done.totals.written, done.totals.calls) == (25, 25, 25)
    assert done.totals.requests == 3 + 25
    assert done.checkpoint.cycle is None


class SlowStore(FakeStore):
    """Commits for longer than the next page's request takes."""

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        await trio.sleep(30)
        return await super().commit_pages(table, checkpoint, pages)


async def test_what_is_asked_during_a_commit_is_counted_with_the_next(
    autojump_clock: Clock,
) -> None:
    """accounted: each request of the next page, begun meanwhile, is on the cycle's row."""
    world = World(store=SlowStore())
    world.api.fill(25)
    done = await world.cycle()
    assert done.totals.requests == len(world.api.asked) == 3 + 25
    assert done.totals.calls == 25


async def test_the_budget_holds_and_the_cycle_takes_the_floor(
    world: World, autojump_clock: Clock
) -> None:
    """budget: 28 requests at 10 a minute take two minutes and the last answer, no more."""
    world.concurrency = 10
    started = trio.current_time()
    await world.cycle()
    assert world.api.refused == 0
    assert world.api.most_in_a_window() <= 10
    floor = (28 - 1) // 10 * 60 + 2
    assert floor <= trio.current_time() - started <= floor * 1.02


async def test_failed_tries_cost_their_tokens(world: World, autojump_clock: Clock) -> None:
    """budget: with a 503 on every third request the server still never counts too many."""

    async def every_third(asked: Asked) -> None:
        if asked.number % 3 == 0:
            raise ApiUnavailable("503", sent="refused")

    world.api.faults = every_third
    done = await world.cycle()
    assert world.api.refused == 0
    assert world.api.most_in_a_window() <= 10
    assert done.totals.requests == len(world.api.asked)
    assert done.totals.retried > 5
    assert set(world.rows) == set(world.api.records)


async def test_a_second_cycle_finds_the_rows_unchanged(world: World, autojump_clock: Clock) -> None:
    """accounted: what is as it was is counted, not written."""
    world.source.has_call = False
    await world.cycle()
    done = await world.cycle()
    assert (done.totals.written, done.totals.unchanged) == (0, 25)
    assert done.totals.balanced


async def test_only_what_changed_is_called(autojump_clock: Clock) -> None:
    """With `when = "changed"` three changed campaigns cost three calls."""
    world = World(only_changed=True)
    world.api.fill(25)
    await world.cycle()
    before = len(world.api.asked)
    for name in ("c3", "c11", "c25"):
        world.api.records[name] = {**world.api.records[name], "name": "new name"}
    done = await world.cycle()
    calls = [a.what for a in world.api.asked[before:] if a.what.startswith("call")]
    assert calls == ['call ["c3"]', 'call ["c11"]', 'call ["c25"]']
    assert (done.totals.written, done.totals.unchanged) == (3, 22)
    assert world.rows["c1"]["synced_at"], "a row without a call keeps what an earlier one gave"


async def test_after_a_death_the_next_life_goes_on_from_the_last_committed_page(
    world: World, autojump_clock: Clock
) -> None:
    """resume: page 1 is never asked for again, page 2 is asked for once more."""
    with trio.CancelScope() as life:

        async def die_on_page_two(asked: Asked) -> None:
            if asked.what == 'call ["c15"]':
                life.cancel()

        world.api.faults = die_on_page_two
        await world.cycle()
    assert life.cancelled_caught
    world.api.faults = None
    done = await world.cycle()
    assert world.pages_asked() == [1, 2, 2, 3]
    assert set(world.rows) == set(world.api.records)
    assert done.totals.balanced
    assert world.api.refused == 0, "the restart must not refill the bucket"


async def test_a_settled_call_is_not_made_again_after_a_death(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: only what was in flight at the death is asked again."""
    settled_before: set[str] = set()
    with trio.CancelScope() as life:

        async def die_late_on_page_two(asked: Asked) -> None:
            if asked.what == 'call ["c18"]':
                settled_before.update(
                    c.record_key for c in world.store.calls.values() if c.outcome == "done"
                )
                life.cancel()

        world.api.faults = die_late_on_page_two
        await world.cycle()
    assert len(settled_before) > 10
    before = len(world.api.asked)
    world.api.faults = None
    await world.cycle()
    again = {a.what.removeprefix("call ") for a in world.api.asked[before:]}
    assert not again & settled_before
    assert all(times == 1 for times in world.api.carried_out.values())


async def test_a_call_in_flight_at_a_death_that_may_not_be_repeated_is_put_aside(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: with `repeat = "never"` an unknown outcome is a dead letter, not a call."""
    world.source.repeatable = False
    with trio.CancelScope() as life:

        async def die(asked: Asked) -> None:
            if asked.what == 'call ["c3"]':
                life.cancel()

        world.api.faults = die
        await world.cycle()
    world.api.faults = None
    done = await world.cycle()
    times = [a.what for a in world.api.asked]
    assert times.count('call ["c3"]') == 1
    assert done.totals.dead >= 1
    assert {d.kind for d in world.store.dead_letters} == {"outcome-unknown"}
    assert done.totals.balanced


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "lost"])
async def test_a_commit_whose_answer_is_lost_is_settled_by_reading(
    world: World, autojump_clock: Clock, *, carried_out: bool
) -> None:
    """resume: whether it was committed or not, no page is fetched again and none counts twice."""
    world.store.fail_next("commit_pages", StoreUnavailable("connection lost"), after=carried_out)
    done = await world.cycle()
    assert world.pages_asked() == [1, 2, 3]
    assert done.totals.seen == 25
    assert done.totals.balanced
    assert set(world.rows) == set(world.api.records)


async def test_a_lost_answer_to_the_last_commit_still_ends_the_cycle(
    world: World, autojump_clock: Clock
) -> None:
    """resume: the cycle's end is in the page's own transaction, and read back as such."""
    world.api.records = dict(list(world.api.records.items())[:5])
    world.store.fail_next("commit_pages", StoreUnavailable("connection lost"), after=True)
    done = await world.cycle()
    assert done.outcome == "ok"
    assert done.totals.seen == 5


async def test_when_the_lease_was_taken_nothing_is_written(
    world: World, autojump_clock: Clock
) -> None:
    """page-atomic: a holder whose lease was taken over writes nothing and makes no request."""
    async with world.process() as stream:
        world.store.steal_lease("ads")
        with pytest.raises(CheckpointMoved):
            await run_cycle(stream)
    assert world.rows == {}
    assert world.api.asked == []


@pytest.mark.parametrize("until", ["begun", "page 1"])
@pytest.mark.parametrize("repeatable", [False, True])
async def test_after_a_failover_that_lost_commits_the_cycle_goes_on(
    world: World, autojump_clock: Clock, until: str, *, repeatable: bool
) -> None:
    """resume, no-blind-repeat: pages are fetched again, and what was answered is not asked."""
    world.source.repeatable = repeatable
    replica: dict[str, Any] = {}
    lost = False

    def hear(event: events.Event) -> None:
        nonlocal lost
        world.heard.append(event)
        pages = event.checkpoint.pages if isinstance(event, events.PageCommitted) else 0
        if pages == (until == "page 1") and not replica and not isinstance(event, events.Waiting):
            replica.update(world.store.kept())
        elif pages == 2 and not lost:
            lost = True
            world.store.go_back(replica)

    async with world.process() as stream:
        stream.report = hear
        done = await run_cycle(stream)
    assert lost
    assert (done.outcome, done.totals.seen) == ("ok", 25)
    assert len(world.rows) == 25
    assert sum(isinstance(e, events.WentBack) for e in world.heard) == 1
    calls = [a.what for a in world.api.asked if a.what.startswith("call")]
    assert sorted(calls) == sorted(set(calls))
    assert len(calls) == 25


async def test_a_call_that_waited_for_its_token_and_was_left_is_made_later(
    world: World, autojump_clock: Clock
) -> None:
    """no-blind-repeat: its intent stands in the ledger, and not a byte of it was ever sent.

    After a step of Postgres's clock a token is taken, with the intent, and then sat out.
    """
    world.source.repeatable = False
    async with world.process() as stream:

        async def left() -> None:
            with pytest.raises(Draining):
                await run_cycle(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(left)
            await trio.sleep(1)  # not all tokens are spent, so that one is asked for at once
            world.store.clock_offset = 7200.0
            await trio.sleep(20)
            open_ones = [c for c in world.store.calls.values() if c.outcome == "open"]
            stream.waits.end()
        stream.waits.reopen()
        done = await run_cycle(stream)
    assert len(open_ones) == 1
    assert (done.outcome, done.totals.seen, done.totals.dead) == ("ok", 25, 0)
    calls = [a.what for a in world.api.asked if a.what.startswith("call")]
    assert len(calls) == len(set(calls)) == 25


@pytest.mark.parametrize("requests", [10, None])
async def test_a_call_that_another_syncd_made_while_we_waited_is_not_made_again(
    world: World, autojump_clock: Clock, requests: int | None
) -> None:
    """no-blind-repeat: the ledger is asked once more in the statement that takes the token."""
    world.requests = requests
    async with world.process() as stream:

        async def hold_off_after_the_list(asked: Asked) -> None:
            if requests is None and asked.what == "page 1":
                await stream.budget.hold_off(60)

        world.api.faults = hold_off_after_the_list
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_cycle, stream)
            await trio.sleep(30)
            now = await world.store.read_checkpoint(CAMPAIGNS)
            key = idempotency_key(CAMPAIGNS, now.cycle or 0, now.started, '["c10"]')
            theirs = Intent(
                idempotency_key=key, stream=CAMPAIGNS, cycle=now.cycle or 0, record_key='["c10"]'
            )
            kept = b'{"synced_at": "by another"}'
            await world.store.settle_calls([Settlement(intent=theirs, outcome="done", kept=kept)])
    assert 'call ["c10"]' not in [a.what for a in world.api.asked]
    assert world.rows["c10"]["synced_at"] == "by another"
    assert len(world.rows) == 25


async def test_bad_records_cost_themselves_and_no_more(world: World, autojump_clock: Clock) -> None:
    """contained: rejects become dead letters, the rest of the page is written."""
    good = [record(r) for r in list(world.api.records.values())[:2]]

    async def one_bad_page(asked: Asked) -> Page | None:
        if not asked.what.startswith("page"):
            return None
        return Page(
            records=good,
            rejects=[reject("budget: 'x' is no number", '["c9"]'), reject("no key")],
            left_out=['["c10"]'],
            folded=1,
        )

    world.api.faults = one_bad_page
    done = await world.cycle()
    assert (done.totals.seen, done.totals.written, done.totals.dead) == (6, 2, 2)
    assert (done.totals.left_out, done.totals.folded) == (1, 1)
    assert done.totals.balanced
    assert {d.reason for d in world.store.dead_letters} == {"budget: 'x' is no number", "no key"}


async def test_a_column_that_drifts_is_told_once_in_a_cycle(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 38, contained: each record is kept with its reason, and the log is not flooded."""
    world.source.has_call = False
    world.api.fill(100)

    async def drifting(asked: Asked) -> Page:
        n = int(asked.what.split()[1])
        records = [record(world.api.records[f"c{10 * n - i}"]) for i in range(9)]
        drifted = [reject("column status: found 7", f'["d{n}"]', "status")]
        drifted += [reject("column budget: found {}", f'["e{n}"]', "budget")] * (n > 3)
        following = str(n + 1) if n < 10 else None
        return Page(records=records, rejects=drifted, next_cursor=following)

    world.api.faults = drifting
    for _ in range(2):
        world.heard.clear()
        await world.cycle()
        put_aside = [e for e in world.heard if isinstance(e, events.PutAside)]
        assert [e.key for e in put_aside if e.alert] == ['["d1"]', '["e4"]']
        assert len(put_aside) == 17
    assert len(world.store.dead_letters) == 17


async def test_a_record_that_postgres_refuses_is_told(world: World, autojump_clock: Clock) -> None:
    """CASES 38, contained: a value that only the table does not take."""
    world.source.has_call = False
    for name in ("c3", "c14", "c15"):
        world.api.records[name] |= {"budget": "much"}
    done = await world.cycle()
    put_aside = [e for e in world.heard if isinstance(e, events.PutAside)]
    assert [(e.key, e.kind) for e in put_aside] == [(f'["c{n}"]', "refused") for n in (3, 14, 15)]
    assert done.totals.dead == 3
    assert {e.reason for e in put_aside if e.alert} == {e.reason for e in put_aside}


@pytest.mark.parametrize(("reason", "lines"), [("{} answered 422", 20), ("422", 1)])
async def test_calls_that_fail_are_told_one_by_one_until_they_are_many(
    world: World, autojump_clock: Clock, reason: str, lines: int
) -> None:
    """contained: each reason once, and twenty a cycle: then it is no matter of single records."""
    world.requests = world.api.limit = None

    async def refuse(asked: Asked) -> None:
        if asked.what.startswith("call") and asked.what != 'call ["c1"]':
            raise CallFailed("call-failed", reason.format(asked.what))

    world.api.faults = refuse
    with pytest.raises(UnexpectedAnswer, match="24 of 25 records"):
        await world.cycle()
    told = [e.alert for e in world.heard if isinstance(e, events.PutAside)]
    assert told == [True] * lines + [False] * (24 - lines)


async def test_a_page_of_nothing_but_rejects_parks_the_stream(
    world: World, autojump_clock: Clock
) -> None:
    """contained: ten bad records of ten are the API's change, not ten dead letters."""

    async def all_bad(_: Asked) -> Page:
        return Page(records=[], rejects=[reject("no key") for _ in range(10)])

    world.api.faults = all_bad
    with pytest.raises(UnexpectedAnswer, match="all 10 records"):
        await world.cycle()
    assert world.store.dead_letters == []
    assert CAMPAIGNS in world.store.parked


async def test_a_record_whose_call_fails_for_good_writes_no_row(
    world: World, autojump_clock: Clock
) -> None:
    """contained: its dead letter keeps the call's first key, for a later retry."""

    async def refuse(asked: Asked) -> None:
        if asked.what == 'call ["c7"]':
            raise CallFailed("call-failed", "422: archived")

    world.api.faults = refuse
    done = await world.cycle()
    assert "c7" not in world.rows
    [letter] = world.store.dead_letters
    assert (letter.kind, letter.reason) == ("call-failed", "422: archived")
    assert letter.idempotency_key
    assert done.totals.dead == 1
    assert done.totals.balanced


async def test_a_dead_letter_leaves_when_its_record_succeeds(
    world: World, autojump_clock: Clock
) -> None:
    """contained: nobody has to clear away what has healed by itself."""

    async def refuse(asked: Asked) -> None:
        if asked.what == 'call ["c7"]':
            raise CallFailed("call-failed", "422: archived")

    world.api.faults = refuse
    await world.cycle()
    world.api.faults = None
    await world.cycle()
    assert world.store.dead_letters == []
    assert "c7" in world.rows


async def test_one_call_that_never_succeeds_costs_its_record_alone(
    autojump_clock: Clock,
) -> None:
    """contained: while others get through, a call that always fails is put aside."""
    world = World(retries=2)
    world.api.fill(10)

    async def poison(asked: Asked) -> None:
        if asked.what == 'call ["c4"]':
            raise ApiUnavailable("500", sent="unknown")

    world.api.faults = poison
    done = await world.cycle()
    assert [a.what for a in world.api.asked].count('call ["c4"]') == 3
    assert done.totals.dead == 1
    assert "gave up after 3 tries" in world.store.dead_letters[0].reason


async def test_when_no_call_gets_through_the_page_waits_and_nobody_is_put_aside(
    autojump_clock: Clock,
) -> None:
    """contained: an API that is down is not ten bad records."""
    world = World(retries=1)
    world.api.fill(10)

    async def down(asked: Asked) -> None:
        if asked.what.startswith("call"):
            raise ApiUnavailable("503", sent="refused")

    world.api.faults = down
    with pytest.raises(ApiUnavailable):
        await world.cycle()
    assert world.store.dead_letters == []
    world.api.faults = None
    done = await world.cycle()
    assert done.totals.seen == 10
    assert set(world.rows) == set(world.api.records)


async def test_the_same_page_for_ever_parks_the_stream_at_the_second_one(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 17: an API that ignores the page parameter is noticed, and nothing is lost."""
    page = Page(records=[record(world.api.records["c1"])], next_cursor="2")

    async def ignores_page(asked: Asked) -> Page | None:
        return page if asked.what.startswith("page") else None

    world.api.faults = ignores_page
    with pytest.raises(UnexpectedAnswer, match="the same 1 records"):
        await world.cycle()
    assert world.pages_asked() == [1, 2]


@pytest.mark.parametrize("back_to", ["2", "3"])
async def test_a_cursor_that_comes_again_parks_the_stream(
    world: World, autojump_clock: Clock, back_to: str
) -> None:
    """CASES 16: a list that leads back to a page that it had never ends, whatever it holds."""
    held = 0

    async def leads_back(asked: Asked) -> Page | None:
        nonlocal held
        if not asked.what.startswith("page"):
            return None
        number, held = int(asked.what.split()[1]), held + 1
        fresh = record({"id": f"n{held}", "name": "n", "budget": 1})
        return Page(records=[fresh], next_cursor=back_to if number == 3 else str(number + 1))

    world.api.faults = leads_back
    with pytest.raises(UnexpectedAnswer, match="that this cycle has had before"):
        await world.cycle()
    assert CAMPAIGNS in world.store.parked
    # Nothing is taken for the end: no whole cycle has been.
    assert [c.outcome for c in world.store.cycles] == [None]
    assert world.pages_asked() == [1, 2, 3]


@pytest.mark.parametrize(("pages", "seen"), [(2, 4), (3, 6)])
async def test_a_list_that_begins_again_behind_its_end_parks_the_stream(
    world: World, autojump_clock: Clock, pages: int, seen: int
) -> None:
    """contained: counted through, no cursor comes again; but all its records do, page by page."""

    async def wraps(asked: Asked) -> Page | None:
        if not asked.what.startswith("page"):
            return None
        number = int(asked.what.split()[1])
        here = world.api.records[f"c{(number - 1) % pages + 1}"]
        return Page(records=[record(here)], next_cursor=str(number + 1))

    world.api.faults = wraps
    with pytest.raises(UnexpectedAnswer, match=f"page {seen} and those before it"):
        await world.cycle()
    assert world.pages_asked() == list(range(1, seen + 1))
    assert CAMPAIGNS in world.store.parked


async def test_a_page_that_comes_again_later_is_no_loop(
    world: World, autojump_clock: Clock
) -> None:
    """contained: rows may move behind, and empty pages may stand between others."""
    order = ["c1", "c2", "", "c3", "c1", "", "c4", "c2", "c1", "", "c5"]

    async def moves(asked: Asked) -> Page | None:
        if not asked.what.startswith("page"):
            return None
        number = int(asked.what.split()[1])
        there = order[number - 1]
        records = [record(world.api.records[there])] if there else []
        return Page(records=records, next_cursor=str(number + 1) if number < len(order) else None)

    world.api.faults = moves
    assert (await world.cycle()).outcome == "ok"
    assert set(world.rows) == {"c1", "c2", "c3", "c4", "c5"}


async def test_a_page_full_of_rows_that_came_in_after_a_death_is_no_loop(
    world: World, autojump_clock: Clock
) -> None:
    """contained: the next page holds what the last one held, and needs nobody."""
    with trio.CancelScope() as life:

        async def die_on_page_two(asked: Asked) -> None:
            if asked.what == "page 2":
                life.cancel()

        world.api.faults = die_on_page_two
        await world.cycle()
    new = {f"new{n}": {"id": f"new{n}", "name": "n", "budget": 1} for n in range(10)}
    world.api.records = {**new, **world.api.records}
    world.api.faults = None
    assert (await world.cycle()).outcome == "ok"
    assert {f"c{n}" for n in range(1, 26)} <= set(world.rows)


async def test_empty_pages_that_promise_more_end_at_the_second(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 16: has_more without data does not run for ever."""

    async def empty(asked: Asked) -> Page:
        return Page(records=[], next_cursor=str(int(asked.what.split()[1]) + 1))

    world.api.faults = empty
    with pytest.raises(UnexpectedAnswer, match="no records"):
        await world.cycle()
    assert len(world.api.asked) == 2


async def test_a_404_where_a_page_should_follow_is_no_whole_cycle(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 18, no-delete-on-absence: it parks where it stands; the scan counts for nothing."""
    world.source.has_call = False
    await world.cycle()
    page_is_there = False

    async def no_page_three(asked: Asked) -> None:
        if asked.what == "page 3" and not page_is_there:
            raise UnexpectedAnswer("answered 404")

    world.api.faults = no_page_three
    # Each would be the second scan that misses the last five, were it a whole one.
    world.reconcile = 0.0
    for _ in range(3):
        with pytest.raises(UnexpectedAnswer, match="404"):
            await world.cycle()
    assert CAMPAIGNS in world.store.parked
    assert [c.outcome for c in world.store.cycles] == ["ok", None]
    page_is_there = True
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 25)
    assert world.store.scans[CAMPAIGNS].missing == {}
    assert len(world.rows) == 25
    assert all(row.get("_syncd_deleted_at") is None for row in world.rows.values())


async def test_no_records_where_there_were_some_is_suspicious(
    world: World, autojump_clock: Clock
) -> None:
    """accounted, no-delete-on-absence: an empty answer is never green, and deletes nothing."""
    await world.cycle()
    world.api.records = {}
    done = await world.cycle()
    assert done.outcome == "suspicious"
    assert len(world.rows) == 25, "no delete on absence"


async def test_a_changed_page_size_starts_the_cycle_anew(
    world: World, autojump_clock: Clock
) -> None:
    """resume: a cursor is used only with what made it valid."""
    with trio.CancelScope() as life:

        async def die(asked: Asked) -> None:
            if asked.what == "page 2":
                life.cancel()

        world.api.faults = die
        await world.cycle()
    world.api.faults = None
    world.api.page_size = 5
    done = await world.cycle()
    assert world.pages_asked()[2:] == [1, 2, 3, 4, 5]
    assert done.totals.seen == 25


async def test_a_refusal_makes_the_budget_count_from_answers(
    world: World, autojump_clock: Clock
) -> None:
    """budget: after one unexplained 429 there is never a second."""
    told = False

    async def refuse_once(asked: Asked) -> None:
        nonlocal told
        if asked.number == 7 and not told:
            told = True
            raise RateLimited("429")

    world.api.faults = refuse_once
    done = await world.cycle()
    assert done.totals.refused == 1
    async with world.process() as stream:
        assert isinstance(stream.budget, Limits)
        assert [bucket.from_answers for bucket in stream.budget.buckets] == [True]


async def test_a_hint_of_a_day_holds_the_budget_over_a_restart(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 3: a Retry-After is never cut short, not even by a restart."""
    with trio.move_on_after(100):

        async def refuse(asked: Asked) -> None:
            if asked.number == 1:
                raise RateLimited("429", hint=86400)

        world.api.faults = refuse
        await world.cycle()
    await world.cycle()
    assert world.api.asked[1].at - world.api.asked[0].at >= 86400


async def test_leaving_in_a_wait_for_the_budget_keeps_the_settled_calls(
    world: World, autojump_clock: Clock
) -> None:
    """drain: the wait ends at once, its page stays uncommitted, what was answered is kept."""
    async with world.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(30)
            stream.waits.end()

        nursery.start_soon(leave)
        started = trio.current_time()
        with pytest.raises(Draining):
            await run_cycle(stream)
        assert trio.current_time() - started < 31
    assert len(world.api.asked) == 10
    done = sum(1 for c in world.store.calls.values() if c.outcome == "done")
    assert done == 9
    await world.cycle()
    assert all(times == 1 for times in world.api.carried_out.values())


async def test_leaving_awaits_the_calls_in_flight(world: World, autojump_clock: Clock) -> None:
    """drain: a call that was begun is answered and settled before we go."""
    async with world.process() as stream, trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(1)  # in the middle of the first five calls
            stream.waits.end()

        nursery.start_soon(leave)
        with pytest.raises(Draining):
            await run_cycle(stream)
    outcomes = [c.outcome for c in world.store.calls.values()]
    assert outcomes == ["done"] * 5


async def test_while_postgres_is_away_no_request_is_made(
    world: World, autojump_clock: Clock
) -> None:
    """budget: an outage of the database burns no quota."""
    async with world.process() as stream, trio.open_nursery() as nursery:
        world.store.away = True

        async def heal() -> None:
            await trio.sleep(600)
            assert world.api.asked == []
            world.store.away = False

        nursery.start_soon(heal)
        await run_cycle(stream)
    assert set(world.rows) == set(world.api.records)


async def test_the_waits_are_told(world: World, autojump_clock: Clock) -> None:
    """A person can see what is being waited for, and for how long."""
    await world.cycle()
    waits = [e for e in world.heard if isinstance(e, events.Waiting)]
    assert {w.why for w in waits} == {"budget"}
    assert max(w.seconds for w in waits) > 50
    assert all(e.stream == CAMPAIGNS for e in world.heard)


async def test_when_a_page_fails_the_next_one_begins_nothing_more(
    autojump_clock: Clock,
) -> None:
    """resume: trouble with one page leaves no call of the next one waiting for an hour."""
    world = World(retries=0, concurrency=10)
    world.api.fill(30)

    async def last_call_fails_for_all(asked: Asked) -> None:
        if asked.what == 'call ["c10"]':
            await trio.sleep(1)
            raise AccessDenied("401", hint="correct the credentials")

    world.api.faults = last_call_fails_for_all
    with pytest.raises(AccessDenied):
        await world.cycle()
    asked = len(world.api.asked)
    assert asked < 25
    world.api.faults = None
    done = await world.cycle()
    assert done.totals.seen == 30
    assert all(times == 1 for times in world.api.carried_out.values())


async def test_a_record_that_moves_to_the_next_page_is_called_for_once(
    autojump_clock: Clock,
) -> None:
    """no-blind-repeat: two pages under way do not both make the same call."""
    world = World(requests=None)
    world.source.repeatable = False
    world.api.fill(20)

    async def c10_moves(asked: Asked) -> Page | None:
        if asked.what == "page 2":
            names = ["c10", *[f"c{n}" for n in range(11, 20)]]
            return Page(records=[record(world.api.records[n]) for n in names])
        return None

    world.api.faults = c10_moves
    done = await world.cycle()
    assert [a.what for a in world.api.asked].count('call ["c10"]') == 1
    assert done.totals.dead == 0
    assert done.totals.seen == 20
