"""`syncd run`: the daemon."""

import os
import sys
from typing import Any

import click
import trio

from syncd import logs, tracing
from syncd.app import running
from syncd.commands.options import Options
from syncd.config.secrets import redactions
from syncd.usage.exits import FAILED


def run(options: Options, shape: logs.Shape) -> None:
    settings = options.settings()
    logs.configure(shape=shape, secrets=redactions(settings))
    traces = tracing.begun(os.environ)

    async def main() -> Any:
        return await running.run(settings, report=logs.tell, reread=options.settings, traces=traces)

    outcome = trio.run(main)
    if outcome.cut:
        why = (
            "what was in flight was cut, since a second signal asked for it"
            if outcome.asked_twice
            else "a request, or what Postgres did not answer, had to be cut when the drain's "
            f"{outcome.drain:.0f} s were over"
        )
        click.echo(f"syncd: {why}", err=True)
        sys.exit(FAILED)
