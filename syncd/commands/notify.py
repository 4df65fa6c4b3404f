"""`syncd notify test`: does what syncd says arrive?"""

import sys
from collections.abc import Sequence

import click
import trio

from syncd import logs
from syncd.app import notices
from syncd.commands.options import Options
from syncd.config.secrets import redactions
from syncd.config.settings import NotifySettings, Settings
from syncd.errors import NotDelivered
from syncd.usage.exits import FAILED
from syncd.views.words import plain


def test(options: Options, names: tuple[str, ...]) -> None:
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
        await notices.test_message(receiver)
    except NotDelivered as error:
        click.echo(f"FAIL  {plain(logs.hidden(f'{receiver.name}: {error}'))}")
        return False
    click.echo(f"ok    {plain(receiver.name)}: taken in {trio.current_time() - began:.1f} s")
    return True
