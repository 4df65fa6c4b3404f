"""When is one receiver told of an alarm?  Pure: what begins and ends goes in, messages come out.

What needs a person is told at once.  What may pass by itself (TRANSIENT) is told when it has
lasted for `after`, and is over when it has been well for as long.  While an alarm lasts it is
told again each `repeat`.  One that comes back soon after it was over has its next end told
ever later (HOLDS), so that a thing that comes and goes is one alarm and not a hundred.

Times are on one clock that only goes forward; the watch asks none itself.
"""

import math
from collections.abc import Callable, Iterable

import attrs

from syncd.config.settings import NotifySettings
from syncd.sync.alarm import Alarm, Begun, Change, Standing, Told
from syncd.sync.model import StreamId

TRANSIENT = ("failing", "api-failing", "postgres-away")
CALM = 6 * 3600.0  # seconds; what comes back after so long is another matter
HOLDS = (0.0, 300.0, 900.0, 3600.0)  # seconds that it must be well, by how often it came back


def always(_: Alarm) -> bool:
    """Of every alarm."""
    return True


@attrs.define(eq=False, kw_only=True)
class _State:
    alarm: Alarm
    reason: str
    todo: str = ""
    since: float
    told: float | None = None
    """When it was told the last time that it stands; None: not yet."""

    well: float | None = None
    """Since when it is well, where that is not told yet."""

    why: str = ""
    ended: float | None = None
    """When it was told that it is over."""

    times: int = 0


@attrs.define(eq=False)
class Watch:
    """What one receiver knows, and what it is still to hear."""

    settings: NotifySettings
    _states: dict[Alarm, _State] = attrs.field(factory=dict, init=False)
    _changed: dict[Alarm, None] = attrs.field(factory=dict, init=False)
    """What is to be kept anew, or forgotten."""

    def wants(self, alarm: Alarm) -> bool:
        """Whether this receiver is to hear of such an alarm."""
        of = self.settings.sources
        return alarm.kind in self.settings.on and (not of or alarm.source in ("", *of))

    def stands(self, alarm: Alarm) -> bool:
        """Whether the receiver was told of it, or is to be, and it is not over."""
        state = self._states.get(alarm)
        return state is not None and state.ended is None

    def several(self, stream: StreamId, kind: str) -> list[Alarm]:
        """The stream's alarms of this kind that are not over."""
        of = Alarm.of(stream, kind)
        return [a for a in self._states if self.stands(a) and attrs.evolve(a, about="") == of]

    def take(self, change: Change, now: float) -> None:
        """Take in that an alarm begins or ends."""
        if isinstance(change, Begun):
            self._begin(change, now)
        else:
            self._end(change.alarm, change.why, now)

    def _begin(self, begun: Begun, now: float) -> None:
        if not self.wants(begun.alarm):
            return
        state = self._states.get(begun.alarm)
        if state is None or state.ended is not None:
            times = 0
            if state is not None and state.ended is not None and now < state.ended + CALM:
                times = state.times + 1
            state = _State(alarm=begun.alarm, reason="", since=now, times=times)
            self._states[begun.alarm] = state
        state.reason, state.todo, state.well = begun.reason, begun.todo, None

    def _end(self, alarm: Alarm, why: str, now: float) -> None:
        state = self._states.get(alarm)
        if state is None or state.ended is not None or state.well is not None:
            return
        if state.told is None:
            del self._states[alarm]  # it has passed by itself, and nobody heard of it
        else:
            state.well, state.why = now, why

    def due(self, now: float, may: Callable[[Alarm], bool] = always) -> list[Told]:
        """What is to be told now, of the alarms that may be told of; each is said once."""
        states = [state for state in self._states.values() if may(state.alarm)]
        said = [self._say(state, now) for state in states]
        return [told for told in said if told is not None]

    def _say(self, state: _State, now: float) -> Told | None:
        if now < self._at(state):
            return None
        self._changed[state.alarm] = None
        if state.ended is not None:
            del self._states[state.alarm]  # it was calm for long enough
            return None
        recovered = state.well is not None
        if recovered:
            state.ended = now
        else:
            state.told = now
        return Told(
            alarm=state.alarm,
            state="recovered" if recovered else "firing",
            at=now,
            since=state.since,
            reason=state.why if recovered else state.reason,
            todo="" if recovered else state.todo,
        )

    def next_at(self, may: Callable[[Alarm], bool] = always) -> float:
        """When something is due, if nothing happens before."""
        states = [state for state in self._states.values() if may(state.alarm)]
        return min(map(self._at, states), default=math.inf)

    def _at(self, state: _State) -> float:
        passes = self.settings.after if state.alarm.kind in TRANSIENT else 0.0
        if state.ended is not None:
            return state.ended + CALM
        if state.well is not None:
            return state.well + max(passes, HOLDS[min(state.times, len(HOLDS) - 1)])
        if state.told is None:
            return state.since + passes
        return state.told + self.settings.repeat if self.settings.repeat else math.inf

    def change(self, settings: NotifySettings) -> None:
        """The receiver is to hear of other things from now on; what it does not is forgotten."""
        self.settings = settings
        for alarm in [alarm for alarm in self._states if not self.wants(alarm)]:
            del self._states[alarm]
            self._changed[alarm] = None

    # --- over a restart -----------------------------------------------------------------------

    @property
    def is_changed(self) -> bool:
        """Whether there is something to be kept anew, or forgotten."""
        return bool(self._changed)

    def changed(self, now: float) -> tuple[list[Standing], list[Alarm]]:
        """What is to be kept, and what is to be forgotten, since this was asked the last time."""
        kept, forgotten = [], []
        for alarm in self._changed:
            state = self._states.get(alarm)
            if state is None:
                forgotten.append(alarm)
            elif state.told is not None:
                kept.append(_standing(state, state.told, now))
        self._changed.clear()
        return kept, forgotten

    def again(self, alarms: Iterable[Alarm]) -> None:
        """These could not be kept: they are changed still."""
        self._changed |= dict.fromkeys(alarms)

    def remember(self, standing: Standing, now: float) -> None:
        """Know what was kept, unless more is known by now."""
        if not self.wants(standing.alarm):
            return
        state = self._states.get(standing.alarm)
        if state is not None and (state.told is not None or standing.ended is not None):
            return
        fresh = _State(
            alarm=standing.alarm,
            reason=state.reason if state else standing.reason,
            todo=state.todo if state else "",
            since=now - standing.since,
            told=now - standing.told,
            ended=None if standing.ended is None else now - standing.ended,
            times=standing.times,
        )
        self._states[standing.alarm] = fresh


def _standing(state: _State, told: float, now: float) -> Standing:
    return Standing(
        alarm=state.alarm,
        reason=state.reason,
        since=now - state.since,
        told=now - told,
        ended=None if state.ended is None else now - state.ended,
        times=state.times,
    )
