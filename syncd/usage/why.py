"""`syncd why`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("stream")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times as ISO 8601.")
@later
def why() -> None:
    """Tell the story of one record: what was, what is, and what comes next.

    Which page, request and answer wrote or changed its row, or put it aside, and when; its
    calls; what scans found. A row's `_syncd_changed_at` names the page that changed it last.
    Times are UTC. KEY is written as for `syncd sync`: a key of several columns as "eu, 42".

    The story reaches as far back as dead letters are kept (`keep_dead_letters`). It is read
    from the database alone, so a daemon is not needed, nor disturbed.

    \b
    Example:
      syncd why campaigns 4711
      syncd why campaigns 4711 --json | jq -r '.past[].words'

    Exit status 1 if nothing is known of such a record.
    """  # noqa: D301 - click's own \b keeps lines
