"""When a receiver is told, and when not."""

import math
from typing import Any

import attrs

from syncd.alarms.watch import CALM, HOLDS, Watch
from syncd.config.settings import NotifySettings, Secret
from syncd.sync.alarm import Alarm, Begun, Ended, Standing

PARKED = Alarm("parked", "shop", "orders")
FAILING = Alarm("api-failing", "shop")
AWAY = Alarm("postgres-away")
HOUR, DAY = 3600.0, 86400.0


def settings(**of: Any) -> NotifySettings:
    given = {"name": "me", "key": "me", "url": Secret("http://h/", "here"), **of}
    return NotifySettings(**given)


@attrs.define(eq=False)
class Heard:
    """A watch, and what its receiver has heard of it."""

    watch: Watch
    said: list[tuple[float, str, str]] = attrs.field(factory=list)

    @classmethod
    def by(cls, **of: Any) -> "Heard":
        return cls(Watch(settings(**of)))

    def begins(self, now: float, alarm: Alarm = PARKED, reason: str = "x") -> None:
        self._until(now)
        self.watch.take(Begun(alarm=alarm, reason=reason), now)
        self._until(now)

    def ends(self, now: float, alarm: Alarm = PARKED, why: str = "") -> None:
        self._until(now)
        self.watch.take(Ended(alarm=alarm, why=why), now)
        self._until(now)

    def _until(self, now: float) -> None:
        while (due := self.watch.next_at()) <= now:
            self.said += [(t.at, t.alarm.kind, t.state) for t in self.watch.due(due)]

    def by_then(self, now: float) -> list[tuple[float, str, str]]:
        self._until(now)
        said, self.said = self.said, []
        return said


def test_what_needs_a_person_is_told_at_once_and_once() -> None:
    heard = Heard.by()
    heard.begins(10.0)
    heard.begins(20.0)
    heard.begins(30.0)
    assert heard.by_then(HOUR) == [(10.0, "parked", "firing")]


def test_it_is_told_again_once_a_day_while_it_lasts() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    assert [at for at, *_ in heard.by_then(3.5 * DAY)] == [0.0, DAY, 2 * DAY, 3 * DAY]
    never = Heard.by(repeat=0.0)
    never.begins(0.0)
    assert len(never.by_then(300 * DAY)) == 1


def test_its_end_is_told_once_with_how_long_it_lasted() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    heard.by_then(1.0)
    heard.watch.take(Ended(alarm=PARKED, why="paused"), 60.0)
    (told,) = heard.watch.due(60.0)
    assert (told.state, told.at - told.since, told.reason) == ("recovered", 60.0, "paused")
    heard.ends(61.0)
    assert heard.by_then(DAY) == []


def test_an_end_of_what_nobody_heard_of_is_no_news() -> None:
    heard = Heard.by()
    heard.ends(0.0)
    assert heard.by_then(DAY) == []


def test_what_passes_by_itself_is_told_when_it_has_lasted() -> None:
    heard = Heard.by(after=300.0)
    heard.begins(0.0, FAILING)
    heard.ends(299.0, FAILING)
    assert heard.by_then(HOUR) == []
    heard.begins(HOUR, FAILING)
    assert heard.by_then(2 * HOUR) == [(HOUR + 300.0, "api-failing", "firing")]


def test_and_it_is_over_when_it_has_been_well_for_as_long() -> None:
    heard = Heard.by(after=300.0)
    heard.begins(0.0, AWAY)
    heard.ends(400.0, AWAY)
    heard.begins(500.0, AWAY)
    heard.ends(600.0, AWAY)
    assert heard.by_then(HOUR) == [
        (300.0, "postgres-away", "firing"),
        (900.0, "postgres-away", "recovered"),
    ]


def test_what_comes_and_goes_is_told_ever_more_seldom() -> None:
    """A stream that parks and recovers every two minutes makes no hundred messages."""
    heard = Heard.by()
    for n in range(360):  # twelve hours
        heard.begins(n * 120.0)
        heard.ends(n * 120.0 + 60.0)
    said = heard.by_then(13 * HOUR)
    assert [state for _, _, state in said] == ["firing", "recovered", "firing", "recovered"]
    assert said[-1][0] == 359 * 120.0 + 60.0 + HOLDS[1]


def test_after_a_calm_time_it_is_another_matter() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    heard.ends(1.0)
    heard.begins(2.0 + CALM)
    heard.ends(3.0 + CALM)
    assert [at for at, *_ in heard.by_then(2 * DAY)] == [0.0, 1.0, 2.0 + CALM, 3.0 + CALM]


