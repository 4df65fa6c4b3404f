"""What do all benchmarks that compare come to?  One after the other, into one file."""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import attrs
import click

from scripts.benchmarks.contenders import RIVALS
from syncd import __version__


@attrs.frozen
class Run:
    """One benchmark, and what is chosen of it."""

    words: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    """Of those that were asked for, who can take part."""

    sized: bool = True
    """Whether the number of records and of turns is chosen."""


TOOLS = ("plain", "dlt", "singer")
RUNS = {
    "budget": Run(("budget",), sized=False),
    "throughput, 1,000 a page": Run(("throughput", "--size", "1000"), RIVALS),
    "throughput, 100 a page": Run(("throughput", "--size", "100"), RIVALS),
    "unchanged": Run(("unchanged",), TOOLS),
    "incremental": Run(("incremental",), TOOLS),
    "restart": Run(("restart",), TOOLS),
    "calls": Run(("calls",), sized=False),
    "memory": Run(("memory",), sized=False),
    "start": Run(("start",), sized=False),
}
"""By the names that they have in the file."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--records", type=click.IntRange(min=100), default=100_000, show_default=True)
@click.option("--turns", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--rival",
    "rivals",
    multiple=True,
    type=click.Choice(RIVALS),
    default=RIVALS,
    show_default=True,
    help="Who runs against syncd, where it can; can be given again.",
)
@click.option("--only", multiple=True, type=click.Choice(list(RUNS)), help="These, and no others.")
def whole(
    file: Path, *, records: int, turns: int, rivals: tuple[str, ...], only: tuple[str, ...]
) -> None:
    """All that compare, one after the other; what they tell goes into FILE, as JSON.

    Half an hour on an idle machine, and it should be that. What is there already of these is
    replaced, other results in FILE stay; `scripts/bench plot` draws them.
    """
    found = json.loads(file.read_text("utf-8")) if file.exists() else {"results": {}}
    failed = []
    for name in only or RUNS:
        click.echo(f"{name} …", err=True)
        run = RUNS[name]
        words = [*run.words, "--json"]
        if run.sized:
            words += ["--records", str(records), "--turns", str(turns)]
        for rival in rivals:
            words += ["--rival", rival] if rival in run.rivals else []
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "scripts.benchmarks", *words],
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            failed.append(name)
            continue
        told = [json.loads(line) for line in done.stdout.splitlines()]
        found["results"][name] = {**_of(), "command": words, "told": told}
        file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if failed:
        raise click.ClickException(f"without figures, see above: {', '.join(failed)}")


def _of() -> dict[str, object]:
    """What figures hang on, besides what was compared."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "syncd": __version__,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_after": round(os.getloadavg()[1], 1),
    }
