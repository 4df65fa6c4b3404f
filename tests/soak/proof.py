"""What must hold when the trouble is over?  Each is looked up at the server or the database."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import attrs
import psycopg
import trio

from syncd.demo import compare, repeated
from syncd.store.postgres import open_store
from tests.daemon.proof import rows_of
from tests.soak import ledger
from tests.soak.held import growth
from tests.soak.knobs import CALLED, LIMIT, SOURCES
from tests.soak.world import World

WHOLE = 180.0  # seconds for one whole cycle of each stream, in calm
LEAVE = 30.0  # seconds in which the daemon must have left: its drain is 20
LOOK = 0.5  # seconds between two looks
REFUSED = {"tardy": 1}
"""Requests that are counted late may be refused once; from then on syncd counts from answers."""

UNBALANCED = """
SELECT source, id FROM syncd.cycle
WHERE seen <> written + unchanged + left_out + folded + dead
"""
OPEN = """
SELECT source, count(*) FROM syncd.cycle WHERE ended_at IS NULL AND NOT aside
GROUP BY source HAVING count(*) > 1
"""
LAST = """
SELECT DISTINCT ON (source) source, outcome, seen, dead FROM syncd.cycle
WHERE started_at > %s AND ended_at IS NOT NULL AND NOT aside ORDER BY source, id DESC
"""


@attrs.define(eq=False, kw_only=True)
class Sums:
    """What the server and the database have counted."""

    cycles: int = 0
    records: int = 0
    requests: int = 0
    refused: int = 0
    faults: int = 0
    """The API's own and those of both proxies; in the end the scripted ones, too."""

    gone: int = 0
    """Rows of campaigns that the API does not have any more."""

    fullest: int = 0


async def end(world: World) -> None:
    """Wait for a whole cycle of each stream, and have the daemon leave."""
    (calm,) = (await world.rows("SELECT clock_timestamp()"))[0]
    with trio.move_on_after(WHOLE) as patience:
        while not await _whole(world, calm):  # noqa: ASYNC110 - it is Postgres that knows
            await trio.sleep(LOOK)
    if patience.cancelled_caught:
        world.violate(f"no whole cycle of each stream in {WHOLE:.0f} s of calm")
    await world.stop(LEAVE)
    await _last_cycles(world, calm)


async def _whole(world: World, since: datetime) -> bool:
    last = await world.rows(LAST, since)
    return {source for source, outcome, *_ in last if outcome == "ok"} == set(SOURCES)


async def _last_cycles(world: World, since: datetime) -> None:
    records = len(world.ids)
    for source, outcome, seen, dead in await world.rows(LAST, since):
        if (outcome, seen, dead) != ("ok", records, 0):
            world.violate(
                f"the last cycle of {source}: {outcome}, {seen} of {records} seen, {dead} dead"
            )


async def prove(world: World) -> Sums:
    """Look at everything; what is not as it must be becomes a violation."""
    sums = await sums_of(world)
    everything = await world.mock.requests()
    sums.faults += sum(1 for e in everything if e["fault"])
    journal = [e for e in everything if e["path"].startswith("/api/")]
    await _table_equals_api(world, sums)
    await _calls_are_made_once(world, journal)
    await _budget_is_kept(world, journal, sums)
    await _sums_balance(world)
    await _nothing_is_left(world)
    world.violations += growth(world.lives)
    return sums


async def _table_equals_api(world: World, sums: Sums) -> None:
    campaigns = await world.mock.campaigns()
    there = {c["id"] for c in campaigns}
    async with open_store(world.conninfo) as store:
        for source in SOURCES:
            rows = await rows_of(store, world.syncd.path, source)
            sums.gone += sum(1 for row in rows if row["id"] not in there)
            # Who makes no calls has no such column.
            now = [{"synced_at": "", **row} for row in rows if row["id"] in there]
            missing, differing = compare(campaigns, now)
            if missing or differing:
                world.violate(f"{source}: {missing} rows are missing, {differing} differ")


async def _calls_are_made_once(world: World, journal: Sequence[dict[str, Any]]) -> None:
    settled = await world.asked(ledger.settled)
    # What came late had been sent before: syncd may have asked again, and been answered.
    in_time = [e for e in journal if e["fault"] != "late"]
    if (again := repeated(in_time, settled)) > 0:
        world.violate(f"{again} calls were made although their answers were in the ledger")
    for source in (s for s, repeat in CALLED.items() if repeat == "never"):
        meant = await world.asked(partial(ledger.intents, source=source))
        if blind := ledger.blind(journal, source, meant):
            world.violate(f"{source}: calls for {', '.join(sorted(blind))} were made again")


async def _budget_is_kept(world: World, journal: Sequence[dict[str, Any]], sums: Sums) -> None:
    sums.fullest = (await world.mock.windows())["fullest"]
    if sums.fullest > LIMIT:
        world.violate(f"a window held {sums.fullest} requests of {LIMIT}")
    refused = Counter(e["client"] for e in journal if e["status"] == 429)
    for source, times in refused.items():
        if times > REFUSED.get(source, 0):
            world.violate(f"{source} was refused {times} times for its budget")


async def _sums_balance(world: World) -> None:
    for source, cycle in await world.rows(UNBALANCED):
        world.violate(f"cycle {cycle} of {source}: its sums do not balance")
    for source, many in await world.rows(OPEN):
        world.violate(f"{source} has {many} cycles under way at once")


async def _nothing_is_left(world: World) -> None:
    if left := await world.connections():
        world.violate(f"{left} connections to Postgres are left after the stop")
    if world.running is not None:
        world.violate("the daemon runs on")


async def sums_of(world: World) -> Sums:
    """The figures so far; those of a Postgres that is away are those of nothing."""
    sums = Sums()
    try:
        query = "SELECT count(*), coalesce(sum(seen), 0) FROM syncd.cycle WHERE outcome = 'ok'"
        sums.cycles, sums.records = map(int, (await world.rows(query))[0])
    except psycopg.OperationalError:
        sums.cycles = -1
    stats = await world.mock.stats()
    sums.requests, sums.refused = stats["requests"], stats["refused_429"]
    sums.faults = stats["unavailable_503"] + stats["hangs"]
    sums.faults += len(world.to_api.log) + len(world.to_postgres.log)
    return sums
