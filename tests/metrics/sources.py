"""Settings and a picture of as many sources as a test wants."""

from pathlib import Path

from syncd.config.settings import (
    BudgetSettings,
    CallSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from syncd.metrics.told import streams_of
from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Budget, Cycle, Holder, Picture, Seen
from syncd.sync.ranges import Range, Usual

NOW = 1_800_000_000.0


def settings(*names: str, stream: str = "orders", call: bool = True) -> Settings:
    """Sources of these names, each with one stream and a budget of its own."""
    return Settings(
        state=Path("/nowhere"),
        sources={name: source(name, stream, call=call) for name in names},
    )


def source(name: str, *streams: str, call: bool = True) -> SourceSettings:
    return SourceSettings(
        name=name,
        base_url="http://127.0.0.1:9",
        budget=(BudgetSettings(name=f"source {name}", requests=10, per=60.0),),
        streams={
            stream: StreamSettings(
                name=stream,
                path="/x",
                key=("id",),
                columns={"id": "text"},
                table=stream,
                call=CallSettings(path="/x/{id}") if call else None,
            )
            for stream in streams
        },
    )


def cycle(stream: StreamId, *, ago: float, took: float | None, **more: object) -> Cycle:
    values: dict[str, object] = {
        "id": 1,
        "stream": stream,
        "started": NOW - ago,
        "ended": None if took is None else NOW - ago + took,
        "outcome": None if took is None else "ok",
        "reason": "",
        "taken_up": 0,
        "pages": 10,
        "aside": False,
        "follows": None,
        "reconcile": False,
        "missing": None,
        "deleted": 0,
        "totals": Counts(seen=100, written=20, unchanged=75, dead=5),
    }
    return Cycle(**{**values, **more})  # type: ignore[arg-type]  # as the fields are named


def picture(of: Settings) -> Picture:
    """All that can be known of every stream, which rests."""
    return Picture(
        now=NOW,
        streams=[seen(stream) for stream in streams_of(of)],
        holders=[
            Holder(source=s, host="here", pid=1, since=NOW - 9, heard=NOW, runs=True)
            for s in of.sources
        ],
        budgets=[
            Budget(
                name=f"source {s}",
                per=60.0,
                tokens=10,
                free=4,
                next_free=NOW + 3,
                held_until=None,
                from_answers=False,
                quota_left=4,
                quota_until=NOW + 9,
            )
            for s in of.sources
        ],
    )


def seen(stream: StreamId) -> Seen:
    whole = cycle(stream, ago=120.0, took=60.0)
    usual = Usual(records=Range(least=80, most=120), changes=None, seconds=55.0)
    return Seen(stream=stream, last=whole, whole=whole, next_start=NOW + 60.0, dead=5, usual=usual)
