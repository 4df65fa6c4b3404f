"""The crash matrix: the real daemon, or its Postgres, killed before and after each step.

Each cell is one step on one page.  The daemon is then started again, or Postgres is, until
the cycle ends; whatever was done must be there once, and nothing may have been done twice.
"""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
import trio
from psycopg import sql

from mock_api.testing import MockServer, running_mock
from syncd.app.database import table
from syncd.config.load import load
from syncd.store.embedded import embedded_server
from syncd.store.postgres import open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config
from tests.daemon.crashing import CALL, CRASHED, FETCH, STEPS
from tests.daemon.proof import SECRETS, Proof, copied, proof
from tests.daemon.running import AT_ONCE, RESTS, daemon

SPEED = 200.0
SIZE = 4
PAGES = {"first": 1, "middle": 2, "last": 3}
RECORDS = SIZE * len(PAGES)

ONLY = os.environ.get("SYNCD_CELLS", "")
"""Replay some with SYNCD_CELLS='middle: sent commit', a part of their names."""


@attrs.frozen
class Cell:
    """One kill."""

    page: str
    step: str
    never: bool = False
    """A call whose outcome is unknown may not be made again."""

    def __str__(self) -> str:
        return f"{self.page}: {self.step}{', never repeated' if self.never else ''}"

    @property
    def number(self) -> int:
        return PAGES[self.page]

    @property
    def repeat(self) -> str:
        return 'repeat = "never"' if self.never else 'repeat = "with-key"'

    @property
    def halved(self) -> bool:
        return "halved" in self.step


CELLS = [cell for page in PAGES for step in STEPS if ONLY in str(cell := Cell(page, step))]
NEVER = [
    cell
    for page in PAGES
    for step in STEPS
    if step.split()[1] in CALL and ONLY in str(cell := Cell(page, step, never=True))
]
Kill = Callable[[Cell, str, Path], AbstractAsyncContextManager[None]]


def in_flight(cell: Cell) -> set[str]:
    """The calls that may have had an unknown outcome, and so may be made twice."""
    step = cell.step.split()[1]
    before, of_page, after = (called(cell.number + n) for n in (-1, 0, 1))
    if step in FETCH:
        # While the last calls of a page are in flight, the next one is fetched …
        return before
    if step not in CALL:
        return after
    if cell.step in ("after call-settled", "before call-intent"):
        of_page.discard(the_one(cell))
    # … and its calls begin.
    return before | of_page | after


def called(page: int) -> set[str]:
    """The records of a page that are called for: all but the first, which is no good."""
    return {f"camp_{n}" for n in range((page - 1) * SIZE + 2, page * SIZE + 1) if page}


def the_one(cell: Cell) -> str:
    return f"camp_{(cell.number - 1) * SIZE + 2}"


def crash_at(cell: Cell, **more: str) -> dict[str, str]:
    call = f'["{the_one(cell)}"]'
    return {"CRASH_STEP": cell.step, "CRASH_PAGE": str(cell.number), "CRASH_CALL": call, **more}


async def made_bad(mock: MockServer, cell: Cell) -> int:
    """One record on each page breaks the contract, and maybe one the table's rule; how many."""
    for page in PAGES.values():
        await mock.change(f"camp_{(page - 1) * SIZE + 1}", impressions="many")
        if cell.halved:
            await mock.change(f"camp_{page * SIZE}", name="refused")
    return len(PAGES) * (2 if cell.halved else 1)


async def template(database: str, folder: Path) -> None:
    """Make the tables, with a rule of the user's own."""
    path = folder / "template.toml"
    path.write_text(config("http://127.0.0.1:1", database, speed=SPEED, size=SIZE), "utf-8")
    stream = load(path, environ=SECRETS).sources["adplatform"].streams["campaigns"]
    async with open_store(database) as store:
        await store.make_table(table(stream))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE campaigns ADD CHECK (name <> 'refused')")


def assert_whole(cell: Cell, found: Proof, dead: int, said: str) -> None:
    """What must hold in each cell."""
    told = f"{cell}\n{found}\n{said}"
    assert (found.missing, found.differing, found.dead) == (dead, 0, dead), told
    assert (found.outcome, found.balanced, found.seen) == ("ok", True, RECORDS), told
    assert found.pages == len(PAGES), told
    assert found.unrepeated, told
    assert found.fullest <= 10, told
    assert found.refused == 0, told


# --- the daemon is killed ----------------------------------------------------------------------


async def killed_daemon(cell: Cell, database: str, folder: Path) -> None:
    """Killed at the step, started again, and left in peace."""
    syncd = Syncd(folder / f"{cell.page}-{cell.step.replace(' ', '-')}.toml")
    async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
        dead = await made_bad(mock, cell)
        syncd.write(config(*(mock.base_url, database), speed=SPEED, size=SIZE, call=cell.repeat))
        async with daemon(syncd, "tests.daemon.crashing", environ=crash_at(cell)) as first:
            await first.ended_or_said(RESTS)
        assert RESTS not in first.said, f"the step was not met\n{first.said}"
        assert first.process.returncode == -signal.SIGKILL, first.said
        async with open_store(database) as store:
            standing = await store.standing(CAMPAIGNS)
        asked = await mock.requests()
        async with daemon(syncd) as second:
            await second.leave()
        again = pages_of([e for e in await mock.requests() if e["seq"] > len(asked)])
        found = await proof(mock, database, syncd.path)
    said = f"{first.said}\n{second.said}"
    if cell.never:
        unknown = found.dead - dead
        assert unknown in range(len(in_flight(cell)) + 1), said
        # Its intent is stored: whether it was sent nobody can tell.
        assert unknown > 0 or cell.step in ("before call-intent", "after call-settled"), said
        assert max(found.calls.values()) == 1, f"{cell}\n{found}\n{said}"
        dead = found.dead
    assert_whole(cell, found, dead, said)
    committed = {f"page={n}" for n in range(1, standing.pages + 1)}
    assert not again & committed, f"{cell}: {again} asked again\n{said}"
    twice = {call for call, times in found.calls.items() if times > 1}
    assert twice <= in_flight(cell), f"{cell}: {twice} called again\n{said}"
    assert set(found.calls.values()) <= {1, 2}, said


