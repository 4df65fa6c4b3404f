"""What can an operator ask of one stream, and what is answered?"""

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from syncd.sync.aside import retry_letters, sync_records
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint, Committed
from syncd.sync.ports import APPROVE, NOT_LISTED, NOTHING_HELD, REPEAT, RequestKind
from syncd.sync.stream import read_ours

RESET = "reset by an operator"
ASKED = "an operator asked what is gone"


@attrs.define(eq=False, kw_only=True)
class Job:
    """One request, until it is answered."""

    kind: RequestKind
    subjects: Sequence[str] = ()
    """Keys of records, or ids of dead letters; with these maybe REPEAT; or APPROVE."""

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
        if self.kind == "reconcile":
            return await self._reconcile(stream, at)
        return await self._sync(stream, at)

    async def _reset(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        standing = await _on_top(stream, lambda now: stream.store.reset(now, RESET))
        given_up = "its cycle was given up; " if at.cycle is not None else ""
        when = "once it is resumed" if standing.paused else "now"
        self.end(f"{given_up}the next begins {when}, at its first page")
        return standing

    async def _reconcile(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        approve = APPROVE in self.subjects
        if approve and not (await _as_it_stands(stream)).question:
            self.end(NOTHING_HELD, ok=False)
            return at
        standing = await _on_top(
            stream, lambda now: stream.store.ask_to_reconcile(now, ASKED, approve=approve)
        )
        when = "after the cycle that is under way" if standing.cycle is not None else "now"
        self.end(f"looks for what is gone {when}")
        return standing

    async def _sync(self, stream: StreamContext, at: Checkpoint) -> Checkpoint:
        found = await sync_records(stream, at, self.subjects)
        missing = ", ".join(found.missing)
        kept_out = ", or it is kept out" if stream.kept_out.hashes else ""
        why = f"(or `where` leaves it out{kept_out})"
        lacks = f"{NOT_LISTED}{missing} {why}" if missing else ""
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


async def _as_it_stands(stream: StreamContext) -> Checkpoint:
    return await stream.retry.through_outages(lambda: read_ours(stream), stream.on_failure)


async def _on_top(
    stream: StreamContext, change: Callable[[Checkpoint], Awaitable[Checkpoint]]
) -> Checkpoint:
    """Change the checkpoint of a stream that is at a boundary; twice is no harm."""

    async def step() -> Checkpoint:
        # Read anew at each try: if only the answer was lost, it has moved already.
        return await change(await read_ours(stream))

    return await stream.retry.through_outages(step, stream.on_failure)


def _came_to(committed: Committed) -> str:
    totals = committed.totals
    parts = [
        (totals.written, "written"),
        (totals.unchanged, "unchanged"),
        (totals.left_out - totals.kept_out, "left out by a rule"),
        (totals.kept_out, "kept out"),
        (totals.dead, "put aside (see `syncd dead list`)"),
    ]
    return ", ".join(f"{many} {what}" for many, what in parts if many)
