"""Carries a schedule out: daemons that come and go, an API and a Postgres that stumble."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TypeVar

import attrs
import trio

from syncd.config.settings import BudgetSettings
from syncd.daemon.jobs import Job
from syncd.daemon.posting import Posting
from syncd.daemon.runner import Runner
from syncd.daemon.supervisor import Supervisor
from syncd.errors import ApiUnavailable, LeaseHeld, StoreUnavailable, SyncdError, UnexpectedAnswer
from syncd.sync import events, line
from syncd.sync.bucket import TokenBucket
from syncd.sync.context import StreamContext
from syncd.sync.ledger import Ledger
from syncd.sync.limits import Limits
from syncd.sync.model import Page, Record, StreamId, Table, Verdict
from syncd.sync.ports import APPROVE, Permit
from syncd.sync.retry import Outage, Retry
from syncd.sync.unlimited import Unlimited
from syncd.sync.waits import Waits
from syncd.testing import FakeSource
from syncd.testing.api import Asked, Fault, record
from syncd.testing.kept import Trouble
from syncd.testing.scanning import DELETED
from syncd.testing.values import Values
from tests.simulation.invariants import (
    BREAKER,
    WHO,
    Violation,
    WatchedApi,
    WatchedBreaker,
    WatchedStore,
)
from tests.simulation.schedule import Schedule, Step

T = TypeVar("T")
FENCE: ContextVar[int] = ContextVar("FENCE")
"""The fencing token of who makes the request that this task has under way."""

PER = 60.0
LAG = 30.0  # seconds for which a change may be on its way until the API shows it
DRAIN = 100.0
LEAVES = 45.0  # seconds: a request's timeout, and a Postgres that loses two statements
TIMEOUT = 15.0
CALLED = StreamId(source="ads", stream="called")
PLAIN = StreamId(source="ads", stream="plain")
JOBS = ("sync", "keys", "pause", "resume", "reset", "retry", "reconcile", "approve")
MANY = 12  # records that vanish at once, more than go without asking
LONGEST = 2_000_000.0  # seconds in which everything is well again after the last step
RESTLESS = 3_000.0  # seconds for which rows go on to move
GONE = 100_000.0  # seconds in which what is gone is found


@attrs.define(eq=False, kw_only=True)
class SimSource(FakeSource):
    """One stream of the API, as one life of a daemon asks it."""

    api: WatchedApi
    world: "World"
    size: int = 4

    @property
    def settings(self) -> str:
        return f"{self.version} {self.size}"

    @property
    def fingerprint(self) -> str:
        return self.settings

    async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
        number = int(cursor or 1)
        what = f"page {number} for {permit.spent_on}"  # type: ignore[attr-defined]  # TokenPermit
        FENCE.set(_fence(permit))
        answer = await self._request(what, None, self.world.latency(), permit)
        page = answer if isinstance(answer, Page) else self._page(number, since)
        self.api.look_at_page(cursor, page, trio.current_time(), self.settings)
        return page

    def _page(self, number: int, since: str | None) -> Page:
        marks = {name: float(str(r["changed"])) for name, r in self.api.records.items()}
        ids = [name for name, mark in marks.items() if since is None or mark >= float(since)]
        chosen = ids[(number - 1) * self.size : number * self.size]
        more = number * self.size < len(ids)
        return Page(
            records=[record(self.api.records[i]) for i in chosen],
            next_cursor=str(number + 1) if more else None,
            # Where it is told, pages are asked for before the one before them has come.
            total=len(ids) if self.world.is_free(self.api.stream) else None,
            mark=max((str(marks[name]) for name in chosen), key=float, default=None),
            clock=trio.current_time(),
        )

    @property
    def page_size(self) -> int:
        return self.size

    def higher(self, one: str | None, other: str | None) -> str | None:
        return max((m for m in (one, other) if m is not None), key=float, default=None)

    def bounded(self, mark: str, clock: float) -> str:
        return str(min(float(mark), clock - LAG))

    async def call(self, record: Record, idempotency_key: str, permit: Permit) -> bytes:
        self.api.call_takes = self.world.latency() + 0.5
        FENCE.set(_fence(permit))
        self.api.under_way[idempotency_key] += 1
        before = self.world.arrived[idempotency_key]
        try:
            return await super().call(record, idempotency_key, permit)
        except trio.Cancelled:
            # The life ended: whether the call was carried out, nobody was told.
            if self.world.arrived[idempotency_key] > before:
                self.api.unknown.add(idempotency_key)
                self.world.maybe_later(self.api, record.key, idempotency_key)
            raise
        finally:
            self.api.under_way[idempotency_key] -= 1

    async def verify(self, record: Record, idempotency_key: str, permit: Permit) -> Verdict:
        FENCE.set(_fence(permit))
        verdict = await super().verify(record, idempotency_key, permit)
        self.api.look_at_verify(idempotency_key, verdict)
        return verdict


@attrs.define(eq=False, kw_only=True)
class Life:
    """One daemon."""

    name: str
    supervisor: Supervisor
    waits: Waits
    bucket: TokenBucket
    rest: Unlimited
    """Of the streams whose requests nobody counts."""

    breaker: WatchedBreaker
    outage: Outage
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    fatal: BaseException | None = None


@attrs.define(eq=False, kw_only=True)
class World:
    """Everything that a schedule plays in."""

    schedule: Schedule
    rng: random.Random = attrs.field(init=False)
    store: WatchedStore = attrs.field(factory=WatchedStore, init=False)
    apis: dict[StreamId, WatchedApi] = attrs.field(factory=dict, init=False)
    lives: list[Life] = attrs.field(factory=list, init=False)
    limit: int = attrs.field(init=False)
    repeatable: bool = attrs.field(init=False)
    has_verify: bool = attrs.field(init=False)
    reconcile: float | None = attrs.field(init=False)
    restless: float = attrs.field(init=False)
    """How often the API's records move while a page is asked for."""

    forgetful: float = attrs.field(init=False)
    """How often Postgres has crashed before a commit, and what is not logged is gone."""

    full: float | None = attrs.field(init=False)
    """None: the plain stream asks only for what has changed; nothing vanishes there, or moves."""

    free: bool = attrs.field(init=False)
    """No limit counts the plain stream's requests: its pages are fetched ahead."""

    flighty: float | None = attrs.field(init=False)
    """The plain stream's pages have ETags, and so often one of its records is elsewhere, and
    another one, for a moment; None: they have none."""

    flown: tuple[str, int, object] | None = attrs.field(default=None, init=False)
    """Which record that is now, and where and how it was before."""

    vanished: dict[StreamId, dict[str, dict[str, object]]] = attrs.field(factory=dict, init=False)
    size: int = attrs.field(default=4, init=False)
    every: float = attrs.field(default=300.0, init=False)
    flaky: float = attrs.field(default=0.0, init=False)
    lossy: float = attrs.field(default=0.0, init=False)
    down: bool = attrs.field(default=False, init=False)
    arrivals: list[float] = attrs.field(factory=list, init=False)
    jumps: list[float] = attrs.field(factory=list, init=False)
    births: list[float] = attrs.field(factory=list, init=False)
    arrived: Counter[str] = attrs.field(factory=Counter, init=False)
    """How often a call has come to the API, by its key."""

    steps: int = attrs.field(default=0, init=False)
    pausing: dict[StreamId, Job] = attrs.field(factory=dict, init=False)
    log: list[str] = attrs.field(factory=list, init=False)
    _born: int = attrs.field(default=0, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.schedule.seed)
        self.limit = self.rng.choice((4, 10, 25))
        self.repeatable = self.rng.random() < 0.5
        self.has_verify = self.rng.random() < 0.5
        self.reconcile = self.rng.choice((None, 600.0, 900.0))
        self.restless = random.Random(f"restless {self.schedule.seed}").choice((0.0, 0.5))
        self.forgetful = self.rng.choice((0.0, 0.0, 0.0, 0.3))
        # Drawn apart: what else is drawn stays the same for a seed.
        self.full = random.Random(f"full {self.schedule.seed}").choice((0.0, 0.0, None))
        self.free = random.Random(f"free {self.schedule.seed}").choice((*(False,) * 4, True))
        flighty = random.Random(f"flighty {self.schedule.seed}").choice((None, None, 0.0, 0.3))
        self.flighty = None if self.full is None else flighty
        self.store.troubles = self._trouble
        for stream in (CALLED, PLAIN):
            api = WatchedApi(stream=stream, store=self.store, limit=None, per=PER)
            api.fill(self.rng.randint(3, 18))
            for values in api.records.values():
                values["changed"] = 0.0
            self.store.there_since |= {(stream, name): 0.0 for name in api.records}
            api.limits.append((float("-inf"), self.limit))
            api.faults = self._faults(api)
            self.apis[stream] = api

    def latency(self) -> float:
        return self.rng.choice((0.01, 0.05, 0.3))

    # --- what stumbles -----------------------------------------------------------------------

    def _trouble(self, method: str) -> Trouble:
        if method == "commit_pages" and self.rng.random() < self.forgetful:
            self._forget_what_was_not_logged()
        if not self.lossy or self.rng.random() >= self.lossy:
            return Trouble(before=0.002 if method == "commit_pages" else 0.0)
        kind = self.rng.randrange(4)
        return (
            Trouble(lost="request"),
            Trouble(lost="answer"),
            Trouble(before=self.rng.uniform(0, 2)),
            Trouble(after=self.rng.uniform(0, 2)),
        )[kind]

    def _faults(self, api: WatchedApi) -> Fault:
        async def stumble(asked: Asked) -> Page | bytes | Verdict | None:
            now = trio.current_time()
            if not self.is_free(api.stream):
                self.arrivals.append(now)
                if not self._misled(now):
                    api.look_at(now, self.arrivals)
            key = asked.idempotency_key
            fence = FENCE.get()
            if key is not None:
                self.arrived[key] += 1
                # Of two at once the one that lost the lease may settle what the other has
                # begun to repeat.
                alone = fence if len(self.lives) == 1 else -1
                api.look_at_call(key, repeatable=self.repeatable, fence=alone)
            elif asked.what.startswith("page") and "asked for" not in asked.what:
                ahead = line.PAGES if self.is_free(api.stream) else 2
                api.look_at_list(int(asked.what.split()[1]), fence, ahead=ahead)
            held = self.pausing.get(api.stream)
            if held is not None and held.ok and len(self.lives) == 1:
                self.store.tell("drain", False, "a request of a stream that is paused")
            if asked.what.startswith("page") and not self._is_still(api.stream):
                self._move(api)
            if self.down:
                raise ApiUnavailable("503", sent="refused")
            if self.rng.random() >= self.flaky:
                return None
            return await self._stumble(api, asked)

        return stumble

    def is_free(self, stream: StreamId) -> bool:
        return self.free and stream == PLAIN

    def _misled(self, now: float) -> bool:
        """Whether a step of Postgres's clock may have freed tokens of a process now gone.

        Against such a step each process holds what it spent itself, and no more.
        """
        return any(
            abs(jump - birth) < PER and now - max(jump, birth) < PER
            for jump in self.jumps
            for birth in self.births
        )

    async def _stumble(self, api: WatchedApi, asked: Asked) -> Page | bytes | Verdict | None:
        key = asked.idempotency_key
        verifies = asked.what.startswith("verify")
        kind = self.rng.randrange(6)
        if kind == 0:
            raise ApiUnavailable("503", sent="refused")
        if kind == 1:
            raise ApiUnavailable("connection refused", sent="no")
        if kind == 2:
            await trio.sleep(self.rng.uniform(0, 10))  # late
            return None
        if kind == 3 and verifies:
            return Verdict(outcome="unknown", reason="nonsense")
        if kind == 3 and key is None and self.rng.random() < 0.1:
            raise UnexpectedAnswer("nonsense")
        if key is not None:  # done, now or later, or not, and nobody is told
            record_key = asked.what.removeprefix("call ")
            if self.rng.random() < 0.5:
                api.carry_out(record_key, key)
            else:
                self.maybe_later(api, record_key, key)
            api.unknown.add(key)
        if kind == 4:
            await trio.sleep(TIMEOUT + 1)
        raise ApiUnavailable("connection lost", sent="unknown")

    def maybe_later(self, api: WatchedApi, record_key: str, key: str) -> None:
        """A call that came and was lost: the API may still carry it out, or never."""
        if self.rng.random() < 0.5:
            return

        async def later(after: float) -> None:
            await trio.sleep(after)
            api.carry_out(record_key, key)
            api.under_way[key] -= 1

        assert self._nursery is not None
        api.under_way[key] += 1
        self._nursery.start_soon(later, self.rng.uniform(0, TIMEOUT - 1))

    # --- daemons -----------------------------------------------------------------------------

    def context(self, stream: StreamId, life: Life, waits: Waits) -> StreamContext:
        source = SimSource(
            api=self.apis[stream],
            world=self,
            has_call=stream == CALLED,
            repeatable=self.repeatable,
            has_verify=self.has_verify,
            conditional=stream == PLAIN and self.flighty is not None,
            size=self.size,
        )
        budget = Limits([], life.rest) if self.is_free(stream) else Limits([life.bucket])
        return StreamContext(
            id=stream,
            table=table(stream),
            every=self.every,
            reconcile=self.reconcile,
            full=self.full if stream == PLAIN else 0.0,
            concurrency=1 + self.rng.randrange(5),
            lease=life.supervisor.leases["ads"],
            source=source,
            store=self.store,
            ledger=Ledger(self.store),
            budget=budget,
            retry=Retry(
                retries=3,
                base=1.0,
                windows=() if self.is_free(stream) else (PER,),
                budget=budget,
                waits=waits,
                rng=self.rng,
                outage=life.outage,
            ),
            breaker=life.breaker,
            waits=waits,
            report=self._hear,
        )

    def _hear(self, event: events.Event) -> None:
        self.steps += 1
        self.log.append(f"{trio.current_time():9.2f} {event!r:.160}")

    async def start(self, name: str, task_status: trio.TaskStatus[Life | None]) -> None:
        """A daemon, until it is crashed or stopped; None is started if another has the lease."""
        waits = Waits()
        settings = BudgetSettings(name="ads", requests=self.limit, per=PER)
        bucket = TokenBucket(settings, self.store, TIMEOUT)
        supervisor = Supervisor(store=self.store, waits=waits, drain=DRAIN, sources={"ads"})
        life = Life(
            name=name,
            supervisor=supervisor,
            waits=waits,
            bucket=bucket,
            rest=Unlimited("rest", self.store),
            breaker=WatchedBreaker(rng=self.rng),
            outage=Outage(ask=lambda: self.store.renew_leases([]), rng=self.rng),
        )
        with life.scope:
            try:
                WHO.set(name)
                BREAKER.set(life.breaker)
                acquire = partial(self.store.acquire_lease, "ads")
                supervisor.leases["ads"] = await self._patiently(acquire)
            except LeaseHeld:
                task_status.started(None)
                return
            await self._patiently(bucket.open)
            supervisor.serve(bucket)
            if self.free:
                await self._patiently(life.rest.open)
                supervisor.serve(life.rest)
            leases = supervisor.leases
            supervisor.serve(Posting(life.breaker, self.store, lambda: leases.get("ads")))
            for stream in self.apis:
                context = self.context(stream, life, Waits(waits))
                supervisor.start(Runner(stream=context, rng=self.rng))
            self.lives.append(life)
            task_status.started(life)
            try:
                await supervisor.run(forever=True)
                await self.store.release_leases(list(supervisor.leases.values()))
            except StoreUnavailable:
                pass
        if life in self.lives:
            self.lives.remove(life)
        life.over.set()

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await step()
            except StoreUnavailable:
                await trio.sleep(1.0)

    async def born(self, *, expired: bool = False) -> Life | None:
        """Start another daemon."""
        assert self._nursery is not None
        self._born += 1
        if self._born > 1:
            self.births.append(trio.current_time())
        if expired:
            self.store.leases["ads"].expires_at = float("-inf")
        found: Life | None = await self._nursery.start(self.start, f"daemon {self._born}")
        return found

    # --- the schedule --------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry it out; raises the first Violation."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self.born()
            for step in self.schedule.steps:
                await trio.sleep(step.after)
                await self._carry_out(step)
                self._look()
            await self._heal()
            nursery.cancel_scope.cancel()

    def _look(self) -> None:
        for life in self.lives:
            life.breaker.look(self.store)
        if self.store.violations:
            raise self.store.violations[0]

    async def _carry_out(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case for each kind
        assert self._nursery is not None
        number, now = step.number, trio.current_time()
        self.log.append(f"{now:9.2f} --- {step}")
        match step.what:
            case "crash":
                await self._crash()
                await trio.sleep(number % 7)
                self.store.leases["ads"].holder = None  # provably gone, as its PID tells
                await self.born()
            case "stop":
                await self._stop()
                await self.born()
            case "rival":
                await self.born(expired=True)
            case "away":
                self.store.away = True
                if number % 3 == 0:
                    self._forget_what_was_not_logged()
                await trio.sleep(number / 10)
                self.store.away = False
            case "lossy":
                self.lossy = (0.0, 0.02, 0.1, 0.3)[number % 4]
            case "down":
                self.down = True
                await trio.sleep(number / 5)
                self.down = False
            case "flaky":
                self.flaky = (0.0, 0.05, 0.2, 0.5)[number % 4]
            case "jump":
                self.jumps.append(now)
                if len(self.lives) > 1:
                    self.births.append(now)
                self.store.clock_offset += (7200, -7200, 3, -3, 61, -61)[number % 6]
            case "reload":
                self._reload(number)
            case "budget":
                await self._other_budget((4, 10, 25)[number % 3])
            case "job":
                self._job(number)
            case "change":
                self._change(number)

    async def _crash(self) -> None:
        for life in self.lives[:1]:
            life.scope.cancel()
            await life.over.wait()

    async def _stop(self) -> None:
        for life in self.lives[:1]:
            life.supervisor.stop()
            began = trio.current_time()
            with trio.move_on_after(DRAIN):
                await life.over.wait()
            took = trio.current_time() - began
            self.store.tell("drain", took <= LEAVES, f"leaving took {took:.1f} s")
            life.scope.cancel()
            await life.over.wait()

    def _reload(self, number: int) -> None:
        anew = number % 2 == 1
        if anew:
            self.size = (2, 4, 5)[number % 3]
        else:
            self.every = (60.0, 300.0, 900.0)[number % 3]
        for life in self.lives:
            for runner in list(life.supervisor.runners.values()):
                if number % 10 == 9:
                    runner.retire()
                context = self.context(runner.id, life, runner.stream.waits)
                if runner.state == "ended":
                    life.supervisor.start(Runner(stream=context, rng=self.rng))
                else:
                    runner.change(context, anew=anew)

    async def _other_budget(self, limit: int) -> None:
        if len(self.lives) != 1:
            return  # two daemons with different files: the operator's affair
        settings = BudgetSettings(name="ads", requests=limit, per=PER)
        for api in self.apis.values():
            api.limits.append((trio.current_time(), max(limit, self.limit)))
        try:
            await self.lives[0].bucket.change(settings, TIMEOUT)
        except SyncdError:
            return
        self.limit = limit
        for api in self.apis.values():
            api.limits.append((trio.current_time(), limit))

    def _job(self, number: int) -> None:
        for life in self.lives[:1]:
            runner = list(life.supervisor.runners.values())[number % 2]
            kind = JOBS[number % len(JOBS)]
            subjects: list[str] = []
            if kind == "keys":
                subjects = [f"c{1 + number % 20}"]
            if kind == "retry":
                letters = [f.id for f in self.store.put_aside.values() if f.stream == runner.id]
                subjects = [str(i) for i in letters]
            if kind == "pause":
                self.store.paused.add(runner.id)
            if kind == "resume":
                self.store.paused.discard(runner.id)
            if kind == "approve":
                subjects = [APPROVE]
            name = {"keys": "sync", "approve": "reconcile"}.get(kind, kind)
            job = Job(kind=name, subjects=subjects)  # type: ignore[arg-type]  # of the list
            self.pausing.pop(runner.id, None)
            if kind == "pause" and len(self.lives) == 1:
                self.pausing[runner.id] = job  # of two, one may be asked that runs nothing
            runner.ask(job)

    def _change(self, number: int) -> None:
        api = list(self.apis.values())[number % 2]
        ids = list(api.records)
        kind = number % 4
        if kind == 0:
            before = self.vanished.get(api.stream)
            name, values = f"n{number}", {"name": "new", "budget": number}
            if before and number % 3:
                name, values = before.popitem()
            if name not in api.records:
                self.store.there_since[api.stream, name] = trio.current_time()
            api.records[name] = {"id": name, **values, **self._stamp(number)}
        elif ids and (kind == 1 or self._is_still(api.stream)):
            changed = {"name": f"name {number}", **self._stamp(number)}
            api.records[ids[number % len(ids)]] |= changed
        elif kind == 2 and len(ids) > 1:
            many = MANY if number % 5 == 0 else 1
            for gone in ids[number % len(ids) :][:many]:
                self._vanishes(api, gone)
        elif ids:
            self._move_to_the_front(api, ids[number % len(ids)])

    def _move_to_the_front(self, api: WatchedApi, name: str) -> None:
        found = api.records.pop(name)
        api.records = {name: found, **api.records}

    def _move(self, api: WatchedApi) -> None:
        """Let records move while a page is asked for."""
        if api.records and self._is_restless():
            self._move_to_the_front(api, self.rng.choice(list(api.records)))
        if api.stream == PLAIN:
            self._fly(api)

    def _fly(self, api: WatchedApi) -> None:
        """Let a record be elsewhere for a moment; or the one that is, be again as it was."""
        moves = self.store.elsewhere.setdefault(api.stream, [])
        if self.flown is not None:
            moves.append(trio.current_time())
            name, place, before = self.flown
            self.flown = None
            if name in api.records:
                values = api.records.pop(name) | {"name": before}
                there = list(api.records.items())
                api.records = dict([*there[:place], (name, values), *there[place:]])
        elif self.flighty and api.records and self.rng.random() < self.flighty:
            place = self.rng.randrange(len(api.records))
            name, values = list(api.records.items())[place]
            moves.append(trio.current_time())
            self.flown = (name, place, values["name"])
            del api.records[name]
            api.records[name] = values | {"name": "for a moment"}

    def _is_still(self, stream: StreamId) -> bool:
        return stream == PLAIN and self.full is None

    def _stamp(self, number: int) -> dict[str, object]:
        """When a record was changed; what is shown now may have been on its way for a while."""
        return {"changed": trio.current_time() - LAG * (number % 10) / 10}

    def _is_restless(self) -> bool:
        return self.rng.random() < self.restless

    def _forget_what_was_not_logged(self) -> None:
        for scans in self.store.scans.values():
            scans.seen.clear()

    def _vanishes(self, api: WatchedApi, name: str) -> None:
        self.vanished.setdefault(api.stream, {})[name] = api.records.pop(name)
        self.store.there_since.pop((api.stream, name), None)

    # --- the end -------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """Let everything be well, and see whether it becomes so."""
        self.flaky = self.lossy = self.forgetful = 0.0
        if self.flown is not None:
            self._fly(self.apis[PLAIN])
        self.flighty = None if self.flighty is None else 0.0
        self.store.paused.clear()
        self.pausing.clear()
        for life in list(self.lives):
            life.scope.cancel()
            await life.over.wait()
        self.store.leases["ads"].expires_at = float("-inf")
        healed_from = len(self.store.cycles)
        born = await self.born()
        assert born is not None
        life = born
        if self.restless and self.reconcile:
            await trio.sleep(RESTLESS)
            self._look()
        self.restless = 0.0
        for runner in life.supervisor.runners.values():
            runner.ask(Job(kind="resume"))  # rows that move may look like pages that repeat
        for stream in self.apis:
            await self._becomes_whole(stream, life, healed_from)
            await self._found_gone(stream, life)
            await self._comes_back(stream, life)
        self._look()
        self._at_the_end()

    async def _becomes_whole(self, stream: StreamId, life: Life, since: int) -> None:
        with trio.move_on_after(LONGEST) as late:
            while not self._whole(stream, since):
                await trio.sleep(7.0)
                self._look()
        if late.cancelled_caught:
            state = life.supervisor.runners[stream].state
            raise Violation(f"contained: {stream} is {state} and does not become whole")

    async def _comes_back(self, stream: StreamId, life: Life) -> None:
        """A record that the API has again is in the table again."""
        back = self.vanished.pop(stream, {})
        self.apis[stream].records |= back
        if back:
            now = len(self.store.cycles)
            life.supervisor.runners[stream].ask(Job(kind="sync"))
            await self._becomes_whole(stream, life, now)

    async def _found_gone(self, stream: StreamId, life: Life) -> None:
        """What the API does not have any more leaves when an operator asks for it."""
        runner, scans = life.supervisor.runners[stream], self.store.scans[stream]
        with trio.move_on_after(GONE) as late:
            while set(self._live(stream)) != set(self.apis[stream].records):
                if not scans.due or scans.question:
                    subjects = [APPROVE] if scans.question else []
                    job = Job(kind="reconcile", subjects=subjects)
                    runner.ask(job)
                    await job.done.wait()
                await trio.sleep(7.0)
                self._look()
        if late.cancelled_caught:
            raise Violation(f"no-delete: {stream} keeps rows that are gone, though it was asked")

    def _live(self, stream: StreamId) -> dict[str, Values]:
        shape = table(stream)
        rows = self.store.tables[(shape.schema, shape.name)]
        return {str(r["id"]): r for r in rows.values() if r.get(DELETED) is None}

    def _whole(self, stream: StreamId, since: int) -> bool:
        return any(
            # An empty list, and one that has lost most of its records, stay suspicious for long.
            c.stream == stream
            and c.id > since
            and c.outcome in ("ok", "suspicious")
            and not c.aside
            and c.follows is None
            for c in self.store.cycles
        )

    def _at_the_end(self) -> None:
        tell = self.store.tell
        for stream, api in self.apis.items():
            by_id = self._live(stream)
            missing = set(api.records) - set(by_id)
            tell("accounted", not missing, f"{stream} lacks {sorted(missing)}")
            for name, values in api.records.items():
                row = by_id.get(name)
                same = row is not None and row["name"] == values["name"]
                tell("accounted", same, f"{stream}: {name} differs from the API")
                synced = row is not None and (stream == PLAIN or row["synced_at"] is not None)
                tell("accounted", synced, f"{stream}: {name} has no answer of its call")
            kept = {f.letter.key for f in self.store.put_aside.values() if f.stream == stream}
            there = {record(v).key for v in api.records.values()}
            tell("accounted", not kept & there, f"{stream}: dead letters of records that succeeded")
        for cycle in self.store.cycles:
            tell("accounted", cycle.counts.balanced, f"cycle {cycle.id} does not balance")
            if cycle.outcome == "ok" and not cycle.aside:
                seen = sum(len(s.keys) for s in self.store.pages.get(cycle.id, []))
                right = seen == cycle.counts.seen
                tell("accounted", right, f"cycle {cycle.id} counts {cycle.counts.seen}, not {seen}")
        for stream, api in self.apis.items():
            # Each cycle may make a record's call once, whatever befalls it.
            cycles = sum(1 for c in self.store.cycles if c.stream == stream)
            for key, times in api.carried_out.items():
                tell("no-blind-repeat", times <= cycles, f"{key} was carried out too often")
        self._look()


def _fence(permit: Permit) -> int:
    lease = permit.lease  # type: ignore[attr-defined]  # TokenPermit
    return int(lease.fence)


def table(stream: StreamId) -> Table:
    return Table(
        schema="public",
        name=stream.stream,
        columns={"id": "text", "name": "text", "budget": "numeric", "synced_at": "timestamptz"},
        key=("id",),
        kept=frozenset({"synced_at"}),
    )
