"""The real command ended by SIGKILL or SIGTERM at any moment: what the next start makes of it."""

import json
import os
import random
import signal
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.app.database import table
from syncd.config.load import load
from syncd.demo import compare, repeated
from syncd.store.postgres import PostgresStore, open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config
from tests.daemon.running import AT_ONCE

SPEED = 200.0
SEEDS = [int(s) for s in os.environ.get("SYNCD_SEEDS", "").split()] or range(50)
"""Replay one with SYNCD_SEEDS=17."""

LEAVES = 20.0  # seconds; a drain here awaits a call of 10 ms or a request of half a second


async def rows_of(store: PostgresStore, syncd: Syncd) -> list[dict[str, Any]]:
    """The campaigns table as it is."""
    environ = {"ADPLATFORM_EMAIL": "x", "ADPLATFORM_PASSWORD": "x"}
    stream = load(syncd.path, environ=environ).sources["adplatform"].streams["campaigns"]
    texts = await store.table_rows(table(stream), "adplatform")
    return [json.loads(text, parse_float=Decimal) for text in texts]


async def one_end(seed: int, database: str, folder: Path, sent: signal.Signals) -> dict[str, Any]:
    """Five pages of four, ended at a seeded moment, taken up again until the cycle ends."""
    rng = random.Random(seed)
    syncd = Syncd(folder / f"{seed}.toml")
    async with running_mock(speed=SPEED, campaigns=20) as mock:
        syncd.write(config(mock.base_url, database, speed=SPEED, size=4))
        # After so many requests and a little: however fast the machine is, that is a moment
        # in the middle.
        after, moment = rng.randint(1, 24), rng.uniform(0.0, 0.05)
        async with syncd.started("once" if sent == signal.SIGKILL else "run") as first:
            await arrived(mock, after)
            with trio.move_on_after(moment):
                await first.wait()
            killed = first.returncode is None
            first.send_signal(sent)
            began = trio.current_time()
            with trio.fail_after(LEAVES):
                code = await first.wait()
            left_within = trio.current_time() - began
        async with open_store(database) as store:
            before = {c.idempotency_key: c.settled_at for c in await store.calls(CAMPAIGNS)}
            standing = await store.standing(CAMPAIGNS)
            # Killed on its way out, the cycle is over: the next one begins with page 1.
            committed = 0 if standing.outcome else standing.pages
            asked = len(await mock.requests())
            if killed:
                done = await syncd.command("once", within=120)
                assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
            rows = await rows_of(store, syncd)
            standing = await store.standing(CAMPAIGNS)
            settled = {c.idempotency_key: c.settled_at for c in await store.calls(CAMPAIGNS)}
            dead = await store.dead_letter_count(CAMPAIGNS)
        campaigns = await mock.campaigns()
        journal = [e for e in await mock.requests() if e["path"].startswith("/api/")]
        fullest = (await mock.windows())["fullest"]
    again = {e["query"].split("&")[0] for e in journal if e["seq"] > asked and e["method"] == "GET"}
    return {
        "seed": seed,
        "after": after,
        "moment": round(moment, 3),
        "killed": killed,
        "exit": code,
        "left within": left_within,
        "missing, differing": compare(campaigns, rows),
        "dead": dead,
        "settled calls repeated": repeated(journal, settled | before),
        "committed pages asked again": sorted(
            again & {f"page={n}" for n in range(1, committed + 1)}
        ),
        "balanced": standing.totals.balanced and standing.totals.seen == 20,
        "fullest window": fullest,
        "refused": sum(1 for e in journal if e["status"] == 429),
    }


async def arrived(mock: MockServer, many: int) -> None:
    """Wait until the process has made so many requests."""
    with trio.fail_after(60):
        while len(await mock.requests()) < many:  # noqa: ASYNC110 - another process's doing
            await trio.sleep(0.005)


async def ends(
    seeds: Sequence[int],
    database: str,
    folder: Path,
    sent: signal.Signals = signal.SIGKILL,
) -> list[dict[str, Any]]:
    """One end for each seed, each with a database of its own."""
    limiter = trio.CapacityLimiter(AT_ONCE)
    found: list[dict[str, Any]] = []

    async def crash(seed: int) -> None:
        async with limiter:
            own = await fresh_database(database, seed)
            found.append(await one_end(seed, own, folder, sent))

    async with trio.open_nursery() as nursery:
        for seed in seeds:
            nursery.start_soon(crash, seed)
    return sorted(found, key=lambda f: int(f["seed"]))


async def fresh_database(conninfo: str, seed: int) -> str:
    """A database beside the test's own, on the same server."""
    import psycopg  # noqa: PLC0415 - the test's own need

    def create() -> str:
        info = psycopg.conninfo.conninfo_to_dict(conninfo)
        name = f"{info['dbname']}_{seed}"
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return psycopg.conninfo.make_conninfo(conninfo, dbname=name)

    return await trio.to_thread.run_sync(create)


def assert_nothing_lost(found: list[dict[str, Any]]) -> None:
    """What must hold after each crash."""
    for crash in found:
        assert crash["missing, differing"] == (0, 0), crash
        assert crash["dead"] == 0, crash
        assert crash["settled calls repeated"] == 0, crash
        assert crash["committed pages asked again"] == [], crash
        assert crash["balanced"], crash
        assert crash["fullest window"] <= 10, crash
        assert crash["refused"] == 0, crash


@pytest.mark.long
async def test_killed_at_five_moments_nothing_is_lost_or_doubled(
    postgres: str, tmp_path: Path
) -> None:
    """resume, no-blind-repeat, budget: after kill -9 the next start makes it whole."""
    assert_nothing_lost(await ends(list(SEEDS)[:5], postgres, tmp_path))


@pytest.mark.long
async def test_killed_at_fifty_moments_nothing_is_lost_or_doubled(
    postgres: str, tmp_path: Path
) -> None:
    """resume, no-blind-repeat, budget: the same, fifty times."""
    found = await ends(list(SEEDS), postgres, tmp_path)
    assert_nothing_lost(found)
    assert sum(f["killed"] for f in found) >= len(found) * 0.8


def assert_politely_left(found: list[dict[str, Any]]) -> None:
    """What must hold after each SIGTERM, beside what holds after a crash."""
    assert_nothing_lost(found)
    for end in found:
        assert end["exit"] == 0, end
        assert end["left within"] < LEAVES / 2, end


@pytest.mark.long
async def test_asked_to_leave_at_fifty_moments_it_leaves_and_nothing_is_lost(
    postgres: str, tmp_path: Path
) -> None:
    """drain: SIGTERM at any moment ends with exit 0, a page committed or not at all."""
    assert_politely_left(await ends(list(SEEDS), postgres, tmp_path, signal.SIGTERM))
