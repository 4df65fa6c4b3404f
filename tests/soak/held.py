"""What does a daemon hold, and does it hold more and more?

Each life is another process.  Within the longest one its beginning is compared with its end;
the early lives are compared with the late ones at the same age.  What counts is the least of
a stretch: requests come and go, what is left over stays.  But while Postgres is away no
connection is there at all: so the end of a life is held against the most of its beginning.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import attrs

WARM = 12.0  # seconds until imports, pools and caches are there
STRETCH = 20.0  # seconds that are taken together
MORE = 3  # descriptors, threads or connections that may be a matter of the moment
GROWTH = 8 * 2**20  # bytes of memory that may be one, in the heap of a young process
NAMES = ("descriptors", "threads", "connections")


@attrs.frozen(kw_only=True)
class Held:
    """What a process held at an age."""

    age: float
    rss: int
    descriptors: int
    threads: int
    connections: int | None
    """To Postgres, of all that call themselves syncd; None while Postgres is away."""


@attrs.define(eq=False)
class Life:
    """A daemon from its start to its end."""

    number: int
    pid: int
    seconds: float = 0.0
    samples: list[Held] = attrs.field(factory=list)

    def between(self, start: float, end: float) -> list[Held]:
        return [s for s in self.samples if start <= s.age < end]

    @property
    def young(self) -> Held | None:
        return least(self.between(WARM, WARM + STRETCH))

    @property
    def young_most(self) -> Held | None:
        """Its most descriptors, threads and connections in that stretch, and its least memory."""
        least, samples = self.young, self.between(WARM, WARM + STRETCH)
        if least is None:
            return None
        return attrs.evolve(
            least,
            descriptors=max(s.descriptors for s in samples),
            threads=max(s.threads for s in samples),
            connections=max((s.connections for s in samples if s.connections), default=None),
        )

    @property
    def old(self) -> Held | None:
        return least(self.between(self.samples[-1].age - STRETCH, float("inf")))


def held(pid: int, age: float, connections: int | None) -> Held | None:
    """As the kernel tells; None if there is no such process any more."""
    process = Path(f"/proc/{pid}")
    try:
        lines = (process / "status").read_text("ascii").splitlines()
        descriptors = sum(1 for _ in (process / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in fields:
        return None  # a zombie
    return Held(
        age=age,
        rss=int(fields["VmRSS"].split()[0]) * 1024,
        descriptors=descriptors,
        threads=int(fields["Threads"]),
        connections=connections,
    )


def least(samples: Sequence[Held]) -> Held | None:
    """The least of everything in a stretch; None if nothing was seen."""
    if not samples:
        return None
    known = [s.connections for s in samples if s.connections is not None]
    return Held(
        age=samples[0].age,
        rss=min(s.rss for s in samples),
        descriptors=min(s.descriptors for s in samples),
        threads=min(s.threads for s in samples),
        connections=min(known, default=None),
    )


def growth(lives: Sequence[Life]) -> list[str]:
    """What has grown, in words; nothing if nothing has."""
    return [*_within_the_longest(lives), *_from_life_to_life(lives)]


def _within_the_longest(lives: Sequence[Life]) -> list[str]:
    life = longest(lives)
    if life is None or life.seconds < WARM + 3 * STRETCH:
        return []
    young, old = life.young_most, life.old
    if young is None or old is None:
        return []
    return _more(f"life {life.number} in {life.seconds:.0f} s", young, old)


def _from_life_to_life(lives: Sequence[Life]) -> list[str]:
    young = [y for life in lives if (y := life.young) is not None]
    if len(young) < 4:
        return []
    early, late = young[: len(young) // 2], young[len(young) // 2 :]
    return _more("from the early lives to the late ones", _typical(early), _typical(late))


def _typical(samples: Sequence[Held]) -> Held:
    known = [s.connections for s in samples if s.connections is not None]
    return Held(
        age=samples[0].age,
        rss=int(median(s.rss for s in samples)),
        descriptors=int(median(s.descriptors for s in samples)),
        threads=int(median(s.threads for s in samples)),
        connections=int(median(known)) if known else None,
    )


def _more(where: str, before: Held, after: Held) -> list[str]:
    grown = []
    for name in NAMES:
        was, became = getattr(before, name), getattr(after, name)
        if was is not None and became is not None and became > was + MORE:
            grown.append(f"{name} grew from {was} to {became}, {where}")
    if after.rss > before.rss + GROWTH:
        grown.append(f"memory grew from {mib(before.rss)} to {mib(after.rss)}, {where}")
    return grown


def longest(lives: Sequence[Life]) -> Life | None:
    return max((x for x in lives if x.samples), key=lambda x: x.seconds, default=None)


def mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
