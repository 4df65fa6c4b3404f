"""`sync`, `pause`, `resume`, `reset`, `reconcile`, `reload`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.argument("stream")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--wait", is_flag=True, help="Wait for the end of the cycle, and tell how it ended.")
@later
def sync() -> None:
    """Let the running daemon sync STREAM now; with KEYs just these records.

    Without KEYs the stream's next cycle begins at once instead of when it is due. With
    KEYs the daemon looks through the API's list until it has found them, makes their calls
    and writes them; a cycle that is under way goes on afterwards. Both keep to the budget.
    A key of several columns is written as "eu, 42".

    \b
    Example:
      syncd sync campaigns --wait
      syncd sync campaigns 4711 4712

    Exit status 1 if a record was not found or was put aside, or if the cycle that was
    waited for did not end well. Without a daemon, `syncd once STREAM` runs a cycle itself.
    """  # noqa: D301 - click's own \b keeps lines


@click.command()
@click.argument("streams", nargs=-1, required=True, metavar="STREAM...")
@later
def pause() -> None:
    """Let STREAMs begin nothing more until they are resumed.

    The page that is under way is finished and committed first; the command returns when
    nothing runs any more. It holds over restarts, and other streams go on.

    \b
    Example:
      syncd pause campaigns      and later: syncd resume campaigns
    """  # noqa: D301 - click's own \b keeps lines


@click.command()
@click.argument("streams", nargs=-1, required=True, metavar="STREAM...")
@later
def resume() -> None:
    """Let STREAMs go on: those that were paused, and those that are parked or failing.

    A stream goes on after its last committed page. Use it after mending what had parked
    it; `syncd status` says what that was.

    \b
    Example:
      syncd resume campaigns
    """  # noqa: D301 - click's own \b keeps lines


@click.command()
@click.argument("stream")
@click.option("--yes", is_flag=True, help="Don't ask.")
@later
def reset() -> None:
    """Give up the running cycle of STREAM: the next begins at the first page, at once.

    The table keeps its rows, and dead letters stay. What the cycle has done so far is
    asked again, calls included. Works without a daemon, too.

    \b
    Example:
      syncd reset campaigns
    """  # noqa: D301 - click's own \b keeps lines


@click.command()
@click.argument("stream")
@click.option("--wait", is_flag=True, help="Wait until it is known what is gone, and tell.")
@click.option("--approve", is_flag=True, help="Let go what is missing now, however much that is.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@later
def reconcile() -> None:
    """Look now for rows of STREAM that its API does not have any more.

    The whole list is read, and once more if a row is missing: only what two complete scans
    do not meet is marked as deleted, in `_syncd_deleted_at`. A row that comes back loses the
    mark. No call is made twice for it. With `reconcile = "daily"` it happens by itself.
    Where no daemon runs, the next `syncd once` looks, and the one after it looks once more.

    More than 10 rows that are more than 5 % of the stream's stay until someone says --approve.
    So do those that a suspicious cycle missed. `syncd status` shows what is asked.

    \b
    Example:
      syncd reconcile campaigns --wait
      syncd reconcile campaigns --approve --wait

    Exit status 1 if rows were held, or nothing could be told, and it was waited for.
    """  # noqa: D301 - click's own \b keeps lines


@click.command()
@later
def reload() -> None:
    """Let the running daemon read its config again, and tell what came of it.

    The same as SIGHUP or `systemctl reload`, but with an answer: what becomes of each
    stream (keep, adopt, replace, retire, add), or every fault of the file; then nothing
    has changed. A stream changes at the end of the page that it is at; nothing in flight
    is cancelled. Streams that are parked are tried again.

    \b
    Example:
      syncd check --offline && syncd reload

    Exit status 1 if a daemon refused its config, or none runs.
    """  # noqa: D301 - click's own \b keeps lines
