"""What would a cycle change?  The dry run: its pages, compared with the table and not committed.

It asks for the same pages as the cycle that comes next, through the same budget.  No call is
made, no lease taken, nothing written; what can't be known so is said and not guessed.  How a
page is compared is the store's business (`Comparing`); what follows from rows that no page held
is told by the rules of `sync.scans`.
"""

from typing import Literal, Protocol

import attrs

from syncd.errors import Draining, StreamBroken, SyncdError, TryAgain
from syncd.sync import events, ranges
from syncd.sync.context import StreamContext
from syncd.sync.model import Counts, DeadLetter, Page, PageCommit
from syncd.sync.moves import Movement
from syncd.sync.reconcile import changed_since
from syncd.sync.scans import Absent, Scan, question
from syncd.sync.stream import refuse_too_many_dead
from syncd.sync.turn import Turn

Change = Literal["added", "changed", "volatile", "returned", "deleted", "missing", "put-aside"]
"""volatile: in such columns alone, so that `_syncd_changed_at` stays; returned: it was marked as
deleted; missing: no page held it, and it stays all the same."""

WRITES: tuple[Change, ...] = ("added", "changed", "volatile", "returned", "deleted")

STAYS = "it is not in the list, and stays"
FIRST = f"{STAYS} for now: it goes if the next scan does not meet it either"
HELD = f"{STAYS} until someone approves that it goes"
TWICE = "it is not in the list, for the second scan or more"
APPROVED = "it is not in the list, and that it goes was approved"


@attrs.frozen(kw_only=True)
class Difference:
    """What would become of one record or row."""

    change: Change
    key: str | None
    """A JSON array, as text."""

    columns: str = ""
    """A JSON object, as Postgres writes it: column to `{"old": …, "new": …}`."""

    reason: str = ""
    kind: str = ""
    """Of a dead letter."""

    again: bool = False
    """Such a letter lies there already, for the same reason."""

    called: bool = False
    """Its call would be made, and give what is not known here."""


@attrs.frozen(kw_only=True)
class Coming:
    """The cycle that comes next, and how its pages can be compared."""

    since: str | None = None
    """The mark from which it asks for what has changed; None: for the whole list."""

    reconcile: bool = False
    """It looks for what is gone."""

    under_way: int | None = None
    """Pages that are committed of a cycle that would be gone on with; None if none runs."""

    paused: bool = False
    parked: str = ""
    """Why the daemon waits for a person, if it does."""

    makes: tuple[str, ...] = ()
    """SQL that makes the table, or the columns that it lacks."""

    untried: str = ""
    """Why it was not tried whether Postgres takes the rows; empty if that was done."""

    past: tuple[ranges.Past, ...] = ()
    """What the last whole cycles came to."""


@attrs.frozen(kw_only=True)
class Compared:
    """What one page came to."""

    written: int = 0
    unchanged: int = 0
    dead: int = 0
    """Rejects, and rows that Postgres refuses."""

    keyless: int = 0
    """Of these: whose key can't be told."""

    calls: int = 0
    recovered: int = 0
    """Dead letters that would leave, since their record is well."""

    untried: int = 0
    """Rows that were not tried since somebody held a lock on them."""


@attrs.frozen(kw_only=True)
class Absence:
    """Rows that are not deleted and that no page held."""

    live: int
    """All that are not deleted."""

    first: int = 0
    """Missing for the first time, by what scans know."""

    again: int = 0
    approved: int = 0

    @property
    def many(self) -> int:
        return self.first + self.again + self.approved


class Comparing(Protocol):
    """Compares one stream's pages with its table; writes nothing."""

    async def coming(
        self, *, fingerprint: str, reconcile: float | None, full: float | None
    ) -> Coming:
        """The next cycle; arguments as for `Store.begin_cycle`.

        full: 0 asks for the whole list, whatever the mark.

        Raises StoreRefused if the table is not what a cycle needs.
        """

    async def compare(self, page: PageCommit, calls: Literal["", "always", "changed"]) -> Compared:
        """Compare a page that a cycle would commit; what is found is kept by the store.

        Raises StoreRefused for a page that is refused whole.
        """

    async def absent(self) -> Absence:
        """Look for the rows that no page held; they are `missing` then."""

    async def conclude(self, *, scan: bool, held: bool) -> None:
        """Say of these which would go: approved ones, and those missing again unless held."""


@attrs.define(eq=False, kw_only=True)
class Outcome:
    """What a diff came to, as far as it came."""

    coming: Coming = attrs.field(factory=Coming)
    pages: int = 0
    """That were looked at."""

    more: bool = False
    """Others follow, which were not."""

    total: int | None = None
    """Records that the API says it has."""

    totals: Counts = attrs.field(factory=Counts)
    """What the cycle's counters would be."""

    calls: int = 0
    """Records for which the call would be made."""

    recovered: int = 0
    untried: int = 0
    keyless: int = 0
    wanted: set[str] = attrs.field(factory=set)
    """Columns that a cycle would add to the table."""

    moved: str = ""
    """How rows moved while the list was paged."""

    suspicious: str = ""
    """Why the cycle would end so."""

    absence: Absence | None = None
    """None: it was not looked for, or could not be."""

    broken: str = ""
    """Why a scan could not tell what is gone."""

    question: str = ""
    """What would have to be approved before rows go."""

    trouble: SyncdError | None = None
    """Why it ended early."""


