"""How does what an operator asks for reach the streams, and the answer the operator?"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio

from syncd.daemon.jobs import Job
from syncd.daemon.supervisor import Supervisor
from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync.model import Lease, StreamId
from syncd.sync.ports import Request

POLL = 5.0  # seconds; where NOTIFY is not heard, so often the rows are looked at
ANSWERING = 60.0  # seconds for which an answer is tried to be written
GONE = "the syncd that took it ended before it was done; ask again"

Reload = Callable[[], Awaitable[tuple[bool, str]]]


@attrs.define(eq=False, kw_only=True)
class Inbox:
    """Takes requests for our sources, and answers them."""

    supervisor: Supervisor
    reload: Reload
    """Reloads the config; whether it was taken up, and what to say."""

    heard: Callable[[Request], None]
    _open: int = attrs.field(default=0, init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def settled(self) -> None:
        """Return when nothing waits for its answer."""
        while self._open:
            await self._answered.wait()

    async def run(self) -> None:
        """Until cancelled; requests are carried out beside each other."""
        store = self.supervisor.store
        with suppress(StoreUnavailable):  # then the next start does it
            await store.abandon_requests(self._leases, GONE)
        async with trio.open_nursery() as carrying_out:
            while True:
                try:
                    for request in await store.take_requests(self._leases):
                        self.heard(request)
                        carrying_out.start_soon(self._carry_out, request)
                except (StoreUnavailable, StreamBroken):
                    await trio.sleep(POLL)
                    continue
                await store.wait_for_requests(POLL)

    @property
    def _leases(self) -> list[Lease]:
        return list(self.supervisor.leases.values())

    async def _carry_out(self, request: Request) -> None:
        self._open += 1
        try:
            if request.kind == "reload" or request.stream is None:
                ok, answer = await self.reload()
            else:
                stream = StreamId(source=request.source, stream=request.stream)
                ok, answer = await self._ask(stream, request)
            await self._answer(request, ok=ok, answer=answer)
        finally:
            self._open -= 1
            self._answered.set()
            self._answered = trio.Event()

    async def _ask(self, stream: StreamId, request: Request) -> tuple[bool, str]:
        runner = self.supervisor.runners.get(stream)
        if runner is None:
            return False, f"{stream} is not in the config that this syncd runs with"
        job = Job(kind=request.kind, subjects=request.subjects)
        runner.ask(job)
        await job.done.wait()
        return job.ok, job.answer

    async def _answer(self, request: Request, *, ok: bool, answer: str) -> None:
        with trio.move_on_after(ANSWERING):
            while True:
                try:
                    await self.supervisor.store.answer_request(request, ok=ok, answer=answer)
                except (StoreUnavailable, StreamBroken):
                    await trio.sleep(POLL)
                else:
                    return
