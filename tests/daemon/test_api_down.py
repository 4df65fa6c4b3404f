"""An API that goes down under a real daemon, and comes back."""

import json
import signal
from typing import Any

import pytest
import trio

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config, lines_until

SPEED = 60.0


async def breaker(syncd: Syncd) -> dict[str, Any] | None:
    told = json.loads((await syncd.command("status", "--json")).stdout)
    found: dict[str, Any] | None = told["sources"][0]["breaker"]
    return found


@pytest.mark.long
async def test_contained_an_api_that_is_down_is_left_in_peace_and_taken_up_again(
    syncd: Syncd, postgres: str
) -> None:
    """contained, budget: `status` and the log say so, nothing is asked, and `resume` probes."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "/api/campaigns/*", "from": 2, "status": 503})
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=4))
        async with syncd.started("run") as process:
            said = await lines_until(process, "the API is failing: only a probe")
            assert "503" in said[-1]
            found = None
            with trio.fail_after(60):
                while found is None:  # written beside the streams
                    found = await breaker(syncd)
            assert "503" in found["reason"]
            asked = len(await mock.requests())
            screen = (await syncd.command("status")).stdout
            assert "API of adplatform: failing for " in screen
            assert len(await mock.requests()) == asked
            await mock.faults()
            done = await syncd.command("resume", "campaigns")
            assert done.returncode == 0, done.stderr
            await lines_until(process, "resting until")
            assert await breaker(syncd) is None
            assert (await mock.calls())["repeated"] == 0
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0


@pytest.mark.long
async def test_drain_does_not_wait_for_an_api_that_is_down(syncd: Syncd, postgres: str) -> None:
    """drain: with exit status 0, and what `status` showed of the API is gone."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "/api/*", "status": 503})
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=4, source="retries = 20"))
        async with syncd.started("run") as process:
            await lines_until(process, "the API is failing: only a probe")
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(15):
                assert await process.wait() == 0
        assert await breaker(syncd) is None
