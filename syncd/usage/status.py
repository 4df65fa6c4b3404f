"""`syncd status`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times as ISO 8601.")
@click.option("--watch", "live", is_flag=True, help="Look each second, until q or Ctrl-C.")
@later
def status() -> None:
    """Show how every stream stands, or the STREAMs named, and who runs them.

    Reads the database alone, so it works beside a daemon, without one, and from any host
    that reaches the database. STREAM is `source.stream`, or the stream's name alone where
    only one source has it.

    With --watch also: how far each running cycle is (of how much, as the last one tells), what
    it waits for, and what the last window of each budget was spent on. It goes on while
    Postgres is away.

    \b
    Example:
      syncd status
      syncd status --watch
      syncd status campaigns --json | jq -r '.streams[].state'

    Exit status 0 whenever it could look, whatever it saw; 1 if the database is away.
    """  # noqa: D301 - click's own \b keeps lines
