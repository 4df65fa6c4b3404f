"""How does work reach Postgres without blocking the loop, and without running for ever?

Sync psycopg in worker threads: one piece of work is one thread call, begin to commit,
so nobody can cancel a commit half way.  A thread cannot be cancelled at all, so all in
it is bounded: connecting, each statement, each lock, a dead peer.  There is no session
state, so that PgBouncer's transaction mode serves as well.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import psycopg
import trio

from syncd.errors import ConfigError, Fault, StoreUnavailable
from syncd.store.sql import sql
from syncd.store.sqlstate import is_connection_lost, translated, words

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
Work = Callable[[Connection], T]

SIZE = 4  # connections; work of one stream is sequential, so a few serve many

BOUNDS: dict[str, int | str] = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds until unacknowledged data ends the connection
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


@attrs.define(eq=False)
class Connections:
    """A few connections to one database, and the threads that use them."""

    conninfo: str = attrs.field(repr=False)
    _idle: deque[Connection] = attrs.field(factory=deque, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(SIZE), init=False
    )

    async def run(self, work: Work[T], *, fresh: bool = False) -> T:
        """Do the work in a thread; `fresh`: on a connection that was not open before.

        Raises StoreUnavailable, StoreRefused, or what the work raises.
        """
        return await trio.to_thread.run_sync(self._in_thread, work, fresh, limiter=self._limiter)

    def _in_thread(self, work: Work[T], fresh: bool) -> T:
        if fresh:
            while self._idle:  # what made us ask for a new one may have broken them as well
                self._idle.pop().close()
        connection = self._take()
        try:
            result = work(connection)
        except psycopg.Error as error:
            self._give(connection, broken=connection.broken or is_connection_lost(error))
            ours = translated(error)
            if ours is None:
                raise
            raise ours from error
        except BaseException:
            self._give(connection, broken=connection.broken)
            raise
        self._give(connection, broken=connection.broken)
        return result

    def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        try:
            return psycopg.connect(
                self.conninfo,
                autocommit=True,
                prepare_threshold=None,
                **BOUNDS,  # type: ignore[arg-type]
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError([Fault(path="database.url", message=words(error))]) from None
        except psycopg.Error as error:
            ours = translated(error)
            raise (ours or StoreUnavailable(f"Postgres: {words(error)}")) from error

    def _give(self, connection: Connection, *, broken: bool) -> None:
        if broken or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle; nothing may be running any more."""
        while self._idle:
            self._idle.pop().close()


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
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")
