"""How do tables look, on a terminal and in a pipe?

Names, keys and reasons come from config files and APIs: they are shown as they are,
never as markup, and with nothing in them that a terminal would obey.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from syncd.views.words import untied

GAP = 2  # blanks between two columns
NARROWEST = 16  # the column that gives way keeps so many
BESIDE = 32  # columns that a sentence beside a label has at least
WHOLE = 10_000  # in a pipe nothing is wrapped: a log and `grep` want whole lines


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
            self.beside(name, [value], wide=wide)

    def beside(self, label: str, sentences: Sequence[str], *, wide: int) -> None:
        """Print sentences beside a label of so many columns; beneath it where that is narrow."""
        if self.width - wide - GAP < BESIDE:
            self.console.print(Text(label, style="dim"), soft_wrap=True)
            label, wide = "", 0
        for sentence in sentences:
            for part in self._wrapped(Text(sentence), self.width - wide - GAP):
                named = Text(label.ljust(wide + GAP), style="dim")
                self.console.print(named + part, soft_wrap=True)
                label = ""

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
        return [Text(untied(p.plain.rstrip()), style=p.style) for p in parts]


def say_json(value: Any) -> None:
    """Print one JSON value; its keys are stable."""
    click.echo(json.dumps(value, indent=2))