async def look(
    stream: StreamContext,
    comparing: Comparing,
    *,
    calls: Literal["", "always", "changed"] = "",
    full: bool = False,
    most: int | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Look at the pages of the next cycle, or at `most` of them.

    calls: for which records the stream's call is made.
    full: ask for the whole list whatever the mark.
    outcome: where it is noted, for who cuts it short.
    """
    outcome = Outcome() if outcome is None else outcome
    outcome.trouble = Draining("it was cut short")
    try:
        await _look(stream, comparing, outcome, calls=calls, full=full, most=most)
        outcome.trouble = None
    except (TryAgain, StreamBroken, Draining) as error:
        outcome.trouble = error
    finally:
        outcome.totals = attrs.evolve(outcome.totals, **attrs.asdict(stream.tally))
    return outcome


async def _look(
    stream: StreamContext,
    comparing: Comparing,
    outcome: Outcome,
    *,
    calls: Literal["", "always", "changed"],
    full: bool,
    most: int | None,
) -> None:
    outcome.coming = coming = await stream.retry.through_outages(
        lambda: comparing.coming(
            fingerprint=stream.source.fingerprint,
            reconcile=stream.reconcile,
            full=0.0 if full else stream.full,
        ),
        stream.on_failure,
    )
    stream.movement = Movement()
    turn: Turn | None = Turn(
        stream=stream,
        cycle=0,
        started="",
        cursor=None,
        number=1,
        page_before=None,
        since=coming.since,
    )
    while turn is not None:
        await _compare(stream, comparing, outcome, await turn.fetch("for a diff"), calls)
        following = turn.following()
        if most is not None and turn.number >= most and following is not None:
            outcome.more, following = True, None
        turn = following
    outcome.moved = stream.movement.words
    if outcome.more:
        return
    if coming.since is None:
        # Where each call gives something, a cycle writes rows that are not counted here.
        few = calls == "always"
        outcome.suspicious = ranges.unusual(coming.past, outcome.totals, extra=few)
        await _look_for_what_is_gone(stream, comparing, outcome)


async def _compare(
    stream: StreamContext,
    comparing: Comparing,
    outcome: Outcome,
    page: Page,
    calls: Literal["", "always", "changed"],
) -> None:
    commit = _as_commit(stream, page)
    found = await stream.retry.through_outages(
        lambda: comparing.compare(commit, calls), stream.on_failure
    )
    before = outcome.totals
    outcome.totals = Counts(
        seen=before.seen + page.seen,
        written=before.written + found.written,
        unchanged=before.unchanged + found.unchanged,
        left_out=before.left_out + commit.left_out,
        kept_out=before.kept_out + commit.kept_out,
        dead=before.dead + found.dead,
        folded=before.folded + page.folded,
    )
    outcome.pages += 1
    outcome.total = page.total
    outcome.calls += found.calls
    outcome.recovered += found.recovered
    outcome.untried += found.untried
    outcome.keyless += found.keyless
    outcome.wanted |= {added.column for added in page.wanted}
    stream.movement.look(page)
    stream.report(
        events.PageCompared(
            stream=stream.id,
            page=outcome.pages,
            last=page.next_cursor is None,
            records=page.seen,
            total=page.total,
            totals=outcome.totals,
        )
    )
    refuse_too_many_dead(stream, outcome.totals)


def _as_commit(stream: StreamContext, page: Page) -> PageCommit:
    """The page as a cycle would commit it, but for what its calls would give."""
    dead = [
        DeadLetter(kind="contract", key=r.key, reason=r.reason, payload=r.raw) for r in page.rejects
    ]
    known = [d.key for d in dead if d.key is not None]
    return PageCommit(
        rows=stream.source.rows(page.records),
        gone=tuple(page.gone),
        dead=dead,
        left_out=len(page.left_out) + page.kept_out,
        kept_out=page.kept_out,
        folded=page.folded,
        next_cursor=page.next_cursor,
        last_page=page.fingerprint(),
        request=page.request,
        keys=(*page.left_out, *known),
        keyless=len(dead) - len(known),
    )


async def _look_for_what_is_gone(
    stream: StreamContext, comparing: Comparing, outcome: Outcome
) -> None:
    absence = await stream.retry.through_outages(comparing.absent, stream.on_failure)
    scan = Scan(
        taken_up=0 if outcome.coming.under_way is None else 1,
        noted=0,
        there=0,
        keyless=outcome.keyless,
        moved=outcome.moved,
        suspicious=outcome.suspicious,
    )
    if outcome.coming.reconcile and absence.many and not scan.broken:
        # A scan asks once more, too: what is absent may only have moved.
        moved, _ = await changed_since(stream)
        scan = attrs.evolve(scan, moved=moved)
    outcome.absence = absence
    if outcome.coming.reconcile:
        outcome.broken = scan.broken
        if not scan.broken:
            outcome.question = question(Absent(live=absence.live, again=absence.again), scan)
    whole = outcome.coming.reconcile and not outcome.broken
    await comparing.conclude(scan=whole, held=bool(outcome.question))
