"""What has happened to a checkpoint, or a lease, that is not as we left it?

Ahead of us, somebody else has it.  Behind us, Postgres shows an older state than it had
committed: it was restored from a backup, or a failover has lost its last commits.  The
fence and the sequence number tell which, since both only grow.
"""

from syncd.errors import CheckpointMoved, StoreWentBack
from syncd.sync.model import Checkpoint, Lease

WENT_BACK = "Postgres shows an older state than it had committed"
WHY = "was it restored, or has a failover lost commits?"


def displaced(left: Checkpoint, now: Checkpoint) -> CheckpointMoved | StoreWentBack:
    """Why nothing could be written on top of the checkpoint that we left."""
    if now.fence == left.fence and now.seq < left.seq:
        return StoreWentBack(
            f"{left.stream}: {WENT_BACK}, checkpoint {now.seq} where {left.seq} was; {WHY} "
            "It goes on from there"
        )
    what = f"{left.stream}: the checkpoint is not at {left.seq} any more, and nothing was written"
    return _by_fence(f"{left.stream}", what, ours=left.fence, now=now.fence)


def lost(lease: Lease, fence: int) -> CheckpointMoved:
    """Why a lease is not ours, where this is the fence that it has now."""
    what = f"{lease.source}: the lease was taken by another syncd"
    return _by_fence(lease.source, what, ours=lease.fence, now=fence)


def _by_fence(of: str, taken: str, *, ours: int, now: int) -> CheckpointMoved:
    if now < ours:
        return CheckpointMoved(
            f"{of}: {WENT_BACK}, with an older lease than ours, and nothing was written; {WHY}",
            hint="syncd takes the source again within half a minute, and goes on by itself",
        )
    return CheckpointMoved(taken, hint="one syncd at a time may run a source; stop the other one")
