"""What does `syncd diff` open, and how does it end?

One stream's list, its budget and the database; no lease, so that it does no harm beside a
daemon.  SIGINT and SIGTERM end its waits: a request in flight is awaited, and what was found
so far is told.  A second one cuts that short.
"""

import random
import signal
from collections.abc import AsyncIterator

import trio

from syncd.app import database, wiring
from syncd.config.settings import Settings
from syncd.errors import Draining
from syncd.progress import Progress
from syncd.store.comparing import PostgresComparing
from syncd.store.findings import Findings
from syncd.sync.breaker import Breaker
from syncd.sync.context import StreamContext
from syncd.sync.diff import Outcome, look
from syncd.sync.ledger import Ledger
from syncd.sync.model import Lease, StreamId
from syncd.sync.waits import Waits

PATIENCE = 120.0  # seconds; for so long a Postgres that goes away is waited for


async def diff(
    settings: Settings,
    stream: StreamId,
    findings: Findings,
    *,
    progress: Progress,
    full: bool,
    pages: int | None,
) -> Outcome:
    """Look what a cycle would change; the differences are in `findings` then."""
    source = settings.sources[stream.source]
    of_stream = source.streams[stream.stream]
    waits, rng = Waits(), random.Random()  # noqa: S311 - jitter is no secret
    outcome = Outcome(trouble=Draining("it was cut short"))
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            database.store(settings) as store,
            wiring.client(source, safe=wiring.safe(source, settings, store)) as http,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_hear, signals, waits, progress, nursery.cancel_scope)
            budget = wiring.limits(source, settings, store)
            await budget.open()
            nursery.start_soon(budget.run)
            context = StreamContext(
                id=stream,
                table=database.table(of_stream),
                every=of_stream.every,
                only_changed=True,  # no call is made: the progress reckons with none
                lease=Lease(source=stream.source, fence=0),  # nobody's, and not looked at
                looks=True,
                source=wiring.source(source, of_stream, http),
                store=store,
                ledger=Ledger(store),
                budget=budget,
                prices=wiring.prices(of_stream),
                retry=wiring.retry(source, budget, waits, rng, patience=PATIENCE),
                breaker=Breaker(rng=rng),
                waits=waits,
                report=progress.hear,
                reconcile=of_stream.reconcile,
                full=0.0 if of_stream.incremental is None else of_stream.incremental.full,
            )
            context.follow(await store.evolution(context.configured))
            context.kept_out = await store.kept_out(stream, context.table)
            progress.watch(context)
            nursery.start_soon(progress.run)
            comparing = PostgresComparing(store.connections, stream, context.table, findings)
            call = of_stream.call
            calls = call.when if call is not None else ""
            await look(context, comparing, calls=calls, full=full, most=pages, outcome=outcome)
            nursery.cancel_scope.cancel()
    return outcome


async def _hear(
    signals: AsyncIterator[int], waits: Waits, progress: Progress, all_of_it: trio.CancelScope
) -> None:
    async for _ in signals:
        if waits.ended:
            all_of_it.cancel()
            return
        waits.end()
        progress.note("interrupted: waiting for what is in flight; Ctrl-C again cuts it short")
