"""What becomes of one page before it is committed: fetched, looked at, its calls made.

A turn is a task of its own, so that the next page can be fetched and its calls begun
while the last calls of this one are in flight: waiting for them would leave tokens
unused, two seconds of each window with the calls that syncd was made for.  Turns are
committed in order, by `sync.stream`, or not at all.
"""

from collections.abc import Collection

import attrs
import trio

from syncd.errors import (
    Draining,
    RateLimited,
    StreamBroken,
    SyncdError,
    TryAgain,
    UnexpectedAnswer,
)
from syncd.sync.calls import make_calls
from syncd.sync.clocks import Stopwatch
from syncd.sync.context import StreamContext
from syncd.sync.evolution import evolved
from syncd.sync.known import KnownPage, prints_of
from syncd.sync.model import REFUSED_WHOLE, Page, PageCommit, idempotency_key
from syncd.sync.turned import Turned


class _NotNamedError(Exception):
    """The page before names another one to follow, or none."""


@attrs.define(eq=False, kw_only=True)
class Turn:
    """One page on its way to its commit."""

    stream: StreamContext
    cycle: int
    started: str
    """When that cycle was begun (`Checkpoint.started`)."""

    cursor: str | None
    number: int
    """Of the page in its cycle, from 1."""

    page_before: str | None = None
    """`Page.fingerprint()` of the page before; None for the first one."""

    before: "Turn | None" = None
    """The page before, which has to name this one, if it had not come when this was begun."""

    since: str | None = None
    """The high-water mark from which what has changed is asked for; None: the whole list is."""

    conditional: bool = False
    """It may come without a body, if it is known."""

    notes: bool = False
    """What may stand for it another time is noted."""

    turned: Turned = attrs.field(factory=Turned)
    """The pages before it, which none that follows may lead back to."""

    doubtful: Collection[str] = ()
    """Keys of records whose call had an unknown outcome before, to be asked for anew."""

    repeats: bool = False
    """A person answers for it that such a call is made again where nobody can tell."""

    tries: int = attrs.field(default=0, init=False)
    page: Page | None = attrs.field(default=None, init=False)
    fetched_in: float = attrs.field(default=0.0, init=False)
    """Seconds, waits and further tries included."""

    skipped: list[str] = attrs.field(factory=list, init=False)
    """Keys of its records that a rule left out for what their calls were answered."""
    kept_out_version: int = attrs.field(default=0, init=False)
    """Of what was known to be kept out before the page was asked for."""

    has_calls: bool = attrs.field(default=False, init=False)
    begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    """The page is there and its last call has been begun; or it has failed."""

    _asking: bool = attrs.field(default=False, init=False)
    _dropped: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _commit: PageCommit | None = attrs.field(default=None, init=False)
    _trouble: SyncdError | None = attrs.field(default=None, init=False)

    async def run(self) -> None:
        """Fetch the page and make its calls; trouble is raised by `ready`, to who needs it."""
        with self._scope:
            await self._run()

    def drop(self) -> None:
        """It was asked for on a guess, and is none of the list's pages.

        A request that is under way is awaited: with it a login may be, of which the answer
        must not be lost.  It is the last one.
        """
        self._dropped = True
        if not self._asking:
            self._scope.cancel()

    async def _run(self) -> None:
        try:
            page = await self.fetch()
            rows, dead = await make_calls(self, page)
            same = page.same
            self._commit = PageCommit(
                rows=rows,
                gone=tuple(page.gone),
                dead=dead,
                left_out=len(page.left_out)
                + page.kept_out
                + len(self.skipped)
                + (same.left_out if same else 0),
                kept_out=page.kept_out,
                kept_out_version=self.kept_out_version,
                folded=page.folded + (same.folded if same else 0),
                next_cursor=page.next_cursor,
                last_page=page.fingerprint(),
                request=page.request,
                rest=self.stream.rest if page.next_cursor is None else None,
                drifts=page.drifts,
                asked=self.stream.source.asked(self.cursor) if self._may_be_known else "",
                known=self._to_be_known(page, len(rows)),
                same=same,
            )
        except (TryAgain, StreamBroken, Draining) as error:
            self._trouble = error
        except _NotNamedError:
            pass  # it is dropped
        finally:
            self.begun.set()
            self._done.set()

    async def fetch(self, why: str = "") -> Page:
        """Ask for the page until it is there, and look whether it can be one of a list.

        why: what it is asked for, if not in the course of a cycle.

        Raises TryAgain, StreamBroken, Draining.
        """
        spent_on = f"{self.stream.id} page {self.number}{why and ' '}{why}"
        known = await self._known()

        async def attempt() -> Page:
            self.tries += 1
            async with self.stream.permit(spent_on) as permit:
                self._asking = True
                try:
                    return await self.stream.source.fetch(self.cursor, permit, self.since, known)
                except TryAgain as error:
                    self.stream.tally.refused += isinstance(error, RateLimited)
                    if self._dropped:
                        raise _NotNamedError from error
                    raise
                finally:
                    self._asking = False

        took, self.kept_out_version = Stopwatch(), self.stream.kept_out.version
        page = await self.stream.retry.run(attempt, self.stream.on_failure)
        self.fetched_in = took.elapsed
        await self._take_its_place()
        # First of all: who is to stay forgotten stops no page, and is named by nothing.
        page = await self._sifted(page)
        self._refuse_what_is_frozen(page)
        if not self.stream.looks:
            page = await evolved(self.stream, page)
            self._refuse_what_is_frozen(page)
        self._refuse_what_never_ends(page)
        self.page = page
        return page

    async def _take_its_place(self) -> None:
        """Behind the page before it, which says whether it follows at all."""
        before = self.before
        if before is None:
            return
        await before.begun.wait()
        if before.page is None or before.page.next_cursor != self.cursor:
            self.stream.source.anew()
            raise _NotNamedError
        self.page_before = before.turned_over()
        self.before = None  # else all pages of a cycle would stay in memory

    async def _sifted(self, page: Page) -> Page:
        """Without what is to stay forgotten, and that may be so since it was asked for."""
        stream = self.stream
        found = stream.sifted(page)
        if found.frozen or found.wanted:  # seldom, and what comes of it can't be taken back
            at = await stream.retry.through_outages(
                lambda: stream.store.read_checkpoint(stream.id), stream.on_failure
            )
            await stream.learn_kept_out(at)
            found = stream.sifted(page)
        return found

    @property
    def prepared(self) -> PageCommit | None:
        """What is to be committed, if it can be now."""
        return self._commit

    async def ready(self) -> PageCommit:
        """Wait until it can be committed; raises TryAgain, StreamBroken or Draining if never."""
        await self._done.wait()
        if self._commit is not None:
            return self._commit
        raise self._trouble or RuntimeError("a turn ended with nothing")

    def following(self) -> "Turn | None":
        """The next page's turn, as far as this one can tell; None after the last page."""
        if self.page is None or self.page.next_cursor is None:
            return None
        return self._next(self.page.next_cursor, page_before=self.turned_over())

    def foreseen(self, last: "Turn") -> "Turn | None":
        """The same before its page has come, as far as one that has come tells: the last."""
        page, source = last.page, self.stream.source
        if page is None or page.total is None:
            return None
        if page.next_cursor != source.foreseen(last.cursor, page.total):
            return None
        cursor = source.foreseen(self.cursor, page.total)
        return None if cursor is None else self._next(cursor, before=self)

    def turned_over(self) -> str:
        """Note the page as one of those before; its fingerprint."""
        if self.page is None:
            raise RuntimeError("a page that has not come was turned")
        self.turned.note(self.cursor, self.page.fingerprint())
        return self.page.fingerprint()

    def _next(
        self, cursor: str, *, before: "Turn | None" = None, page_before: str | None = None
    ) -> "Turn":
        return Turn(
            stream=self.stream,
            cycle=self.cycle,
            started=self.started,
            cursor=cursor,
            number=self.number + 1,
            before=before,
            page_before=page_before,
            turned=self.turned,
            since=self.since,
            conditional=self.conditional,
            notes=self.notes,
        )

    def key_of(self, record_key: str) -> str:
        """The idempotency key of a record's call."""
        return idempotency_key(self.stream.id, self.cycle, self.started, record_key)

    @property
    def only_changed(self) -> bool:
        """Make calls for records that are new or differ, not for all."""
        return self.stream.only_changed

    @property
    def _may_be_known(self) -> bool:
        return self.notes and self.stream.source.conditional and self.since is None

    async def _known(self) -> KnownPage | None:
        """What an answer without a body would stand for."""
        stream, source = self.stream, self.stream.source
        if not self.conditional or not self._may_be_known:
            return None
        return await stream.retry.through_outages(
            lambda: stream.store.known_page(
                stream.id, stream.table, source.asked(self.cursor), source.judged
            ),
            stream.on_failure,
        )

    def _to_be_known(self, page: Page, rows: int) -> KnownPage | None:
        """What may stand for it another time; None where its records have to be looked at again.

        That is so where one of them has no row, though no rule of its own leaves it out: what
        is wrong may be mended here, not there.
        """
        records, counted = rows + len(page.gone), any(drift.records for drift in page.drifts)
        there = records + len(page.left_out) + page.folded
        whole = 0 < there == page.seen and not page.kept_out and not counted
        if page.validator is None or not self._may_be_known or not whole:
            return None
        source = self.stream.source
        return KnownPage(
            asked=source.asked(self.cursor),
            judged=source.judged,
            validator=page.validator,
            next_cursor=page.next_cursor,
            total=page.total,
            records=records,
            left_out=len(page.left_out),
            folded=page.folded,
            fingerprint=page.fingerprint(),
            keys=prints_of(page.keys),
        )

    def _refuse_what_is_frozen(self, page: Page) -> None:
        if page.frozen:
            raise UnexpectedAnswer(
                f"page {self.number}, {page.frozen}; the contract says `freeze`",
                hint="compare `columns` with what the API sends (a field may be named in "
                "`contract.ignore`), then reload; nothing was written",
            )

    def _refuse_what_never_ends(self, page: Page) -> None:
        others = page.seen - page.kept_out
        if len(page.rejects) >= REFUSED_WHOLE and len(page.rejects) == others:
            raise UnexpectedAnswer(
                f"page {self.number}: all {others} records break the contract, "
                f"the first because {page.rejects[0].reason}",
                hint="compare `columns` and `key` with what the API sends; nothing was written",
            )
        following = page.next_cursor
        if following is not None and page.fingerprint() == self.page_before:
            what = f"the same {page.seen} records as" if page.seen else "no records, like"
            raise UnexpectedAnswer(
                f"page {self.number} holds {what} page {self.number - 1}, "
                "and another is said to follow",
                hint="does the API know the page parameter? compare `page` with its documentation",
            )
        if following is not None and self.turned.goes_round(page.fingerprint()):
            raise UnexpectedAnswer(
                f"page {self.number} and those before it hold what this cycle has had before, page "
                "by page, and another is said to follow, so the list would never end",
                hint="does the API know the page parameter? compare `page` with its documentation",
            )
        if following is not None and (following == self.cursor or self.turned.had(following)):
            raise UnexpectedAnswer(
                f"page {self.number} names a page to follow that this cycle has had before, "
                "so the list would never end",
                hint="does the API know the parameter that `page` sends? compare `page` with its "
                "documentation",
            )
