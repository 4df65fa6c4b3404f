"""Does the budget cost no more time than it must, and is nobody refused?"""

import json
from typing import Any

import attrs
import click
import trio

from mock_api.testing import MockServer, running_mock
from scripts.benchmarks import job
from scripts.benchmarks.spent import killed
from syncd.demo import duration
from syncd.store.embedded import embedded_postgres

SPEED = 20.0
RATIO = 1.10  # at that speed, at which the machine is not as much faster
RATIO_REAL = 1.01
SHARE = 0.96  # of the possible throughput, where processes die
COLUMNS = ("requests", "seconds", "floor", "ratio", "refused")


@attrs.frozen(kw_only=True)
class Case:
    """One way to run the campaigns job."""

    name: str
    instances: int = 1
    """Each with a source of its own; all share one budget and one client id."""

    killed: int = 0
    """So many of them, by SIGKILL, when `KILL` requests have been counted."""

    late: float = 0.0
    """The share of requests that the server counts three seconds late."""

    def most(self, speed: float) -> float:
        """Of the ratio."""
        if self.killed:
            return 1 / SHARE if speed == 1 else RATIO
        return RATIO_REAL if speed == 1 else RATIO

    @property
    def refusals(self) -> int:
        """One for each source at most: it has the source count from answers, for good."""
        return self.instances if self.late else 0


PLAIN = Case(name="503s and hangs")
KILLED = Case(name="three, two killed", instances=3, killed=2)
KILL = 45  # of 330; the fourth window has begun, and all three are at their calls
CASES = (
    PLAIN,
    KILLED,
    Case(name="5 % counted 3 s late", late=0.05),
    Case(name="three instances", instances=3),
    Case(name="three instances, late", instances=3, late=0.05),
)


@attrs.frozen(kw_only=True)
class Figures:
    """What a case came to, by the server's log."""

    case: str
    requests: int
    """That were counted."""

    seconds: float
    """First request to last answer."""

    floor_seconds: float
    """What so many requests need at least: full windows, and the last answer."""

    ratio: float
    refused_429: int
    goal_met: bool


@click.command()
@click.option(
    "--real-time", is_flag=True, help="At speed 1, the first two side by side: 15 minutes."
)
@click.option("--json", "as_json", is_flag=True, help="One object for each case.")
def budget(*, real_time: bool, as_json: bool) -> None:
    """The campaigns job under its budget: seconds against the least that it allows.

    100 campaigns, a call for each, ten requests a minute, at speed 20. The goal is a
    ratio of 1.10 at most, and no refusal: where requests are counted late, one for a source.
    In real time it is 1.01, and 96 % of what is possible where two of three processes are killed.
    """
    speed = 1.0 if real_time else SPEED

    async def tell(case: Case) -> None:
        figures = await measured(case, speed=speed)
        click.echo(json.dumps(attrs.asdict(figures)) if as_json else _line(figures))

    async def main() -> None:
        if not as_json:
            click.echo(f"{'':<22}{''.join(f'{name:>9}' for name in COLUMNS)}  goal")
        if not real_time:
            for case in CASES:
                await tell(case)
            return
        async with trio.open_nursery() as nursery:  # all of it is waiting
            for case in (PLAIN, KILLED):
                nursery.start_soon(tell, case)

    trio.run(main)


def _line(f: Figures) -> str:
    figures = f"{f.requests:>9}{f.seconds:>9.2f}{f.floor_seconds:>9.2f}{f.ratio:>9.3f}"
    return f"{f.case:<22}{figures}{f.refused_429:>9}  {'met' if f.goal_met else 'MISSED'}"


async def measured(case: Case, *, speed: float) -> Figures:
    """Run it once, in a place of its own."""
    with job.place() as folder:
        async with running_mock(speed=speed, late=case.late) as mock, embedded_postgres(folder):
            async with trio.open_nursery() as nursery:
                moment = trio.Event()
                for number in range(1, case.instances + 1):
                    config = job.limited(folder, mock.base_url, speed=speed, source=f"ads{number}")
                    if number <= case.killed:
                        command, log = job.command(config), folder / f"log{number}"
                        nursery.start_soon(killed, command, log, moment.wait)
                    else:
                        nursery.start_soon(job.once, config)
                if case.killed:
                    await _counted(mock, KILL, job.PER / speed / 100)
                    moment.set()
            journal = await _asked(mock)
    counted = [e for e in journal if e["cost"]]
    refused = sum(1 for e in journal if e["status"] == 429)
    took, floor = duration(counted, limit=10, window=job.PER / speed)
    return Figures(
        case=case.name,
        requests=len(counted),
        seconds=round(took, 3),
        floor_seconds=round(floor, 3),
        ratio=round(took / floor, 4),
        refused_429=refused,
        goal_met=took <= floor * case.most(speed) and refused <= case.refusals,
    )


async def _counted(mock: MockServer, many: int, look: float) -> None:
    """Wait until the server has counted so many requests."""
    while True:
        if sum(1 for e in await _asked(mock) if e["cost"]) >= many:
            return
        await trio.sleep(look)


async def _asked(mock: MockServer) -> list[dict[str, Any]]:
    """The job's requests, by the server's log."""
    return [e for e in await mock.requests() if e["path"].startswith("/api/")]
