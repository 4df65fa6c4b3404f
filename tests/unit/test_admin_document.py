"""Is what the side door says of itself true, and does it cost nothing where it is off?"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from syncd.admin.door import Door, Telling
from syncd.admin.openapi import plain
from syncd.admin.readiness import Ourselves
from syncd.config.settings import Settings


def door() -> Door:
    quiet = Telling(refused=lambda *_: None, failed=lambda _: None, safe=lambda text: text)
    return Door(
        settings=Settings(state=Path("/state"), sources={}),
        ourselves=Ourselves(host="here", pid=1),
        version="0",
        recent=list,
        telling=quiet,
        clock=lambda: 0.0,
    )


def test_the_document_has_each_route_and_no_other() -> None:
    """accounted: with what it takes and what it answers."""
    side = door()
    document: dict[str, Any] = side._reading.openapi
    said = {(path, method) for path, of in document["paths"].items() for method in of}
    assert said == {(plain(route.path), route.method.lower()) for route in side.routes}
    for route in side.routes:
        operation = document["paths"][plain(route.path)][route.method.lower()]
        assert str(route.status) in operation["responses"]
        assert ("requestBody" in operation) == (route.method == "POST")
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(_placeholders(plain(route.path))), route.path
        if route.method == "POST":
            assert route.who == "writer"
            assert operation["security"] == [{"token": []}]


def _placeholders(path: str) -> list[str]:
    return [piece.partition("}")[0] for piece in path.split("{")[1:]]


def test_where_it_is_off_nothing_of_it_is_imported() -> None:
    """contained: neither its rooms nor its libraries are in memory."""
    code = (
        "import sys, syncd.commands.run; found = [m for m in sys.modules if m.split('.')[0] in "
        "('hypercorn', 'starlette', 'anyio', 'h2') or m.startswith('syncd.admin')]; "
        "print(*found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
