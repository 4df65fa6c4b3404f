"""How does a stream stand, in words that a person wants to read?"""

import shlex

import attrs

from syncd.config.settings import StreamSettings
from syncd.sync.picture import Cycle, Seen
from syncd.views.words import ago, ahead, number, tied

GRACE = 10.0  # seconds after which a cycle that has not begun is called late


@attrs.frozen(kw_only=True)
class Standing:
    """How one stream stands, in words."""

    state: str
    """One word or two; the same in JSON."""

    words: str
    reason: str = ""
    todo: str = ""
    """What a person may do about it."""


def standing(seen: Seen, now: float, of: StreamSettings, *, runs: bool) -> Standing:
    """What a stream's rows mean; `runs`: somebody holds its source's lease."""
    if seen.parked is not None:
        name = shlex.quote(str(seen.stream))
        go_on = (
            f"run `syncd resume {name}` (a reload of the config does it, too)"
            if runs
            else f"start syncd, or run `syncd once {name}`"
        )
        return Standing(
            state="parked",
            words="parked",
            reason=seen.parked,
            todo=f"Mend that, then {go_on}: it goes on after the last committed page.",
        )
    if seen.paused is not None:
        at = f" at page {(seen.pages or 0) + 1}" if seen.running is not None else ""
        return Standing(
            state="paused",
            words=f"paused{at}",
            reason=f"Paused by {seen.paused_by} {ago(now - seen.paused)}.",
            todo=f"`syncd resume {shlex.quote(str(seen.stream))}` lets it go on.",
        )
    if seen.running is not None:
        # By a calendar the next start is known while it runs.
        due = (seen.next_start or now) if of.cron else seen.running.started + of.every
        return _in_a_cycle(seen, seen.running, now, due=due, runs=runs)
    if seen.last is None:
        first = (seen.next_start or now) - now
        words = f"never ran, {tied(f'first in {ahead(first)}')}" if first > 0 else "never ran"
        return Standing(state="never ran", words=words)
    left = (seen.next_start or now) - now
    late = left < (-GRACE if runs else 0)
    when = f"due {ago(-left)}" if late else f"next in {ahead(left)}" if left > 0 else "next now"
    when = tied(when)
    if seen.last.outcome == "suspicious":
        return Standing(
            state="suspicious",
            words=f"suspicious, {when}",
            reason=seen.last.reason,
            todo="The table keeps its rows. Does the API list what it should? See `params` and "
            "`where`.",
        )
    if seen.question is not None:
        return Standing(
            state="deletes held",
            words=f"deletes held, {when}",
            reason=seen.question,
            todo="The rows stay. Should they go, then "
            f"`syncd reconcile {shlex.quote(str(seen.stream))} --approve`.",
        )
    if late:
        return Standing(state="late", words=f"late: {when}")
    return Standing(state="resting", words=f"resting, {when}")


def _in_a_cycle(seen: Seen, cycle: Cycle, now: float, *, due: float, runs: bool) -> Standing:
    pages = seen.pages or 0
    so_far = f"page {pages + 1}, {tied(number(cycle.totals.seen, 'record'))}"
    if not runs:
        return Standing(
            state="stopped",
            words=f"stopped at {so_far}",
            reason=cycle.reason,
            todo="The next start goes on with this page.",
        )
    if cycle.reason:
        return Standing(
            state="failing",
            words=f"failing at {so_far}",
            reason=cycle.reason,
            todo="It tries again by itself.",
        )
    over = now - due
    slow = over > GRACE
    doubtful = seen.last is not None and seen.last.outcome == "suspicious"
    return Standing(
        state="running",
        words=f"running{' out of turn' if cycle.follows else ''}: {so_far}",
        reason=f"The last cycle was suspicious: {seen.last.reason}"
        if seen.last and doubtful
        else "",
        todo=f"Started {ago(now - cycle.started)}; the next one was due {ago(over)}."
        if slow
        else "",
    )
