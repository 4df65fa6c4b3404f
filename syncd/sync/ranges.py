"""Is what a cycle saw what this stream usually sees?

Learned from its last whole cycles by the median and the median absolute deviation (MAD),
which a few odd cycles do not move (F. R. Hampel, "The influence curve and its role in robust
estimation", 1974; 1.4826 MAD is the standard deviation of a normal distribution).  Cycles
that saw nothing teach nothing: else a list that stays empty would become the usual thing.

A cycle outside is `suspicious`: its rows are kept, nothing is deleted for what it did not
see, and somebody is told.  Should things stay as they are, they become usual by themselves.
"""

import math
from collections.abc import Sequence
from statistics import median

import attrs

from syncd.sync.model import Counts

LEARNED_FROM = 20  # whole cycles, the last ones
SOME = 5  # cycles from which the number of records is known
MANY = 10  # cycles from which the number of changes is known, which varies more
WIDTH = 5 * 1.4826  # MADs to either side
RECORDS = 0.2  # of the median; no range of records is narrower …
CHANGES = 0.5  # of the usual number of records; nor one of changes …
FEW = 10  # … or narrower than this
STEADY = 0.25  # of the median: changes that deviate by less come with every cycle


@attrs.frozen(kw_only=True)
class Past:
    """What one whole cycle came to."""

    seen: int
    written: int
    seconds: float | None = None
    """That it took; None if it was taken up again, so that an outage may be among them."""


@attrs.frozen(kw_only=True)
class Range:
    """From the least to the most that is usual; both included."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


@attrs.frozen(kw_only=True)
class Usual:
    """What a stream usually sees; None where too little is known."""

    records: Range | None = None
    changes: Range | None = None
    seconds: float | None = None
    """The median of what its cycles take."""


def learned(history: Sequence[Past]) -> Usual:
    """The ranges, from the last whole cycles in any order."""
    past = [p for p in history if p.seen][:LEARNED_FROM]
    if len(past) < SOME:
        return Usual()
    records = [p.seen for p in past]
    found = _around(records, RECORDS * median(records))
    took = [p.seconds for p in past if p.seconds is not None]
    seconds = median(took) if len(took) >= SOME else None
    if len(past) < MANY:
        return Usual(records=found, seconds=seconds)
    written = [p.written for p in past]
    changes = _around(written, CHANGES * median(records))
    centre = median(written)
    steady = centre >= 2 * FEW and _mad(written) < STEADY * centre
    least = max(changes.least, 1) if steady else 0
    return Usual(records=found, changes=Range(least=least, most=changes.most), seconds=seconds)


def unusual(history: Sequence[Past], totals: Counts, *, extra: bool = False) -> str:
    """Why a cycle that came to these totals is suspicious; empty if it is not.

    extra: it began out of turn, so that few changes are to be expected.
    """
    last = next((p.seen for p in history if p.seen), 0)
    if not totals.seen:
        return f"no records, where the last good cycle saw {last}" if last else ""
    usual = learned(history)
    records, changes = usual.records, usual.changes
    if records is not None and not records.least <= totals.seen <= records.most:
        return f"{totals.seen} records, where {records} are usual"
    if changes is None or (extra and totals.written <= changes.most):
        return ""
    if not changes.least <= totals.written <= changes.most:
        return f"{totals.written} rows written, where {changes} are usual"
    return ""


def _mad(values: Sequence[int]) -> float:
    centre = median(values)
    return median(abs(v - centre) for v in values)


def _around(values: Sequence[int], least_width: float) -> Range:
    centre = median(values)
    width = max(WIDTH * _mad(values), least_width, FEW)
    return Range(least=max(0, math.ceil(centre - width)), most=math.floor(centre + width))
