"""Which waits end when syncd, or a part of it, leaves."""

import pytest
import trio
import trio.testing

from syncd.errors import Draining
from syncd.sync.waits import Waits

Clock = trio.testing.MockClock


async def until_ended(waits: Waits) -> float:
    """Wait for an hour; returns the moment at which that was cut short."""
    with pytest.raises(Draining):
        await waits.sleep(3600)
    return trio.current_time()


async def test_a_wait_that_nobody_ends_lasts_as_long_as_it_should(autojump_clock: Clock) -> None:
    """A rest of an hour is an hour."""
    started = trio.current_time()
    await Waits().sleep(3600)
    assert trio.current_time() - started == 3600


async def test_all_waits_end_at_once_and_later_ones_as_they_begin(autojump_clock: Clock) -> None:
    """drain: leaving waits for nothing that has not begun."""
    waits = Waits()
    ended: list[float] = []

    async def wait() -> None:
        ended.append(await until_ended(waits))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(5)
        waits.end()
        left = trio.current_time()
    await wait()
    assert ended == [left] * 4
    assert waits.ended


async def test_what_is_not_a_wait_is_not_cut(autojump_clock: Clock) -> None:
    """drain: a request in flight is awaited."""
    waits = Waits()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 8)
        waits.end()
    assert trio.current_time() - started == 8


async def test_the_end_of_the_whole_is_the_end_of_its_parts(autojump_clock: Clock) -> None:
    """drain: every stream stops waiting when syncd leaves."""
    whole = Waits()
    part = Waits(whole)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_ended, part)
        await trio.sleep(1)
        whole.end()
    assert trio.current_time() < 3600
    part.reopen()
    assert part.ended, "a part cannot go on alone"
    await until_ended(part)


async def test_the_end_of_a_part_leaves_the_others_waiting(autojump_clock: Clock) -> None:
    """contained: one stream that stops costs one stream."""
    whole = Waits()
    one, other = Waits(whole), Waits(whole)
    one.end()
    await until_ended(one)
    await other.sleep(10)
    await whole.sleep(10)
    assert not whole.ended
    one.reopen()
    await one.sleep(10)
    assert not one.ended


async def test_a_cancelled_wait_is_no_leaving(autojump_clock: Clock) -> None:
    """A deadline around a wait is the caller's, and stays a deadline."""
    waits = Waits()
    with trio.move_on_after(1) as scope:
        await waits.sleep(10)
    assert scope.cancelled_caught
    await waits.sleep(1)
