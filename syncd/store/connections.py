"""How does work reach Postgres without blocking the loop, and without running for ever?

Sync psycopg in worker threads: one piece of work is one thread call, begin to commit,
so nobody can cancel a commit half way.  A thread cannot be cancelled at all, so all in
it is bounded: connecting, each statement, each lock, a dead peer.  There is no session
state, so that PgBouncer's transaction mode serves as well.

A pool of our own, because psycopg_pool brings threads that nobody here would own.
"""

import difflib
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict

from syncd.errors import ConfigError, Fault, StoreRefused, StoreUnavailable
from syncd.store.sql import sql
from syncd.store.sqlstate import (
    is_connection_lost,
    is_worth_repeating,
    of_connecting,
    translated,
    words,
)

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
Work = Callable[[Connection], T]

SIZE = 4  # connections; work of one stream is sequential, so a few serve many
PAUSES = (0.05, 0.25)  # seconds before work that lost a deadlock or a lock is done again

BOUNDS: dict[str, int | str] = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds until unacknowledged data ends the connection
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # After a failover the old server may go on as a replica: we want nothing of it.
    "target_session_attrs": "read-write",
    "application_name": "syncd",
}
"""What holds unless the operator's own conninfo says otherwise."""


@attrs.define(eq=False)
class Connections:
    """A few connections to one database, and the threads that use them."""

    conninfo: str = attrs.field(repr=False)
    _revive: Callable[[], Awaitable[None]] | None = None
    """Starts the server again if it is ours and has died."""

    _idle: list[Connection] = attrs.field(factory=list, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(SIZE), init=False
    )

    async def run(self, work: Work[T], *, fresh: bool = False) -> T:
        """Do the work in a thread; `fresh`: on a connection that was not open before.

        Work whose transaction was rolled back for the sake of others (a deadlock, a
        lock, a timeout) is done again, so it must be one transaction or idempotent.
        Raises StoreUnavailable, StoreRefused, or what the work raises.
        """
        try:
            return await self._run(work, fresh)
        except StoreUnavailable as error:
            away = error
        if self._revive is not None:
            await self._revive()
        raise away  # what was under way is not known; the next try will find a server

    async def _run(self, work: Work[T], fresh: bool) -> T:
        for pause in PAUSES:
            try:
                return await self._in_thread(work, fresh)
            except psycopg.Error as error:
                if not is_worth_repeating(error):
                    raise self._ours(error) from error
            await trio.sleep(pause)
        try:
            return await self._in_thread(work, fresh)
        except psycopg.Error as error:
            raise self._ours(error) from error

    async def _in_thread(self, work: Work[T], fresh: bool) -> T:
        return await trio.to_thread.run_sync(self._do, work, fresh, limiter=self._limiter)

    def _ours(self, error: psycopg.Error) -> Exception:
        if error.sqlstate == "57014":
            return StoreRefused(
                f"Postgres: {words(error)} ({len(PAUSES) + 1} times)",
                hint="look for locks that are held (pg_stat_activity), a bloated table, "
                "a slow disk",
            )
        # What has no translation is a bug, and is raised as it is.
        return translated(error) or error

    def _do(self, work: Work[T], fresh: bool) -> T:
        connection = self._connect() if fresh else self._take()
        lost = True  # unless we get to know better
        try:
            result = work(connection)
            lost = False
        except psycopg.Error as error:
            lost = is_connection_lost(error)
            raise
        except Exception:
            lost = False
            raise
        finally:
            self._give(connection, lost=lost or connection.broken)
        return result

    async def lasting(self, work: Work[None]) -> Connection:
        """A connection of one's own, on which the work was done; the caller closes it."""

        def opened() -> Connection:
            connection = self._connect()
            try:
                work(connection)
            except BaseException:
                connection.close()
                raise
            return connection

        try:
            return await trio.to_thread.run_sync(opened, limiter=self._limiter)
        except psycopg.Error as error:
            raise self._ours(error) from error

    def _take(self) -> Connection:
        with self._guard:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _connect(self) -> Connection:
        try:
            said = conninfo_to_dict(self.conninfo)
            bounds: dict[str, Any] = {k: v for k, v in BOUNDS.items() if k not in said}
            return psycopg.connect(self.conninfo, autocommit=True, prepare_threshold=None, **bounds)
        except psycopg.ProgrammingError as error:
            raise ConfigError([Fault(path="database.url", message=_not_taken(error))]) from None
        except psycopg.Error as error:
            # Nothing can have been carried out: never an unknown outcome, and no repetition.
            raise of_connecting(error) from error

    def _give(self, connection: Connection, *, lost: bool) -> None:
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        drop = [] if idle and not lost else [connection]
        with self._guard:
            if lost:
                # What broke one has most likely broken the others as well.
                drop += self._idle
                self._idle.clear()
            elif idle and len(self._idle) < SIZE:
                self._idle.append(connection)
            elif idle:
                drop.append(connection)
        for each in drop:
            each.close()

    def close(self) -> None:
        """Close what is idle; nothing may be running any more."""
        with self._guard:
            while self._idle:
                self._idle.pop().close()


def _not_taken(error: psycopg.Error) -> str:
    """Why libpq doesn't take a conninfo; never its own words, which may quote a password."""
    known = [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
    option = re.search(r'(?:connection option|URI query parameter):? "(\w+)"', str(error))
    meant = difflib.get_close_matches(option[1], known, n=1) if option else []
    what = f" (is an option misspelt that should be {meant[0]}?)" if meant else ""
    return (
        f"libpq does not take it{what}; allowed: postgresql://user:password@host/database, or "
        "pairs such as host=… dbname=… (in a URL a % in a password is written %25, an @ %40)"
    )


def clear_text_host(connection: Connection) -> str | None:
    """The remote host that is spoken to in clear text; None if there is none."""
    host = connection.info.host
    if connection.pgconn.ssl_in_use or host.startswith("/") or not connection.info.hostaddr:
        return None
    loopback = connection.info.hostaddr.startswith("127.") or connection.info.hostaddr == "::1"
    return None if loopback else host


@contextmanager
def transaction(connection: Connection) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """One bounded transaction.

    An error before COMMIT rolls back.  One in COMMIT itself leaves an unknown outcome,
    which looks like any lost connection: only reading tells.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql("begin"))
        try:
            yield cursor
        except BaseException:
            if not connection.broken and not connection.closed:
                cursor.execute(sql("rollback"))
            raise
        cursor.execute(sql("commit"))
