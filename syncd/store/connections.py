"""How does work reach Postgres without blocking the loop, and without running for ever?

Sync psycopg in worker threads: one piece of work is one thread call, begin to commit,
so nobody can cancel a commit half way.  A thread cannot be cancelled at all, so all in
it is bounded: connecting, each statement, each lock, a dead peer.  The kernel sees a dead
peer, but not one behind a proxy that lives: so the loop watches how long each statement
is without an answer, and closes the socket under the thread that waits.  There is no
session state, so that PgBouncer's transaction mode serves as well.

A pool of our own, because psycopg_pool brings threads that nobody here would own.
"""

import difflib
import math
import os
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import attrs
import psycopg
import trio
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from syncd.errors import ConfigError, Fault, StoreRefused, StoreUnavailable, SyncdError
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

SIZE = 4  # connections; a stream seldom does two things at once, so a few serve many
SILENCE = 45.0  # seconds without an answer; Postgres itself gives a statement up after 30
WORTH_A_WORD = 8.0  # seconds without an answer; a lock is waited for no longer than 10
HURRY = 3.0  # seconds without an answer, once syncd has to leave
LOOK = 1.0  # seconds between two looks whether it has
NO_SUCH_VALUE = r'invalid \w+ value: "|weak sslmode'  # libpq's words for `sslmode=verify`
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
class _Watch:
    """What one thread waits for, as the loop sees it."""

    limit: Callable[[], float]
    """For so many seconds an answer is waited for."""

    waited: Callable[["_Watch", float], None]
    """Hears each second for how many nothing has come; `-inf`: nothing is waited for."""

    silent: bool = attrs.field(default=False, init=False)
    """Whether the connection was closed because nothing came."""

    _connection: "_Watched | None" = attrs.field(default=None, init=False)
    _since: float = attrs.field(default=math.inf, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @contextmanager
    def over(self, connection: "_Watched") -> Iterator[None]:
        """Watch the statements on a connection, for as long as it is this thread's."""
        connection.watch, self._connection = self, connection
        try:
            yield
        finally:
            with self._guard:
                self._connection = connection.watch = None

    def heard(self, waiting: PQGen[T]) -> PQGen[T]:
        """The same wait, with each sign of life noted: several statements may be under way."""
        try:
            asked = next(waiting)
            self._since = time.monotonic()
            while True:
                ready = yield asked
                if ready:
                    self._since = time.monotonic()
                asked = waiting.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer
        finally:
            self._since = math.inf

    async def run(self) -> None:
        """End the wait for an answer that does not come."""
        while not self.silent:
            since = time.monotonic() - self._since
            self.waited(self, since)
            left = self.limit() - since
            if left <= 0:
                self._close()
            else:
                await trio.sleep(min(left, LOOK))

    def _close(self) -> None:
        with self._guard:
            if self._connection is None or self._since + self.limit() > time.monotonic():
                return
            self.silent = True
            # Not the connection, which is the thread's, but what it waits on.
            with socket.socket(fileno=os.dup(self._connection.fileno())) as waited_on:
                waited_on.shutdown(socket.SHUT_RDWR)


class _Watched(psycopg.Connection[tuple[Any, ...]]):
    """A connection that tells the watch what it waits for."""

    watch: _Watch | None = None

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        waiting = gen if self.watch is None else self.watch.heard(gen)
        return super().wait(waiting, *args, **kwargs)


@attrs.frozen(kw_only=True)
class Statistics:
    """For gauges."""

    size: int
    in_use: int
    waiting: int
    """Pieces of work that wait for a connection."""

    waits: int
    """How many have had to."""

    waited: float
    """Seconds that they waited, all together."""

    away: bool
    """The last piece of work that has ended did not reach Postgres, or lost it."""


@attrs.define(eq=False)
class Connections:
    """A few connections to one database, and the threads that use them."""

    conninfo: str = attrs.field(repr=False)
    _revive: Callable[[], Awaitable[None]] | None = None
    """Starts the server again if it is ours and has died."""

    _silence: float = attrs.field(factory=lambda: SILENCE, init=False)
    """Seconds for which an answer is waited for."""

    _leaving: bool = attrs.field(default=False, init=False)
    _idle: list[_Watched] = attrs.field(factory=list, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(SIZE), init=False
    )
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(math.inf), init=False
    )
    """Bounds nothing: who is in a thread has passed the other one."""

    on_silence: Callable[[float, float], None] | None = attrs.field(default=None, init=False)
    """Hears, each second, for how many a statement has been without an answer, and of how many."""

    on_answer: Callable[[], None] | None = attrs.field(default=None, init=False)
    """Hears of each answer while no other is missing for long."""

    _silent: set[_Watch] = attrs.field(factory=set, init=False)
    """Those whose statement has been without an answer for long."""

    _waits: int = attrs.field(default=0, init=False)
    _waited: float = attrs.field(default=0.0, init=False)
    _away: bool = attrs.field(default=False, init=False)

    @property
    def statistics(self) -> Statistics:
        now = self._limiter.statistics()
        return Statistics(
            size=SIZE,
            in_use=int(now.borrowed_tokens),
            waiting=now.tasks_waiting,
            waits=self._waits,
            waited=self._waited,
            away=self._away,
        )

    async def run(self, work: Work[T], *, fresh: bool = False) -> T:
        """Do the work in a thread; `fresh`: on a connection that was not open before.

        Work whose transaction was rolled back for the sake of others (a deadlock, a
        lock, a timeout) is done again, so it must be one transaction or idempotent.
        Raises StoreUnavailable, StoreRefused, or what the work raises.
        """
        try:
            result = await self._run(work, fresh)
        except StoreUnavailable as error:
            self._away, away = True, error
        except SyncdError:
            self._away = False  # it has answered, if not as was hoped
            raise
        else:
            self._away = False
            return result
        if self._revive is not None and not self._leaving:
            await self._revive()
        raise away  # what was under way is not known; the next try will find a server

    async def _run(self, work: Work[T], fresh: bool) -> T:
        def once(watch: _Watch) -> T:
            return self._do(work, fresh, watch)

        for pause in PAUSES:
            try:
                return await self._in_thread(once)
            except psycopg.Error as error:
                if not is_worth_repeating(error):
                    raise self._ours(error) from error
            await trio.sleep(pause)
        try:
            return await self._in_thread(once)
        except psycopg.Error as error:
            raise self._ours(error) from error

    async def lasting(self, work: Work[None]) -> Connection:
        """A connection of one's own, on which the work was done; the caller closes it."""

        def opened(watch: _Watch) -> Connection:
            connection = self._connect()
            try:
                with watch.over(connection):
                    work(connection)
            except BaseException:
                connection.close()
                raise
            return connection

        try:
            return await self._in_thread(opened)
        except psycopg.Error as error:
            raise self._ours(error) from error

    async def _in_thread(self, step: Callable[[_Watch], T]) -> T:
        """Run a step in a thread, and end its wait for an answer that does not come."""
        results: list[T] = []
        errors: list[Exception] = []

        def captured(watch: _Watch) -> None:
            try:
                results.append(step(watch))
            except Exception as error:  # noqa: BLE001 - raised again, outside of the nursery
                errors.append(error)

        async with self._turn():
            # What has begun is finished, and what it has done is told.
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    watch = _Watch(lambda: self._silence, self._still_waits)
                    nursery.start_soon(watch.run)
                    await trio.to_thread.run_sync(captured, watch, limiter=self._threads)
                    nursery.cancel_scope.cancel()
        self._silent.discard(watch)
        if results and not self._silent and self.on_answer is not None:
            self.on_answer()
        if not errors:
            return results[0]
        if watch.silent and isinstance(errors[0], psycopg.Error):
            raise StoreUnavailable(
                f"Postgres: no answer within {self._silence:.0f} s; the connection is given up"
            ) from errors[0]
        raise errors[0]

    def _still_waits(self, watch: _Watch, seconds: float) -> None:
        """Of so many seconds: remember it, and tell it, if they are many."""
        if seconds < WORTH_A_WORD:
            self._silent.discard(watch)
            return
        self._silent.add(watch)
        if self.on_silence is not None:
            self.on_silence(seconds, self._silence)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the few connections' turn, with the wait for it counted."""
        began = time.monotonic()
        queued = not self._limiter.available_tokens
        async with self._limiter:
            if queued:
                self._waits += 1
                self._waited += time.monotonic() - began
            yield

    def hurry(self) -> None:
        """Wait no longer than a moment for any answer: syncd has to leave."""
        self._silence, self._leaving = HURRY, True

    def _ours(self, error: psycopg.Error) -> Exception:
        if error.sqlstate == "57014":
            return StoreRefused(
                f"Postgres: {words(error)} ({len(PAUSES) + 1} times)",
                hint="look for locks that are held (pg_stat_activity), a bloated table, "
                "a slow disk",
            )
        if error.sqlstate == "55P03":
            return StoreUnavailable(
                f"Postgres: {words(error)} (55P03, {len(PAUSES) + 1} times): somebody holds a lock "
                "that syncd needs (pg_locks and pg_blocking_pids() tell who)"
            )
        # What has no translation is a bug, and is raised as it is.
        return translated(error) or error

    def _do(self, work: Work[T], fresh: bool, watch: _Watch) -> T:
        connection = self._connect() if fresh else self._take()
        lost = True  # unless we get to know better
        try:
            with watch.over(connection):
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

    def _take(self) -> _Watched:
        with self._guard:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _connect(self) -> _Watched:
        try:
            said = conninfo_to_dict(self.conninfo)
            bounds: dict[str, Any] = {k: v for k, v in BOUNDS.items() if k not in said}
            if self._leaving:
                bounds["connect_timeout"] = math.ceil(HURRY)
            return _Watched.connect(
                self.conninfo,
                autocommit=True,
                prepare_threshold=None,
                # Whatever anybody has set: a page goes to Postgres as bytes, and those are UTF-8.
                client_encoding="UTF8",
                **bounds,
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError([Fault(path="database.url", message=_not_taken(error))]) from None
        except psycopg.Error as error:
            if re.search(NO_SUCH_VALUE, str(error)):
                raise ConfigError([Fault(path="database.url", message=words(error))]) from None
            # Nothing can have been carried out: never an unknown outcome, and no repetition.
            raise of_connecting(error) from error

    def _give(self, connection: _Watched, *, lost: bool) -> None:
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
def transaction(
    connection: Connection, begin: str = "begin"
) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """One bounded transaction; begin: the name of the statement that opens it.

    An error before COMMIT rolls back.  One in COMMIT itself leaves an unknown outcome,
    which looks like any lost connection: only reading tells.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql(begin))
        try:
            yield cursor
        except BaseException:
            if not connection.broken and not connection.closed:
                cursor.execute(sql("rollback"))
            raise
        cursor.execute(sql("commit"))


@contextmanager
def undone(connection: Connection) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """One bounded transaction that is rolled back, whatever happens in it."""
    with connection.cursor() as cursor:
        cursor.execute(sql("begin"))
        try:
            yield cursor
        finally:
            if not connection.broken and not connection.closed:
                cursor.execute(sql("rollback"))
