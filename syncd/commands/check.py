"""`syncd check`: is the file right, do database and API answer?"""

import sys

import click
import trio

from syncd import logs
from syncd.check import Check
from syncd.commands.options import Options
from syncd.config.secrets import redactions
from syncd.usage.exits import FAILED


def check(options: Options, *, offline: bool) -> None:
    settings = options.settings(secrets=not offline)
    checking = Check(settings, click.echo)
    checking.file()
    if not offline:
        logs.configure(level="ERROR", secrets=redactions(settings))
        trio.run(checking.run)
    if checking.failed:
        sys.exit(FAILED)
