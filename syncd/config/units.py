"""What do `15m` and `64MiB` mean?"""

import math
import re

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
LONGEST = 3650 * 86400.0  # seconds; what is longer is a slip, and Postgres's clock has an end
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def seconds(value: object) -> float | None:
    """Seconds of `250ms`, `15s`, `1.5m`, `2h`, `1d` or a number; None if it is none of these."""
    found = _measured(value, SECONDS, "s")
    return found if found is not None and found <= LONGEST else None


def size(value: object) -> int | None:
    """Bytes of `64MiB`, `200kB` or a number; None if it is none of these."""
    if isinstance(value, float):
        return None  # there is no half of a byte
    found = _measured(value, BYTES, "B")
    return None if found is None else int(found)


def _measured(value: object, units: dict[str, float] | dict[str, int], bare: str) -> float | None:
    if isinstance(value, bool):
        return None  # `timeout = true` is a slip, not a second
    if isinstance(value, int | float):
        # A whole number of more than 300 digits fits no float.
        return float(value) if abs(value) < 2**63 else None
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[2] or bare) not in units:
        return None
    found = float(match[1]) * units[match[2] or bare]
    return found if math.isfinite(found) else None
