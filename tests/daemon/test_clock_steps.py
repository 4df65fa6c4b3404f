"""Postgres's clock is stepped under a daemon in mid-cycle: a real server under faketime.

Tokens, leases and next starts are on that clock.  Whatever it does, no window may hold more
than the budget, and nothing may wait longer than a token can be in use.
"""

import itertools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import MockServer, running_mock
from syncd.store.embedded import Embedded, embedded_server
from syncd.store.leases import LASTS
from tests.daemon.conftest import BUSY, Syncd, config
from tests.daemon.proof import Proof, proof
from tests.daemon.running import daemon

SPEED = 40.0
PER, TIMEOUT = 60 / SPEED, 0.5
MARGIN = 5.0  # seconds: the machine has other things to do; the least step is a minute
IN_USE = PER * 1.001 + TIMEOUT + BUSY  # the longest that a token can be, in seconds
RECORDS, SIZE = 40, 4
PAGES = RECORDS // SIZE
HOURS, MINUTE = 7200, 61

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed"),
]


@attrs.define(eq=False)
class Stepped:
    """A server whose clock can be stepped while it runs."""

    server: Embedded
    _offset: Path

    @property
    def conninfo(self) -> str:
        return f"host={self.server.place.data} dbname=postgres user=postgres"

    def step(self, seconds: int) -> None:
        """Be so far from the true time, from now on."""
        # At once, not half of it: a server may read it at any moment.
        new = self._offset.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.chmod(0o644)
        new.rename(self._offset)

    async def lease_is_as_ever(self) -> None:
        """Wait for the lease to be held for no more and no less than it is."""
        left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM syncd.lease"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            while True:
                [(seconds,)] = connection.execute(left).fetchall()
                if LASTS / 2 < seconds <= LASTS:
                    return
                await trio.sleep(0.1)


@asynccontextmanager
async def stepped(place: Path) -> AsyncIterator[tuple[Stepped, MockServer]]:
    offset = place / "offset"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(LIBRARY))
        patch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
        patch.setenv("FAKETIME_NO_CACHE", "1")
        # As the kernel has it: a step of the time of day leaves this one alone.
        patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        server = embedded_server(place / "state")
        found = Stepped(await server.__aenter__(), offset)
    try:
        async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
            yield found, mock
    finally:
        await server.__aexit__(None, None, None)


def written(syncd: Syncd, mock: MockServer, database: str) -> None:
    syncd.write(config(mock.base_url, database, speed=SPEED, size=SIZE, timeout=TIMEOUT))


async def looked_at(mock: MockServer, database: str, syncd: Syncd) -> Proof:
    """The proof, without what it takes from stamps of a clock that was stepped."""
    return attrs.evolve(await proof(mock, database, syncd.path), unrepeated=True)


async def longest_wait(mock: MockServer) -> float:
    """Seconds between two requests, at the most."""
    arrived = [e["arrived"] for e in await mock.requests() if e["path"].startswith("/api/")]
    return max((b - a for a, b in itertools.pairwise(arrived)), default=math.inf)


@pytest.mark.parametrize("step", [HOURS, -HOURS, MINUTE, -MINUTE])
async def test_a_step_of_the_clock_neither_refills_nor_blocks(
    place: Path, syncd: Syncd, step: int
) -> None:
    """budget, resume: there and back again, in the middle of a cycle; the next is due in time."""
    async with stepped(place) as (db, mock):
        written(syncd, mock, db.conninfo)
        async with daemon(syncd) as running:
            await running.until(f"records={SIZE * 2}")
            db.step(step)
            await running.until(f"records={SIZE * 6}")
            db.step(0)
            await running.until("resting until the next cycle")
            db.step(step)
            await db.lease_is_as_ever()
            refused = await syncd.command("once")
            assert refused.returncode == 1
            assert "is run by another syncd" in refused.stderr
            await running.leave()
        found = await looked_at(mock, db.conninfo, syncd)
        waited = await longest_wait(mock)
    said = running.said
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)
    assert found.transactions == PAGES, said
    assert set(found.calls.values()) == {1}, said
    assert waited < IN_USE + MARGIN, said
    rests = float(said.rpartition("seconds=")[2].split()[0])
    assert 86400 - 60 < rests <= 86400, said


@pytest.mark.parametrize("step", [-HOURS, -MINUTE])
async def test_stepped_back_it_does_not_block_the_next_start(
    place: Path, syncd: Syncd, step: int
) -> None:
    """budget, resume: tokens that a dead process spent look spent for hours, and its lease held."""
    async with stepped(place) as (db, mock):
        written(syncd, mock, db.conninfo)
        async with daemon(syncd) as first:
            await first.until(f"records={SIZE * 2}")
            first.process.kill()
            await first.process.wait()
        db.step(step)
        began = trio.current_time()
        async with daemon(syncd) as second:
            await second.until(f"records={SIZE * 3}")
            waited = trio.current_time() - began
            await second.leave()
        found = await looked_at(mock, db.conninfo, syncd)
    said = first.said + second.said
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)
    assert max(found.calls.values()) <= 2, said  # what was in flight is asked again
    assert waited < 2 * IN_USE + 3 * MARGIN, said  # a page needs five, of which some are left
