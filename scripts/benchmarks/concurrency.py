"""How many calls at once does the budget need?"""

import click
import trio

from mock_api.testing import running_mock
from scripts.benchmarks import job
from syncd.demo import duration
from syncd.store.embedded import embedded_postgres

SPEED = 20.0


@click.command()
def concurrency() -> None:
    """The campaigns job at speed 20 under its budget, 1 to 10 calls at once."""

    async def main() -> None:
        click.echo(f"{'at once':>8} {'seconds':>8} {'of the floor':>12} {'refused':>8}")
        for many in range(1, 11):
            with job.place() as folder:
                async with running_mock(speed=SPEED) as mock, embedded_postgres(folder):
                    config = job.limited(folder, mock.base_url, speed=SPEED, concurrency=many)
                    await job.once(config)
                    counted = [e for e in await mock.requests() if e["cost"]]
                    refused = (await mock.stats())["refused_429"]
            took, floor = duration(counted, limit=10, window=job.PER / SPEED)
            click.echo(f"{many:>8} {took:>8.2f} {took / floor:>12.3f} {refused:>8}")

    trio.run(main)
