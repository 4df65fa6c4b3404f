"""When will the cycle that runs be done, and what does it wait for now?

Told from the database alone: by what the last whole cycle came to, and by the budget's tokens.
So it is a guess, and None wherever there is nothing to guess from.
"""

from typing import Literal

import attrs

from syncd.sync.model import StreamId
from syncd.sync.picture import Budget, Cycle, Failing, Seen

Why = Literal["budget", "api asked to wait", "api is failing"]


@attrs.frozen(kw_only=True)
class Expected:
    """What the running cycle will come to, if it goes as the last whole one."""

    records: int | None = None
    pages: int | None = None
    done: float | None = None
    """When, in seconds since the epoch."""


@attrs.frozen(kw_only=True)
class Wait:
    """Why nothing is asked at the moment, and until when."""

    why: Why
    until: float | None


def expected(seen: Seen, budget: Budget | None, now: float) -> Expected:
    """How long the running cycle has still to go."""
    running, before = seen.running, seen.whole
    if running is None or before is None or not before.totals.seen or before.ended is None:
        return Expected()
    pages = seen.pages or 0
    # It has begun a page beyond the last one: then there are more than there were.
    return Expected(
        records=max(before.totals.seen, running.totals.seen),
        pages=max(before.pages, pages + 1),
        done=_done(running, before, budget, now),
    )


def _done(running: Cycle, before: Cycle, budget: Budget | None, now: float) -> float | None:
    took = (before.ended or now) - before.started
    left = max(0, before.totals.seen - running.totals.seen)
    if running.taken_up or before.taken_up:
        # Either was left for a while, so only the work that is left can be counted.
        pace = now if before.taken_up else now + took * left / before.totals.seen
    else:
        pace = running.started + took
    requests = before.totals.requests * left // before.totals.seen
    at = max(pace, outlook(budget, requests, now) if budget else now)
    return at if at > now else None


def outlook(budget: Budget, requests: int, now: float) -> float:
    """When so many requests can have been sent, by the budget alone."""
    if requests <= 0 or not budget.tokens:
        return now
    busy = sorted(max(now, token.free) for token in budget.spent)
    free = [now] * (budget.tokens - len(busy)) + busy
    rounds, last = divmod(requests - 1, budget.tokens)
    return max(free[last] + rounds * budget.per, budget.held_until or now)


def wait(seen: Seen, budget: Budget | None, failing: Failing | None) -> Wait | None:
    """What a running cycle waits for, as far as the database can tell."""
    if seen.running is None or seen.parked is not None or seen.paused is not None:
        return None
    if failing is not None:
        return Wait(why="api is failing", until=failing.next_probe)
    if budget is None:
        return None
    if budget.held_until is not None:
        return Wait(why="api asked to wait", until=budget.held_until)
    if budget.tokens and not budget.free and not _in_flight(budget, seen.stream):
        return Wait(why="budget", until=budget.next_free)
    return None


def _in_flight(budget: Budget, stream: StreamId) -> bool:
    """Whether a request of this stream is under way: it waits for the answer, then."""
    return any(t.counted is None and t.spent_on.startswith(f"{stream} ") for t in budget.spent)


__all__ = ["Expected", "Wait", "expected", "outlook", "wait"]
