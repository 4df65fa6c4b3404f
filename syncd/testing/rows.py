"""What the store in memory keeps: one class for each of the real one's tables."""

import attrs

from syncd.sync.drift import Drift
from syncd.sync.known import KnownPage
from syncd.sync.model import Counts, DeadLetter, Intent, Outcome, StreamId
from syncd.sync.ports import ApiFailing
from syncd.testing.values import Key


@attrs.define(kw_only=True)
class FakeToken:
    version: int = 0
    counted_at: float | None = None
    free_at: float = float("-inf")
    spent_on: str = ""
    retired: bool = False
    """The budget allows fewer now: nobody takes it, and it goes when it is free."""

    withheld_until: float = float("-inf")
    """The API says that fewer are left: nobody takes it until then."""

    def owes_until(self, takes: float) -> float:
        return self.free_at if self.counted_at is None else self.counted_at + takes


@attrs.define(kw_only=True)
class FakeBudget:
    per: float
    tokens: dict[int, FakeToken] = attrs.field(factory=dict)
    held_until: float = float("-inf")
    from_answers: bool = False
    quota_left: int | None = None
    quota_until: float = float("-inf")
    quota_as_of: float = float("-inf")

    @property
    def allowed(self) -> dict[int, FakeToken]:
        return {number: token for number, token in self.tokens.items() if not token.retired}

    def owe(self, other: "FakeBudget", takes: float, now: float) -> None:
        """Take over what another has counted lately, or has in flight, if it is more."""
        owed = [t for _, t in sorted(other.tokens.items()) if t.owes_until(takes) > now]
        if len(owed) > sum(t.owes_until(takes) > now for t in self.tokens.values()):
            first = max(self.tokens, default=0) + 1
            self.tokens = {
                number: FakeToken(
                    counted_at=token.counted_at,
                    free_at=token.owes_until(takes),
                    spent_on=token.spent_on,
                )
                for number, token in enumerate(owed, first)
            }

    def make(self, requests: int, now: float) -> None:
        """Be of so many tokens; whatever is owed stays, in case the number grows again."""
        for number, token in list(self.tokens.items()):
            if token.retired and token.free_at <= now:
                del self.tokens[number]
        first = max(self.tokens, default=0) + 1
        for number in range(first, first + requests - len(self.tokens)):
            self.tokens[number] = FakeToken()
        by_debt = sorted(self.tokens.items(), key=lambda item: (-item[1].free_at, item[0]))
        for place, (_, token) in enumerate(by_debt):
            token.retired = place >= requests


@attrs.define(kw_only=True)
class FakeCycle:
    id: int
    stream: StreamId
    started_at: float
    outcome: Outcome | None = None
    reason: str = ""
    counts: Counts = attrs.field(factory=Counts)
    aside: bool = False
    pages: int = 0
    taken_up: int = 0
    follows: int | None = None
    reconcile: bool = False
    since: str | None = None
    noted: int = 0
    keyless: int = 0
    missing: int | None = None
    deleted: int = 0

    @property
    def started(self) -> str:
        return repr(self.started_at)


@attrs.define(kw_only=True)
class FakeScans:
    """What is known of one stream's scans, beside its checkpoint."""

    seen: list[Key] = attrs.field(factory=list)
    missing: dict[Key, int] = attrs.field(factory=dict)
    """Key to the first scan that did not meet it."""

    approved: set[Key] = attrs.field(factory=set)
    question: str = ""
    due: bool = False
    reconciled_at: float = float("-inf")
    usual_from: int = 0


@attrs.define(kw_only=True)
class FakeCall:
    """One row of the ledger."""

    intent: Intent
    outcome: str = "open"
    kept: bytes | None = None
    reason: str = ""

    @property
    def record_key(self) -> str:
        return self.intent.record_key


@attrs.define(kw_only=True)
class FakeDeadLetter:
    """A dead letter as it lies there; one that comes again counts its attempts."""

    id: int
    stream: StreamId
    letter: DeadLetter
    cycle: int
    """The last that put it aside."""

    last_at: float
    next_try: float | None = None
    attempts: int = 1


@attrs.define(kw_only=True)
class FakeDrift:
    drift: Drift
    cycle: int
    """The last that met it."""

    accepted: bool


@attrs.define(kw_only=True)
class FakeKnownPage:
    page: KnownPage
    cycle: int
    """The last that met it."""

    read_in: int
    read_at: float
    kept_out_version: int
    columns: tuple[str, ...]
    """Of its table."""


@attrs.define(kw_only=True)
class FakeLease:
    fence: int = 0
    holder: object = None
    expires_at: float = float("-inf")
    failing: ApiFailing | None = None


@attrs.define(kw_only=True)
class FakeKeptOut:
    key_is: str
    lasting: bool
    version: int
