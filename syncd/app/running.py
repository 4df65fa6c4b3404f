"""How does the daemon live?

Signals are outermost, so that none is lost while we open or close.  SIGTERM and SIGINT end
it, a second one cuts short what is in flight; SIGHUP, or `syncd reload`, reads the config
again.
"""

import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Protocol

import attrs
import trio

from syncd import logs
from syncd.alarms.telling import Telling
from syncd.app.leaving import leave
from syncd.app.notices import telling
from syncd.app.opened import App, opened
from syncd.app.sidedoor import SideDoor, side_door
from syncd.config.secrets import redactions
from syncd.config.settings import Settings
from syncd.daemon.inbox import Inbox
from syncd.daemon.notify import Notifier, Teller
from syncd.daemon.reload import Change, Plan, refuse_changes
from syncd.daemon.supervisor import Supervisor
from syncd.errors import ConfigError, StoreUnavailable, SyncdError
from syncd.store.alarms import AlarmBook
from syncd.sync import events
from syncd.sync.retry import STORE_BASE, STORE_CAP, backoff

RELOADING = 5.0  # seconds between two tries of a reload while Postgres is away
LAST_ANSWERS = 2.0  # seconds for which the answers to operators are still written at the end

Reread = Callable[[], Settings]
"""Reads the config again, in a thread; raises ConfigError with every fault."""


@attrs.frozen(kw_only=True)
class LeftEarly:
    """What came of a run that was asked to leave before the database was there: nothing."""

    cut: bool = False
    asked_twice: bool = False
    drain: float = 0.0


class Traces(Protocol):
    """Makes spans of what it hears."""

    def hear(self, event: events.Event) -> None:
        """Returns at once, and never raises."""

    async def aclose(self) -> None:
        """Send the last of them, which takes a bounded time."""


async def run(
    settings: Settings, *, report: events.Report, reread: Reread, traces: Traces | None = None
) -> Supervisor | LeftEarly:
    """Run the daemon until a signal asks it to leave; `cut` says what that cost."""
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals,
        closing(Notifier.of(os.environ)) as notifier,
        side_door(settings) as door,
    ):
        # One that came before anybody listened is heard now (`syncd.__main__`).
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        teller = Teller(notifier)
        receivers = telling(settings)

        def tell(event: events.Event) -> None:
            report(event)
            teller.hear(event)
            door.hear(event)
            if traces is not None:
                traces.hear(event)
            receivers.hear(event)

        # Around all that opens and closes: an embedded Postgres takes its time for both.
        async with trio.open_nursery() as beside:
            beside.start_soon(teller.run)
            beside.start_soon(notifier.watchdog)
            beside.start_soon(receivers.run)
            beside.start_soon(door.run)
            async with AsyncExitStack() as stack:
                if traces is not None:
                    stack.push_async_callback(traces.aclose)
                app = await _open(settings, signals, teller, receivers, door, tell, reread, stack)
                outcome: Supervisor | LeftEarly
                if app is None:
                    await receivers.goodbye()
                    outcome = LeftEarly()
                else:
                    # What is open by now stays.  To look at it for garbage, again and again, holds
                    # the loop for a quarter of a second where there are a thousand sources.
                    gc.freeze()
                    outcome = await _Daemon(app, teller, receivers, door, reread).live(signals)
                door.leave()
                teller.leaving(0)
            beside.cancel_scope.cancel()
        return outcome


async def _open(
    settings: Settings,
    signals: AsyncIterator[int],
    teller: Teller,
    receivers: Telling,
    door: SideDoor,
    report: events.Report,
    reread: Reread,
    stack: AsyncExitStack,
) -> App | None:
    """Open everything, however long Postgres is away; None if we are asked to leave before."""
    rng = random.Random()  # noqa: S311 - jitter is no secret
    failures = 0
    while True:
        try:
            app = await stack.enter_async_context(
                opened(settings, report=report, reread=partial(_read, reread))
            )
            break
        except StoreUnavailable as error:
            away = error
        failures += 1
        own = backoff(failures, base=STORE_BASE, cap=STORE_CAP, rng=rng)
        pause = max(own, away.hint or 0.0)
        logs.postgres_away(str(away), pause)
        teller.away(str(away), pause)
        receivers.postgres_away(str(away))
        door.away(str(away))
        with trio.move_on_after(pause):
            async for number in signals:
                if number != signal.SIGHUP:
                    teller.leaving(0)
                    return None
                # Nothing is open yet: whatever stands in the file now, it can be followed.
                settings = await _reread_before_the_start(settings, reread, teller, receivers, door)
                break
    connections = app.store.connections
    connections.on_silence, connections.on_answer = logs.postgres_silent, logs.postgres_answered
    logs.postgres_back()
    teller.reached()
    receivers.postgres_back()
    return app


