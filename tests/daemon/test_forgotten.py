"""`syncd forget` by the real command: in the middle of a daemon's page, and where none runs."""

import json
import re
import signal
from typing import Any

import psycopg
import pytest
import trio
from psycopg import sql

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import COLUMNS, Syncd, config, lines_until
from tests.daemon.test_control import SPEED, rows
from tests.daemon.test_status import seeded

__all__ = ["seeded"]  # a fixture

DELAY = 300.0  # seconds, divided by SPEED: longer than it takes to stop a process
CALL = "/api/campaigns/{}/sync"


async def until_asked(mock: MockServer, path: str) -> None:
    with trio.fail_after(30):
        while True:
            if any(entry["path"] == path for entry in await mock.requests()):
                return
            await trio.sleep(0.02)


def named_in(database: str, key: str) -> list[str]:
    """Tables that have it in any column."""
    found = []
    with psycopg.connect(database, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'syncd')"
        ).fetchall()
        for table in tables:
            # A bytea as text is hex.
            text = sql.SQL("SELECT 1 FROM {} t WHERE strpos(t::text, %s) + strpos(t::text, %s) > 0")
            named = text.format(sql.Identifier(*table))
            if connection.execute(named, (key, key.encode().hex())).fetchall():
                found.append(".".join(table))
    return found


async def cycles(syncd: Syncd) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await syncd.command("cycles", "--json")).stdout)
    return found


@pytest.mark.long
async def test_page_atomic_forgotten_in_the_middle_of_its_page(syncd: Syncd, postgres: str) -> None:
    """page-atomic, accounted: it is not in the page, in no table, and never asked about again."""
    options = {"speed": SPEED, "campaigns": 8, "fail_every": 0, "hang_every": 0}
    async with running_mock(**options) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=4, timeout=60.0))
        await mock.faults({"path": CALL.format("camp_3"), "times": 1, "delay": DELAY})
        async with syncd.started("run") as process:
            await until_asked(mock, CALL.format("camp_3"))
            process.send_signal(signal.SIGSTOP)  # the page is there, its last calls under way
            done = await syncd.command("forget", "campaigns", "camp_2", "--keep-out", "--yes")
            assert (done.returncode, done.stderr) == (0, "")
            assert "not found in" in done.stdout
            assert "kept out: what the API lists of it is only counted" in done.stdout
            assert "the daemon hears of it at the end of the page" in done.stdout
            process.send_signal(signal.SIGCONT)
            said = "\n".join(await lines_until(process, "resting until"))
            assert "cycle ended" in said
            assert named_in(postgres, "camp_2") == []
            (cycle,) = await cycles(syncd)
            assert (cycle["seen"], cycle["written"], cycle["kept_out"]) == (8, 7, 1)
            assert cycle["left_out"] == 1
            asked = [e["path"] for e in await mock.requests()].count(CALL.format("camp_2"))
            waited = await syncd.command("sync", "campaigns", "--wait")
            assert waited.returncode == 0
            shown = await syncd.command("status")
            assert "adplatform.campaigns: 1 record kept out" in shown.stdout
            after = [e["path"] for e in await mock.requests()].count(CALL.format("camp_2"))
            assert asked == after
            assert named_in(postgres, "camp_2") == []
            audit = rows(postgres, "SELECT what, subject FROM syncd.audit WHERE what = 'forget'")
            assert audit == [("forget", "adplatform.campaigns (1 record, kept out)")]
            let_in = await syncd.command("forget", "campaigns", "camp_2", "--let-in")
            assert let_in.stdout.startswith("1 record let in")
            await syncd.command("sync", "campaigns", "--wait")
            assert rows(postgres, "SELECT count(*) FROM campaigns") == [(8,)]
            process.terminate()
            await process.wait()


@pytest.mark.long
async def test_forgotten_beside_a_daemon_it_comes_back_with_the_next_cycle(
    syncd: Syncd, postgres: str
) -> None:
    """accounted: and on a stream that is paused; the command says so."""
    options = {"speed": SPEED, "campaigns": 4, "fail_every": 0, "hang_every": 0}
    async with running_mock(**options) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=4))
        async with syncd.started("run") as process:
            await lines_until(process, "resting until")
            await syncd.command("pause", "campaigns")
            done = await syncd.command("forget", "campaigns", "camp_2", "camp_3", "--yes")
            assert (done.returncode, done.stderr) == (0, "")
            assert "  2 in public.campaigns" in done.stdout
            assert "they come back with the next cycle" in done.stdout
            assert named_in(postgres, "camp_2") == []
            assert rows(postgres, "SELECT count(*) FROM campaigns") == [(2,)]
            await syncd.command("resume", "campaigns")
            assert (await syncd.command("sync", "campaigns", "--wait")).returncode == 0
            assert rows(postgres, "SELECT count(*) FROM campaigns") == [(4,)]
            process.terminate()
            await process.wait()


