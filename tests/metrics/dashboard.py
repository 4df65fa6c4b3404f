"""The dashboard, as a test reads it."""

import json
from collections.abc import Iterator
from typing import Any

import attrs

from tests.metrics.prometheus import MONITORING

STAND_FOR = {
    "$__rate_interval": "10s",
    "$job": ".*",
    "$instance": ".*",
    "$source": ".*",
    "$stream": ".*",
}
"""What Grafana puts in a variable's place."""


@attrs.frozen
class Target:
    """One query of a panel."""

    panel: str
    expression: str


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return read


def panels() -> list[dict[str, Any]]:
    """Those that show something; a row's heading does not."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def targets() -> list[Target]:
    """Every query, as Grafana would ask it."""
    return list(_targets())


def _targets() -> Iterator[Target]:
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in STAND_FOR.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            yield Target(panel["title"], expression)
