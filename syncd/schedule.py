"""When does a calendar such as `30 2 * * *` in Europe/Berlin come?

An expression speaks of the time that a clock on the wall shows, and cronsim tells which of
those it means.  Which instants they are is decided here, by the rules of Debian's cron:

fixed      neither minute nor hour begins with `*`: the job of a certain time of day.  A time
           that the change of the clocks leaves out comes at the end of the gap, one that
           comes twice counts the first time: once on each of its days, whatever the zone does.
wildcard   all others go by the time that passes: what the change leaves out does not come,
           and what comes twice comes twice.

cronsim can do that itself, but it steps through the change hour by hour: it loses whole hours
where the gap is at midnight (Africa/Cairo) or half an hour long (Australia/Lord_Howe), and
what comes next then hangs on when it is asked.

Here are pure functions on epoch seconds.  Which times have been run is the checkpoint's
business, and what one cycle covers is `sync.due`'s.
"""

import datetime as dt
import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from syncd.zones import UTC, zone

if TYPE_CHECKING:
    from cronsim import CronSim

DAY = 86400.0  # seconds
MINUTE = dt.timedelta(minutes=1)

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""As crontab(5) has them.  There is no @reboot: a daemon's start is no time of day."""

NEVER = "it never comes"

FIRST = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - a time on the wall; the year has a 29 February
LOOKED_AT = dt.timedelta(days=400)  # of the calendar, for its gaps …
DUE_DAYS = 5  # … and so many days on which it comes, at the least


@attrs.frozen
class Schedule:
    """Due times, by one or more cron expressions in one zone."""

    crons: tuple[str, ...]
    zone: str = UTC

    def __str__(self) -> str:
        """What tells two of them apart, and is shown to people."""
        return f"{' | '.join(self.crons)} ({self.zone})"

    def after(self, instant: float) -> float:
        """The first due time after an instant; infinite if there never is one."""
        there = zone(self.zone)
        return min(_after(cron, there, instant) for cron in self.crons)

    def opened(self, standing: float | None, now: float, *, same: bool) -> float | None:
        """The next start of a stream that is opened, from the one that it was left with.

        same: it was this schedule's.  Else its times count from now on.

        A start that has passed is owed, to whichever schedule: one cycle makes up for it.
        None: at once, for the stream was reset.
        """
        if same and standing is None:
            return None
        if standing is not None and standing <= now:
            return standing
        if same and standing is not None and not self.astray(standing, now):
            return standing
        return self.after(now)

    def astray(self, standing: float, now: float) -> bool:
        """Whether a start to come is none that should be waited for.

        After a step back of the clock the times between have been run, and are not run again.
        But a clock that was ahead by more than a day was wrong: nobody waits for its next year.
        """
        return not self.after(now) <= standing <= self.after(now + DAY)

    def passed(self, due: float, now: float, *, most: int) -> int:
        """How many due times have passed, the one that is given included; `most` at most."""
        count = 0
        while due <= now and count < most:
            count, due = count + 1, self.after(due)
        return count

    @property
    def longest(self) -> float:
        """Seconds between two due times, where they are furthest apart."""
        return max(_gaps(self.crons), default=math.inf)

    @property
    def shortest(self) -> float:
        """Seconds between two due times, where they are closest to each other."""
        return min(_gaps(self.crons), default=math.inf)


def refused(cron: str) -> str | None:
    """Why that is no expression, or never comes; None if nothing is wrong with it."""
    from cronsim import CronSimError  # noqa: PLC0415 - as below

    fields = _spelt(cron).split()
    if cron.strip().startswith("@") and len(fields) == 1:
        return f"there is no {cron.strip()}; there are {', '.join(NAMES)}"
    if len(fields) == 6:
        return "six fields, but seconds can't be given: for less than a minute there is `every`"
    if len(fields) != 5:
        return f"{len(fields)} field{'s' * (len(fields) != 1)} instead of five"
    try:
        next(_naive(cron, FIRST))
    except CronSimError as error:
        minute, hour, day, month, weekday = fields
        why = str(error)[:1].lower() + str(error)[1:]
        if why.endswith("day-of-month") and month != "*":
            # 31 February: the day is there, but in other months.
            return refused(f"{minute} {hour} {day} * {weekday}") or NEVER
        return why
    except ValueError:
        return "a number in it is out of all range"
    except StopIteration:
        return NEVER
    return None


