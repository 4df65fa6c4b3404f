"""The direction of imports: they point inward, and foreign libraries have one door each."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "syncd").rglob("*.py"))

INNERMOST = {"errors", "config.settings", "schedule", "sync.model", "zones"}
"""What everybody may import."""

MAY_IMPORT = {
    "errors": set(),
    "schedule": set(),
    "zones": set(),
    "config": {"config"},
    "sync": {"sync"},
    "api": {"api", "sync"},
    "store": {"store", "sync"},
    "daemon": {"daemon", "sync"},
    "logs": {"logs", "sync"},
    "alarms": {"alarms", "sync", "views"},
    "survey": {"api", "config", "sync", "survey"},
    "views": {"config", "sync", "views"},
    "metrics": {"metrics", "sync", "views"},
    "progress": {"progress", "sync", "views"},
    "admin": {"admin", "sync", "views"},
    "testing": {"sync", "testing"},
    "tracing": {"logs", "sync", "tracing"},
    "app": {
        "app",
        "admin",
        "alarms",
        "api",
        "store",
        "daemon",
        "sync",
        "config",
        "progress",
        "logs",
        "metrics",
        "survey",
    },
    "check": {"app", "config", "progress", "store", "sync", "views"},
    "demo": {"app", "config", "progress", "store", "sync", "views"},
    "commands": {
        "alarms",
        "app",
        "check",
        "commands",
        "config",
        "demo",
        "logs",
        "progress",
        "store",
        "survey",
        "sync",
        "tracing",
        "usage",
        "views",
    },
    "usage": {"commands", "usage"},
    "cli": {"usage"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""Room to the rooms it may look into, beside the innermost modules."""

ONE_DOOR = {
    "httpx": {"api"},
    "psycopg": {"store"},
    "psycopg_pool": {"store"},
    "prometheus_client": {"metrics"},
    "hypercorn": {"admin"},
    "starlette": {"admin"},
    "opentelemetry": {"tracing"},
    "cronsim": {"schedule"},
}
"""Library to the only rooms that know it."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "syncd").with_suffix("").parts)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that they can be read"
            module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_inward(path: Path) -> None:
    """A room looks only into the rooms further in."""
    room = _name(path).split(".")[0]
    allowed = MAY_IMPORT[room]
    modules = {_name(m).removesuffix(".__init__") for m in MODULES}
    for name in _imports(path):
        inner = name.removeprefix("syncd.")
        if name == inner or inner not in modules or inner in INNERMOST:
            continue
        assert inner.split(".")[0] in allowed, f"{_name(path)} may not import syncd.{inner}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_each_foreign_library_has_one_door(path: Path) -> None:
    """Only `api` knows httpx, only `store` knows psycopg, and nobody knows asyncio."""
    room = _name(path).split(".")[0]
    for name in _imports(path):
        top = name.split(".")[0]
        assert top != "asyncio", f"{_name(path)} imports asyncio"
        assert room in ONE_DOOR.get(top, {room}), f"{_name(path)} may not import {top}"
