"""What can an operator ask of one stream, and what is answered?"""

from collections.abc import Sequence

import attrs
import trio

from syncd.sync.aside import retry_letters, sync_records
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint, Committed
from syncd.sync.ports import REPEAT, RequestKind


@attrs.define(eq=False, kw_only=True)
class Job:
    """One request, until it is answered."""

    kind: RequestKind
    subjects: Sequence[str] = ()
    """Keys of records, or ids of dead letters; with these maybe REPEAT."""

    ok: bool = attrs.field(default=False, init=False)
    answer: str = attrs.field(default="", init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)

    def end(self, answer: str, *, ok: bool = True) -> None:
        """Answer it; the first answer stands."""
        if not self.done.is_set():
            self.ok, self.answer = ok, answer
            self.done.set()

    async def carry_out(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        """Do what is more than a word, on top of the checkpoint; where it stands then.

        Raises what a cycle raises; nothing has been written then.
        """
        if self.kind == "reset":
            return await self._reset(stream, at)
        if self.kind == "retry":
            return await self._retry(stream, at)
        return await self._sync(stream, at)

    async def _reset(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        standing = await stream.retry.through_outages(
            lambda: stream.store.reset(at, "reset by an operator"), stream.on_failure
        )
        given_up = "its cycle was given up; " if at.cycle is not None else ""
        when = "once it is resumed" if standing.paused else "now"
        self.end(f"{given_up}the next begins {when}, at its first page")
        return standing

    async def _sync(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        found = await sync_records(stream, at, self.subjects)
        missing = ", ".join(found.missing)
        lacks = f"the API does not list: {missing} (or `where` leaves it out)" if missing else ""
        if found.committed is None:
            self.end(lacks, ok=False)
            return at
        answer = "; ".join(filter(None, [_came_to(found.committed), lacks]))
        self.end(answer, ok=not missing and not found.committed.totals.dead)
        return found.committed.checkpoint

    async def _retry(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        ids = [int(s) for s in self.subjects if s != REPEAT]
        letters = await stream.retry.through_outages(
            lambda: stream.store.letters(stream.id, ids), stream.on_failure
        )
        if not letters:
            self.end("these letters are not there any more", ok=False)
            return at
        committed = await retry_letters(stream, at, letters, repeat=REPEAT in self.subjects)
        self.end(_came_to(committed), ok=not committed.totals.dead)
        return committed.checkpoint


def _came_to(committed: Committed) -> str:
    totals = committed.totals
    parts = [
        (totals.written, "written"),
        (totals.unchanged, "unchanged"),
        (totals.left_out, "left out by `where`"),
        (totals.dead, "put aside (see `syncd dead list`)"),
    ]
    return ", ".join(f"{many} {what}" for many, what in parts if many)
