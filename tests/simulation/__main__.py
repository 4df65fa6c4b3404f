"""`scripts/soak`: search on and on, for as long as one likes; with `--real`, the real thing."""

import itertools
import random
import sys
import time

import click

from tests.simulation.schedule import schedule
from tests.simulation.search import Failure, run, shrink
from tests.soak import soaking

TELL = 10.0  # seconds between two lines of progress


@click.command()
@click.option("--minutes", type=float, default=20.0, show_default=True)
@click.option("--seed", type=int, help="The first one; drawn if it is not given.")
@click.option("--only", is_flag=True, help="Replay --seed alone, and print what happened.")
@click.option("--real", is_flag=True, help="Soak the real daemon instead, in real time.")
def soak(minutes: float, seed: int | None, *, only: bool, real: bool) -> None:
    """Search schedules for one that breaks a promise; a failing one is made short and printed.

    With --real nothing is simulated: the daemon, a Postgres and an API that misbehaves run,
    connections fail, records change, settings are reloaded, and the daemon or Postgres is
    killed each 20 to 60 s. In the end the table must equal the API, no settled call may have
    been made again, no window may have held too much, and nothing may be left over. --seed
    repeats what is done to them, at the same times.

    Exit status 1 if a promise is broken.
    """
    if real and only:
        raise click.UsageError("--only replays a schedule of the search; leave out one of the two")
    first = random.SystemRandom().randrange(10**6, 10**9) if seed is None else seed
    if only:
        world, what = run(schedule(first))
        click.echo("\n".join([*world.log, what or "no promise is broken"]))
        sys.exit(bool(what))
    if real:
        click.echo(f"seed {first}")
        sys.exit(soaking.main(first, minutes))
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
