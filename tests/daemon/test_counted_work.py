"""How much work is a cycle?  Counted, not timed: no machine is too busy to count.

The real `once` moves the pages of an API into Postgres, twice, with a proxy before either that
counts what passes.  What that may come to stands in `FIRST`, `AGAIN` and `BUDGETED`, and nowhere
else: who makes a cycle dearer sees by how much, and who makes it cheaper lowers the bound.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import attrs
import psycopg
import trio

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import COLUMNS, Syncd
from tests.proxy.between import socket_of, through
from tests.proxy.relay import Proxy, running_proxy
from tests.proxy.wire import Tally
from tests.servers import Servers

PAGES = 30
SIZE = 100
WITHIN = 30.0  # seconds


@attrs.frozen
class Most:
    """The most that something may come to: for each record, each page, and each cycle."""

    why: str
    a_record: float = 0
    a_page: float = 0
    a_cycle: float = 0
    spare: float = 0
    """A cycle may take so much more on a slow machine; less than one more for each page."""

    def of(self, pages: int, size: int) -> float:
        return self.a_record * pages * size + self.a_page * pages + self.a_cycle + self.spare

    def __str__(self) -> str:
        parts = {"a record": self.a_record, "a page": self.a_page, "a cycle": self.a_cycle}
        told = [f"{value:g} {of}" for of, value in parts.items() if value] or ["none"]
        return f"{', '.join(told)}: {self.why}"


Bounds = Mapping[str, Most]

AGAIN: Bounds = {
    "list requests": Most("each page is asked for once", a_page=1),
    "logins": Most("each process buys a token, which outlives it", a_cycle=1),
    "connections to the API": Most(
        "the login's serves the pages, too; four of them are asked for at once", a_cycle=4
    ),
    "connections to Postgres": Most(
        "one serves all, but the checkpoint is read on a new one", a_cycle=2, spare=2
    ),
    "statements": Most(
        "all of a page is one; those that begin and end transactions aside. Spare: renewals of "
        "the lease",
        a_page=1,
        a_cycle=40,
        spare=6,
    ),
    "round trips": Most(
        "the page's statement, and its BEGIN and COMMIT if it shares them with no other page. A "
        "cycle: 14 transactions around its pages. Spare: four times the lease is renewed",
        a_page=3,
        a_cycle=70,
        spare=12,
    ),
    "commands": Most(
        "as round trips, but BEGIN also sets limits, and COMMIT looks that it is durable",
        a_page=9,
        a_cycle=138,
        spare=24,
    ),
    "bytes sent": Most(
        "a record once, as JSON; a page its statement, which is not prepared",
        a_record=190,
        a_page=3500,
        a_cycle=23_000,
        spare=10_000,
    ),
    "rows read": Most("a row is looked up once, by its key", a_record=1),
    "rows inserted": Most("nothing is new"),
    "rows changed": Most("no row says when it was last seen"),
    "rows locked": Most("rows that are as they were are not upserted: that would lock them"),
    "rows of syncd's own": Most(
        "checkpoint and cycle; for a cycle these again, and the lease",
        a_page=2,
        a_cycle=6,
        spare=4,
    ),
    "WAL bytes": Most(
        "nothing for a record; the page's two rows of syncd's own, and its COMMIT",
        a_page=400,
        a_cycle=2000,
        spare=2000,
    ),
}
"""For a cycle in which nothing has changed."""

FIRST: Bounds = {
    **AGAIN,
    "rows read": Most("there is none"),
    "rows inserted": Most("each is written once", a_record=1),
    "rows of syncd's own": attrs.evolve(
        AGAIN["rows of syncd's own"], why="as ever, and the history", a_page=3, a_cycle=9
    ),
    "WAL bytes": Most(
        "a record's row, its entry in two indexes, and its key in the history; no conflict is "
        "looked for, which would be one more for each row",
        a_record=320,
        a_page=2400,
        a_cycle=5000,
        spare=20_000,
    ),
}
"""For a cycle into an empty table."""

BUDGETED: Bounds = {
    "statements": Most("a token is taken, then settled twice: sent, answered", a_page=3, spare=2),
    "round trips": Most("each in a transaction of its own", a_page=9, spare=3),
    "commands": Most("the same", a_page=24, spare=8),
    "bytes sent": Most("the same", a_page=6000, spare=4000),
    "rows of syncd's own": Most("the token, three times", a_page=3, spare=3),
    "WAL bytes": Most("the token, three times, and three COMMITs", a_page=1200, spare=2000),
}
"""What comes on top where a source has a budget; each page is a request."""

CONFIG = """
state = '{state}'
[database]
url = '{database}'
[sources.ads]
base_url = 'http://{api}'
{budget}
[sources.ads.auth]
kind = "token"
url = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}
[sources.ads.streams.campaigns]
path = "/api/campaigns"
records = "data"
key = ["id"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
[sources.ads.streams.campaigns.columns]
"""
BUDGET = 'budget = { requests = 100, per = "60s" }'  # more than are made: nobody waits

ROWS = """
SELECT
    coalesce(sum(seq_tup_read + idx_tup_fetch) FILTER (WHERE theirs), 0)::int AS "rows read",
    coalesce(sum(n_tup_ins) FILTER (WHERE theirs), 0)::int AS "rows inserted",
    coalesce(sum(n_tup_upd + n_tup_del) FILTER (WHERE theirs), 0)::int AS "rows changed",
    sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE NOT theirs)::int AS "rows of syncd's own"
