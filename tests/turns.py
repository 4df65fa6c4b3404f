"""Which tests may run beside each other?  All but those marked `alone`, which measure.

Such a test waits until those of the other workers have ended, and they wait for it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Be in the room, which all workers share by this folder."""
    with (folder / "door").open("a") as door, (folder / "room").open("a") as room:
        # Whoever waits to be alone stands in the door: nobody else goes in meanwhile.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
