"""Several limits of one source, wherever people and programs look."""

from pathlib import Path

import attrs
import pytest

from syncd.check import _needs
from syncd.commands.screen import Screen
from syncd.commands.status import show
from syncd.config.settings import (
    BudgetSettings,
    CallSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Budget, Cycle, Picture, Seen
from syncd.views.objects import as_object, budgets_for, budgets_of, to_look_at
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

RUNNING = Cycle(
    id=1,
    stream=STREAM,
    started=NOW - 30,
    ended=None,
    outcome=None,
    reason="",
    taken_up=0,
    pages=1,
    aside=False,
    follows=None,
    reconcile=False,
    missing=None,
    deleted=0,
    totals=Counts(seen=10),
)


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
    assert _needs(limit, ORDERS, pages=10, calls=100) == seconds


@pytest.mark.parametrize("limits", [(), (SEEN,)])
def test_a_hold_is_told_where_no_limit_counts_each_request(
    limits: tuple[BudgetSettings, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """budget: to people and programs, and as what the running cycle waits for."""
    source = attrs.evolve(SETTINGS.sources["shop"], budget=limits)
    settings = attrs.evolve(SETTINGS, sources={"shop": source})
    _, _, names = to_look_at(settings, [STREAM])
    assert names == [*(limit.name for limit in limits), "source shop"]
    hold = attrs.evolve(found(HOUR), tokens=0, free=0, held_until=NOW + 290)
    picture = Picture(
        now=NOW,
        streams=[Seen(stream=STREAM, running=RUNNING, pages=1)],
        holders=[],
        budgets=[hold, *map(found, limits)],
    )
    told = as_object(picture, settings)
    assert told["sources"][0]["held_until"] == "2023-11-14T22:18:10.000Z"
    assert told["streams"][0]["waits"]["for"] == "api asked to wait"
    show(Screen.stdout(), picture, settings)
    said = capsys.readouterr().out
    assert "API of shop: held for 5 min, because the API asked for it\n" in said
    calm = attrs.evolve(picture, budgets=[attrs.evolve(hold, held_until=None)])
    assert as_object(calm, settings)["sources"][0]["held_until"] is None
    show(Screen.stdout(), calm, settings)
    assert "held" not in capsys.readouterr().out


def test_a_limit_that_counts_each_request_holds_them_itself() -> None:
    assert to_look_at(SETTINGS, [STREAM])[2] == [b.name for b in budgets_of(SETTINGS, ["shop"])]
