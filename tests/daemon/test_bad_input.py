"""What a stranger's world sends: each gets a clear sentence, and nothing is lost."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store.postgres import open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config

SPEED = 100.0


async def once(syncd: Syncd) -> tuple[int, str]:
    """One `syncd once`: its exit status and all that it said."""
    done = await syncd.command("once")
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("rule", "said", "requests"),
    [
        pytest.param(
            {"body": "<html><title>Maintenance</title></html>"}, "Maintenance", 1, id="html"
        ),
        pytest.param(
            {"body": {"success": False, "error": {"message": "no such account"}}},
            "`data`",
            1,
            id="200-with-an-error-inside",
        ),
        pytest.param(
            {"body": {"success": False, "data": [], "pagination": {"has_more": False}}},
            "`success` is false",
            1,
            id="200-with-an-error-and-an-empty-list",
        ),
        pytest.param({"body": {"pagination": {}}}, "`data`", 1, id="data-missing"),
        pytest.param(
            {"body": {"data": [], "pagination": {"has_more": "false"}}},
            "has_more",
            1,
            id="has-more-is-text",
        ),
        pytest.param(
            {"body": {"data": [], "pagination": {"has_more": True}}},
            "no records, like page 1",
            2,
            id="empty-page-with-has-more",
        ),
        pytest.param(
            {"body": {"data": [{"id": "c1"}], "pagination": {"has_more": True}}},
            "the same 1 records as page 1",
            2,
            id="the-same-page-for-ever",
        ),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://elsewhere.example/?token=x"}},
            "elsewhere.example",
            1,
            id="a-redirect-off-the-origin",
        ),
        pytest.param({"bomb": 200, "body": {}}, "max_body", 1, id="200-MB-of-gzip"),
        pytest.param({"status": 404, "body": "gone"}, "404", 1, id="404"),
    ],
)
async def test_an_answer_that_is_no_list_parks_the_stream_with_what_was_found(
    postgres: str, syncd: Syncd, rule: dict[str, Any], said: str, requests: int
) -> None:
    """contained: one sentence that says what came; nothing is written; nobody is asked again."""
    async with running_mock(speed=SPEED) as mock:
        await mock.faults({"path": "/api/campaigns", **rule})
        source = 'max_body = "1MiB"'
        # The mock takes its time to pack 200 MB.
        text = config(mock.base_url, postgres, speed=SPEED, call=None, source=source, timeout=30)
        syncd.write(text)
        code, text = await once(syncd)
        assert code == 1
        assert said in text
        assert "token=x" not in text
        asked = [e for e in await mock.requests() if e["path"] == "/api/campaigns"]
        assert len(asked) == requests
        async with open_store(postgres) as store:
            standing = await store.standing(CAMPAIGNS)
        assert standing.parked is not None
        assert standing.totals.written == (1 if "same 1" in said else 0)


async def test_wrong_credentials_are_one_login_and_a_sentence(postgres: str, syncd: Syncd) -> None:
    """A password that is refused is not tried again and again."""
    async with running_mock(speed=SPEED, password="another") as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        code, text = await once(syncd)
        assert code == 1
        assert "credentials" in text
        stats = await mock.stats()
        assert stats["logins"] + stats["logins_failed"] == 1
        assert [e for e in await mock.requests() if e["path"].startswith("/api/")] == []


BAD_RECORDS: dict[str, dict[str, Any]] = {
    "camp_2": {"drop": ("id",)},
    "camp_3": {"budget": "much"},
    "camp_4": {"name": "nul \x00 inside"},
    "camp_5": {"raw": '{"id": "camp_5", "budget": NaN}'},
    "camp_6": {"raw": '{"id": "camp_6", "impressions": 99999999999999999999999}'},
    "camp_7": {"raw": '{"id": "camp_7", "name": "lone \\ud800 surrogate"}'},
    "camp_8": {"created_at": "yesterday"},
}


async def test_bad_records_become_dead_letters_and_the_rest_arrives(
    postgres: str, syncd: Syncd
) -> None:
    """contained, accounted: seven bad records of thirty cost seven, each with its reason."""
    async with running_mock(speed=SPEED, campaigns=30, fail_every=0, hang_every=0) as mock:
        ids = [c["id"] for c in await mock.campaigns()]
        for number, change in enumerate(BAD_RECORDS.values(), start=1):
            raw = change.get("raw")
            if raw is not None:
                change = {**change, "raw": raw.replace(f"camp_{number + 1}", ids[number])}  # noqa: PLW2901
            await mock.change(ids[number], **change)
        odd = "quotes '\" ; DROP TABLE campaigns; --\n\t\u202e \U0001f984 \u0000"[:-1]
        await mock.change(ids[20], name=odd)
        await mock.change(ids[21], budget=12345678901234567890.25)
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        code, text = await once(syncd)
        assert code == 0, text
        assert "7 dead letters" in text
        async with open_store(postgres) as store:
            totals = (await store.standing(CAMPAIGNS)).totals
        assert (totals.seen, totals.written, totals.dead) == (30, 23, 7)
        import psycopg  # noqa: PLC0415 - the test's own look into the table

        def names() -> dict[str, str]:
            with psycopg.connect(postgres) as connection:
                found = connection.execute('SELECT id, name FROM public."campaigns"').fetchall()
            return {str(i): str(n) for i, n in found}

        assert (await trio.to_thread.run_sync(names))[ids[20]] == odd


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry-After": "0"}, {"Retry-After": "-3"}, {"Retry-After": "inf"}],
    ids=["no-hint", "zero", "negative", "inf"],
)
async def test_a_429_without_a_usable_hint_waits_the_window(
    postgres: str, syncd: Syncd, headers: dict[str, str]
) -> None:
    """A refusal that says nothing does not burn the retries at once."""
    async with running_mock(speed=SPEED, campaigns=10, fail_every=0, hang_every=0) as mock:
        await mock.faults(
            {"path": "/api/campaigns", "on": [1], "status": 429, "headers": headers, "body": "no"}
        )
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        code, text = await once(syncd)
        assert code == 0, text
        first, second = [e for e in await mock.requests() if e["path"] == "/api/campaigns"]
        assert second["arrived"] - first["arrived"] >= 60 / SPEED


async def test_every_request_hanging_ends_with_the_retries(postgres: str, syncd: Syncd) -> None:
    """An API that never answers costs its tries, and the checkpoint stands."""
    async with running_mock(speed=SPEED) as mock:
        await mock.faults({"path": "/api/campaigns", "hang": True})
        syncd.write(config(mock.base_url, postgres, speed=SPEED, source="retries = 2"))
        code, text = await once(syncd)
        assert code == 1
        assert "no answer within 0.5 s" in text
        assert "the next run goes on from there" in text
        asked = [e for e in await mock.requests() if e["path"] == "/api/campaigns"]
        assert len(asked) == 3


async def test_an_api_that_is_not_there_is_said_so(postgres: str, syncd: Syncd) -> None:
    """A wrong address is a sentence with the address, not a traceback."""
    syncd.write(config("http://127.0.0.1:1", postgres, speed=SPEED, source="retries = 1"))
    code, text = await once(syncd)
    assert code == 1
    assert "127.0.0.1:1" in text
    assert "Traceback" not in text


async def test_a_database_that_is_not_there_is_said_so_and_no_request_is_made(
    syncd: Syncd, tmp_path: Path
) -> None:
    """Postgres stopped before the start: a sentence, exit 1, no API call."""
    async with running_mock(speed=SPEED) as mock:
        where = f"host={tmp_path} dbname=nowhere"
        syncd.write(config(mock.base_url, where, speed=SPEED))
        code, text = await once(syncd)
        assert code == 1
        assert "Postgres" in text
        assert "Traceback" not in text
        assert await mock.requests() == []


async def test_a_config_that_is_wrong_exits_with_78_and_lists_every_fault(syncd: Syncd) -> None:
    """contained: a bad file costs nothing, and says all that is wrong with it."""
    syncd.write('[sources.a]\nbase_url = "ftp://x"\nbudgt = 1\n')
    done = await syncd.command("run")
    assert done.returncode == 78
    assert "sources.a.base_url" in done.stderr
    assert "did you mean 'budget'" in done.stderr
    assert "sources.a.streams" in done.stderr


async def test_a_state_directory_that_can_not_be_written_is_said_so(
    syncd: Syncd, tmp_path: Path
) -> None:
    """An embedded Postgres needs a folder: which one, and what to do."""
    folder = tmp_path / "state"
    folder.mkdir()
    if os.geteuid() == 0:
        # Nothing keeps root from writing but a file that stands where a folder should.
        folder.rmdir()
        folder.write_text("", encoding="utf-8")
    else:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    syncd.write(f'state = "{folder}"\n' + config("http://127.0.0.1:1", None, speed=SPEED))
    code, text = await once(syncd)
    assert code == 1
    assert str(folder) in text
    assert "Traceback" not in text
    if folder.is_dir():
        folder.chmod(0o700)
        shutil.rmtree(folder)


async def check(syncd: Syncd, *arguments: str) -> tuple[int, str]:
    done = await syncd.command("check", *arguments)
    return done.returncode, done.stdout + done.stderr


async def test_check_says_what_is_right_and_writes_no_table(postgres: str, syncd: Syncd) -> None:
    """`check` asks the file, the database, the login and each first page, for one token."""
    async with running_mock(speed=SPEED) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        code, text = await check(syncd)
        assert code == 0, text
        assert "first page has 10 of 100 records, more follow" in text
        assert "table public.campaigns will be made" in text
        assert await counted(mock) == 1
        async with open_store(postgres) as store:
            assert (await store.standing(CAMPAIGNS)).cycle is None


@pytest.mark.long
async def test_check_counts_against_the_budget(postgres: str, syncd: Syncd) -> None:
    """budget: a check just before a start leaves the start one request less."""
    async with running_mock(speed=20, campaigns=20, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=20))
        assert (await check(syncd))[0] == 0
        assert (await syncd.command("once")).returncode == 0
        assert (await mock.windows())["fullest"] <= 10
        assert (await mock.stats())["refused_429"] == 0


async def test_check_offline_needs_neither_secrets_nor_network(syncd: Syncd) -> None:
    """`check --offline` looks at the file alone."""
    text = config("http://127.0.0.1:1", None, speed=SPEED)
    syncd.write(text.replace("ADPLATFORM_PASSWORD", "NO_SUCH_VARIABLE"))
    assert (await check(syncd, "--offline"))[0] == 0
    code, said = await check(syncd)
    assert code == 78
    assert "NO_SUCH_VARIABLE" in said


async def counted(mock: MockServer) -> int:
    return sum(1 for e in await mock.requests() if e["cost"])
