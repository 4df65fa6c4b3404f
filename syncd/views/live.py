"""What does a glance at a running syncd want to know?  How far, how long, and what for.

Pure: from a picture to words and to bars of so many columns.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import attrs

from syncd.sync.model import StreamId
from syncd.sync.picture import SHOWN, Budget, Seen
from syncd.views.arrival import Share, given_up, wait
from syncd.views.words import ahead, number, span, took

MOST = 3  # streams whose part of a budget is named
FULL, HALF, EMPTY = "━", "╸", "─"
LEVELS = "▁▂▃▄▅▆▇█"
ASCII = str.maketrans(f"{FULL}{HALF}{EMPTY}{LEVELS}·▕▏", "==-" + "12345678" + ".||")
"""For a terminal that has no such signs."""


@attrs.frozen(kw_only=True)
class Progress:
    """How far a running cycle is.  Of how much it is can only be told by the last one."""

    page: int
    """The one that is under way."""

    pages: int | None
    """About so many; None where the last cycle does not tell."""

    records: int
    of: int | None

    @property
    def share(self) -> float | None:
        """From 0 to 1; never all, as long as it runs."""
        return min(0.99, self.records / self.of) if self.of else None


def progress(seen: Seen) -> Progress | None:
    """How far the running cycle of a stream is; None if none runs."""
    if seen.running is None:
        return None
    page, records = (seen.pages or 0) + 1, seen.running.totals.seen
    last = seen.last
    # One that has already come further than the last one did is no part of it.
    tells = last is not None and page <= last.pages and records <= last.totals.seen
    return Progress(
        page=page,
        pages=last.pages if last and tells else None,
        records=records,
        of=last.totals.seen if last and tells else None,
    )


def progress_words(seen: Seen, now: float) -> str:
    """Such as `page 7 of about 10, 60 of about 100 records; 4 min so far, the last took 11 min`."""
    found = progress(seen)
    if found is None or seen.running is None:
        return ""
    page = f"page {found.page}" + (f" of about {found.pages}" if found.pages else "")
    records = (
        f"{found.records} of about {number(found.of, 'record')}"
        if found.of
        else number(found.records, "record")
    )
    words = f"{page}, {records}; {took(now - seen.running.started)} so far"
    if seen.last is not None and seen.last.seconds is not None:
        words += f", the last took {took(seen.last.seconds)}"
    return words


def bar(share: float, width: int) -> str:
    """A bar of so many columns."""
    halves = int(share * width * 2)
    done = FULL * (halves // 2) + (HALF if halves % 2 else "")
    return done + EMPTY * (width - len(done))


def strip(budget: Budget, now: float, width: int) -> str:
    """When the tokens of the last window were spent: the longest ago left, now right."""
    cells = Counter(
        min(width - 1, max(0, int((1 - (now - token.counted) / budget.per) * width)))
        for token in budget.spent
        if token.counted is not None and now - token.counted < budget.per
    )
    most = max(cells.values(), default=1)
    drawn = (LEVELS[-(-cells[i] * 8 // most) - 1] if cells[i] else "·" for i in range(width))
    return f"▕{''.join(drawn)}▏"


def spent_words(budget: Budget, streams: Collection[StreamId], now: float) -> str:
    """What the last window was spent on; such as `5 calls and 1 page of ads.campaigns`."""
    if not budget.spent:
        return f"nothing was spent in the last {span(budget.per)}"
    by_stream: dict[str, Counter[str]] = {}
    for token in budget.spent:
        owner, what = _owner(token.spent_on, streams)
        by_stream.setdefault(owner, Counter())[what] += 1
    parts = sorted(by_stream.items(), key=lambda part: -part[1].total())
    said = [
        " and ".join(_many(n, what) for what, n in kinds.most_common())
        + f" of {owner}" * bool(owner)
        for owner, kinds in parts[:MOST]
    ]
    rest = sum(kinds.total() for _, kinds in parts[MOST:])
    said += [f"{number(rest, 'request')} of others"] if rest else []
    newest = f", of which the last {SHOWN} were" if len(budget.spent) == SHOWN else ""
    unanswered = [t for t in budget.spent if t.counted is None]
    dead = sum(given_up(token, budget, now) for token in unanswered)
    flying = f"; {len(unanswered) - dead} under way" if len(unanswered) > dead else ""
    never = f"; {dead} without an answer" if dead else ""
    return f"last {span(budget.per)}{newest}: {', '.join(said)}{flying}{never}"


def _many(count: int, what: str) -> str:
    return number(count, what) if what != "verify" else f"{count} to verify"


def _owner(spent_on: str, streams: Collection[StreamId]) -> tuple[str, str]:
    """The stream that a token was spent by, and the kind of its request."""
    for stream in streams:
        name = str(stream)
        if spent_on.startswith(f"{name} "):
            kind = spent_on[len(name) + 1 :].split(" ", maxsplit=1)[0]
            return name, kind if kind in ("page", "call", "verify") else "request"
    return "", "request"


def waits(seen: Seen, shares: Sequence[Share], now: float) -> str:
    """What a running cycle waits for by its budgets; empty where nothing tells."""
    found = wait(seen, shares, None, now)
    if found is None or found.until is None:
        return ""
    left = ahead(found.until - now)
    if found.why == "api asked to wait":
        return f"waits {left}, because the API asked for it"
    if found.why == "answer":
        return f"waits for an answer, {left} more at most"
    dead = f"; {number(found.dead, 'token')} held by what got no answer" * bool(found.dead)
    return f"waits for its budget: the next token in {left}{dead}"
