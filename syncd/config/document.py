"""What do all the files say together, before anybody asks what it means?

One document comes out: the file, what stands in `sources.d/*.toml` beside it, the
overrides of the command line, and each source with what it takes from the one that
it is `like`.
"""

import codecs
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncd.config.reading import dotted
from syncd.errors import ConfigError, Fault

SHARED = ("sources", "budgets")  # what a file in sources.d may hold
DEEPEST = 16  # tables in a source; no key of ours is half as deep


def read(path: Path, overrides: Sequence[str], faults: list[Fault]) -> dict[str, Any]:
    """The whole document, nothing inherited yet.

    Raises ConfigError if a file can't be parsed: what else is wrong could not be told then.
    """
    unreadable: list[Fault] = []
    document = _parsed(path, unreadable)
    where: dict[tuple[str, str], Path] = {}
    for more in _beside(path, unreadable):
        _merge(document, _parsed(more, unreadable), more, where, path, faults)
    if unreadable:
        raise ConfigError(unreadable)
    for override in overrides:
        _override(document, override, faults)
    return document


def tables(value: object) -> dict[str, dict[str, Any]]:
    """The tables in a table; what is none is left to be found by the reading."""
    if not isinstance(value, dict):
        return {}
    return {name: inner for name, inner in value.items() if isinstance(inner, dict)}


# --- files -------------------------------------------------------------------------------


def _beside(path: Path, unreadable: list[Fault]) -> list[Path]:
    folder = path.parent / "sources.d"
    try:
        files = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        if not path.parent.is_dir():
            return []  # that is told of the file itself
        unreadable.append(Fault(path="", message=f"can't read {folder}: {error.strerror}"))
        return []
    # Editors leave hidden files behind while they save.
    return [file for file in files if file.suffix == ".toml" and not file.name.startswith(".")]


def _parsed(path: Path, unreadable: list[Fault]) -> dict[str, Any]:
    if path.exists() and not path.is_file() and not path.is_dir():
        # A device or a pipe may have no end.
        unreadable.append(Fault(path="", message=f"can't read {path}: it is no regular file"))
        return {}
    try:
        # Some editors begin a file with a mark of its encoding.
        return tomllib.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except OSError as error:
        reason = f"can't read {path}: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"{path} is not UTF-8 text: look at byte {error.start}"
    except (ValueError, RecursionError) as error:
        # Beside its own error tomllib lets those of int() and of deep nesting through.
        said = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        reason = f"{path} is not TOML: {said}"
    unreadable.append(Fault(path="", message=reason))
    return {}


def _merge(
    document: dict[str, Any],
    added: Mapping[str, Any],
    more: Path,
    where: dict[tuple[str, str], Path],
    main: Path,
    faults: list[Fault],
) -> None:
    for kind, values in added.items():
        if kind not in SHARED:
            message = f"{more} may hold [sources] and [budgets] only; move this into {main}"
            faults.append(Fault(path=dotted("", kind), message=message))
            continue
        there = document.setdefault(kind, {})
        if not isinstance(values, dict) or not isinstance(there, dict):
            culprit = main if isinstance(values, dict) else more
            faults.append(Fault(path=kind, message=f"it must be a table, in {culprit}"))
            continue
        for name, value in values.items():
            if name in there:
                first = where.get((kind, name), main)
                message = f"it stands in both {first} and {more}; leave it in one"
                faults.append(Fault(path=dotted(kind, name), message=message))
            else:
                there[name] = value
                where[kind, name] = more


# --- overrides ---------------------------------------------------------------------------


def _override(document: dict[str, Any], override: str, faults: list[Fault]) -> None:
    keys, text = _split(override)
    if not keys:
        # Only what stands before the "=": the rest may be a secret.
        found = override.partition("=")[0].strip()
        message = f"found {found!r}; it must be KEY=VALUE, such as sources.x.timeout=30s"
        faults.append(Fault(path="--set", message=message))
        return
    table = document
    for depth, step in enumerate(keys[:-1], 1):
        inner = table.setdefault(step, {})
        if not isinstance(inner, dict):
            message = f"{dotted('', *keys)}: {dotted('', *keys[:depth])} is no table"
            faults.append(Fault(path="--set", message=message))
            return
        table = inner
    table[keys[-1]] = _value(text)


