"""What happens when?  A schedule is a list of steps, made from a seed, and short to read."""

import random
from typing import Literal, get_args

import attrs

What = Literal[
    "crash",  # the daemon is gone, without a word, and is started again
    "stop",  # SIGTERM, and started again
    "rival",  # its lease runs out, and another daemon takes over beside it
    "away",  # Postgres does not answer for a while
    "lossy",  # some statements or their answers get lost, or are slow
    "down",  # the API answers nothing but 503
    "flaky",  # answers are late, lost, wrong or refused
    "jump",  # Postgres's clock is stepped
    "reload",  # other settings
    "budget",  # another limit
    "job",  # an operator asks for something
    "change",  # records change, come, go, move
]

WHATS: tuple[What, ...] = get_args(What)
WEIGHTS = (5, 2, 2, 2, 3, 1, 4, 1, 3, 1, 4, 4)


@attrs.frozen
class Step:
    """One thing that happens."""

    after: float
    """Seconds since the step before."""

    what: What
    number: int
    """Which one of its kind; its meaning is the world's."""

    def __str__(self) -> str:
        return f"after {self.after:6.2f} s {self.what} {self.number}"


@attrs.frozen(kw_only=True)
class Schedule:
    """A seed, for all that is drawn on the way, and the steps."""

    seed: int
    steps: tuple[Step, ...]

    def without(self, first: int, many: int) -> "Schedule":
        """The same with some steps left out; the time that they took stays."""
        gone = self.steps[first : first + many]
        rest = list(self.steps[:first] + self.steps[first + many :])
        if first < len(rest):
            waited = sum(s.after for s in gone)
            rest[first] = attrs.evolve(rest[first], after=rest[first].after + waited)
        return attrs.evolve(self, steps=tuple(rest))

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *map(str, self.steps)])


def schedule(seed: int) -> Schedule:
    """The schedule of a seed; the same for ever, as long as the kinds of steps are."""
    rng = random.Random(seed)
    steps = [
        Step(
            round(rng.choice((rng.uniform(0, 3), rng.uniform(0, 20), rng.uniform(0, 120))), 2),
            rng.choices(WHATS, WEIGHTS)[0],
            rng.randrange(1000),
        )
        for _ in range(rng.randint(3, 12))
    ]
    return Schedule(seed=seed, steps=tuple(steps))
