"""What the loop tells whoever listens: logs, progress bars, and later metrics.

The loop calls one function, `Report`, with one of these facts.  Listeners must
return at once and never raise; they see things after they happened.
"""

from collections.abc import Callable
from typing import Literal

import attrs

from syncd.sync.drift import Added, Drift
from syncd.sync.due import Missed
from syncd.sync.model import Checkpoint, Counts, Outcome, StreamId
from syncd.sync.scans import Reconciled as Found


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to one stream."""

    stream: StreamId


@attrs.frozen(kw_only=True)
class CycleStarted(Event):
    checkpoint: Checkpoint
    totals: Counts
    """Not empty when a cycle is taken up again."""

    abandoned: str = ""
    """Why the cycle before was given up in its middle, if it was."""


@attrs.frozen(kw_only=True)
class PageFetched(Event):
    page: int
    """1 for the first page of the cycle."""

    last: bool
    """No page follows."""

    records: int
    calls: int
    """Calls that this page's records need; those the ledger holds are not among them."""

    total: int | None
    seconds: float = 0.0
    """Since it was first meant to be asked for; waits and further tries included."""


@attrs.frozen(kw_only=True)
class PageCompared(Event):
    """A page of a dry run was looked at; nothing is committed."""

    page: int
    last: bool
    records: int
    total: int | None
    totals: Counts
    """What the cycle's counters would be."""


Purpose = Literal["list", "call", "verify", "login"]
Trouble = Literal["", "unreachable", "pool", "timeout", "lost"]


@attrs.frozen(kw_only=True)
class Requested(Event):
    """One request to the API has come to its end, whatever that was."""

    purpose: Purpose
    method: str
    status: int | None
    """None: no answer came, or not all of it."""

    trouble: Trouble = ""
    """Why it did not; "unreachable" and "pool": not a byte was sent."""

    seconds: float
    """From its first byte to the last of its answer; the wait for a token is none of it."""

    key: str | None = None
    """The record that it was about; None for a list or a login."""

    server: str = ""
    """The API's host, and its port."""

    port: int = 0

    @property
    def outcome(self) -> str:
        """One of a few words: `ok`, `429`, `503`, `4xx`, `5xx`, or the trouble."""
        if self.status is None:
            return self.trouble
        if self.status < 400:
            return "ok"
        return str(self.status) if self.status in (429, 503) else f"{self.status // 100}xx"

    @property
    def denied(self) -> bool:
        """Whether the API does not accept the credentials, or the right that comes with them."""
        # OAuth says 400 to a client or a grant that it does not accept.
        return self.status in ((400, 401, 403) if self.purpose == "login" else (401, 403))


@attrs.frozen(kw_only=True)
class Spent(Event):
    """One attempt at a request has come to its end, sent or not."""

    sent: int
    """Requests that it wrote, each on a token: two after a replay."""

    waited: float
    """Seconds that it waited for its tokens."""


@attrs.frozen(kw_only=True)
class CallAnswered(Event):
    key: str
    ok: bool
    seconds: float = 0.0
    """Since the call was first meant to be made; waits and further tries included."""

    page: int = 0
    """Of its cycle; 0 for a call out of turn."""

    kind: str = ""
    """Of the dead letter that it became, if it did not come off."""


Why = Literal["budget", "backoff", "hint", "database", "api"]


@attrs.frozen(kw_only=True)
class Waiting(Event):
    """A wait began; it ends by the next event, or at `seconds` from now."""

    why: Why
    seconds: float
    reason: str = ""
    in_need: bool = False
    """Postgres answers, but lacks disk, memory or connections: other statements may succeed."""


@attrs.frozen(kw_only=True)
class Retrying(Event):
    attempt: int
    """The try that failed, 1 for the first."""

    reason: str
    key: str | None = None
    """The record whose call it was; None for a list request."""


@attrs.frozen(kw_only=True)
class BreakerOpened(Event):
    """The API is failing, nobody of the source asks; or a probe has failed.

    `stream` names whose request it was.
    """

    failed: int
    attempts: int
    """Of so many; both 1 after a probe."""

    seconds: float
    """Until the next probe."""

    reason: str


