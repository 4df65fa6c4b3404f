"""What does one running stream consist of?  All that the loop needs, in one place.

Everything here is wired by `app`; the loop (`stream`) and the calls (`calls`)
are functions over it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from syncd.errors import StoreUnavailable, TryAgain
from syncd.schedule import Schedule
from syncd.sync import events
from syncd.sync.breaker import Breaker, Closed, Open
from syncd.sync.clocks import Stopwatch
from syncd.sync.drift import Drift, Evolution, What
from syncd.sync.keepout import KeptOut, key_is
from syncd.sync.ledger import Ledger
from syncd.sync.model import (
    Checkpoint,
    Counts,
    DeadLetter,
    Intent,
    Lease,
    Page,
    PageCommit,
    StreamId,
    Table,
)
from syncd.sync.moves import Movement
from syncd.sync.ports import PLAIN, Budget, Permit, Price, Source, Store
from syncd.sync.retry import Retry
from syncd.sync.turned import Turned
from syncd.sync.waits import Waits

ALERTS = 20  # causes of one kind that are told in a cycle; more are no matter of single records


@attrs.define(kw_only=True)
class Tally:
    """What was asked since the last commit."""

    calls: int = 0
    requests: int = 0
    retried: int = 0
    refused: int = 0

    def counts(self) -> Counts:
        return Counts(**attrs.asdict(self))

    def settle(self, told: Counts | PageCommit) -> None:
        """So much of it has been committed; what was asked during that is told with the next."""
        self.calls -= told.calls
        self.requests -= told.requests
        self.retried -= told.retried
        self.refused -= told.refused


async def _nothing_to_close() -> None:
    await trio.lowlevel.checkpoint()


@attrs.define(eq=False, kw_only=True)
class StreamContext:
    """One stream of one source, ready to run."""

    id: StreamId
    table: Table
    every: float
    """Start to start, in seconds; without a meaning where there is a schedule."""

    schedule: Schedule | None = None
    """The calendar by which cycles begin."""

    concurrency: int = 1
    """Record calls under way at once."""

    only_changed: bool = False
    """Make calls for records that are new or differ, not for all."""

    lease: Lease
    source: Source
    store: Store
    ledger: Ledger
    budget: Budget
    prices: Mapping[events.Purpose, Price] = attrs.field(factory=dict)
    """What its requests cost, where that is more than one token of each limit."""

    retry: Retry
    breaker: Breaker = attrs.field(factory=Breaker)
    """The source's: all its streams share it."""

    waits: Waits
    report: events.Report = events.nobody
    reconcile: float | None = None
    """Seconds after which a cycle looks again for what is gone; None: only when asked."""

    full: float | None = 0.0
    """Seconds after which a cycle asks for the whole list again, not only for what has changed;
    None: never."""

    looks: bool = False
    """It runs nothing and only looks: its requests hang on no lease."""

    close: Callable[[], Awaitable[None]] = _nothing_to_close
    """What to do when the stream runs with other settings, or no more."""

    halt: bool = attrs.field(default=False, init=False)
    """Somebody waits for the page boundary: `run_cycle` returns there."""

    _until_halt: Waits = attrs.field(init=False)
    """A wait for an API that is failing, with nothing in flight, is as good as a boundary."""

    began: Stopwatch | None = attrs.field(default=None, init=False)
    """Since this process began the running cycle, or the last one, or took it up."""

    in_turn: Stopwatch | None = attrs.field(default=None, init=False)
    """Since it began the last cycle that was due; None if it was begun by another process."""

    before: Counts = attrs.field(factory=Counts, init=False)
    """What the cycle had come to by then."""

    resumed: bool = attrs.field(default=False, init=False)
    """It was taken up, so that it had begun before."""

    turned: Turned = attrs.field(factory=Turned, init=False)
    """The pages that this process has turned in the running cycle."""

    movement: Movement = attrs.field(factory=Movement, init=False)
    """Of rows, in the running cycle."""

    kept_out: KeptOut = attrs.field(factory=KeptOut, init=False)
    """What is to stay forgotten, as far as this process knows it."""

    tally: Tally = attrs.field(factory=Tally, init=False)
    configured: Table = attrs.field(init=False)
    """The table without the columns that were added."""

    noted: set[tuple[What, str, str]] = attrs.field(factory=set, init=False)
    """Drifts that are noted in the running cycle, by their identity."""

    alerts: dict[str, set[str]] = attrs.field(factory=dict, init=False)
    """Why the running cycle has put records aside, as far as it was told, by kind."""

    in_flight: dict[str, trio.Event] = attrs.field(factory=dict, init=False)
    """Calls under way by idempotency key, and what tells when their page has made them."""

    def __attrs_post_init__(self) -> None:
        self._until_halt = Waits(self.waits)
        self.configured = self.table

    @property
    def rest(self) -> float | None:
        """Seconds from a cycle's start to the next; None: that is known when it begins."""
        return self.every if self.schedule is None else None

    def stop_at_boundary(self) -> None:
        """Have `run_cycle` return at the page boundary, or where nothing can be done."""
        self.halt = True
        self._until_halt.end()

    def run_on(self) -> None:
        """Whatever was to be done at the boundary is done."""
        self.halt = False
        self.waits.reopen()
        self._until_halt.reopen()

    def leave(self) -> None:
        """The stream runs with other settings, or no more."""
        self._until_halt.leave()

    def go_on_from(self, before: "StreamContext") -> None:
        """Take over what is known of the running cycle from other settings of the stream."""
        self.began, self.before, self.resumed = before.began, before.before, before.resumed
        self.in_turn, self.movement = before.in_turn, before.movement
        self.tally, self.unsent = before.tally, before.unsent
        self.alerts, self.turned = before.alerts, before.turned
        self.kept_out = before.kept_out

    async def learn_kept_out(self, at: Checkpoint) -> None:
        """Learn what is to stay forgotten, if that has changed; for most nothing ever was."""
        known = self.kept_out
        if at.kept_out_version == known.version and known.key_is in ("", key_is(self.table)):
            return
        self.kept_out = await self.retry.through_outages(
            lambda: self.store.kept_out(self.id, self.table), self.on_failure
        )

    def sifted(self, page: Page) -> Page:
        """The page without what is to stay forgotten."""
        return self.kept_out.sift(self.id, page, self.source.look_again)

    def follow(self, evolution: Evolution) -> None:
        """Fill the columns that were added to the table, too."""
        self.table = self.configured.widened(evolution)
        self.source.follow(evolution)

    def tell_of_drifts(self, drifts: Sequence[Drift]) -> None:
        """Say what was never noted before; what was so from the start in one line."""
        usual = [drift.name for drift in drifts if drift.expected]
        if usual:
            self.report(events.FieldsLeftOut(stream=self.id, fields=tuple(usual)))
        for drift in drifts:
            if not drift.expected:
                self.report(events.Drifted(stream=self.id, drift=drift))

    @property
    def is_free(self) -> bool:
        """Whether no limit counts the requests for its pages."""
        return self.budget.is_free(self.prices.get("list", PLAIN))

    def outlook(self, pages: int, calls: int) -> float:
        """Seconds until so many further requests could have been sent, at the earliest."""
        return self.budget.outlook(
            (self.prices.get("list", PLAIN), pages), (self.prices.get("call", PLAIN), calls)
        )

    def tell_of(self, letter: DeadLetter, column: str = "") -> None:
        """Say that a record was put aside; `column`: the one that is to blame."""
        told, cause = self.alerts.setdefault(letter.kind, set()), column or letter.reason
        alert = cause not in told and len(told) < ALERTS
        if alert:
            told.add(cause)
        self.report(
            events.PutAside(
                stream=self.id,
                key=letter.key,
                kind=letter.kind,
                reason=letter.reason,
                alert=alert,
            )
        )

    def tell_left_out(self, key: str, reason: str, cause: str) -> None:
        """Say that a rule left a record out; `cause`: the same for all that it leaves out."""
        told = self.alerts.setdefault("left-out", set())
        alert = cause not in told and len(told) < ALERTS
        if alert:
            told.add(cause)
        self.report(events.LeftOut(stream=self.id, key=key, reason=reason, alert=alert))

    unsent: set[str] = attrs.field(factory=set, init=False)
    """Keys of calls whose intent may be stored, and of which this process knows, for as long as
    the lease is ours, that they were not carried out: not a byte was sent, or the API turned
    them away."""

    @asynccontextmanager
    async def permit(self, spent_on: str, intent: Intent | None = None) -> AsyncIterator[Permit]:
        """One attempt's permit, with what it sent counted whatever becomes of it."""
        async with (
            self.breaker.attempt(
                waits=self.waits,
                until=self._until_halt,
                patience=self.retry.patience,
                on_wait=self._waiting_for_the_api,
                tell=self._breaker_changed,
            ) as waits,
            self.budget.permit(
                lease=None if self.looks else self.lease,
                spent_on=spent_on,
                waits=waits,
                intent=intent,
                on_wait=self._waiting_for_budget,
            ) as permit,
        ):
            try:
                yield permit
            finally:
                self.tally.requests += permit.sent
                self.report(events.Spent(stream=self.id, sent=permit.sent, waited=permit.waited))

    def on_failure(
        self, attempt: int, error: TryAgain, pause: float, *, key: str | None = None
    ) -> None:
        """Tell that a try failed, and how long we wait before the next."""
        why: events.Why = "backoff"
        if isinstance(error, StoreUnavailable):
            why = "database"
        else:
            if error.hint is not None:
                why = "hint"
            self.tally.retried += 1
            self.report(
                events.Retrying(stream=self.id, attempt=attempt, reason=str(error), key=key)
            )
        self.report(
            events.Waiting(
                stream=self.id,
                why=why,
                seconds=pause,
                reason=str(error),
                in_need=why == "database" and error.hint is not None,
            )
        )

    def _breaker_changed(self, change: Open | Closed) -> None:
        if isinstance(change, Open):
            told = attrs.asdict(change)
            self.report(events.BreakerOpened(stream=self.id, **told))
        else:
            self.report(events.BreakerClosed(stream=self.id, seconds=change.seconds))

    def _waiting_for_the_api(self, seconds: float, reason: str) -> None:
        self.report(events.Waiting(stream=self.id, why="api", seconds=seconds, reason=reason))

    def _waiting_for_budget(self, seconds: float) -> None:
        why: events.Why = "hint" if self.budget.held else "budget"
        self.report(events.Waiting(stream=self.id, why=why, seconds=seconds))
