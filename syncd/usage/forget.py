"""`syncd forget`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("stream")
@click.argument("keys", nargs=-1, metavar="KEY...")
@click.option("--keep-out", is_flag=True, help="And let it never come back from the API.")
@click.option("--let-in", is_flag=True, help="Undo --keep-out: it may come back.")
@click.option("--all", "everyone", is_flag=True, help="With --let-in: all that are kept out.")
@click.option("--dry-run", is_flag=True, help="Tell what there is of it, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@later
def forget() -> None:
    """Erase the records KEY of STREAM wherever syncd keeps them, and prove it.

    The row in your table, dead letters with what they hold, calls in the ledger, the story
    that `syncd why` tells, what operators asked about it, and what names it in reasons, alarms
    and the audit: in one transaction. Then every table is looked through. A key of several
    columns is written as "eu, 42".

    The record comes back with the next cycle in which the API lists it. With --keep-out it does
    not: a keyed hash of its key is all that is remembered, and what matches it is counted as
    `kept out`, not called for, not put aside and not logged. A key that is nowhere is kept out
    all the same. Works beside a running daemon and without one.

    \b
    Example:
      syncd forget campaigns 4711 --dry-run
      syncd forget campaigns 4711 --keep-out
      syncd forget campaigns 4711 --let-in

    Exit status 1 if something is left afterwards; it is said where.
    """  # noqa: D301 - click's own \b keeps lines
