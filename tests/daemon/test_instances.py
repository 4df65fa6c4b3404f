"""Several instances, tokens that expire, campaigns that change: the real command end to end."""

import json
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.app.database import table
from syncd.config.load import load
from syncd.demo import compare, duration
from syncd.store.postgres import open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config, lines_until

SPEED = 60.0
SECRETS = {"ADPLATFORM_EMAIL": "ads@example.com", "ADPLATFORM_PASSWORD": "secret"}


async def assert_equal(syncd: Syncd, mock: MockServer, database: str, source: str) -> None:
    """The table holds what the API has, record by record."""
    stream = load(syncd.path, environ=SECRETS).sources[source].streams["campaigns"]
    async with open_store(database) as store:
        texts = await store.table_rows(table(stream), source)
    rows = [json.loads(text, parse_float=Decimal) for text in texts]
    assert compare(await mock.campaigns(), rows) == (0, 0)


async def listed(mock: MockServer) -> list[dict[str, Any]]:
    """The list requests; a login is free, and no harm while the budget is held."""
    return [e for e in await mock.requests() if e["path"] == "/api/campaigns"]


def counted(journal: list[dict[str, Any]], client: str) -> list[dict[str, Any]]:
    return [e for e in journal if e["cost"] and e["client"] == client]


@pytest.mark.long
async def test_a_token_that_lives_shorter_than_a_cycle_is_bought_again_and_nothing_is_lost(
    postgres: str, syncd: Syncd
) -> None:
    """A bearer that expires in the middle costs a login, not a record."""
    async with running_mock(speed=SPEED, campaigns=30, token_life=90) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        done = await syncd.command("once")
        assert done.returncode == 0, done.stdout + done.stderr
        stats = await mock.stats()
        assert 2 <= stats["logins"] <= 5
        assert stats["refused_429"] == 0
        await assert_equal(syncd, mock, postgres, "adplatform")


@pytest.mark.long
async def test_every_token_revoked_in_the_middle_costs_one_login(
    postgres: str, syncd: Syncd
) -> None:
    """A 401 that nobody could foresee is replayed once with a new bearer."""
    async with running_mock(speed=SPEED, campaigns=30) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        async with syncd.started("once") as process:
            await lines_until(process, "page 1 committed")
            await mock.expire_tokens()
            await lines_until(process, "page 3 committed")
            with trio.fail_after(20):
                assert await process.wait() == 0
        assert (await mock.stats())["logins"] == 2
        await assert_equal(syncd, mock, postgres, "adplatform")


@pytest.mark.alone
@pytest.mark.long
async def test_three_sources_with_ids_of_their_own_each_take_their_floor(
    postgres: str, syncd: Syncd
) -> None:
    """budget: one daemon, three accounts, three budgets that do not hinder each other."""
    more = "".join(
        f'\n[sources.{name}]\nlike = "adplatform"\nheaders = {{ "X-Client-Id" = "{name}" }}\n'
        for name in ("second", "third")
    )
    async with running_mock(speed=20, campaigns=20, per_client=True) as mock:
        syncd.write(config(mock.base_url, postgres, speed=20) + more)
        done = await syncd.command("once")
        assert done.returncode == 0, done.stdout + done.stderr
        journal = await mock.requests()
        assert (await mock.windows())["fullest"] <= 10
        assert (await mock.stats())["refused_429"] == 0
        for client, source in (("test", "adplatform"), ("second", "second"), ("third", "third")):
            took, floor = duration(counted(journal, client), limit=10, window=3.0)
            assert took <= floor * 1.2, f"{client} took {took:.2f} s of at least {floor:.2f} s"
            await assert_equal(syncd, mock, postgres, source)


