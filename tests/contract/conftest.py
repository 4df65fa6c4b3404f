"""One suite for the store in memory and the real one: both have to keep the same promises.

Both run on the real clock: one that jumps would run on while threads wait for Postgres.
So the few tests of time use tenths of a second, and look only at what can't come too early.
"""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import trio

from syncd.store.postgres import open_store
from tests.contract.subjects import FakeSubject, PostgresSubject, Subject
from tests.servers import Servers

KINDS = ["fake", "embedded", pytest.param("debian", marks=pytest.mark.debian_postgres)]


EMPTY = """
DROP TABLE IF EXISTS campaigns;
TRUNCATE syncd.lease, syncd.cycle, syncd.checkpoint, syncd.budget, syncd.token, syncd.call,
    syncd.dead_letter, syncd.request, syncd.seen, syncd.missing, syncd.page,
    syncd.event, syncd.drift, syncd.evolved, syncd.kept_out, syncd.known_page,
    syncd.met_page RESTART IDENTITY
"""


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str | None]:
    """The conninfo of a database for a file of tests, or None for the store in memory."""
    if request.param == "fake":
        yield None
        return
    with servers[request.param].fresh_database() as conninfo:
        trio.run(_migrate, conninfo)
        yield conninfo


async def _migrate(conninfo: str) -> None:
    async with open_store(conninfo):
        pass


@pytest.fixture
async def subject(place: str | None) -> AsyncIterator[Subject]:
    """A store under test: in memory, and on Postgres."""
    if place is None:
        yield FakeSubject()
        return
    async with open_store(place) as store:
        yield PostgresSubject(store, place)
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(EMPTY)


@pytest.fixture
async def real(postgres: str) -> AsyncIterator[PostgresSubject]:
    """The store on Postgres, for what only Postgres can do."""
    async with open_store(postgres) as store:
        yield PostgresSubject(store, postgres)
