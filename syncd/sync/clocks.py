"""How long is it ago, whatever is done to the clocks?"""

import time

import trio


def boot_time() -> float:
    """Seconds that include a suspend, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Stopwatch:
    """Begins when it is made; goes on while the machine is suspended, and is never stepped."""

    def __init__(self) -> None:
        self._began, self._booted = trio.current_time(), boot_time()

    @property
    def elapsed(self) -> float:
        """Seconds since then."""
        return max(trio.current_time() - self._began, boot_time() - self._booted)

    @property
    def suspended(self) -> float:
        """Seconds of these in which the machine was suspended."""
        return self.elapsed - (trio.current_time() - self._began)
