"""What became of a write whose answer was lost?  That is found out before anything else."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from syncd.errors import StoreUnavailable
from syncd.sync.context import StreamContext
from syncd.sync.displaced import displaced
from syncd.sync.model import Checkpoint

__all__ = ["written"]

T = TypeVar("T")


async def written(
    stream: StreamContext,
    at: Checkpoint,
    write: Callable[[], Awaitable[T]],
    what_was: Callable[[], Awaitable[T]],
    *,
    steps: int = 1,
) -> T:
    """Write, through outages, what moves the checkpoint on from `at`.

    what_was: reads what came of it, where the checkpoint tells that it is committed.
    steps: by how many it moves on.
    """
    unknown = False

    async def attempt() -> T:
        nonlocal unknown
        if unknown:
            now = await stream.store.read_checkpoint(stream.id)
            if (now.fence, now.seq) == (at.fence, at.seq + steps):
                return await what_was()
            if (now.fence, now.seq) != (at.fence, at.seq):
                raise displaced(at, now)
            unknown = False
        try:
            return await write()
        except StoreUnavailable:
            unknown = True
            raise

    return await stream.retry.through_outages(attempt, stream.on_failure)
