"""Promises resume and page-atomic where pages are fetched ahead of their commit."""

from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from syncd.errors import ApiUnavailable, Draining, TryAgain
from syncd.sync import line
from syncd.sync.known import KnownPage
from syncd.sync.model import Checkpoint, Committed, Page, PageCommit, Reject, Table
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import FakeSource, FakeStore
from syncd.testing.api import Asked, Fault
from syncd.testing.kept import Trouble
from tests.flow.conftest import World

COMMIT = 5.0  # seconds, in which many pages are fetched


@attrs.define(eq=False)
class Together(FakeStore):
    """A slow store that notes which pages were committed together, and what was asked by then."""

    commits: list[list[str | None]] = attrs.field(factory=list, init=False)

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        await trio.sleep(COMMIT)
        done = await super().commit_pages(table, checkpoint, pages)
        self.commits.append([page.next_cursor for page in pages])
        return done


@attrs.define(eq=False)
class Plain(FakeSource):
    """Pages without calls, of which each is said to have so many bytes."""

    size: int = 1000
    refuses: str = ""
    """The id of a record that breaks its contract."""

    fetched: list[str | None] = attrs.field(factory=list, init=False)

    async def fetch(
        self,
        cursor: str | None,
        permit: Permit,
        since: str | None = None,
        known: KnownPage | None = None,
    ) -> Page:
        page = await super().fetch(cursor, permit, since, known)
        self.fetched.append(cursor)
        good = [r for r in page.records if r.fields["id"] != b'"%s"' % self.refuses.encode()]
        bad = [Reject(key=r.key, reason="bad", raw=r.raw) for r in page.records if r not in good]
        return attrs.evolve(page, size=self.size, records=good, rejects=bad)


def listed(*, records: int = 300, requests: int | None = None, size: int = 1000) -> World:
    world = World(store=Together(), requests=requests)
    world.source = Plain(api=world.api, has_call=False, size=size)
    world.api.fill(records)
    return world


def plain(world: World) -> Plain:
    assert isinstance(world.source, Plain)
    return world.source


def together(world: World) -> list[int]:
    """How many pages each commit held."""
    assert isinstance(world.store, Together)
    return [len(commit) for commit in world.store.commits]


def page_fails(number: int) -> Fault:
    async def fails(asked: Asked) -> None:
        if asked.what == f"page {number}":
            raise ApiUnavailable("503", sent="refused")

    return fails


def only_the_second(*, carried_out: bool) -> Callable[[str], Trouble]:
    """Trouble with the second commit, in which many pages are."""
    commits = 0

    def befalls(method: str) -> Trouble:
        nonlocal commits
        commits += method == "commit_pages"
        lost = method == "commit_pages" and commits == 2
        return Trouble(lost=("answer" if carried_out else "request") if lost else "")

    return befalls


async def test_resume_pages_that_came_during_a_commit_are_committed_together(
    autojump_clock: MockClock,
) -> None:
    """In their order, each once, and no more than may wait."""
    world = listed()
    done = await world.cycle()
    assert (done.outcome, done.totals.seen, done.totals.written) == ("ok", 300, 300)
    assert world.pages_asked() == [*range(1, 31)]
    assert sum(together(world)) == 30
    assert together(world)[0] == 1, "the first is not kept waiting"
    assert max(together(world)) == line.PAGES - 1, "those that came during the one before"
    assert len(world.rows) == 300


async def test_what_waits_is_bounded_by_its_bytes(autojump_clock: MockClock) -> None:
    """Two pages of half of it each, and the one that is committed."""
    world = listed(size=line.BYTES // 2)
    await world.cycle()
    assert max(together(world)) <= 2
    assert len(plain(world).fetched) == 30


async def test_with_a_budget_a_page_is_fetched_when_the_one_before_is_committed(
    autojump_clock: MockClock,
) -> None:
    """Else a death would cost more requests than one."""
    world = listed(records=50, requests=100)
    await world.cycle()
    assert together(world) == [1] * 5


async def test_contained_a_page_that_puts_records_aside_stands_alone(
    autojump_clock: MockClock,
) -> None:
    """After each of them it is looked whether so many are too many."""
    world = listed(records=100)
    plain(world).refuses = "c35"
    done = await world.cycle()
    assert done.totals.dead == 1
    assert isinstance(world.store, Together)
    with_it = [commit for commit in world.store.commits if "5" in commit]
    assert [len(commit) for commit in with_it] == [1]


async def test_resume_a_page_that_fails_ahead_costs_no_page_before_it(
    autojump_clock: MockClock,
) -> None:
    """They are committed, the cycle fails where it stands, and goes on there."""
    world = listed()
    world.retries = 0
    world.api.faults = page_fails(12)
    with pytest.raises(TryAgain):
        await world.cycle()
    assert len(world.rows) == 110
    world.api.faults = None
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 300)
    assert world.pages_asked() == [*range(1, 13), *range(12, 31)]


async def test_resume_pages_fetched_ahead_of_a_commit_that_failed_are_no_loop(
    autojump_clock: MockClock,
) -> None:
    """They are asked for once more by the same process."""
    world = listed()
    world.retries = 0
    async with world.process() as stream:
        stream.retry = attrs.evolve(stream.retry, patience=1.0)
        world.store.away = True
        with pytest.raises(TryAgain):
            await run_cycle(stream)
        world.store.away = False
        done = await run_cycle(stream)
    assert (done.outcome, done.totals.seen) == ("ok", 300)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_page_atomic_pages_whose_commit_had_no_answer_count_once(
    autojump_clock: MockClock, carried_out: bool
) -> None:
    world = listed()
    async with world.process() as stream:
        world.store.troubles = only_the_second(carried_out=carried_out)
        done = await run_cycle(stream)
    assert (done.totals.seen, done.totals.written) == (300, 300)
    assert world.pages_asked() == [*range(1, 31)]


async def test_at_the_boundary_nothing_has_begun(autojump_clock: MockClock) -> None:
    """What was fetched ahead is committed first."""
    world = listed()
    async with world.process() as stream:
        async with trio.open_nursery() as nursery:

            async def halt() -> None:
                await trio.sleep(COMMIT / 2)
                stream.stop_at_boundary()

            nursery.start_soon(halt)
            halted = await run_cycle(stream)
        assert halted.outcome is None
        asked = world.pages_asked()
        assert len(world.rows) == 10 * len(asked) < 300
        stream.run_on()
        done = await run_cycle(stream, halted.checkpoint)
    assert done.outcome == "ok"
    assert world.pages_asked() == [*range(1, 31)]


async def test_drain_what_was_fetched_ahead_is_committed_and_asked_for_no_more(
    autojump_clock: MockClock,
) -> None:
    """drain, resume: nothing further is begun, and the next life goes on behind all of it."""
    world = listed()

    async def leave() -> None:
        await trio.sleep(COMMIT / 2)
        world.waits.end()

    async with world.process() as stream, trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        with pytest.raises(Draining):
            await run_cycle(stream)
    asked = len(world.pages_asked())
    assert 1 < asked <= line.PAGES
    assert len(world.rows) == 10 * asked
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 300)
    assert world.pages_asked() == [*range(1, 31)]
