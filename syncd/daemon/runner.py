"""What does one stream do all its life?  It rests, runs a cycle, rests again.

Whatever is to change (other settings, a record asked for out of turn, an end) waits for the
page boundary, and is done there, in the stream's own task: nothing that is in flight is
cancelled for it.  A rest, a pause and the time after a failure are boundaries as well, and
end as soon as there is news.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import attrs
import trio

from syncd.daemon.jobs import Job
from syncd.errors import (
    Draining,
    SchemaError,
    StoreRefused,
    StoreUnavailable,
    StreamBroken,
    SyncdError,
    TryAgain,
)
from syncd.sync import events
from syncd.sync.aside import retry_letters
from syncd.sync.clocks import Stopwatch
from syncd.sync.context import StreamContext
from syncd.sync.due import astray, planned
from syncd.sync.model import Checkpoint, Committed, Counts, Lease, StreamId
from syncd.sync.retry import backoff
from syncd.sync.stream import run_cycle, store_answers_again

PAUSE = 30.0  # seconds; the first wait after a cycle whose retries were used up
PAUSE_CAP = 900.0  # seconds
SLICE = 60.0  # seconds; so often who waits for a time of day looks at the store's clock
GRAIN = 0.001  # seconds; what is left of a rest below this is rounding
STEPPED = 5.0  # seconds by which the store's clock differs from what it should show
CLOSING = 5.0  # seconds that the end of a stream's client may take

T = TypeVar("T")
Result = Committed | SyncdError
State = Literal["opening", "running", "resting", "paused", "failing", "parked", "ended"]


@attrs.define(eq=False, kw_only=True)
class Runner:
    """One stream, for as long as the config has it."""

    stream: StreamContext
    rng: random.Random
    stagger: float = 0.0
    """Seconds that its first cycle waits if it is due, so that not all begin at once."""

    result: Result | None = attrs.field(default=None, init=False)
    """What its last cycle came to."""

    state: State = attrs.field(default="opening", init=False)
    retired: bool = attrs.field(default=False, init=False)
    _opened: bool = attrs.field(default=False, init=False)
    _paused: bool = attrs.field(default=False, init=False)
    _due: bool = attrs.field(default=False, init=False)
    """An operator wants a cycle now."""

    _at: Checkpoint | None = attrs.field(default=None, init=False)
    """Where the running cycle halted; None if this process has none under way."""

    _extra: bool = attrs.field(default=False, init=False)
    """The cycle that begins next is one out of turn."""

    _found: float | None = attrs.field(default=None, init=False)
    """The start of its schedule that it begins for, in epoch seconds."""

    _failures: int = attrs.field(default=0, init=False)
    _next: StreamContext | None = attrs.field(default=None, init=False)
    _lease: Lease | None = attrs.field(default=None, init=False)
    """The one to go on with from the next page boundary on."""

    _nap: trio.CancelScope | None = attrs.field(default=None, init=False)
    """What it sleeps in: a part of a rest, after which it looks how much of it is left."""

    _to_close: list[StreamContext] = attrs.field(factory=list, init=False)
    _jobs: deque[Job] = attrs.field(factory=deque, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def id(self) -> StreamId:
        return self.stream.id

    @property
    def leaving(self) -> bool:
        return self.retired or self.stream.waits.whole_ended

    # --- what others want: heard at once, done at the page boundary ---------------------------

    def change(self, stream: StreamContext, *, anew: bool = False) -> None:
        """Run with these settings from the next page boundary on.

        anew: the running cycle is to be given up for them, so its waits end now.
        """
        if self._next is not None:
            self._to_close.append(self._next)
        self._next = stream
        self.retired = False
        self.notice()
        if anew:
            self.stream.waits.end()

    def retire(self) -> None:
        """End at the next page boundary; waits end now, what is in flight is awaited."""
        self.retired = True
        self.notice()
        self.stream.waits.end()

    def ask(self, job: Job) -> None:
        """Do a job at the next page boundary.  Pausing begins at once, and ends there."""
        if self.state == "ended":
            job.end("syncd does not run this stream any more", ok=False)
            return
        if job.kind != "pause":
            self.stream.breaker.hurry()
        idle = not (self._jobs or self._paused)
        if job.kind == "resume" and self.state == "running" and idle:
            # No boundary is needed for nothing, and it may be an hour away: the budget is held.
            job.end("it is not paused")
            return
        self._jobs.append(job)
        self.notice()

    def hold(self, lease: Lease) -> None:
        """The lease was lost, and is ours again.

        What is still under way has begun with the old one, and ends with it: whoever had the
        source meanwhile has moved the checkpoint.
        """
        self._lease = lease
        self.notice()

    def notice(self) -> None:
        """Wake up: something is to be done, or what failed is worth another try."""
        self.stream.stop_at_boundary()
        self._news.set()

    def look_at_the_clock(self) -> None:
        """The machine was suspended: what we sleep for may be over."""
        if self._nap is not None:
            self._nap.cancel()

    # --- its life -----------------------------------------------------------------------------

    async def open(self) -> None:
        """Make its table ready: one attempt.

        Raises SchemaError if an owner has to change the schema, StoreUnavailable.  A table
        that can't be used parks this stream, and no other.
        """
        try:
            await self._open()
        except StreamBroken as error:
            await self._park(error)

    async def run_once(self) -> None:
        """One cycle, or the rest of the one that was left."""
        try:
            if self.state != "parked":
                self.state = "running"
                self.result = await self._whole_cycle()
        except StreamBroken as error:
            await self._park(error)
        except (TryAgain, Draining) as error:
            self.result = error
        finally:
            await self._end()  # noqa: ASYNC102 - shields itself

    async def _whole_cycle(self) -> Committed:
        """One cycle, and the passes out of turn that it asks for."""
        first = last = await run_cycle(self.stream)
        while last.checkpoint.extra_due and not self.leaving:
            last = await run_cycle(self.stream, extra=True)
        return first

    async def run(self) -> None:
        """Cycle after cycle, until it is retired or syncd leaves."""
        try:
            while not self.leaving:
                await self._step()
        finally:
            await self._end()  # noqa: ASYNC102 - shields itself

    async def _step(self) -> None:
        try:
            if self.state == "parked":
                await self._until_news()
                self.stream.source.forgive()
            self._news = trio.Event()
            await self._take_up()
            if not self._opened:
                await self._open_or_answer()
            await self._do_jobs()
            await self._go_on()
        except TryAgain as error:
            await self._fail(error)
        except (StreamBroken, SchemaError) as error:
            await self._park(error)
        except Draining:
            # Not syncd as a whole, else `leaving`: this cycle is to begin anew.  One that was
            # parked just then waits for its news, which is there: with its waits still ended it
            # would come here again and again, and nobody else would ever run.
            self._at = None
            self.stream.waits.reopen()

    async def _go_on(self) -> None:
        if self._paused:
            if self.state != "paused":
                self.state = "paused"
                self.stream.report(events.Paused(stream=self.id))
            await self._until_news()
            return
        in_a_cycle = self._at is not None and self._at.cycle is not None
        if not in_a_cycle and await self._rest():
            return
        self._due = False
        self.state = "running"
        at, self._at = self._at, None  # if it fails, what it has done is read anew
        committed = await run_cycle(self.stream, at, extra=self._extra, due=self._found)
        self._at = committed.checkpoint
        self._failures = 0
        if committed.outcome is not None:
            self.result = committed
            await self._look_after_letters()

    async def _look_after_letters(self) -> None:
        """After a cycle: try again the calls that were put aside."""
        stream = self.stream
        if stream.halt or not stream.source.has_call or self._at is None:
            return
        due = await self._through_outages(lambda: stream.store.due_letters(stream.id))
        if due and not stream.halt:
            self._at = (await retry_letters(stream, self._at, due)).checkpoint

    async def _rest(self) -> bool:
        """Wait until the next cycle is due; True if there is news before.

        A cycle that was left is due at once.  After a cycle of our own it is our clock that
        tells, so that a step of Postgres's clock neither skips a cycle nor doubles one.
        """
        self._extra, self._found = False, None
        if self._due:
            return False
        stream = self.stream
        schedule = stream.schedule
        own = schedule is None and stream.in_turn is not None
        checkpoint = self._at if own and self._at is not None else await self._read()
        if checkpoint.cycle is not None:
            return False
        if schedule is None:
            # Start to start: whatever that clock did, a cycle is never further off than that.
            left = min(checkpoint.next_start or 0.0, stream.every)
            if stream.in_turn is not None:
                left = stream.every - stream.in_turn.elapsed
        elif astray(schedule, checkpoint):
            self._opened = False
            return True
        else:
            self._found = planned(checkpoint)
            left = (self._found or 0.0) - checkpoint.clock
        left, self.stagger = max(left, self.stagger), 0.0
        if left <= 0:
            return False
        if checkpoint.extra_due:
            self._extra = True
            return False
        self.state = "resting"
        self.stream.report(events.Resting(stream=self.id, seconds=left))
        now = checkpoint.clock
        return await (self._sleep(left) if schedule is None else self._until_due(now + left, now))

    async def _until_due(self, due: float, clock: float) -> bool:
        """Rest until a time of day has come, from what the store's clock shows; True: look anew.

        That clock may be stepped, so it is looked at each minute.
        """
        while clock < due:
            watch = Stopwatch()
            if await self._sleep(max(min(due - clock, SLICE), 2 * GRAIN)):
                break
            there = await self._store_clock()
            ours = clock + watch.elapsed
            clock = ours if there is None else there
            if abs(clock - ours) > STEPPED:
                break
        return True

    async def _store_clock(self) -> float | None:
        """None while Postgres is away: who rests does not need it yet."""
        try:
            return await self.stream.store.clock()
        except StoreUnavailable:
            return None

    async def _sleep(self, seconds: float) -> bool:
        """Sleep so long, a suspend of the machine included; True as soon as there is news."""
        watch = Stopwatch()
        with self.stream.waits.interruptible():
            while True:
                left = seconds - watch.elapsed
                if left < GRAIN:
                    return False
                with trio.move_on_after(left) as self._nap:
                    await self._news.wait()
                    return True

    async def _until_news(self) -> None:
        with self.stream.waits.interruptible():
            await self._news.wait()

    async def _take_up(self) -> None:
        """Change to the settings that wait for it."""
        if self._next is not None:
            self._to_close.append(self.stream)
            before, self.stream, self._next = self.stream, self._next, None
            self.stream.go_on_from(before)
            self._opened = False
        if self._lease is not None:
            self.stream.lease, self._lease = self._lease, None
            self._opened, self._at = False, None
            self.stream.unsent.clear()  # whoever had the source may have sent them
            # It may have been lost by a restore of the database: then answers were as well.
            await store_answers_again(self.stream)
        self.stream.run_on()
        while self._to_close:
            await _close(self._to_close.pop())

    async def _open(self) -> None:
        stream = self.stream
        checkpoint = await stream.store.open_stream(
            stream.id,
            stream.configured,
            stream.lease,
            every=stream.every,
            schedule=stream.schedule,
        )
        stream.follow(await stream.store.evolution(stream.configured))
        self._paused = checkpoint.paused
        if self._at is not None and self._at.seq != checkpoint.seq:
            self._at = None
        self._opened = True

    async def _open_or_answer(self) -> None:
        """Open it; whoever waits for an answer hears why that can't be done."""
        try:
            await self._through_outages(self._open)
        except (StreamBroken, SchemaError) as error:
            while self._jobs:
                job = self._jobs.popleft()
                if job.kind == "pause":
                    job.end("paused")  # that stands in its row, and holds once it is opened
                job.end(f"it is parked: {error}", ok=False)
            raise

    async def _fail(self, error: TryAgain) -> None:
        """The retries are used up, the checkpoint stands: later is soon enough."""
        self._failures += 1
        own = backoff(self._failures, base=PAUSE, cap=PAUSE_CAP, rng=self.rng)
        pause = PAUSE / 2 + own
        self.state, self.result = "failing", error
        kind = type(error).__name__
        self.stream.report(
            events.Failing(stream=self.id, seconds=pause, reason=str(error), kind=kind)
        )
        try:
            await self._sleep(pause)
        except Draining:
            return

    async def _park(self, error: StreamBroken | SchemaError) -> None:
        """Someone has to act; until then, and until somebody says so, nothing is done."""
        self.state, self.result, self._at = "parked", error, None
        if isinstance(error, StoreRefused):
            self._opened = False  # whoever mends the table may have altered it
        reason, hint = str(error), ""
        if isinstance(error, StreamBroken):
            reason, hint = error.reason, error.hint
        kind = type(error).__name__
        self.stream.report(events.Parked(stream=self.id, reason=reason, hint=hint, kind=kind))
        nowhere = Checkpoint(stream=self.id, seq=0, fence=self.stream.lease.fence)
        try:
            await self.stream.store.note_trouble(
                nowhere, parked=True, reason=str(error), counts=Counts()
            )
        except (StoreUnavailable, StreamBroken):
            return  # `status` will not know; the log does

    async def _do_jobs(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            try:
                await self._do(job)
            except Draining:
                job.end("syncd left before it was done; ask again", ok=False)
                raise
            except (TryAgain, StreamBroken) as error:
                job.end(str(error), ok=False)
            finally:
                job.end("syncd stumbled over it; its log tells more", ok=False)

    async def _do(self, job: Job) -> None:
        match job.kind:
            case "pause":
                self._paused = True
                self._at = None  # what goes on after a pause is read anew: no scan is whole then
                job.end("paused")
            case "resume":
                was, self._paused = self._paused, False
                job.end("goes on" if was else "it is not paused; it is tried again now")
            case "sync" | "reconcile" if self._paused:
                job.end("it is paused; `syncd resume` first", ok=False)
            case "sync" if not job.subjects:
                job.end(self._sync_now())
            case "reset":
                await self._carry_out(job)
                self._due = True
            case _:
                await self._carry_out(job)

    def _sync_now(self) -> str:
        at = self._at
        if at is None or at.cycle is None:
            self._due = True
            return "begins now"
        if at.follows is None:
            return "a cycle is under way, and goes on"
        self._due = True
        return "begins after the pass out of turn that is under way"

    async def _carry_out(self, job: Job) -> None:
        if self._at is not None:
            self._at = await job.carry_out(self.stream, self._at)
        else:
            await job.carry_out(self.stream, await self._read())

    async def _read(self) -> Checkpoint:
        return await self._through_outages(lambda: self.stream.store.read_checkpoint(self.id))

    async def _through_outages(self, step: Callable[[], Awaitable[T]]) -> T:
        return await self.stream.retry.through_outages(step, self.stream.on_failure)

    async def _end(self) -> None:
        self.state = "ended"
        for job in self._jobs:
            job.end("syncd left before it was done; ask again", ok=False)
        self._jobs.clear()
        self.stream.waits.leave()
        to_close = [*self._to_close, self.stream, *([self._next] if self._next else [])]
        with trio.move_on_after(CLOSING, shield=True):
            for stream in to_close:
                await _close(stream)


async def _close(stream: StreamContext) -> None:
    stream.leave()
    await stream.close()
