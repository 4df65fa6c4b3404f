"""Cycles that begin by a calendar: what becomes of due times, whatever the clocks and we do.

The calendar's clock is the store's; ours and that of the machine are apart from it.
"""

import datetime as dt

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.daemon.jobs import Job
from syncd.daemon.runner import Runner
from syncd.errors import ApiUnavailable, StoreUnavailable, UnexpectedAnswer
from syncd.schedule import Schedule
from syncd.sync import clocks, events
from syncd.sync.model import StreamId
from syncd.testing.api import Asked
from syncd.zones import zone
from tests.flow.fleet import Fleet, Life

Clock = trio.abc.Clock
ADS = StreamId(source="ads", stream="campaigns")
BERLIN = "Europe/Berlin"
NIGHTLY = Schedule(("30 2 * * *",), BERLIN)
HOURLY = Schedule(("0 * * * *",), BERLIN)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


@attrs.define(eq=False, kw_only=True)
class Watched:
    """A fleet of one stream, and the clock on the wall."""

    fleet: Fleet
    asleep: float = 0.0

    def boot_time(self) -> float:
        return trio.current_time() + self.asleep

    def now(self) -> float:
        return trio.current_time() + self.fleet.store.clock_offset

    def is_at(self, text: str) -> None:
        """Let the clock on the wall show that."""
        self.fleet.store.clock_offset = at(text) - trio.current_time()

    def sleep(self, seconds: float) -> None:
        """The machine is suspended for so long: the monotonic clock stands still."""
        self.asleep += seconds
        self.fleet.store.clock_offset += seconds

    async def reaches(self, text: str) -> None:
        await trio.sleep(max(0.0, at(text) - self.now()))

    @property
    def begun(self) -> list[str]:
        """When its cycles were begun, on the wall in Berlin."""
        return [said(c.started_at) for c in self.fleet.store.cycles if c.follows is None]

    @property
    def made_up_for(self) -> list[int]:
        """How many due times each cycle covered that began late."""
        return [e.missed.count for _, e in self.fleet.heard if isinstance(e, events.CaughtUp)]

    @property
    def next_start(self) -> str:
        return said(self.fleet.store._next_starts[ADS])


def said(instant: float) -> str:
    return dt.datetime.fromtimestamp(round(instant), zone(BERLIN)).isoformat(timespec="minutes")


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Watched:
    fleet = Fleet(requests=1000)
    fleet.has(ADS, 12)
    wall = Watched(fleet=fleet)
    monkeypatch.setattr(clocks, "boot_time", wall.boot_time)
    return wall


def starts(life: Life, schedule: Schedule = NIGHTLY) -> Runner:
    return life.start(ADS, schedule=schedule, has_call=False)


async def asked(runner: Runner, job: Job) -> str:
    runner.ask(job)
    with trio.fail_after(1e6):
        await job.done.wait()
    return job.answer


# --- the course of things ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "begun"),
    [
        (
            "2026-03-27T12:00+01:00",
            "2026-03-30T12:00+02:00",
            ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "2026-10-23T12:00+02:00",
            "2026-10-26T12:00+01:00",
            ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
    ],
    ids=["spring", "autumn"],
)
@pytest.mark.long
async def test_each_night_once_also_when_the_clocks_change(
    wall: Watched, start: str, end: str, begun: list[str], autojump_clock: Clock
) -> None:
    """contained: half past two that does not exist, or that comes twice, is one cycle."""
    wall.is_at(start)
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches(end)
    assert wall.begun == begun
    assert wall.made_up_for == []
    assert len(wall.fleet.ended(ADS)) == 3


async def test_nothing_begins_before_its_time(wall: Watched, autojump_clock: Clock) -> None:
    """contained: not by a fraction of a second, and a new stream does not begin at once."""
    wall.is_at("2026-03-10T12:00+01:00")
    wall.fleet.store.clock_offset += 0.123456
    async with wall.fleet.life("ads") as life:
        starts(life, Schedule(("*/5 * * * *",)))
        await wall.reaches("2026-03-10T14:01+01:00")
    late = [c.started_at % 300 for c in wall.fleet.store.cycles]
    assert len(late) == 24
    assert max(late) < 0.1


