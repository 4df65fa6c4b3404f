"""Whether each sink's lines are, letter by letter, what the page on operations shows."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.logs.entry import Entry
from syncd.logs.shapes import as_json, plain, quoted, terminal

WHEN = datetime(2026, 3, 1, 12, 30, 5, 123456, tzinfo=UTC)
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: a\x1b[31m'


def entry(sentence: str = "page committed", **more: Any) -> Entry:
    known: dict[str, Any] = {"level": "INFO", "severity": 20, "stream": "shop.orders"}
    fields = more.pop("fields", {"cycle": 3, "page": 7, "reason": "a b\nc"})
    return Entry(time=WHEN, sentence=sentence, fields=fields, **{**known, **more})


def test_a_plain_line() -> None:
    """Time, level, sentence, and each field by name."""
    assert plain(entry()) == (
        "2026-03-01T12:30:05.123+00:00 INFO page committed stream=shop.orders cycle=3 page=7 "
        'reason="a b\\nc"'
    )


def test_a_line_on_a_terminal() -> None:
    """Columns, with the level in its colour and what is beside the point dim."""
    assert terminal(entry(level="WARNING", severity=30)) == (
        "\x1b[2m12:30:05.123\x1b[0m \x1b[33mWARNING \x1b[0m shop.orders            "
        'page committed               \x1b[2mcycle=3 page=7 reason="a b\\nc"\x1b[0m'
    )
    assert terminal(entry(fields={}), colours=False) == (
        "12:30:05.123 INFO     shop.orders            page committed"
    )


def test_a_line_of_json() -> None:
    """What every line has stays what it is, whatever a field is called."""
    fields = {"cycle": 3, "level": "x", "size": float("nan"), "none": None}
    assert json.loads(as_json(entry(fields=fields, traceback=TRACEBACK))) == {
        "time": "2026-03-01T12:30:05.123+00:00",
        "level": "INFO",
        "message": "page committed",
        "event": "page-committed",
        "stream": "shop.orders",
        "traceback": TRACEBACK,
        "cycle": 3,
        "level_": "x",
        "size": "nan",
        "none": None,
    }


@pytest.mark.parametrize("shape", [plain, terminal])
def test_a_traceback_stands_below_its_line(shape: Any) -> None:
    """Indented, so that who gathers lines knows what belongs together."""
    first, *below = shape(entry(traceback=TRACEBACK)).split("\n")
    assert "page committed" in first
    assert below == [
        "    Traceback (most recent call last):",
        '      File "x.py", line 1',
        "    ValueError: a\\u001b[31m",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("ab", "ab"),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('a"b', '"a\\"b"'),
        ("über", "über"),
        ("a\x1b[2J", '"a\\u001b[2J"'),
        ("a\u2028b", '"a\\u2028b"'),
        (1.5, "1.5"),
        (None, "None"),
    ],
)
def test_a_value_is_one_word(value: Any, text: str) -> None:
    """Quoted where a space, a newline or an escape sequence would tear it apart."""
    assert quoted(value) == text


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_a_line(sentence: str, name: str, value: str) -> None:
    """Whatever an API or a library says, one entry is one line, and no terminal obeys it."""
    made = entry(sentence, fields={name: value})
    for line in (plain(made), terminal(made, colours=False), as_json(made)):
        assert line.isprintable()
        assert len(line.splitlines()) == 1
    assert json.loads(as_json(made))["message"] == sentence
