"""A Postgres of the test session's own, and a fresh database on it for whoever asks.

The server is the embedded one, started when the first test asks for a database and
stopped when the session ends.  Tests marked `debian_postgres` ask for the one that the
distribution installs instead.
"""

from collections.abc import Iterator

import pytest

from tests.servers import Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers; none is started before a test asks for it."""
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture(params=["embedded", pytest.param("debian", marks=pytest.mark.debian_postgres)])
def postgres(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str]:
    """The conninfo of a fresh, empty database; the role is a superuser."""
    with servers[request.param].fresh_database() as conninfo:
        yield conninfo
