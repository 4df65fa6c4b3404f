"""What the loop needs of the world, and nothing of how it is done.

`api` and `store` fulfil these; `syncd.testing` has fakes that pass the same
contract tests.  Every method is one attempt with a deadline of its own: to wait
and to ask again is the business of `sync.retry` alone.

Errors are those of `syncd.errors`.  Store methods raise StoreUnavailable when
Postgres is away, CheckpointMoved when the fence or the sequence number is not
the expected one (nothing was written then), and StoreRefused when an operator
has to act.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import attrs

from syncd.schedule import Schedule
from syncd.sync.drift import Added, Evolution
from syncd.sync.keepout import KeptOut
from syncd.sync.known import KnownPage
from syncd.sync.model import (
    Checkpoint,
    Committed,
    Counts,
    DeadLetter,
    Intent,
    Lease,
    LedgerEntry,
    Page,
    PageCommit,
    Record,
    Reject,
    Row,
    StreamId,
    Table,
    Verdict,
)
from syncd.sync.scans import Reconciled
from syncd.sync.waits import Waits

# --- the token bucket -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Quota:
    """What an answer says is left of a limit of the API's, until it begins anew."""

    left: int
    seconds: float
    limit: int | None = None
    """Of so many, where that is said."""

    window: float | None = None
    """In any or each stretch of so many seconds, where that is said."""


@attrs.frozen(kw_only=True)
class Price:
    """What one request costs, and of which limits."""

    path: str = ""
    """Behind base_url, as a stream's `path` is; empty for one that goes to another server."""

    cost: int = 1
    """Tokens of each limit that counts it."""


PLAIN = Price()


class Permit(Protocol):
    """The right to send one request, spent as late as can be.

    The client calls `spend` when all that it needs (a bearer, a pool slot) is
    there, `confirm` when the connection stands and the first byte is about to be
    written, `written` when the last byte of the request was handed to the
    socket, and `answered` when the last byte of the answer was read.
    """

    @property
    def sent(self) -> int:
        """Requests that were begun to be written on this permit (two after a replay)."""

    async def spend(self, price: Price = PLAIN) -> None:
        """Wait for the tokens, FIFO, and take them.  A waiter that is cancelled costs none.

        What was spent before and not written is given back.
        """

    async def confirm(self) -> None:
        """Spend anew if the tokens have grown too old to be written now."""

    async def pause(self, seconds: float) -> None:
        """Wait for something else than a token; raises Draining as soon as syncd leaves."""

    def written(self) -> None: ...

    def answered(self) -> None: ...

    def refused(self) -> None:
        """The answer was a 429: from now on this budget counts from answers."""

    def told(self, quotas: Sequence[Quota]) -> None:
        """What the answer says is left.  It lowers the budget until then, and never raises it."""


class Spender(Permit, Protocol):
    """A permit as a budget gives it, which knows what it has cost."""

    @property
    def waited(self) -> float:
        """Seconds that `spend` and `confirm` have waited for tokens so far."""


