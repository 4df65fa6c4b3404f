"""`syncd demo`: the main job on a mock API, with a kill in the middle."""

import json
import sys
from functools import partial

import attrs
import click
import trio
from rich.console import Console

from syncd.commands.options import Options
from syncd.demo import demo as run_demo
from syncd.usage.exits import FAILED


def demo(_: Options, *, real_time: bool, as_json: bool) -> None:
    # With --json the story goes to stderr, so that stdout holds the one object.
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    with console.status("") as status:

        def say(line: str) -> None:
            console.print(line, markup=False)

        def show(line: str) -> None:
            status.update(line)

        figures = trio.run(partial(run_demo, real_time=real_time, say=say, show=show))
    if as_json:
        click.echo(json.dumps(attrs.asdict(figures)))
    else:
        for line in figures.story():
            say(line)
    if not figures.equal:
        sys.exit(FAILED)
