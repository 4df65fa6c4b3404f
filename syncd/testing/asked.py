"""What operators ask for, in the store in memory."""

from collections.abc import Sequence

import attrs
import trio

from syncd.sync.model import Lease
from syncd.sync.ports import Request
from syncd.testing.kept import Kept


@attrs.define(eq=False)
class Requests(Kept):
    """Requests that wait for whoever runs their source."""

    def ask(self, request: Request) -> None:
        """Be an operator who asks for something."""
        self.requests.append(request)
        self._news.set()

    async def take_requests(self, leases: Sequence[Lease]) -> Sequence[Request]:
        async with self._at("take_requests"):
            ours = {x.source for x in leases if self.leases[x.source].fence == x.fence}
            taken = [r for r in self.requests if r.source in ours]
            self.requests = [r for r in self.requests if r.source not in ours]
            return taken

    async def answer_request(self, request: Request, *, ok: bool, answer: str) -> None:
        async with self._at("answer_request"):
            self.answers[request.id] = (ok, answer)

    async def abandon_requests(
        self,
        leases: Sequence[Lease],  # noqa: ARG002 - here they are answered or lost with the process
        answer: str,  # noqa: ARG002
    ) -> None:
        await trio.lowlevel.checkpoint()

    async def purge_requests(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_for_requests(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._news.wait()
        self._news = trio.Event()
