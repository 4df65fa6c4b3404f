"""Who runs, and how?  Each contender by the commands that prepare it and that move the list."""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs

from scripts.benchmarks import records
from scripts.benchmarks.listing import PATH, SINCE
from syncd import __version__

CONFIG = """
state = {state}
[database]
url = {url}
[sources.list]
base_url = {base_url}
[sources.list.streams.records]
path = {path}
records = "data"
key = ["id"]
page = {{ size = {size}, more = "has_more", total = "total" }}
{incremental}
[sources.list.streams.records.columns]
"""

INCREMENTAL = f'incremental = {{ field = "updated_at", param = "{SINCE}" }}'


@attrs.frozen(kw_only=True)
class Entry:
    """A contender, set up for one list, one page size and one database."""

    prepare: list[str] | None = None
    """Makes the tables, and is not measured; None where the first run does it."""

    run: list[str]
    """Moves the list from its first record to its last."""


@attrs.frozen(kw_only=True)
class Task:
    """What a contender is to do."""

    folder: Path
    """Its own, for what it wants to remember from run to run."""

    base_url: str
    conninfo: str
    size: int
    """Records in a page."""

    changes: bool = False
    """Ask only for what has changed since the last run."""


Enter = Callable[[Task], Entry]


@attrs.frozen(kw_only=True)
class Contender:
    """One way to bring a list into Postgres."""

    name: str
    versions: str
    table: tuple[str, str] = ("public", "records")
    """Where its rows are: schema and name."""

    enter: Enter = attrs.field(repr=False)


def _syncd(task: Task) -> Entry:
    config = task.folder / "syncd.toml"
    told = {"state": str(task.folder), "url": task.conninfo, "base_url": task.base_url}
    values = {name: json.dumps(value) for name, value in {**told, "path": PATH}.items()}
    text = CONFIG.format(**values, size=task.size, incremental=INCREMENTAL if task.changes else "")
    columns = [f'{name} = "{kind}"\n' for name, kind in records.COLUMNS.items()]
    config.write_text(text + "".join(columns), "utf-8")
    command = [sys.executable, "-m", "syncd", "--config", str(config)]
    return Entry(prepare=[*command, "schema", "--apply"], run=[*command, "once"])


def _script(module: str) -> Enter:
    def enter(task: Task) -> Entry:
        python = [sys.executable, "-m", f"scripts.benchmarks.{module}"]
        command = [*python, task.base_url, task.conninfo]
        options = ["--size", str(task.size), *(["--changes"] if task.changes else [])]
        return Entry(prepare=[*command, "--tables"], run=[*command, *options])

    return enter


LIBRARIES = f"httpx {version('httpx')}, psycopg {version('psycopg')}"
SYNCD = Contender(name="syncd", versions=__version__, enter=_syncd)
PLAIN = Contender(name="plain script", versions=LIBRARIES, enter=_script("plain"))
UNDECODED = Contender(name="undecoded text", versions=LIBRARIES, enter=_script("undecoded"))

OWN = {"plain": PLAIN, "undecoded": UNDECODED}
RIVALS = (*OWN, "dlt", "singer")
"""By the names that `--rival` takes."""


def chosen(rivals: Sequence[str]) -> list[Contender]:
    """syncd, and these rivals in the order of `RIVALS`; installs what is not there yet."""
    return [SYNCD, *(_rival(name) for name in RIVALS if name in rivals)]


def _rival(name: str) -> Contender:
    if name in OWN:
        return OWN[name]
    from scripts.benchmarks import rivals  # noqa: PLC0415 - brings pytest along

    return rivals.dlt() if name == "dlt" else rivals.singer()
