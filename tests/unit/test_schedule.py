"""When a calendar comes: the instants of it, on the days when the clocks change above all."""

import datetime as dt
import functools
import math
import subprocess
import sys

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.schedule import Schedule, refused
from syncd.zones import zone

BERLIN, CAIRO, LORD_HOWE = "Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe"
HOUR, DAY = 3600.0, 86400.0


def at(text: str) -> float:
    """Epoch seconds of an instant with its offset."""
    return dt.datetime.fromisoformat(text).timestamp()


def said(instant: float, where: str) -> str:
    return dt.datetime.fromtimestamp(instant, zone(where)).isoformat(timespec="minutes")


def times(schedule: Schedule, start: str, count: int) -> list[str]:
    found, instant = [], at(start)
    for _ in range(count):
        instant = schedule.after(instant)
        found.append(said(instant, schedule.zone))
    return found


@pytest.mark.parametrize(
    ("where", "cron", "start", "expected"),
    [
        # The clocks go from 02:00 to 03:00, and from 03:00 to 02:00.
        (
            BERLIN,
            "30 2 * * *",
            "2026-03-28T00:00+01:00",
            ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            BERLIN,
            "30 2 * * *",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        # Asked in the hour that comes twice, the second time.
        (BERLIN, "30 2 * * *", "2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00"]),
        (
            BERLIN,
            "15,45 2 * * *",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00+02:00", "2026-03-30T02:15+02:00"],
        ),
        # What goes by the time that passes.
        (
            BERLIN,
            "30 * * * *",
            "2026-03-29T01:00+01:00",
            ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"],
        ),
        (
            BERLIN,
            "30 * * * *",
            "2026-10-25T02:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
        ),
        # Gaps at midnight, and of half an hour.
        (
            CAIRO,
            "30 0 * * *",
            "2026-04-23T12:00+02:00",
            ["2026-04-24T01:00+03:00", "2026-04-25T00:30+03:00"],
        ),
        (
            CAIRO,
            "*/30 1 * * FRI",
            "2026-04-23T12:00+02:00",
            ["2026-04-24T01:00+03:00", "2026-04-24T01:30+03:00", "2026-05-01T01:00+03:00"],
        ),
        (
            LORD_HOWE,
            "*/15 3 * * *",
            "2026-10-04T01:00+10:30",
            ["2026-10-04T03:00+11:00", "2026-10-04T03:15+11:00"],
        ),
        ("UTC", "@daily", "2026-03-29T00:00+00:00", ["2026-03-30T00:00+00:00"]),
        (
            "UTC",
            "0 9 * * MON-FRI",
            "2026-03-27T09:00+00:00",
            ["2026-03-30T09:00+00:00", "2026-03-31T09:00+00:00"],
        ),
    ],
)
def test_the_days_when_the_clocks_change(
    where: str, cron: str, start: str, expected: list[str]
) -> None:
    """contained: a time of day comes once on each of its days, whatever the zone does."""
    assert times(Schedule((cron,), where), start, len(expected)) == expected


def test_of_several_the_first_comes() -> None:
    schedule = Schedule(("0 2 * * *", "30 14 * * MON-FRI"), "UTC")
    assert times(schedule, "2026-03-27T02:00+00:00", 3) == [
        "2026-03-27T14:30+00:00",
        "2026-03-28T02:00+00:00",
        "2026-03-29T02:00+00:00",
    ]


# --- all zones ---------------------------------------------------------------------------------

CHANGING = (
    *(BERLIN, CAIRO, LORD_HOWE, "America/Havana", "America/Santiago", "America/St_Johns"),
    *("Asia/Beirut", "Africa/Casablanca", "Antarctica/Troll", "Asia/Jerusalem", "Pacific/Norfolk"),
)
"""With gaps at midnight, of half an hour, of two hours, and in the middle of a month."""


@functools.cache
def changes(where: str) -> list[float]:
    """When its clocks are set, in one year, to the half hour."""
    there, found = zone(where), []
    first = at("2026-01-01T00:00+00:00")
    before = dt.datetime.fromtimestamp(first, there).utcoffset()
    for step in range(2 * 24 * 366):
        offset = dt.datetime.fromtimestamp(first + step * HOUR / 2, there).utcoffset()
        if offset != before:
            found.append(first + step * HOUR / 2)
            before = offset
    return found


def minute_by_minute(cron: str, where: str, start: float, end: float) -> list[float]:
    """What Debian's cron does: it looks at the clock each minute."""
    minute, hour, *_ = cron.split()
    wildcard = minute.startswith("*") or hour.startswith("*")
    means = CronSim(cron, dt.datetime(2026, 1, 1))  # noqa: DTZ001 - a time on the wall
    one = dt.timedelta(minutes=1)

    def matches(wall: dt.datetime) -> bool:
        in_time = wall.minute in means.minutes and wall.hour in means.hours
        return in_time and wall.month in means.months and means.match_day(wall.date())

    found, shown = set(), set()
    before: dt.datetime | None = None
    for instant in range(int(start), int(end) + 1, 60):
        there = dt.datetime.fromtimestamp(instant, zone(where))
        wall = there.replace(tzinfo=None, fold=0)
        if before is not None and not wildcard:
            while (before := before + one) < wall:
                if matches(before):
                    found.add(float(instant))
        if matches(wall) and (wildcard or wall not in shown):
            found.add(float(instant))
        shown.add(wall)
        before = wall
    return sorted(found)


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    several = st.sets(number, min_size=1, max_size=3)
    return st.one_of(
        st.just("*"),
        st.sampled_from((2, 3, 5, 15)).map(lambda n: f"*/{n}"),
        number.map(str),
        several.map(lambda found: ",".join(map(str, sorted(found)))),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    )


