"""When do the first cycles of very many streams begin?"""

import random
from collections import Counter

import pytest

from syncd.app.opened import staggered


@pytest.mark.parametrize("every", [60.0, 900.0])
def test_a_thousand_streams_do_not_begin_together(every: float) -> None:
    """As many in each second, and all of them within a minute."""
    rng = random.Random(1)
    starts = [staggered(before, every, rng) for before in range(1000)]
    assert starts[0] == 0.0
    assert max(starts) < 60.0
    assert max(Counter(map(int, starts)).values()) <= 25


def test_a_short_interval_is_never_waited_out() -> None:
    """However many there are, each first cycle begins before its second would be due."""
    rng = random.Random(1)
    assert all(staggered(before, 5.0, rng) < 5.0 for before in range(1000))


def test_a_few_streams_hardly_wait() -> None:
    """Nobody with ten streams waits for a second."""
    rng = random.Random(1)
    assert max(staggered(before, 900.0, rng) for before in range(10)) < 1.0
