"""When a running cycle will be done, and what it waits for, as far as rows can tell."""

import attrs
import pytest

from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Budget, Cycle, Failing, Seen, Token
from syncd.views.arrival import Expected, Listed, Share, Wait, expected, outlook, wait

STREAM = StreamId(source="ads", stream="campaigns")
NOW = 10_000.0
PER = 60.0


def cycle(began: float, took: float | None, *, seen: int, requests: int, pages: int = 10) -> Cycle:
    return Cycle(
        id=1,
        stream=STREAM,
        started=began,
        ended=None if took is None else began + took,
        outcome=None if took is None else "ok",
        reason="",
        taken_up=0,
        pages=pages,
        aside=False,
        follows=None,
        reconcile=False,
        missing=None,
        deleted=0,
        totals=Counts(seen=seen, unchanged=seen, requests=requests),
    )


WHOLE = cycle(NOW - 2000, 660, seen=100, requests=110)


def running(pages: int, *, began: float = NOW - 360, taken_up: int = 0) -> Seen:
    under_way = cycle(began, None, seen=10 * pages, requests=11 * pages, pages=pages)
    under_way = attrs.evolve(under_way, taken_up=taken_up)
    return Seen(stream=STREAM, pages=pages, running=under_way, last=WHOLE, whole=WHOLE)


def budget(*free: float, tokens: int = 10, held: float | None = None, flying: int = 0) -> Budget:
    """A budget with tokens that come back then; `flying` of them are under way."""
    spent = [
        Token(
            number=n,
            counted=None if n < flying else at - PER,
            free=at + (PER if n < flying else 0),
            spent_on=f"{STREAM} page 7",
        )
        for n, at in enumerate(free)
    ]
    return Budget(
        name="source ads",
        per=PER,
        tokens=tokens,
        free=tokens - len(spent),
        next_free=min((t.free for t in spent), default=None),
        held_until=held,
        from_answers=False,
        spent=spent,
    )


# --- how far it is -------------------------------------------------------------------------------


def test_it_goes_by_the_last_whole_cycle() -> None:
    assert expected(running(6), [], NOW) == Expected(records=100, pages=10, done=NOW + 300)


def test_a_first_cycle_has_nothing_to_go_by() -> None:
    seen = attrs.evolve(running(6), last=None, whole=None)
    assert expected(seen, [], NOW) == Expected()
    assert expected(Seen(stream=STREAM, whole=WHOLE), [], NOW) == Expected()


def test_what_the_api_says_of_its_list_comes_before_the_last_cycle() -> None:
    """Twice as many records as the last time take twice as long."""
    found = expected(running(6), [], NOW, Listed(total=200, size=10))
    assert found == Expected(records=200, pages=20, done=NOW + 960)


def test_a_first_cycle_goes_by_its_own_pace_and_the_budget() -> None:
    """60 records took 6 minutes, so 40 more take 4; the budget may say later."""
    seen = attrs.evolve(running(6), last=None, whole=None)
    listed = Listed(total=100, size=10)
    assert expected(seen, [], NOW, listed) == Expected(records=100, pages=10, done=NOW + 240)
    busy = budget(*[NOW + 50] * 10)
    assert expected(seen, [Share(budget=busy)], NOW, listed).done == NOW + 50 + 4 * PER


def test_before_its_first_page_nothing_is_guessed() -> None:
    seen = attrs.evolve(running(0), last=None, whole=None)
    found = expected(seen, [], NOW, Listed(total=100, size=10))
    assert found == Expected(records=100, pages=10, done=None)


def test_one_that_takes_longer_than_the_last_says_no_time() -> None:
    """A time that is over would be a lie; that there are more pages than before is told."""
    found = expected(running(11, began=NOW - 700), [], NOW)
    assert found == Expected(records=110, pages=12, done=None)


def test_one_that_does_not_go_on_is_never_done() -> None:
    """How much there is stays known; when it will be there does not."""
    found = expected(running(6), [Share(budget=budget())], NOW, goes_on=False)
    assert found == Expected(records=100, pages=10, done=None)


def test_after_a_break_only_the_work_that_is_left_counts() -> None:
    """A cycle that was taken up again began long ago."""
    found = expected(running(5, began=NOW - 9000, taken_up=1), [], NOW)
    assert found.done == pytest.approx(NOW + 330)


def test_the_budget_may_be_slower_than_the_pace() -> None:
    """Forty of 110 requests are left: four windows more, and a hold comes before them."""
    busy = budget(*[NOW + 50] * 10)
    assert (
        expected(running(6, began=NOW - 600), [Share(budget=busy)], NOW).done == NOW + 50 + 4 * PER
    )
    for held in (budget(held=NOW + 3600), budget(tokens=0, held=NOW + 3600)):
        assert expected(running(6), [Share(budget=held)], NOW).done == NOW + 3600


@pytest.mark.parametrize(
    ("requests", "at"), [(0, 0), (1, 0), (7, 0), (8, 10), (10, 30), (11, 60), (18, 70), (30, 150)]
)
def test_when_so_many_requests_can_have_been_sent(requests: int, at: float) -> None:
    """budget: seven are free now, three come back one by one, and then a window for each ten."""
    found = outlook(budget(NOW + 10, NOW + 20, NOW + 30), requests, NOW)
    assert found == NOW + at


# --- what it waits for ---------------------------------------------------------------------------

FAILING = Failing(since=NOW - 60, reason="503", next_probe=NOW + 15)
ALL_SPENT = [NOW + n for n in range(1, 11)]


@pytest.mark.parametrize(
    ("spent", "failing", "found"),
    [
        (budget(), None, None),
        (None, None, None),
        (budget(*ALL_SPENT), None, Wait(why="budget", until=NOW + 1)),
        (budget(*ALL_SPENT, flying=1), None, Wait(why="answer", until=NOW + 1)),
        (
            budget(*[NOW - 5, *ALL_SPENT[1:]], flying=1),
            None,
            Wait(why="budget", until=NOW + 2, dead=1),
        ),
        (budget(NOW - 5, flying=1), None, None),
        (budget(held=NOW + 9), None, Wait(why="api asked to wait", until=NOW + 9)),
        (budget(tokens=0, held=NOW + 9), None, Wait(why="api asked to wait", until=NOW + 9)),
        (budget(*ALL_SPENT), FAILING, Wait(why="api is failing", until=NOW + 15)),
    ],
    ids=[
        *("nothing", "no budget", "budget", "an answer", "a budget with a dead request"),
        *("a dead request alone", "held", "held without a budget", "failing"),
    ],
)
def test_what_a_running_cycle_waits_for(
    spent: Budget | None, failing: Failing | None, found: Wait | None
) -> None:
    assert wait(running(6), [Share(budget=spent)] if spent else [], failing, NOW) == found


def test_who_does_not_run_waits_for_nothing() -> None:
    for seen in (
        Seen(stream=STREAM),
        attrs.evolve(running(6), parked="401"),
        attrs.evolve(running(6), paused=NOW - 5),
    ):
        assert wait(seen, [Share(budget=budget(*ALL_SPENT))], FAILING, NOW) is None