async def _reread_before_the_start(
    old: Settings, reread: Reread, teller: Teller, receivers: Telling, door: SideDoor
) -> Settings:
    """The config as it stands now; the old one, with every fault told, if it is wrong."""
    teller.reloading()
    try:
        settings = await _read(reread)
        refuse_changes(old, settings, ("admin",))  # the side door is open already
    except ConfigError as error:
        door.refused(_refuse(error, teller, receivers))
        return old
    else:
        teller.refused("")
        receivers.follow(settings)
        logs.reloaded("nothing ran yet")
        door.follow(settings)
        return settings
    finally:
        teller.ready()


async def _read(reread: Reread) -> Settings:
    # In a thread: a command that looks up a secret may take its time.
    settings = await trio.to_thread.run_sync(reread, abandon_on_cancel=True)
    logs.hide(redactions(settings))
    return settings


def _refuse(error: SyncdError, teller: Teller, receivers: Telling) -> list[str]:
    faults = [str(f) for f in error.faults] if isinstance(error, ConfigError) else [str(error)]
    for fault in faults:
        logs.refused(fault)
    many = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    teller.refused(many)
    receivers.refused(f"{many}: {'; '.join(faults)}")
    return faults


@attrs.define(eq=False)
class _Daemon:
    """The running daemon: what signals and operators do to it."""

    _app: App
    _teller: Teller
    _receivers: Telling
    _door: SideDoor
    _reread: Reread
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def live(self, signals: AsyncIterator[int]) -> Supervisor:
        supervisor = self._app.supervisor
        inbox = Inbox(supervisor=supervisor, reload=self.reload, heard=logs.asked)
        self._receivers.attach(AlarmBook(self._app.store.connections))
        try:
            async with trio.open_nursery() as control:
                control.start_soon(self._hear, signals, control)
                control.start_soon(inbox.run)
                control.start_soon(self._app.purging.run)
                control.start_soon(self._door.work, self._app)
                await supervisor.run(forever=True)
                with trio.move_on_after(LAST_ANSWERS):
                    await inbox.settled()
                control.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._receivers.goodbye()
        return supervisor

    async def _hear(self, signals: AsyncIterator[int], control: trio.Nursery) -> None:
        supervisor = self._app.supervisor
        async for number in signals:
            if number == signal.SIGHUP:
                # Not awaited: a signal that asks us to leave must be heard meanwhile.
                control.start_soon(self.reload)
            elif leave(supervisor):
                self._teller.leaving(supervisor.drain)
                self._door.leave()

    async def reload(self) -> tuple[bool, str]:
        """Read the config again and follow it; whether that was done, and what to say.

        Of several that are asked for at once each reads the file anew, one after the other.
        """
        async with self._turn:
            if self._app.supervisor.waits.ended:
                return False, "syncd is leaving; the next start reads the config"
            self._teller.reloading()
            try:
                return await self._reload()
            finally:
                self._teller.ready()

    async def _reload(self) -> tuple[bool, str]:
        try:
            plan = await self._follow(await _read(self._reread))
        except SyncdError as error:
            faults = _refuse(error, self._teller, self._receivers)
            self._door.refused(faults)
            return False, "\n".join(faults)
        self._teller.refused("")
        self._door.follow(self._app.settings)
        self._receivers.follow(self._app.settings)
        for change in plan.changes:
            self._teller.known(change.stream, there=change.fate != "retire")
            if change.fate != "keep":
                logs.fate(change.stream, change.fate, change.changed)
        logs.reloaded(str(plan))
        return True, "\n".join(f"{change}{self._when(change)}" for change in plan.changes)

    def _when(self, change: Change) -> str:
        """When a stream changes, if that is not at once."""
        runner = self._app.supervisor.runners.get(change.stream)
        if runner is None or change.fate in ("keep", "add"):
            return ""
        if runner.state == "running":
            return ", at the end of its page"
        if runner.state == "resting" and change.fate == "replace":
            return ", with its next cycle (`syncd sync` begins one now)"
        return ""

    async def _follow(self, new: Settings) -> Plan:
        while True:
            try:
                return await self._app.reload(new)
            except StoreUnavailable as error:
                logs.postgres_away(str(error), RELOADING)
            await self._app.supervisor.waits.sleep(RELOADING)
