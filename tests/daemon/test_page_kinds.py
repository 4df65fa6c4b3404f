"""Each kind of paging, and each trouble that its list can make: the table in docs/guarantees.md.

The real daemon, a real Postgres, and a server of the test's own that serves one list in every
kind (`tests.daemon.listing`).  Twenty things, four a page.
"""

import signal

import pytest

from tests.daemon.conftest import Syncd
from tests.daemon.listing import ALL, PAGED, SIZE, THINGS, Kind, Listing, Whole, config, listing
from tests.daemon.looking import Database
from tests.daemon.running import RESTS, daemon

PARKED = "stream parked"


def cells(kinds: tuple[Kind, ...], default: str) -> pytest.MarkDecorator:
    """Each kind is a test; the default run has one of them."""
    return pytest.mark.parametrize(
        "kind",
        [
            pytest.param(k, id=k.name, marks=() if k.name == default else pytest.mark.long)
            for k in kinds
        ],
    )


def pages(kind: Kind, size: int = SIZE) -> int:
    """So many pages has a cycle: where nothing else tells, an empty one is the last."""
    if isinstance(kind, Whole):
        return 1
    return -(-THINGS // size) + kind.until_empty


def places(many: int, size: int = SIZE) -> list[int]:
    """So many requests of a cycle: how many things stand before, which are numbered from one."""
    return [min(size * n, THINGS) for n in range(many)]


@cells(ALL, "number")
async def test_kill_9_in_the_middle_of_page_3(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """resume: the next life goes on behind what is committed, and commits nothing twice."""
    middle = min(3, pages(kind))
    async with listing(kind) as api:
        syncd.write(config(api.base_url, postgres, kind))
        half = api.halve(middle)
        async with daemon(syncd) as first:
            await half.wait()
            first.process.kill()
        at = Database(postgres)
        await at.left()
        committed = (await at.checkpoint())["pages"]
        assert committed < middle
        async with daemon(syncd) as second:
            await second.leave()
        # Page 3 is asked for twice, and of the others what was fetched ahead of its commit.
        whole = places(pages(kind))
        assert api.places == [*whole[:middle], *whole[committed:]]
        assert await at.things() == api.seen
        (cycle,) = await at.cycles()
        assert (cycle["outcome"], cycle["pages"]) == ("ok", pages(kind))
        assert (cycle["seen"], cycle["written"]) == (THINGS, THINGS)


@cells(tuple(kind for kind in PAGED if kind.foreseen), "offset")
async def test_kill_9_with_several_pages_under_way(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """resume: whichever of them had come, the next life goes on behind what is committed."""
    async with listing(kind) as api:
        syncd.write(config(api.base_url, postgres, kind, connections=4))
        second, gate = api.gate(2), api.gate(3)
        async with daemon(syncd) as first:
            await second.wait()
            await gate.wait()
            # Both wait for their answers at once.
            second.open()
            await api.until_asked(4)
            first.process.kill()
        gate.open()
        at = Database(postgres)
        await at.left()
        committed = (await at.checkpoint())["pages"]
        async with daemon(syncd) as again:
            await again.leave()
        assert committed < pages(kind)
        assert {*api.places} == {*places(pages(kind))}
        assert await at.things() == api.seen
        (cycle,) = await at.cycles()
        assert (cycle["outcome"], cycle["pages"]) == ("ok", pages(kind))
        assert (cycle["seen"], cycle["written"]) == (THINGS, THINGS)


@cells(PAGED, "link")
async def test_loop(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """contained: it parks before the page that leads back, says why, and goes on when mended."""
    async with listing(kind) as api:
        api.leads_back = (3, 2)
        syncd.write(config(api.base_url, postgres, kind))
        at = Database(postgres)
        async with daemon(syncd) as running:
            await running.until(PARKED)
            assert len(api.asked) == 3
            assert "compare `page` with its documentation" in running.said
            checkpoint = await at.checkpoint()
            assert checkpoint["pages"] == 2
            assert "page 3" in checkpoint["parked"]
            api.leads_back = None
            await at.ask("resume")
            await running.leave()
        assert api.places == [*places(3), *places(pages(kind))[2:]]
        assert await at.things() == api.seen
        (cycle,) = await at.cycles()
        assert (cycle["outcome"], cycle["seen"]) == ("ok", THINGS)


@cells(tuple(kind for kind in PAGED if kind.by_place), "offset")
async def test_loop_behind_the_end(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """contained: a list that begins again is noticed, by a page's name or by what comes again."""
    async with listing(kind) as api:
        api.wraps = True
        syncd.write(config(api.base_url, postgres, kind))
        at = Database(postgres)
        async with daemon(syncd) as running:
            await running.until(PARKED)
        # Only the second time around can it be told.
        assert len(api.asked) == (2 * 5 if kind.counted else 5 + 1)
        assert "so the list would never end" in running.said
        assert await at.things() == api.seen
        assert (await at.cycles())[0]["outcome"] is None


@cells(ALL, "cursor in the body")
async def test_empty_page(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """no-delete-on-absence: a page without records ends a list where nothing else can tell."""
    async with listing(kind) as api:
        syncd.write(config(api.base_url, postgres, kind))
        whole = dict(api.seen)
        at = Database(postgres)
        async with daemon(syncd) as running:
            await running.until(RESTS)
            # The third page has nothing on it that this account may see, and more follow.
            api.hidden = set(range(9, 13))
            await at.ask("reconcile")
            await running.until(RESTS, 2)
            if kind.until_empty:
                # What is behind it was not met; two scans or not, that is too much to be gone.
                assert "deletes are held until someone approves them" in running.said
                assert (await at.cycles())[-1]["seen"] == 8
                assert (await at.things(), await at.gone()) == (whole, set())
            else:
                assert (await at.cycles())[-1]["seen"] == 16
                assert (await at.things(), await at.gone()) == (api.seen, api.hidden)
            # And the first one has nothing at all.
            api.things, api.hidden = {}, set()
            before = await at.things()
            await at.ask("reconcile")
            await running.until(RESTS, 3)
            last = (await at.cycles())[-1]
            assert (last["outcome"], last["seen"]) == ("suspicious", 0)
            assert await at.things() == before
            api.things = whole
            await at.ask("sync")
            await running.until(RESTS, 4)
        assert (await at.things(), await at.gone()) == (whole, set())


@cells(PAGED, "keyset")
async def test_shifted_rows(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """no-delete-on-absence: one that slips by is met by another pass, and none is marked for it."""
    async with listing(kind) as api:
        syncd.write(config(api.base_url, postgres, kind))
        at = Database(postgres)
        async with daemon(syncd) as running:
            await running.until(RESTS)
            # One leaves and one comes in, so that the total stays: an ordinary cycle can't tell.
            slipped = await moved(api, at, comes_in=True)
            await running.until(RESTS, 2)
            assert len(await at.cycles()) == 2
            assert (slipped in (await at.rows())) is not kind.by_place
            await at.ask("sync")
            await running.until(RESTS, 3)
            assert api.seen.items() <= (await at.things()).items()
            # One leaves: the total tells, and a second pass follows at once.
            await moved(api, at, comes_in=False)
            await running.until(RESTS, 4)
            first, second = (await at.cycles())[3:]
            assert "a second pass follows" in first["reason"]
            assert (first["written"], second["written"]) == ((0, 1) if kind.by_place else (1, 0))
            assert api.seen.items() <= (await at.things()).items()
            # A scan looks at the first page again, and sees it even though the total stays.
            syncd.write(config(api.base_url, postgres, kind, scans=True))
            running.process.send_signal(signal.SIGHUP)
            await running.until(RESTS, 5)
            await moved(api, at, comes_in=True)
            await running.until(RESTS, 6)
            first, second = (await at.cycles())[5:7]
            assert "the first page changed while the others were read" in first["reason"]
            assert (first["written"], second["written"]) == ((1, 1) if kind.by_place else (2, 0))
        assert api.seen.items() <= (await at.things()).items()
        assert not await at.gone() & set(api.seen)


async def moved(api: Listing, at: Database, *, comes_in: bool) -> tuple[int, str]:
    """Have a cycle begin; between its second page and its third one a thing of the first page goes.

    The thing that is first on the third page, and so moves up to the second, was changed
    meanwhile: it is what may slip by.
    """
    gate = api.next_gate(3)
    await at.ask("sync")
    await gate.wait()
    numbers = sorted(api.things)
    del api.things[numbers[1]]
    if comes_in:
        api.things[numbers[-1] + 1] = "new"
    changed = numbers[2 * SIZE]
    api.things[changed] = f"changed, for {numbers[1]} is gone"
    gate.open()
    return changed, api.things[changed]


@cells(PAGED, "url in the body")
async def test_another_page_size_in_mid_cycle(kind: Kind, syncd: Syncd, postgres: str) -> None:
    """all-or-nothing-reload: the cycle begins anew, so that none has pages of two sizes."""
    async with listing(kind) as api:
        syncd.write(config(api.base_url, postgres, kind))
        gate = api.gate(3)
        async with daemon(syncd) as running:
            await gate.wait()
            syncd.write(config(api.base_url, postgres, kind, size=3))
            running.process.send_signal(signal.SIGHUP)
            await running.until("config reloaded")
            gate.open()
            await running.leave()
        many = pages(kind, 3)
        assert [kind.size(each) for each in api.asked] == [SIZE] * 3 + [3] * many
        assert api.places == [*places(3), *places(many, 3)]
        at = Database(postgres)
        first, second = await at.cycles()
        # The page that was in flight is the last one of the old size.
        assert (first["outcome"], first["pages"]) == ("abandoned", 3)
        assert "page" in first["reason"]
        assert (second["outcome"], second["pages"], second["seen"]) == ("ok", many, THINGS)
        assert await at.things() == api.seen
