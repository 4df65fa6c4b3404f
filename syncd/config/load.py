"""Is the config file right, and what does it say?  The only door to `Settings`.

`load` raises ConfigError with every fault that can be found, each with its path as the
operator would write it, what was found and what is allowed.  Nothing is half loaded.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncd.config.reading import Node
from syncd.config.secrets import Secrets
from syncd.config.settings import DatabaseSettings, Secret, Settings
from syncd.config.sources import read_budgets, read_source, refuse_shared_tables
from syncd.errors import ConfigError, Fault

PLACES = ("./syncd.toml", "/etc/syncd/syncd.toml")


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The config file: `--config`, $SYNCD_CONFIG, or the first of the usual places."""
    if explicit is not None:
        return explicit
    if environ.get("SYNCD_CONFIG"):
        return Path(environ["SYNCD_CONFIG"])
    for place in PLACES:
        if Path(place).exists():
            return Path(place)
    raise _refused(
        "",
        f"no config file: looked for {' and '.join(PLACES)}; name one with --config or "
        "$SYNCD_CONFIG, or begin with examples/campaigns.toml",
    )


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets: bool = True,
) -> Settings:
    """Read the file and `sources.d/*.toml` beside it; raises ConfigError.

    overrides: `key.path=value` each, the value as in TOML or plain text.
    secrets: False leaves them unresolved, to look at a file where they are not.
    """
    faults: list[Fault] = []
    document = _merged(path, faults)
    for override in overrides:
        _override(document, override, faults)
    _inherit(document, faults)
    looked_up = Secrets(environ=environ, beside=path.parent, offline=not secrets, faults=faults)
    node = Node(path="", values=document, faults=faults, reveal=looked_up.reveal)
    settings = _settings(node, path, environ)
    if faults:
        raise ConfigError(faults)
    return settings


def _settings(node: Node, path: Path, environ: Mapping[str, str]) -> Settings:
    budgets = read_budgets(node)
    templates = {v.get("like") for v in _tables(node.values.get("sources")).values()}
    sources = {}
    for name, child in node.tables("sources"):
        source = read_source(name, child, budgets, is_template=name in templates)
        if source is not None and source.streams:
            sources[name] = source
    if not node.values.get("sources"):
        node.fault("sources", "missing; name at least one source, as [sources.NAME]")
    refuse_shared_tables(sources, node.faults)
    settings = Settings(
        database=_database(node),
        state=Path(node.text("state", _default_state(environ), "the path of a folder")),
        drain=node.duration("drain", 30.0),
        sources=sources,
        path=path,
    )
    node.finish()
    return settings


def _database(node: Node) -> DatabaseSettings:
    database = node.table("database")
    if database is None:
        return DatabaseSettings()
    url = database.text_or_secret("url", None)
    database.finish()
    if isinstance(url, str) and ("password=" in url or "@" in url):
        url = Secret(url, "database.url")  # it may hold a password: never to be shown
    return DatabaseSettings(url=url)


def _default_state(environ: Mapping[str, str]) -> str:
    if environ.get("STATE_DIRECTORY"):
        return environ["STATE_DIRECTORY"].split(":")[0]
    if os.geteuid() == 0:
        return "/var/lib/syncd"
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "/")) / ".local/state")
    return str(Path(home) / "syncd")


# --- the document, before anybody asks what it means ------------------------------------------


def _merged(path: Path, faults: list[Fault]) -> dict[str, Any]:
    document = _parsed(path)
    where = dict.fromkeys(_tables(document.get("sources")), path)
    for more in sorted((path.parent / "sources.d").glob("*.toml")):
        added = _parsed(more)
        strangers = [key for key in added if key not in ("sources", "budgets")]
        only = f"{more} may hold [sources] and [budgets] only"
        faults += [Fault(path=key, message=only) for key in strangers]
        for kind in ("sources", "budgets"):
            for name, value in _tables(added.get(kind)).items():
                there = document.setdefault(kind, {})
                if isinstance(there, dict) and name in there:
                    first = where.get(name, path)
                    message = f"it stands in both {first} and {more}; leave it in one"
                    faults.append(Fault(path=f"{kind}.{name}", message=message))
                elif isinstance(there, dict):
                    there[name] = value
                    where[name] = more
    return document


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise _refused("", f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _refused("", f"{path} is not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise _refused("", f"{path} is not TOML: {error}") from None


def _override(document: dict[str, Any], override: str, faults: list[Fault]) -> None:
    key, equals, text = override.partition("=")
    try:
        keys = _keys(key.strip())
    except (tomllib.TOMLDecodeError, AttributeError):
        keys = []
    if not equals or not keys:
        message = f"found {override!r}; it must be KEY=VALUE, such as sources.x.timeout=30s"
        faults.append(Fault(path="--set", message=message))
        return
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = document
    for step in keys[:-1]:
        inner = table.setdefault(step, {})
        if not isinstance(inner, dict):
            faults.append(Fault(path="--set", message=f"{key.strip()}: {step} is no table"))
            return
        table = inner
    table[keys[-1]] = value


def _keys(dotted: str) -> list[str]:
    """The parts of a dotted key, quoted ones included: TOML's own rules."""
    table: Any = tomllib.loads(f"{dotted} = 0")
    keys = []
    while isinstance(table, dict):
        [(key, table)] = table.items()
        keys.append(key)
    return keys


def _inherit(document: dict[str, Any], faults: list[Fault]) -> None:
    """Replace `like = "other"` by what the other source says, deeply merged."""
    sources = _tables(document.get("sources"))

    def whole(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        own = sources[name]
        like = own.get("like")
        if like is None:
            return own
        if like not in sources or not isinstance(like, str):
            near = difflib.get_close_matches(str(like), sources, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sources)}"
            message = f"there is no source {like!r}{hint}"
            faults.append(Fault(path=f"sources.{name}.like", message=message))
            return own
        if like in (*seen, name):
            circle = " → ".join((*seen, name, like))
            faults.append(Fault(path=f"sources.{name}.like", message=f"a circle: {circle}"))
            return own
        return _deep(whole(like, (*seen, name)), own)

    merged = {name: whole(name, ()) for name in sources}
    if sources:
        document["sources"] = {**document["sources"], **merged}


def _deep(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        there = merged.get(key)
        if isinstance(there, dict) and isinstance(value, dict) and not _is_secret(value):
            merged[key] = _deep(there, value)
        else:
            merged[key] = value
    return merged


def _is_secret(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("credential", "env", "file", "command")


def _tables(value: object) -> dict[str, dict[str, Any]]:
    """The tables in a table; what is none is left to be found by the reading."""
    if not isinstance(value, dict):
        return {}
    return {name: inner for name, inner in value.items() if isinstance(inner, dict)}


def _refused(path: str, message: str) -> ConfigError:
    return ConfigError([Fault(path=path, message=message)])
