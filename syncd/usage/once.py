"""`syncd once`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@later
def once() -> None:
    """Run one cycle of every stream, or of the STREAMs named, and exit.

    A cycle that was left is gone on with from its last committed page. STREAM is
    `source.stream`, or the stream's name alone where only one source has it.
    """