@attrs.frozen(kw_only=True)
class BreakerClosed(Event):
    """A probe was answered; `stream` names whose it was."""

    seconds: float
    """For which it was open."""


@attrs.frozen(kw_only=True)
class PutAside(Event):
    """A record became a dead letter."""

    key: str | None
    kind: str
    reason: str
    alert: bool = True
    """Worth a line of its own: a column that has drifted is told once in a cycle."""


@attrs.frozen(kw_only=True)
class LeftOut(Event):
    """A rule of the user's left out a record, for what its call was answered."""

    key: str
    reason: str
    alert: bool = True
    """Worth a line of its own: a rule is told of once in a cycle."""


@attrs.frozen(kw_only=True)
class FieldsLeftOut(Event):
    """A stream that is new has fields that no column names; told once."""

    fields: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Drifted(Event):
    """The data has left the contract in a way that it never had before."""

    drift: Drift


@attrs.frozen(kw_only=True)
class ColumnAdded(Event):
    """The table has a column more."""

    added: Added


@attrs.frozen(kw_only=True)
class PageCommitted(Event):
    checkpoint: Checkpoint
    totals: Counts
    seconds: float = 0.0
    """That its commit took, waits for a Postgres that was away included."""


@attrs.frozen(kw_only=True)
class CycleEnded(Event):
    cycle: int
    outcome: Outcome
    reason: str
    totals: Counts
    seconds: float


What = Literal["records", "letters"]


@attrs.frozen(kw_only=True)
class AsideBegan(Event):
    """Records are looked after out of turn: asked for by an operator, or dead letters again.

    It happens beside the running cycle, at a boundary; until it has ended, what is told of the
    stream belongs to it.
    """

    what: What


@attrs.frozen(kw_only=True)
class AsideEnded(Event):
    kind: str
    """The error's that ended it, as `syncd.errors` names it; empty if it was done."""

    seconds: float
    commit: float | None
    """Seconds that its commit took; None if there was none."""


@attrs.frozen(kw_only=True)
class Reconciled(Event):
    """A scan has ended, and what it did not meet was looked at."""

    cycle: int
    found: Found


@attrs.frozen(kw_only=True)
class CycleStopped(Event):
    """It is written on a cycle's row why it stands where it is."""

    counts: Counts
    """What it asked for since its last commit, written there as well."""


@attrs.frozen(kw_only=True)
class Parked(Event):
    """The stream stopped and needs a person."""

    reason: str
    hint: str
    kind: str = ""
    """The error's, as `syncd.errors` names it."""


@attrs.frozen(kw_only=True)
class Failing(Event):
    """The retries are used up; the same cycle goes on from its checkpoint later."""

    seconds: float
    reason: str
    kind: str = ""
    """The error's, as `syncd.errors` names it."""


@attrs.frozen(kw_only=True)
class WentBack(Event):
    """Postgres shows an older state than it had committed; the stream goes on from there."""

    reason: str


@attrs.frozen(kw_only=True)
class Paused(Event):
    """An operator paused the stream; it goes on when one resumes it."""


@attrs.frozen(kw_only=True)
class Resting(Event):
    """The next cycle is due in so many seconds."""

    seconds: float


@attrs.frozen(kw_only=True)
class CaughtUp(Event):
    """The cycle that begins makes up for due times of its schedule that have passed."""

    missed: Missed


@attrs.frozen(kw_only=True)
class LoggedIn(Event):
    """The source bought a new bearer token; `stream` names whose request asked for it."""

    expires_in: float


@attrs.frozen(kw_only=True)
class LimitMisread(Event):
    """A header that tells a limit can't be meant as it stands; told once for each client.

    `stream` names one of the source's.
    """

    said: str


NEEDS_POSTGRES = (CycleStarted, PageFetched, CallAnswered, PageCommitted, CycleEnded, Resting)
"""What cannot have happened while Postgres is away."""

Report = Callable[[Event], None]


def nobody(_: Event) -> None:
    """Listens to nothing."""
