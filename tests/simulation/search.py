"""A search over schedules: the real loop, supervisor, bucket and retry on a clock that jumps.

    schedule    what happens when: crashes, rivals, outages, reloads, changes at the API
    world       carries a schedule out, deterministically
    invariants  the promises as code, looked at after each step and at the end
    planted     bugs that the search has to find

A schedule that fails is made short, printed, and replayed by its seed.
"""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import attrs
import trio
import trio.testing

from syncd.sync import clocks
from tests.simulation.invariants import Violation
from tests.simulation.schedule import Schedule, schedule
from tests.simulation.world import World

STILL = 120  # seconds of real time; a schedule takes less than one
NICE = 10  # the clock of a search is its own; tests beside it may be on the real one
SHRINKS = 200  # schedules that are tried to make one short


@attrs.frozen
class Failure:
    """A schedule, and the promise that it breaks."""

    schedule: Schedule
    what: str

    def __str__(self) -> str:
        return f"{self.what}\n{self.schedule}"


@attrs.frozen(kw_only=True)
class Found:
    """What a search came to."""

    schedules: int
    steps: int
    """Events of the streams, and steps of the schedules."""

    failures: list[Failure]

    def __str__(self) -> str:
        return (
            f"{self.schedules:,} schedules, {self.steps:,} steps, {len(self.failures)} violations"
        )


def run(chosen: Schedule) -> tuple[World, str]:
    """Carry one schedule out; the promise that it breaks, or nothing."""
    # Tasks that are ready at one moment run in an order that Trio draws.
    innards: Any = trio._core._run
    innards._ALLOW_DETERMINISTIC_SCHEDULING = True
    innards._r = random.Random(chosen.seed)
    world = World(schedule=chosen)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        # Real time is none of the schedule's: what it took would differ with each run.
        with (
            mock.patch.object(clocks, "boot_time", trio.current_time),
            _noticed_if_it_stands_still(),
        ):
            trio.run(world.run, clock=clock)
    except Violation as violation:
        return world, str(violation)
    except BaseExceptionGroup as group:
        found = _first(group)
        if isinstance(found, KeyboardInterrupt):
            raise found from None
        if isinstance(found, Violation):
            return world, str(found)
        return world, f"{type(found).__name__}: {found}"
    return world, ""


@contextmanager
def _noticed_if_it_stands_still() -> Iterator[None]:
    """A task that never lets go of the loop stops the clock, too: only a signal can tell."""

    def notice(*_: object) -> None:
        raise Violation(f"contained: the loop stood still for {STILL} s")

    before = signal.signal(signal.SIGALRM, notice)
    signal.alarm(STILL)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _first(error: BaseException) -> BaseException:
    """The violation in a group, else the bug."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_first(e) for e in error.exceptions]
    return next((e for e in leaves if isinstance(e, Violation)), leaves[0])


def search(seeds: Iterable[int], *, stop: bool = True) -> Found:
    """Run the schedules of these seeds; with `stop` no further than to the first failure."""
    schedules = steps = 0
    failures = []
    for seed in seeds:
        chosen = schedule(seed)
        world, what = run(chosen)
        schedules += 1
        steps += world.steps + len(chosen.steps)
        if what:
            failures.append(Failure(chosen, what))
            if stop:
                break
    return Found(schedules=schedules, steps=steps, failures=failures)


def on_every_core(seeds: range) -> Found:
    """The same with as many processes as there are cores."""
    cores = os.cpu_count() or 1
    shares = [seeds[n::cores] for n in range(cores)]
    # Forked, a process would inherit what the tests before have left in this one.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, spawn, initializer=os.nice, initargs=(NICE,)) as pool:
        found = list(pool.map(search, shares))
    return Found(
        schedules=sum(f.schedules for f in found),
        steps=sum(f.steps for f in found),
        failures=[failure for f in found for failure in f.failures],
    )


def shrink(failure: Failure) -> Failure:
    """The same failure with as few steps as can be found: delta debugging, by halves."""
    promise = failure.what.split(":")[0]
    best, tries = failure, 0
    many = max(1, len(best.schedule.steps) // 2)
    while many and tries < SHRINKS:
        first = 0
        while first < len(best.schedule.steps) and tries < SHRINKS:
            tries += 1
            shorter = best.schedule.without(first, many)
            _, what = run(shorter)
            if what.split(":")[0] == promise:
                best = Failure(shorter, what)
            else:
                first += many
        many //= 2
    return best
