"""When will the cycle that runs be done, and what does it wait for now?

Told by what the last whole cycle came to, by what the API says of its list, and by the budget's
tokens.  So it is a guess, and None wherever there is nothing to guess from.
"""

import math
from collections.abc import Sequence
from typing import Literal

import attrs

from syncd.sync.picture import Budget, Cycle, Failing, Seen, Token

Why = Literal["budget", "answer", "api asked to wait", "api is failing"]


@attrs.frozen(kw_only=True)
class Listed:
    """What the API said of the list that the running cycle goes through."""

    total: int
    size: int
    """Records on its fullest page so far."""


@attrs.frozen(kw_only=True)
class Share:
    """A budget that counts requests of a stream."""

    budget: Budget
    cost: int = 1
    """Tokens that one of them takes; where they differ, the most."""


@attrs.frozen(kw_only=True)
class Expected:
    """What the running cycle will come to."""

    records: int | None = None
    pages: int | None = None
    done: float | None = None
    """When, in seconds since the epoch."""


@attrs.frozen(kw_only=True)
class Wait:
    """Why nothing is asked at the moment, and until when."""

    why: Why
    until: float | None
    dead: int = 0
    """Tokens of the budget that are held by requests whose answer never came."""


def expected(
    seen: Seen,
    shares: Sequence[Share],
    now: float,
    listed: Listed | None = None,
    *,
    goes_on: bool = True,
) -> Expected:
    """How long the running cycle has still to go; `listed` is known where its daemon is.

    goes_on: neither parked, paused, failing nor left; else nobody can say when it will be done.
    """
    running, before = seen.running, seen.whole
    if before is not None and not (before.totals.seen and before.ended):
        before = None
    if running is None or (listed is None and before is None):
        return Expected()
    total = pages = 0
    if listed is not None:
        total, pages = listed.total, math.ceil(listed.total / max(1, listed.size))
    elif before is not None:
        total, pages = before.totals.seen, before.pages
    # It may have begun a page beyond the last one: then there are more than there were.
    return Expected(
        records=max(total, running.totals.seen),
        pages=max(pages, (seen.pages or 0) + 1),
        done=_done(running, before, total, shares, now) if goes_on else None,
    )


def _done(
    running: Cycle, before: Cycle | None, total: int, shares: Sequence[Share], now: float
) -> float | None:
    left = max(0, total - running.totals.seen)
    like = before or running
    if not like.totals.seen:
        return None
    pace = now
    # One that was left for a while tells nothing of how long its work takes.
    if not like.taken_up:
        each = ((like.ended or now) - like.started) / like.totals.seen
        whole = before is not None and not running.taken_up
        pace = running.started + each * total if whole else now + each * left
    requests = like.totals.requests * left // like.totals.seen
    at = max([pace, *(outlook(s.budget, requests * s.cost, now) for s in shares)])
    return at if at > now else None


def outlook(budget: Budget, requests: int, now: float) -> float:
    """When so many requests can have been sent, by the budget alone."""
    if requests <= 0:
        return now
    if not budget.tokens:
        return budget.held_until or now
    busy = sorted(max(now, token.free) for token in budget.spent)
    free = [now] * (budget.tokens - len(busy)) + busy
    rounds, last = divmod(requests - 1, budget.tokens)
    return max(free[last] + rounds * budget.per, budget.held_until or now)


def wait(seen: Seen, shares: Sequence[Share], failing: Failing | None, now: float) -> Wait | None:
    """What a running cycle waits for, as far as the database can tell: the longest of all."""
    if seen.running is None or seen.parked is not None or seen.paused is not None:
        return None
    if failing is not None:
        return Wait(why="api is failing", until=failing.next_probe)
    found = [wait for share in shares if (wait := _wait(seen, share.budget, now)) is not None]
    return max(found, key=lambda wait: wait.until or 0.0, default=None)


def _wait(seen: Seen, budget: Budget, now: float) -> Wait | None:
    if budget.held_until is not None:
        return Wait(why="api asked to wait", until=budget.held_until)
    unanswered = [token for token in budget.spent if token.counted is None]
    flying = [
        token.free - budget.per
        for token in unanswered
        if not given_up(token, budget, now) and token.spent_on.startswith(f"{seen.stream} ")
    ]
    if flying:
        return Wait(why="answer", until=max(flying))
    if budget.tokens and not budget.free:
        dead = sum(given_up(token, budget, now) for token in unanswered)
        return Wait(why="budget", until=budget.next_free, dead=dead)
    return None


def given_up(token: Token, budget: Budget, now: float) -> bool:
    """Whether nobody waits any more for the answer to the request that holds the token.

    Until it is known when it was counted, it holds its token for `timeout` and a window: that of
    a process that is gone, too.
    """
    return token.counted is None and token.free - budget.per <= now
