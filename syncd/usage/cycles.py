"""`syncd cycles`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("stream", required=False)
@click.option(
    "-n",
    "limit",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=20,
    help="So many; default 20.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, times as ISO 8601.")
@later
def cycles() -> None:
    """Show the last cycles of all streams, or of STREAM, newest first.

    For each record that the API gave there is one end: seen = written + unchanged +
    left out + dead + folded (left out: by `where`, or kept out); success is the part that was
    not put aside. Counts that are zero everywhere are not shown. The status page shows the
    same figures.

    \b
    Example:
      syncd cycles campaigns -n 5
    """  # noqa: D301 - click's own \b keeps lines
