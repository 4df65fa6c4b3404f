"""How does a daemon hear at once that an operator asked for something?

By LISTEN on a connection of its own, and without a thread: its socket becomes readable.
This is a help only.  Where it does not work (a pooler in transaction mode, a Postgres that
is away) the wait is over after its seconds, and the rows are read anyway.
"""

import attrs
import psycopg
import trio

from syncd.errors import SyncdError
from syncd.store.connections import Connection, Connections
from syncd.store.sql import sql

AGAIN = 60.0  # seconds after which a connection that broke is opened anew


@attrs.define(eq=False)
class Listener:
    """Hears NOTIFY."""

    _connections: Connections
    _connection: Connection | None = attrs.field(default=None, init=False)
    _not_before: float = attrs.field(default=float("-inf"), init=False)

    async def wait(self, seconds: float) -> None:
        """Return when something was heard, or after so many seconds.

        The first wait on a new connection ends at once: what was asked for before it
        listened made no sound.
        """
        connection = self._connection
        if connection is None:
            if trio.current_time() < self._not_before or not await self._open():
                await trio.sleep(seconds)
            return
        with trio.move_on_after(seconds):
            # Drained first: what came with another answer does not make the socket readable.
            if not self._drained(connection):
                await trio.lowlevel.wait_readable(connection.fileno())
                self._drained(connection)

    async def _open(self) -> bool:
        self._not_before = trio.current_time() + AGAIN
        try:
            self._connection = await self._connections.lasting(_listen)
        except SyncdError:
            return False
        return True

    def _drained(self, connection: Connection) -> bool:
        """Take what has arrived, without waiting; whether that was anything."""
        try:
            heard = list(connection.notifies(timeout=0))
        except (psycopg.Error, OSError):
            self.close()
            return True  # whatever happened: look at the rows
        return bool(heard)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _listen(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql("listen"))