async def test_two_sources_that_share_an_id_stay_together_within_one_budget(
    postgres: str, syncd: Syncd, tmp_path: Path
) -> None:
    """budget: two daemons on one database share the tokens, and neither is refused."""
    shared = "\n[budgets.ads]\nrequests = 10\nper = '1s'\nslack = '250ms'\n"
    async with running_mock(speed=SPEED, campaigns=20) as mock:
        first = config(mock.base_url, postgres, speed=SPEED) + shared
        inline = next(line for line in first.splitlines() if line.startswith("budget ="))
        first = first.replace(inline, 'budget = "ads"')
        syncd.write(first)
        other = Syncd(tmp_path / "other.toml")
        other.write(first.replace("sources.adplatform", "sources.partner"))
        async with trio.open_nursery() as nursery:
            trouble: list[str] = []

            async def once(which: Syncd) -> None:
                done = await which.command("once")
                if done.returncode:
                    trouble.append(done.stdout + done.stderr)

            nursery.start_soon(once, syncd)
            nursery.start_soon(once, other)
        assert trouble == []
        assert (await mock.windows())["fullest"] <= 10
        assert (await mock.stats())["refused_429"] == 0
        await assert_equal(syncd, mock, postgres, "adplatform")
        await assert_equal(other, mock, postgres, "partner")


async def test_a_second_cycle_with_three_changed_campaigns_makes_three_calls(
    postgres: str, syncd: Syncd
) -> None:
    """With `when = "changed"` a cycle costs what changed; a new impression is no change."""
    async with running_mock(speed=SPEED, campaigns=20, fail_every=0, hang_every=0) as mock:
        syncd.write(
            config(
                mock.base_url, postgres, speed=SPEED, call='repeat = "with-key"\nwhen = "changed"'
            )
        )
        assert (await syncd.command("once")).returncode == 0
        campaigns = [c["id"] for c in await mock.campaigns()]
        for name in (campaigns[2], campaigns[9], campaigns[17]):
            await mock.change(name, name="a new name")
        await mock.change(campaigns[5], impressions=10**9)
        before = (await mock.calls())["asked"]
        assert (await syncd.command("once")).returncode == 0
        assert (await mock.calls())["asked"] - before == 3
        async with open_store(postgres) as store:
            totals = (await store.standing(CAMPAIGNS)).totals
        assert (totals.written, totals.unchanged, totals.calls) == (4, 16, 3)
        await assert_equal(syncd, mock, postgres, "adplatform")


async def test_the_second_daemon_is_refused_and_told_who_runs(postgres: str, syncd: Syncd) -> None:
    """Two on one database: the second says who holds the lease, and makes no request."""
    async with running_mock(speed=SPEED, campaigns=100) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        async with syncd.started("run") as first:
            await lines_until(first, "page committed")
            second = await syncd.command("once")
            assert second.returncode == 1
            assert f"pid {first.pid}" in second.stderr
            assert "is run by another syncd" in second.stderr
            first.kill()
            await first.wait()
        async with syncd.started("run") as third:
            # At once: the holder is provably gone, nobody waits for its lease to run out.
            await lines_until(third, "cycle taken up again", within=20)


@pytest.mark.long
async def test_sigterm_finishes_the_page_and_exits_with_zero(postgres: str, syncd: Syncd) -> None:
    """drain: what was begun is finished, waits end at once, and the next start goes on."""
    async with running_mock(speed=SPEED, campaigns=40) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        async with syncd.started("run") as process:
            await lines_until(process, "page committed")
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0
        calls = await mock.calls()
        async with open_store(postgres) as store:
            ledger = await store.calls(CAMPAIGNS)
        assert {c.outcome for c in ledger} == {"done"}
        assert len(ledger) == calls["asked"]
        assert (await syncd.command("once")).returncode == 0
        assert (await mock.calls())["repeated"] == 0
        await assert_equal(syncd, mock, postgres, "adplatform")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_in_a_wait_of_a_day_ends_it_at_once(
    postgres: str, syncd: Syncd, sent: signal.Signals
) -> None:
    """drain: told to wait a day, syncd leaves when it is asked to, and remembers the day."""
    async with running_mock(speed=SPEED, campaigns=10) as mock:
        await mock.faults(
            {"path": "/api/campaigns", "status": 429, "headers": {"Retry-After": "86400"}}
        )
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        async with syncd.started("run") as process:
            await lines_until(process, "the API asked to wait")
            process.send_signal(sent)
            with trio.fail_after(15):
                assert await process.wait() == 0
        await mock.faults()
        asked = len(await listed(mock))
        async with syncd.started("run") as process:
            await lines_until(process, "the API asked to wait")
            process.send_signal(sent)
            with trio.fail_after(15):
                await process.wait()
        assert len(await listed(mock)) == asked, "the hold is kept over a restart"
