"""What do the benchmarks that compare let one choose?  The same, by the same names."""

from collections.abc import Callable
from typing import Any

import click

from scripts.benchmarks.contenders import RIVALS

RECORDS = click.option(
    "--records",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Records in the list.",
)
SIZE = click.option(
    "--size",
    type=click.IntRange(min=1, max=100_000),
    default=1000,
    show_default=True,
    help="Records in a page.",
)
TURNS = click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each contender runs; they take turns, and medians are told.",
)
RIVAL = click.option(
    "--rival",
    "rivals",
    multiple=True,
    type=click.Choice(RIVALS),
    default=("plain",),
    show_default=True,
    help="Who runs against syncd; can be given again. dlt and singer are installed at first, "
    "under your cache folder.",
)
SOURCES = click.option(
    "--sources",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Sources in the config, each with one stream.",
)
URL = click.option(
    "--url",
    metavar="URL",
    help="A Postgres on which databases may be made, with nobody else on it: WAL is counted "
    "for the whole server. Without it: an embedded one of the benchmark's own.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def seconds(usual: float, what: str) -> Callable[[Any], Any]:
    """How long something is watched."""
    kind = click.FloatRange(min=1)
    return click.option("--seconds", type=kind, default=usual, show_default=True, help=what)
