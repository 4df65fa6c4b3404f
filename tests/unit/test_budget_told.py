"""What `syncd status` says of a budget."""

import pytest

from syncd.commands.status import _budget
from syncd.config.settings import BudgetSettings
from syncd.sync.picture import Budget

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
SETTINGS = BudgetSettings(name="source shop", requests=10, per=60.0)


def test_of_several_limits_each_says_which_it_is() -> None:
    """budget: what the file says of it stands beside its name."""
    assert _budget(SETTINGS, None, NOW, one_of_several=True) == (
        "budget of source shop, 10 requests in 1 min: 10 in 1 min, not used yet"
    )


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (NOW + 40, "the API says 3 left until 22:14:00 UTC"),
        (NOW + 86400, "the API says 3 left until 2023-11-15 22:13:20 UTC"),
    ],
)
def test_what_the_api_says_is_left_is_shown(until: float, words: str) -> None:
    """budget: with the end, and its date where that is another day's."""
    found = Budget(
        name="source shop",
        per=60.0,
        tokens=10,
        free=3,
        next_free=NOW + 40,
        held_until=None,
        from_answers=False,
        quota_left=3,
        quota_until=until,
    )
    assert _budget(SETTINGS, found, NOW) == (
        f"budget of source shop: 3 of 10 tokens free, the next in 40 s; {words}"
    )
