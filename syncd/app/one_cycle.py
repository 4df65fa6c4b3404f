"""How does a process live that runs one cycle of each stream?

Signals are outermost, so that none is lost while we open or close.  SIGTERM and SIGINT end
it, a second one cuts short what is in flight.
"""

import signal
from collections.abc import Collection

import trio

from syncd.app.leaving import leave
from syncd.app.opened import opened
from syncd.config.settings import Settings
from syncd.daemon.supervisor import Supervisor
from syncd.progress import Progress
from syncd.sync import events
from syncd.sync.model import StreamId

PATIENCE = 120.0  # seconds; for so long a Postgres that goes away is waited for


async def one_cycle(
    settings: Settings,
    *,
    report: events.Report,
    only: Collection[StreamId] | None,
    progress: Progress,
) -> Supervisor:
    """Run one cycle of the streams; the supervisor's `results` say what came of them."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with opened(settings, report=report, only=only, patience=PATIENCE) as app:
            supervisor = app.supervisor

            async def hear() -> None:
                async for number in signals:
                    if number != signal.SIGHUP and leave(supervisor):
                        # A person is told at once that their Ctrl-C was heard: a request
                        # may take its whole timeout.
                        progress.note(
                            "interrupted: waiting for what is in flight; Ctrl-C again cuts it short"
                        )

            async with trio.open_nursery() as control:
                control.start_soon(hear)
                for runner in supervisor.runners.values():
                    progress.watch(runner.stream)
                control.start_soon(progress.run)
                await supervisor.run(forever=False, afterwards=app.purging.look)
                control.cancel_scope.cancel()
            return supervisor
