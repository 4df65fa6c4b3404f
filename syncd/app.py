"""Wiring: builds everything from Settings, and opens and closes it in order.

The only module that knows every concrete class.  What it opens, from the outside in:
signals, the embedded Postgres if none is configured, the store, each source's HTTP
client and budget, and then the supervisor's nurseries.
"""

import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, closing

import attrs
import trio
from loguru import logger

from syncd import logs
from syncd.api.client import ApiClient
from syncd.api.source import ApiSource
from syncd.config.settings import Secret, Settings, SourceSettings, StreamSettings
from syncd.daemon.notify import Notifier, Teller
from syncd.daemon.supervisor import Result, Supervisor
from syncd.errors import StoreUnavailable, StreamBroken
from syncd.progress import Progress
from syncd.store.embedded import embedded_server
from syncd.store.postgres import PostgresStore, open_store
from syncd.sync import events
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.ledger import Ledger
from syncd.sync.model import Lease, StreamId, Table
from syncd.sync.retry import STORE_BASE, STORE_CAP, Retry, backoff
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits

GOODBYE = 5.0  # seconds that giving the leases back may take
PATIENCE = 120.0  # seconds; for so long `once` waits for a Postgres that goes away


@asynccontextmanager
async def store(settings: Settings, *, migrations: bool = True) -> AsyncIterator[PostgresStore]:
    """Yield the open store, its Postgres an embedded one if none is configured.

    With `migrations` its schema is made as new as this syncd.
    """
    url = settings.database.url
    if url is not None:
        conninfo = url.reveal() if isinstance(url, Secret) else url
        async with open_store(conninfo, migrations=migrations) as opened:
            yield opened
        return
    async with (
        embedded_server(settings.state) as server,
        open_store(server.conninfo, migrations=migrations, revive=server.revive) as opened,
    ):
        yield opened


def table(stream: StreamSettings) -> Table:
    """The user's table, as the settings describe it."""
    return Table(
        schema=stream.schema,
        name=stream.table,
        columns=stream.columns,
        key=stream.key,
        volatile=stream.volatile,
        kept=frozenset(stream.call.keep) if stream.call else frozenset(),
        indexes=stream.indexes,
    )


def client(settings: SourceSettings, on_login: Callable[[float], None] | None = None) -> ApiClient:
    """The HTTP client of a source."""
    return ApiClient(settings, on_login=on_login)


def source(settings: SourceSettings, stream: StreamSettings, http: ApiClient) -> ApiSource:
    """One stream of a source, as the loop sees it."""
    return ApiSource(settings, stream, http)


def budget(
    source: SourceSettings, settings: Settings, store: PostgresStore
) -> TokenBucket | Unlimited:
    """The budget of a source; still to be opened."""
    if source.budget is None:
        return Unlimited(f"source {source.name}", store)
    timeouts = [
        s.timeout
        for s in settings.sources.values()
        if s.budget is not None and s.budget.name == source.budget.name
    ]
    return TokenBucket(source.budget, store, max(timeouts))


@attrs.define(eq=False, kw_only=True)
class App:
    """Everything of one process, wired and open."""

    settings: Settings
    store: PostgresStore
    waits: Waits
    report: events.Report
    patience: float
    """How long a Postgres that goes away is waited for, in seconds."""

    rng: random.Random = attrs.field(factory=random.Random)
    budgets: dict[str, TokenBucket | Unlimited] = attrs.field(factory=dict, init=False)
    leases: list[Lease] = attrs.field(factory=list, init=False)
    streams: list[StreamContext] = attrs.field(factory=list, init=False)
    broken: dict[StreamId, Result] = attrs.field(factory=dict, init=False)
    """Streams that could not be opened, and why."""

    async def open_source(
        self, settings: SourceSettings, only: Collection[StreamId] | None, stack: AsyncExitStack
    ) -> None:
        """Take the source's lease and make its streams ready to run."""
        wanted = [
            (StreamId(source=settings.name, stream=s.name), s) for s in settings.streams.values()
        ]
        wanted = [(i, s) for i, s in wanted if only is None or i in only]
        if not wanted:
            return
        lease = await self.store.acquire_lease(settings.name)
        self.leases.append(lease)
        shared = await self._budget(settings)
        http = await stack.enter_async_context(
            client(
                settings,
                lambda life: self.report(events.LoggedIn(stream=wanted[0][0], expires_in=life)),
            )
        )
        ledger = Ledger(self.store)
        for stream_id, stream in wanted:
            try:
                await self.store.open_stream(stream_id, table(stream), lease)
            except StreamBroken as error:  # this stream's table, and no other's
                self.broken[stream_id] = error
                self.report(events.Parked(stream=stream_id, reason=error.reason, hint=error.hint))
                continue
            waits = Waits(self.waits)
            self.streams.append(
                StreamContext(
                    id=stream_id,
                    table=table(stream),
                    every=stream.every,
                    concurrency=stream.call.concurrency if stream.call else 1,
                    only_changed=stream.call is not None and stream.call.when == "changed",
                    lease=lease,
                    source=source(settings, stream, http),
                    store=self.store,
                    ledger=ledger,
                    budget=shared,
                    retry=Retry(
                        retries=settings.retries,
                        base=settings.backoff,
                        window=settings.budget.per if settings.budget else None,
                        budget=shared,
                        waits=waits,
                        rng=self.rng,
                        patience=self.patience,
                    ),
                    waits=waits,
                    report=self.report,
                )
            )

    async def _budget(self, settings: SourceSettings) -> TokenBucket | Unlimited:
        made = budget(settings, self.settings, self.store)
        name = made.settings.name if isinstance(made, TokenBucket) else made.name
        if name not in self.budgets:
            await made.open()
            self.budgets[name] = made
        return self.budgets[name]

    def supervisor(self) -> Supervisor:
        """Everything wired so far, ready to run."""
        return Supervisor(
            store=self.store,
            streams=self.streams,
            budgets=list(self.budgets.values()),
            leases=self.leases,
            waits=self.waits,
            drain=self.settings.drain,
            report=self.report,
            rng=self.rng,
            results=dict(self.broken),
        )

    async def goodbye(self) -> None:
        """Give the leases back, so that the next start need not find out that we are gone."""
        with trio.move_on_after(GOODBYE, shield=True):
            try:
                await self.store.release_leases(self.leases)
            except StoreUnavailable:
                return  # they run out by themselves


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    report: events.Report,
    only: Collection[StreamId] | None = None,
    patience: float = float("inf"),
) -> AsyncIterator[App]:
    """Open the store and every source that is wanted; closes them in the opposite order."""
    async with store(settings) as db, AsyncExitStack() as stack:
        app = App(settings=settings, store=db, waits=Waits(), report=report, patience=patience)
        try:
            for wanted in settings.sources.values():
                await app.open_source(wanted, only, stack)
            yield app
        finally:
            await app.goodbye()  # noqa: ASYNC102 - shields itself


