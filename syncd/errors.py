"""Everything we expect to go wrong, sorted by who has to act.

    SyncdError
    ├── ConfigError               the operator corrects the file; lists every fault
    ├── TryAgain                  nobody: we wait, then go on from the checkpoint
    │   ├── ApiUnavailable            timed out, connection lost, 5xx; may carry a hint
    │   │   └── NotNow                    answered, and a rule says that it is worth another try
    │   ├── RateLimited               429, or a rule's `wait`; may say how long to wait
    │   ├── StoreUnavailable          Postgres is away, or broke off while committing
    │   ├── StoreWentBack             Postgres shows an older state than it had committed
    │   ├── PageNotKnown              what a 304 stood for was forgotten meanwhile
    │   └── NotDelivered              a receiver of notifications did not take one
    ├── StreamBroken              the operator looks at one stream; the others go on
    │   ├── AccessDenied              401, 403, or a login refused
    │   ├── UnexpectedAnswer          the API no longer sends what we were promised
    │   ├── ParkedByRule              an answer of which a rule says that a person has to act
    │   ├── StoreRefused              Postgres refuses the work: a right, a table, a type
    │   └── CheckpointMoved           someone else is writing to this table
    ├── LeaseHeld                 another syncd runs this source; says who
    ├── SchemaError               the database's schema needs the operator
    ├── CallFailed                one record's call: becomes a dead letter
    ├── CallSkipped               one record's call, of which a rule leaves the record out
    ├── CallDone                  the ledger has the answer of a call that was to be made
    └── Draining                  a wait that was ended because we are leaving

Anything else is a bug.  It is caught nowhere and stops the daemon.
"""

from typing import Literal

import attrs


class SyncdError(Exception):
    """Root of all that syncd expects; `str()` is a sentence an operator can act on."""


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that is wrong with a config file."""

    path: str
    """Where, as the operator would write it: `sources.adplatform.budget.requests`."""

    message: str
    """What was found and what is allowed."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(SyncdError):
    """The config is wrong; `faults` holds everything that is, not just the first."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class TryAgain(SyncdError):
    """Nobody has to act: wait, then ask again from the checkpoint.

    `hint` is the wait that the other side asked for, in seconds, or None.
    """

    def __init__(self, reason: str, *, hint: float | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class ApiUnavailable(TryAgain):
    """No answer, a broken one, or a 5xx.

    `sent` tells what is known of the request itself: "no" when not a byte of it
    can have been acted on, "refused" when an answer said that it was not carried
    out, "unknown" otherwise.  A POST with "unknown" must not be repeated blindly.
    `stale_connection` marks a kept-alive connection that the server had closed,
    `untrusted` a server whose certificate was refused: a person has to act, here or there.
    """

    def __init__(
        self,
        reason: str,
        *,
        hint: float | None = None,
        sent: Literal["no", "refused", "unknown"] = "unknown",
        stale_connection: bool = False,
        untrusted: bool = False,
    ) -> None:
        super().__init__(reason, hint=hint)
        self.sent = sent
        self.stale_connection = stale_connection
        self.untrusted = untrusted


class NotNow(ApiUnavailable):
    """The API has answered, and a rule of the config says that asking again may help.

    That is no word against its health: no 5xx is among these.
    """


class RateLimited(TryAgain):
    """The API refused a request for its quota's sake; nothing was carried out.

    A 429, or what a rule of the config takes for one.
    """


class StoreUnavailable(TryAgain):
    """Postgres is away.  If it broke off in COMMIT the outcome is unknown until read back."""


class StoreWentBack(TryAgain):
    """Restored from a backup, or promoted without our last commits: go on from what it has."""


class PageNotKnown(TryAgain):
    """A page came without a body, and what it stood for is known no more: it is read whole."""


class NotDelivered(TryAgain):
    """Whoever is to be told, or watches for a heartbeat, did not take the message."""


class StreamBroken(SyncdError):
    """This stream cannot go on until someone acts; `hint` says on what.

    `refused`: of a request, it is certain that nothing was carried out.
    """

    def __init__(self, reason: str, *, hint: str = "", refused: bool = False) -> None:
        super().__init__(f"{reason}. {hint}" if hint else reason)
        self.reason = reason
        self.hint = hint
        self.refused = refused


class AccessDenied(StreamBroken):
    """The API does not accept our credentials."""


class UnexpectedAnswer(StreamBroken):
    """The API answered with something that the config does not describe."""


class ParkedByRule(StreamBroken):
    """The API gave an answer of which a rule of the config says that a person has to act."""


class StoreRefused(StreamBroken):
    """Postgres refuses the work: a missing right, a missing table, a full page of bad rows."""


class CheckpointMoved(StreamBroken):
    """The checkpoint is not where we left it: our lease was taken, or someone wrote to it."""


class LeaseHeld(SyncdError):
    """Another syncd holds the right to run this source."""


class SchemaError(SyncdError):
    """The database's schema is older or newer than this syncd, or may not be changed by us."""


class CallFailed(SyncdError):
    """One record's own call will not succeed by being repeated now.

    `kind` is the dead letter's: "call-failed" or "outcome-unknown".
    """

    def __init__(self, kind: Literal["call-failed", "outcome-unknown"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class CallSkipped(SyncdError):
    """A rule of the config leaves out a record whose call is answered like this.

    `cause` is the same for all that the rule leaves out.
    """

    def __init__(self, reason: str, *, cause: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause


class CallDone(SyncdError):
    """The call was carried out meanwhile, by another syncd: its answer is in the ledger."""


class Draining(SyncdError):
    """Raised out of a wait (budget, backoff, rest) that ended because syncd is leaving."""
