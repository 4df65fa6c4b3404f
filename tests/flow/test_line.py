"""Promises resume and page-atomic where pages are fetched ahead of their commit."""

from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from syncd.errors import ApiUnavailable, Draining, TryAgain, UnexpectedAnswer
from syncd.sync import line
from syncd.sync.known import KnownPage
from syncd.sync.model import Checkpoint, Committed, Page, PageCommit, Reject, Table
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import FakeSource, FakeStore, record
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
    abreast: list[int] = attrs.field(factory=list, init=False)
    """How many requests were under way when each was made, with it."""

    _flying: int = 0

    async def fetch(
        self,
        cursor: str | None,
        permit: Permit,
        since: str | None = None,
        known: KnownPage | None = None,
    ) -> Page:
        self._flying += 1
        self.abreast.append(self._flying)
        try:
            page = await super().fetch(cursor, permit, since, known)
        finally:
            self._flying -= 1
        self.fetched.append(cursor)
        good = [r for r in page.records if r.fields["id"] != b'"%s"' % self.refuses.encode()]
        bad = [Reject(key=r.key, reason="bad", raw=r.raw) for r in page.records if r not in good]
        return attrs.evolve(page, size=self.size, records=good, rejects=bad)


def listed(*, records: int = 600, requests: int | None = None, size: int = 1000) -> World:
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
    assert (done.outcome, done.totals.seen, done.totals.written) == ("ok", 600, 600)
    assert sorted(world.pages_asked()) == [*range(1, 61)]
    assert sum(together(world)) == 60
    assert together(world)[0] == 1, "the first is not kept waiting"
    assert max(together(world)) == line.PAGES // 2, "the other half comes meanwhile"
    assert len(world.rows) == 600


async def test_what_waits_is_bounded_by_its_bytes(autojump_clock: MockClock) -> None:
    """Two pages of half of it each, and the one that is committed."""
    world = listed(size=line.BYTES // 2)
    await world.cycle()
    assert max(together(world)) <= 2
    assert len(plain(world).fetched) == 60


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
    assert (done.outcome, done.totals.seen) == ("ok", 600)
    times = Counter(world.pages_asked())
    assert sorted(times) == [*range(1, 61)]
    twice = {page for page, n in times.items() if n > 1}
    assert {12} <= twice <= {*range(12, 12 + line.ABREAST)}


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
    assert (done.outcome, done.totals.seen) == ("ok", 600)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_page_atomic_pages_whose_commit_had_no_answer_count_once(
    autojump_clock: MockClock, carried_out: bool
) -> None:
    world = listed()
    async with world.process() as stream:
        world.store.troubles = only_the_second(carried_out=carried_out)
        done = await run_cycle(stream)
    assert (done.totals.seen, done.totals.written) == (600, 600)
    assert sorted(world.pages_asked()) == [*range(1, 61)]


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
        assert len(world.rows) == 10 * len(asked) < 600
        stream.run_on()
        done = await run_cycle(stream, halted.checkpoint)
    assert done.outcome == "ok"
    assert sorted(world.pages_asked()) == [*range(1, 61)]


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
    assert (done.outcome, done.totals.seen) == ("ok", 600)
    assert sorted(world.pages_asked()) == [*range(1, 61)]


# --- several pages at once ----------------------------------------------------------------------


async def test_pages_of_a_list_that_is_counted_through_are_asked_for_at_once(
    autojump_clock: MockClock,
) -> None:
    """After the first one, which tells how many there are; and no more than so many."""
    world = listed()
    await world.cycle()
    assert plain(world).abreast[0] == 1
    assert max(plain(world).abreast) == line.ABREAST
    assert sorted(world.pages_asked()) == [*range(1, 61)]


async def test_page_atomic_what_was_asked_for_on_a_guess_is_no_page_if_the_list_ends_before(
    autojump_clock: MockClock,
) -> None:
    """What is under way is awaited, for a login may be with it; it is asked for no more."""
    world = listed()
    ended: list[int] = []

    async def shortens(asked: Asked) -> None:
        page = int(asked.what.split()[1])
        if page == 12:
            world.api.records = dict(list(world.api.records.items())[:115])
        if page > 12:
            await trio.sleep(2 * COMMIT)
            ended.append(page)
            raise ApiUnavailable("503", sent="refused", hint=600.0)

    world.api.faults = shortens
    began = trio.current_time()
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 115)
    assert trio.current_time() - began < 10 * COMMIT
    behind = [page for page in world.pages_asked() if page > 12]
    assert 1 <= len(behind) < line.ABREAST
    assert sorted(ended) == sorted(behind), "none was cut short"
    assert {*world.api.records} == {*world.rows}


