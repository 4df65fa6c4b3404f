"""Pages that the API answers 304, by the real daemon, a real mock and a real Postgres."""

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config
from tests.daemon.looking import Database
from tests.daemon.running import RESTS, daemon

SPEED = 60.0


async def test_accounted_only_what_has_changed_is_read_after_a_kill_as_well(
    syncd: Syncd, postgres: str
) -> None:
    """accounted, resume, budget: what a page was is known by the next life; nobody is refused."""
    mild = {"fail_every": 0, "hang_every": 0}
    async with running_mock(speed=SPEED, campaigns=40, etags=True, **mild) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        at = Database(postgres)
        async with daemon(syncd) as first:
            await first.until(RESTS)
            # In its first cycle a stream notes nothing: all is new.
            assert (await syncd.command("sync", "campaigns", "--wait")).returncode == 0
            first.process.kill()
        await mock.change("camp_17", name="renamed")
        async with daemon(syncd) as second:
            await second.until(RESTS)
            assert (await syncd.command("sync", "campaigns", "--wait")).returncode == 0
            answered = (await mock.stats())["answered"]
            assert answered == {"200": 4 + 4 + 1 + 2, "304": 3}, "two of the 200 are logins"
            assert (await syncd.command("reconcile", "campaigns", "--wait")).returncode == 0
            await second.leave()
        stats = await mock.stats()
        assert stats["answered"]["304"] == 3, "a scan reads each page"
        assert (stats["counted"], stats["refused_429"]) == (4 + 4 + 4 + 4 + 1, 0)
        found = await at.query("SELECT id, name FROM campaigns")
        rows = {row["id"]: row["name"] for row in found}
        assert rows == {c["id"]: c["name"] for c in await mock.campaigns()}
        told = ("outcome", "seen", "written", "unchanged", "requests")
        cycles = [tuple(cycle[name] for name in told) for cycle in await at.cycles()]
        assert cycles == [
            ("ok", 40, 40, 0, 4),
            ("ok", 40, 0, 40, 4),
            ("ok", 40, 1, 39, 4),
            ("ok", 40, 0, 40, 4),
        ]


async def test_accounted_large_pages_are_not_read_again_either(syncd: Syncd, postgres: str) -> None:
    """Noted from the second cycle on, each by its records, however many there are."""
    plain = {"fail_every": 0, "hang_every": 0, "limit": 0, "page_max": 100}
    async with running_mock(speed=SPEED, campaigns=400, etags=True, **plain) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=100, call=None))
        for unread in (0, 0, 4):
            assert (await syncd.command("once")).returncode == 0
            assert (await mock.stats())["answered"].get("304", 0) == unread
        cycles = await Database(postgres).cycles()
        assert [(c["outcome"], c["seen"], c["unchanged"]) for c in cycles] == [
            ("ok", 400, 0),
            ("ok", 400, 400),
            ("ok", 400, 400),
        ]
