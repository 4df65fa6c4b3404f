"""What `15m` and `64MiB` mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config import units

DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("15s", 15.0),
        ("1.5m", 90.0),
        ("15min", 900.0),
        ("2h", 7200.0),
        ("1d", DAY),
        ("1w", 7 * DAY),
        ("15", 15.0),
        (" 15 s ", 15.0),
        ("0s", 0.0),
        (15, 15.0),
        (0.5, 0.5),
        (0, 0.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit_or_seconds(text: object, seconds: float) -> None:
    """Every unit means what it says, and a number alone is seconds."""
    assert units.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "s", "-1s", "+1s", "1e3s", "1 day", "1S", "1M", "1h30m", "\uff11s", "\u0663s",
        ".5s", "1.s", "1,5s", "inf", "nan", "nans", "9" * 400 + "s", "11000d", True, False,
        math.nan, math.inf, -math.inf, 10**400, None, [], {}, ["1s"],
    ],
)  # fmt: skip
def test_what_is_no_duration_is_none(value: object) -> None:
    """A slip in a duration is never taken for some other time."""
    assert units.seconds(value) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("200kB", 200_000),
        ("64MB", 64_000_000),
        ("1GB", 10**9),
        ("64KiB", 65_536),
        ("64MiB", 64 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("100", 100),
        (100, 100),
    ],
)
def test_a_size_is_a_number_with_a_unit_or_bytes(text: object, size: int) -> None:
    """Units of 1000 and of 1024 are told apart, and a number alone is bytes."""
    assert units.size(text) == size


@pytest.mark.parametrize(
    "value",
    ["", "MiB", "-1B", "1mib", "1mb", "1KB", "1TiB", "64 M", "1s", True, math.nan, math.inf, None],
)
def test_what_is_no_size_is_none(value: object) -> None:
    """A slip in a size is never taken for some other size."""
    assert units.size(value) is None


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_whatever_stands_there_is_a_finite_amount_or_none(value: object) -> None:
    """No value at all makes reading a duration or a size fail."""
    for found in (units.seconds(value), units.size(value)):
        assert found is None or math.isfinite(found)
