"""Several limits of one source, wherever people and programs look."""

from pathlib import Path

import pytest

from syncd.check import _needs
from syncd.config.settings import (
    BudgetSettings,
    CallSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from syncd.sync.model import StreamId
from syncd.sync.picture import Budget, Picture, Seen
from syncd.views.objects import as_object, budgets_for, budgets_of
from syncd.views.words import limit_words

NOW = 1_700_000_000.0
HOUR = BudgetSettings(name="source shop", requests=1000, per=3600.0)
SECOND = BudgetSettings(name="source shop per 1s", requests=10, per=1.0)
SEEN = BudgetSettings(
    name="source shop per 60s of /orders/{id}/seen",
    requests=30,
    per=60.0,
    paths=("/orders/{id}/seen",),
)
OTHER = BudgetSettings(name="x", requests=1, per=60.0, paths=("/other",))
ORDERS = StreamSettings(
    name="orders",
    path="/orders",
    key=("id",),
    columns={"id": "text"},
    table="orders",
    cost=5,
    call=CallSettings(path="/orders/{id}/seen", cost=2),
)
SETTINGS = Settings(
    state=Path("/state"),
    sources={
        "shop": SourceSettings(
            name="shop",
            base_url="http://shop.test",
            budget=(HOUR, SECOND, SEEN, OTHER),
            streams={"orders": ORDERS},
        )
    },
)
STREAM = StreamId(source="shop", stream="orders")


def found(limit: BudgetSettings, left: int | None = None) -> Budget:
    return Budget(
        name=limit.name,
        per=limit.per,
        tokens=limit.requests,
        free=limit.requests,
        next_free=None,
        held_until=None,
        from_answers=False,
        quota_left=left,
        quota_until=None if left is None else NOW + 5,
    )


def test_each_limit_of_a_source_is_told() -> None:
    """budget: as the file names them, with its paths, and what the API says of which."""
    budgets = [found(HOUR), found(SECOND, left=3), found(SEEN), found(OTHER)]
    picture = Picture(now=NOW, streams=[Seen(stream=STREAM)], holders=[], budgets=budgets)
    told = as_object(picture, SETTINGS)
    (source,) = told["sources"]
    assert source["budget"] == "source shop"
    assert source["budgets"] == [b.name for b in budgets_of(SETTINGS, ["shop"])]
    by_name = {b["budget"]: b for b in told["budgets"]}
    assert list(by_name) == source["budgets"]
    assert by_name[SEEN.name]["paths"] == ["/orders/{id}/seen"]
    assert by_name[SECOND.name]["told"] == {"left": 3, "until": "2023-11-14T22:13:25.000Z"}
    assert by_name[HOUR.name]["told"] is None


def test_a_stream_waits_for_the_limits_that_count_its_requests() -> None:
    """budget: with what the dearest of them takes."""
    there = {b.name: found(b) for b in (HOUR, SECOND, SEEN, OTHER)}
    shares = budgets_for(STREAM, SETTINGS, there)
    assert [(s.budget.name, s.cost) for s in shares] == [
        (HOUR.name, 5),
        (SECOND.name, 5),
        (SEEN.name, 2),
    ]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (SECOND, "10 requests in 1 s"),
        (SEEN, "30 requests in 1 min under /orders/{id}/seen"),
        (OTHER, "1 request in 1 min under /other"),
    ],
)
def test_a_limit_in_words(limit: BudgetSettings, words: str) -> None:
    assert limit_words(limit) == words


@pytest.mark.parametrize(
    ("limit", "seconds"),
    # Ten pages and a hundred calls are 250 tokens where all count, 200 where calls do.
    [(HOUR, 0.0), (SECOND, 24.0), (SEEN, 360.0), (OTHER, 0.0)],
)
def test_how_long_each_limit_makes_a_cycle_take(limit: BudgetSettings, seconds: float) -> None:
    """budget: `check` warns by the slowest, with what requests cost."""
    assert _needs(limit, ORDERS, pages=10, records=100) == seconds