async def test_a_key_that_is_hidden_is_named_as_it_stands_there(
    postgres: str, syncd: Syncd
) -> None:
    """Of a clear text nobody may say that it was not found: nobody can look for it."""
    hidden = 'hide = { id = "hash" }\nhide_key = { env = "HIDE" }'
    syncd.env = {"HIDE": "canary-hide-key-of-32-characters!"}
    async with running_mock(speed=SPEED, campaigns=3, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None, stream=hidden))
        assert (await syncd.command("once")).returncode == 0
        done = await syncd.command("forget", "campaigns", "camp_2", "--keep-out", "--yes")
        assert done.returncode == 2
        assert "`hide` hides `id`: name the record by what stands in the table" in done.stderr
        ((key,),) = rows(postgres, "SELECT id FROM campaigns ORDER BY id LIMIT 1")
        done = await syncd.command("forget", "campaigns", str(key), "--keep-out", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (await syncd.command("once")).returncode == 0
        assert rows(postgres, "SELECT count(*) FROM campaigns") == [(2,)]


async def test_without_a_daemon(seeded: Syncd, postgres: str) -> None:
    """contained: it looks, it asks, it says what it can't reach; nothing happens unasked."""
    letters = (await seeded.command("dead", "list", "--json")).stdout
    looked = await seeded.command("forget", "campaigns", "c_1", "--dry-run")
    assert (looked.returncode, looked.stderr) == (0, "")
    assert "among the dead letters" in looked.stdout
    unasked = await seeded.command("forget", "campaigns", "c_1")
    assert unasked.returncode == 1  # nobody answered whether it is meant
    assert (await seeded.command("dead", "list", "--json")).stdout == letters
    done = await seeded.command("forget", "campaigns", "c_1", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Not in syncd's reach: the write-ahead log" in done.stdout
    again = await seeded.command("forget", "campaigns", "c_1", "--yes")
    assert again.returncode == 0
    assert "record c_1: not found" in again.stdout
    assert "nothing was there to be forgotten" in again.stdout
    keyless = """UPDATE syncd.dead_letter SET key = NULL, payload = '{"ids": ["c_1"]}'
        WHERE source = 'ads' AND stream = 'campaigns' RETURNING 1"""
    assert rows(postgres, keyless)
    left = await seeded.command("forget", "campaigns", "c_1", "--yes")
    assert left.returncode == 1
    assert "found again in" in left.stdout
    assert "left in syncd.dead_letter, column payload; a dead letter without a key" in left.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["campaigns"], "name the KEYs"),
        (["campaigns", " "], "a KEY is empty"),
        (["campaigns", "1", "--all"], "--all is for --let-in"),
        (["campaigns", "1", "--all", "--let-in"], "name the KEYs, or --all"),
        (["campaigns", "1", "--let-in", "--keep-out"], "it stands alone"),
        (["nothing", "1"], "there is no stream 'nothing'"),
    ],
)
async def test_what_makes_no_sense_is_said(syncd: Syncd, arguments: list[str], says: str) -> None:
    """contained: before anything is looked at."""
    syncd.write(config("http://127.0.0.1:9", "postgresql://127.0.0.1:9/x", speed=SPEED))
    done = await syncd.command("forget", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.long
async def test_what_is_kept_out_freezes_no_page_and_is_shown_by_no_command(
    syncd: Syncd, postgres: str
) -> None:
    """contained, accounted: whatever the API makes of it, `check`, `diff` and cycles don't tell."""
    frozen = 'contract = { new_fields = "freeze", wrong_types = "freeze" }'
    async with running_mock(speed=SPEED, campaigns=5, fail_every=0, hang_every=0) as mock:
        unnamed = sorted(set((await mock.campaigns())[0]) - set(COLUMNS.split()))
        frozen = frozen.replace(" }", f", ignore = {json.dumps(unnamed)} }}")
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None, stream=frozen))
        assert (await syncd.command("once")).returncode == 0
        await mock.change("camp_2", marker="canary", budget="canary")
        assert "marker" in (await syncd.command("check")).stdout
        done = await syncd.command("forget", "campaigns", "camp_2", "--keep-out", "--yes")
        assert done.returncode == 0, done.stderr
        for command in (["check"], ["diff", "campaigns"], ["once"]):
            done = await syncd.command(*command)
            said = done.stdout + done.stderr
            assert done.returncode == 0, said
            assert not {"canary", "marker", "camp_2"} & set(re.findall("[a-z0-9_]+", said)), said
        assert named_in(postgres, "canary") == named_in(postgres, "marker") == []
        assert rows(postgres, "SELECT count(*) FROM campaigns") == [(4,)]
