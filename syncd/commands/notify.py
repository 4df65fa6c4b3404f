"""`syncd notify test`: does what syncd says arrive?"""

import sys
from collections.abc import Sequence

import click
import trio

from syncd import app, logs
from syncd.commands.options import FAILED, Options
from syncd.config.secrets import redactions
from syncd.config.settings import NotifySettings, Settings
from syncd.errors import NotDelivered
from syncd.views.words import plain


@click.group()
def notify() -> None:
    """Look after those who are told when something needs a person."""


@notify.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def test(options: Options, names: tuple[str, ...]) -> None:
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
    settings = options.settings()
    logs.configure(level="ERROR", secrets=redactions(settings))
    chosen = _chosen(settings, names)
    if not chosen:
        click.echo("syncd: the config has no [[notify]]; see docs/notifications.md", err=True)
        sys.exit(FAILED)
    failed = [receiver for receiver in chosen if not trio.run(_test, receiver)]
    if failed:
        sys.exit(FAILED)


def _chosen(settings: Settings, names: Sequence[str]) -> list[NotifySettings]:
    known = {receiver.name: receiver for receiver in settings.notify}
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "there is none yet"
            raise click.UsageError(f"there is no receiver {name!r}; name one of: {listed}")
    return [receiver for name, receiver in known.items() if not names or name in names]


async def _test(receiver: NotifySettings) -> bool:
    began = trio.current_time()
    try:
        await app.test_message(receiver)
    except NotDelivered as error:
        click.echo(f"FAIL  {plain(logs.hidden(f'{receiver.name}: {error}'))}")
        return False
    click.echo(f"ok    {plain(receiver.name)}: taken in {trio.current_time() - began:.1f} s")
    return True
