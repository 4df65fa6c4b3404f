"""Would it work?  The file, the database, the credentials, each first page.

Writes nothing into your tables.  Its requests are spent from the budget like any
other, so that a check beside a running daemon, or just before its start, takes no
window over the API's limit; for that syncd's own schema is made, if the role may.
"""

import datetime as dt
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
import trio

from syncd.app import database, wiring
from syncd.config.settings import BudgetSettings, Settings, SourceSettings, StreamSettings
from syncd.errors import ApiUnavailable, ConfigError, SyncdError, TryAgain
from syncd.store.postgres import PostgresStore
from syncd.sync.keepout import KeptOut
from syncd.sync.limits import Limits
from syncd.sync.model import Page, StreamId
from syncd.sync.ports import Source
from syncd.sync.waits import Waits
from syncd.views.words import limit_words, plain, seconds, time_of_day
from syncd.zones import zone

Say = Callable[[str], None]

LISTED = 20  # names on one line
TRIES = 3  # an API that is unreliable by nature gets another chance
SHOWN = 3  # due times of a calendar
PATIENCE = 120.0  # seconds for one first page, waits for the budget included
BUSY = 0.9  # of the time between two starts; a cycle that needs more can't keep its interval


@attrs.define(eq=False)
class Check:
    """One check; `failed` counts what was not right."""

    settings: Settings
    _say: Say
    failed: int = attrs.field(default=0, init=False)

    def good(self, line: str) -> None:
        self._say(f"ok    {line}")

    def note(self, line: str) -> None:
        self._say(f"note  {line}")

    def bad(self, what: str, error: SyncdError) -> None:
        self.failed += 1
        self._say(f"FAIL  {what}: {error}")

    def file(self) -> None:
        """What `load` has already found to be right."""
        sources = self.settings.sources
        streams = sum(len(s.streams) for s in sources.values())
        many = f"{len(sources)} source{'s' * (len(sources) != 1)}"
        self.good(f"{self.settings.path}: {many}, {streams} stream{'s' * (streams != 1)}")
        for source in sources.values():
            for stream in source.streams.values():
                self._calendar(StreamId(source=source.name, stream=stream.name), stream)
        admin = self.settings.admin
        if admin is not None and not admin.local:
            self.note(
                f"admin.listen: the token goes to {admin.listen} in clear text; listen at a "
                "loopback address, and put a reverse proxy with TLS before it"
            )

    def _calendar(self, name: StreamId, stream: StreamSettings) -> None:
        """When it comes next, by this host's clock: a slip in `cron` is seen by that."""
        schedule = stream.schedule
        if schedule is None:
            return
        due, there = time.time(), zone(schedule.zone)
        shown = []
        for _ in range(SHOWN):
            due = schedule.after(due)
            at = dt.datetime.fromtimestamp(due, there)
            shown.append(f"{at:%a} {at.isoformat(' ', 'minutes')}")
        self.good(f"{name}: begins by `cron` at {', '.join(shown)} …")

    async def run(self) -> None:
        """Ask the database and every source."""
        try:
            async with database.store(self.settings) as store, AsyncExitStack() as stack:
                where = "embedded" if self.settings.database.url is None else "yours"
                self.good(f"database: Postgres {await store.version()}, {where}")
                if (host := await store.clear_text_host()) is not None:
                    self.note(
                        f"database: rows and password go to {host} in clear text; "
                        "add sslmode=verify-full to `database.url`"
                    )
                for source in self.settings.sources.values():
                    await self._source(source, store, stack)
        except ConfigError:
            raise
        except SyncdError as error:
            self.bad("database", error)

    async def _source(
        self, source: SourceSettings, store: PostgresStore, stack: AsyncExitStack
    ) -> None:
        client = await stack.enter_async_context(
            wiring.client(
                source,
                safe=wiring.safe(source, self.settings, store),
                misread=lambda said: self.note(
                    f"{source.name}: a limit that can't be meant is not heeded: {said}"
                ),
            )
        )
        if len(source.budget) > 1:
            told = "; ".join(limit_words(limit) for limit in source.budget)
            self.good(plain(f"{source.name}: {len(source.budget)} limits: {told}"))
        budget = wiring.limits(source, self.settings, store)
        await budget.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(budget.run)
            for stream in source.streams.values():
                await self._stream(
                    source, stream, store, wiring.source(source, stream, client), budget
                )
            nursery.cancel_scope.cancel()

    async def _stream(
        self,
        source: SourceSettings,
        stream: StreamSettings,
        store: PostgresStore,
        api: Source,
        budget: Limits,
    ) -> None:
        of = StreamId(source=source.name, stream=stream.name)
        name, kept_out = str(of), KeptOut()
        try:
            missing = await store.missing_table(database.table(stream))
            api.follow(await store.evolution(database.table(stream)))
            kept_out = await store.kept_out(of, database.table(stream))
            await store.must_be_usable(database.table(stream))
            there = "will be made" if missing else "is there and fits"
            self.good(f"{name}: table {stream.schema}.{stream.table} {there}")
        except SyncdError as error:
            self.bad(name, error)

        until = trio.current_time() + PATIENCE

        async def attempt() -> Page:
            async with budget.permit(
                lease=None,
                spent_on=f"check of {name}",
                waits=Waits(),
                on_wait=lambda wait: self._wait(name, wait, until, held=budget.held),
            ) as permit:
                return await api.fetch(None, permit)

        rng = random.Random()  # noqa: S311 - jitter is no secret
        retry = wiring.retry(source, budget, Waits(), rng, patience=0.0, retries=TRIES - 1)
        try:
            with trio.fail_at(until):
                page = await retry.run(
                    attempt, lambda n, error, _: self.note(f"{name}: try {n} failed: {error}")
                )
        except trio.TooSlowError:
            self.bad(name, SyncdError(f"no first page within {seconds(PATIENCE)}; see above"))
            return
        except TryAgain as error:
            lasts = isinstance(error, ApiUnavailable) and error.untrusted
            self.bad(name, error if lasts else SyncdError(f"{error}. That may pass; try again"))
            return
        except SyncdError as error:
            self.bad(name, error)
            return
        page = kept_out.sift(of, page, api.look_again)
        more = "more follow" if page.next_cursor is not None else "no more follow"
        left_out = f", {len(page.left_out)} left out by `where`" if page.left_out else ""
        left_out += f", {page.kept_out} kept out" if page.kept_out else ""
        total = f" of {page.total}" if page.total is not None else ""
        self.good(f"{name}: first page has {page.seen}{total} records{left_out}, {more}")
        for reject in page.rejects[:3]:
            self.bad(name, SyncdError(f"a record breaks its contract: {reject.reason}"))
        if len(page.rejects) > 3:
            self.bad(name, SyncdError(f"{len(page.rejects) - 3} more records break theirs"))
        self._contract(stream, name, page)
        self._interval(source, stream, name, page.total, page.seen)

    def _wait(self, name: str, wait: float, until: float, *, held: bool) -> None:
        """Tell of a wait for the budget; SyncdError if it ends when we have no more patience."""
        if trio.current_time() + wait <= until:
            self.note(f"{name}: next token in {seconds(wait)}")
            return
        if held:
            now = time.time()
            ends = time_of_day(now + wait, now)
            raise SyncdError(f"its budget is held until {ends}, because the API asked for it")
        raise SyncdError(
            f"no first page within {seconds(PATIENCE)}: its budget is spent, and the next token "
            f"comes in {seconds(wait)}"
        )

    def _contract(self, stream: StreamSettings, name: str, page: Page) -> None:
        """Say what the contract would do to the page."""
        if page.frozen:
            self.bad(name, SyncdError(f"the contract would park it: {page.frozen}"))
        fields = [d.name for d in page.drifts if d.what == "new-field" and d.name]
        wanted = [f"{added.column} {added.type}" for added in page.wanted]
        if fields and not page.frozen:
            rule = "put aside" if stream.contract.new_fields == "dead-letter" else "left out"
            self.note(f"{name}: fields that no column names ({rule}): {_listed(fields)}")
        if wanted:
            self.note(f"{name}: columns that would be added: {_listed(wanted)}")

    def _interval(
        self,
        source: SourceSettings,
        stream: StreamSettings,
        name: str,
        total: int | None,
        seen: int,
    ) -> None:
        """Say so when the budget can't keep the interval."""
        if total is None or not seen:
            return
        call = stream.call
        calls = total if call is not None and call.when == "always" else 0
        pages = -(-total // seen)
        needs = max((_needs(limit, stream, pages, calls) for limit in source.budget), default=0.0)
        schedule = stream.schedule
        gap = stream.every if schedule is None else schedule.shortest
        if needs > BUSY * gap:
            said = "`every` is" if schedule is None else "`cron` comes twice within"
            self.note(
                f"{name}: {pages + calls} requests need {seconds(needs)} of its budget, and {said} "
                f"{seconds(gap)}: cycles will begin late"
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return plain(", ".join(names[:LISTED])) + more


def _needs(limit: BudgetSettings, stream: StreamSettings, pages: int, calls: int) -> float:
    """Seconds that one limit alone makes a whole cycle take."""
    many = {"list": pages, "call": calls}
    costs = stream.costs.items()
    tokens = sum(many[what] * cost for what, (path, cost) in costs if limit.counts(path))
    return max(0, tokens - 1) // limit.requests * limit.per
