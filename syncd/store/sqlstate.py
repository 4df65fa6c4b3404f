"""What does an error of Postgres mean for whoever asked?  By SQLSTATE, never by class.

psycopg sorts by inheritance: 23xxx is an IntegrityError, 54000 an OperationalError,
P0001 a ProgrammingError.  Who has to act is told by the state alone.
"""

import re

import psycopg

from syncd.errors import StoreRefused, StoreUnavailable, SyncdError

OF_THE_RECORD = ("22", "23", "54", "P0", "21", "45", "09", "27", "2F", "38", "39", "44")
"""Data, constraints, limits, equal keys in a page, and what a trigger or a function of the
user's raises."""

POSTGRES_OWN = ("53", "54", "55", "57", "58", "72", "P0", "XX")
"""Of the classes that the standard leaves to implementations: those that begin with 5 to 9 or
I to Z.  The others are a user's, named by `RAISE … USING ERRCODE`."""

RECONNECT = ("08", "57P", "0A000", "25006", "25P03", "25P04")
"""The connection or the server is no use any more; 25006: a failover left us on a replica.

25P03 and 25P04 are timeouts that an owner has set for all (idle_in_transaction_session_timeout,
and Postgres 17's transaction_timeout): they end the connection, as 57P05 does.  The rest of class
25 is a transaction that we have misused.
"""

AGAIN = ("40", "55P03", "57014", "55006")
"""Serialisation, deadlock, a lock or statement timeout: the same may do another time."""

WAIT_LONG = ("53", "58")
"""Out of disk, memory, connections; an I/O error."""

REFUSED = ("42", "28", "3D", "3F")

LONG = 15.0  # seconds; the first wait after one of those

HINTS = {
    "42501": "grant the role what it lacks: `syncd schema --roles` prints the grants",
    "42P01": "a table is missing: `syncd schema --apply` makes it",
    "3F000": "a schema is missing: `syncd schema --apply` makes it",
    "28P01": "the password in `database.url` is not the role's",
    "28000": "the role must exist, and pg_hba.conf must let it in from here (where it wants "
    "TLS, with sslmode=verify-full in `database.url`)",
    "3D000": "create the database, or correct `database.url`",
}

CONNECTING = (
    (r"password authentication failed|no password supplied", "28P01"),
    (r"no pg_hba\.conf entry|role .* does not exist|not permitted to log in", "28000"),
    (r"authentication failed", "28000"),
    (r"database .* does not exist", "3D000"),
    (r"permission denied for database", "42501"),
    (r"too many (clients|connections)|remaining connection slots", "53300"),
)
"""libpq tells no SQLSTATE of a connection that was not made: its words have to do.

In another language than English none is found, and Postgres counts as away.
"""

TLS = {
    r"certificate verify failed": "its certificate is not signed by the CA that `sslrootcert` in "
    "`database.url` names, or has expired (`openssl s_client -starttls postgres -connect "
    "HOST:PORT` tells which)",
    r"does not match host name": "give the server a certificate for the host in `database.url`, "
    "or write there the host that it is for",
    r"server does not support SSL": "turn `ssl` on in that server; `sslmode` in `database.url` "
    "asks for it",
    r"root certificate file": "name the CA's certificate with sslrootcert=… in `database.url`, "
    "in a file that syncd can read",
    r"valid client certificate|certificate required": "name the role's own with sslcert=… and "
    "sslkey=… in `database.url`",
    r"private key file|certificate file": "see to the files of sslcert=… and sslkey=… in "
    "`database.url`, which syncd must be able to read, and nobody else the key",
}
"""What to do where no trust came about, by libpq's words.

A person has to act, but may do so on the server, as with a certificate that has expired: so
`run` waits for it as for a Postgres that is away, and goes on by itself.
"""


def is_of_the_record(error: Exception) -> bool:
    """Whether a page was refused for what is in it: then it is worth being halved."""
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            # The adapter's own, such as for NUL in a text: nothing was sent.
            return isinstance(error, psycopg.DataError)
        return error.sqlstate.startswith(OF_THE_RECORD) or _is_users_own(error.sqlstate)
    # The adapter refuses what it cannot encode, such as a lone surrogate.
    return isinstance(error, ValueError)


def _is_users_own(state: str) -> bool:
    return state[:1] in "56789IJKLMNOPQRSTUVWXYZ" and not state.startswith(POSTGRES_OWN)


def is_worth_repeating(error: psycopg.Error) -> bool:
    """Whether the transaction was rolled back for others' sake and can be done again."""
    return (error.sqlstate or "").startswith(AGAIN)


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the connection must be thrown away."""
    state = error.sqlstate
    if state is None:
        return not _is_adapters_own(error)
    return state.startswith(RECONNECT)


def _is_adapters_own(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.ProgrammingError | psycopg.DataError)


def translated(error: psycopg.Error) -> SyncdError | None:
    """Our error for one of Postgres's; None if it is a bug."""
    state = error.sqlstate
    if state is None and _is_adapters_own(error):
        return None  # nothing was sent
    return _ours(state, words(error))


def of_connecting(error: psycopg.Error) -> SyncdError:
    """Our error for a connection that could not be made."""
    said = words(error)
    state = error.sqlstate or next(
        (state for pattern, state in CONNECTING if re.search(pattern, said)), None
    )
    todo = next((f"; {todo}" for pattern, todo in TLS.items() if re.search(pattern, said)), "")
    if state is None or todo:
        return StoreUnavailable(f"Postgres: {said}{todo}")
    return _ours(state, said) or StoreUnavailable(f"Postgres: {said}")


def _ours(state: str | None, said: str) -> SyncdError | None:
    if state is None or state.startswith(RECONNECT):
        return StoreUnavailable(f"Postgres: {said}")
    if state.startswith(AGAIN):
        return StoreUnavailable(f"Postgres: {said} ({state})")
    if state.startswith(WAIT_LONG):
        return StoreUnavailable(f"Postgres: {said} ({state})", hint=LONG)
    if state.startswith(REFUSED):
        return StoreRefused(f"Postgres refuses: {said} ({state})", hint=HINTS.get(state, ""))
    return None


def words(error: Exception) -> str:
    """What was said, on one line, without bytes that no text column takes.

    Neither DETAIL nor CONTEXT: they may hold other rows' values.
    """
    primary = None
    if isinstance(error, psycopg.Error):
        primary = error.diag.message_primary
        of = error.diag.constraint_name or error.diag.column_name
        if primary and of and of not in primary:
            primary = f"{primary} ({of})"
    return clean(primary or str(error) or type(error).__name__)


def clean(text: str) -> str:
    """One line of text that Postgres stores whatever was in it; for people, not for keys."""
    return storable(" ".join(text.split()))[:1000]


def storable(text: str) -> str:
    """The same text, with what Postgres can't store spelt out."""
    return text.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()
