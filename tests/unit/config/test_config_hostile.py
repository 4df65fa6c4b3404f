"""A config that was written by accident, in bad luck or in bad faith."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from syncd.config.commands import TooMuchError, outputs
from syncd.config.hosts import is_host
from syncd.config.secrets import redactions
from tests.unit.config.files import ENVIRON, ORDERS, faults, right, settings

CANARY = "canary-7f3a"
SHOP = ("sources", "shop")

# --- the file ----------------------------------------------------------------------------


def test_keys_without_end_under_like_are_unknown_keys(tmp_path: Path) -> None:
    """However deep two sources nest a key that means nothing, the file is refused in words."""
    path = ".".join(["a"] * 3000)
    text = (
        f"[sources.x.{path}]\nb = 1\n"
        f'[sources.y]\nlike = "x"\n[sources.y.{path}]\nb = 2\n'
        '[sources.z]\nlike = "y"\n'
    )
    found = faults(tmp_path, text)
    assert "sources.x.a" in {f.path for f in found}
    assert len(found) < 10


def test_a_file_may_begin_with_the_mark_of_its_encoding(tmp_path: Path) -> None:
    """Some editors write three bytes before all else; they are no fault."""
    plain = b'[sources.x]\nbase_url="http://a"\n'
    plain += b'streams={o={path="/o",key=["id"],columns={id="text"}}}\n'
    assert settings(tmp_path, b"\xef\xbb\xbf" + plain).sources["x"].base_url == "http://a"


def test_a_file_called_sources_d_is_not_passed_over(tmp_path: Path) -> None:
    """Whoever wrote a file where the folder should be hears of it."""
    (tmp_path / "sources.d").write_text("[sources.x]")
    [fault] = faults(tmp_path, right())
    assert str(fault) == f"can't read {tmp_path / 'sources.d'}: Not a directory"


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\x85", "\u2028", "\u202e", "\U000e0001"]
)
def test_a_fault_is_one_line_whatever_the_names_in_it(character: str, tmp_path: Path) -> None:
    """No name in a file begins a line of its own in the journal, or turns a terminal around."""
    name = f"a{character}b"
    document = right(
        ((name,), 1),
        (("drain",), {name: 1}),
        ((*SHOP, "auth", "password"), {name: 1}),
        ((*ORDERS, "columns", name), "money"),
        ((*SHOP, "auth", "username"), {"env": name}),
    )
    found = faults(tmp_path, document)
    assert len(found) == 5
    assert all(str(fault).isprintable() for fault in found)


# --- the API -----------------------------------------------------------------------------

HOSTS = [
    "api.example.com", "API.example.com", "localhost", "a_b.example", "xn--bcher-kva.example",
    "127.0.0.1", "::1", "fe80::1", "a.", "1a", "3com.com", f"{'a' * 63}.com",
]  # fmt: skip
NO_HOSTS = [
    "", ".", "..", "a..b", ".a", "-", "-a", "a-", "xn--zzzzzz--", "exa<mple", "a b", "a\\b", "%zz",
    "a$b", "a;b", "1.2.3.4.5", "256.1.1.1", "1.2.3", "1", ":", "::1::", "bücher.example",
    f"{'a' * 64}.com", "a." * 127,
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_what_can_be_a_server_is_a_host(host: str) -> None:
    """Names and addresses of both kinds, in any case."""
    assert is_host(host)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_can_be_no_server_is_none(host: str) -> None:
    """A slip in a host is found in the file, not by the first request."""
    assert not is_host(host)


@pytest.mark.parametrize(
    "end", ["[::1]x", "[v1.a]", "[::1", "::1]", "a:0", "a:65536", "a:-1", "a[b]"]
)
def test_an_address_that_no_request_can_be_made_of_is_a_fault(end: str, tmp_path: Path) -> None:
    """Brackets hold an address of the long kind, and a port is a number that exists."""
    [fault] = faults(tmp_path, right(((*SHOP, "base_url"), f"http://{end}")))
    assert fault.path == "sources.shop.base_url"


@pytest.mark.parametrize("end", ["[::1]", "[::1]:8080/v1", "a:8080", "a:", "a/b%40c"])
def test_an_address_is_kept_as_it_was_written(end: str, tmp_path: Path) -> None:
    """Nothing is put right that the operator did not ask for."""
    found = settings(tmp_path, right(((*SHOP, "base_url"), f"http://{end}")))
    assert found.sources["shop"].base_url == f"http://{end}"


@pytest.mark.parametrize("name", ["Authorization", "content-length", "Connection"])
def test_an_idempotency_key_takes_no_header_that_syncd_makes(name: str, tmp_path: Path) -> None:
    """Else a call would carry its key where its bearer or its length should be."""
    document = right(
        ((*ORDERS, "call", "repeat"), "with-key"), ((*ORDERS, "call", "key_header"), name)
    )
    [fault] = faults(tmp_path, document)
    assert fault.path == "sources.shop.streams.orders.call.key_header"


# --- the database ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"])
def test_a_column_that_each_table_has_already_is_a_fault(name: str, tmp_path: Path) -> None:
    """Postgres makes no table with such a column, however it is quoted."""
    [fault] = faults(tmp_path, right(((*ORDERS, "columns", name), "text")))
    assert "every table of Postgres" in fault.message
    assert settings(tmp_path, right(((*ORDERS, "columns", name.upper()), "text"))).sources


def test_an_url_with_a_nul_is_a_fault(tmp_path: Path) -> None:
    """Postgres's client would read up to it and connect to another database than the one named."""
    [fault] = faults(tmp_path, right((("database", "url"), f"dbname=a\0 password={CANARY}")))
    assert str(fault) == "database.url: it can't hold a NUL"


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("host=x password=pw-1 dbname=y", "pw-1"),
        ("host=x password = pw-1", "pw-1"),
        ("host=x password='a b' dbname=y", "a b"),
        (r"host=x password='a \' b\\'", r"a ' b\ ".strip()),
        (r"host=x password=a\'b", "a'b"),
        ("host=x sslpassword=pw-1", "pw-1"),
        ("host=x password=a&b://c", "a&b://c"),
        ("postgresql://u:pw-1@h/db", "pw-1"),
        ("postgresql://u:p%40w%2F1@h/db", "p@w/1"),
        ("postgresql:///db?user=u&password=p%20w&port=1", "p w"),
    ],
)
def test_the_password_alone_is_kept_out_as_well(url: str, password: str, tmp_path: Path) -> None:
    """A driver may repeat the password without the rest of the URL, in whichever notation."""
    found = settings(tmp_path, right((("database", "url"), url)))
    assert password in redactions(found)
    assert url in redactions(found)
    assert url not in repr(found)


