"""Which page comes next, and when there is none."""

import pytest

from syncd.api.decode import Envelope
from syncd.api.paging import Answered, pagination_for
from syncd.config.settings import NumberPages
from syncd.errors import UnexpectedAnswer

PAGE = NumberPages(size=10, more="pagination.has_more", total="pagination.total")


def answered(body: bytes, cursor: str | None = None) -> Answered:
    return Answered(cursor=cursor, envelope=Envelope(body), records=10)


def envelope(more: str, total: str = "100", cursor: str | None = None) -> Answered:
    return answered(f'{{"pagination": {{"has_more": {more}, "total": {total}}}}}'.encode(), cursor)


@pytest.mark.parametrize(("cursor", "page"), [(None, 1), ("7", 7), ("123456789", 123456789)])
def test_the_request_for_a_cursor(cursor: str | None, page: int) -> None:
    """A checkpoint's cursor is the number of the page to ask for."""
    assert pagination_for(PAGE).ask(cursor).params == {"page": page, "limit": 10}


def test_names_and_the_first_number_are_settings() -> None:
    """Some APIs count from 0 and call it differently."""
    page = NumberPages(first=0, page_param="p", size_param="n")
    assert pagination_for(page).ask(None).params == {"p": 0, "n": 100}
    assert pagination_for(page).turn(answered(b'{"has_more": true}')).next_cursor == "1"


def test_has_more_alone_decides() -> None:
    """Cases 18 and 21: neither the total nor an empty page ends a cycle."""
    pagination = pagination_for(PAGE)
    assert pagination.turn(envelope("true", "0")).next_cursor == "2"
    assert pagination.turn(envelope("true", "25", cursor="9")).next_cursor == "10"
    assert pagination.turn(envelope("false", "1000", cursor="2")).next_cursor is None


@pytest.mark.parametrize("more", ['"false"', '"true"', "0", "1", "null", "[]", "{}", "NaN", "True"])
def test_a_has_more_of_a_wrong_type_is_an_error(more: str) -> None:
    """Case 22: "false" is truthy in many languages; it is named here."""
    with pytest.raises(
        UnexpectedAnswer, match=r"`pagination\.has_more`.*must be true or false"
    ) as e:
        pagination_for(PAGE).turn(envelope(more))
    assert more in str(e.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "is missing .found: nothing"),
        (b'{"pagination": {}}', "found: an empty object"),
        (b'{"pagination": {"more": true}}', "found: the keys more"),
        (b'{"pagination": []}', "found: a list"),
    ],
)
def test_a_has_more_that_is_missing_is_an_error(body: bytes, words: str) -> None:
    """Case 22: absence is no "no"."""
    with pytest.raises(UnexpectedAnswer, match=words):
        pagination_for(PAGE).turn(answered(body))


@pytest.mark.parametrize(
    ("total", "hint"),
    [("100", 100), ("0", 0), ("-1", None), ("1.5", None), ('"100"', None), ("null", None),
     ("1e3", None), ("9" * 5000, None), ("true", None)],
)  # fmt: skip
def test_a_total_is_a_hint_and_never_an_error(total: str, hint: int | None) -> None:
    """Case 21: it is for progress only."""
    assert pagination_for(PAGE).turn(envelope("true", total)).total == hint


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", " 1", "\uff11", "9" * 5000])
def test_a_cursor_that_is_no_number_is_named(cursor: str) -> None:
    """Somebody wrote to the checkpoint."""
    with pytest.raises(UnexpectedAnswer, match="not a page number"):
        pagination_for(PAGE).ask(cursor)
