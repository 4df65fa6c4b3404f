"""resume: how far an incremental stream has come, whatever the server writes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.api.marks import Marks
from syncd.config.settings import IncrementalSettings
from syncd.errors import UnexpectedAnswer


def marks(**settings: Any) -> Marks:
    return Marks(IncrementalSettings(field="updated_at", param="since", **settings))


def highest(values: Sequence[object], **settings: Any) -> str | None:
    return marks(**settings).highest(json.dumps(v).encode() for v in values)


def test_the_servers_own_text_is_kept() -> None:
    """Case 25: nanoseconds are neither cut nor rounded."""
    texts = ["2026-01-31T10:00:00.999999998Z", "2026-01-31T10:00:00.999999999Z"]
    assert highest([*texts, None]) == texts[1]
    assert highest([]) is None
    assert highest([None]) is None


def test_instants_are_compared_and_not_texts() -> None:
    """Case 28: +07:00 hides no +00:00; of two that are equal the first stays."""
    early, late = "2026-01-31T16:59:59+07:00", "2026-01-31T10:00:00+00:00"
    assert highest([early, late]) == late
    assert highest([late, early]) == late
    same = ["2026-01-31T17:00:00+07:00", late]
    assert highest(same) == same[0]
    assert highest(["2026-01-31T10:00:00.10Z", "2026-01-31T10:00:00.9Z"]) == (
        "2026-01-31T10:00:00.9Z"
    )


@pytest.mark.parametrize(
    ("mark", "asked"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31T09:55:00Z"),
        ("2026-01-31T10:00:00.999999999Z", "2026-01-31T09:55:00.999999999Z"),
        ("2026-01-31 00:01:00.5+05:30", "2026-01-30 23:56:00.5+05:30"),
        ("2026-01-31T10:00Z", "2026-01-31T09:55Z"),
        ("2026-01-31T10:00:00+0100", "2026-01-31T09:55:00+0100"),
        ("2026-01-31", "2026-01-30"),
    ],
)
def test_what_is_asked_for_is_written_as_the_server_does(mark: str, asked: str) -> None:
    """Case 23: the twin of a border is met again; a date goes back a whole day."""
    assert marks(zone="UTC").asked(mark) == asked


@pytest.mark.parametrize(
    ("mark", "asked"),
    [
        ("2026-10-25T02:50:00", "2026-10-25T01:45:00"),  # what comes next may say 02:10
        ("2026-10-26T01:00:00", "2026-10-25T23:55:00"),
        ("2026-10-27T02:50:00", "2026-10-27T02:45:00"),
        ("2026-03-29T03:02:00", "2026-03-29T01:57:00"),  # there is no 02:57 on that day
    ],
)
def test_a_clock_that_was_turned_back_hides_nothing(mark: str, asked: str) -> None:
    """Case 26: of an hour that comes twice the second one is lower than the first."""
    assert marks(zone="Europe/Berlin").asked(mark) == asked


def test_without_a_lookback_the_mark_is_sent_untouched() -> None:
    """Case 25: `>=` reads the border again."""
    assert marks(lookback=0.0).asked("2026-01-31T10:00:00,5Z") == "2026-01-31T10:00:00,5Z"


def test_stamps_without_a_zone_need_one_that_is_said() -> None:
    """Case 26: 01:30 that comes twice is the first of the two."""
    with pytest.raises(UnexpectedAnswer, match=r"says no time zone.*incremental\.zone"):
        highest(["2026-10-25T01:30:00"])
    berlin = marks(zone="Europe/Berlin", lookback=0.0)
    assert berlin.higher("2026-10-25T02:30:00", "2026-10-25T01:29:59Z") == "2026-10-25T01:29:59Z"
    assert berlin.higher("2026-10-25T02:30:00", "2026-10-25T00:30:00Z") == "2026-10-25T02:30:00"


@pytest.mark.parametrize(
    ("mark", "bounded"),
    [
        ("2026-01-31T09:58:59.9Z", "2026-01-31T09:58:59.9Z"),
        ("2026-01-31T09:59:30.5Z", "2026-01-31T09:59:00.0Z"),
        ("2099-01-01T00:00:00+02:00", "2026-01-31T11:59:00+02:00"),
    ],
)
def test_no_mark_gets_beyond_the_servers_clock(mark: str, bounded: str) -> None:
    """Case 27: what is still being committed there is older than what was seen."""
    now = 1769853600.0  # 2026-01-31T10:00:00Z
    assert marks().bounded(mark, now) == bounded


def test_numbers() -> None:
    """A version has neither a clock nor a lookback; an epoch has both."""
    number = marks(kind="number")
    assert highest([9007199254740993, 9007199254740992], kind="number") == "9007199254740993"
    assert (number.asked("7"), number.bounded("7", 0.0)) == ("7", "7")
    epoch = marks(kind="epoch-ms")
    assert epoch.asked("1769853600123") == "1769853300123"
    assert epoch.bounded("1769853600123", 1769853600.0) == "1769853540000"
    assert marks(kind="epoch").asked("1769853600.5") == "1769853300"
    assert highest(["10", 9], kind="number") == "10"


@pytest.mark.parametrize(
    "value", ["yesterday", "", 7, True, {}, [], "2026-13-01", "2026-01-31T25:00Z"]
)
def test_what_is_no_mark_is_an_error(value: object) -> None:
    """And never taken for none: the stream would stand still, or begin at nothing."""
    with pytest.raises(UnexpectedAnswer, match="`updated_at`, by which the stream goes on"):
        highest([value])


@pytest.mark.parametrize("value", ["x", "NaN", "Infinity", True, {}])
def test_what_is_no_number_is_an_error(value: object) -> None:
    """Likewise."""
    with pytest.raises(UnexpectedAnswer, match="must be a number"):
        highest([value], kind="number")


@given(
    st.datetimes(),
    st.integers(0, 9),
    st.sampled_from(["Z", "+00:00", "-03:30", "+14:00"]),
    st.floats(0, 1e6, allow_nan=False),
)
def test_what_is_asked_for_is_never_later(when: Any, places: int, zone: str, back: float) -> None:
    """Whatever the precision and the zone."""
    fraction = f".{when.microsecond:06d}"[: places + 1] if places else ""
    text = f"{when:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"
    text = text.zfill(len("2026-01-01T00:00:00") + len(fraction) + len(zone))
    of = marks(lookback=back)
    try:
        asked = of.asked(text)
    except (UnexpectedAnswer, OverflowError):
        return  # before year 1
    assert of._value(asked) <= of._value(text)
    assert of._value(text) - of._value(asked) < int(back) + 2
