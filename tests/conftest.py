"""A Postgres of the test session's own, and a fresh database on it for whoever asks.

The server is the embedded one, started when the first test asks for a database and
stopped when the session ends.  Tests marked `debian_postgres` ask for the one that the
distribution installs instead.
"""

from collections.abc import Iterator

import pytest

from tests import promises
from tests.real import figures
from tests.servers import Servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `-k resume` select the tests that hold that promise."""
    for item in items:
        if isinstance(item, pytest.Function):
            item.extra_keyword_matches |= promises.of(item.name, item.function.__doc__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have told."""
    reports = terminalreporter.stats
    for line in figures.sentences(reports.get("passed", []), reports.get("failed", [])):
        terminalreporter.write_line(line)


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
