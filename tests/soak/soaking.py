"""How is the real thing soaked?  Trouble for so many minutes, then calm, then the proof."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click
import trio

from tests.servers import short_place
from tests.soak import proof, troubles
from tests.soak.held import Life, longest, mib
from tests.soak.schedule import schedule
from tests.soak.world import World, made

SPEED = 40.0  # of the mock: a window of 1.5 s
LIVE = 1.0  # seconds between two looks on a terminal
PIPED = 60.0  # seconds between two lines elsewhere
NEWEST = 12  # actions that are told with a violation

Say = Callable[[str], None]


@attrs.define(eq=False, kw_only=True)
class Soaked:
    """What came of it."""

    seed: int
    minutes: float
    sums: proof.Sums
    kills: int
    reloads: int
    lives: list[Life]
    violations: list[str]

    @property
    def summary(self) -> list[str]:
        """The figures as a person reads them; the last line is for programs too."""
        s = self.sums
        counted = {
            "min": round(self.minutes, 1) if self.minutes % 1 else int(self.minutes),
            "cycles": s.cycles,
            "kills": self.kills,
            "reloads": self.reloads,
            "faults": s.faults,
            "violations": len(self.violations),
        }
        return [
            *self._of_memory(),
            f"{s.requests:,} requests, {s.refused} refused, the fullest window held {s.fullest}",
            f"{s.records:,} records seen in cycles that ended well; gone at the API: {s.gone} rows",
            f"seed {self.seed}",
            ", ".join(f"{many:,} {what}" for what, many in counted.items()),
        ]

    def _of_memory(self) -> Iterator[str]:
        life = longest(self.lives)
        if life is None:
            return
        most = max(s.rss for each in self.lives for s in each.samples)
        yield f"{len(self.lives)} lives of the daemon, at most {mib(most)} in memory"
        if life.young is not None and life.old is not None:
            yield (
                f"the longest, of {life.seconds:.0f} s, from its beginning to its end: "
                f"{mib(life.young.rss)} to {mib(life.old.rss)}, "
                f"{life.young.descriptors} to {life.old.descriptors} descriptors, "
                f"{life.young.threads} to {life.old.threads} threads"
            )


async def soak(*, seed: int, minutes: float, pace: float = 1.0, say: Say, show: Say) -> Soaked:
    """Soak it.  `say` takes a line of its own, `show` what stands on the line that changes.

    With a `pace` of 2 trouble comes twice as fast.
    """
    with short_place() as folder:
        async with made(folder, speed=SPEED, minutes=minutes) as world:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.keep_alive)
                nursery.start_soon(world.look)
                nursery.start_soon(_tell, world, show)
                await _trouble(world, seed, minutes * 60, pace, say)
                show("calm: waiting for one whole cycle of each stream")
                await troubles.calm(world)
                await proof.end(world)
                nursery.cancel_scope.cancel()
            show("")
            sums = await proof.prove(world)
        found = world.violations
        if found:
            kept = Path(tempfile.mkdtemp(prefix="syncd-soak-logs-"))
            for log in folder.glob("life-*.log"):
                shutil.copy(log, kept)
            say(f"seed {seed}: the logs of all lives are in {kept}")
    return Soaked(
        seed=seed,
        minutes=minutes,
        sums=sums,
        kills=world.kills,
        reloads=world.reloads,
        lives=world.lives,
        violations=found,
    )


async def _trouble(world: World, seed: int, seconds: float, pace: float, say: Say) -> None:
    """Let all happen that is due in so many seconds; what is begun is done to its end."""
    began = trio.current_time()
    told = 0
    newest: list[str] = []
    async with trio.open_nursery() as nursery:
        for action in schedule(seed, pace):
            if action.at >= seconds:
                break
            await trio.sleep_until(began + action.at)
            nursery.start_soon(troubles.play, world, action)
            newest = [*newest, str(action)][-NEWEST:]
            if len(world.violations) > told:
                lines = [*world.violations[told:], "the last actions were", *newest]
                say("\n".join(lines))
                told = len(world.violations)


async def _tell(world: World, show: Say) -> None:
    began, cycles = trio.current_time(), 0
    while True:
        gone = trio.current_time() - began
        sums = await proof.sums_of(world)
        cycles = max(cycles, sums.cycles)
        show(
            f"{gone // 60:.0f}:{gone % 60:02.0f}  {cycles:,} cycles  {world.kills} kills  "
            f"{world.reloads} reloads  {sums.requests:,} requests  {sums.refused} refused  "
            f"{len(world.violations)} violations"
        )
        await trio.sleep(LIVE if sys.stdout.isatty() else PIPED)


def main(seed: int, minutes: float) -> int:
    """Soak it on the command line; the exit status."""
    live = sys.stdout.isatty()

    def show(line: str) -> None:
        if live:
            click.echo(f"\r{line:<100}", nl=False)
        elif line:
            click.echo(line)

    def say(text: str) -> None:
        if live:
            click.echo()
        click.echo(text)

    async def run() -> Soaked:
        return await soak(seed=seed, minutes=minutes, say=say, show=show)

    soaked = trio.run(run)
    click.echo("\n".join([*(f"VIOLATED {v}" for v in soaked.violations), *soaked.summary]))
    return 1 if soaked.violations else 0