async def test_a_cycle_that_takes_longer_is_followed_by_one_that_makes_up(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: never two at once, never a queue of them; and it is said."""
    wall.is_at("2026-03-10T11:59+01:00")
    api = wall.fleet.has(ADS, 100)
    api.call_takes = 14.0
    async with wall.fleet.life("ads") as life:
        life.start(ADS, schedule=Schedule(("* * * * *",)))
        await wall.fleet.cycles(ADS, 1)
        api.call_takes = 0.1
        await wall.reaches("2026-03-10T12:04:30+01:00")
    first, second, *others = (c.started_at for c in wall.fleet.store.cycles)
    assert said(first) == "2026-03-10T12:00+01:00"
    assert 120 < second - first < 180
    assert [said(instant)[11:16] for instant in others] == ["12:03", "12:04"]
    assert wall.made_up_for == [2]


async def test_it_says_when_the_next_cycle_begins(wall: Watched, autojump_clock: Clock) -> None:
    """Once for each rest, however often the clock is looked at."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T12:00+01:00")
    rests = [e.seconds for _, e in wall.fleet.heard if isinstance(e, events.Resting)]
    assert rests == [
        pytest.approx(14.5 * HOUR, abs=1),
        pytest.approx(24 * HOUR, abs=1),
    ]
    assert wall.next_start == "2026-03-12T02:30+01:00"


# --- clocks --------------------------------------------------------------------------------


async def test_after_a_sleep_one_cycle_makes_up_for_all(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: the lid closed for five hours over three due times; then the plan goes on."""
    every_other = Schedule(("0 */2 * * *",), BERLIN)
    wall.is_at("2026-03-10T11:30+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life, every_other)
        await trio.sleep(61)
        wall.sleep(5 * HOUR)
        woken = wall.now()
        await wall.reaches("2026-03-10T20:30+01:00")
    assert wall.begun[0] <= said(woken + MINUTE)
    assert [text[11:16] for text in wall.begun[1:]] == ["18:00", "20:00"]
    assert wall.made_up_for == [3]  # 12:00, 14:00 and 16:00


@pytest.mark.parametrize("back", [10 * MINUTE, 2 * HOUR, 20 * HOUR])
async def test_stepped_back_it_does_not_run_again_what_it_has_run(
    wall: Watched, back: float, autojump_clock: Clock
) -> None:
    """contained: the wall shows half past two again, and that night has been run."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T02:35+01:00")
        wall.fleet.store.clock_offset -= back
        await wall.reaches("2026-03-12T01:00+01:00")
        assert wall.begun == ["2026-03-11T02:30+01:00"]
        await wall.reaches("2026-03-12T03:00+01:00")
    assert wall.begun == ["2026-03-11T02:30+01:00", "2026-03-12T02:30+01:00"]


async def test_found_due_and_begun_by_another_clock_it_is_run_once(
    wall: Watched, autojump_clock: Clock
) -> None:
    """resume: a failover at half past two, to a server whose clock is behind."""
    wall.is_at("2026-03-10T12:00+01:00")
    store = wall.fleet.store
    async with wall.fleet.life("ads") as life:
        starts(life)
        store.fail_next("begin_cycle", StoreUnavailable("it is gone"))
        await wall.fleet.until(lambda e: isinstance(e, events.Waiting))
        store.clock_offset -= 5 * MINUTE
        await wall.reaches("2026-03-11T12:00+01:00")
    assert [text[:14] for text in wall.begun] == ["2026-03-11T02:"]
    assert wall.begun[0] < "2026-03-11T02:30"
    assert wall.next_start == "2026-03-12T02:30+01:00"


