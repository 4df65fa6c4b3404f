"""The commands: the only place that exits or unwraps exception groups.

What can be typed stands in `usage`, what is done then in `commands`.

Exit status: 0 done, 1 the work failed, 2 usage, 78 the config is wrong; 3 is `diff`'s own.
"""

import io
import os
import sys
from pathlib import Path

import click

from syncd import __version__
from syncd.errors import ConfigError, SchemaError, SyncdError
from syncd.usage import control
from syncd.usage.check import check
from syncd.usage.contract import contract
from syncd.usage.cycles import cycles
from syncd.usage.dead import dead
from syncd.usage.demo import demo
from syncd.usage.diff import diff
from syncd.usage.exits import FAILED, WRONG_CONFIG
from syncd.usage.forget import forget
from syncd.usage.init import init
from syncd.usage.notify import notify
from syncd.usage.once import once
from syncd.usage.run import run
from syncd.usage.schema import schema
from syncd.usage.status import status
from syncd.usage.why import why


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
def cli(**_: object) -> None:
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


for command in (
    *(init, run, diff, once, check, status, why, cycles, contract, dead),
    *(control.sync, control.pause, control.resume, control.reset, forget),
    *(control.reconcile, control.reload, notify, schema, demo),
):
    cli.add_command(command)


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
