"""What one stream does all its life: rests, cycles, trouble, and what operators ask for."""

import itertools
import random
from collections import Counter
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing

from syncd.daemon.jobs import Job
from syncd.daemon.purging import Purging
from syncd.errors import (
    ApiUnavailable,
    CallFailed,
    SchemaError,
    StoreRefused,
    StoreUnavailable,
    UnexpectedAnswer,
)
from syncd.sync import clocks, events
from syncd.sync.model import StreamId
from syncd.testing import FakeStore
from syncd.testing.api import Asked, hang
from syncd.testing.kept import Trouble
from tests.flow.fleet import Fleet

Clock = trio.abc.Clock
ADS = StreamId(source="ads", stream="campaigns")
OTHER = StreamId(source="ads", stream="adsets")


async def asked(job: Job) -> tuple[bool, str]:
    with trio.fail_after(1e6):
        await job.done.wait()
    return job.ok, job.answer


def small(fleet: Fleet, stream: StreamId = ADS, records: int = 12) -> None:
    """An API without a limit in practice."""
    fleet.has(stream, records)


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(requests=1000)
    small(fleet)
    return fleet


# --- rests ---------------------------------------------------------------------------------


async def test_cycles_go_start_to_start_without_overlap(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: a cycle that takes longer than its interval is followed at once, by one."""
    fleet.apis[ADS].call_takes = 12.0
    async with fleet.life("ads") as life:
        life.start(ADS, every=20.0)
        await fleet.cycles(ADS, 4)
    started = [c.started_at for c in fleet.store.cycles]
    gaps = [b - a for a, b in itertools.pairwise(started)]
    ends = [t for t, e in fleet.heard if isinstance(e, events.CycleEnded)]
    assert all(gap >= 20 for gap in gaps)
    assert all(start >= end for start, end in zip(started[1:], ends, strict=False))


async def test_the_first_cycles_of_many_streams_are_spread(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: a stagger delays only what is due, and only once."""
    small(fleet, OTHER)
    began = trio.current_time()
    async with fleet.life("ads") as life:
        life.start(ADS, has_call=False)
        life.start(OTHER, has_call=False, stagger=7.0)
        await fleet.cycles(OTHER, 2)
    first, second = [c.started_at - began for c in fleet.store.cycles if c.stream == OTHER][:2]
    assert first == pytest.approx(7.0, abs=0.5)
    assert second - first == pytest.approx(900.0, abs=1.0)


async def test_a_cycle_of_a_small_list_asks_the_store_three_times(
    fleet: Fleet, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand streams share one database: a rest, and letters that can't be, cost nothing."""
    small(fleet, records=3)
    asked: list[str] = []
    at = FakeStore._at

    def counted(store: FakeStore, method: str) -> AbstractAsyncContextManager[None]:
        asked.append(method)
        return at(store, method)

    async with fleet.life("ads") as life:
        life.start(ADS, every=600.0, has_call=False)
        await fleet.cycles(ADS, 1)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        monkeypatch.setattr(FakeStore, "_at", counted)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        of_all = {"renew_leases", "take_tokens", "settle_tokens"}
        assert [method for method in asked if method not in of_all] == [
            "read_checkpoint",
            "begin_cycle",
            "commit_pages",
        ]


class Steps(trio.abc.Instrument):
    """Counts the steps of streams' tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += "_run_to_its_end" in task.name


async def test_a_rest_of_a_day_wakes_nobody(fleet: Fleet, autojump_clock: Clock) -> None:
    """One looks whether the machine was suspended, not a thousand streams each for itself."""
    steps = Steps()
    async with fleet.life("ads") as life:
        life.start(ADS, every=86400.0, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(80000.0)
        trio.lowlevel.remove_instrument(steps)
    assert steps.count == 0


async def test_a_restart_rests_on(fleet: Fleet, autojump_clock: Clock) -> None:
    """resume: the next start is Postgres's to remember, and follows a changed interval."""
    async with fleet.life("ads") as life:
        life.start(ADS, every=900.0, has_call=False)
        await fleet.cycles(ADS, 1)
    first = fleet.store.cycles[0].started_at
    for every in (900.0, 300.0):
        fleet.store.cycles[1:] = []
        async with fleet.life("ads") as life:
            life.start(ADS, every=every, has_call=False)
            await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        if every == 900.0:
            assert fleet.store.cycles[1].started_at - first == pytest.approx(900.0, abs=1.0)
            break


@pytest.mark.parametrize("step", [7200.0, -7200.0], ids=["forward", "back"])
async def test_a_step_of_the_clock_neither_skips_nor_doubles_a_cycle(
    fleet: Fleet, step: float, autojump_clock: Clock
) -> None:
    """contained: how long a rest lasts is measured by our own clock."""
    async with fleet.life("ads") as life:
        life.start(ADS, every=3600.0, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        began = trio.current_time()
        fleet.store.clock_offset += step
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began == pytest.approx(3600.0, abs=1.0)
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began == pytest.approx(7200.0, abs=2.0)


async def test_a_suspended_machine_is_late_by_a_minute_at_most(
    fleet: Fleet, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """contained: what was due in the night is done once in the morning, not as often as missed."""
    asleep = 0.0

    def boot_time() -> float:
        return trio.current_time() + asleep

    monkeypatch.setattr(clocks, "boot_time", boot_time)
    async with fleet.life("ads") as life:
        life.start(ADS, every=3600.0, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        began = trio.current_time()
        asleep = 8 * 3600.0
        fleet.store.clock_offset += asleep
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began <= 60.0
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began >= 3600.0


# --- trouble -------------------------------------------------------------------------------


async def test_a_stream_parks_alone_and_is_resumed(fleet: Fleet, autojump_clock: Clock) -> None:
    """contained: a bad stream costs one stream, and goes on when an operator says so."""
    small(fleet, OTHER)

    async def broken(_: Asked) -> None:
        raise UnexpectedAnswer("no such path", hint="look")

    fleet.apis[ADS].faults = broken
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        life.start(OTHER)
        await fleet.cycles(OTHER, 2)
        assert runner.state == "parked"
        assert "no such path" in fleet.store.parked[ADS]
        fleet.apis[ADS].faults = None
        job = Job(kind="resume")
        runner.ask(job)
        assert (await asked(job))[0]
        await fleet.cycles(ADS, 1)
        assert ADS not in fleet.store.parked
    assert set(fleet.rows(ADS)) == set(fleet.apis[ADS].records)


@pytest.mark.parametrize("error", [StoreRefused("no right"), SchemaError("no table")])
async def test_a_table_that_cannot_be_opened_parks_its_stream(
    fleet: Fleet, error: Exception, autojump_clock: Clock
) -> None:
    """contained: found out while syncd runs, it is told where people look."""
    fleet.store.fail_next("open_stream", error)
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Parked))
        await trio.testing.wait_all_tasks_blocked()
        runner.notice()
        await fleet.cycles(ADS, 1)


async def test_who_resumes_what_can_still_not_be_opened_is_told_why(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: and does not wait until somebody else has mended it."""
    for _ in range(2):
        fleet.store.fail_next("open_stream", StoreRefused("no right", hint="grant it"))
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Parked))
        await trio.testing.wait_all_tasks_blocked()
        resume, pause = Job(kind="resume"), Job(kind="pause")
        runner.ask(resume)
        runner.ask(pause)
        assert await asked(resume) == (False, "it is parked: no right. grant it")
        assert await asked(pause) == (True, "paused")
        again = Job(kind="resume")
        runner.ask(again)
        assert (await asked(again))[0]
        await fleet.cycles(ADS, 1)


async def test_what_failed_is_tried_again_by_itself_or_when_asked(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: used-up retries cost time, and `resume` ends the wait."""

    async def down(_: Asked) -> None:
        raise ApiUnavailable("503", sent="refused")

    fleet.apis[ADS].faults = down
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Failing))
        await fleet.until(lambda e: isinstance(e, events.Failing))
        assert runner.state == "failing"
        fleet.apis[ADS].faults = None
        job = Job(kind="resume")
        runner.ask(job)
        began = trio.current_time()
        await fleet.cycles(ADS, 1)
        assert trio.current_time() - began < 10


async def test_who_resumes_what_runs_is_answered_at_once(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """The next page may be an hour away, where the API has asked for that."""
    fleet.apis[ADS].faults = hang
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await trio.testing.wait_all_tasks_blocked()
        job, pause, after = Job(kind="resume"), Job(kind="pause"), Job(kind="resume")
        runner.ask(job)
        assert job.done.is_set()
        assert (job.ok, job.answer) == (True, "it is not paused")
        # One that comes after a pause that is still to be done is no matter of now.
        runner.ask(pause)
        runner.ask(after)
        assert not after.done.is_set()


async def test_who_resumes_what_is_being_paused_is_heard(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """Between two jobs it runs still, and is paused already."""
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        runner.ask(Job(kind="pause"))
        runner.ask(Job(kind="reset"))
        fleet.store.troubles = lambda method: Trouble(before=1.0 * (method == "reset"))
        await fleet.becomes(lambda: runner._paused)
        resume = Job(kind="resume")
        runner.ask(resume)
        assert await asked(resume) == (True, "goes on")
        await fleet.cycles(ADS, 1)


async def test_a_bug_ends_the_daemon_with_its_siblings_commits_finished(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: what others have in flight is awaited and committed, then it is raised."""
    small(fleet, OTHER, records=5)
    reached = trio.Event()

    async def slow(_: Asked) -> None:
        reached.set()
        await trio.sleep(2.0)

    async def bug(_: Asked) -> None:
        await reached.wait()
        raise ZeroDivisionError

    fleet.apis[OTHER].faults = slow
    fleet.apis[ADS].faults = bug

    async def live() -> None:
        async with fleet.life("ads") as life:
            life.start(OTHER, has_call=False)
            life.start(ADS)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as raised:
        await live()
    assert raised.group_contains(ZeroDivisionError)
    assert len(fleet.rows(OTHER)) == 5
    assert fleet.ended(OTHER)


async def test_a_lost_lease_is_taken_back_when_its_taker_is_gone(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """resume: of two daemons one is always there, and never both."""
    fleet.apis[ADS].call_takes = 12.0
    async with fleet.life("ads") as life:
        life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.PageFetched))
        fleet.store.steal_lease("ads")
        await fleet.until(lambda e: isinstance(e, events.Parked))
        assert fleet.store.cycles[0].outcome is None
        await trio.sleep(60)  # the other one is not heard of any more
        await fleet.cycles(ADS, 1)
    assert set(fleet.rows(ADS)) == set(fleet.apis[ADS].records)
    keys = Counter(a.idempotency_key for a in fleet.apis[ADS].asked if a.idempotency_key)
    assert max(keys.values()) == 1


# --- what operators ask for ------------------------------------------------------------------


async def test_pausing_ends_at_the_page_boundary_and_holds_over_a_restart(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """drain: the page under way is committed first; nothing is asked afterwards."""
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.PageFetched))
        fleet.store.paused.add(ADS)  # as the command writes it
        job = Job(kind="pause")
        runner.ask(job)
        assert await asked(job) == (True, "paused")
        sent = len(fleet.apis[ADS].asked)
        await trio.sleep(10_000)
        assert len(fleet.apis[ADS].asked) == sent
        refused = Job(kind="sync")
        runner.ask(refused)
        assert not (await asked(refused))[0]
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await trio.sleep(10_000)
        assert len(fleet.apis[ADS].asked) == sent
        fleet.store.paused.discard(ADS)
        job = Job(kind="resume")
        runner.ask(job)
        assert (await asked(job))[0]
        await fleet.cycles(ADS, 1)
    assert set(fleet.rows(ADS)) == set(fleet.apis[ADS].records)
    pages = Counter(a.what for a in fleet.apis[ADS].asked if a.what.startswith("page"))
    assert max(pages.values()) == 1


async def test_sync_begins_a_cycle_now(fleet: Fleet, autojump_clock: Clock) -> None:
    """accounted: once, and the rest counts from its start."""
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=86400.0)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        job = Job(kind="sync")
        runner.ask(job)
        assert await asked(job) == (True, "begins now")
        await fleet.cycles(ADS, 2)
        began = trio.current_time()
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began > 86000


@pytest.mark.parametrize("when", ["rest", "cycle"])
async def test_records_asked_for_are_written_beside_the_cycle(
    fleet: Fleet, when: str, autojump_clock: Clock
) -> None:
    """accounted: just these, with a call of their own, and the cycle goes on where it was."""
    api = fleet.apis[ADS]
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        if when == "rest":
            await fleet.until(lambda e: isinstance(e, events.Resting))
        else:
            await fleet.until(lambda e: isinstance(e, events.PageFetched))
        api.records["c3"]["name"] = "renamed"
        job = Job(kind="sync", subjects=["c3", "c12", "c99"])
        runner.ask(job)
        ok, answer = await asked(job)
        assert not ok
        assert "c99" in answer
        assert fleet.rows(ADS)["c3"]["name"] == "renamed"
        await fleet.cycles(ADS, 1)
    aside = next(c for c in fleet.store.cycles if c.aside)
    assert (aside.counts.seen, aside.outcome) == (2, "ok")
    whole = [c for c in fleet.store.cycles if not c.aside]
    assert [c.counts.seen for c in whole if c.outcome] == [12]
    assert api.carried_out['["c3"]'] == 2
    keys = Counter(a.idempotency_key for a in api.asked if a.idempotency_key)
    assert max(keys.values()) == 1


async def test_reset_begins_at_the_first_page(fleet: Fleet, autojump_clock: Clock) -> None:
    """resume: the running cycle is given up, in order."""
    small(fleet, records=45)
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.PageCommitted))
        job = Job(kind="reset")
        runner.ask(job)
        assert (await asked(job))[0]
        await fleet.cycles(ADS, 1)
    outcomes = [c.outcome for c in fleet.store.cycles]
    assert outcomes == ["abandoned", "ok"]
    assert set(fleet.rows(ADS)) == set(fleet.apis[ADS].records)


async def test_a_dead_letter_is_retried_with_its_first_key(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """No blind repeat: the call is made again as the same one, and then the row is written."""
    api = fleet.apis[ADS]

    async def refuse(one: Asked) -> None:
        if one.what == 'call ["c5"]':
            raise CallFailed("call-failed", "no")

    api.faults = refuse
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        (found,) = fleet.store.put_aside.values()
        assert "c5" not in fleet.rows(ADS)
        assert found.attempts == 2  # the second at the cycle's end, by itself
        again = Job(kind="retry", subjects=[str(found.id)])
        runner.ask(again)
        ok, answer = await asked(again)
        assert (ok, "put aside" in answer) == (False, True)
        assert found.attempts == 3
        api.faults = None
        last = Job(kind="retry", subjects=[str(found.id)])
        runner.ask(last)
        assert await asked(last) == (True, "1 written")
    assert "c5" in fleet.rows(ADS)
    assert fleet.store.dead_letters == []
    keys = {a.idempotency_key for a in api.asked if a.what == 'call ["c5"]'}
    assert keys == {found.letter.idempotency_key}


async def test_leaving_answers_what_was_not_done(fleet: Fleet, autojump_clock: Clock) -> None:
    """drain: nobody waits for an answer that never comes."""
    fleet.apis[ADS].faults = hang
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await trio.testing.wait_all_tasks_blocked()
        job = Job(kind="sync", subjects=["c1"])
        runner.ask(job)
    assert not job.ok
    assert "ask again" in job.answer


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_requests_ends_whole(seed: int, autojump_clock: Clock) -> None:
    """accounted: pause, resume, reset, sync and changes in any order lose and double nothing."""
    rng = random.Random(seed)
    fleet = Fleet(requests=20, seed=seed)
    api = fleet.has(ADS, 35)
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=600.0)
        jobs = []
        for _ in range(12):
            await trio.sleep(rng.uniform(0, 90))
            kind = rng.choice(["pause", "resume", "reset", "sync", "keys", "change", "anew"])
            if kind in ("change", "anew"):
                version = str(rng.randrange(3)) if kind == "anew" else "1"
                context = life.context(ADS, version=version, waits=runner.stream.waits)
                runner.change(context, anew=kind == "anew")
                continue
            subjects = [f"c{rng.randrange(1, 36)}"] if kind == "keys" else []
            job = Job(kind="sync" if kind == "keys" else kind, subjects=subjects)  # type: ignore[arg-type]  # of the list
            jobs.append(job)
            runner.ask(job)
        runner.ask(Job(kind="resume"))
        for job in jobs:
            await asked(job)
        await fleet.cycles(ADS, len(fleet.ended(ADS)) + 1)
    assert set(fleet.rows(ADS)) == set(api.records)
    assert api.refused == 0
    assert all(c.counts.balanced for c in fleet.store.cycles)
    keys = Counter(a.idempotency_key for a in api.asked if a.idempotency_key)
    assert max(keys.values()) == 1


async def test_a_call_that_failed_is_tried_again_at_the_cycles_end(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """no-blind-repeat: at once, with its first key, and ever later; then it waits for a person."""
    api = fleet.apis[ADS]
    failing = True

    async def refuse(one: Asked) -> None:
        if failing and one.what == 'call ["c5"]':
            raise CallFailed("call-failed", "no")

    api.faults = refuse
    async with fleet.life("ads") as life:
        life.start(ADS, every=86400.0)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        first = [a for a in api.asked if a.what == 'call ["c5"]']
        assert len(first) == 2
        assert len({a.idempotency_key for a in first}) == 1
        (found,) = fleet.store.put_aside.values()
        assert found.attempts == 2
        assert found.next_try is not None
        failing = False
        await fleet.cycles(ADS, 2)
        await trio.sleep(1)
    assert fleet.store.dead_letters == []
    assert "c5" in fleet.rows(ADS)


async def test_calls_that_may_not_be_repeated_wait_for_a_person(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """no-blind-repeat: an unknown outcome is not tried again by itself."""
    api = fleet.apis[ADS]

    async def lose(one: Asked) -> None:
        if one.what == 'call ["c5"]':
            raise ApiUnavailable("connection lost")

    api.faults = lose
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=86400.0)
        runner.stream.source.repeatable = False  # type: ignore[misc]  # the fake's own
        await fleet.until(lambda e: isinstance(e, events.Resting))
    assert len([a for a in api.asked if a.what == 'call ["c5"]']) == 1
    (found,) = fleet.store.put_aside.values()
    assert (found.letter.kind, found.next_try) == ("outcome-unknown", None)


async def test_too_many_dead_letters_park_the_stream(fleet: Fleet, autojump_clock: Clock) -> None:
    """contained: more than 20, and more than 5 %; whoever resumes it has seen them."""
    small(fleet, records=60)
    api = fleet.apis[ADS]

    async def refuse(one: Asked) -> None:
        if one.idempotency_key is not None:
            raise CallFailed("call-failed", "no")

    api.faults = refuse
    async with fleet.life("ads") as life:
        runner = life.start(ADS, every=86400.0)
        await fleet.until(lambda e: isinstance(e, events.Parked))
        assert "30 of 30 records were put aside" in fleet.store.parked[ADS]
        api.faults = None
        await trio.testing.wait_all_tasks_blocked()
        runner.ask(Job(kind="resume"))
        await fleet.until(lambda e: isinstance(e, events.Resting))
    assert len(fleet.rows(ADS)) == 60


async def test_old_dead_letters_go(fleet: Fleet, autojump_clock: Clock) -> None:
    """accounted: by age, whatever the stream does: this one is paused."""
    api = fleet.apis[ADS]

    async def refuse(one: Asked) -> None:
        if one.what == 'call ["c5"]':
            raise CallFailed("call-failed", "no")

    api.faults = refuse
    async with fleet.life("ads") as life, trio.open_nursery() as nursery:
        purging = Purging(
            store=fleet.store,
            leases=lambda: list(life.supervisor.leases.values()),
            keep=lambda: 86400.0,
            waits=life.waits,
        )
        nursery.start_soon(purging.run)
        runner = life.start(ADS, every=7200.0)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        assert len(fleet.store.put_aside) == 1
        runner.ask(Job(kind="pause"))
        await trio.sleep(86400.0)
        assert len(fleet.store.put_aside) == 1
        # Postgres is away for one look, and nothing is lost by that.
        fleet.store.fail_next("purge", StoreUnavailable("away"))
        await trio.sleep(3600.0)
        assert len(fleet.store.put_aside) == 1
        await trio.sleep(3600.0)
        assert fleet.store.put_aside == {}
        nursery.cancel_scope.cancel()