def pages_of(journal: Sequence[dict[str, Any]]) -> set[str]:
    return {e["query"].split("&")[0] for e in journal if e["path"] == "/api/campaigns"}


# --- its Postgres is killed --------------------------------------------------------------------


async def killed_postgres(
    cell: Cell, database: str, folder: Path, revive: Callable[[], Any]
) -> None:
    """Killed at the step, started again while the daemon waits for it."""
    syncd = Syncd(folder / f"{cell.page}-{cell.step.replace(' ', '-')}.toml")
    server = Path(str(psycopg.conninfo.conninfo_to_dict(database)["host"]))
    at = crash_at(cell, CRASH_POSTGRES=str(server / "postmaster.pid"))
    async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
        dead = await made_bad(mock, cell)
        syncd.write(config(*(mock.base_url, database), speed=SPEED, size=SIZE, call=cell.repeat))
        async with daemon(syncd, "tests.daemon.crashing", environ=at) as running:
            await running.until(CRASHED)
            await revive()
            await running.leave()
        found = await proof(mock, database, syncd.path)
    assert_whole(cell, found, dead, running.said)
    # What the daemon holds in its hands it need not ask for again.
    told = f"{cell}\n{found}\n{running.said}"
    assert found.answered == {f"page={n}": 1 for n in PAGES.values()}, told
    assert set(found.calls.values()) == {1}, told


# --- all cells, a few at once ------------------------------------------------------------------


async def each(cells: Sequence[Cell], folder: Path, *, of_postgres: bool) -> None:
    """Take the cells, by workers that each have a server of their own."""
    todo = list(enumerate(cells))[::-1]
    failed: list[str] = []

    async def work(number: int) -> None:
        home = folder / f"worker{number}"
        home.mkdir(mode=0o711, parents=True)
        async with embedded_server(home / "state") as server:
            inside = f"host={server.place.data} dbname=postgres user=postgres"
            made = await copied(inside.replace("dbname=postgres", "dbname=template1"), "made")
            await template(made, home)
            while todo:
                at, cell = todo.pop()
                own = await copied(made, f"cell_{at}")
                try:
                    if of_postgres:
                        await killed_postgres(cell, own, home, server.revive)
                    else:
                        await killed_daemon(cell, own, home)
                except (AssertionError, trio.TooSlowError, ExceptionGroup) as error:
                    failed.append(f"SYNCD_CELLS='{cell}': {told(error)}")
                    await server.revive()

    async with trio.open_nursery() as nursery:
        for number in range(min(AT_ONCE, len(todo))):
            nursery.start_soon(work, number)
    assert not failed, "\n\n".join([f"{len(failed)} of {len(cells)} cells", *failed])


def told(error: BaseException) -> str:
    """The words of an error, or of those in a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(told(e) for e in error.exceptions)
    return f"{type(error).__name__}: {error}"


ASYNCHRONOUS = {
    "synchronous_commit": "off",
    # Nothing is flushed by itself for as long as a cycle takes.
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
}


@pytest.mark.long
@pytest.mark.parametrize("step", ["after commit", "after call-settled"])
async def test_where_commits_are_asynchronous_a_crash_of_postgres_takes_nothing_back(
    place: Path, step: str
) -> None:
    """resume, budget, no-blind-repeat: the operator's synchronous_commit is not ours."""
    async with embedded_server(place / "state") as server:
        made = f"host={server.place.data} dbname=template1 user=postgres"
        with psycopg.connect(made, autocommit=True) as admin:
            for name, value in ASYNCHRONOUS.items():
                admin.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
                )
            admin.execute("SELECT pg_reload_conf()")
        database = await copied(made, "own")
        await template(database, place)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("CHECKPOINT")
        await killed_postgres(Cell("middle", step), database, place, server.revive)


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("of_postgres", [False, True], ids=["daemon", "postgres"])
async def test_killed_at_each_step_nothing_is_lost_or_doubled(
    place: Path, page: str, of_postgres: bool, figure: Callable[[str], None]
) -> None:
    """resume, page-atomic, no-blind-repeat, budget, accounted: either of them by kill -9."""
    cells = [cell for cell in CELLS if cell.page == page]
    await each(cells, place, of_postgres=of_postgres)
    victim = "Postgres" if of_postgres else "the daemon"
    figure(f"{len(cells)} cells: {victim} killed on the {page} page")


@pytest.mark.long
@pytest.mark.parametrize("of_postgres", [False, True], ids=["daemon", "postgres"])
async def test_killed_in_a_call_that_may_not_be_repeated_it_is_not(
    place: Path, of_postgres: bool, figure: Callable[[str], None]
) -> None:
    """no-blind-repeat, accounted: the record is put aside, and no call is ever made twice."""
    await each(NEVER, place, of_postgres=of_postgres)
    figure(f"{len(NEVER)} cells: killed in calls that may not be repeated")
