"""The search over schedules, and the bugs that it must find."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.simulation.planted import BUGS, Patch
from tests.simulation.schedule import schedule
from tests.simulation.search import on_every_core, run, search, shrink

SEEDS = [int(s) for s in os.environ.get("SYNCD_SEEDS", "").split()]
"""Replay some with SYNCD_SEEDS="17 4711"."""

DEFAULT = 1_000
LONG = 10_000

INHERITED = object()


def assert_nothing_found(
    seeds: range, figure: Callable[[str], None], *, side_by_side: bool = False
) -> None:
    found = search(SEEDS) if SEEDS else (on_every_core if side_by_side else search)(seeds)
    figure(str(found))
    assert not found.failures, str(shrink(found.failures[0]))


@pytest.mark.early
def test_a_thousand_schedules_break_no_promise(figure: Callable[[str], None]) -> None:
    """page-atomic, resume, budget, accounted, contained, no-delete-on-absence, no-blind-repeat,
    drain: each is looked at after every step.
    """
    assert_nothing_found(range(DEFAULT), figure)


@pytest.mark.early
@pytest.mark.long
def test_ten_thousand_schedules_break_no_promise(figure: Callable[[str], None]) -> None:
    """page-atomic, resume, budget, accounted, contained, no-delete-on-absence, no-blind-repeat,
    drain: each is looked at after every step.
    """
    assert_nothing_found(range(DEFAULT, LONG), figure, side_by_side=True)


def test_a_schedule_is_the_same_each_time() -> None:
    """A failing seed can be replayed: what happens follows from the seed alone."""
    first, second = run(schedule(17))[0], run(schedule(17))[0]
    assert first.log == second.log
    assert len(first.log) > 20


@contextmanager
def _patched(patches: list[Patch]) -> Iterator[None]:
    undo = [(target, name, target.__dict__.get(name, INHERITED)) for target, name, _ in patches]
    for target, name, new in patches:
        setattr(target, name, new)
    try:
        yield
    finally:
        for target, name, old in undo:
            if old is INHERITED:
                delattr(target, name)
            else:
                setattr(target, name, old)


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_search_finds_a_planted_bug(bug: Callable[[], list[Patch]]) -> None:
    """A search that finds nothing proves nothing, unless it finds what is there."""
    with _patched(bug()):
        found = search(range(DEFAULT))
        assert found.failures, f"not found in {found.schedules} schedules"
        short = shrink(found.failures[0])
    print(f"{bug.__name__}: schedule {found.schedules}: {short}")  # noqa: T201
    assert len(short.schedule.steps) <= len(found.failures[0].schedule.steps)
