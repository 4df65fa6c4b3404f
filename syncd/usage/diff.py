"""`syncd diff`: what can be typed."""

import click

from syncd.usage.exits import DIFFERENT
from syncd.usage.later import later

SHOWN = 50  # records that people are shown unless they say otherwise


@click.command()
@click.argument("stream")
@click.option("--full", is_flag=True, help="Ask for the whole list, whatever has changed since.")
@click.option(
    "--pages", type=click.IntRange(min=1), metavar="N", help="Look at the first N pages only."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Show N records at most (default {SHOWN}; all with --json). All are counted.",
)
@click.option("--columns", metavar="A,B,…", help="Show these columns, and who changes in them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option(
    "--exit-code", is_flag=True, help=f"Exit status {DIFFERENT} if there are differences."
)
@later
def diff() -> None:
    """Tell what a cycle of STREAM would change, row by row, and write nothing.

    Asks the API for the pages that the next cycle asks for, within the budget, and compares
    them with the table: rows that are new, that change (each column, old -> new), that come
    back, that would be marked as deleted, and records that would be put aside, with the
    reason. No call is made, no lease taken; it works beside a daemon, and on an empty
    database. Rows are tried in a transaction that is rolled back, unless the table has
    triggers or the like, which a dry run must not set off.

    What a dry run can't know is said at the end: what calls would give, what is gone if not
    the whole list was asked for, and that the API may change until the cycle runs.

    With --json the last line is {"summary": …}. Progress goes to stderr.

    \b
    Example:
      syncd diff campaigns                          before `syncd once campaigns`
      syncd diff campaigns --columns status,budget --limit 200
      syncd diff campaigns --pages 1                a first look, for one request
      syncd diff campaigns --exit-code --limit 0    in a script: is the table in step?
      syncd diff campaigns --json | jq -c 'select(.change == "deleted").key'

    Exit status 1 if it could not be finished, or a cycle could not be.
    """  # noqa: D301 - click's own \b keeps lines
