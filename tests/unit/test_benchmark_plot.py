"""The bars of the benchmarks: they are what people see of the figures."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from click.testing import CliRunner

from scripts.benchmarks.plot import plot

SVG = "{http://www.w3.org/2000/svg}"


def result(**seconds: float) -> dict[str, object]:
    """As `scripts/bench all` writes it."""
    medians = {name: {"seconds": s, "peak_bytes": 2**26} for name, s in seconds.items()}
    told = {
        "records": 1000,
        "contenders": {"syncd": "1.0", "dlt": "dlt==1 <beta>"},
        "turns": {name: [figures] for name, figures in medians.items()},
        "medians": medians,
        "python": "3.11.7",
        "postgres": "18.4",
    }
    of = {"at": "2026-11-26T12:00:00+00:00", "cores": 2, "syncd": "1.0", "commit": "abc"}
    return {**of, "told": [told]}


def test_a_bar_is_as_long_as_its_figure(tmp_path: Path) -> None:
    """Within its panel; of the cycles in which nothing changed the second ones are shown."""
    file, svg = tmp_path / "bench.json", tmp_path / "bench.svg"
    results = {
        "throughput, 1,000 a page": result(syncd=2, dlt=8),
        "unchanged": result(**{"syncd, first": 9, "syncd, second": 1}),
    }
    file.write_text(json.dumps({"results": results}), "utf-8")
    done = CliRunner().invoke(plot, [str(file), str(svg)])
    assert done.exit_code == 0, done.output
    drawn = ET.parse(svg).getroot()  # noqa: S314 - our own
    bars = [r for r in drawn.iter(f"{SVG}rect") if r.get("class") in {"ours", "bar"}]
    lengths = [float(bar.get("width", "0")) for bar in bars]
    kinds = [bar.get("class") for bar in bars]
    assert kinds == ["ours", "bar", "ours", "ours", "bar"]
    assert lengths[0] * 4 == lengths[1]
    assert lengths[2] == lengths[1], "the only one of its panel"
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"2.0", "8.0", "1.0", "64"} <= set(texts)
    assert any("dlt 1 <beta>" in (text or "") for text in texts)


def test_a_file_without_such_figures_is_refused(tmp_path: Path) -> None:
    """An empty picture would say that all is nought."""
    file = tmp_path / "bench.json"
    file.write_text('{"results": {}}', "utf-8")
    done = CliRunner().invoke(plot, [str(file), str(tmp_path / "bench.svg")])
    assert done.exit_code == 2
    assert "throughput" in done.output
