"""A Trio of its own, in a thread, for what runs behind the page: a mock API and a daemon.

Playwright's plain interface has the test's own thread.
"""

import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any, TypeVar

import attrs
import trio

T = TypeVar("T")
PATIENCE = 40.0  # seconds for one piece of work

Work = Callable[[AsyncExitStack], Awaitable[Any]]
Outcome = tuple[Any, BaseException | None]


@attrs.define(eq=False)
class Backstage:
    """Does one thing after another, all in one task: what is entered there is left there."""

    _send: trio.MemorySendChannel[tuple[Work, "queue.Queue[Outcome]"]] = attrs.field(init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(init=False)
    _ready: threading.Event = attrs.field(factory=threading.Event, init=False)

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter it; it is left at the end, the last one first."""
        found: T = self._do(lambda stack: stack.enter_async_context(context))
        return found

    def do(self, work: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> T:
        """Do it, and return what comes of it."""

        async def in_time(_: AsyncExitStack) -> T:
            with trio.fail_after(PATIENCE):
                return await work(*arguments, **named)

        found: T = self._do(in_time)
        return found

    def _do(self, work: Work) -> Any:
        outcomes: queue.Queue[Outcome] = queue.Queue()
        trio.from_thread.run(self._send.send, (work, outcomes), trio_token=self._token)
        found, error = outcomes.get(timeout=2 * PATIENCE)
        if error is not None:
            raise error
        return found

    async def run(self) -> None:
        """The thread's life."""
        self._token = trio.lowlevel.current_trio_token()
        self._send, receive = trio.open_memory_channel(1)
        self._ready.set()
        async with AsyncExitStack() as stack:
            async for work, outcomes in receive:
                try:
                    outcomes.put((await work(stack), None))
                except Exception as error:  # noqa: BLE001 - raised where it was asked for
                    outcomes.put((None, error))

    def close(self) -> None:
        """Leave everything."""
        trio.from_thread.run_sync(self._send.close, trio_token=self._token)


@contextmanager
def backstage() -> Iterator[Backstage]:
    """One of them, for as long as the block lasts."""
    stage = Backstage()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            trio.run(stage.run)
        except BaseException as error:  # noqa: BLE001 - raised where somebody hears it
            failed.append(error)

    thread = threading.Thread(target=run, name="backstage", daemon=True)
    thread.start()
    assert stage._ready.wait(PATIENCE)
    try:
        yield stage
    finally:
        stage.close()
        thread.join(PATIENCE)
        if failed:
            raise failed[0]