@attrs.frozen(kw_only=True)
class LeftEarly:
    """What came of a run that was asked to leave before the database was there: nothing."""

    waits: Waits
    results: dict[StreamId, Result] = attrs.field(factory=dict)
    cut: bool = False
    asked_twice: bool = False


async def run(
    settings: Settings,
    *,
    forever: bool,
    report: events.Report,
    only: Collection[StreamId] | None = None,
    progress: Progress | None = None,
) -> Supervisor | LeftEarly:
    """Run the streams until they have ended or a signal asked us to leave.

    Returns the supervisor, whose `results` and `cut` say what came of it.
    """
    # Outermost, so that no signal is lost while we open or close.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        if not forever:
            async with opened(settings, report=report, only=only, patience=PATIENCE) as app:
                return await _supervised(
                    app, signals, forever=False, progress=progress, leaving=_say_to(progress)
                )
        with closing(Notifier.of(os.environ)) as notifier:
            teller = Teller(notifier)
            # Around all that opens and closes: an embedded Postgres takes its time for both.
            async with trio.open_nursery() as telling:
                telling.start_soon(teller.run)
                telling.start_soon(notifier.watchdog)
                outcome = await _for_ever(settings, signals, teller, report)
                telling.cancel_scope.cancel()
            return outcome


async def _for_ever(
    settings: Settings, signals: AsyncIterator[int], teller: Teller, report: events.Report
) -> Supervisor | LeftEarly:
    def tell(event: events.Event) -> None:
        report(event)
        teller.hear(event)

    rng = random.Random()  # noqa: S311 - jitter is no secret
    async with AsyncExitStack() as stack:
        failures = 0
        while True:
            try:
                app = await stack.enter_async_context(opened(settings, report=tell))
                break
            except StoreUnavailable as error:
                away = error
            failures += 1
            own = backoff(failures, base=STORE_BASE, cap=STORE_CAP, rng=rng)
            pause = max(own, away.hint or 0.0)
            logs.postgres_away(str(away), pause)
            teller.away(str(away), pause)
            if await _asked_to_leave(signals, pause):
                teller.leaving(0)
                waits = Waits()
                waits.end()
                return LeftEarly(waits=waits)
        logs.postgres_back()
        teller.reached()
        supervisor = await _supervised(app, signals, forever=True, leaving=teller.leaving)
        teller.leaving(0)
        return supervisor


async def _supervised(
    app: App,
    signals: AsyncIterator[int],
    *,
    forever: bool,
    progress: Progress | None = None,
    leaving: Callable[[float], None] = lambda _: None,
) -> Supervisor:
    supervisor = app.supervisor()
    async with trio.open_nursery() as control:
        control.start_soon(_leave_on_signal, signals, supervisor, leaving)
        if progress is not None:
            for stream in app.streams:
                progress.watch(stream)
            control.start_soon(progress.run)
        await supervisor.run(forever=forever)
        control.cancel_scope.cancel()
    return supervisor


def _say_to(progress: Progress | None) -> Callable[[float], None]:
    """Tell a person at once that their Ctrl-C was heard: a request may take its whole timeout."""

    def leaving(_: float) -> None:
        if progress is not None:
            progress.note("interrupted: waiting for what is in flight; Ctrl-C again cuts it short")

    return leaving


async def _asked_to_leave(signals: AsyncIterator[int], seconds: float) -> bool:
    """Wait for so long, or until a signal asks us to leave."""
    with trio.move_on_after(seconds):
        async for number in signals:
            if number != signal.SIGHUP:
                return True
    return False


async def _leave_on_signal(
    signals: AsyncIterator[int], supervisor: Supervisor, leaving: Callable[[float], None]
) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            logger.warning(
                "SIGHUP: this syncd can't reload yet; restart it to take up a new config"
            )
        elif supervisor.waits.ended:
            logger.warning("asked twice: cutting short what is in flight")
            supervisor.cut_short()
        else:
            logger.info("leaving: requests in flight are awaited")
            supervisor.stop()
            leaving(supervisor.drain)
