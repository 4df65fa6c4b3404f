"""One picture for all who look at the side door, on the loop's own clock."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from syncd.admin.desk import CROWD, PATIENCE, Crowded, Desk
from syncd.admin.feed import EVERY, LINGER, STALE, Feed
from syncd.config.settings import Settings
from syncd.errors import StoreUnavailable
from syncd.sync.picture import Picture

SOMEBODY = object()
SETTINGS = Settings(state=Path("/state"), sources={})


class Postgres:
    """Answers at once, never, or with an error; and counts."""

    def __init__(self) -> None:
        self.looks = 0
        self.away = ""
        self.silent = False

    async def look(self) -> Picture:
        self.looks += 1
        if self.silent:
            await trio.sleep_forever()
        await trio.sleep(0.01)
        if self.away:
            raise StoreUnavailable(self.away)
        return Picture(now=trio.current_time(), streams=[], holders=[], budgets=[])


@pytest.fixture
def postgres_at() -> Postgres:
    return Postgres()


def feed_of(bugs: list[BaseException] | None = None, around: dict[str, Any] | None = None) -> Feed:
    return Feed(
        settings=lambda: SETTINGS,
        around=lambda: around or {},
        clock=trio.current_time,
        steady=trio.current_time,
        safe=lambda text: text.replace("hunter2", "***"),
        failed=(bugs if bugs is not None else []).append,
    )


async def test_nobody_looks_where_nobody_asks(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: a side door that nobody stands at costs Postgres nothing."""
    feed = feed_of()
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)
    await trio.sleep(3600)
    assert postgres_at.looks == 0
    await feed.fresh()
    assert postgres_at.looks == 1
    await trio.sleep(3600)
    assert postgres_at.looks <= 1 + LINGER / EVERY + 1


async def test_a_crowd_is_one_look_a_second(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: many who ask all the time, for a minute."""
    feed = feed_of()
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)

    async def ask() -> None:
        while trio.current_time() < began + 60:
            await feed.fresh()
            await trio.sleep(0.3)

    began = trio.current_time()
    async with trio.open_nursery() as crowd:
        for _ in range(50):
            crowd.start_soon(ask)
    assert 55 <= postgres_at.looks <= 61


async def test_listeners_wake_only_for_what_has_changed(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: that time goes on is no news."""
    around = {"events": 0}
    feed = feed_of(around=around)
    feed.listeners = [SOMEBODY]
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)
    await feed.fresh()
    version = feed.version
    with trio.move_on_after(30) as waiting:
        await feed.changed(version)
    assert waiting.cancelled_caught
    around["events"] = 1
    with trio.fail_after(2 * EVERY):
        await feed.changed(version)


async def test_an_old_picture_says_since_when_and_why(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """resume: whether Postgres refuses or falls silent; and a secret is in neither."""
    feed = feed_of()
    feed.listeners = [SOMEBODY]
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)
    await feed.fresh()
    assert (b'"stale_since":null' in feed.body, feed.stale) == (True, "")
    postgres_at.away = "Postgres: gone with hunter2"
    await trio.sleep(2 * EVERY)
    assert b'"stale_reason":"Postgres: gone with ***"' in feed.body
    postgres_at.away = ""
    await trio.sleep(2 * EVERY)
    assert feed.stale == ""
    postgres_at.silent = True
    await trio.sleep(STALE + 2 * EVERY)
    assert b'"stale_reason":"Postgres does not answer"' in feed.body


async def test_a_picture_keeps_when_it_was_taken_however_long_nobody_looks(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: also where Postgres has fallen silent when somebody comes again."""
    feed = feed_of()
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)
    began = trio.current_time()
    await feed.fresh()
    await trio.sleep(3600)
    assert feed.taken is not None
    assert began + LINGER - EVERY <= feed.taken.at <= began + LINGER + EVERY
    before, postgres_at.silent = feed.taken, True
    await feed.fresh()
    assert feed.taken is before


async def test_what_changes_while_nobody_looks_makes_no_old_picture_a_new_one(
    postgres_at: Postgres, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: a healthy daemon answers that it is ready, after a reload too."""
    feed = feed_of()
    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, postgres_at.look)
    for _ in range(2):  # before the first look, and long after one
        feed.beside()
        assert b'"stale_since":null' in await feed.fresh()
        assert feed.stale == ""
        await trio.sleep(3600)
    feed.listeners = [SOMEBODY]
    await feed.fresh()
    made = feed.event
    await trio.sleep(EVERY / 2)
    feed.beside()
    assert feed.event != made


async def test_a_bug_costs_a_picture_and_is_told_once_a_minute(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: the daemon goes on without it."""
    bugs: list[BaseException] = []
    feed = feed_of(bugs)
    feed.listeners = [SOMEBODY]

    async def look() -> Picture:
        raise ZeroDivisionError("never thought of")

    nursery.start_soon(feed.keep_up)
    nursery.start_soon(feed.look_on, look)
    await trio.sleep(61.5)
    assert [type(bug) for bug in bugs] == [ZeroDivisionError] * 2
    assert b"the log tells more" in feed.body


async def test_the_desk_does_one_thing_at_a_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: the streams have the other connections; a crowd is sent away."""
    desk = Desk()
    with pytest.raises(StoreUnavailable, match="can't be asked yet"):
        await desk.do(trio.sleep_forever)
    nursery.start_soon(desk.run)
    await trio.testing.wait_all_tasks_blocked()
    at_once = most = 0

    async def work() -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(0.1)
        at_once -= 1
        return 7

    refused = 0

    async def ask() -> None:
        nonlocal refused
        try:
            assert await desk.do(work) == 7
        except Crowded:
            refused += 1

    async with trio.open_nursery() as crowd:
        for _ in range(CROWD + 5):
            crowd.start_soon(ask)
    assert (most, refused) == (1, 5)


async def test_nobody_waits_for_ever_at_the_desk(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: not for a silent Postgres, and not when the daemon leaves."""
    desk = Desk()
    scope = trio.CancelScope()

    async def serve() -> None:
        with scope:
            await desk.run()

    nursery.start_soon(serve)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    with pytest.raises(StoreUnavailable, match="has not answered within 10 s; look at it"):
        await desk.do(trio.sleep_forever, "; look at it")
    assert trio.current_time() - began == pytest.approx(PATIENCE)

    async def leave() -> None:
        await trio.sleep(1)
        scope.cancel()

    nursery.start_soon(leave)
    with pytest.raises(StoreUnavailable, match="leaving"):
        await desk.do(trio.sleep_forever)


async def test_who_asks_the_same_within_a_second_gets_the_same(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """contained: what reads is looked up once for all."""
    desk = Desk()
    nursery.start_soon(desk.run)
    await trio.testing.wait_all_tasks_blocked()
    asked = 0

    async def work() -> int:
        nonlocal asked
        asked += 1
        return asked

    async def fails() -> int:
        raise ZeroDivisionError

    assert [await desk.look(("x",), work) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(ZeroDivisionError):
        await desk.look(("w",), fails)
    assert await desk.look(("y",), work) == 2
    await trio.sleep(1.1)
    assert await desk.look(("x",), work) == 3
    for number in range(1000):
        await desk.look(("z", number), work)
    assert len(desk._kept) <= 32