# --- commands ----------------------------------------------------------------------------


def run(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_that_prints_without_end_is_cut_off(stream: str) -> None:
    """It fills neither the memory nor the time that it has."""
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 9999)"
    started = time.monotonic()
    with run(code) as process:
        try:
            with pytest.raises(TooMuchError):
                outputs(process, timeout=30, largest=100_000)
        finally:
            process.kill()
    assert time.monotonic() - started < 20


def test_a_command_that_closes_its_output_and_goes_on_is_late() -> None:
    """Its end is waited for, not only the end of what it prints."""
    with run("import os, time; os.close(1); os.close(2); time.sleep(600)") as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                outputs(process, timeout=0.3, largest=100)
        finally:
            process.kill()


def test_a_secrets_command_that_prints_without_end_is_a_fault(tmp_path: Path) -> None:
    """A slip in a command costs a line, not the daemon."""
    command = ["sh", "-c", f"while :; do echo {CANARY}; done"]
    [fault] = faults(tmp_path, right(((*SHOP, "auth", "password"), {"command": command})))
    assert "printed over 1048576 bytes" in fault.message
    assert CANARY not in str(fault)


# --- the state -----------------------------------------------------------------------------


def test_a_relative_state_home_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the state lies can't depend on the folder that a command was started in."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    environ = {**ENVIRON, "HOME": "/h", "XDG_STATE_HOME": "state"}
    found = settings(tmp_path, right(), environ=environ)
    assert found.state == Path("/h/.local/state/syncd")