async def test_resume_a_list_that_leads_elsewhere_than_was_guessed_is_followed(
    autojump_clock: MockClock,
) -> None:
    """What a page says decides; from then on each is waited for."""
    world = listed()

    @attrs.define(eq=False)
    class Leaping(Plain):
        async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
            page = await super()._fetch(cursor, permit, since)
            return attrs.evolve(page, next_cursor="21") if cursor == "12" else page

    source = world.source = Leaping(api=world.api, has_call=False)
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 520)
    assert len(world.rows) == 520
    assert {*range(1, 13), *range(21, 61)} <= {*world.pages_asked()}
    assert source.abreast[-9:] == [1] * 9


@pytest.mark.parametrize("told", [False, True])
async def test_without_a_total_or_with_another_step_each_page_is_waited_for(
    autojump_clock: MockClock, told: bool
) -> None:
    """A server may give fewer records than it is asked for: a guess would be wrong each time."""
    world = listed()

    @attrs.define(eq=False)
    class Untold(Plain):
        async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
            page = await super()._fetch(cursor, permit, since)
            return page if told else attrs.evolve(page, total=None)

        def foreseen(self, cursor: str | None, total: int) -> str | None:
            return str(int(cursor or 1) + 2) if total else None

    source = world.source = Untold(api=world.api, has_call=False)
    await world.cycle()
    assert {*source.abreast} == {1}
    assert world.pages_asked() == [*range(1, 61)]


async def test_an_api_that_is_ill_is_asked_for_one_page_after_the_other(
    autojump_clock: MockClock,
) -> None:
    """contained: what it could not do at once may have been too much."""
    world = listed()
    failed: list[str] = []

    async def once(asked: Asked) -> None:
        if asked.what == "page 5" and not failed:
            failed.append(asked.what)
            raise ApiUnavailable("503", sent="refused")

    world.api.faults = once
    done = await world.cycle()
    assert (done.outcome, done.totals.seen) == ("ok", 600)
    assert max(plain(world).abreast[-15:]) == 1


async def test_no_delete_on_absence_a_scan_asks_in_the_order_of_its_list(
    autojump_clock: MockClock,
) -> None:
    """Of pages that are read in another order a record may slip by either way."""
    world = listed()
    world.reconcile = 0.0
    await world.cycle()
    assert {*plain(world).abreast} == {1}
    assert world.pages_asked()[:60] == [*range(1, 61)]


async def test_resume_a_list_that_is_always_the_same_page_is_found_out(
    autojump_clock: MockClock,
) -> None:
    """However many were asked for at once: none of those that come again is committed."""
    world = listed()

    @attrs.define(eq=False)
    class Deaf(Plain):
        async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
            page = await super()._fetch(cursor, permit, since)
            fourth = [self.api.records[f"c{n}"] for n in range(31, 41)]
            if int(cursor or 1) < 4:
                return page
            return attrs.evolve(page, records=[record(fields) for fields in fourth])

    world.source = Deaf(api=world.api, has_call=False)
    with pytest.raises(UnexpectedAnswer, match="page 5 holds the same 10 records as page 4"):
        await world.cycle()
    assert len(world.rows) == 40
    assert len(world.pages_asked()) <= 4 + 2 * line.ABREAST
