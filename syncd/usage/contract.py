"""`syncd contract`: what can be typed."""

import click

from syncd.usage.later import later


@click.group()
def contract() -> None:
    """Look at how the APIs' data leaves what the config says: new fields, wrong types.

    What becomes of it is the stream's `contract`. Each is told once; it goes by itself when
    a whole cycle does not meet it any more.

    \b
    Example:
      syncd contract show campaigns
      syncd contract accept campaigns budget
    """  # noqa: D301 - click's own \b keeps lines


@contract.command("show")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times as ISO 8601.")
@later
def show() -> None:
    """Show it of all streams, or of the STREAMs named, and the columns that were added.

    \b
    Example:
      syncd contract show shop.orders
    """  # noqa: D301 - click's own \b keeps lines


@contract.command("accept")
@click.argument("stream")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@later
def accept() -> None:
    """Say that somebody has seen it: all of STREAM, or the fields and columns NAMEd.

    Its alarm is over with the next cycle. What becomes of the data does not change: that is
    for the config to say.

    \b
    Example:
      syncd contract accept shop.orders colour
    """  # noqa: D301 - click's own \b keeps lines
