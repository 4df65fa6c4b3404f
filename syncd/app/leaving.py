"""What becomes of a process that is asked to leave?"""

from syncd import logs
from syncd.daemon.supervisor import Supervisor


def leave(supervisor: Supervisor) -> bool:
    """Leave, or cut short what is in flight if that was asked before; True the first time."""
    if supervisor.waits.ended:
        logs.cut_short()
        supervisor.cut_short()
        return False
    logs.leaving()
    supervisor.stop()
    return True
