"""A week in the life of a daemon, in seconds: outages, and clocks that jump."""

import itertools

import pytest
import trio

from syncd.errors import ApiUnavailable
from syncd.sync import events
from syncd.sync.model import StreamId
from syncd.testing.api import Asked
from tests.flow.fleet import Fleet

Clock = trio.abc.Clock
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
EVERY = (
    *(5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR),
    *(2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY),
)
OUTAGE = 20 * MINUTE
TOLERANCE = 1.0


@pytest.mark.long
async def test_a_week(autojump_clock: Clock) -> None:
    """contained, budget, no-blind-repeat: ten streams, a daily outage of each side, clock jumps.

    Each day the API is down for twenty minutes at 03:00, Postgres at 15:00, and its clock is
    stepped by two hours, forward and back in turn, at 21:00.
    """
    fleet = Fleet(requests=10)
    streams = {StreamId(source=f"s{n}", stream="list"): every for n, every in enumerate(EVERY)}
    down = False

    async def faults(_: Asked) -> None:
        if down:
            raise ApiUnavailable("503", sent="refused")

    for stream in streams:
        fleet.has(stream, 3).faults = faults
    began = trio.current_time()
    outages: list[tuple[float, float]] = []

    async with fleet.life(*(s.source for s in streams)) as life:
        for stream, every in streams.items():
            life.start(stream, every=every)
        for day in range(7):
            await trio.sleep_until(began + day * DAY + 3 * HOUR)
            down = True
            await trio.sleep(OUTAGE)
            down = False
            outages.append((trio.current_time() - OUTAGE, trio.current_time()))
            await trio.sleep_until(began + day * DAY + 15 * HOUR)
            fleet.store.away = True
            await trio.sleep(OUTAGE)
            fleet.store.away = False
            outages.append((trio.current_time() - OUTAGE, trio.current_time()))
            await trio.sleep_until(began + day * DAY + 21 * HOUR)
            fleet.store.clock_offset += 2 * HOUR * (-1) ** day
        await trio.sleep_until(began + 7 * DAY + 2 * MINUTE)

    def disturbed(start: float, end: float) -> bool:
        # After an outage a stream may wait for its next try for up to a quarter of an hour.
        return any(start < over + 16 * MINUTE and end > since for since, over in outages)

    latest, cycles = 0.0, 0
    for stream, every in streams.items():
        api = fleet.apis[stream]
        starts = [
            t
            for t, e in fleet.heard
            if isinstance(e, events.CycleStarted)
            and e.stream == stream
            and not e.checkpoint.resumed
        ]
        gaps = list(itertools.pairwise(starts))
        assert all(b - a >= every - TOLERANCE for a, b in gaps), "a cycle too early"
        late = [b - a - every for a, b in gaps if not disturbed(a, b)]
        latest = max(latest, *late, 0.0)
        ended = fleet.ended(stream)
        cycles += len(ended)
        assert len(starts) >= 7 * DAY / every * 0.95 - 2
        assert all(e.outcome == "ok" and e.totals.seen == 3 for e in ended)
        assert set(fleet.rows(stream)) == set(api.records)
        assert api.refused == 0
        assert api.most_in_a_window() <= 10
        keys = [a.idempotency_key for a in api.asked if a.idempotency_key]
        carried = sum(api.carried_out.values())
        assert carried == len(set(keys)) == 3 * len(starts), "a call was carried out twice"
    assert latest <= TOLERANCE
    assert all(c.counts.balanced for c in fleet.store.cycles)
    lasting = [c for c in fleet.store.cycles if c.outcome is None]
    assert len(lasting) <= len(streams)
    said = f"{cycles} cycles of {len(streams)} streams; at most {latest:.3f} s late"
    print(said)  # noqa: T201 - for who wants the figures
