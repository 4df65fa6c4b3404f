"""`syncd why`, of a record to which everything happens, by the real daemon and real commands."""

import json
from typing import Any

import pytest

from tests.daemon.conftest import Syncd, config, lines_until
from tests.daemon.test_control import SPEED, rows, running
from tests.daemon.test_status import seeded

__all__ = ["seeded"]  # a fixture


async def story(syncd: Syncd, key: str = "camp_7") -> dict[str, Any]:
    done = await syncd.command("why", "campaigns", key, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["known"] else 1), done.stderr
    return found


async def cycle(syncd: Syncd) -> None:
    done = await syncd.command("sync", "campaigns", "--wait")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
async def test_a_record_to_which_everything_happens(syncd: Syncd, postgres: str) -> None:
    """accounted: written, changed, dead, retried, deleted, returned: each with its page."""
    async with running(syncd, postgres) as at:
        await lines_until(at.process, "resting until")
        first = await story(syncd)
        assert [c["what"] for c in first["past"]] == ["called", "written"]
        assert first["past"][1]["words"] == "Written for the first time by page 2 of cycle 1"
        asked = "GET /api/campaigns?page=2&limit=4 answered 200; 4 records: 4 written"
        assert first["past"][1]["details"] == [asked]
        (changed,) = rows(
            postgres, "SELECT _syncd_changed_at::text FROM campaigns WHERE id = 'camp_7'"
        )
        (page,) = rows(postgres, "SELECT committed_at::text FROM syncd.page WHERE number = 2")
        assert changed == page
        await at.mock.change("camp_7", name="renamed")
        await cycle(syncd)
        await at.mock.faults({"path": "*/camp_7/sync", "status": 422})
        assert (await syncd.command("sync", "campaigns", "camp_7")).returncode == 1
        lies = await story(syncd)
        assert lies["past"][-1]["what"] == "put-aside"
        assert any("It lies aside as dead letter" in sentence for sentence in lies["now"])
        number = str(lies["letters"][0])
        assert (await syncd.command("dead", "retry", number)).returncode == 1
        await at.mock.faults()
        await at.mock.change("camp_7", name="once more")
        assert (await syncd.command("dead", "retry", number)).returncode == 0
        await cycle(syncd)
        await at.mock.change("camp_7", id="other")  # what the list has in its place
        done = await syncd.command("reconcile", "campaigns", "--wait")
        assert done.stdout.endswith("1 row marked as deleted\n")
        gone = await story(syncd)
        assert [c["what"] for c in gone["past"]][-2:] == ["missing", "deleted"]
        assert gone["row"]["deleted_at"] == gone["past"][-1]["at"]
        assert "takes the mark away" in gone["next"][-1]
        await at.mock.restore("camp_7")
        await cycle(syncd)
        back = await story(syncd)
        what = [c["what"] for c in back["past"] if c["what"] != "called"]
        assert what == [
            *("written", "changed", "put-aside", "retried", "put-aside", "retried", "recovered"),
            *("changed", "missing", "deleted", "returned"),
        ]
        assert [c["at"] for c in back["past"]] == sorted(c["at"] for c in back["past"])
        assert back["row"] == {"changed_at": back["past"][-1]["at"], "deleted_at": None}
        screen = (await syncd.command("why", "campaigns", "camp_7")).stdout
        assert "Came back: written again, no longer marked as deleted, by page 2 of" in screen
        assert "\nnow   " in screen
        assert "\nnext  " in screen


async def test_a_record_that_is_not_known(syncd: Syncd, postgres: str) -> None:
    """What was looked at, and where it could be; the exit status says it, too."""
    syncd.write(config("http://127.0.0.1:9", postgres, speed=SPEED))
    done = await syncd.command("why", "campaigns", "camp_7")
    assert done.returncode == 1
    assert "adplatform.campaigns, record camp_7, table public.campaigns\n" in done.stdout
    assert "No cycle of this stream has run yet." in done.stdout
    for wrong, said in ((["nothing", "1"], "there is no stream"), (["campaigns", " "], "is empty")):
        done = await syncd.command("why", *wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


async def test_a_table_that_is_not_there(seeded: Syncd) -> None:
    """What can't be read is said, and the rest is told; nothing in it is obeyed by a terminal."""
    done = await seeded.command("why", "campaigns", "c_1")
    assert done.returncode == 0
    assert 'The table public.campaigns can\'t be read: relation "public.campaigns"' in done.stdout
    assert "dead letter 1 (contract), put aside 3 times" in done.stdout
    assert "tries it now as it stands" in done.stdout
