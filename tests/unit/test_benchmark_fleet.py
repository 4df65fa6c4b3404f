"""What the benchmarks of very many sources say: a wrong sum there would make a wrong figure."""

import math
from pathlib import Path

from scripts.benchmarks import fleet
from scripts.benchmarks.fleet import Spread
from syncd.config.load import load


def test_a_spread_tells_the_one_that_99_of_100_do_not_exceed() -> None:
    """Of a hundred the second longest, whatever their order; of a few the longest."""
    hundred = Spread.of([float(number) for number in range(100, 0, -1)])
    assert hundred == Spread(count=100, p50=50.0, p99=99.0, most=100.0)
    assert Spread.of([3.0, 1.0]) == Spread(count=2, p50=1.0, p99=3.0, most=3.0)


def test_a_spread_of_nothing_meets_no_goal() -> None:
    """A daemon that began no cycle was not in time."""
    none = Spread.of([])
    assert none.count == 0
    assert math.isnan(none.p99)


def test_so_many_sources_each_with_one_list(tmp_path: Path) -> None:
    """All are like the first, and none is left out."""
    path = fleet.config(tmp_path, "http://127.0.0.1:1", "postgresql:///x", sources=12, every=60.0)
    sources = load(path).sources
    assert list(sources) == [f"s{number}" for number in range(12)]
    assert {s.streams["records"].every for s in sources.values()} == {60.0}
