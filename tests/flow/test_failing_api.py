"""An API that fails everybody: who asks it then, and how do its streams live with that?"""

import attrs
import pytest
import trio
import trio.testing

from syncd.daemon.jobs import Job
from syncd.errors import ApiUnavailable
from syncd.sync import events
from syncd.sync.breaker import CAP, FIRST
from syncd.sync.model import StreamId
from syncd.testing.api import Asked
from syncd.testing.kept import Trouble
from tests.flow.fleet import Fleet

Clock = trio.testing.MockClock
STREAMS = [StreamId(source="ads", stream=f"stream {n}") for n in range(6)]
OTHER = StreamId(source="shop", stream="orders")


@attrs.define(eq=False)
class Api:
    """Down until somebody mends it; remembers when it was asked, by whichever stream."""

    down: bool = True
    asked: list[float] = attrs.field(factory=list)

    async def faults(self, _: Asked) -> None:
        self.asked.append(trio.current_time())
        if self.down:
            raise ApiUnavailable("503", sent="refused")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def fleet(api: Api) -> Fleet:
    """Six streams of one source, and one of another."""
    fleet = Fleet(requests=1000)
    for stream in (*STREAMS, OTHER):
        fleet.has(stream, 5)
    for stream in STREAMS:
        fleet.apis[stream].faults = api.faults
    return fleet


def opened(fleet: Fleet) -> list[events.BreakerOpened]:
    return [e for _, e in fleet.heard if isinstance(e, events.BreakerOpened)]


async def test_no_token_is_spent_while_it_is_open_and_all_go_on_after_a_probe(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """budget, contained: of six streams one asks now and then; one answer lets all go on."""
    async with fleet.life("ads", "shop") as life:
        for stream in STREAMS:
            life.start(stream, has_call=False)
        life.start(OTHER, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened))
        await trio.testing.wait_all_tasks_blocked()
        before, since = len(api.asked), trio.current_time()
        assert before <= 20
        taken: list[float] = []

        def note(method: str) -> Trouble:
            if method == "take_tokens":
                taken.append(trio.current_time())
            return Trouble()

        fleet.store.troubles = note
        await trio.sleep_until(since + 0.7 * FIRST)
        assert len(api.asked) == before
        assert fleet.ended(OTHER)
        assert len(taken) <= 1, "the other source's page, and nothing else"
        await trio.sleep_until(since + 3600)
        assert len(api.asked) - before < 3600 / CAP * 2
        gaps = [b - a for a, b in zip(api.asked[before:], api.asked[before + 1 :], strict=False)]
        assert min(gaps) > FIRST / 2
        api.down = False
        [recovered] = await _until_closed(fleet)
        assert recovered.seconds > 3500
        started = trio.current_time()
        for stream in STREAMS:
            await fleet.cycles(stream, 1)
        assert trio.current_time() - started < 60


async def test_the_streams_that_wait_have_used_up_no_try(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """contained: they made no attempt, so only those whose probes failed can be failing."""
    async with fleet.life("ads") as life:
        for stream in STREAMS:
            life.start(stream, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened))
        mark = len(fleet.heard)
        await trio.sleep(200)
        retrying = [e for _, e in fleet.heard[mark:] if isinstance(e, events.Retrying)]
        assert len(retrying) <= len(opened(fleet)) + len(STREAMS)
        api.down = False


async def test_leaving_while_it_is_open_is_done_at_once(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """drain: nobody waits for an API that is down, not even its probe."""
    async with fleet.life("ads") as life:
        for stream in STREAMS:
            life.start(stream, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened))
        await trio.sleep(1)
        asked, began = len(api.asked), trio.current_time()
    assert trio.current_time() == began
    assert len(api.asked) == asked


async def test_an_operator_is_heard_while_it_is_open(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """contained: `pause` and `reset` do not wait until the API is well."""
    async with fleet.life("ads") as life:
        runners = [life.start(stream, has_call=False) for stream in STREAMS]
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened))
        await trio.sleep(1)
        jobs = [Job(kind="pause") for _ in runners]
        for runner, job in zip(runners, jobs, strict=True):
            runner.ask(job)
        # A backoff that is under way is waited for, as ever.
        await fleet.becomes(lambda: all(r.state == "paused" for r in runners), within=10)
        assert all(job.ok for job in jobs)
        asked = len(api.asked)
        await trio.sleep(1000)
        assert len(api.asked) == asked


async def test_a_stream_that_is_alone_is_failing_first_and_asks_ever_less_often(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """contained: its retries have their say before the breaker opens."""
    async with fleet.life("ads") as life:
        life.start(STREAMS[0], has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Failing))
        assert not opened(fleet)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened), within=600)
        api.down = False
        await fleet.cycles(STREAMS[0], 1)


async def test_calls_that_wait_for_tokens_are_called_back(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """budget: with ten tokens a minute and six streams' calls, the tokens are not burnt."""
    fleet.requests = 12
    async with fleet.life("ads") as life:
        for stream in STREAMS:
            life.start(stream)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened), within=3600)
        asked = len(api.asked)
        waited = trio.current_time()
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened), within=3600)
        assert len(api.asked) == asked + 1
        assert trio.current_time() - waited > FIRST / 2
        api.down = False
        for stream in STREAMS:
            await fleet.cycles(stream, 1)


async def test_records_are_not_put_aside_for_an_api_that_fails_everybody(
    fleet: Fleet, api: Api, autojump_clock: Clock
) -> None:
    """contained, accounted: it went down in mid-page, after it had answered some calls."""
    api.down = False
    stream = STREAMS[0]
    fleet.apis[stream].fill(10)

    async def breaks_down(asked: Asked) -> None:
        if asked.number == 5:
            api.down = True
        await api.faults(asked)

    fleet.apis[stream].faults = breaks_down
    async with fleet.life("ads") as life:
        life.start(stream)
        await fleet.until(lambda e: isinstance(e, events.BreakerOpened))
        await fleet.until(lambda e: isinstance(e, events.Failing), within=20_000)
        await trio.sleep(3 * 3600)
        api.down = False
        await fleet.cycles(stream, 1)
    assert not fleet.store.dead_letters
    assert len(fleet.rows(stream)) == 10
    assert set(fleet.apis[stream].carried_out.values()) == {1}


async def _until_closed(fleet: Fleet) -> list[events.BreakerClosed]:
    await fleet.until(lambda e: isinstance(e, events.BreakerClosed))
    return [e for _, e in fleet.heard if isinstance(e, events.BreakerClosed)]
