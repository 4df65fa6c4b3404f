"""Who runs, and how?  Each contender by the commands that prepare it and that move the list."""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs

from scripts.benchmarks import records
from scripts.benchmarks.listing import PATH
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
[sources.list.streams.records.columns]
"""


@attrs.frozen(kw_only=True)
class Entry:
    """A contender, set up for one list, one page size and one database."""

    prepare: list[str] | None = None
    """Makes the tables, and is not measured; None where the first run does it."""

    run: list[str]
    """Moves the list from its first record to its last."""


Enter = Callable[[Path, str, str, int], Entry]
"""With a folder of its own, the list's address, a database and a page size."""


@attrs.frozen(kw_only=True)
class Contender:
    """One way to bring a list into Postgres."""

    name: str
    versions: str
    table: tuple[str, str] = ("public", "records")
    """Where its rows are: schema and name."""

    enter: Enter = attrs.field(repr=False)


def _syncd(folder: Path, base_url: str, conninfo: str, size: int) -> Entry:
    config = folder / "syncd.toml"
    told = {"state": str(folder), "url": conninfo, "base_url": base_url, "path": PATH}
    text = CONFIG.format(**{name: json.dumps(value) for name, value in told.items()}, size=size)
    columns = [f'{name} = "{kind}"\n' for name, kind in records.COLUMNS.items()]
    config.write_text(text + "".join(columns), "utf-8")
    command = [sys.executable, "-m", "syncd", "--config", str(config)]
    return Entry(prepare=[*command, "schema", "--apply"], run=[*command, "once"])


def _script(module: str) -> Enter:
    def enter(_: Path, base_url: str, conninfo: str, size: int) -> Entry:
        command = [sys.executable, "-m", f"scripts.benchmarks.{module}", base_url, conninfo]
        return Entry(prepare=[*command, "--tables"], run=[*command, "--size", str(size)])

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
