"""One suite for the store in memory and the real one: both have to keep the same promises.

Both run on the real clock: one that jumps would run on while threads wait for Postgres.
So the few tests of time use tenths of a second, and look only at what can't come too early.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from syncd.store.postgres import open_store
from tests.contract.subjects import FakeSubject, PostgresSubject, Subject
from tests.servers import Servers

KINDS = ["fake", "embedded", pytest.param("debian", marks=pytest.mark.debian_postgres)]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str | None]:
    """The conninfo of a fresh database, or None for the store in memory."""
    if request.param == "fake":
        yield None
        return
    with servers[request.param].fresh_database() as conninfo:
        yield conninfo


@pytest.fixture
async def subject(place: str | None) -> AsyncIterator[Subject]:
    """A store under test: in memory, and on Postgres."""
    if place is None:
        yield FakeSubject()
        return
    async with open_store(place) as store:
        yield PostgresSubject(store, place)


@pytest.fixture
async def real(postgres: str) -> AsyncIterator[PostgresSubject]:
    """The store on Postgres, for what only Postgres can do."""
    async with open_store(postgres) as store:
        yield PostgresSubject(store, postgres)
