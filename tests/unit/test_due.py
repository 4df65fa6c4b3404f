"""Which due times a cycle covers, and how that is said."""

import datetime as dt

import pytest

from syncd.logs import kinds
from syncd.logs.teller import Teller
from syncd.schedule import Schedule
from syncd.sync import events
from syncd.sync.due import Missed, astray, following, missed
from syncd.sync.model import Checkpoint, Counts, StreamId

ORDERS = StreamId(source="shop", stream="orders")
HOURLY = Schedule(("0 * * * *",))
HOUR, DAY = 3600.0, 86400.0
TWO = dt.datetime(2026, 3, 10, 2, tzinfo=dt.UTC).timestamp()


def at(clock: float, due: float | None) -> Checkpoint:
    left = None if due is None else due - clock
    return Checkpoint(stream=ORDERS, seq=1, fence=1, clock=clock, next_start=left)


@pytest.mark.parametrize(
    ("clock", "due", "found", "expected"),
    [
        (TWO + 0.2, TWO, TWO, TWO + HOUR),
        (TWO + 3.5 * HOUR, TWO, TWO, TWO + 4 * HOUR),
        (TWO + 0.2, TWO, None, TWO + HOUR),  # by `syncd once`
        (TWO + 0.2, None, None, TWO + HOUR),  # it was reset
        (TWO - 10.0, TWO, TWO, TWO + HOUR),  # the clock went back since it was found due
        (TWO - 10.0, TWO, None, None),  # asked for by hand
        (TWO - 10.0, TWO, TWO - HOUR, None),  # Postgres went back: that was another one
    ],
)
def test_the_next_start_is_what_the_cycle_does_not_cover(
    clock: float, due: float | None, found: float | None, expected: float | None
) -> None:
    """contained: no due time twice, and none left out."""
    assert following(HOURLY, at(clock, due), found) == expected


@pytest.mark.parametrize(
    ("clock", "due", "expected"),
    [
        (TWO + 0.2, TWO, None),
        (TWO + 59, TWO, None),
        (TWO - 600, TWO, None),
        (TWO + 600, None, None),
        (TWO + 600, TWO, Missed(since=TWO, count=1, seconds=600)),
        (TWO + 2 * HOUR, TWO, Missed(since=TWO, count=3, seconds=2 * HOUR)),
        (TWO + 400 * DAY, TWO, Missed(since=TWO, count=100, seconds=400 * DAY)),
    ],
)
def test_what_is_made_up_for(clock: float, due: float | None, expected: Missed | None) -> None:
    """Nothing where it begins in time."""
    assert missed(HOURLY, at(clock, due)) == expected


def test_a_start_that_nobody_waits_for() -> None:
    """contained: a clock that was ahead by more than a day was wrong."""
    assert not astray(HOURLY, at(TWO - 600, TWO))
    assert not astray(HOURLY, at(TWO - 20 * HOUR, TWO))
    assert not astray(HOURLY, at(TWO + DAY, TWO))
    assert not astray(HOURLY, at(TWO, None))
    assert astray(HOURLY, at(TWO - 30 * HOUR, TWO))


def test_it_is_said_of_the_cycle_that_makes_up() -> None:
    """Since when, how many times, how late."""
    teller = Teller(lambda: 0.0)
    begun = Checkpoint(stream=ORDERS, seq=2, fence=1, cycle=7)
    teller.hear(events.CycleStarted(stream=ORDERS, checkpoint=begun, totals=Counts()))
    late = events.CaughtUp(stream=ORDERS, missed=Missed(since=TWO, count=3, seconds=7200.4))
    [line] = teller.hear(late)
    assert line.kind is kinds.CAUGHT_UP
    assert line.fields == {
        "cycle": 7,
        "since": "2026-03-10T02:00:00+00:00",
        "times": 3,
        "late": 7200,
    }
