"""A reload at any moment, with any fate: nothing lost, doubled or asked again."""

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

from syncd.errors import ApiUnavailable
from syncd.sync import events
from syncd.sync.model import StreamId
from syncd.testing.api import Asked
from syncd.testing.kept import Trouble
from tests.flow.fleet import Fleet, Life

Clock = trio.abc.Clock
ADS = StreamId(source="ads", stream="campaigns")
NEW = StreamId(source="ads", stream="adsets")

FATES = ("keep", "adopt", "replace", "retire", "add")
MOMENTS = ("page", "call", "budget wait", "backoff", "rest")


def moment(fleet: Fleet, name: str) -> Callable[[], Awaitable[None]]:
    """What returns in the middle of that."""
    api = fleet.apis[ADS]
    there = trio.Event()

    async def faults(asked: Asked) -> None:
        if name == "page" and asked.what == "page 2":
            there.set()
            await trio.sleep(1.0)  # it is under way while the reload comes
        if name == "call" and asked.what == 'call ["c12"]':
            there.set()
        if name == "backoff" and asked.what == "page 2" and not there.is_set():
            there.set()
            raise ApiUnavailable("503", sent="refused")

    api.faults = faults

    async def wait() -> None:
        if name == "budget wait":
            await fleet.until(lambda e: isinstance(e, events.Waiting) and e.why == "budget")
        elif name == "rest":
            await fleet.until(lambda e: isinstance(e, events.Resting))
        else:
            await there.wait()
            if name == "backoff":
                await trio.testing.wait_all_tasks_blocked()

    return wait


def reload(life: Life, fate: str) -> None:
    """What `app` does to the runners for each fate."""
    runner = life.supervisor.runners[ADS]
    waits = runner.stream.waits
    if fate == "adopt":
        runner.change(life.context(ADS, every=600.0, waits=waits))
    elif fate == "replace":
        runner.change(life.context(ADS, version="2", waits=waits), anew=True)
    elif fate == "retire":
        runner.retire()
    elif fate == "add":
        life.start(NEW, stagger=0.0)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("name", MOMENTS)
async def test_a_reload_at_any_moment(
    name: str, fate: str, twice: bool, autojump_clock: Clock
) -> None:
    """all-or-nothing-reload: each stream changes at its page boundary, nothing is cut."""
    fleet = Fleet()
    api = fleet.has(ADS, 25)
    fleet.has(NEW, 5)
    fleet.apis[NEW].limit = None  # its requests are counted by the other's server
    wait = moment(fleet, name)
    async with fleet.life("ads") as life:
        life.start(ADS, every=900.0)
        await wait()
        reload(life, fate)
        if twice and fate != "add":
            reload(life, fate)
        if fate == "retire":
            await fleet.becomes(lambda: ADS not in life.supervisor.runners)
            assert fleet.store.leases["ads"].holder is not None  # the config still has the source
            committed = [e for _, e in fleet.heard if isinstance(e, events.PageCommitted)]
            life.start(ADS)  # and back again: it goes on where it was
        # A stream that rests has had its cycle; its next one is of the new settings.
        await fleet.cycles(ADS, 2 if name == "rest" and fate in ("replace", "retire") else 1)
        if fate == "add":
            await fleet.cycles(NEW, 1)
            assert set(fleet.rows(NEW)) == set(fleet.apis[NEW].records)
    assert set(fleet.rows(ADS)) == set(api.records)
    assert all(row["synced_at"] for row in fleet.rows(ADS).values())
    assert api.refused == 0
    whole = [c for c in fleet.store.cycles if c.stream == ADS and c.outcome == "ok"]
    assert all(c.counts.seen == 25 for c in whole)
    assert all(c.counts.balanced for c in fleet.store.cycles)
    asked = Counter(a.what for a in api.asked if a.what.startswith("page"))
    keys = Counter(a.idempotency_key for a in api.asked if a.idempotency_key)
    assert max(keys.values()) == 1, "a call was made again"
    if fate in ("keep", "adopt", "add"):
        failed = {"page 2"} if name == "backoff" else set()
        again = {what for what, times in asked.items() if times > len(whole)} - failed
        assert not again, "a page was asked again"
        assert len([c for c in fleet.store.cycles if c.stream == ADS]) == len(whole)
    if fate == "replace" and name != "rest":
        assert [c.outcome for c in fleet.store.cycles[:2]] == ["abandoned", "ok"]
    if fate == "retire" and name != "rest":
        assert all(asked[f"page {number + 1}"] == 1 for number in range(len(committed)))


async def test_a_reload_of_a_stream_that_is_parked_at_that_moment(autojump_clock: Clock) -> None:
    """contained: it has ended the waits of a stream that then waits; nobody else stands still."""
    fleet = Fleet()
    fleet.has(ADS, 5)
    fleet.store.troubles = lambda method: Trouble(before=2.0 * (method == "begin_cycle"))
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await trio.sleep(1)
        fleet.store.steal_lease("ads")  # what its cycle begins with is not its own any more
        reload(life, "replace")
        await fleet.until(lambda e: isinstance(e, events.Parked))
        await trio.sleep(10)  # on the loop that it used to hold
        assert runner.state == "parked"


async def test_a_shorter_interval_wakes_a_stream_that_rests(autojump_clock: Clock) -> None:
    """all-or-nothing-reload: an interval counts from the start of the last cycle."""
    fleet = Fleet()
    fleet.has(ADS, 5)
    async with fleet.life("ads") as life:
        life.start(ADS, every=86400.0, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        began = trio.current_time()
        runner = life.supervisor.runners[ADS]
        runner.change(life.context(ADS, every=600.0, has_call=False, waits=runner.stream.waits))
        await fleet.until(lambda e: isinstance(e, events.CycleStarted))
        assert trio.current_time() - began == pytest.approx(600, abs=1)


async def test_a_retired_source_gives_its_lease_back(autojump_clock: Clock) -> None:
    """all-or-nothing-reload: another daemon can run it from then on."""
    fleet = Fleet()
    fleet.has(ADS, 5)
    async with fleet.life("ads") as life:
        runner = life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Resting))
        life.supervisor.sources.clear()
        runner.retire()
        await fleet.becomes(lambda: not life.supervisor.leases)
        assert fleet.store.leases["ads"].holder is None


async def test_a_smaller_budget_keeps_the_debt(autojump_clock: Clock) -> None:
    """budget: what was spent under the old limit counts under the new one, at once."""
    fleet = Fleet()
    api = fleet.has(ADS, 30)
    async with fleet.life("ads") as life:
        life.start(ADS)
        await fleet.until(lambda e: isinstance(e, events.Waiting) and e.why == "budget")
        bucket = life.budgets["ads"]
        changed_at = trio.current_time()
        await bucket.change(
            type(bucket.settings)(name="ads", requests=4, per=120.0), bucket.timeout
        )
        await fleet.until(lambda e: isinstance(e, events.CycleEnded))
    assert api.refused == 0
    later = [a.at for a in api.asked if a.at > changed_at]
    everything = [a.at for a in api.asked]
    for at in later:
        in_window = [t for t in everything if at - 120.0 < t <= at]
        # The ten of the old limit go out of the window one by one; nothing comes on top.
        assert len(in_window) <= 4 or all(t <= changed_at for t in in_window[:-4])
    assert min(later) - changed_at >= 119.0
