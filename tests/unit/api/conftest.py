"""The scripted server, and a clock that jumps over waits but not over sockets."""

import pytest
import trio
import trio.testing
from hypothesis import settings

from tests.unit.api.rawserver import NotingPermit, RawServer

# A laptop that is busy with something else is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def jumping() -> trio.testing.MockClock:
    """Jumps when nothing has happened for a while: what a loopback socket holds comes first."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@pytest.fixture
async def server(nursery: trio.Nursery) -> RawServer:
    server = RawServer()
    await nursery.start(server.serve)
    return server


@pytest.fixture
def permit() -> NotingPermit:
    return NotingPermit()
