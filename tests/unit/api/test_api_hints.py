"""How long an answer asks us to wait, in whatever form it says so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.api.hints import LONGEST, seconds, wait_hint

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}

HEADERS = {
    "2": 2.0,
    " 60 ": 60.0,
    "0.5": 0.5,
    "86400": 86_400.0,
    "0": None,
    "0.0": None,
    "-3": None,
    "inf": None,
    "nan": None,
    "Infinity": None,
    "": None,
    "soon": None,
    "1, 2": None,
    "1_000": None,
    "\uff11\uff12": None,
    "1e400": None,
    "0x10": None,
    "99999999": LONGEST,
    "Tue, 14 Nov 2023 22:13:50 GMT": 30.0,
    "Tue, 14 Nov 2023 22:13:50": 30.0,
    "14 Nov 2023 22:13:50 +0000": 30.0,
    "Tuesday, 14-Nov-23 22:13:50 GMT": 30.0,
    "2023-11-14T22:13:50Z": 30.0,
    "Tue, 14 Nov 2023 22:13:20 GMT": None,
    "Mon, 13 Nov 2023 22:13:50 GMT": None,
    "Fri, 14 Nov 2053 22:13:50 GMT": LONGEST,
    "Tue, 99 Nov 2023 99:99:99 GMT": None,
    "Fri, 31 Dec 99999 23:59:59 GMT": None,
    "1700000060": 60.0,
    "1700000060000": 60.0,
    "1700000000": None,
    "1372700873": None,
    "2513": 2513.0,
    "9" * 30: LONGEST,
}


@pytest.mark.parametrize("value", HEADERS)
def test_a_retry_after_header(value: str) -> None:
    """Cases 1, 2, 3, 6: seconds, dates by the server's clock, points in time; else no hint."""
    assert wait_hint({"retry-after": value, **DATE}, b"", None, refused=True) == HEADERS[value]


def test_a_date_is_measured_against_the_servers_clock() -> None:
    """Case 2: our wall clock may be an hour off."""
    header = {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}
    assert wait_hint({**header, **DATE}, b"", None, now=NOW - 3600, refused=True) == 30
    assert wait_hint(header, b"", None, now=NOW - 10, refused=True) == 40
    assert wait_hint({**header, "date": "nonsense"}, b"", None, now=NOW, refused=True) == 30


BODIES = {
    b'{"retry_after": 60}': 60.0,
    b'{"retry_after": 1.5}': 1.5,
    b'{"retry_after": "60"}': 60.0,
    b'{"retry_after": 0}': None,
    b'{"retry_after": -3}': None,
    b'{"retry_after": true}': None,
    b'{"retry_after": null}': None,
    b'{"retry_after": [60]}': None,
    b'{"retry_after": NaN}': None,
    b'{"retry_after": Infinity}': None,
    b'{"retry_after": 1e400}': None,
    b'{"retry_after": "2023-11-14T22:13:50Z"}': 30.0,
    b'{"wait": 60}': None,
    b'{"retry_after": 60': None,
    b"[60]": None,
    b"<html>": None,
    b"": None,
}


@pytest.mark.parametrize("body", BODIES)
def test_a_hint_in_the_body(body: bytes) -> None:
    """Case 4: where only the body says so; a body that is no JSON says nothing."""
    assert wait_hint(DATE, body, "retry_after", refused=True) == BODIES[body]


def test_the_body_is_looked_into_by_path() -> None:
    """And not at all without one."""
    body = b'{"error": {"wait": 5}}'
    assert wait_hint({}, body, "error.wait", refused=True) == 5
    assert wait_hint({}, body, None, refused=True) is None


def test_the_header_wins_over_the_body() -> None:
    """Case 4; but a header that says nothing usable does not."""
    body = b'{"retry_after": 60}'
    assert wait_hint({"retry-after": "2"}, body, "retry_after", refused=True) == 2
    assert wait_hint({"retry-after": "0"}, body, "retry_after", refused=True) == 60


@pytest.mark.parametrize(
    ("value", "hint"),
    [("1372700873", None), ("2513", 2513.0), ("1700000060000", 60.0), ("1700000060", 60.0)],
)
def test_a_reset_header_stands_in_for_retry_after(value: str, hint: float | None) -> None:
    """Case 6: its unit is told from its size."""
    assert wait_hint({"x-ratelimit-reset": value, **DATE}, b"", None, refused=True) == hint


def sensible(hint: float | None) -> bool:
    return hint is None or (0 < hint <= LONGEST and math.isfinite(hint))


@given(st.text() | st.from_regex(r"[-+0-9.eE:, A-Za-z]{0,40}"), st.floats(0, 1e11))
def test_any_text_is_a_sensible_wait_or_none(text: str, reference: float) -> None:
    """Whatever a server writes, we wait neither a negative time nor for ever."""
    assert sensible(seconds(text, reference))
    assert sensible(
        wait_hint({"retry-after": text, "date": text}, b"", None, now=reference, refused=True)
    )


@given(
    st.binary() | st.text().map(lambda t: b'{"retry_after": ' + t.encode("utf-8", "replace") + b"}")
)
def test_any_body_is_a_sensible_wait_or_none(body: bytes) -> None:
    """The same for bodies."""
    assert sensible(wait_hint({}, body, "retry_after", now=NOW, refused=True))