@settings(max_examples=40, deadline=None)
@given(
    where=st.sampled_from(CHANGING),
    which=st.integers(0, 3),
    minute=fields(0, 59),
    hour=fields(0, 6),
    weekday=st.sampled_from(("*", "SUN", "SAT,SUN", "4-6")),
    asked=st.floats(-5 * HOUR, 5 * HOUR),
)
def test_it_comes_when_a_cron_that_looks_at_the_clock_each_minute_would_run(
    where: str, which: int, minute: str, hour: str, weekday: str, asked: float
) -> None:
    """contained: no due time is left out and none comes twice, from wherever one asks."""
    of_the_year = changes(where)
    change = of_the_year[which % len(of_the_year)]
    cron = f"{minute} {hour} * * {weekday}"
    start, end = change - 7 * HOUR, change + 7 * HOUR
    expected = [t for t in minute_by_minute(cron, where, start - 3 * HOUR, end) if t > start]

    schedule, found = Schedule((cron,), where), []
    instant = start
    while (instant := schedule.after(instant)) <= end:
        found.append(instant)

    assert found == expected
    later = [t for t in expected if t > change + asked]
    if later:
        assert schedule.after(change + asked) == later[0]


# --- gaps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crons", "longest", "shortest"),
    [
        (("30 2 * * *",), DAY, DAY),
        (("* * * * *",), 60, 60),
        (("*/15 9-17 * * MON-FRI",), 63.25 * HOUR, 15 * 60),
        (("0 2 * * *", "30 14 * * MON-FRI"), DAY, 11.5 * HOUR),
        (("* * 1 * *",), 30 * DAY + 60, 60),
        (("0 0 29 2 *",), 4 * 365 * DAY + DAY, 4 * 365 * DAY + DAY),
        (("0 0 1 1 *", "0 0 1 7 *"), 184 * DAY, 181 * DAY),
    ],
)
def test_how_far_apart_its_times_are(
    crons: tuple[str, ...], longest: float, shortest: float
) -> None:
    """What alerts and `check` go by."""
    schedule = Schedule(crons, BERLIN)
    assert schedule.longest == longest
    assert schedule.shortest == shortest


# --- what a stream is opened with --------------------------------------------------------------

NIGHTLY = Schedule(("30 2 * * *",), BERLIN)
NOON, NEXT = at("2026-03-10T12:00+01:00"), at("2026-03-11T02:30+01:00")


@pytest.mark.parametrize(
    ("standing", "same", "opened"),
    [
        (None, False, NEXT),  # it never ran
        (None, True, None),  # it was reset
        (NEXT, True, NEXT),
        (NOON - 9.5 * HOUR, True, NOON - 9.5 * HOUR),  # it was down at half past two
        (NOON - 60, False, NOON - 60),  # owed by what it had before
        (NOON + 600, False, NEXT),  # the other's next start is none of ours
        (NEXT + DAY, True, NEXT + DAY),  # the clock was stepped back: that night has been run
        (NEXT + 3 * DAY, True, NEXT),  # it was days ahead, and wrong
        (NOON + 600, True, NEXT),  # the zone has got other rules meanwhile
    ],
)
def test_which_start_stands(standing: float | None, same: bool, opened: float | None) -> None:
    """resume: what is owed is owed, and a schedule that is new counts from now."""
    assert NIGHTLY.opened(standing, NOON, same=same) == opened


def test_how_many_have_passed() -> None:
    assert NIGHTLY.passed(NEXT, NEXT - 1, most=10) == 0
    assert NIGHTLY.passed(NEXT, NEXT, most=10) == 1
    assert NIGHTLY.passed(NEXT, NEXT + 2.5 * DAY, most=10) == 3
    assert NIGHTLY.passed(NEXT, NEXT + 365 * DAY, most=10) == 10


# --- what is no expression ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("30 2 * *", "4 fields instead of five"),
        ("", "0 fields"),
        ("0 30 2 * * *", "seconds can't be given"),
        ("61 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 32 * *", "bad day-of-month"),
        ("0 0 1 13 *", "bad month"),
        ("0 0 * * MONDAY", "bad day-of-week"),
        ("0 0 31 2 *", "it never comes"),
        ("0 0 30 FEB *", "it never comes"),
        ("0 0 */20 * 1L", "it never comes"),
        ("@reboot", "there is no @reboot"),
        ("@fortnightly", "@daily"),
        (f"{'9' * 5000} * * * *", "out of all range"),
    ],
)
def test_what_is_wrong_with_it_is_said(cron: str, why: str) -> None:
    assert why in (refused(cron) or "")


@pytest.mark.parametrize("cron", ["@daily", "@Yearly", "0 9 * JAN-MAR MON-FRI", "0 0 L * *"])
def test_names_are_understood(cron: str) -> None:
    assert refused(cron) is None
    assert Schedule((cron,)).after(NOON) < math.inf


def test_who_has_no_calendar_does_not_load_cronsim() -> None:
    """A start without one takes no longer than before."""
    loaded = "import sys, syncd.commands.run; print('cronsim' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
