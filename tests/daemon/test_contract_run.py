"""The contract in a real run: an API that changes, a real table, and the commands."""

import json
from typing import Any

import psycopg
import psycopg.conninfo
import pytest
import trio
from psycopg.rows import dict_row

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config, lines_until
from tests.servers import execute

SPEED = 100.0
NAMED = ["id", "name", "status", "budget", "impressions", "clicks", "conversions", "created_at"]
EVOLVE = 'contract = { new_fields = "evolve", wrong_types = "evolve" }'


async def table(postgres: str) -> dict[str, dict[str, Any]]:
    def read() -> dict[str, dict[str, Any]]:
        with psycopg.connect(postgres, row_factory=dict_row) as connection:
            found = connection.execute('SELECT * FROM public."campaigns"').fetchall()
        return {row["id"]: row for row in found}

    return await trio.to_thread.run_sync(read)


async def once(syncd: Syncd, status: int = 0) -> str:
    done = await syncd.command("once")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


async def shown(syncd: Syncd) -> dict[str, Any]:
    done = await syncd.command("contract", "show", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_contract_that_evolves(postgres: str, syncd: Syncd) -> None:
    """page-atomic, accounted: not a value is lost, and no type changes beneath a view."""
    async with running_mock(speed=SPEED, campaigns=30, fail_every=0, hang_every=0) as mock:
        ids = [c["id"] for c in await mock.campaigns()]
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None, stream=EVOLVE))
        await once(syncd)

        def view() -> None:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute("CREATE VIEW spent AS SELECT id, budget FROM campaigns")

        await trio.to_thread.run_sync(view)
        await mock.change(ids[14], tags=["a", "b"], _syncd_note="x", Name="N")
        await mock.change(ids[20], budget="much", clicks=1.5)
        await once(syncd)
        rows = await table(postgres)
        assert rows[ids[14]]["tags"] == ["a", "b"]
        assert (rows[ids[14]]["syncd_note"], rows[ids[14]]["Name_2"]) == ("x", "N")
        assert rows[ids[0]]["tags"] is None
        assert (rows[ids[20]]["budget"], rows[ids[20]]["budget_text"]) == (None, "much")
        assert str(rows[ids[20]]["clicks_numeric"]) == "1.5"
        found = await shown(syncd)
        told = {(d["name"], d["found"], d["rule"]) for d in found["drifts"]}
        assert told >= {
            ("tags", None, "evolve"),
            ("Name", None, "evolve"),
            ("budget", "a string", "evolve"),
        }
        assert {c["column"] for c in found["columns"]} >= {"tags", "Name_2", "budget_text"}
        assert "syncd contract show adplatform.campaigns" in (await syncd.command("status")).stdout
        # What is there is known by the next process, and nothing differs.
        await once(syncd)
        counts = json.loads((await syncd.command("cycles", "--json")).stdout)[0]
        assert (counts["written"], counts["unchanged"], counts["dead"]) == (0, 30, 0)
        assert "as this syncd needs it" in (await syncd.command("schema")).stdout
        done = await syncd.command("contract", "accept", "campaigns", "budget", "nothing")
        assert "nothing: nothing is told of it" in done.stderr
        left = [d for d in (await shown(syncd))["drifts"] if d["name"] == "budget"]
        assert left[0]["accepted_at"] is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "the field colour is new"),
        ({"budget": "much"}, "column budget: found"),
    ],
)
async def test_a_contract_that_freezes(
    postgres: str, syncd: Syncd, change: dict[str, Any], said: str
) -> None:
    """contained, resume: the page is not written; once it is mended, it is the next one."""
    frozen = 'contract = { new_fields = "freeze", wrong_types = "freeze" }'
    async with running_mock(speed=SPEED, campaigns=30, fail_every=0, hang_every=0) as mock:
        ids = [c["id"] for c in await mock.campaigns()]
        unnamed = sorted(set((await mock.campaigns())[0]) - set(NAMED))
        frozen = frozen.replace(" }", f", ignore = {json.dumps(unnamed)} }}")
        await mock.change(ids[14], **change)
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None, stream=frozen))
        text = await once(syncd, 1)
        assert said in text
        assert f"record {ids[14]}" in text
        assert len(await table(postgres)) == 10
        check = await syncd.command("check")
        assert check.returncode == 0, check.stdout  # the first page is good
        await mock.restore(ids[14])
        await once(syncd)
        assert len(await table(postgres)) == 30


async def test_a_role_that_may_not_add_columns_is_told_what_to_run(
    postgres: str, syncd: Syncd
) -> None:
    """contained: the stream parks, a start ends with 78, `schema --apply` by the owner mends it."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        ids = [c["id"] for c in await mock.campaigns()]

        def written(url: str) -> str:
            return config(mock.base_url, url, speed=SPEED, call=None, stream=EVOLVE)

        syncd.write(written(postgres))
        await once(syncd)
        grants = (await syncd.command("schema", "--roles")).stdout
        await execute(postgres, grants, "CREATE ROLE may_not LOGIN IN ROLE syncd_writer")
        try:
            writer = psycopg.conninfo.make_conninfo(postgres, user="may_not")
            syncd.write(written(writer))
            await once(syncd)
            await mock.change(ids[11], colour="red")
            assert "syncd schema --apply" in await once(syncd, 1)
            assert "lacks columns" in await once(syncd, 78)
            syncd.write(written(postgres))
            applied = await syncd.command("schema", "--apply")
            assert 'ADD COLUMN "colour" text' in applied.stdout
            syncd.write(written(writer))
            await once(syncd)
        finally:
            await execute(postgres, "DROP OWNED BY may_not", "DROP ROLE may_not")
        assert (await table(postgres))[ids[11]]["colour"] == "red"


async def test_a_reload_ends_a_freeze(postgres: str, syncd: Syncd) -> None:
    """resume, all-or-nothing-reload: the field is named, and the page that parked is the next."""
    async with running_mock(speed=SPEED, campaigns=30, fail_every=0, hang_every=0) as mock:
        campaigns = await mock.campaigns()
        unnamed = sorted(set(campaigns[0]) - set(NAMED))
        ids = [c["id"] for c in campaigns]
        await mock.change(ids[14], colour="red")

        def written(column: str) -> str:
            frozen = f'contract = {{ new_fields = "freeze", ignore = {json.dumps(unnamed)} }}'
            text = config(mock.base_url, postgres, speed=SPEED, call=None, stream=frozen)
            return text.replace("campaigns.columns]\n", f"campaigns.columns]\n{column}\n")

        syncd.write(written(""))
        async with syncd.started("run") as process:
            await lines_until(process, "stream parked")
            assert len(await table(postgres)) == 10
            syncd.write(written('colour = "text"'))
            done = await syncd.command("reload")
            assert done.returncode == 0, done.stderr
            assert "adopt" in done.stdout
            await lines_until(process, "resting until the next cycle")
        rows = await table(postgres)
        assert (len(rows), rows[ids[14]]["colour"], rows[ids[0]]["colour"]) == (30, "red", None)
        asked = [e for e in await mock.requests() if e["path"] == "/api/campaigns"]
        assert len(asked) == 4
