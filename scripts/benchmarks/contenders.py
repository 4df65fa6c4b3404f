"""Who runs, and how?  Each contender by the commands that prepare it and that move the list."""

import json
import sys
from collections.abc import Callable
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

    prepare: list[str]
    """Makes the tables; is not measured."""

    run: list[str]
    """Moves the list from its first record to its last."""


@attrs.frozen(kw_only=True)
class Contender:
    """One way to bring a list into Postgres."""

    name: str
    versions: str
    table: tuple[str, str] = ("public", "records")
    """Where its rows are: schema and name."""

    enter: Callable[[Path, str, str, int], Entry] = attrs.field(repr=False)
    """With a folder of its own, the list's address, a database and a page size."""


def _syncd(folder: Path, base_url: str, conninfo: str, size: int) -> Entry:
    config = folder / "syncd.toml"
    told = {"state": str(folder), "url": conninfo, "base_url": base_url, "path": PATH}
    text = CONFIG.format(**{name: json.dumps(value) for name, value in told.items()}, size=size)
    columns = [f'{name} = "{kind}"\n' for name, kind in records.COLUMNS.items()]
    config.write_text(text + "".join(columns), "utf-8")
    command = [sys.executable, "-m", "syncd", "--config", str(config)]
    return Entry(prepare=[*command, "schema", "--apply"], run=[*command, "once"])


def _plain(_: Path, base_url: str, conninfo: str, size: int) -> Entry:
    command = [sys.executable, "-m", "scripts.benchmarks.plain", base_url, conninfo]
    return Entry(prepare=[*command, "--tables"], run=[*command, "--size", str(size)])


SYNCD = Contender(name="syncd", versions=__version__, enter=_syncd)
PLAIN = Contender(
    name="plain script",
    versions=f"httpx {version('httpx')}, psycopg {version('psycopg')}",
    enter=_plain,
)
CONTENDERS = (SYNCD, PLAIN)
