"""Which due times of its schedule does a cycle cover that begins now?

A stream's next start is kept with its checkpoint, on the store's clock, and moves in the
transaction that begins a cycle.  So a due time is run once, whatever becomes of the process,
and those that passed meanwhile (it was down, paused, asleep, or the cycle before took longer)
are covered by one cycle.  A cycle that somebody asked for before it was due moves nothing.
"""

import attrs

from syncd.schedule import Schedule
from syncd.sync.model import Checkpoint

LATE = 60.0  # seconds; more than that is worth a word
COUNTED = 100  # due times that have passed; more are no other matter


@attrs.frozen(kw_only=True)
class Missed:
    """Due times that passed before the cycle began that covers them."""

    since: float
    """The first of them, in epoch seconds."""

    count: int
    seconds: float
    """From the first of them until now."""


def following(schedule: Schedule, at: Checkpoint, found: float | None) -> float | None:
    """The next start with a cycle that begins now, in epoch seconds; None: it stays.

    found: the start that was found due, if that is why it begins.  The clock may have been
    stepped back since, or Postgres be another one after a failover.
    """
    due = planned(at)
    if due is None:
        return schedule.after(at.clock)
    if due > at.clock and due != found:
        return None
    return schedule.after(max(due, at.clock))


def missed(schedule: Schedule, at: Checkpoint) -> Missed | None:
    """What the cycle that begins now makes up for; None if it begins in time."""
    due = planned(at)
    if due is None or due > at.clock:
        return None
    count, late = schedule.passed(due, at.clock, most=COUNTED), at.clock - due
    return Missed(since=due, count=count, seconds=late) if count > 1 or late > LATE else None


def astray(schedule: Schedule, at: Checkpoint) -> bool:
    """Whether the clock was stepped so that the next start is to be found anew."""
    due = planned(at)
    return due is not None and due > at.clock and schedule.astray(due, at.clock)


def planned(at: Checkpoint) -> float | None:
    """The next start in epoch seconds.  Due times are whole ones: what differs is rounding."""
    return None if at.next_start is None else float(round(at.clock + at.next_start))
