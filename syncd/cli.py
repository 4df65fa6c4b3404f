"""The commands: the only place that exits or unwraps exception groups.

Those that only look into the database stand in `commands`.

Exit status: 0 done, 1 the work failed, 2 usage, 78 the config is wrong; 3 is `diff`'s own.
"""

import io
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, get_args

import attrs
import click
import trio
from rich.console import Console

from syncd import __version__, app, logs, tracing
from syncd.check import Check
from syncd.commands import control
from syncd.commands.contract import contract
from syncd.commands.cycles import cycles
from syncd.commands.dead import dead
from syncd.commands.diff import diff
from syncd.commands.forget import forget
from syncd.commands.init import init
from syncd.commands.notify import notify
from syncd.commands.options import FAILED, Options, select
from syncd.commands.status import status
from syncd.commands.why import why
from syncd.config.secrets import redactions
from syncd.errors import ConfigError, SchemaError, SyncdError
from syncd.progress import Progress
from syncd.store.migrate import roles_sql
from syncd.sync.model import Committed
from syncd.views.objects import configured

WRONG_CONFIG = 78  # EX_CONFIG of sysexits.h; the unit does not restart after it


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="The config file.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one key, such as sources.x.timeout=30s. Can be given again.",
)
@click.version_option(__version__, prog_name="syncd")
@click.pass_context
def cli(context: click.Context, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Keep Postgres tables in step with REST APIs that must not be trusted.

    \b
    A first session:
      syncd init URL       a config from the address of an API's list
      syncd check          is the config right, do database and API answer?
      syncd diff STREAM    what a cycle would change, row by row; writes nothing
      syncd once           one cycle of every stream, with progress and a summary
      syncd run            the daemon: cycle after cycle, until SIGTERM
      syncd status         how every stream stands (--watch: live); `cycles` and `dead`
                           tell more, `why STREAM KEY` the story of one record
      syncd forget         erase a record wherever syncd keeps it, for good with --keep-out
      syncd reload         after a change of the config; `sync`, `pause`, `resume` and
                           `reset` ask the daemon for one stream

    The config is looked for in --config, $SYNCD_CONFIG, ./syncd.toml and
    /etc/syncd/syncd.toml, in this order. `syncd demo` needs none.
    """  # noqa: D301 - click's own \b keeps lines
    context.obj = Options(config=config, overrides=overrides)


@cli.command()
@click.option(
    "--log",
    "shape",
    type=click.Choice(get_args(logs.Shape)),
    default="auto",
    show_default=True,
    help="How log lines look. auto: journald's fields, columns on a terminal, else plain.",
)
@click.pass_obj
def run(options: Options, shape: logs.Shape) -> None:
    """Run the daemon: cycle after cycle of every stream, until SIGTERM or SIGINT.

    On the signal it awaits what is in flight and commits the page if it is complete; a
    second signal cuts that short. SIGHUP, or `syncd reload`, makes it read the config again.
    """
    settings = options.settings()
    logs.configure(shape=shape, secrets=redactions(settings))

    traces = tracing.begun(os.environ)

    async def main() -> Any:
        return await app.run(settings, report=logs.tell, reread=options.settings, traces=traces)

    outcome = trio.run(main)
    if outcome.cut:
        _fail(
            "what was in flight was cut, since a second signal asked for it"
            if outcome.asked_twice
            else f"a request had to be cut when the drain's {outcome.drain:.0f} s were over"
        )


@cli.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.pass_obj
def once(options: Options, streams: tuple[str, ...]) -> None:
    """Run one cycle of every stream, or of the STREAMs named, and exit.

    A cycle that was left is gone on with from its last committed page. STREAM is
    `source.stream`, or the stream's name alone where only one source has it.
    """
    settings = options.settings()
    only = set(select(configured(settings), streams)) if streams else None
    logs.configure(level="WARNING", secrets=redactions(settings))
    progress = Progress.on(sys.stdout)
    began = time.monotonic()

    async def main() -> Any:
        return await app.once(settings, report=progress.hear, only=only, progress=progress)

    supervisor = trio.run(main)
    progress.summary(supervisor.results, time.monotonic() - began)
    results = supervisor.results.values()
    if any(not isinstance(r, Committed) or r.outcome != "ok" for r in results):
        sys.exit(FAILED)


@cli.command()
@click.option("--offline", is_flag=True, help="Look at the file alone; needs no secrets.")
@click.pass_obj
def check(options: Options, *, offline: bool) -> None:
    """Check the config, the database, the credentials and each stream's first page.

    Writes nothing into your tables. Its requests, one for each stream, are spent from
    the budget, so that it does no harm beside a running daemon.
    """
    settings = options.settings(secrets=not offline)
    checking = Check(settings, click.echo)
    checking.file()
    if not offline:
        logs.configure(level="ERROR", secrets=redactions(settings))
        trio.run(checking.run)
    if checking.failed:
        sys.exit(FAILED)


@cli.command()
@click.option("--apply", "apply_it", is_flag=True, help="Do it, as the role in `database.url`.")
@click.option("--roles", is_flag=True, help="Print the grants for three roles.")
@click.pass_obj
def schema(options: Options, *, apply_it: bool, roles: bool) -> None:
    """Show what the database still needs, as SQL; with --apply do it.

    The daemon needs no right to change the schema: run `syncd schema --apply` once with
    the owner's `database.url`, and let the daemon run as the writer. `--roles` prints
    the grants for owner (migrates), writer (the daemon) and reader (people).
    """
    settings = options.settings()
    tables = [app.table(s) for x in settings.sources.values() for s in x.streams.values()]
    if roles:
        click.echo(roles_sql(tables))
        return

    async def main() -> list[str]:
        async with app.store(settings, migrations=False) as store:
            done = []
            todo = await (store.apply() if apply_it else store.pending())
            for migration in todo:
                done.append(f"-- migration {migration.number:04}_{migration.name}")
                done += [] if apply_it else [migration.script]
            for table in tables:
                made = await (store.make_table(table) if apply_it else store.missing_table(table))
                done += [statement + ";" for statement in made]
            return done

    done = trio.run(main)
    for line in done:
        click.echo(line)
    if not done:
        click.echo("-- the schema is as this syncd needs it")


@cli.command()
@click.option("--real-time", is_flag=True, help="At the API's real limits: eleven minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def demo(*, real_time: bool, as_json: bool) -> None:
    """Run the main job on a mock API, with a kill -9 in the middle, and prove it.

    Starts a mock of an ads API (ten requests a window, 503s, requests that are never
    answered, a slow call for every record) and an embedded Postgres, runs the daemon,
    kills it, starts it again, and compares the table with the API record by record.
    Exit status 0 only if they are equal.
    """
    from syncd.demo import demo as run_demo  # noqa: PLC0415 - needs the extra `demo`

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


for command in (
    init,
    diff,
    *(status, why, cycles, dead, contract),
    *(control.sync, control.pause, control.resume, control.reset),
    *(control.reconcile, control.reload, forget, notify),
):
    cli.add_command(command)


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        click.echo(f"syncd: {line}", err=True)
    sys.exit(FAILED)


def main() -> None:
    """Run the command line; every expected error ends as a sentence and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks must not end a cycle.
            stream.reconfigure(errors="backslashreplace")
    # Not `except*`: a sys.exit in it comes out wrapped in a group on early Pythons 3.11.
    try:
        cli(prog_name="syncd")
    except (SyncdError, BaseExceptionGroup) as error:
        errors = _leaves(error)
        if not all(isinstance(e, SyncdError) for e in errors):
            raise  # a bug among them: the whole traceback is wanted
    except OSError as error:
        # Only the output can come to this: what is read and sent has errors of its own.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until we exit
        click.echo(f"syncd: can't write the output: {error.strerror}", err=True)
        sys.exit(FAILED)
    else:
        return
    for each in errors:
        for line in each.faults if isinstance(each, ConfigError) else [each]:
            click.echo(f"syncd: {line}", err=True)
    wrong_config = any(isinstance(e, ConfigError | SchemaError) for e in errors)
    sys.exit(WRONG_CONFIG if wrong_config else FAILED)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for e in error.exceptions for leaf in _leaves(e)]
    return [error]
