"""Which clock goes on while the machine is suspended?"""

import time


def boot_time() -> float:
    """Seconds that include a suspend, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
