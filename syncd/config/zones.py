"""What does `zone` say, wherever it stands: what is the time there?"""

import difflib
from typing import TypeVar

from syncd.config.reading import Node, shown
from syncd.zones import NoZonesError, names, zone

ALLOWED = 'a time zone such as "UTC" or "Europe/Berlin"'

T = TypeVar("T")


def read_zone(node: Node, default: T) -> str | T:
    """A time zone by its name; a fault says which one was meant, or what is not installed."""
    if not node.has("zone"):
        return default
    value = node.values["zone"]
    if not isinstance(value, str):
        node.wrong("zone", value, ALLOWED)
        return default
    try:
        zone(value)
    except NoZonesError as error:
        node.fault("zone", f"found {shown(value)}; {error}")
    except LookupError:
        node.wrong("zone", value, ALLOWED + _meant(value))
    else:
        return value
    return default


def _meant(value: str) -> str:
    there = {name.lower(): name for name in names()}
    near = difflib.get_close_matches(value.lower(), there, n=1)
    return f"; did you mean {there[near[0]]!r}?" if near else ""