async def test_a_clock_that_was_wrong_by_years_blocks_nothing(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: nobody waits for the next night of 2036."""
    wall.is_at("2036-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2036-03-11T12:00+01:00")
        wall.is_at("2026-03-10T12:00+01:00")
        await wall.reaches("2026-03-11T12:00+01:00")
    assert wall.begun == ["2036-03-11T02:30+01:00", "2026-03-11T02:30+01:00"]


async def test_stepped_forth_it_does_not_flood(wall: Watched, autojump_clock: Clock) -> None:
    """contained: a month is skipped: one cycle, and then the plan."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life, HOURLY)
        await trio.sleep(61)
        wall.fleet.store.clock_offset += 30 * DAY
        await wall.reaches("2026-04-09T16:30+02:00")
    assert wall.begun[0] < "2026-04-09T13:05"
    assert [text[11:16] for text in wall.begun[1:]] == ["14:00", "15:00", "16:00"]
    assert wall.made_up_for == [100]


async def test_while_postgres_is_away_nobody_asks_for_it_before_it_is_needed(
    wall: Watched, autojump_clock: Clock
) -> None:
    """resume: over a due time, too; that one is made up for when Postgres is back."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-10T13:00+01:00")
        wall.fleet.store.away = True
        await wall.reaches("2026-03-11T02:29+01:00")
        assert not [e for _, e in wall.fleet.heard if isinstance(e, events.Waiting)]
        await wall.reaches("2026-03-11T03:00+01:00")
        assert [e for _, e in wall.fleet.heard if isinstance(e, events.Waiting)]
        wall.fleet.store.away = False
        await wall.reaches("2026-03-12T03:00+01:00")
    first, second = wall.begun
    assert "2026-03-11T03:00" <= first < "2026-03-11T03:16"
    assert second == "2026-03-12T02:30+01:00"
    assert wall.made_up_for == [1]


# --- restarts, and what operators do -------------------------------------------------------


async def test_what_passed_while_it_was_down_is_made_up_for_once(
    wall: Watched, autojump_clock: Clock
) -> None:
    """resume: the next start is Postgres's to remember."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T03:00+01:00")
    await wall.reaches("2026-03-13T09:00+01:00")
    for _ in range(2):  # the second start has nothing to make up for
        async with wall.fleet.life("ads") as life:
            starts(life)
            await trio.sleep(HOUR)
    assert [text[:16] for text in wall.begun] == ["2026-03-11T02:30", "2026-03-13T09:00"]
    assert wall.made_up_for == [2]
    assert wall.next_start == "2026-03-14T02:30+01:00"


async def test_a_cycle_that_was_left_covers_the_time_that_it_began_for(
    wall: Watched, autojump_clock: Clock
) -> None:
    """resume: its due time is run with its beginning; what goes on is no second one."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        wall.fleet.apis[ADS].call_takes = 1.0
        await wall.fleet.until(lambda e: isinstance(e, events.PageCommitted))
        life.supervisor.stop()
    assert wall.fleet.ended(ADS) == []
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T12:00+01:00")
    assert wall.begun == ["2026-03-11T02:30+01:00"]
    assert [e.outcome for e in wall.fleet.ended(ADS)] == ["ok"]
    assert wall.made_up_for == []


async def test_asked_for_by_hand_it_runs_and_the_plan_stays(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: `syncd sync` ten minutes before its time is no reason to leave that out."""
    wall.is_at("2026-03-11T02:20+01:00")
    async with wall.fleet.life("ads") as life:
        runner = starts(life)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
        assert await asked(runner, Job(kind="sync")) == "begins now"
        await wall.reaches("2026-03-11T12:00+01:00")
    assert wall.begun == ["2026-03-11T02:20+01:00", "2026-03-11T02:30+01:00"]


@pytest.mark.parametrize(
    ("asked_at", "begun"),
    [
        ("2026-03-11T02:20+01:00", ["2026-03-11T02:20", "2026-03-11T02:30"]),
        ("2026-03-11T02:40+01:00", ["2026-03-11T02:40"]),
    ],
    ids=["before", "after"],
)
async def test_once_pays_what_is_owed_and_nothing_in_advance(
    wall: Watched, asked_at: str, begun: list[str], autojump_clock: Clock
) -> None:
    """resume: `syncd once` beside a daemon that is down, around half past two."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
    await wall.reaches(asked_at)
    async with wall.fleet.life("ads") as life:
        context = life.context(ADS, schedule=NIGHTLY, has_call=False)
        runner = Runner(stream=context, rng=wall.fleet.rng)
        await runner.open()
        await runner.run_once()
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T12:00+01:00")
    assert [text[:16] for text in wall.begun] == begun


async def test_a_pause_over_several_is_made_up_for_once(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: who resumes it wants it in step."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        runner = starts(life)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
        assert await asked(runner, Job(kind="pause")) == "paused"
        await wall.reaches("2026-03-13T09:00+01:00")
        assert wall.begun == []
        assert await asked(runner, Job(kind="resume")) == "goes on"
        await wall.reaches("2026-03-14T09:00+01:00")
    assert [text[:16] for text in wall.begun] == ["2026-03-13T09:00", "2026-03-14T02:30"]
    assert wall.made_up_for == [3]


async def test_parked_over_several_it_makes_up_when_somebody_has_acted(
    wall: Watched, autojump_clock: Clock
) -> None:
    """contained: its cycle was begun, and goes on; what passed since is one more."""
    wall.is_at("2026-03-10T12:00+01:00")
    broken = True

    async def faults(_: Asked) -> None:
        if broken:
            raise UnexpectedAnswer("no such path", hint="look")

    wall.fleet.apis[ADS].faults = faults
    async with wall.fleet.life("ads") as life:
        runner = starts(life)
        await wall.reaches("2026-03-13T09:00+01:00")
        assert runner.state == "parked"
        broken = False
        runner.notice()
        await wall.reaches("2026-03-13T12:00+01:00")
    assert [text[:16] for text in wall.begun] == ["2026-03-11T02:30", "2026-03-13T09:00"]
    assert wall.made_up_for == [2]


async def test_an_api_that_is_down_over_a_due_time(wall: Watched, autojump_clock: Clock) -> None:
    """contained: one cycle goes on as soon as it is well, and one makes up for the rest."""
    wall.is_at("2026-03-10T11:59+01:00")
    down = True

    async def faults(_: Asked) -> None:
        if down:
            raise ApiUnavailable("503", sent="refused")

    wall.fleet.apis[ADS].faults = faults
    async with wall.fleet.life("ads") as life:
        starts(life, HOURLY)
        await wall.reaches("2026-03-10T14:30+01:00")
        down = False
        await wall.reaches("2026-03-10T16:30+01:00")
    assert [text[11:13] for text in wall.begun] == ["12", "14", "15", "16"]
    assert wall.made_up_for == [2]


# --- other plans ---------------------------------------------------------------------------


async def test_a_plan_that_is_changed_counts_from_now(wall: Watched, autojump_clock: Clock) -> None:
    """all-or-nothing-reload: what the new one would have had before is not made up for."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        runner = starts(life)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
        others = (Schedule(("0 9 * * *",), BERLIN), Schedule(("0 9 * * *",), "Asia/Tokyo"))
        for other, following in zip(
            others, ("2026-03-11T09:00+01:00", "2026-03-11T01:00+01:00"), strict=True
        ):
            waits = runner.stream.waits
            runner.change(life.context(ADS, schedule=other, has_call=False, waits=waits))
            await wall.fleet.until(lambda e: isinstance(e, events.Resting))
            assert wall.next_start == following
        await wall.reaches("2026-03-11T12:00+01:00")
    assert wall.begun == ["2026-03-11T01:00+01:00"]
    assert wall.made_up_for == []


async def test_a_restart_with_another_plan_counts_from_now_and_pays_what_is_owed(
    wall: Watched, autojump_clock: Clock
) -> None:
    """resume: the night that the old one missed is made up for, the new one's noon is not."""
    noon = Schedule(("0 12 * * *",), BERLIN)
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
    await wall.reaches("2026-03-10T18:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life, noon)
        await wall.fleet.until(lambda e: isinstance(e, events.Resting))
    assert wall.begun == []
    assert wall.next_start == "2026-03-11T12:00+01:00"
    await wall.reaches("2026-03-11T15:00+01:00")
    async with wall.fleet.life("ads") as life:
        starts(life)
        await wall.reaches("2026-03-11T18:00+01:00")
    assert wall.begun == ["2026-03-11T15:00+01:00"]
    assert wall.next_start == "2026-03-12T02:30+01:00"


async def test_from_an_interval_to_a_calendar_and_back(
    wall: Watched, autojump_clock: Clock
) -> None:
    """all-or-nothing-reload: the last cycle's start counts for an interval, and now for a plan."""
    wall.is_at("2026-03-10T12:00+01:00")
    async with wall.fleet.life("ads") as life:
        runner = life.start(ADS, every=HOUR, has_call=False)
        await wall.fleet.cycles(ADS, 1)
        waits = runner.stream.waits
        await wall.reaches("2026-03-10T12:30+01:00")
        runner.change(life.context(ADS, schedule=NIGHTLY, has_call=False, waits=waits))
        await wall.reaches("2026-03-11T03:00+01:00")
        runner.change(life.context(ADS, every=HOUR, has_call=False, waits=waits))
        await wall.reaches("2026-03-11T04:00+01:00")
    assert wall.begun == [
        "2026-03-10T12:00+01:00",
        "2026-03-11T02:30+01:00",
        "2026-03-11T03:30+01:00",
    ]


# --- whatever happens ----------------------------------------------------------------------

SPANS = st.floats(1.0, 4 * HOUR)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["wait", "suspend", "restart", "pause", "down", "away"]), SPANS),
        st.tuples(st.sampled_from(["sync", "lost request", "lost answer"]), st.just(0.0)),
        st.tuples(st.just("step"), st.sampled_from([-2 * HOUR, -61.0, -3.0, 3.0, 61.0, 2 * HOUR])),
    ),
    min_size=1,
    max_size=8,
)
PLANS = (
    ("30 2 * * *",), ("0 * * * *",), ("*/20 1-3 * * *",), ("15 2 * * SUN", "45 2 * * *"),
    ("10 0 * * *", "50 23 * * *"), ("0 */3 * * *",),
)  # fmt: skip
NIGHTS = (
    (BERLIN, "2026-03-28T22:05+01:00"), (BERLIN, "2026-10-24T22:05+02:00"),
    ("Africa/Cairo", "2026-04-23T21:05+02:00"), ("Africa/Cairo", "2026-10-29T21:05+03:00"),
    ("Australia/Lord_Howe", "2026-10-03T22:05+10:30"), ("America/Havana", "2026-10-31T21:05-04:00"),
    ("UTC", "2026-06-01T22:05+00:00"),
)  # fmt: skip
"""Before the clocks change, but for the last."""


