"""What is gone at the API, by the real commands, a real daemon and a real Postgres."""

import json
from typing import Any

import pytest

from tests.daemon.conftest import Syncd, lines_until
from tests.daemon.test_control import rows, running

GONE = "SELECT id FROM campaigns WHERE _syncd_deleted_at IS NOT NULL ORDER BY id"


async def stream(syncd: Syncd) -> dict[str, Any]:
    status = await syncd.command("status", "--json")
    found: dict[str, Any] = json.loads(status.stdout)["streams"][0]
    return found


@pytest.mark.long
async def test_no_delete_what_is_gone_is_marked_and_comes_back(syncd: Syncd, postgres: str) -> None:
    """no-delete-on-absence, no-blind-repeat: two scans, at once, and not one call more."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        asked = (await at.mock.calls())["asked"]
        removed = (await at.mock.campaigns())[2:4]
        for campaign in removed:
            await at.mock.remove(campaign["id"])
        done = await syncd.command("reconcile", "campaigns", "--wait")
        assert (done.returncode, done.stderr) == (0, "")
        assert "looks for what is gone now" in done.stdout
        assert done.stdout.endswith("2 rows marked as deleted\n")
        assert rows(postgres, GONE) == [("camp_3",), ("camp_4",)]
        assert (await at.mock.calls())["asked"] == asked
        cycles = json.loads((await syncd.command("cycles", "--json")).stdout)
        assert [c["deleted"] for c in cycles] == [2, 0, 0]
        assert [c["missing"] for c in cycles] == [0, 2, None]
        assert "out of turn, after cycle 1" in (await syncd.command("cycles")).stdout
        (back,) = await at.mock.add(1)
        await at.mock.change(back, name="new")
        assert (await syncd.command("sync", "campaigns", "--wait")).returncode == 0
        nothing = await syncd.command("reconcile", "campaigns", "--wait")
        assert nothing.stdout.endswith("nothing is gone\n")


@pytest.mark.long
async def test_no_delete_many_rows_wait_for_somebody(syncd: Syncd, postgres: str) -> None:
    """no-delete-on-absence: `status` asks, the log warns, and --approve lets them go."""
    async with running(syncd, postgres, campaigns=20) as at:
        await lines_until(at.process, "resting until")
        removed = [c["id"] for c in (await at.mock.campaigns())[:12]]
        for campaign in removed:
            await at.mock.remove(campaign)
        held = await syncd.command("reconcile", "campaigns", "--wait")
        assert held.returncode == 1
        assert "12 of 20 rows are gone at the API, more than go without asking" in held.stderr
        await lines_until(at.process, "deletes are held until someone approves them")
        assert rows(postgres, GONE) == []
        found = await stream(syncd)
        assert (found["state"], found["missing"]) == ("deletes held", 12)
        shown = (await syncd.command("status")).stdout
        assert "`syncd reconcile adplatform.campaigns --approve`" in shown
        unasked = await syncd.command("reconcile", "campaigns", "--approve")
        assert unasked.returncode == 1  # nobody answered whether it is meant
        done = await syncd.command("reconcile", "campaigns", "--approve", "--yes", "--wait")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(rows(postgres, GONE)) == 12
        assert (await stream(syncd))["state"] == "resting"


@pytest.mark.long
async def test_no_delete_asked_without_a_daemon(syncd: Syncd, postgres: str) -> None:
    """no-delete-on-absence: the next `once` looks, and the second scan follows at once."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        at.process.terminate()
        await at.process.wait()
        await at.mock.remove("camp_7")
        done = await syncd.command("reconcile", "campaigns")
        assert "the next start looks, or `syncd once" in done.stdout
        nothing = await syncd.command("reconcile", "campaigns", "--approve", "--yes")
        assert nothing.returncode == 1
        assert "nothing is held, so nothing is approved" in nothing.stderr
        once = await syncd.command("once", "campaigns")
        assert once.returncode == 0
        assert "1 row missing for the first time" in once.stdout
        assert rows(postgres, GONE) == []
        await syncd.command("reconcile", "campaigns")
        await syncd.command("once", "campaigns")
        assert rows(postgres, GONE) == [("camp_7",)]
