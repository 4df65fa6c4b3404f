"""A Postgres of the test session's own, and a fresh database on it for whoever asks.

The server is the embedded one, started when the first test asks for a database and
stopped when the session ends.  Tests marked `debian_postgres` ask for the one that the
distribution installs instead.  Where tests run beside each other (`-n 3`), each worker is
a session with servers of its own.
"""

import functools
from collections.abc import Callable, Iterator

import pytest

from tests import promises
from tests.real import figures
from tests.servers import Servers
from tests.turns import turn

FIGURE = "figure"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let `-k resume` select the tests that hold that promise."""
    for item in items:
        if isinstance(item, pytest.Function):
            item.extra_keyword_matches |= promises.of(item.name, item.function.__doc__)
    if hasattr(config, "workerinput"):
        # Whoever begins a long one last has the others wait for it.
        items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    if item.get_closest_marker("alone"):
        return 9
    marks = ("early", "long", "systemd")
    return next((n for n, mark in enumerate(marks) if item.get_closest_marker(mark)), len(marks))


@pytest.fixture(autouse=True)
def _in_turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[None]:
    """A test that is marked `alone` is that, also where tests run beside each other."""
    if worker_id == "master":
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    with turn(tmp_path_factory.getbasetemp().parent, alone=alone):
        yield


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have counted, in one place: beside each other they can't print."""
    reports = [r for r in terminalreporter.getreports("passed") if r.when == "call"]
    told = [text for r in reports for name, text in r.user_properties if name == FIGURE]
    told += figures.sentences(reports, terminalreporter.getreports("failed"))
    if told:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(told))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says at the end of the run what a test has counted."""
    return functools.partial(record_property, FIGURE)


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
