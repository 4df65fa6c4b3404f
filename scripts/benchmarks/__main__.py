"""The benchmarks: the real command against the mock and an embedded Postgres."""

import click

from scripts.benchmarks.budget import budget
from scripts.benchmarks.concurrency import concurrency
from scripts.benchmarks.door import door
from scripts.benchmarks.endurance import endurance, outage
from scripts.benchmarks.memory import memory


@click.group()
def bench() -> None:
    """Compare, in one run, and print ratios."""


for command in (budget, concurrency, door, endurance, memory, outage):
    bench.add_command(command)

if __name__ == "__main__":
    bench(prog_name="scripts/bench")