def _split(override: str) -> tuple[list[str], str]:
    """The parts of the key, by TOML's own rules, and the text after the "="."""
    try:
        override.encode()
    except UnicodeEncodeError:  # the command line was not UTF-8
        return [], ""
    pieces = override.split("=")
    for n in range(1, len(pieces)):  # a quoted key may hold a "=" of its own
        try:
            table: Any = tomllib.loads(f"{'='.join(pieces[:n])} = 0")
        except ValueError:
            continue
        keys = []
        while isinstance(table, dict) and len(table) == 1:
            [(key, table)] = table.items()
            keys.append(key)
        return (keys if table == 0 else []), "=".join(pieces[n:]).strip()
    return [], ""


def _value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text  # 30s, /api/campaigns: plain words need no quotes
    return document["value"] if len(document) == 1 else text


# --- like --------------------------------------------------------------------------------


def inherit(document: dict[str, Any], faults: list[Fault]) -> dict[str, str]:
    """Give each source what it lacks of the one that it is `like`; gives who is like whom."""
    sources = tables(document.get("sources"))
    parents = _parents(sources, faults)
    done: dict[str, dict[str, Any]] = {}

    def whole(name: str) -> dict[str, Any]:
        if name not in done:
            parent = parents.get(name)
            own = sources[name]
            done[name] = own if parent is None else _deep(whole(parent), own, ())
        return done[name]

    # The far end first: a chain of any length needs no deep recursion.
    for name in sources:
        chain = [name]
        while (parent := parents.get(chain[-1])) is not None and parent not in done:
            chain.append(parent)
        for link in reversed(chain):
            whole(link)
    if done:
        document["sources"] = {**document["sources"], **done}
    return parents


def _parents(sources: Mapping[str, Mapping[str, Any]], faults: list[Fault]) -> dict[str, str]:
    parents: dict[str, str] = {}
    for name, own in sources.items():
        if "like" not in own:
            continue
        like = own["like"]
        if not isinstance(like, str):
            message = "it must be the name of another source"
        elif like not in sources:
            near = difflib.get_close_matches(like, sources, n=1)
            known = f"known: {', '.join(s for s in sources if s != name) or 'none'}"
            message = f"there is no source {like!r}; "
            message += f"did you mean {near[0]!r}?" if near else known
        else:
            parents[name] = like
            circle = _circle(name, parents)
            if not circle:
                continue
            # The link that closes the circle is left out, so that reading can go on.
            del parents[name]
            message = f"sources can't be like each other in a circle: {' → '.join(circle)}"
        faults.append(Fault(path=dotted("sources", name, "like"), message=message))
    return parents


def _circle(name: str, parents: Mapping[str, str]) -> list[str]:
    way = [name]
    while (parent := parents.get(way[-1])) is not None:
        way.append(parent)
        if parent == name:
            return way
    return []


def _instead(own: Mapping[str, Any], at: tuple[str, ...]) -> set[str]:
    """What of a stream is not inherited, for its own settings stand in the place of it."""
    if len(at) != 2 or at[0] != "streams" or {"cron", "every"} <= own.keys():
        return set()
    return {"every"} if "cron" in own else {"cron", "zone"} if "every" in own else set()


def _deep(base: Mapping[str, Any], own: Mapping[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
    """`base` with everything that `own` says; tables merge, all else is replaced."""
    # Tables in here are references to secrets: two of them merged would be none.
    replace = at in (("auth",), ("headers",)) or len(at) == DEEPEST
    merged = {key: value for key, value in base.items() if key not in _instead(own, at)}
    for key, value in own.items():
        there = merged.get(key)
        whole = replace or (key == "heartbeat" and at[:1] == ("streams",))
        if isinstance(there, dict) and isinstance(value, dict) and not whole:
            merged[key] = _deep(there, value, (*at, key))
        else:
            merged[key] = value
    return merged
