"""How are figures told?  As a table and lines for people, or as one object for programs."""

import json
from collections.abc import Mapping, Sequence

import attrs
import click

from scripts.benchmarks.contenders import Contender
from scripts.benchmarks.contest import Arena, Figures, median
from scripts.benchmarks.goals import Goal

MIB = 2**20

Runs = Mapping[str, Sequence[Figures]]
"""What is measured, by whom it was: all turns."""


def as_text(
    arena: Arena,
    contenders: Sequence[Contender],
    runs: Runs,
    goals: Sequence[Goal],
    changed: int | None = None,
) -> None:
    """What was compared, the medians, and the goals; `changed`: these alone were moved."""
    moved = changed or arena.records
    head(arena, contenders, max(map(len, runs.values())), changed)
    click.echo(f"the list alone, neither decoded nor written: {arena.alone:.2f} s")
    click.echo(
        f"{'':<24}{'seconds':>9}{'records/s':>11}{'CPU s':>8}{'peak MiB':>10}"
        f"{'WAL B/record':>14}{'requests':>10}{'body MiB':>10}"
    )
    for name, figures in runs.items():
        f = median(figures)
        click.echo(
            f"{name:<24}{f.seconds:>9.2f}{moved / f.seconds:>11,.0f}"
            f"{f.cpu_seconds:>8.2f}{f.peak_bytes / MIB:>10.1f}"
            f"{f.wal_bytes / moved:>14.2f}{f.requests:>10,}{f.body_bytes / MIB:>10.2f}"
        )
    for goal in goals:
        click.echo(goal.line())


def head(
    arena: Arena, contenders: Sequence[Contender], turns: int, changed: int | None = None
) -> None:
    """What was compared."""
    of_them = "" if changed is None else f", {changed:,} of them changed"
    click.echo(
        f"{arena.records:,} records{of_them}, {arena.size:,} a page, medians of {turns}; "
        + ", ".join(f"{name} {value}" for name, value in arena.described().items())
    )
    for contender in contenders:
        click.echo(f"{contender.name}: {contender.versions}")


def as_json(
    arena: Arena,
    contenders: Sequence[Contender],
    runs: Mapping[str, Sequence[attrs.AttrsInstance]],
    goals: Sequence[Goal],
    changed: int | None = None,
) -> None:
    """The same and each turn, as one object."""
    told = {
        "records": arena.records,
        "changed": changed,
        "size": arena.size,
        **arena.described(),
        "contenders": {c.name: c.versions for c in contenders},
        "list_alone_seconds": round(arena.alone, 3),
        "medians": {name: attrs.asdict(median(figures)) for name, figures in runs.items()},
        "turns": {name: [attrs.asdict(f) for f in figures] for name, figures in runs.items()},
        "goals": [goal.told() for goal in goals],
    }
    click.echo(json.dumps(told))
