"""Rules of the config for the API's errors, with the real programs and a real Postgres."""

from mock_api.testing import running_mock
from syncd.store.postgres import open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config

SPEED = 100.0

RULES = """errors = [
    { status = 402, then = "park", says = "not paid; ask accounting" },
    { status = 403, body = { "error.code" = "QUOTA" }, then = "wait", for = "700ms" },
    { status = 409, then = "skip", says = "archived" },
]"""


async def test_check_speaks_in_a_rules_words(postgres: str, syncd: Syncd) -> None:
    """What is parked would be parked by a cycle, and the operator's own sentence comes first."""
    async with running_mock(speed=SPEED) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, source=RULES))
        await mock.faults(
            {"path": "/api/campaigns", "status": 402, "body": {"message": "pay first"}}
        )
        done = await syncd.command("check")
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert (
            "FAIL  adplatform.campaigns: not paid; ask accounting: GET /api/campaigns answered "
            "402: pay first. A rule parks the stream for this"
        ) in said
        asked = [e for e in await mock.requests() if e["path"] == "/api/campaigns"]
        assert len(asked) == 1


async def test_a_quota_is_waited_for_and_records_are_left_out(postgres: str, syncd: Syncd) -> None:
    """accounted, budget: what rules leave out is on the cycle's row, and in a record's story."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        ids = [c["id"] for c in await mock.campaigns()]
        quota = {"status": 403, "body": {"error": {"code": "QUOTA"}}}
        await mock.faults(
            {"path": "/api/campaigns", "on": [2], **quota},
            {"path": f"*/{ids[3]}/sync", "status": 409, "body": {"message": "no more"}},
        )
        syncd.write(config(mock.base_url, postgres, speed=SPEED, source=RULES))
        done = await syncd.command("once")
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout + done.stderr
        assert f'left out ["{ids[3]}"]: archived: POST /api/campaigns/{ids[3]}/sync' in said
        async with open_store(postgres) as store:
            totals = (await store.standing(CAMPAIGNS)).totals
        assert (totals.seen, totals.written, totals.left_out, totals.dead) == (12, 11, 1, 0)
        assert totals.refused == 1
        assert totals.balanced
        posts = [e for e in await mock.requests() if e["path"].endswith(f"/{ids[3]}/sync")]
        assert len(posts) == 1
        story = (await syncd.command("why", "campaigns", ids[3])).stdout
        assert "a rule left its record out: archived: POST" in story
