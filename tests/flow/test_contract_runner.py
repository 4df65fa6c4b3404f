"""Columns that were added, over starts, reloads and tables that somebody has mended."""

import pytest
import trio
import trio.testing

from syncd.errors import StoreRefused
from syncd.sync import events
from syncd.sync.drift import Added
from syncd.sync.model import StreamId
from tests.flow.fleet import Fleet

Clock = trio.abc.Clock
ADS = StreamId(source="ads", stream="campaigns")
COLOUR = Added(column="colour", type="text", field="colour")


@pytest.fixture
def fleet() -> Fleet:
    """A list whose records have a field that no column names."""
    fleet = Fleet(requests=1000)
    fleet.has(ADS, 12)
    for record in fleet.apis[ADS].records.values():
        record["colour"] = "red"
    return fleet


def colours(fleet: Fleet) -> set[object]:
    rows = fleet.store.tables[ADS.source, ADS.stream].values()
    return {row.get("colour", "no such column") for row in rows}


async def test_a_start_and_a_reload_fill_what_was_added_before(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """resume: the file says nothing of it; Postgres does."""
    fleet.store.evolved[ADS.source, ADS.stream].append(COLOUR)
    async with fleet.life("ads") as life:
        runner = life.start(ADS, has_call=False)
        await fleet.cycles(ADS, 1)
        assert colours(fleet) == {"red"}
        for record in fleet.apis[ADS].records.values():
            record["colour"] = "blue"
        waits = runner.stream.waits
        runner.change(life.context(ADS, has_call=False, every=60.0, waits=waits))
        await fleet.until(lambda e: isinstance(e, events.CycleEnded))
        assert colours(fleet) == {"blue"}


async def test_a_table_that_was_refused_is_looked_at_anew(
    fleet: Fleet, autojump_clock: Clock
) -> None:
    """contained: whoever mends it may have added, or dropped, a column."""
    fleet.store.fail_next("commit_pages", StoreRefused("column colour does not exist"))
    async with fleet.life("ads") as life:
        runner = life.start(ADS, has_call=False)
        await fleet.until(lambda e: isinstance(e, events.Parked))
        await trio.testing.wait_all_tasks_blocked()
        fleet.store.evolved[ADS.source, ADS.stream].append(COLOUR)
        runner.notice()
        await fleet.cycles(ADS, 1)
    assert colours(fleet) == {"red"}
