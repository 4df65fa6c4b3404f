"""Which lines does an event of the loop make?  None, one, or now and then one.

Keeps of each stream the cycle and the page that it is at, so that every line says
where it happened, and which troubles it has (`trouble`).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from syncd.logs import kinds
from syncd.logs.kinds import Kind
from syncd.logs.trouble import EVERY, Told, Troubles, Words
from syncd.sync import events
from syncd.sync.model import StreamId

FAILING = Words(starts=kinds.FAILING, lasts=kinds.STILL_FAILING, ends=kinds.FAILING_NO_MORE)
AWAY = Words(starts=kinds.AWAY, lasts=kinds.STILL_AWAY, ends=kinds.BACK)
DOWN = Words(starts=kinds.API_FAILING, lasts=kinds.API_STILL_FAILING, ends=kinds.API_WELL)
HELD = Words(starts=kinds.HELD, lasts=kinds.STILL_HELD, ends=kinds.HELD_NO_MORE)

LISTED = 20  # fields that one line names

OF_THE_CYCLE = (
    kinds.CYCLE_STARTED,
    kinds.CAUGHT_UP,
    kinds.CYCLE_ENDED,
    kinds.CYCLE_DOUBTFUL,
    kinds.RECONCILED,
    kinds.DELETES_HELD,
)
"""Lines that are about no single page."""


@attrs.frozen(kw_only=True)
class Line:
    """One line to be logged."""

    kind: Kind
    stream: str
    """Empty when it concerns syncd as a whole."""

    fields: dict[str, Any]


@attrs.define
class _Place:
    cycle: int | None = None
    pages: int = 0


@attrs.define(eq=False)
class Teller:
    """Turns events into lines."""

    clock: Callable[[], float]
    _troubles: Troubles = attrs.field(init=False)
    _places: dict[StreamId, _Place] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._troubles = Troubles(self.clock)

    def hear(self, event: events.Event) -> list[Line]:
        """Take in one event; the lines it makes, in their order."""
        place = self._places.setdefault(event.stream, _Place())
        stream = str(event.stream)
        # Before the event moves the place on.
        lines = self._lines(stream, place, [*self._endings(event), self._trouble(event)])
        lines += self._lines(stream, place, [self._own(event, place)])
        if isinstance(event, events.Parked):
            self._troubles.forget(event.stream)
        return lines

    def away(self, reason: str, seconds: float) -> list[Line]:
        """Take in that Postgres is away before any stream runs; tried again in so long."""
        again_in = round(seconds, 1)
        told = self._troubles.happened(None, AWAY, reason=reason, again_in=again_in)
        return self._lines("", _Place(), [told])

    def back(self) -> list[Line]:
        """Take in that it is there, and the streams begin."""
        return self._lines("", _Place(), [self._troubles.ended(None, AWAY)])

    def _lines(self, stream: str, place: _Place, told: list[Told | None]) -> list[Line]:
        return [
            Line(kind=kind, stream=stream, fields={**self._where(place, kind), **fields})
            for kind, fields in filter(None, told)
        ]

    def _where(self, place: _Place, kind: Kind) -> dict[str, Any]:
        if place.cycle is None or kind in (kinds.RESTING, kinds.LOGGED_IN, kinds.PAUSED):
            return {}
        if kind in OF_THE_CYCLE:
            return {"cycle": place.cycle}
        under_way = 0 if kind in (kinds.PAGE_COMMITTED, kinds.CYCLE_RESUMED) else 1
        return {"cycle": place.cycle, "page": place.pages + under_way}

    def _endings(self, event: events.Event) -> list[Told | None]:
        ended: list[Told | None] = []
        # On a full disk a token may be spent and a call settled, while no page is committed.
        if isinstance(event, events.NEEDS_POSTGRES):
            surely = isinstance(event, events.PageCommitted)
            ended.append(self._troubles.ended(event.stream, AWAY, surely=surely))
        if isinstance(event, events.BreakerClosed):
            ended.append(self._troubles.ended(event.stream.source, DOWN))
        answered = isinstance(event, events.CallAnswered) and event.ok
        if answered or isinstance(event, events.PageFetched):
            ended.append(self._troubles.ended(event.stream, HELD))
        # Not at the next answer: at an API that fails one request in ten, every other
        # line would tell that it is well again.
        if isinstance(event, events.PageCommitted):
            ended.append(self._troubles.ended(event.stream, HELD))
            ended.append(self._troubles.ended(event.stream, FAILING))
        return ended

    def _trouble(self, event: events.Event) -> Told | None:
        match event:
            case events.Retrying():
                return self._troubles.happened(
                    event.stream,
                    FAILING,
                    **_filled(key=event.key),
                    attempt=event.attempt,
                    reason=event.reason,
                )
            case events.Waiting(why="database"):
                return self._troubles.happened(
                    event.stream,
                    AWAY,
                    lasting=event.seconds + EVERY if event.in_need else 0.0,
                    reason=event.reason,
                    again_in=round(event.seconds, 1),
                )
            case events.BreakerOpened():
                # Of the source: its streams share the API, whoever's request it was.
                return self._troubles.happened(
                    event.stream.source,
                    DOWN,
                    failed=event.failed,
                    attempts=event.attempts,
                    again_in=round(event.seconds, 1),
                    reason=event.reason,
                )
            case events.Waiting(why="hint"):
                return self._troubles.happened(
                    event.stream,
                    HELD,
                    lasting=event.seconds,
                    again_in=round(event.seconds, 1),
                    **_filled(reason=event.reason),
                )
            case _:
                return None

    def _own(  # noqa: C901, PLR0912 - one case for each event
        self, event: events.Event, place: _Place
    ) -> Told | None:
        match event:
            case events.CycleStarted(checkpoint=at):
                place.cycle, place.pages = at.cycle, at.pages
                return kinds.CYCLE_RESUMED if at.pages else kinds.CYCLE_STARTED, {}
            case events.PageCommitted(checkpoint=at, totals=totals):
                place.pages = at.pages or place.pages + 1
                return kinds.PAGE_COMMITTED, {"records": totals.seen}
            case events.PutAside(alert=True):
                fields = _filled(key=event.key, kind=event.kind, reason=event.reason)
                return kinds.PUT_ASIDE, fields
            case events.LeftOut(alert=True):
                return kinds.LEFT_OUT, {"key": event.key, "reason": event.reason}
            case events.FieldsLeftOut(fields=fields):
                return kinds.FIELDS_LEFT_OUT, {"fields": _listed(fields)}
            # What is put aside, or parks the stream, has a line that says so.
            case events.Drifted(drift=drift) if drift.rule in ("discard", "evolve"):
                what = {"what": drift.what, "name": drift.name or "others", "found": drift.found}
                return kinds.DRIFTED, {**_filled(**what), "rule": drift.rule}
            case events.ColumnAdded(added=added):
                beside = _filled(field=added.field, instead_of=added.instead_of)
                return kinds.COLUMN_ADDED, {"column": added.column, "type": added.type, **beside}
            case events.CycleEnded():
                counts = {k: v for k, v in attrs.asdict(event.totals).items() if v}
                kind = kinds.CYCLE_ENDED if event.outcome == "ok" else kinds.CYCLE_DOUBTFUL
                reason = _filled(reason=event.reason)
                took = round(event.seconds, 1)
                return kind, {"outcome": event.outcome, **reason, **counts, "took": took}
            case events.Reconciled(found=found):
                fields = _filled(deleted=found.deleted or None, missing=found.missing or None)
                if found.question:
                    return kinds.DELETES_HELD, {**fields, "reason": found.question}
                return kinds.RECONCILED, {**fields, **_filled(reason=found.note)}
            case events.Failing():
                return kinds.RETRIES_USED_UP, {
                    "again_in": round(event.seconds),
                    "reason": event.reason,
                }
            case events.WentBack():
                return kinds.WENT_BACK, {"reason": event.reason}
            case events.Paused():
                return kinds.PAUSED, {}
            case events.Resting():
                return kinds.RESTING, {"seconds": round(event.seconds)}
            case events.CaughtUp(missed=missed):
                first = dt.datetime.fromtimestamp(missed.since, dt.UTC)
                return kinds.CAUGHT_UP, {
                    "since": first.isoformat(timespec="seconds"),
                    "times": missed.count,
                    "late": round(missed.seconds),
                }
            case events.Parked():
                return kinds.PARKED, {"reason": event.reason, **_filled(hint=event.hint)}
            case events.LimitMisread():
                return kinds.LIMIT_MISREAD, {"said": event.said}
            case events.LoggedIn():
                return kinds.LOGGED_IN, {"expires_in": round(event.expires_in)}
            case _:
                return None


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}
