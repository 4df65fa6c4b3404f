"""`syncd schema`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.option("--apply", "apply_it", is_flag=True, help="Do it, as the role in `database.url`.")
@click.option("--roles", is_flag=True, help="Print the grants for three roles.")
@later
def schema() -> None:
    """Show what the database still needs, as SQL; with --apply do it.

    The daemon needs no right to change the schema: run `syncd schema --apply` once with
    the owner's `database.url`, and let the daemon run as the writer. `--roles` prints
    the grants for owner (migrates), writer (the daemon) and reader (people).
    """