def test_the_third_time_must_be_well_for_longer() -> None:
    heard = Heard.by()
    times = [0.0, HOUR, 2 * HOUR, 4 * HOUR]
    for at in times:
        heard.begins(at)
        heard.ends(at + 1.0)
    ends = [at for at, _, state in heard.by_then(DAY) if state == "recovered"]
    assert ends == [at + 1.0 + hold for at, hold in zip(times, HOLDS, strict=True)]


def test_a_receiver_hears_only_what_it_asked_for() -> None:
    heard = Heard.by(on=("parked", "postgres-away"), sources=("shop",), after=0.0)
    heard.begins(0.0, FAILING)
    heard.begins(0.0, Alarm("parked", "other", "orders"))
    heard.begins(0.0, AWAY)  # of no source: it concerns all
    heard.begins(0.0)
    assert {kind for _, kind, _ in heard.by_then(1.0)} == {"parked", "postgres-away"}


def test_a_receiver_that_is_to_hear_of_less_forgets_the_rest() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    heard.watch.changed(0.0)
    heard.watch.change(settings(on=("suspicious",)))
    assert heard.watch.changed(1.0) == ([], [PARKED])
    heard.ends(2.0)
    assert heard.by_then(DAY) == [(0.0, "parked", "firing")]


def test_what_is_not_to_be_told_yet_waits() -> None:
    """Before it is known what the receiver knows."""
    heard = Heard.by()
    heard.watch.take(Begun(alarm=PARKED, reason="x"), 0.0)
    assert heard.watch.due(1.0, lambda _: False) == []
    assert heard.watch.next_at(lambda _: False) == math.inf
    assert len(heard.watch.due(2.0)) == 1


# --- over a restart ----------------------------------------------------------------------------


def restarted(heard: Heard, now: float) -> Heard:
    """What comes of it in a process whose clock begins at 0."""
    kept, _ = heard.watch.changed(now)
    fresh = Heard(Watch(heard.watch.settings))
    for standing in kept:
        fresh.watch.remember(standing, 0.0)
    return fresh


def test_a_restart_tells_nothing_again() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    assert heard.by_then(1.0)
    fresh = restarted(heard, HOUR)
    fresh.begins(5.0)
    assert fresh.by_then(HOUR) == []
    assert fresh.by_then(DAY) == [(DAY - HOUR, "parked", "firing")]
    fresh.watch.take(Ended(alarm=PARKED), DAY)
    (told,) = fresh.watch.due(DAY)
    assert told.at - told.since == DAY + HOUR


def test_what_began_before_it_was_known_is_the_same_alarm() -> None:
    """A table that can't be used parks a stream as it is opened, before anything is read."""
    heard = Heard.by()
    heard.begins(0.0)
    heard.by_then(1.0)
    kept, _ = heard.watch.changed(HOUR)
    fresh = Watch(settings())
    fresh.take(Begun(alarm=PARKED, reason="now"), 0.0)
    fresh.remember(kept[0], 1.0)
    assert fresh.due(2.0) == []


def test_how_often_it_came_back_is_known_after_a_restart() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    heard.ends(1.0)
    heard.by_then(2.0)
    fresh = restarted(heard, 60.0)
    fresh.begins(10.0)
    fresh.ends(11.0)
    assert [at for at, *_ in fresh.by_then(HOUR)] == [10.0, 11.0 + HOLDS[1]]


def test_only_what_was_told_is_kept_and_what_is_calm_is_forgotten() -> None:
    heard = Heard.by(after=300.0)
    heard.begins(0.0, FAILING)
    assert heard.watch.changed(1.0) == ([], [])
    heard.begins(1.0)
    (kept,), _ = heard.watch.changed(11.0)
    assert kept == Standing(alarm=PARKED, reason="x", since=10.0, told=10.0)
    heard.ends(20.0)
    (kept,), _ = heard.watch.changed(21.0)
    assert kept.ended == 1.0
    heard.by_then(21.0 + CALM)
    assert PARKED in heard.watch.changed(DAY)[1]


def test_what_could_not_be_kept_is_kept_later() -> None:
    heard = Heard.by()
    heard.begins(0.0)
    kept, _ = heard.watch.changed(0.0)
    heard.watch.again(each.alarm for each in kept)
    assert heard.watch.is_changed
    assert heard.watch.changed(0.0)[0] == kept
