"""What is an alarm, what is a message, and what does telling need of others?"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import attrs

from syncd.config.settings import NotifySettings, Secret
from syncd.sync.drift import Drift
from syncd.sync.model import StreamId

TESTING = "test"  # the alarm of a message that `syncd notify test` sends

State = Literal["firing", "recovered", "test"]


@attrs.frozen
class Alarm:
    """One thing that can be wrong; what is equal is the same alarm."""

    kind: str
    """One of `config.settings.ALARMS`."""

    source: str = ""
    """Empty when it concerns syncd as a whole."""

    stream: str = ""
    """Empty when it concerns a whole source."""

    about: str = ""
    """Which one it is, where a stream may have several of a kind."""

    @classmethod
    def of(cls, stream: StreamId, kind: str, about: str = "") -> "Alarm":
        """The alarm of this kind that concerns one stream."""
        return cls(kind, stream.source, stream.stream, about)

    @property
    def subject(self) -> str:
        """Such as `shop.orders`, as commands take it."""
        return f"{self.source}.{self.stream}" if self.stream else self.source

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".rstrip()


@attrs.frozen(kw_only=True)
class Begun:
    """Something is wrong now; it may have been before."""

    alarm: Alarm
    reason: str
    todo: str = ""
    """What to do about it, where who found it knows better than a table."""


@attrs.frozen(kw_only=True)
class Ended:
    """It is not any more, if it was."""

    alarm: Alarm
    why: str = ""
    """Where that is not because all is well."""


Change = Begun | Ended


@attrs.frozen(kw_only=True)
class Told:
    """A receiver is to hear this; times are on the clock of the watch."""

    alarm: Alarm
    state: State
    at: float
    since: float
    reason: str
    todo: str = ""


@attrs.frozen(kw_only=True)
class Standing:
    """What one receiver knows of one alarm, to be kept over a restart; times are seconds ago."""

    alarm: Alarm
    reason: str
    since: float
    told: float
    """When it heard of it the last time."""

    ended: float | None = None
    """When it heard that it was over; None: it is not."""

    times: int = 0
    """How often it came back before it had been calm."""


@attrs.frozen(kw_only=True)
class Message:
    """What is sent, byte for byte the same at each try."""

    id: str
    """By it the receiver knows a message that comes twice."""

    receiver: str
    """`NotifySettings.key`."""

    what: str
    """For log lines: `parked shop.orders, recovered`."""

    body: str
    age: float = 0.0
    """Seconds since it was made, when it was taken out of the database again."""


@attrs.frozen(kw_only=True)
class Kept:
    """What of one receiver was kept."""

    receiver: str
    standing: Sequence[Standing]
    messages: Sequence[Message]
    """Not known to be delivered, the oldest first."""


class Book(Protocol):
    """Remembers over a restart; each raises StoreUnavailable or StreamBroken."""

    async def load(
        self, instance: str, sources: Collection[str], receivers: Collection[str]
    ) -> Sequence[Kept]:
        """What is known of these sources and of this instance; other receivers are forgotten."""

    async def write(
        self,
        instance: str,
        *,
        standing: Sequence[tuple[str, Standing]] = (),
        forgotten: Sequence[tuple[str, Alarm]] = (),
        messages: Sequence[tuple[str, Message]] = (),
        settled: Sequence[str] = (),
    ) -> None:
        """In one transaction; twice is no harm.

        standing, forgotten: with the receiver's key.
        messages: to be delivered, each with the source that it is about.
        settled: ids of messages that are delivered, or that nobody tries to deliver any more.
        """

    async def dead(self, stream: StreamId) -> int:
        """How many dead letters of a stream lie there."""

    async def drifts(self, stream: StreamId) -> Sequence[Drift]:
        """How a stream's data leaves its contract, as far as nobody has seen it."""

    async def ages(self, sources: Collection[str]) -> Mapping[StreamId, float]:
        """Seconds since a cycle ended well, of each stream that had one and is not paused."""


class Post(Protocol):
    """Reaches receivers: one attempt, within a deadline; raises NotDelivered."""

    async def deliver(self, receiver: NotifySettings, message: Message) -> None:
        """Return when the receiver has taken it."""

    async def beat(self, address: Secret) -> None:
        """Ask for the address of a heartbeat."""


class Log(Protocol):
    """Where it is written what came of it."""

    def told(self, receiver: str, what: str, *, attempts: int) -> None: ...

    def not_told(self, receiver: str, what: str, *, reason: str, again_in: float) -> None: ...

    def given_up(self, receiver: str, what: str, *, reason: str) -> None: ...

    def left_untold(self, receiver: str, count: int) -> None: ...

    def not_kept(self, reason: str) -> None: ...

    def heartbeat_failed(self, stream: StreamId, *, reason: str) -> None: ...
