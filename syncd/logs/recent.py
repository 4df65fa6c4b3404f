"""Which of the last lines does a person want to see who looks at the daemon now?

Warnings and errors, and that a trouble is over.  They come without secrets, as to every sink.
"""

import threading
from collections import deque
from datetime import UTC
from typing import Any

import attrs

from syncd.logs import kinds
from syncd.logs.entry import Entry
from syncd.logs.shapes import finite
from syncd.logs.todo import WHAT_TO_DO

KEPT = 50  # lines
LONGEST = 2000  # characters of one field
WARNING = 30  # as loguru numbers it

GOOD_NEWS = frozenset(
    {
        kinds.BACK,
        kinds.API_WELL,
        kinds.FAILING_NO_MORE,
        kinds.HELD_NO_MORE,
        kinds.RELOADED,
    }
)


@attrs.define(eq=False)
class Recent:
    """The last noteworthy lines."""

    _lines: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=KEPT), init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def hear(self, entry: Entry) -> None:
        """Keep a line if it is worth it; any thread may log."""
        if entry.severity >= WARNING or entry.kind in GOOD_NEWS:
            with self._guard:
                self._lines.appendleft(_object(entry))

    def objects(self) -> list[dict[str, Any]]:
        """The newest first."""
        with self._guard:
            return list(self._lines)


def _object(entry: Entry) -> dict[str, Any]:
    at = entry.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "at": at,
        "level": entry.level,
        "event": entry.kind.name if entry.kind else None,
        "stream": entry.stream or None,
        "sentence": entry.sentence[:LONGEST],
        "fields": {
            name: value[:LONGEST] if isinstance(value, str) else finite(value)
            for name, value in entry.fields.items()
        },
        "todo": WHAT_TO_DO.get(entry.kind.name) if entry.kind else None,
    }
