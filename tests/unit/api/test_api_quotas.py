"""What an answer says is left, in whatever form it says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.api.hints import LONGEST
from syncd.api.quotas import told
from syncd.sync.ports import Quota

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}


def quotas(**headers: str) -> tuple[Quota, ...]:
    found = told({**DATE, **{n.replace("_", "-"): v for n, v in headers.items()}})
    assert found.nonsense == ""
    return found.quotas


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1700000030", 30.0),
        ("1700000030000", 30.0),
        ("30", 30.0),
        ("0.5", 0.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2592000", LONGEST),
    ],
)
@pytest.mark.parametrize("family", ["x_ratelimit", "x_rate_limit", "ratelimit"])
def test_three_headers_in_every_unit(family: str, reset: str, seconds: float) -> None:
    """budget, case 6: a point in time in seconds or milliseconds, a date, or seconds from now."""
    said = {f"{family}_limit": "10", f"{family}_remaining": "3", f"{family}_reset": reset}
    assert quotas(**said) == (Quota(left=3, seconds=seconds, limit=10),)


COMBINED = {
    '"default";r=50;t=30': (Quota(left=50, seconds=30),),
    "default;r=50;t=30": (Quota(left=50, seconds=30),),
    '"minute";r=3;t=30, "day";r=900;t=4000': (
        Quota(left=3, seconds=30),
        Quota(left=900, seconds=4000),
    ),
    "limit=10, remaining=3, reset=30": (Quota(left=3, seconds=30, limit=10),),
    '"default";r=0;t=0': (),
    '"default";r=3': (),
    '"default";t=30': (),
    "": (),
}


@pytest.mark.parametrize("value", COMBINED)
def test_the_one_header_of_the_draft(value: str) -> None:
    """budget: its newest form and the one before; what has no end says nothing."""
    assert quotas(ratelimit=value) == COMBINED[value]


def test_a_policy_tells_of_how_many_and_for_how_long() -> None:
    """budget: the window stands in for an end that is not told."""
    policy = '"a";q=10;w=60, "b";q=1000;w=3600'
    assert quotas(ratelimit='"a";r=3;t=30, "b";r=4', ratelimit_policy=policy) == (
        Quota(left=3, seconds=30, limit=10, window=60),
        Quota(left=4, seconds=3600, limit=1000, window=3600),
    )
    three = {"ratelimit_limit": "10, 10;w=60, 1000;w=3600", "ratelimit_remaining": "3"}
    assert quotas(**three) == (Quota(left=3, seconds=60, limit=10, window=60),)
    three = {"ratelimit_limit": "10", "ratelimit_remaining": "3", "ratelimit_policy": "10;w=60"}
    assert quotas(**three) == (Quota(left=3, seconds=60, limit=10, window=60),)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "3"},
        {"x-ratelimit-reset": "30"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1699999999"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0"},
        {"x-ratelimit-limit": "10"},
    ],
)
def test_what_is_over_or_has_no_end_says_nothing(headers: dict[str, str]) -> None:
    """budget, case 6: a reset in the past is now; many APIs tell only a part of it."""
    found = told({**DATE, **headers})
    assert (found.quotas, found.nonsense) == ((), "")


@pytest.mark.parametrize(
    ("left", "reset", "named"),
    [
        ("abc", "30", "x-ratelimit-remaining: abc"),
        ("-1", "30", "x-ratelimit-remaining: -1"),
        ("", "30", "x-ratelimit-remaining: "),
        ("1e9", "30", "x-ratelimit-remaining: 1e9"),
        ("3, 4", "30", "x-ratelimit-remaining: 3, 4"),
        ("9" * 20, "30", "x-ratelimit-remaining: " + "9" * 20),
        ("0", "soon", "x-ratelimit-reset: soon"),
        ("0", "-30", "x-ratelimit-reset: -30"),
        ("0", "4855680000", "x-ratelimit-reset: 4855680000"),
        ("0", "Thu, 14 Nov 2123 22:13:50 GMT", "x-ratelimit-reset: Thu, 14 Nov 2123"),
        ("x\n\x1b[2J", "30", "x-ratelimit-remaining: x\\n\\x1b[2J"),
    ],
)
def test_what_cannot_be_meant_is_told_and_not_heeded(left: str, reset: str, named: str) -> None:
    """budget, contained: a wild value stops nobody, and somebody hears of it."""
    found = told({**DATE, "x-ratelimit-remaining": left, "x-ratelimit-reset": reset})
    assert found.quotas == ()
    assert found.nonsense.startswith(named)


@pytest.mark.parametrize("value", ['"a";r=-1;t=30', '"a";r=x;t=30', '"a";r=0;t=-3', '"a;r=0;t=30'])
def test_a_header_of_the_draft_that_cannot_be_meant(value: str) -> None:
    """budget: the same in its form."""
    found = told({**DATE, "ratelimit": value})
    assert (found.quotas, found.nonsense[:9]) == ((), "ratelimit")


def test_one_family_is_heard_though_another_is_nonsense() -> None:
    """budget: what can be read counts."""
    headers = {"x-ratelimit-remaining": "?", "ratelimit": '"a";r=0;t=30', **DATE}
    assert told(headers).quotas == (Quota(left=0, seconds=30),)
    assert told(headers).nonsense == "x-ratelimit-remaining: ?"


@given(st.text(), st.text(), st.text(alphabet='"\\;,=rtw0 19aé\n:'), st.floats(0, 1e11))
def test_any_text_is_a_sensible_quota_or_none(left: str, reset: str, one: str, now: float) -> None:
    """budget: whatever a server writes, nobody waits for ever."""
    headers = {"x-ratelimit-remaining": left, "x-ratelimit-reset": reset, "ratelimit": one}
    for quota in told(headers, now).quotas:
        assert quota.left >= 0
        assert 0 < quota.seconds <= LONGEST
