"""How do other people's tools run?  Each in an environment of its own, made when it is asked for.

Their versions are named here, so that figures of different days can be compared.
"""

import json
import shlex
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from scripts.benchmarks import records
from scripts.benchmarks.contenders import Contender, Entry, Task
from scripts.benchmarks.listing import PATH, SINCE
from tests.real.places import Place

DLT = Place("dlt", ("dlt[postgres]==1.31.0",))
TAP = Place("singer-tap", ("tap-rest-api-msdk==1.4.2",))
TARGET = Place("singer-target", ("meltanolabs-target-postgres==0.8.1",))
SCRIPT = Path(__file__).with_name("dlt_script.py")
SCHEMA = "bench"

SINGER_TYPES: dict[str, dict[str, object]] = {
    "text": {"type": ["string", "null"]},
    "numeric": {"type": ["number", "null"]},
    "bigint": {"type": ["integer", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "timestamptz": {"type": ["string", "null"], "format": "date-time"},
}


CHANGES = {
    "replication_key": "updated_at",
    "start_date": "2000-01-01T00:00:00Z",
    "source_search_field": SINCE,
    "source_search_query": "$last_run_date",
}
"""The tap's way to ask for what has changed."""


def dlt() -> Contender:
    """The library of that name: its rest_api source, merged by key."""
    python = DLT.folder() / "bin" / "python"

    def enter(task: Task) -> Entry:
        words = [task.base_url, _url("postgresql", task.conninfo), str(task.folder)]
        options = ["--size", str(task.size), *(["--changes"] if task.changes else [])]
        return Entry(run=[str(python), str(SCRIPT), *words, *options])

    return Contender(name="dlt", versions=_versions(DLT), table=(SCHEMA, "records"), enter=enter)


def singer() -> Contender:
    """A tap and a target of Singer's, one piped into the other."""
    tap = TAP.folder() / "bin" / "tap-rest-api-msdk"
    target = TARGET.folder() / "bin" / "target-postgres"

    def enter(task: Task) -> Entry:
        asks = _written(task.folder / "tap.json", _tap(task))
        writes = _written(task.folder / "target.json", _target(task.conninfo))
        state = task.folder / "state.json"
        tapped = _shell(tap, "--config", asks)
        if task.changes:
            # What the target says last is what the tap is to be told the next time.
            tapped += f" $(test -s {state} && echo --state {state})"
        told = _shell("tee", task.folder / "told")
        pipe = f"{tapped} | {_shell(target, '--config', writes)} | {told}"
        keep = f"tail -n 1 {_shell(task.folder / 'told')} > {_shell(state)}"
        return Entry(run=["bash", "-o", "pipefail", "-c", f"{pipe} && {keep}"])

    return Contender(
        name="singer", versions=_versions(TAP, TARGET), table=(SCHEMA, "records"), enter=enter
    )


def _tap(task: Task) -> dict[str, object]:
    return {
        "api_url": task.base_url,
        "pagination_request_style": "page_number_paginator",
        "pagination_response_style": "page",
        "next_page_token_path": "$.has_more",
        "streams": [
            {
                "name": "records",
                "path": PATH,
                "params": {"limit": task.size},
                "records_path": "$.data[*]",
                "primary_keys": ["id"],
                **(CHANGES if task.changes else {}),
                "schema": {
                    "type": "object",
                    "properties": {n: SINGER_TYPES[k] for n, k in records.COLUMNS.items()},
                },
            }
        ],
    }


def _target(conninfo: str) -> dict[str, object]:
    return {
        "sqlalchemy_url": _url("postgresql+psycopg", conninfo),
        "default_target_schema": SCHEMA,
        "load_method": "upsert",
        "add_record_metadata": False,
        "activate_version": False,  # that needs the metadata
    }


def _url(scheme: str, conninfo: str) -> str:
    """An address of the kind that SQLAlchemy knows, for the same database.

    A socket's folder is no host name there; libpq takes the one behind the `?`.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    user, database = quote(parts.pop("user"), safe=""), quote(parts.pop("dbname"))
    password = quote(parts.pop("password", "none"), safe="")
    return f"{scheme}://{user}:{password}@localhost/{database}?{urlencode(parts)}"


def _written(path: Path, config: dict[str, object]) -> Path:
    path.write_text(json.dumps(config), "utf-8")
    return path


def _shell(*words: object) -> str:
    return shlex.join(str(word) for word in words)


def _versions(*places: Place) -> str:
    return ", ".join(package for place in places for package in place.packages)