def _spelt(cron: str) -> str:
    return NAMES.get(cron.strip().lower(), cron)


def _naive(cron: str, start: dt.datetime) -> "CronSim":
    """Times on the wall that it means, after one, in order."""
    # Who has no calendar in the config does not load it.
    from cronsim import CronSim  # noqa: PLC0415

    return CronSim(_spelt(cron), start)


def _after(cron: str, there: dt.tzinfo, instant: float) -> float:
    minute, hour, *_ = _spelt(cron).split()
    wildcard = minute.startswith("*") or hour.startswith("*")
    moment = dt.datetime.fromtimestamp(instant, there)
    back = _repeated(there, instant) if wildcard else dt.timedelta(0)
    best = math.inf
    for wall in _naive(cron, moment.replace(tzinfo=None, fold=0) - back):
        found = list(_passing(wall, there)) if wildcard else [_once(wall, there)]
        # A later time on the wall can come before only where a stretch of it comes twice.
        if found and found[0] >= best:
            break
        best = min([best, *(at for at in found if at > instant)])
        if best < math.inf and not back:
            break
    return best


def _once(wall: dt.datetime, there: dt.tzinfo) -> float:
    while not _is_real(wall, there):
        wall += MINUTE
    return wall.replace(tzinfo=there).timestamp()


def _passing(wall: dt.datetime, there: dt.tzinfo) -> Iterator[float]:
    if _is_real(wall, there):
        first, second = (wall.replace(tzinfo=there, fold=f).timestamp() for f in (0, 1))
        yield first
        if second != first:
            yield second


def _is_real(wall: dt.datetime, there: dt.tzinfo) -> bool:
    at = wall.replace(tzinfo=there)
    return at.astimezone(dt.UTC).astimezone(there).replace(tzinfo=None, fold=0) == wall


def _repeated(there: dt.tzinfo, instant: float) -> dt.timedelta:
    """By how much the clocks are set back around an instant."""
    before, after = (dt.datetime.fromtimestamp(instant + d, there) for d in (-DAY, DAY))
    set_back = (before.utcoffset() or dt.timedelta(0)) - (after.utcoffset() or dt.timedelta(0))
    return max(set_back, dt.timedelta(0))


@functools.lru_cache(maxsize=1024)
def _gaps(crons: tuple[str, ...]) -> tuple[float, ...]:
    """Those between due times as the wall shows them; a change of the clocks makes no other."""
    of_day = [_times_of_day(cron) for cron in crons]
    days: dict[dt.datetime, set[int]] = {}
    for number, cron in enumerate(crons):
        for day in _days(cron):
            days.setdefault(day, set()).add(number)
    # The expressions were looked at over different stretches: where all of them were.
    end = min(max(_days(cron)) for cron in crons)
    gaps: set[float] = set()
    last: dt.datetime | None = None
    within: dict[frozenset[int], tuple[int, int, set[float]]] = {}
    for day in sorted(day for day in days if day <= end):
        which = frozenset(days[day])
        if which not in within:
            minutes = sorted(set().union(*(of_day[number] for number in which)))
            inner = {(b - a) * 60.0 for a, b in itertools.pairwise(minutes)}
            within[which] = minutes[0], minutes[-1], inner
        first, latest, inner = within[which]
        gaps |= inner
        if last is not None:
            gaps.add((day + first * MINUTE - last).total_seconds())
        last = day + latest * MINUTE
    return tuple(sorted(gaps))


def _times_of_day(cron: str) -> set[int]:
    """Minutes of the day."""
    minute, hour, *_ = _spelt(cron).split()
    found = set()
    for wall in _naive(f"{minute} {hour} * * *", FIRST - MINUTE):
        if wall >= FIRST + dt.timedelta(days=1):
            break
        found.add(wall.hour * 60 + wall.minute)
    return found


@functools.lru_cache(maxsize=1024)
def _days(cron: str) -> tuple[dt.datetime, ...]:
    _, _, *of_days = _spelt(cron).split()
    found: list[dt.datetime] = []
    for day in _naive(f"0 0 {' '.join(of_days)}", FIRST - MINUTE):
        found.append(day)
        if day > FIRST + LOOKED_AT and len(found) >= DUE_DAYS:
            break
    return tuple(found)