@pytest.mark.parametrize(("left", "hint"), [(None, None), ("41", None), ("0", 30.0), (" 0 ", 30.0)])
def test_the_end_of_a_window_is_no_wait_while_something_is_left(
    left: str | None, hint: float | None
) -> None:
    """budget, case 6: who tells it with every answer tells it with a plain 500 as well."""
    headers = {"x-ratelimit-reset": "30", **DATE}
    if left is not None:
        headers["x-ratelimit-remaining"] = left
    assert wait_hint(headers, b"", None, refused=False) == hint


def test_a_hint_in_a_body_that_begins_with_a_bom() -> None:
    """budget: it is found all the same (cases 4 and 34)."""
    body = b"\xef\xbb\xbf" + b'{"retry_after": 60}'
    assert wait_hint(DATE, body, "retry_after", refused=True) == 60.0


COMBINED: dict[str, float | None] = {
    '"default";r=0;t=30': 30.0,
    "default;r=0;t=30": 30.0,
    '"a";r=0;t=30, "day";r=0;t=600,"hour";r=9;t=3000': 600.0,
    ' "a, b;c" ; r=0 ; t=30 ;pk=:cHsdsRa894==: ': 30.0,
    "limit=10, remaining=0, reset=30": 30.0,
    "limit=10,remaining=0,reset=30": 30.0,
    "remaining=0, reset=30": 30.0,
    '"default";r=0;t=99999999': LONGEST,
    '"default";r=0;t=1700000060': 60.0,
    '"default";r=0;t=1600000000': None,
    '"default";r=0;t=0': None,
    '"default";r=0;t=-5': None,
    '"default";r=0;t=soon': None,
    '"default";r=0': None,
    '"default";r=0;t': None,
    '"default;r=0;t=30': None,
    '"default";r=0;t=30,,': None,
    '"default";r=0;t=30 nonsense': None,
    "limit=10, remaining=0, reset=?": None,
    ";;;": None,
    "": None,
    '"x";r=0;t=30,' * 100: None,
}


@pytest.mark.parametrize("value", COMBINED)
@pytest.mark.parametrize("refused", [True, False])
def test_the_one_header_of_the_draft(value: str, refused: bool) -> None:
    """Case 6: both of its forms, where nothing is left of the quota; garbage is no hint."""
    assert wait_hint({"ratelimit": value, **DATE}, b"", None, refused=refused) == COMBINED[value]


@pytest.mark.parametrize("value", ['"default";r=7;t=30', "limit=10, remaining=7, reset=30"])
def test_a_quota_of_which_something_is_left_asks_for_a_wait_when_it_refuses(value: str) -> None:
    """Case 6: an API tells with every answer when its window ends."""
    assert wait_hint({"ratelimit": value, **DATE}, b"", None, refused=True) == 30.0
    assert wait_hint({"ratelimit": value, **DATE}, b"", None, refused=False) is None


def test_which_of_two_quotas_refused_is_not_guessed() -> None:
    """Case 6: a day's end is not waited for while the day has something left."""
    header = {"ratelimit": '"minute";r=3;t=30, "day";r=900;t=40000', **DATE}
    assert wait_hint(header, b"", None, refused=True) is None


@pytest.mark.parametrize(
    ("value", "policy", "wait"),
    [
        ('"a";r=0', '"b";q=9;w=9, "a";q=10;w=60', 60.0),
        ("limit=10, remaining=0", "10;w=60, 1000;w=3600", 60.0),
        ('"a";r=0;t=5', '"a";q=10;w=60', 5.0),
        ('"a";r=0', '"b";q=10;w=60', None),
        ('"a";r=0', '"a";q=10;w=60;;', None),
        ('"a";r=0', '"a";q=10', None),
    ],
)
def test_where_no_end_is_told_the_policys_window_is(
    value: str, policy: str, wait: float | None
) -> None:
    """Case 6: to wait a whole window is never too short."""
    headers = {"ratelimit": value, "ratelimit-policy": policy, **DATE}
    assert wait_hint(headers, b"", None, refused=True) == wait


def test_the_draft_is_asked_last_of_the_headers() -> None:
    """Case 6: Retry-After is made for this; a body says it only where no header does."""
    header = {"ratelimit": '"a";r=0;t=30', **DATE}
    assert wait_hint({**header, "retry-after": "5"}, b"", None, refused=True) == 5.0
    assert wait_hint({**header, "retry-after": "0"}, b"", None, refused=True) == 30.0
    assert wait_hint(header, b'{"wait": 9}', "wait", refused=True) == 30.0


@given(st.text(alphabet='"\\;,=rtw0 19aé\n:'), st.text(alphabet='"\\;,=rtw0 19a'))
def test_any_header_of_the_draft_is_a_wait_or_none(value: str, policy: str) -> None:
    """contained: nothing in it is a bug."""
    hint = wait_hint({"ratelimit": value, "ratelimit-policy": policy}, b"", None, refused=True)
    assert hint is None or 0 < hint <= LONGEST
