"""How does systemd learn how syncd is?  By sd_notify, in datagrams that never block.

Without $NOTIFY_SOCKET nothing here does anything.  A ping that finds the socket full is
lost, the next one will do; what must arrive once (READY, RELOADING, STOPPING) is sent
again before whatever comes next.

`Notifier` speaks the protocol, `Teller` keeps STATUS true while the streams run.
"""

import math
import os
import socket
import time
from collections import deque
from collections.abc import MutableMapping

import attrs
import trio

from syncd.daemon.doing import Doing, changes_within, heard, sentence, short, span
from syncd.sync import events
from syncd.sync.model import StreamId

SPACING = 1.0  # seconds between two STATUS
LONGEST = 500  # characters of STATUS; systemd takes 4096 bytes a datagram
EXTENSION = 15.0  # seconds by which a drain that still turns moves its deadline
CLOSING = 60.0  # seconds after the drain, for leases, clients and an embedded Postgres


@attrs.define(eq=False)
class Notifier:
    """Tells the service manager; does nothing when there is none."""

    _address: str | None
    """A path, or a name in the abstract namespace that begins with NUL."""

    period: float | None = None
    """Seconds between two pings of the watchdog; None if nobody listens for them."""

    _socket: socket.socket | None = attrs.field(default=None, init=False)
    # The newest few are enough: who reads none of them reads nothing.
    _owed: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=8), init=False)
    _said: str = attrs.field(default="", init=False)
    _said_at: float = attrs.field(default=-math.inf, init=False)
    _stopping: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """From systemd's variables, which are taken out of `environ`.

        A child that inherits them, such as an embedded Postgres, would speak for us.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        pid, usec = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        if address.startswith("@"):
            address = "\0" + address[1:]
        meant = pid in ("", str(os.getpid()))
        wanted = meant and usec.isascii() and usec.isdigit() and int(usec) > 0
        return cls(address, int(usec) / 2_000_000 if wanted else None)

    @property
    def silent(self) -> bool:
        return self._address is None

    def ready(self, status: str) -> None:
        """Started, or done with a reload."""
        self._must("READY=1", self._status(status))

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._must("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str) -> None:
        """Leaving; said once."""
        if not self._stopping:
            self._stopping = True
            self._must("STOPPING=1", self._status(status))

    def status(self, text: str) -> bool:
        """Say it, if it is new and a second has passed; False if it is still to be said."""
        if self.silent or _one_line(text) == self._said:
            return True
        if trio.current_time() < self._said_at + SPACING:
            return False
        before = self._said
        if self._may(self._status(text)):
            return True
        self._said = before
        return False

    def extend(self, seconds: float) -> None:
        """Ask for so much more time for the start or the stop that is under way."""
        self._may(f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1_000_000)}")

    async def watchdog(self) -> None:
        """Ping as long as the loop turns; that and nothing else is what it proves."""
        while self.period is not None:
            self._may("WATCHDOG=1")
            await trio.sleep(self.period)

    def _status(self, text: str) -> str:
        self._said, self._said_at = _one_line(text), trio.current_time()
        return f"STATUS={self._said}"

    def _must(self, *lines: str) -> None:
        if not self.silent:
            self._owed.append(_datagram(lines))
            self._pay()

    def _may(self, *lines: str) -> bool:
        return self._pay() and self._send(_datagram(lines))

    def _pay(self) -> bool:
        """Send what is owed, each in a datagram of its own: in one, systemd knows no order."""
        while self._owed:
            if not self._send(self._owed[0]):
                return False
            self._owed.popleft()
        return True

    def _send(self, datagram: bytes) -> bool:
        if self._address is None:
            return True
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(datagram, self._address)
        except OSError:
            return False  # full, or gone: a daemon does not stumble over who watches it
        return True

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@attrs.define(eq=False)
class Teller:
    """Makes STATUS follow the streams, from their events."""

    notifier: Notifier
    _doing: dict[StreamId, Doing] = attrs.field(factory=dict, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _away: str = attrs.field(default="", init=False)
    _away_until: float = attrs.field(default=0.0, init=False)
    _refused: str = attrs.field(default="", init=False)
    _gone: set[StreamId] = attrs.field(factory=set, init=False)
    _leave_by: float | None = attrs.field(default=None, init=False)

    def hear(self, event: events.Event) -> None:
        """Take in one event."""
        if event.stream in self._gone:
            return
        before = self._doing.get(event.stream, Doing())
        self._doing[event.stream] = heard(before, event, trio.current_time())
        self._news.set()

    def away(self, reason: str, seconds: float) -> None:
        """The database can't be reached at the start; the next try is in so many seconds."""
        self._away, self._away_until = short(reason), trio.current_time() + seconds
        self._news.set()

    def reached(self) -> None:
        """The database is there."""
        self._away = ""
        self._news.set()

    def reloading(self) -> None:
        """The config is being read again."""
        self.notifier.reloading()

    def ready(self) -> None:
        """That is over, whatever came of it."""
        self.notifier.ready(self._text())

    def refused(self, faults: str) -> None:
        """The config was refused for so many faults; none: it was taken up."""
        self._refused = faults
        self._news.set()

    def known(self, stream: StreamId, *, there: bool) -> None:
        """The config has the stream, or has it no more."""
        self._gone.discard(stream)
        if not there:
            self._gone.add(stream)
            self._doing.pop(stream, None)
        self._news.set()

    def leaving(self, drain: float) -> None:
        """What is in flight gets so many seconds."""
        self._leave_by = trio.current_time() + drain
        self.notifier.stopping(self._text())
        self.notifier.extend(EXTENSION)
        self._news.set()

    async def run(self) -> None:
        """Say READY, then keep STATUS true; ends by being cancelled."""
        self.notifier.ready("starting: opening the database")
        while not self.notifier.silent:
            self._news = trio.Event()
            if self._leave_by is not None and trio.current_time() < self._leave_by + CLOSING:
                self.notifier.extend(EXTENSION)
            pause = self._pause() if self.notifier.status(self._text()) else SPACING
            await trio.sleep(SPACING)  # a burst of events is one sentence
            with trio.move_on_after(pause - SPACING):
                await self._news.wait()

    def _text(self) -> str:
        now = trio.current_time()
        if self._leave_by is not None:
            left = self._leave_by - now
            if left <= 0:
                return "leaving: closing what is open"
            return f"leaving: requests in flight get {span(left)} more"
        if self._away:
            left = self._away_until - now
            then = f"next try in {span(left)}" if left > 0 else "trying"
            return f"starting: the database is away, {then} ({self._away})"
        said = sentence(self._doing, now) if self._doing else "starting: opening the database"
        # First what needs a person.
        refused = f"config refused ({self._refused}), the one before runs; "
        return refused + said if self._refused else said

    def _pause(self) -> float:
        if self._leave_by is not None or self._away:
            return SPACING
        return changes_within(self._doing, trio.current_time())


def _datagram(lines: tuple[str, ...]) -> bytes:
    return "\n".join(lines).encode(errors="replace")


def _one_line(text: str) -> str:
    """Text that can't end its line: an API's words must not become an assignment."""
    words = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(words.split())[:LONGEST]
