"""Which alarm begins, and which ends, with an event of the loop?

Nothing here waits and nothing is counted: an alarm that begins again, or ends without
having begun, is the business of who hears it (`alarms.watch`).  So the rules are the same
after a restart, when what stood before is not known here.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from syncd.sync import events
from syncd.sync.alarm import Alarm, Begun, Change, Ended
from syncd.sync.drift import Drift
from syncd.sync.model import StreamId
from syncd.views.drifts import about, what_is_wrong

PAUSED = "an operator paused it"
GONE = "it is not in the config any more"

SURE = (
    events.Resting,
    events.CycleStarted,
    events.PageCommitted,
    events.Failing,
    events.Paused,
)
"""What may come after a cycle that ended well, but that it parks."""

OF_A_STREAM = (
    "parked", "failing", "suspicious", "deletes-held", "dead-letters", "data-too-old", "contract",
)  # fmt: skip
OF_A_SOURCE = ("api-failing", "login-refused")
AWAY = Alarm("postgres-away")
REFUSED_RELOAD = Alarm("reload-refused")


@attrs.define(eq=False)
class Rules:
    """Keeps what one event means for the next."""

    whole: dict[StreamId, float] = attrs.field(factory=dict, init=False)
    """When each stream's last cycle ended well, as far as is known; not of those paused."""

    letters: dict[StreamId, None] = attrs.field(factory=dict, init=False)
    """Streams whose dead letters are to be counted: those that were due have been tried."""

    contracts: dict[StreamId, None] = attrs.field(factory=dict, init=False)
    """Streams whose drifts are to be read: some may be new, or over."""

    well: dict[StreamId, None] = attrs.field(factory=dict, init=False)
    """Streams whose cycle has ended well, where the next thing is still to come."""

    _extra: set[StreamId] = attrs.field(factory=set, init=False)
    """Whose running cycle is one out of turn."""

    _dead: dict[StreamId, int] = attrs.field(factory=dict, init=False)
    """What the cycle that has just ended put aside."""

    _refused: set[str] = attrs.field(factory=set, init=False)
    """Sources whose last login was refused."""

    _open: set[str] = attrs.field(factory=set, init=False)
    """Sources whose breaker opened."""

    _in_need: bool = attrs.field(default=False, init=False)
    """Postgres answers, but lacks something: only a commit shows that it is well."""

    def hear(self, event: events.Event, now: float) -> list[Change]:
        """Take in one event; what begins and ends with it."""
        rule = _RULES.get(type(event))
        return [] if rule is None else list(rule(self, event, now))

    def good(self, event: events.Event) -> bool:
        """Whether it is sure with this event that a cycle in turn has ended well.

        Not at its end already: so many of its records may be put aside that it parks.
        """
        stream = event.stream
        if isinstance(event, events.CycleEnded):
            if event.outcome == "ok" and stream not in self._extra:
                self.well[stream] = None
        elif isinstance(event, events.Parked):
            self.well.pop(stream, None)
        elif isinstance(event, SURE) and stream in self.well:
            del self.well[stream]
            return True
        return False

    def known(self, stream: StreamId, since: float) -> None:
        """The stream is there, and its data was whole then."""
        self.whole[stream] = since

    def aside(self, stream: StreamId) -> int:
        """How many records the cycle put aside that ended last, and was not counted yet."""
        return self._dead.get(stream, 0)

    def counted(self, stream: StreamId, dead: int | None) -> list[Change]:
        """So many dead letters of the stream lie there; None: nobody can tell."""
        self.letters.pop(stream, None)
        aside = self._dead.pop(stream, 0)
        alarm = Alarm.of(stream, "dead-letters")
        if dead is None:
            # What the cycle itself has put aside, for want of better.
            return [Begun(alarm=alarm, reason=_letters(aside))] if aside else []
        if not dead:
            return [Ended(alarm=alarm)]
        return [Begun(alarm=alarm, reason=_letters(dead))] if aside else []

    def drifted(
        self, stream: StreamId, drifts: Iterable[Drift], standing: Iterable[Alarm]
    ) -> list[Change]:
        """So the stream's data leaves its contract; standing: what was told of that."""
        self.contracts.pop(stream, None)
        found = {Alarm.of(stream, "contract", about(d)): what_is_wrong(d) for d in drifts}
        begun = [Begun(alarm=alarm, reason=reason) for alarm, reason in found.items()]
        return [*begun, *(Ended(alarm=alarm) for alarm in standing if alarm not in found)]

    def gone(self, stream: StreamId, *, last: bool, standing: Iterable[Alarm] = ()) -> list[Change]:
        """The config has it no more; `last`: nor any other of its source.

        standing: the stream's alarms of which there may be several.
        """
        for known in (self.whole, self._dead, self.letters, self.well, self.contracts):
            known.pop(stream, None)
        alarms = [*(Alarm.of(stream, kind) for kind in OF_A_STREAM), *standing]
        if last:
            alarms += [Alarm(kind, stream.source) for kind in OF_A_SOURCE]
        return [Ended(alarm=alarm, why=GONE) for alarm in alarms]

    def postgres_answers(self) -> list[Change]:
        """A statement of our own came through."""
        return [] if self._in_need else [Ended(alarm=AWAY)]

    # --- one for each event -------------------------------------------------------------------

    def _parked(self, event: events.Parked, _: float) -> Iterator[Change]:
        stream, source = event.stream, event.stream.source
        self._dead.pop(stream, None)  # what parked it may be just that, and is told
        if event.kind == "AccessDenied" and source in self._refused:
            # Every stream of the source is parked for it: one message is enough.
            alarm = Alarm("login-refused", source)
        else:
            alarm = Alarm.of(stream, "parked")
        yield Begun(alarm=alarm, reason=event.reason, todo=event.hint)

    def _committed(self, event: events.PageCommitted, _: float) -> Iterator[Change]:
        self._in_need = False
        yield Ended(alarm=AWAY)
        yield Ended(alarm=Alarm.of(event.stream, "parked"))
        yield Ended(alarm=Alarm.of(event.stream, "failing"))
        yield from self._api_answers(event.stream.source)

    def _cycle_started(self, event: events.CycleStarted, now: float) -> Iterator[Change]:
        (self._extra.discard if event.checkpoint.follows is None else self._extra.add)(event.stream)
        yield from self._at_a_boundary(event, now)

    def _resting(self, event: events.Resting, now: float) -> Iterator[Change]:
        yield Ended(alarm=Alarm.of(event.stream, "parked"))
        yield from self._at_a_boundary(event, now)

    def _at_a_boundary(self, event: events.Event, now: float) -> Iterator[Change]:
        self.whole.setdefault(event.stream, now)  # it was paused, or is new
        if event.stream in self._dead:
            self.letters[event.stream] = None
        if not self._in_need:
            yield Ended(alarm=AWAY)

    def _cycle_ended(self, event: events.CycleEnded, now: float) -> Iterator[Change]:
        doubt = Alarm.of(event.stream, "suspicious")
        if event.outcome == "suspicious":
            yield Begun(alarm=doubt, reason=event.reason)
        elif event.outcome == "ok":
            self.whole[event.stream] = now
            yield Ended(alarm=doubt)
            yield Ended(alarm=Alarm.of(event.stream, "data-too-old"))
        self._dead[event.stream] = event.totals.dead
        self.contracts[event.stream] = None

    def _drifted(self, event: events.Event, _: float) -> Iterator[Change]:
        self.contracts[event.stream] = None
        if not self._in_need:
            yield Ended(alarm=AWAY)

    def _reconciled(self, event: events.Reconciled, _: float) -> Iterator[Change]:
        alarm = Alarm.of(event.stream, "deletes-held")
        if event.found.question:
            yield Begun(alarm=alarm, reason=event.found.question)
        elif not event.found.broken:
            yield Ended(alarm=alarm)

    def _failing(self, event: events.Failing, _: float) -> Iterator[Change]:
        yield Begun(alarm=Alarm.of(event.stream, "failing"), reason=event.reason)

    def _paused(self, event: events.Paused, _: float) -> Iterator[Change]:
        self.whole.pop(event.stream, None)
        for kind in ("parked", "failing", "data-too-old"):
            yield Ended(alarm=Alarm.of(event.stream, kind), why=PAUSED)

    def _opened(self, event: events.BreakerOpened, _: float) -> Iterator[Change]:
        self._open.add(event.stream.source)
        yield Begun(alarm=Alarm("api-failing", event.stream.source), reason=event.reason)

    def _closed(self, event: events.BreakerClosed, _: float) -> Iterator[Change]:
        self._open.discard(event.stream.source)
        yield from self._api_answers(event.stream.source)

    def _api_answers(self, source: str) -> Iterator[Change]:
        # One that stood before a restart ends with the first page: the breaker knows it no more.
        if source not in self._open:
            yield Ended(alarm=Alarm("api-failing", source))

    def _requested(self, event: events.Requested, _: float) -> Iterator[Change]:
        if event.purpose == "login" and event.status is not None:
            (self._refused.add if event.denied else self._refused.discard)(event.stream.source)
        yield from ()

    def _logged_in(self, event: events.LoggedIn, _: float) -> Iterator[Change]:
        self._refused.discard(event.stream.source)
        yield Ended(alarm=Alarm("login-refused", event.stream.source))

    def _waiting(self, event: events.Waiting, _: float) -> Iterator[Change]:
        if event.why == "database":
            self._in_need = event.in_need
            yield Begun(alarm=AWAY, reason=event.reason)


