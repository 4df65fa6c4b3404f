"""Is the config file right, and what does it say?  The only door to `Settings`.

`load` raises ConfigError with every fault that can be found, each with its path as the
operator would write it, what was found and what is allowed.  Nothing is half loaded.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

from syncd.config import document
from syncd.config.admin import read_admin
from syncd.config.budgets import Budgets, read_budgets
from syncd.config.reading import Node, Reveal, one_line
from syncd.config.receivers import read_receivers, refuse_shared_heartbeats
from syncd.config.secrets import Secrets
from syncd.config.settings import (
    UNRESOLVED,
    DatabaseSettings,
    RefreshToken,
    Secret,
    Settings,
    SourceSettings,
)
from syncd.config.sources import read_source
from syncd.config.tables import refuse_shared_tables
from syncd.errors import ConfigError, Fault

PLACES = (Path("syncd.toml"), Path("/etc/syncd/syncd.toml"))


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The config file: `--config`, $SYNCD_CONFIG, or the first of the usual places."""
    if explicit is not None:
        return explicit
    if environ.get("SYNCD_CONFIG"):
        return Path(environ["SYNCD_CONFIG"])
    for place in PLACES:
        if _stands(place):
            return place
    message = (
        "no config file: --config is not given, $SYNCD_CONFIG is not set, and there is neither "
        "./syncd.toml nor /etc/syncd/syncd.toml; name one, or begin with examples/campaigns.toml"
    )
    raise ConfigError([Fault(path="", message=message)])


def _stands(place: Path) -> bool:
    try:
        return place.exists()
    except PermissionError:
        return True  # `load` says then that it can't be read, instead of "no config file"


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets: bool | Literal["database"] = True,
) -> Settings:
    """Read the file and `sources.d/*.toml` beside it; raises ConfigError.

    overrides: `key.path=value` each, the value as in TOML or plain text.
    secrets: False leaves them unresolved, to look at a file where they are not;
    "database" resolves what `database.url` needs, for those who ask no API.
    """
    faults: list[Fault] = []
    values = document.read(path, overrides, faults)
    parents = document.inherit(values, faults)
    looked_up = Secrets(environ=environ, beside=path.parent, offline=secrets is not True)
    of_database = looked_up if secrets is True else attrs.evolve(looked_up, offline=not secrets)
    node = Node(path="", values=values, faults=faults, reveal=looked_up.reveal)
    sources = _sources(node, read_budgets(node), parents)
    refuse_shared_tables(sources, faults)
    refuse_shared_heartbeats(sources, faults)
    settings = Settings(
        database=_database(node, of_database.reveal),
        state=_state(node, environ),
        drain=node.duration("drain", 30.0),
        token_key=_token_key(node, sources),
        keep_dead_letters=node.duration("keep_dead_letters", 90 * 86400.0),
        admin=read_admin(node),
        notify=read_receivers(node, sources),
        sources=sources,
        path=path,
    )
    node.finish()
    if faults:
        raise ConfigError(list(dict.fromkeys(map(_on_one_line, faults))))
    return settings


def _token_key(node: Node, sources: Mapping[str, SourceSettings]) -> Secret | None:
    key: Secret | None = node.secret("token_key") if node.has("token_key") else None
    if key is None:
        for name, source in sources.items():
            if isinstance(source.auth, RefreshToken):
                node.fault(
                    "token_key",
                    f"missing; the refresh tokens of {name} change, and are kept in the database, "
                    "sealed by it: make one with `openssl rand -base64 32`",
                )
                break
    elif key.value not in ("", UNRESOLVED) and not _is_key(key.reveal()):
        node.fault(
            "token_key",
            f"the secret from {key.origin} is no key: it must be 32 bytes in base64, as "
            "`openssl rand -base64 32` makes them",
        )
    return key


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def _on_one_line(fault: Fault) -> Fault:
    return Fault(path=one_line(fault.path), message=one_line(fault.message))


def _sources(node: Node, budgets: Budgets, parents: Mapping[str, str]) -> dict[str, SourceSettings]:
    if node.values.get("sources", {}) == {}:
        node.fault("sources", "missing; name at least one source, as [sources.NAME]")
    sources: dict[str, SourceSettings] = {}
    faults: dict[str, list[Fault]] = {}
    templates = set()
    for name, child in node.tables("sources"):
        child.faults = faults[name] = []
        source = read_source(name, child, budgets)
        if source.streams:
            sources[name] = source
        elif name in parents.values():
            templates.add(name)
        elif "streams" not in child.values or child.values["streams"] == {}:
            child.fault("streams", f"missing; name at least one, as [{child.at('streams')}.NAME]")
    node.faults += _once(node, faults, parents, templates)
    return sources


def _once(
    node: Node, faults: Mapping[str, list[Fault]], parents: Mapping[str, str], templates: set[str]
) -> list[Fault]:
    """Each fault where it was written, not again in every source that is like that one.

    A template, which has no streams, need not be whole: what is wrong in it counts only
    if someone is like it and did not put it right.
    """
    place = {name: node.at("sources", name) for name in faults}
    seen = {
        name: {(f.path.removeprefix(place[name]), f.message) for f in found}
        for name, found in faults.items()
    }
    written = []
    for name, found in faults.items():
        for fault in found if name not in templates else ():
            rest, holder = fault.path.removeprefix(place[name]), name
            while holder in parents and (rest, fault.message) in seen[parents[holder]]:
                holder = parents[holder]
            written.append(Fault(path=place[holder] + rest, message=fault.message))
    return written


def _database(node: Node, reveal: Reveal) -> DatabaseSettings:
    database = node.table("database")
    if database is None:
        return DatabaseSettings()
    database.reveal = reveal
    url = database.text_or_secret("url", None)
    database.finish()
    if url is not None and "\x00" in (url.reveal() if isinstance(url, Secret) else url):
        # libpq would read up to it, and connect to who knows what.
        database.fault("url", "it can't hold a NUL")
    if isinstance(url, str) and ("password" in url or "@" in url):
        url = Secret(url, "database.url")  # it may hold a password: never to be shown
    return DatabaseSettings(url=url)


def _state(node: Node, environ: Mapping[str, str]) -> Path:
    def check(value: object) -> Path | None:
        good = isinstance(value, str) and value.startswith("/") and "\x00" not in value
        return Path(str(value)) if good else None

    default = _default_state(environ)
    return node.get("state", default, 'the path of a folder, from "/" on', check)


def _default_state(environ: Mapping[str, str]) -> Path:
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/syncd")
    home = environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):  # its standard says to ignore a relative one
        return Path(environ.get("HOME", "/")) / ".local/state/syncd"
    return Path(home) / "syncd"
