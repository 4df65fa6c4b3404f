"""A config file that is right, to be spoilt in one place, and what is said of it."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.errors import ConfigError, Fault

GONE: Any = object()
"""As a value: the key is left out."""

RIGHT: dict[str, Any] = {
    "database": {"url": "postgresql:///syncd"},
    "budgets": {"agency": {"requests": 10, "per": "60s"}},
    "sources": {
        "shop": {
            "base_url": "https://api.example.com",
            "headers": {"X-Client-Id": "syncd"},
            "budget": "agency",
            "auth": {"username": "me@example.com", "password": {"env": "SHOP_PASSWORD"}},
            "streams": {
                "orders": {
                    "path": "/orders",
                    "key": ["id"],
                    "volatile": ["views"],
                    "indexes": ["state"],
                    "page": {"size": 10},
                    "columns": {
                        "id": "text",
                        "state": "text",
                        "views": "bigint",
                        "seen_at": "timestamptz",
                        "extra": "jsonb",
                    },
                    "call": {"path": "/orders/{id}/seen", "keep": {"seen_at": "at"}},
                }
            },
        }
    },
}
ENVIRON = {"SHOP_PASSWORD": "canary-password", "HOME": "/home/nobody"}

ORDERS = ("sources", "shop", "streams", "orders")


def right(*changes: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    """The right file, with each value put where its path says."""
    document = copy.deepcopy(RIGHT)
    for path, value in changes:
        table = document
        for step in path[:-1]:
            table = table.setdefault(step, {})
        if value is GONE:
            del table[path[-1]]
        else:
            table[path[-1]] = value
    return document


def toml(value: Any) -> str:
    """A value in TOML; tables inline, so that any nesting can be written."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        # TOML's escapes are JSON's, but for pairs of surrogates and DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return str(value.isoformat())  # dates and times


def write(path: Path, document: Mapping[str, Any] | str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(document, Mapping):
        document = "".join(f"{toml(k)} = {toml(v)}\n" for k, v in document.items())
    path.write_bytes(document if isinstance(document, bytes) else document.encode())
    return path


def settings(folder: Path, document: Mapping[str, Any] | str | bytes, **how: Any) -> Settings:
    """What the file says; `how` goes to `load`."""
    path = write(folder / "syncd.toml", document)
    return load(path, **{"environ": ENVIRON, **how})


def faults(folder: Path, document: Mapping[str, Any] | str | bytes, **how: Any) -> list[Fault]:
    """All that is wrong with the file; nothing, if it loads."""
    try:
        settings(folder, document, **how)
    except ConfigError as error:
        return error.faults
    return []
