"""How do figures look?  As bars, in one SVG that reads well on light and on dark."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import attrs
import click

from scripts.benchmarks.telling import MIB

WIDTH, MARGIN, GAP = 760, 24, 32  # pixels
LABEL, VALUE = 116, 52  # pixels beside the bars
LINE = 108  # small letters
BAR, STEP = 16, 24  # pixels
HEAD, FOOT = 34, 22  # pixels of a panel's title, and of a line at the bottom
PANEL = (WIDTH - 2 * MARGIN - GAP) / 2

ABOUT = "Seconds and memory of syncd, and of others that move the same list"
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2430 }
  .title { font-weight: 600 }
  .value { font-variant-numeric: tabular-nums }
  .small { font-size: 11px; fill: #5c6370 }
  .ground { fill: #ffffff; stroke: #d9dce3 }
  .bar { fill: #a7adba } .ours { fill: #2f6fde } .own { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7ee } .small { fill: #9aa1b0 }
    .ground { fill: #14171f; stroke: #303644 }
    .bar { fill: #5d6474 } .ours { fill: #6ea2ff }
  }
"""


@attrs.frozen
class Panel:
    """What one benchmark shows."""

    title: str
    run: str
    figure: str
    of: str = ""
    """What stands behind a contender's name in the medians."""

    unit: str = "s"


PANELS = (
    Panel("Empty table, 1,000 a page: seconds", "throughput, 1,000 a page", "seconds"),
    Panel("Empty table, 100 a page: seconds", "throughput, 100 a page", "seconds"),
    Panel("Nothing has changed: seconds", "unchanged", "seconds", ", second"),
    Panel("Peak memory, 1,000 a page: MiB", "throughput, 1,000 a page", "peak_bytes", unit="MiB"),
)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("svg", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def plot(file: Path, svg: Path) -> None:
    """Draw what `scripts/bench all` has written to FILE as bars, into SVG."""
    results = json.loads(file.read_text("utf-8"))["results"]
    drawn = [(panel, _bars(panel, results)) for panel in PANELS if panel.run in results]
    if not drawn:
        raise click.UsageError(f"{file} holds nothing of {', '.join(p.run for p in PANELS)}")
    svg.write_text(_svg(drawn, _words(results[drawn[0][0].run])), "utf-8")


def _bars(panel: Panel, results: Mapping[str, Any]) -> dict[str, float]:
    """Contender to value."""
    medians = results[panel.run]["told"][0]["medians"]
    scale = MIB if panel.unit == "MiB" else 1
    return {
        name.removesuffix(panel.of): figures[panel.figure] / scale
        for name, figures in medians.items()
        if name.endswith(panel.of)
    }


def _words(result: Mapping[str, Any]) -> list[str]:
    told = result["told"][0]
    turns = max(map(len, told["turns"].values()))
    compared = {**told["contenders"], "syncd": f"syncd {result['syncd']} ({result['commit']})"}
    on = f"{result['cores']} cores, Python {told['python']}, Postgres {told['postgres']}"
    return [
        f"{told['records']:,} records of 8 columns, medians of {turns}; {result['at'][:10]}, {on}",
        *textwrap.wrap("; ".join(dict.fromkeys(compared.values())).replace("==", " "), LINE),
    ]


def _svg(drawn: Sequence[tuple[Panel, Mapping[str, float]]], words: Sequence[str]) -> str:
    parts, top = [], float(MARGIN)
    for row in range(0, len(drawn), 2):
        pair = drawn[row : row + 2]
        for column, (panel, bars) in enumerate(pair):
            parts += _panel(panel, bars, MARGIN + column * (PANEL + GAP), top)
        top += HEAD + STEP * max(len(bars) for _, bars in pair) + MARGIN
    for line in words:
        parts.append(_text(MARGIN, top, line, "small"))
        top += FOOT - 4
    height = round(top + 6)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{ABOUT}">'
    ground = _rect("ground", 0.5, 0.5, WIDTH - 1, height - 1)
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>\n"])


def _panel(panel: Panel, bars: Mapping[str, float], left: float, top: float) -> list[str]:
    parts = [_text(left, top + 14, panel.title, "title")]
    full, most = PANEL - LABEL - VALUE, max(bars.values())
    for number, (name, value) in enumerate(bars.items()):
        y = top + HEAD + STEP * number
        ours = name == "syncd"
        length = max(full * value / most, 1)
        parts += [
            _text(left, y + 13, name, "own" if ours else "label"),
            _rect("ours" if ours else "bar", left + LABEL, y, length, BAR),
            _text(left + LABEL + length + 6, y + 13, _number(value), "value"),
        ]
    return parts


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}"'
    return f'<rect class="{kind}" {place} rx="2"/>'


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
