"""`syncd check`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.option("--offline", is_flag=True, help="Look at the file alone; needs no secrets.")
@later
def check() -> None:
    """Check the config, the database, the credentials and each stream's first page.

    Writes nothing into your tables. Its requests, one for each stream, are spent from
    the budget, so that it does no harm beside a running daemon.
    """
