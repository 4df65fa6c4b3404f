"""What time is it here?

Two answers are needed: one that only grows, by which limits and lives are
counted, and one that people read.  Tests bring a clock of their own.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import attrs


@attrs.frozen(kw_only=True)
class Clock:
    """The pair of clocks that the server counts on."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


def iso(wall: float) -> str:
    """A moment as the platform writes it: UTC, milliseconds, a Z."""
    moment = datetime.fromtimestamp(wall, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
