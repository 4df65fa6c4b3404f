"""`syncd dead`: what can be typed."""

import click

from syncd.usage.later import later

KINDS = click.Choice(("contract", "refused", "call-failed", "outcome-unknown"))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, times as ISO 8601.")


@click.group()
def dead() -> None:
    """Look at dead letters: records and calls put aside, each with its reason.

    A dead letter costs itself alone: the rest of its page was written. It leaves by
    itself when a later cycle writes its record.

    \b
    Example:
      syncd dead list campaigns      what lies there
      syncd dead show 12             one letter whole, and what can be done
      syncd dead retry 12            try its record again, now
      syncd dead discard 12          forget it
    """  # noqa: D301 - click's own \b keeps lines


@dead.command("list")
@click.argument("stream", required=False)
@click.option("--kind", type=KINDS, help="Only those of this kind.")
@click.option(
    "-n",
    "limit",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=50,
    help="So many; default 50.",
)
@AS_JSON
@later
def list_letters() -> None:
    """List dead letters of all streams, or of STREAM, the newest first.

    \b
    contract         the record does not fit the config's columns
    refused          Postgres refused the row
    call-failed      the record's own call failed for good
    outcome-unknown  the record's own call may have been carried out

    \b
    Example:
      syncd dead list campaigns --kind contract
    """  # noqa: D301 - click's own \b keeps lines


@dead.command("show")
@click.argument("number", type=click.IntRange(1, 2**63 - 1), metavar="ID")
@AS_JSON
@later
def show_letter() -> None:
    """Show one dead letter whole: the record as the API wrote it, and what can be done.

    \b
    Example:
      syncd dead show 12
    """  # noqa: D301 - click's own \b keeps lines


@dead.command("retry")
@click.argument("numbers", nargs=-1, type=click.IntRange(1, 2**63 - 1), metavar="[ID]...")
@click.option("--all", "stream", metavar="STREAM", help="All that STREAM has now.")
@click.option(
    "--repeat",
    is_flag=True,
    help="Make calls again that may have been carried out, though the API may do them twice.",
)
@later
def retry() -> None:
    """Let the running daemon try dead letters again: the IDs named, or all of one stream.

    The record is looked at anew, with the config as it is now; its call is made if it has
    not succeeded yet, with its first key; its row is written, and the letter leaves. One that
    fails again stays. A call whose outcome is unknown is made again only if the API knows it
    by its key (`call.repeat`), or says that it was not carried out (`call.verify`, which is
    asked first), or with --repeat.

    \b
    Example:
      syncd dead retry 12 13
      syncd dead retry --all campaigns

    Exit status 1 if one of them fails again.
    """  # noqa: D301 - click's own \b keeps lines


@dead.command("discard")
@click.argument("numbers", nargs=-1, type=click.IntRange(1, 2**63 - 1), metavar="[ID]...")
@click.option("--all", "stream", metavar="STREAM", help="All that STREAM has now.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@later
def discard() -> None:
    """Forget dead letters: the IDs named, or all of one stream.

    The record is not written. If the API still lists it as it was, the next cycle
    puts it aside again.

    \b
    Example:
      syncd dead discard 12 13
      syncd dead discard --all campaigns --yes
    """  # noqa: D301 - click's own \b keeps lines
