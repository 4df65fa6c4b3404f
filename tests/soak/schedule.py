"""What happens when?  Actions without end, drawn from a seed: the same ones each time."""

import heapq
import itertools
import random
from collections.abc import Iterator
from typing import Literal

import attrs

What = Literal[
    "kill",  # SIGKILL: the daemon, or Postgres
    "reload",  # SIGHUP, with other settings or with a faulty file
    "records",  # campaigns change, come, go
    "postgres",  # its connections are cut, reset, silent; answers to COMMIT are swallowed
    "connections",  # the API's are cut, reset, silent, slow
    "answers",  # the API answers nonsense, late, broken off, or not at all
    "logins",  # every bearer token dies
]

RHYTHM: dict[What, tuple[float, float]] = {
    "kill": (20, 60),
    "reload": (6, 20),
    "records": (0.5, 4),
    "postgres": (3, 12),
    "connections": (2, 8),
    "answers": (4, 15),
    "logins": (30, 120),
}
"""Seconds from one to the next of its kind."""


@attrs.frozen(order=True)
class Action:
    """One thing that happens."""

    at: float
    """Seconds since the trouble began."""

    what: What
    number: int
    """All that is drawn for it is drawn from this."""

    @property
    def rng(self) -> random.Random:
        return random.Random(self.number)

    def __str__(self) -> str:
        return f"{self.at:8.2f} s {self.what} {self.number}"


def schedule(seed: int, pace: float = 1.0) -> Iterator[Action]:
    """The actions of a seed; with a `pace` of 2 they come twice as fast."""
    return heapq.merge(*(_of_a_kind(what, seed, pace) for what in RHYTHM))


def _of_a_kind(what: What, seed: int, pace: float) -> Iterator[Action]:
    rng = random.Random(f"{seed} {what}")
    at = 0.0
    for _ in itertools.count():
        at += rng.uniform(*RHYTHM[what]) / pace
        yield Action(round(at, 3), what, rng.randrange(10**9))