FROM (SELECT *, schemaname = 'public' AS theirs FROM pg_stat_user_tables) AS t
"""


@attrs.frozen(kw_only=True)
class Work:
    """What a cycle has come to."""

    pages: int
    size: int
    counts: Mapping[str, int]
    texts: Mapping[str, int]
    """How often each statement was sent."""

    def must_be_within(self, *bounds: Bounds) -> None:
        """AssertionError tells each excess, and what was sent with most pages."""
        over = []
        for name, found in self.counts.items():
            of = [each[name] for each in bounds if name in each]
            most = sum(each.of(self.pages, self.size) for each in of)
            if found > most:
                over.append(
                    f"{name}: {found:,}, at most {most:,.0f} ({'; and '.join(map(str, of))})"
                )
        often = self.pages / 2
        sent = [text.strip() for text, times in self.texts.items() if times > often]
        begin = [f"  {text.splitlines()[0]}" for text in sent]
        assert not over, "\n".join([*over, "with most pages was sent:", *begin])

    def __str__(self) -> str:
        counted = ", ".join(f"{value:,} {name}" for name, value in self.counts.items() if value)
        return f"{self.pages} pages of {self.size:,}: {counted}"


@attrs.define(eq=False, kw_only=True)
class World:
    """syncd between an API and a Postgres, and all that counts."""

    pages: int
    size: int
    syncd: Syncd
    mock: MockServer
    api: Proxy
    postgres: Proxy
    tally: Tally
    admin: psycopg.Connection[Mapping[str, int]]

    async def run(self, *words: str) -> None:
        """A command to its end, and to the end of its connections: Postgres counts then."""
        done = await self.syncd.command(*words)
        assert done.returncode == 0, done.stderr
        with trio.fail_after(WITHIN):
            await self.postgres.left()

    async def cycle(self) -> Work:
        """What one cycle comes to."""
        self._look("SELECT pg_stat_force_next_flush()")  # our own looks are not to count
        self._look("SELECT pg_stat_reset()")
        self.tally.texts.clear()
        before = await self._totals()
        await self.run("once")
        after = await self._totals()
        counts = {
            **{name: after[name] - before[name] for name in after},
            **self._look(ROWS),
            **self._look('SELECT count(*) AS "rows locked" FROM campaigns WHERE xmax <> 0'),
        }
        assert counts["list requests"] == self.pages, "it was no whole cycle"
        texts = dict(self.tally.texts)
        return Work(pages=self.pages, size=self.size, counts=counts, texts=texts)

    async def _totals(self) -> dict[str, int]:
        journal = await self.mock.requests()
        return {
            "list requests": sum(1 for entry in journal if entry["path"] == "/api/campaigns"),
            "logins": (await self.mock.stats())["logins"],
            "connections to the API": self.api.accepted,
            "connections to Postgres": self.postgres.accepted,
            "statements": self.tally.statements,
            "round trips": self.tally.round_trips,
            "commands": self.tally.commands,
            "bytes sent": self.tally.sent,
            **self._look(
                "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS \"WAL bytes\""
            ),
        }

    def _look(self, statement: str) -> Mapping[str, int]:
        row = self.admin.execute(statement.encode()).fetchone()
        assert row is not None
        return row


@contextmanager
def still(conninfo: str) -> Iterator[psycopg.Connection[Mapping[str, int]]]:
    """A Postgres that does nothing by itself: it would be counted."""
    with psycopg.connect(conninfo, autocommit=True, row_factory=psycopg.rows.dict_row) as admin:
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield admin
        finally:
            admin.execute("ALTER SYSTEM RESET autovacuum")
            admin.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def world(
    servers: Servers, syncd: Syncd, *, pages: int, size: int, budget: str = ""
) -> AsyncIterator[World]:
    """As many records as fill the pages; the tables are made."""
    tally = Tally()
    with servers["embedded"].fresh_database() as conninfo, still(conninfo) as admin:
        async with (
            running_mock(campaigns=pages * size, limit=0, fail_every=0, hang_every=0) as mock,
            running_proxy(to=mock.base_url.removeprefix("http://")) as api,
            running_proxy(to=socket_of(conninfo), tally=tally) as postgres,
        ):
            text = CONFIG.format(
                state=syncd.path.parent,
                database=through(postgres, conninfo),
                api=api.address,
                budget=budget,
                size=size,
            )
            syncd.write(text + COLUMNS)
            between = World(
                pages=pages,
                size=size,
                syncd=syncd,
                mock=mock,
                api=api,
                postgres=postgres,
                tally=tally,
                admin=admin,
            )
            await between.run("schema", "--apply")
            yield between


async def test_a_cycle_does_no_more_than_it_has_to(
    servers: Servers, syncd: Syncd, figure: Callable[[str], None]
) -> None:
    """The first one, and one in which nothing has changed: requests, statements, rows, WAL."""
    async with world(servers, syncd, pages=PAGES, size=SIZE) as between:
        for when, bounds in (("first", FIRST), ("again", AGAIN)):
            work = await between.cycle()
            figure(f"{when}, {work}")
            work.must_be_within(bounds)


async def test_a_budget_costs_a_page_no_more_than_its_token(
    servers: Servers, syncd: Syncd, figure: Callable[[str], None]
) -> None:
    """Its rows are there since the cycle before; then each request takes one and settles it."""
    async with world(servers, syncd, pages=PAGES, size=SIZE, budget=BUDGET) as between:
        await between.cycle()
        work = await between.cycle()
        figure(f"again under a budget, {work}")
        work.must_be_within(AGAIN, BUDGETED)


async def test_a_record_that_is_unchanged_costs_no_wal(servers: Servers, syncd: Syncd) -> None:
    """Two bytes each in pages of 1,000 are more than all else that the cycle writes."""
    async with world(servers, syncd, pages=5, size=1000) as between:
        await between.cycle()
        assert (await between.cycle()).counts["WAL bytes"] <= 2 * 5 * 1000
