"""`syncd run`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.option(
    "--log",
    "shape",
    type=click.Choice(("auto", "plain", "json")),
    default="auto",
    show_default=True,
    help="How log lines look. auto: journald's fields, columns on a terminal, else plain.",
)
@later
def run() -> None:
    """Run the daemon: cycle after cycle of every stream, until SIGTERM or SIGINT.

    On the signal it awaits what is in flight and commits the page if it is complete; a
    second signal cuts that short. SIGHUP, or `syncd reload`, makes it read the config again.
    """