class Budget(Protocol):
    """Who may send the next request, and when."""

    def permit(
        self,
        *,
        lease: Lease | None,
        spent_on: str,
        waits: Waits,
        intent: Intent | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> AbstractAsyncContextManager[Spender]:
        """One attempt's permit.  A token that was taken and never written is given back.

        `intent` is stored in the very statement that takes the token, and both only
        if `lease` still holds (else CheckpointMoved) and its call is not done (else
        CallDone).  `waits` can end the wait for a token; `on_wait` hears the seconds of
        each one as it begins.
        """

    async def hold_off(self, seconds: float) -> None:
        """Nobody who shares this budget sends anything for so long, whatever its path."""

    @property
    def held(self) -> bool:
        """Whether a hold_off keeps everybody waiting, as far as this process knows."""

    def is_free(self, price: Price) -> bool:
        """Whether no limit counts such a request."""

    def outlook(self, *spends: tuple[Price, int]) -> float:
        """Seconds until so many further requests could have been sent, at the earliest.

        Each is (what one of them costs, how many).
        """


@attrs.frozen(kw_only=True)
class BudgetState:
    """What the store remembers of a budget."""

    from_answers: bool
    """It counts from answers (see `count_from_answers`)."""

    held_for: float
    """Seconds that a hold_off still lasts; 0 if there is none."""


@attrs.frozen(kw_only=True)
class TokenState:
    """One token that is not free, as the store sees it."""

    number: int
    version: int
    """Grows each time the token is taken or given back."""

    free_in: float
    """Seconds until it is free, on the store's clock."""

    withheld_for: float = 0.0
    """Seconds for which nobody takes it though it is free, since the API says that fewer are
    left; 0 or less if it does not."""


@attrs.frozen(kw_only=True)
class Taken:
    """A token, ours until it is settled; by itself it comes back after `lifetime`."""

    number: int
    version: int
    from_answers: bool = attrs.field(default=False, eq=False)
    """The budget counts from answers, as somebody who shares it has found out."""


@attrs.frozen(kw_only=True)
class Want:
    """Tokens of one budget that a request needs, with those of others or not at all."""

    budget: str
    lifetime: float
    """Seconds (timeout + slack + per) after which a token frees itself."""

    cost: int = 1
    overdue: Mapping[int, int] = attrs.field(factory=dict)
    """Number to version of tokens that were watched for longer than they can be in use: they
    count as free whatever the clock says."""


@attrs.frozen(kw_only=True)
class NotYet:
    """How one budget stands of which a request wants tokens, and nothing was taken of any."""

    seconds: float
    """Until it has as many free as are wanted, or until the hold ends; 0 if it has them."""

    held: bool
    """True while a hold_off keeps everybody waiting."""

    tokens: tuple[TokenState, ...] = ()
    from_answers: bool = False
    """As in `Taken`."""


def until_free(tokens: Sequence[TokenState], cost: int) -> float:
    """Seconds until so many of these are free, on the store's clock."""
    waits = sorted(max(0.0, token.free_in, token.withheld_for) for token in tokens)
    return waits[min(cost, len(waits)) - 1]


@attrs.frozen(kw_only=True)
class Granted:
    """All the tokens that a request wants."""

    tokens: Sequence[Sequence[Taken]]
    """Of each budget, in the order in which they were named."""


class TokenStore(Protocol):
    """The rows behind the bucket, on the store's clock."""

    async def open_budget(
        self,
        budget: str,
        *,
        requests: int,
        per: float,
        seed: str | None = None,
        whole: bool = False,
    ) -> BudgetState:
        """Make the budget's tokens be `requests` in number; debts already run up stay.

        seed: the budget of that name, and those called `SEED per …` but `… of PATHS`, count every
        request of this one, too.  What one of them has counted in the last `per` is owed here
        as well, if this budget is new; or, if it counts every request (`whole`), where that is
        more than it knows of itself: it was not in use for a while.

        A source without a budget opens one of 0 requests, for its hold alone.
        """

    async def take_tokens(
        self,
        wants: Sequence[Want],
        *,
        spent_on: str,
        lease: Lease | None,
        intent: Intent | None,
    ) -> Granted | Sequence[NotYet]:
        """Take free tokens, store the intent and check the lease in one statement.

        All that is wanted is taken, or nothing is; then each budget is told, in the same order.

        lease: None for a command that runs nothing, such as `check`.
        """

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        """Each is (token, seconds since the server counted it, seconds it then takes).

        The token is free at `clock_timestamp() - since + takes`.  A token whose
        version has moved on is left alone.  `since` may be negative (a moment ahead).
        """

    async def give_back(self, budget: str, *tokens: Taken) -> None:
        """The tokens were never written: they are free now."""

    async def hold_budget(self, budget: str, seconds: float) -> None: ...

    async def note_quota(
        self, budget: str, token: Taken, *, left: int, seconds: float, since: float
    ) -> None:
        """The API says that `left` are left for so many seconds, as it stood when it counted
        the request that `token` was spent on, `since` seconds ago.

        From that go those that it counts later.  What then can be had until the end is `left`
        tokens, each once; the others are withheld, and with 0 left everybody waits.  What was
        said of a later request stands, and what is said of a later one replaces it, be it more
        or less.  More than the budget has tokens withholds none.
        """

    async def count_from_answers(self, budget: str) -> None:
        """Remember, for good, that this budget's tokens count from the answer."""

    async def store_intent(self, intent: Intent, lease: Lease) -> None:
        """For sources without a budget: the intent, if the lease holds and it is not done."""


# --- the ledger and the tables ----------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False)
class Settlement:
    """The answer to one call."""

    intent: Intent
    outcome: Literal["done", "failed", "unknown"]
    kept: bytes | None = None
    reason: str = ""


@attrs.frozen(kw_only=True)
class ApiFailing:
    """Why nobody of a source asks its API."""

    since: float
    """Seconds ago."""

    reason: str
    next_probe: float
    """Seconds until one request is sent to see whether it is well again."""


RequestKind = Literal["sync", "pause", "resume", "reset", "retry", "reload", "reconcile"]

REPEAT = "--repeat"
"""Among the ids of dead letters: who asks answers for calls that may then be made twice."""

APPROVE = "--approve"
"""Among the subjects of `reconcile`: what is missing now may go, however many rows that are."""

NOT_LISTED = "the API does not list: "
"""In an answer to `sync`; keys of records follow."""

NOTHING_HELD = "nothing is held, so nothing is approved"


@attrs.frozen(kw_only=True)
class Request:
    """What an operator asked of a running syncd."""

    id: int
    kind: RequestKind
    source: str
    stream: str | None
    """None: the whole of syncd is meant, and the source only tells which one."""

    subjects: tuple[str, ...] = ()
    """Keys of records, or ids of dead letters; with these maybe REPEAT; or APPROVE."""


class Store(TokenStore, Protocol):
    """Everything that lasts."""

    async def acquire_lease(self, source: str) -> Lease:
        """Take the right to run `source`, or raise LeaseHeld saying who has it.

        Taken over at once from a holder that is provably gone.
        """

    async def renew_leases(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Renew all in one statement; returns those that were still ours."""

    async def release_leases(self, leases: Sequence[Lease]) -> None: ...

    async def post_failing(self, lease: Lease, failing: ApiFailing | None) -> None:
        """Write for who looks why nobody asks the source's API; None: it is well.

        Taking or releasing the lease clears it; if the lease was taken nothing is written.
        """

    async def open_stream(
        self,
        stream: StreamId,
        table: Table,
        lease: Lease,
        *,
        every: float,
        schedule: Schedule | None = None,
    ) -> Checkpoint:
        """Make the table be there (if the role may) and read where the stream stands.

        The next start becomes `every` seconds after the start of the last whole cycle, or what
        the schedule makes of it (`Schedule.opened`).
        """

    async def evolution(self, table: Table) -> Evolution:
        """The columns that were added to a table beside those that the config names."""

    async def evolve(
        self, stream: StreamId, table: Table, lease: Lease, wanted: Sequence[Added]
    ) -> Evolution:
        """Add columns, as far as there is room, and remember them with what brought them.

        Those that somebody has added meanwhile are taken as they are.  StoreRefused if the role
        may not: then they are remembered, and added as soon as somebody does who may.
        """

    async def read_checkpoint(self, stream: StreamId, *, fresh: bool = True) -> Checkpoint:
        """FOR UPDATE: what it says is committed or never will be.

        fresh: on a new connection, as it must be where an answer was lost, and whatever is open
        may lead to a server that is none any more.  Each costs Postgres a process.
        """

    async def clock(self) -> float:
        """The store's own, in epoch seconds."""

    async def begin_cycle(
        self,
        checkpoint: Checkpoint,
        *,
        fingerprint: str,
        abandon: str = "",
        extra: bool = False,
        reconcile: float | None = None,
        full: float | None = 0.0,
        next_start: float | None = None,
        table: Table | None = None,
    ) -> tuple[Checkpoint, Counts]:
        """Begin a cycle, or take up the running one (then with its counts so far).

        abandon: why the running cycle, if any, is given up for a new one.
        extra: it begins out of turn, to look once more: it repeats no call of the whole cycle
        before it, and moves no next start.
        reconcile: seconds after the last complete scan from which a cycle is one again; None:
        only if one was asked for, or has to be confirmed.
        full: seconds after the start of the last good cycle of the whole list from which one asks
        for the whole list again; until then from the high-water mark on.  None: never again.
        next_start: with a cycle that is begun, when the next is due, in epoch seconds of the
        store's clock; None: as it was.
        table: what the rows are written to; StoreRefused if it has other columns by now.
        """

    async def differing(self, table: Table, source: str, rows: Sequence[Row]) -> set[str]:
        """Keys of those rows that are new, deleted, or differ in a column that is not volatile."""

    async def commit_pages(
        self, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        """Rows, dead letters, counters and checkpoint of pages that follow each other.

        One transaction, in which the checkpoint moves on by one for each.  Rows that Postgres
        refuses for their value become dead letters; a page of ten or more that is refused whole
        raises StoreRefused with nothing written.  What was forgotten since a page was fetched
        (`PageCommit.kept_out_version`) is left out.  A connection lost before COMMIT was sent,
        or with its answer, raises StoreUnavailable: `read_checkpoint` tells which it was.
        PageNotKnown, with nothing written, where what a 304 stood for is known no more.
        """

    async def known_page(
        self, stream: StreamId, table: Table, asked: str, judged: str
    ) -> KnownPage | None:
        """What a 304 to this request would stand for; None where it must be read whole."""

    async def kept_out(self, stream: StreamId, table: Table) -> KeptOut:
        """What is to stay forgotten.  StoreRefused if the stream's key is another one by now."""

    async def begin_aside(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        """Begin a cycle of a few records, beside the running one.

        A commit on top of what comes back, the checkpoint with this cycle, and `aside`, ends it.
        """

    async def reconcile(
        self, table: Table, checkpoint: Checkpoint, cycle: int, *, moved: str, again: str = ""
    ) -> Reconciled:
        """Find what the scan `cycle`, which has ended, did not meet, and mark it as deleted.

        What is missing for the first time only becomes known as such, and the next whole
        cycle is a scan again.  `moved` says why nothing is to be told from this one.

        again: why another pass is to begin at once, unless this one was out of turn itself.
        """

    async def reconciled(self, cycle: int) -> Reconciled:
        """What came of a scan that is known to have been reconciled."""

    async def ask_to_reconcile(
        self, checkpoint: Checkpoint, why: str, *, approve: bool = False
    ) -> Checkpoint:
        """Let a scan begin at once.

        approve: what the last scans missed may go however much it is, and what is usual for
        this stream is learned anew.
        """

    async def reset(self, checkpoint: Checkpoint, why: str) -> Checkpoint:
        """Give the running cycle up, if there is one: the next begins at its first page, now."""

    async def committed(self, checkpoint: Checkpoint) -> Committed:
        """What a commit made on top of `checkpoint`, which is known to have happened, came to."""

    async def note_trouble(
        self, checkpoint: Checkpoint, *, parked: bool, reason: str, counts: Counts
    ) -> None:
        """Write on the cycle's row why it stands, and the requests made since the last commit."""

    async def ledger(self, keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        """What is known of these idempotency keys."""

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None: ...

    async def forget_calls(self, keys: Sequence[str], *, unknown: bool) -> None:
        """Let those of these calls that failed be made again.

        unknown: also those whose outcome is not known.
        """

    async def withdraw_intents(self, keys: Sequence[str], lease: Lease) -> None:
        """These calls were not carried out: as long as the lease is ours none was to be made."""

    async def letters(self, stream: StreamId, ids: Sequence[int]) -> Mapping[int, DeadLetter]:
        """Those of these dead letters that lie there and are the stream's."""

    async def due_letters(self, stream: StreamId) -> Mapping[int, DeadLetter]:
        """Dead letters whose call is to be tried again by itself, now; a bounded number.

        At once the first time, then ever later, and no more than `LETTER_TRIES` times.
        """

    async def streams_to_purge(self, held: Sequence[Lease]) -> Sequence[StreamId]:
        """Every stream that a source of these leases ever had, of those that are held still."""

    async def purge(self, stream: StreamId, keep: float) -> None:
        """Let dead letters go that were put aside the last time more than `keep` seconds ago.

        With them what is remembered for as long of single records, and of cycles.
        """

    async def purge_requests(self) -> None:
        """Let requests go that were made a month ago."""

    def hurry(self) -> None:
        """From now on wait no longer than a moment for any answer: syncd has to leave."""

    # --- what operators ask for -------------------------------------------------------------

    async def take_requests(self, leases: Sequence[Lease]) -> Sequence[Request]:
        """Requests for these sources that nobody has taken; they are ours then."""

    async def answer_request(self, request: Request, *, ok: bool, answer: str) -> None: ...

    async def abandon_requests(self, leases: Sequence[Lease], answer: str) -> None:
        """Answer, as failed, what a syncd that is no more has taken and not answered."""

    async def wait_for_requests(self, seconds: float) -> None:
        """Return when there may be new ones, or after so long."""


# --- the API ------------------------------------------------------------------------------


class Source(Protocol):
    """One stream of one API.  Each method makes one attempt."""

    @property
    def has_call(self) -> bool: ...

    @property
    def repeatable(self) -> bool:
        """Whether a call whose outcome is unknown may be made again, with its first key."""

    @property
    def verifiable(self) -> bool:
        """Whether the API can be asked what became of a call that may not be repeated."""

    @property
    def connections(self) -> int:
        """How many requests, of all streams of its API, are under way at once at most."""

    @property
    def timeout(self) -> float:
        """Seconds after which an attempt is given up, though the API may still be at it."""

    @property
    def fingerprint(self) -> str:
        """Of all that makes a cursor valid."""

    def forgive(self) -> None:
        """A person says that what was refused for good is worth another try."""

    async def fetch(
        self,
        cursor: str | None,
        permit: Permit,
        since: str | None = None,
        known: KnownPage | None = None,
    ) -> Page:
        """Ask for one page; of what has changed since a high-water mark, if there is one.

        known: what is known of it; if its state is still that, it comes without a body.
        """

    @property
    def conditional(self) -> bool:
        """Whether a page may come without a body: never if each record is to be met."""

    @property
    def judged(self) -> str:
        """A hash of all that decides what becomes of a record."""

    def asked(self, cursor: str | None) -> str:
        """A hash of the request that a cursor makes."""

    @property
    def by_place(self) -> bool:
        """Its pages are places in a list: one record that leaves lets the next ones up."""

    def anew(self) -> None:
        """Say again of its fields what is said once a cycle: a page may have come to nothing."""

    def foreseen(self, cursor: str | None, total: int) -> str | None:
        """Which cursor should follow this one, in a list of so many records.

        None where its page has to tell, or is the last.  What the page says decides.
        """

    def higher(self, one: str | None, other: str | None) -> str | None:
        """The higher of two high-water marks."""

    def bounded(self, mark: str, clock: float) -> str:
        """A mark that is not above what the API can have made visible by then."""

    async def call(self, record: Record, idempotency_key: str, permit: Permit) -> bytes:
        """Make the record's own call; a JSON object of the kept columns comes back.

        Raises CallFailed when the answer says that asking again is of no use, or
        when the outcome is unknown and the call may not be repeated.
        """

    async def verify(self, record: Record, idempotency_key: str, permit: Permit) -> Verdict:
        """Ask what became of the record's call that was made with this key."""

    def follow(self, evolution: Evolution) -> None:
        """From now on fill these columns as well."""

    def look_again(self, page: Page, without: Collection[str] = ()) -> Page:
        """The page judged anew by its `raws`, with the columns that there are now.

        without: keys of records that are as if they had never been in it.
        """

    def judge(self, raw: bytes) -> Record | Reject | None:
        """A record that was put aside, looked at anew; None if a rule leaves it out now."""

    def rows(self, records: Sequence[Record]) -> Sequence[Row]:
        """The rows of records for which no call was made."""

    def row(self, record: Record, kept: bytes | None) -> Row:
        """The row of a record; `kept` is what its call gave, None if none was made."""
