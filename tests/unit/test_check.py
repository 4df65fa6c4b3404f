"""What `syncd check` says of a stream that begins by a calendar."""

import datetime as dt
import time
from pathlib import Path

import attrs
import pytest

from syncd.check import Check
from syncd.config.settings import BudgetSettings, Settings, SourceSettings, StreamSettings

ORDERS = StreamSettings(
    name="orders", path="/orders", key=("id",), columns={"id": "text"}, table="orders"
)
SHOP = SourceSettings(
    name="shop",
    base_url="http://shop.test",
    budget=(BudgetSettings(name="source shop", requests=10, per=60.0),),
)
NOW = dt.datetime(2026, 3, 27, 12, tzinfo=dt.UTC).timestamp()


def checked(stream: StreamSettings) -> tuple[Check, list[str]]:
    source = attrs.evolve(SHOP, streams={"orders": stream})
    said: list[str] = []
    return Check(Settings(state=Path("/state"), sources={"shop": source}), said.append), said


def test_it_shows_when_a_calendar_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in it is seen by that, and so is the day when the clocks change."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    check, said = checked(attrs.evolve(ORDERS, cron=("30 2 * * *",), zone="Europe/Berlin"))
    check.file()
    due = "Sat 2026-03-28 02:30+01:00, Sun 2026-03-29 03:00+02:00, Mon 2026-03-30 02:30+02:00 …"
    assert said[1:] == [f"ok    shop.orders: begins by `cron` at {due}"]
    check, said = checked(ORDERS)
    check.file()
    assert len(said) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"every": 60.0}, "`every` is 1 min: cycles will begin late"),
        ({"cron": ("0 2 * * *", "2 2 * * *")}, "`cron` comes twice within 2 min: cycles will"),
        ({"cron": ("0 2 * * *",)}, ""),
        ({"every": 900.0}, ""),
    ],
)
def test_a_budget_that_cannot_keep_the_shortest_gap(changed: dict[str, object], words: str) -> None:
    """budget: it is the gap that counts, not how often it comes in a day."""
    stream = attrs.evolve(ORDERS, **changed)  # type: ignore[arg-type]  # as named
    check, said = checked(stream)
    check._interval(SHOP, stream, "shop.orders", total=500, seen=10)
    assert len(said) == bool(words)
    assert words in " ".join(said)