@settings(max_examples=30, deadline=None)
@given(crons=st.sampled_from(PLANS), night=st.sampled_from(NIGHTS), steps=STEPS)
def test_each_due_time_is_run_once_or_made_up_for_by_one_cycle(
    crons: tuple[str, ...], night: tuple[str, str], steps: list[tuple[str, float]]
) -> None:
    """contained, resume: in all zones, over sleeps, restarts, outages and stepped clocks."""
    where, start = night
    fleet = Fleet(requests=1000)
    fleet.has(ADS, 3)
    world = World(wall=Watched(fleet=fleet), schedule=Schedule(crons, where))
    clock = trio.testing.MockClock(autojump_threshold=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "boot_time", world.wall.boot_time)
        trio.run(world.live, start, steps, clock=clock)

    covered = at(start)
    for cycle in fleet.store.cycles:
        if cycle.id not in world.by_hand:
            # It began because something was due that none before it had covered …
            due = world.schedule.after(covered)
            assert due <= cycle.started_at, f"{said(cycle.started_at)}: next was {said(due)}"
            # … and covers all that was due by then.
            covered = max(covered, cycle.started_at)
    assert world.schedule.after(covered) > world.settled, "a due time was left out"


@attrs.define(eq=False, kw_only=True)
class World:
    """One stream, and what befalls it."""

    wall: Watched
    schedule: Schedule
    by_hand: set[int] = attrs.field(factory=set)
    """Cycles that were asked for before they were due."""

    settled: float = 0.0
    """By then, on the wall, all was well for long enough."""

    down: bool = False

    async def live(self, start: str, steps: list[tuple[str, float]]) -> None:
        wall = self.wall
        wall.is_at(start)
        wall.fleet.apis[ADS].faults = self._faults
        while steps:
            restarts = [n for n, (kind, _) in enumerate(steps) if kind == "restart"]
            end = restarts[0] if restarts else len(steps)
            async with wall.fleet.life("ads") as life:
                runner = starts(life, self.schedule)
                await trio.sleep(1.0)  # it has read the clock
                for kind, span in steps[:end]:
                    await self._befalls(runner, kind, span)
                if end == len(steps):
                    # A stream that was failing tries again after a quarter of an hour at most.
                    await trio.sleep(HOUR)
                    self.settled = wall.now() - 2 * MINUTE
                    return
            await trio.sleep(steps[end][1])
            steps = steps[end + 1 :] or [("wait", 1.0)]

    async def _befalls(self, runner: Runner, kind: str, span: float) -> None:
        match kind:
            case "suspend":
                self.wall.sleep(span)
            case "step":
                # Who has found itself due begins; what the clock does between these two has a
                # test of its own.
                await trio.sleep(1.0)
                self.wall.fleet.store.clock_offset += span
            case "pause":
                await asked(runner, Job(kind="pause"))
                await trio.sleep(span)
                await asked(runner, Job(kind="resume"))
            case "sync":
                await self._sync(runner)
            case "lost request" | "lost answer":
                error = StoreUnavailable("the connection was lost")
                self.wall.fleet.store.fail_next("begin_cycle", error, after=kind == "lost answer")
            case _:
                self.down, self.wall.fleet.store.away = kind == "down", kind == "away"
                await trio.sleep(span)
                self.down = self.wall.fleet.store.away = False

    async def _sync(self, runner: Runner) -> None:
        store = self.wall.fleet.store
        soon = store._next_starts.get(ADS, 0.0) < self.wall.now() + MINUTE
        if soon or store.checkpoints[ADS].cycle is not None:
            return
        before = len(store.cycles)
        assert await asked(runner, Job(kind="sync")) == "begins now"
        await self.wall.fleet.cycles(ADS, 1 + len(self.wall.fleet.ended(ADS)))
        self.by_hand.add(before + 1)

    async def _faults(self, _: Asked) -> None:
        if self.down:
            raise ApiUnavailable("503", sent="refused")
