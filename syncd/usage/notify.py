"""`syncd notify`: what can be typed."""

import click

from syncd.usage.later import later


@click.group()
def notify() -> None:
    """Look after those who are told when something needs a person."""


@notify.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@later
def test() -> None:
    """Send a test message to every receiver of the config, or to the NAMEs.

    NAME is the receiver's `name`, or its place in the file: `notify[1]` is the first. The
    message says `"state": "test"`, so that nobody is woken by it. It needs neither a daemon
    nor the database, and is sent once, without another try.

    \b
    Example:
      syncd notify test
      syncd notify test on-call

    Exit status 1 if a receiver did not take it, or if there is none.
    """  # noqa: D301 - click's own \b keeps lines