_RULES: dict[type[events.Event], Callable[[Rules, Any, float], Iterator[Change]]] = {
    events.Parked: Rules._parked,  # noqa: SLF001 - the table of this class
    events.PageCommitted: Rules._committed,  # noqa: SLF001
    events.CycleStarted: Rules._cycle_started,  # noqa: SLF001
    events.Resting: Rules._resting,  # noqa: SLF001
    events.CycleEnded: Rules._cycle_ended,  # noqa: SLF001
    events.Drifted: Rules._drifted,  # noqa: SLF001
    events.ColumnAdded: Rules._drifted,  # noqa: SLF001
    events.Reconciled: Rules._reconciled,  # noqa: SLF001
    events.Failing: Rules._failing,  # noqa: SLF001
    events.Paused: Rules._paused,  # noqa: SLF001
    events.BreakerOpened: Rules._opened,  # noqa: SLF001
    events.BreakerClosed: Rules._closed,  # noqa: SLF001
    events.Requested: Rules._requested,  # noqa: SLF001
    events.LoggedIn: Rules._logged_in,  # noqa: SLF001
    events.Waiting: Rules._waiting,  # noqa: SLF001
}


def _letters(count: int) -> str:
    return "1 dead letter lies there" if count == 1 else f"{count} dead letters lie there"
