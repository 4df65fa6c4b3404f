"""The daemon with a count: what it asks of Postgres stands in a file, for whoever looks.

SYNCD_COUNT=FILE python -m scripts.benchmarks.counted --config … run
"""

import mmap
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import psycopg

from syncd.cli import main

_NUMBERS = struct.Struct("QQ")


@attrs.frozen
class Asked:
    """Since the daemon was started."""

    statements: int
    connects: int
    """Connections that were opened."""


def asked(path: Path) -> Asked:
    """What a daemon has asked of Postgres so far."""
    return Asked(*_NUMBERS.unpack(path.read_bytes()))


@attrs.define(eq=False)
class _Count:
    """Numbers in a file that is shared with who reads it: nothing is written for a look."""

    _map: mmap.mmap
    _numbers: list[int] = attrs.field(factory=lambda: [0, 0])
    _guard: threading.Lock = attrs.field(factory=threading.Lock)

    def up(self, number: int) -> None:
        with self._guard:
            self._numbers[number] += 1
            _NUMBERS.pack_into(self._map, 0, *self._numbers)

    def calls(self, of: type, name: str, number: int) -> None:
        """Count each call of a method."""
        method: Callable[..., Any] = getattr(of, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.up(number)
            return method(*args, **options)

        setattr(of, name, counted)


def counted() -> None:
    """Run the command line with a count of what Postgres is asked."""
    path = Path(os.environ["SYNCD_COUNT"])
    path.write_bytes(bytes(_NUMBERS.size))
    with path.open("r+b") as file:
        count = _Count(mmap.mmap(file.fileno(), _NUMBERS.size))
    count.calls(psycopg.Cursor, "execute", 0)
    count.calls(psycopg.Cursor, "executemany", 0)
    count.calls(psycopg.Connection, "connect", 1)
    main()


if __name__ == "__main__":
    counted()
