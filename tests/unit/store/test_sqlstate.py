"""Who has to act on an error of Postgres is told by its SQLSTATE alone."""

import psycopg
import pytest
from psycopg import errors

from syncd.errors import StoreRefused, StoreUnavailable, SyncdError
from syncd.store.sqlstate import (
    LONG,
    clean,
    is_connection_lost,
    is_of_the_record,
    is_worth_repeating,
    of_connecting,
    storable,
    translated,
)


def error_of(state: str) -> psycopg.Error:
    """Of the class that psycopg would raise, which says nothing about who has to act."""
    return errors.lookup(state)("said so")


@pytest.mark.parametrize(
    "state",
    ["22003", "22P02", "22P05", "22021", "23502", "23505", "23514", "54000", "P0001", "21000"],
)
def test_contained_what_is_the_records_is_no_error_of_ours(state: str) -> None:
    """Data, a constraint, a limit, a trigger of the user's: the page is halved."""
    error = error_of(state)
    assert is_of_the_record(error)
    assert not is_connection_lost(error)
    assert not is_worth_repeating(error)


@pytest.mark.parametrize("state", ["09000", "27000", "38001", "39000", "44000", "MY001", "99999"])
def test_contained_what_a_trigger_of_the_users_raises_is_the_records(state: str) -> None:
    """Whatever code it chose: a bug of ours it is not."""

    class Raised(psycopg.DatabaseError):
        sqlstate = state

    assert is_of_the_record(Raised("said so"))


@pytest.mark.parametrize("state", ["XX000", "53100", "57P01", "58030", "42501", "40001", "72000"])
def test_what_is_postgress_own_is_no_records(state: str) -> None:
    """contained: an outage or a missing right never makes a record a dead letter."""

    class Raised(psycopg.DatabaseError):
        sqlstate = state

    assert not is_of_the_record(Raised("said so"))


def test_contained_what_the_adapter_cannot_encode_is_the_records() -> None:
    """A NUL in a text, a lone surrogate: nothing was sent, so the connection is good."""
    nul = psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    assert is_of_the_record(nul)
    assert not is_connection_lost(nul)
    with pytest.raises(UnicodeEncodeError) as caught:
        "\ud800".encode()
    assert is_of_the_record(caught.value)


@pytest.mark.parametrize(
    ("state", "ours", "lost", "again", "hint"),
    [
        ("08006", StoreUnavailable, True, False, None),
        ("57P01", StoreUnavailable, True, False, None),
        ("57P03", StoreUnavailable, True, False, None),
        ("0A000", StoreUnavailable, True, False, None),
        ("25006", StoreUnavailable, True, False, None),
        ("25P03", StoreUnavailable, True, False, None),
        ("25P04", StoreUnavailable, True, False, None),
        ("57P02", StoreUnavailable, True, False, None),
        ("57P05", StoreUnavailable, True, False, None),
        ("40001", StoreUnavailable, False, True, None),
        ("40P01", StoreUnavailable, False, True, None),
        ("55P03", StoreUnavailable, False, True, None),
        ("57014", StoreUnavailable, False, True, None),
        ("53100", StoreUnavailable, False, False, LONG),
        ("53300", StoreUnavailable, False, False, LONG),
        ("58030", StoreUnavailable, False, False, LONG),
        ("42501", StoreRefused, False, False, "grant"),
        ("42P01", StoreRefused, False, False, "syncd schema --apply"),
        ("28P01", StoreRefused, False, False, "password"),
    ],
)
def test_each_state_says_who_acts(
    state: str, ours: type[SyncdError], lost: bool, again: bool, hint: float | str | None
) -> None:
    """Wait, reconnect, do it again, or tell the operator."""
    error = error_of(state)
    found = translated(error)
    assert type(found) is ours
    assert (is_connection_lost(error), is_worth_repeating(error)) == (lost, again)
    assert not is_of_the_record(error)
    if isinstance(found, StoreRefused):
        assert isinstance(hint, str)
        assert hint in found.hint
    elif isinstance(found, StoreUnavailable):
        assert found.hint == hint


def test_an_error_without_state_is_a_lost_connection() -> None:
    """The server closed it: what was under way may have happened."""
    error = psycopg.OperationalError("server closed the connection unexpectedly")
    assert is_connection_lost(error)
    assert isinstance(translated(error), StoreUnavailable)


@pytest.mark.parametrize("state", ["XX000", "25P02", "34000"])
def test_anything_else_is_a_bug(state: str) -> None:
    """Nobody named it, so nobody may hide it."""
    assert translated(error_of(state)) is None
    assert not is_of_the_record(error_of(state))


@pytest.mark.parametrize(
    ("said", "ours", "hint"),
    [
        ('FATAL:  password authentication failed for user "x"', StoreRefused, "password"),
        ("fe_sendauth: no password supplied", StoreRefused, "password"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9"', StoreRefused, "pg_hba.conf"),
        ('FATAL:  Peer authentication failed for user "x"', StoreRefused, "pg_hba.conf"),
        ('FATAL:  role "x" does not exist', StoreRefused, "pg_hba.conf"),
        ('FATAL:  database "x" does not exist', StoreRefused, "create the database"),
        ("FATAL:  sorry, too many clients already", StoreUnavailable, LONG),
        ("connection refused", StoreUnavailable, None),
        ("FATAL:  the database system is starting up", StoreUnavailable, None),
        ("session is read-only", StoreUnavailable, None),
    ],
)
def test_a_connection_that_cannot_be_made_says_who_acts(
    said: str, ours: type[SyncdError], hint: float | str | None
) -> None:
    """Libpq gives no SQLSTATE here; what is not known by its words is waited for."""
    found = of_connecting(psycopg.OperationalError(said))
    assert type(found) is ours
    if isinstance(found, StoreRefused):
        assert isinstance(hint, str)
        assert hint in found.hint
    elif isinstance(found, StoreUnavailable):
        assert found.hint == hint


def test_words_for_people_are_one_line_that_can_be_stored() -> None:
    """Whatever was in the record that made Postgres say so."""
    text = clean("a\n\tb\x00 \ud800" + "x" * 5000)
    assert text.startswith("a b\\0 \\ud800x")
    assert len(text) == 1000
    assert storable("a  b\n") == "a  b\n"


@pytest.mark.parametrize(
    ("said", "todo"),
    [
        ("SSL error: certificate verify failed", "sslrootcert"),
        ('server certificate for "a" does not match host name "b"', "a certificate for the host"),
        ("server does not support SSL, but SSL was required", "turn `ssl` on"),
        ('root certificate file "/x/root.crt" does not exist', "sslrootcert=…"),
        ("FATAL:  connection requires a valid client certificate", "sslcert=… and sslkey=…"),
        ("SSL error: tlsv13 alert certificate required", "sslcert=… and sslkey=…"),
        ('certificate present, but not private key file "/x"', "nobody else the key"),
    ],
)
def test_where_no_trust_comes_about_it_is_said_what_to_do(said: str, todo: str) -> None:
    """It may be mended on the server, so it is waited for."""
    found = of_connecting(psycopg.OperationalError(said))
    assert type(found) is StoreUnavailable
    assert str(found).startswith(f"Postgres: {said}".replace("  ", " "))
    assert todo in str(found)
