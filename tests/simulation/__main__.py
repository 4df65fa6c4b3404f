"""`scripts/soak`: search on and on, for as long as one likes."""

import itertools
import random
import sys
import time

import click

from tests.simulation.schedule import schedule
from tests.simulation.search import Failure, run, shrink

TELL = 10.0  # seconds between two lines of progress


@click.command()
@click.option("--minutes", type=float, default=20.0, show_default=True)
@click.option("--seed", type=int, help="The first one; drawn if it is not given.")
@click.option("--only", is_flag=True, help="Replay --seed alone, and print what happened.")
def soak(minutes: float, seed: int | None, *, only: bool) -> None:
    """Search schedules for one that breaks a promise; a failing one is made short and printed.

    Exit status 1 if there is one.
    """
    first = random.SystemRandom().randrange(10**6, 10**9) if seed is None else seed
    if only:
        world, what = run(schedule(first))
        click.echo("\n".join([*world.log, what or "no promise is broken"]))
        sys.exit(bool(what))
    click.echo(f"from seed {first}")
    until, told = time.monotonic() + minutes * 60, time.monotonic()
    schedules = steps = violations = 0
    for number in itertools.count(first):
        if time.monotonic() >= until:
            break
        chosen = schedule(number)
        world, what = run(chosen)
        schedules += 1
        steps += world.steps + len(chosen.steps)
        if what:
            violations += 1
            click.echo(str(shrink(Failure(chosen, what))))
        if time.monotonic() >= told + TELL:
            told = time.monotonic()
            left = (until - told) / 60
            click.echo(f"{schedules:,} schedules, {steps:,} steps, {left:.1f} min left", err=True)
    click.echo(f"{schedules:,} schedules, {steps:,} steps, {violations} violations")
    sys.exit(bool(violations))


if __name__ == "__main__":
    soak(prog_name="scripts/soak")
