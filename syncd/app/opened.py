"""What has one process open, and what does a reload do to it?

Each source has a lease, a budget (its own or a shared one), a ledger and an HTTP client;
each of its streams a runner.  A reload makes ready all that can fail before it changes
anything.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.api.client import ApiClient
from syncd.api.exchange import Exchange
from syncd.app import database, wiring
from syncd.config.hosts import server_of
from syncd.config.settings import AuthSettings, Settings, SourceSettings, StreamSettings
from syncd.daemon.posting import Posting
from syncd.daemon.purging import Purging
from syncd.daemon.reload import Change, Plan, plan
from syncd.daemon.runner import Runner
from syncd.daemon.supervisor import RENEW, Supervisor
from syncd.errors import ConfigError, Fault, LeaseHeld, StoreUnavailable
from syncd.store.postgres import PostgresStore
from syncd.sync import events
from syncd.sync.breaker import Breaker
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.ledger import Ledger
from syncd.sync.limits import Limits
from syncd.sync.model import Lease, StreamId
from syncd.sync.retry import Outage
from syncd.sync.waits import Waits

GOODBYE = 5.0  # seconds that giving the leases back may take
STAGGER = 0.05  # seconds for each stream, over which the first cycles of many are spread …
STAGGER_SHARE = 0.9  # … but no more than this part of the interval …
SHORTEST = 60.0  # … or of the shortest that a calendar can have


def staggered(before: int, every: float, rng: random.Random) -> float:
    """Seconds that a stream's first cycle waits, where so many others are before it.

    The first begins at once.  As they begin they come again, start to start: a thousand that
    begin together do so each time, and wait for one another.
    """
    at = STAGGER * rng.uniform(max(0, before - 1), before)
    return at % (STAGGER_SHARE * every)


@attrs.define(eq=False)
class _Shared:
    """An HTTP client that is closed with the last stream that uses it."""

    http: ApiClient
    users: int = 0

    async def leave(self) -> None:
        self.users -= 1
        if self.users == 0:
            await self.http.aclose()


@attrs.define(eq=False, kw_only=True)
class App:
    """Everything of one process, wired and open."""

    settings: Settings
    store: PostgresStore
    report: events.Report
    patience: float
    """How long a Postgres that goes away is waited for, in seconds."""

    reread: Callable[[], Awaitable[Settings]] | None = None
    """Reads the config anew, for credentials that were rotated."""

    rng: random.Random = attrs.field(factory=random.Random)
    supervisor: Supervisor = attrs.field(init=False)
    purging: Purging = attrs.field(init=False)
    _waits: Waits = attrs.field(factory=Waits, init=False)
    _budgets: dict[str, wiring.Part] = attrs.field(factory=dict, init=False)
    _limits: dict[str, Limits] = attrs.field(factory=dict, init=False)
    """By source that the config has; they outlive a reload, which changes them."""

    _breakers: dict[str, Breaker] = attrs.field(factory=dict, init=False)
    """By source; they outlive a reload, as what they know of the API does."""

    clients: dict[str, ApiClient] = attrs.field(factory=dict, init=False)
    """By source: the one that was built last."""

    _outage: Outage = attrs.field(init=False)
    _ledger: Ledger = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ledger = Ledger(self.store)
        # A statement that does nothing, but takes a Postgres that may be written to.
        self._outage = Outage(ask=lambda: self.store.renew_leases([]), rng=self.rng)
        self.supervisor = Supervisor(
            store=self.store,
            waits=self._waits,
            drain=self.settings.drain,
            sources=set(self.settings.sources),
        )
        self.purging = Purging(
            store=self.store,
            leases=lambda: list(self.supervisor.leases.values()),
            keep=lambda: self.settings.keep_dead_letters,
            waits=self._waits,
        )

    # --- the start ----------------------------------------------------------------------------

    async def open_source(
        self, settings: SourceSettings, only: Collection[StreamId] | None
    ) -> None:
        """Take the source's lease and make its streams ready to run.

        Raises LeaseHeld, SchemaError, StoreUnavailable.
        """
        ids = [StreamId(source=settings.name, stream=name) for name in settings.streams]
        wanted = [i for i in ids if only is None or i in only]
        if not wanted:
            return
        self.supervisor.leases[settings.name] = await self.store.acquire_lease(settings.name)
        await self._open_budget(settings, self.settings)
        shared = self._client(settings, self.settings)
        for stream in wanted:
            await self._start(stream, self.settings, shared).open()

    def _start(self, stream: StreamId, settings: Settings, shared: _Shared) -> Runner:
        runner = Runner(
            stream=self._context(stream, settings, shared, Waits(self._waits)),
            rng=self.rng,
            stagger=self._stagger(settings.sources[stream.source].streams[stream.stream]),
        )
        self.supervisor.start(runner)
        return runner

    def _stagger(self, stream: StreamSettings) -> float:
        every = stream.every if stream.schedule is None else SHORTEST
        return staggered(len(self.supervisor.runners), every, self.rng)

    def _context(
        self, stream: StreamId, settings: Settings, shared: _Shared, waits: Waits
    ) -> StreamContext:
        of_source = settings.sources[stream.source]
        of_stream = of_source.streams[stream.stream]
        budget = self._limits[stream.source]
        shared.users += 1
        return StreamContext(
            id=stream,
            table=database.table(of_stream),
            every=of_stream.every,
            schedule=of_stream.schedule,
            concurrency=of_stream.call.concurrency if of_stream.call else 1,
            only_changed=of_stream.call is not None and of_stream.call.when == "changed",
            lease=self.supervisor.leases[stream.source],
            source=wiring.source(of_source, of_stream, shared.http),
            store=self.store,
            ledger=self._ledger,
            budget=budget,
            prices=wiring.prices(of_stream),
            retry=wiring.retry(
                of_source, budget, waits, self.rng, patience=self.patience, outage=self._outage
            ),
            breaker=self._breaker(stream.source),
            waits=waits,
            report=self.report,
            reconcile=of_stream.reconcile,
            full=0.0 if of_stream.incremental is None else of_stream.incremental.full,
            close=shared.leave,
        )

    def _breaker(self, source: str) -> Breaker:
        found = self._breakers.get(source)
        if found is None:
            found = self._breakers[source] = Breaker(rng=self.rng)
            self.supervisor.serve(
                Posting(found, self.store, lambda: self.supervisor.leases.get(source))
            )
        return found

    def _client(self, settings: SourceSettings, of_all: Settings) -> _Shared:
        first = StreamId(source=settings.name, stream=next(iter(settings.streams)))

        def logged_in(life: float) -> None:
            self.report(events.LoggedIn(stream=first, expires_in=life))

        def misread(said: str) -> None:
            self.report(events.LimitMisread(stream=first, said=said))

        server, port = server_of(settings.base_url)
        safe = wiring.safe(settings, of_all, self.store)

        def heard(exchange: Exchange) -> None:
            ask = exchange.ask
            stream = attrs.evolve(first, stream=ask.stream) if ask.stream else first
            self.report(
                events.Requested(
                    stream=stream,
                    purpose=ask.purpose,
                    method=ask.method,
                    status=exchange.status,
                    trouble=exchange.trouble,
                    seconds=exchange.seconds,
                    key=ask.key,
                    server=server,
                    port=port,
                )
            )

        async def credentials() -> AuthSettings | None:
            try:
                now = None if self.reread is None else await self.reread()
            except ConfigError:
                return None  # a reload tells what is wrong with the file
            there = now and now.sources.get(settings.name)
            return there.auth if there else None

        made = wiring.client(settings, logged_in, credentials, heard, safe, misread)
        self.clients[settings.name] = made
        return _Shared(made)

    async def _open_budget(self, source: SourceSettings, settings: Settings) -> None:
        for name in wiring.parts_of(source):
            made = wiring.part(name, source, settings, self.store)
            there = self._budgets.get(name)
            if type(there) is not type(made):
                await made.open()
                self._budgets[name] = made
                self.supervisor.serve(made)
            elif isinstance(there, TokenBucket) and isinstance(made, TokenBucket):
                # One that had left the file has missed what was spent meanwhile.
                same = (there.settings, there.timeout) == (made.settings, made.timeout)
                if not same or name not in self._in_use():
                    await there.change(made.settings, made.timeout)
        limits = wiring.limits_of(source, self._budgets)
        self._limits.setdefault(source.name, limits).follow(limits)

    def _in_use(self) -> set[str]:
        return {b.settings.name for limits in self._limits.values() for b in limits.buckets}

    # --- a reload -----------------------------------------------------------------------------

    async def reload(self, new: Settings) -> Plan:
        """Change to other settings, each stream at its page boundary; or raise, and change nothing.

        Raises ConfigError with every fault, StoreUnavailable.
        """
        planned = plan(self.settings, new)
        # A source that leaves and comes back keeps its lease.
        self.supervisor.sources |= set(new.sources)
        leases = await self._acquire(new)
        # From here on nothing raises but for a Postgres that goes away, and then what was
        # done is harmless: budgets follow the file, and are followed again by the next try.
        async with self._or_given_back(leases):
            for source in new.sources.values():
                await self._open_budget(source, new)
        self.supervisor.leases |= {lease.source: lease for lease in leases}
        self.supervisor.sources = set(new.sources)
        self.supervisor.drain = new.drain
        self.settings = new
        for breaker in self._breakers.values():
            breaker.hurry()  # as below
        self.clients = {s: c for s, c in self.clients.items() if s in new.sources}
        self._limits = {s: of for s, of in self._limits.items() if s in new.sources}
        clients: dict[str, _Shared] = {}
        for change in planned.changes:
            self._apply(change, new, clients)
        return planned

    async def _acquire(self, new: Settings) -> list[Lease]:
        """The leases of sources that are new; ConfigError if somebody else runs one."""
        leases: list[Lease] = []
        faults = []
        async with self._or_given_back(leases):
            for name in new.sources:
                if name in self.supervisor.leases:
                    continue
                try:
                    leases.append(await self.store.acquire_lease(name))
                except LeaseHeld as error:
                    faults.append(Fault(path=f"sources.{name}", message=str(error)))
            if faults:
                raise ConfigError(faults)
        return leases

    @asynccontextmanager
    async def _or_given_back(self, leases: Collection[Lease]) -> AsyncIterator[None]:
        """If the body fails, what it took is free for others at once."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                with trio.move_on_after(GOODBYE, shield=True):
                    await self._give_back(leases)

    def _apply(self, change: Change, new: Settings, clients: dict[str, _Shared]) -> None:
        runner = self.supervisor.runners.get(change.stream)
        name = change.stream.source
        if change.fate == "retire":
            if runner is not None:
                runner.retire()
            return
        if change.fate == "keep":
            if runner is not None and runner.state in ("parked", "failing"):
                runner.notice()  # whoever reloads has mended something: it is worth a try
            return
        shared = clients.get(name)
        if shared is None:
            shared = clients[name] = self._client(new.sources[name], new)
        if runner is None or runner.state == "ended":
            self._start(change.stream, new, shared)
        else:
            context = self._context(change.stream, new, shared, runner.stream.waits)
            runner.change(context, anew=change.fate == "replace")

    # --- the end ------------------------------------------------------------------------------

    async def goodbye(self) -> None:
        """Give the leases back, so that the next start need not find out that we are gone."""
        with trio.move_on_after(GOODBYE, shield=True):
            await self._give_back(list(self.supervisor.leases.values()))

    async def _give_back(self, leases: Collection[Lease]) -> None:
        try:
            await self.store.release_leases(list(leases))
        except StoreUnavailable:
            return  # they run out by themselves


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    report: events.Report,
    only: Collection[StreamId] | None = None,
    patience: float = float("inf"),
    reread: Callable[[], Awaitable[Settings]] | None = None,
) -> AsyncIterator[App]:
    """Open the store and every source that is wanted; closes them in the opposite order."""
    async with database.store(settings) as db:
        app = App(
            settings=settings,
            store=db,
            report=report,
            patience=patience,
            reread=reread,
        )
        try:
            renewed = trio.current_time()
            for wanted in settings.sources.values():
                await app.open_source(wanted, only)
                if trio.current_time() >= renewed + RENEW:
                    # To open a thousand sources may take longer than a lease lasts.
                    await app.supervisor.renew()
                    renewed = trio.current_time()
            yield app
        finally:
            await app.goodbye()  # noqa: ASYNC102 - shields itself
