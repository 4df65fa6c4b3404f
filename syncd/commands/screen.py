"""How do tables and times look, on a terminal and in a pipe?

Names, keys and reasons come from config files and APIs: they are shown as they are,
never as markup, and with nothing in them that a terminal would obey.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from syncd.progress import seconds
from syncd.sync.model import spoken

GAP = 2  # blanks between two columns
NARROWEST = 16  # the column that gives way keeps so many
TIED = "\ue000"  # a blank that no line is broken at; `plain` lets no other one through
WHOLE = 10_000  # in a pipe nothing is wrapped: a log and `grep` want whole lines


def plain(text: str) -> str:
    """On one line, and escaped where it is not printable."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def tied(text: str) -> str:
    """Words that stay together when a line is broken."""
    return text.replace(" ", TIED)


def as_written(payload: bytes) -> str:
    """A payload with its own line breaks, and escaped where it is no text."""
    text = payload.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def key_in_words(key: str | None) -> str:
    """A canonical key, a JSON array, as a person would say it."""
    return "(no key)" if key is None else plain(spoken(key))


# --- times ------------------------------------------------------------------------------------


def span(value: float) -> str:
    """A stretch of time, as exact as a glance needs: `12 s`, `4 min`, `2 h 5 min`, `3 days`."""
    whole = max(0, int(value))
    if whole < 60:
        return f"{whole} s"
    if whole < 86400:
        return seconds(whole - whole % 60)
    days = whole // 86400
    return "1 day" if days == 1 else f"{days} days"


def ago(value: float) -> str:
    """How long ago that was."""
    return "just now" if value < 1 else f"{span(value)} ago"


def ahead(value: float) -> str:
    """How long it takes until then, rounded up: nobody comes back too early."""
    whole = math.ceil(max(0.0, value))
    unit = 1 if whole < 60 else 60 if whole < 86400 else 86400
    return span(math.ceil(whole / unit) * unit)


def moment(value: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if value is None:
        return None
    text = datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def clock(value: float) -> str:
    """For people: `2026-11-25 12:00:05`, in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")


def number(count: int, what: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# --- the screen -------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Line:
    """One row of a table, and what is to be said beneath it."""

    cells: Sequence[str]
    style: str = ""
    """Of the column that gives way."""

    beneath: Sequence[str] = ()


@attrs.frozen(eq=False)
class Screen:
    """Where a command prints."""

    console: Console
    width: int

    @classmethod
    def stdout(cls) -> "Screen":
        console = Console(highlight=False)
        told = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
        return cls(console, console.width if told else WHOLE)

    def say(self, line: str = "", style: str = "", *, indent: int = 0) -> None:
        """Print a line, wrapped with its indent kept."""
        text = Text(line, style=style)
        for part in self._wrapped(text, self.width - indent):
            self.console.print(Text(" " * indent) + part, soft_wrap=True)

    def table(
        self, titles: Sequence[str], lines: Sequence[Line], *, gives_way: int, right: int
    ) -> None:
        """Print a table; the columns from `right` on hold numbers."""
        widths = self._widths(titles, lines, gives_way)
        self._row(titles, widths, right, ["dim"] * len(titles))
        for line in lines:
            styles = ["bold"] + [""] * (len(titles) - 1)
            styles[gives_way] = line.style or styles[gives_way]
            self._row(line.cells, widths, right, styles)
            for sentence in line.beneath:
                self.say(sentence, indent=2)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print names and what they are, one beneath the other."""
        wide = max(map(len, facts))
        for name, value in facts.items():
            parts = self._wrapped(Text(value), self.width - wide - GAP)
            for i, part in enumerate(parts):
                label = Text((name if i == 0 else "").ljust(wide + GAP), style="dim")
                self.console.print(label + part, soft_wrap=True)

    def raw(self, text: str, *, indent: int) -> None:
        """Print lines as they are, however long."""
        for line in text.splitlines() or [""]:
            self.console.print(Text(" " * indent + line), soft_wrap=True)

    def fits(self, titles: Sequence[str], lines: Sequence[Line]) -> bool:
        """Whether a table needs no wrapping."""
        widths = self._natural(titles, lines)
        return sum(widths) + GAP * (len(widths) - 1) <= self.width

    def _natural(self, titles: Sequence[str], lines: Sequence[Line]) -> list[int]:
        rows = [titles, *(line.cells for line in lines)]
        return [max(cell_len(row[i]) for row in rows) for i in range(len(titles))]

    def _widths(self, titles: Sequence[str], lines: Sequence[Line], gives_way: int) -> list[int]:
        widths = self._natural(titles, lines)
        over = sum(widths) + GAP * (len(widths) - 1) - self.width
        if over > 0:
            widths[gives_way] = max(min(widths[gives_way], NARROWEST), widths[gives_way] - over)
        over = sum(widths) + GAP * (len(widths) - 1) - self.width
        if over > 0:  # then names are broken as well
            widths[0] = max(min(widths[0], NARROWEST), widths[0] - over)
        return widths

    def _row(
        self, cells: Sequence[str], widths: Sequence[int], right: int, styles: Sequence[str]
    ) -> None:
        columns = [
            self._wrapped(Text(cell, style=style), width)
            for cell, style, width in zip(cells, styles, widths, strict=True)
        ]
        for i in range(max(map(len, columns))):
            line = Text()
            for at, (column, width) in enumerate(zip(columns, widths, strict=True)):
                text = column[i] if i < len(column) else Text()
                blanks = " " * (width - text.cell_len)
                line += Text(blanks) + text if at >= right else text + Text(blanks)
                line += Text(" " * GAP)
            line.rstrip()
            self.console.print(line, soft_wrap=True)

    def _wrapped(self, text: Text, width: int) -> list[Text]:
        # Text.wrap replaces nothing, so what was tied is untied afterwards.
        parts = [text] if text.cell_len <= width else text.wrap(self.console, max(1, width))
        return [Text(p.plain.rstrip().replace(TIED, " "), style=p.style) for p in parts]


def say_json(value: Any) -> None:
    """Print one JSON value; its keys are stable."""
    click.echo(json.dumps(value, indent=2))
