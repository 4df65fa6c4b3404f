"""Whether journald gets what we mean: on a real socket, by its own protocol."""

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from syncd.logs.entry import Entry
from syncd.logs.journal import Journal, encoded, stands_behind
from syncd.logs.kinds import BY_SENTENCE
from tests.unit.test_logs_shapes import WHEN, entry


class Journald:
    """Stands where journald stands: reads datagrams, and what is passed as a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(5)

    def close(self) -> None:
        self._socket.close()

    def read(self) -> dict[str, str]:
        data, descriptors, _, _ = socket.recv_fds(self._socket, 2**20, 1)
        if descriptors:
            assert not data
            with os.fdopen(descriptors[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return decoded(data)


def decoded(data: bytes) -> dict[str, str]:
    """The protocol, read as systemd describes it."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[8 + size :]
            assert data.startswith(b"\n")
            data = data[1:]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Journald, Journal]]:
    journald, journal = Journald(path), Journal(str(path))
    try:
        yield journald, journal
    finally:
        journal.close()
        journald.close()


def test_an_entry_has_its_fields(folder: Path) -> None:
    """MESSAGE says all of it; the fields are there to filter on."""
    with opened(folder / "s") as (journald, journal):
        journal(entry(level="WARNING", severity=30))
        assert journald.read() == {
            "MESSAGE": 'shop.orders: page committed cycle=3 page=7 reason="a b\\nc"',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "syncd",
            "MESSAGE_ID": BY_SENTENCE["page committed"].id,
            "SYNCD_EVENT": "page-committed",
            "SYNCD_SOURCE": "shop",
            "SYNCD_STREAM": "orders",
            "SYNCD_CYCLE": "3",
            "SYNCD_PAGE": "7",
            "SYNCD_REASON": "a b\nc",
        }


def test_what_a_library_said_has_no_id(folder: Path) -> None:
    """There is nothing in the page that explains it."""
    with opened(folder / "s") as (journald, journal):
        journal(entry("oh", stream="", fields={"logger": "x.y", "a-b": "ü"}))
        assert journald.read() == {
            "MESSAGE": "oh logger=x.y a-b=ü",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "syncd",
            "SYNCD_LOGGER": "x.y",
            "SYNCD_A_B": "ü",
        }


def test_a_traceback_is_one_entry(folder: Path) -> None:
    """Its lines are the lines of one MESSAGE."""
    with opened(folder / "s") as (journald, journal):
        journal(entry("oh", fields={}, traceback="Traceback:\n  x\nValueError"))
        assert journald.read()["MESSAGE"] == "shop.orders: oh\nTraceback:\n  x\nValueError"


def test_what_is_too_large_for_a_datagram_goes_as_a_file(folder: Path) -> None:
    """A long reason is no reason to lose a line."""
    with opened(folder / "s") as (journald, journal):
        # However much the kernel lets us buffer, a datagram may not be larger.
        journal._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        journal(entry(fields={"reason": "x" * 500_000}))
        assert journald.read()["SYNCD_REASON"] == "x" * 500_000
        assert journal.lost == 0


def test_a_journald_that_is_behind_costs_lines_and_no_time(folder: Path) -> None:
    """The socket is full: we don't wait, count, and tell as soon as there is room."""
    with opened(folder / "s") as (journald, journal):
        sent = 0
        while not journal.lost:
            journal(entry(fields={"n": sent}))
            sent += 1
        through = sent - 1
        journal(entry(fields={"n": "lost"}))
        assert journal.lost == journal.ever_lost == 2
        for n in range(through):
            assert journald.read()["SYNCD_N"] == str(n)
        journal(entry(fields={"n": "again"}))
        told = journald.read()
        assert (told["MESSAGE"], told["PRIORITY"]) == ("log lines were lost count=2", "4")
        assert told["SYNCD_EVENT"] == "lines-lost"
        assert journald.read()["SYNCD_N"] == "again"
        assert journal.lost == 0


def test_a_journald_that_is_restarted_is_found_again(folder: Path) -> None:
    """The socket's name is what lasts, not a connection to it."""
    path = folder / "s"
    journal = Journal(str(path))
    journal(entry())
    assert journal.lost == 1
    journald = Journald(path)
    journal(entry())
    assert journald.read()["MESSAGE"] == "log lines were lost count=1"
    assert "page committed" in journald.read()["MESSAGE"]
    journald.close()
    journal(entry())
    assert journal.lost == 1
    journal.close()


def test_a_text_that_is_no_text_is_sent_escaped() -> None:
    """A lone surrogate has no bytes in UTF-8."""
    assert encoded({"MESSAGE": "a\udcff"}) == b"MESSAGE=a\\udcff\n"


@pytest.mark.parametrize(
    ("severity", "priority"), [(5, "7"), (10, "7"), (20, "6"), (30, "4"), (40, "3"), (50, "2")]
)
def test_each_level_has_its_priority(folder: Path, severity: int, priority: str) -> None:
    """`journalctl -p warning` shows our warnings."""
    with opened(folder / "s") as (journald, journal):
        made: dict[str, Any] = {"time": WHEN, "level": "X", "sentence": "x"}
        journal(Entry(**made, severity=severity))
        assert journald.read()["PRIORITY"] == priority


def test_the_journal_is_where_systemd_said_it_is(tmp_path: Path) -> None:
    """Not if somebody pointed standard error elsewhere since, nor without systemd."""
    with (tmp_path / "err").open("wb") as file:
        status = os.fstat(file.fileno())
        mine = f"{status.st_dev}:{status.st_ino}"
        assert stands_behind(file.fileno(), {"JOURNAL_STREAM": mine})
        for other in ({}, {"JOURNAL_STREAM": "1:2"}, {"JOURNAL_STREAM": "x"}):
            assert not stands_behind(file.fileno(), other)
    assert not stands_behind(-1, {"JOURNAL_STREAM": mine})
