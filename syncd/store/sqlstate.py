"""What does an error of Postgres mean for whoever asked?  By SQLSTATE, never by class.

psycopg sorts by inheritance: 23xxx is an IntegrityError, 54000 an OperationalError,
P0001 a ProgrammingError.  Who has to act is told by the state alone.
"""

import psycopg

from syncd.errors import StoreRefused, StoreUnavailable, SyncdError

OF_THE_RECORD = ("22", "23", "54", "P0", "21")
"""Data, constraints, limits, raised by a trigger of the user's, two equal keys in a page."""

RECONNECT = ("08", "57P", "0A000", "25006")
"""The connection or the server is no use any more; 25006: a failover left us on a replica."""

AGAIN = ("40", "55P03", "57014", "55006")
"""Serialisation, deadlock, a lock or statement timeout: the same may do another time."""

WAIT_LONG = ("53", "58")
"""Out of disk, memory, connections; an I/O error."""

LONG = 15.0  # seconds; the first wait after one of those

HINTS = {
    "42501": "grant the role what it lacks: `syncd schema --roles` prints the grants",
    "42P01": "a table is missing: `syncd schema --apply` makes it",
    "3F000": "a schema is missing: `syncd schema --apply` makes it",
    "28P01": "the password in `database.url` is not the role's",
    "28000": "pg_hba.conf does not let this role in from here",
    "3D000": "create the database, or correct `database.url`",
}


def is_of_the_record(error: Exception) -> bool:
    """Whether a page was refused for what is in it: then it is worth being halved."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(OF_THE_RECORD)
    # The adapter refuses what it cannot encode, such as a lone surrogate.
    return isinstance(error, ValueError | UnicodeError)


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the connection must be thrown away."""
    state = error.sqlstate
    return state is None or state.startswith(RECONNECT)


def translated(error: psycopg.Error) -> SyncdError | None:
    """Our error for one of Postgres's; None if it is a bug."""
    state = error.sqlstate
    said = words(error)
    if state is None and isinstance(error, psycopg.ProgrammingError | psycopg.DataError):
        return None  # the adapter's own: nothing was sent
    if state is None or state.startswith(RECONNECT):
        return StoreUnavailable(f"Postgres: {said}")
    if state.startswith(AGAIN):
        return StoreUnavailable(f"Postgres: {said} ({state})")
    if state.startswith(WAIT_LONG):
        return StoreUnavailable(f"Postgres: {said} ({state})", hint=LONG)
    if state.startswith(("42", "28", "3D", "3F")):
        return StoreRefused(f"Postgres refuses: {said} ({state})", hint=HINTS.get(state, ""))
    return None


def words(error: Exception) -> str:
    """What was said, on one line, without bytes that no text column takes."""
    primary = None
    if isinstance(error, psycopg.Error):
        primary = error.diag.message_primary
        of = error.diag.constraint_name or error.diag.column_name
        if primary and of and of not in primary:
            primary = f"{primary} ({of})"
    return clean(primary or str(error) or type(error).__name__)


def clean(text: str) -> str:
    """Text that Postgres stores whatever was in it."""
    flat = " ".join(text.replace("\x00", "\\0").split())
    return flat.encode("utf-8", "backslashreplace").decode()[:1000]
