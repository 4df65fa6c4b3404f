"""Which page comes next, and when there is none: each kind of paging but by number."""

import json
from typing import Any

import pytest

from syncd.api.decode import Envelope
from syncd.api.paging import Answered, ByNumber, ByOffset, Turn, pagination_for
from syncd.config.settings import (
    CursorPages,
    KeysetPages,
    LinkPages,
    NoPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    UrlPages,
)
from syncd.errors import UnexpectedAnswer

URL = "https://api.example.com/v1/items?limit=10"


def turn(page: PageSettings, cursor: str | None = None, **answer: Any) -> Turn:
    """The turn after an answer whose body is `body`, in JSON."""
    body = answer.pop("body", {})
    envelope = Envelope(body if isinstance(body, bytes) else json.dumps(body).encode())
    given = {"records": 10, "asked": lambda: URL, **answer}
    return pagination_for(page).turn(Answered(cursor=cursor, envelope=envelope, **given))


# --- by offset, and the ends of lists that are counted through --------------------------------


@pytest.mark.parametrize(
    ("paging", "cursor", "total", "following"),
    [
        (ByNumber(NumberPages(size=10)), None, 11, "2"),
        (ByNumber(NumberPages(size=10)), None, 10, None),
        (ByNumber(NumberPages(size=10)), "9", 91, "10"),
        (ByNumber(NumberPages(size=10)), "10", 91, None),
        (ByNumber(NumberPages(size=10, first=0)), None, 11, "1"),
        (ByNumber(NumberPages(size=10, first=0)), "1", 20, None),
        (ByOffset(OffsetPages(size=10)), None, 11, "10"),
        (ByOffset(OffsetPages(size=10)), None, 10, None),
        (ByOffset(OffsetPages(size=10)), "80", 91, "90"),
        (ByOffset(OffsetPages(size=10)), "90", 91, None),
        (ByOffset(OffsetPages(size=10, first=1)), None, 11, "11"),
        (ByOffset(OffsetPages(size=10, first=1)), None, 10, None),
    ],
)
def test_what_follows_is_foreseen_as_far_as_there_are_records(
    paging: ByNumber | ByOffset, cursor: str | None, total: int, following: str | None
) -> None:
    """No page behind the last one is asked for on a guess."""
    assert paging.foreseen(cursor, total) == following


def test_an_offset_grows_by_what_came() -> None:
    """A server that gives fewer than it was asked for loses no record."""
    page = OffsetPages(size=100)
    assert pagination_for(page).ask(None).params == {"offset": 0, "limit": 100}
    assert pagination_for(page).ask("50").params == {"offset": 50, "limit": 100}
    assert turn(page, records=50).next_cursor == "50"
    assert turn(page, "50", records=50).next_cursor == "100"


@pytest.mark.parametrize(
    ("page", "records", "goes_on"),
    [
        (OffsetPages(size=10), 10, True),
        (OffsetPages(size=10), 1, True),
        (OffsetPages(size=10), 0, False),
        (OffsetPages(size=10, until="short"), 10, True),
        (OffsetPages(size=10, until="short"), 9, False),
        (OffsetPages(size=10, until="short"), 11, True),
        (NumberPages(size=10, until="empty", more=None), 1, True),
        (NumberPages(size=10, until="short", more=None), 9, False),
        (KeysetPages(size=10), 0, False),
        (KeysetPages(size=10, until="short"), 9, False),
    ],
)
def test_a_list_that_is_counted_through_ends(
    page: PageSettings, records: int, *, goes_on: bool
) -> None:
    """Case 18: an exact multiple ends with a page that is empty, or that is not there."""
    found = turn(page, None, records=records, last=b'{"id": "c9"}')
    assert (found.next_cursor is not None) is goes_on


def test_a_short_page_is_no_end_while_the_total_says_that_there_are_more() -> None:
    """A server that caps pages at 50 gives short pages from the first one on."""
    page = OffsetPages(size=100, until="short", total="total")
    assert turn(page, records=50, body={"total": 120}).next_cursor == "50"
    assert turn(page, "100", records=20, body={"total": 120}).next_cursor is None
    numbered = NumberPages(size=100, until="short", more=None, total="total")
    assert turn(numbered, "2", records=99, body={"total": 200}).next_cursor == "3"
    assert turn(numbered, "2", records=99, body={"total": 199}).next_cursor is None


def test_a_404_is_the_end_only_where_nothing_else_tells() -> None:
    """Case 18: where a flag has said that a page follows, a 404 is an error."""
    counted: list[PageSettings] = [NumberPages(until="short"), OffsetPages()]
    told: list[PageSettings] = [NumberPages(), CursorPages(), LinkPages(), UrlPages(), NoPages()]
    assert all(pagination_for(p).ends_with_404 for p in counted)
    assert not any(pagination_for(p).ends_with_404 for p in told)


# --- by cursor --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cursor"),
    [
        ("abc==", "abc=="),
        (17, "17"),
        (9007199254740993, "9007199254740993"),
        ("0", "0"),
        (0, "0"),
        (1.5, "1.5"),
        (None, None),
        ("", None),
        (False, None),
    ],
)
def test_a_cursor_is_kept_as_it_came(value: object, cursor: str | None) -> None:
    """Opaque: text stays what it is, a number its digits; null, "" and false are none."""
    page = CursorPages(next="meta.next")
    assert turn(page, body={"meta": {"next": value}}).next_cursor == cursor


@pytest.mark.parametrize("value", [True, {}, [], {"after": 1}])
def test_a_cursor_of_a_wrong_type_is_an_error(value: object) -> None:
    """Case 19: what is no cursor does not end a list."""
    with pytest.raises(UnexpectedAnswer, match=r"`next_cursor`.*must be a cursor"):
        turn(CursorPages(), body={"next_cursor": value})


def test_a_cursor_that_is_missing_is_an_error_unless_the_config_says_that_it_ends_the_list() -> (
    None
):
    """A path that is misspelt must not pass for a list of one page."""
    with pytest.raises(UnexpectedAnswer, match=r"missing \(found: the keys nxt\).*absent = "):
        turn(CursorPages(), body={"nxt": "x"})
    assert turn(CursorPages(absent="end"), body={"nxt": "x"}).next_cursor is None


def test_a_flag_decides_whatever_the_cursor_says() -> None:
    """Case 19: a cursor with the last page does not begin another; none where one is needed."""
    page = CursorPages(more="more")
    assert turn(page, body={"more": False, "next_cursor": "x"}).next_cursor is None
    assert turn(page, body={"more": True, "next_cursor": "x"}).next_cursor == "x"
    with pytest.raises(UnexpectedAnswer, match="another page follows, but there is no cursor"):
        turn(page, body={"more": True, "next_cursor": None})


def test_the_first_request_may_need_a_cursor() -> None:
    """Case 19: `initial`."""
    assert pagination_for(CursorPages()).ask(None).params == {}
    page = CursorPages(initial="*", size=50, size_param="per_page", param="c")
    assert pagination_for(page).ask(None).params == {"c": "*", "per_page": 50}
    assert pagination_for(page).ask("x y").params == {"c": "x y", "per_page": 50}


def test_a_cursor_in_a_header() -> None:
    """A header that is missing or empty is the end: that is how headers say it."""
    page = CursorPages(header="Next-Page", more="more")
    headers = {"next-page": " abc "}
    assert turn(page, headers=headers, body={"more": True}).next_cursor == "abc"
    assert turn(CursorPages(header="Next-Page"), headers={}).next_cursor is None
    with pytest.raises(UnexpectedAnswer, match="the header Next-Page is empty or missing"):
        turn(page, headers={"next-page": ""}, body={"more": True})


# --- by keyset --------------------------------------------------------------------------------


def test_a_keyset_asks_for_what_follows_the_last_record() -> None:
    """Whatever became of it: a reject and one that is left out count as well."""
    page = KeysetPages(param="starting_after", field="id", size=3)
    assert pagination_for(page).ask(None).params == {"limit": 3}
    assert turn(page, "a", records=3, last=b'{"id": "c\\u0031"}').next_cursor == "c1"
    assert turn(page, "a", records=3, last=b'{"id": 9007199254740993}').next_cursor == (
        "9007199254740993"
    )


@pytest.mark.parametrize("last", [b"{}", b'{"id": null}', b'{"id": ""}', b'{"id": {}}', b"[1]"])
def test_a_last_record_without_the_field_is_an_error(last: bytes) -> None:
    """It would be the first page once more."""
    with pytest.raises(UnexpectedAnswer, match="last record's `id`"):
        turn(KeysetPages(), records=10, last=last)


# --- by address -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cursor"),
    [
        (f'<{URL}&page=2>; rel="next"', "/v1/items?limit=10&page=2"),
        ('</v1/items?page=2>; rel="next"', "/v1/items?page=2"),
        ('<?page=2>; rel="next"', "/v1/items?page=2"),
        ('<http://api.example.com:8080/v1/x?p=2>; rel="next"', "/v1/x?p=2"),
        ('<https://API.EXAMPLE.COM/a>; rel=next, </b>; rel="last"', "/a"),
        ('</a>; rel="prev", </b>; rel="last next"', "/b"),
        ('</b>; title="x, y"; REL="next"', "/b"),
        ('</a>; rel="prev"', None),
        ("</a>;rel=prev,</b>;rel=next;", "/b"),
        ('</a?x=1,2;y>; rel="next"', "/a?x=1,2;y"),
        (', </b> ; rel = "next" ,', "/b"),
        ("</b>" + ";   " * 20_000 + "rel=next", "/b"),
        ('</a>; rel="prev"; rel="next", </b>; title="\\"rel=next"', None),
        ("</a>", None),
        ("", None),
    ],
)
def test_the_link_with_the_relation_next(header: str, cursor: str | None) -> None:
    """RFC 8288; scheme and port stay the config's."""
    assert turn(LinkPages(), headers={"link": header} if header else {}).next_cursor == cursor


@pytest.mark.parametrize(
    "header", ["nonsense", '</b; rel="next"', '</b>; rel="next" </c>', '</b>; rel="']
)
def test_a_malformed_link_header_is_no_end(header: str) -> None:
    """It must not pass for a list of one page."""
    with pytest.raises(UnexpectedAnswer, match="Link header is malformed"):
        turn(LinkPages(), headers={"link": header})


@pytest.mark.parametrize(
    ("value", "cursor"),
    [
        ("https://api.example.com/v1/items?page=2", "/v1/items?page=2"),
        ("/v2/items", "/v2/items"),
        ("?page=3", "/v1/items?page=3"),
        (None, None),
        ("", None),
    ],
)
def test_an_address_in_the_answer(value: str | None, cursor: str | None) -> None:
    """Null is the end."""
    assert turn(UrlPages(), body={"next": value}).next_cursor == cursor


def test_an_address_alone_in_a_header() -> None:
    """As kinto's Next-Page; without the header the list ends, whatever the body holds."""
    page = UrlPages(header="Next-Page")
    there = {"next-page": "https://api.example.com/v1/items?_token=x"}
    assert turn(page, headers=there).next_cursor == "/v1/items?_token=x"
    assert turn(page, body={"next": "/v2"}).next_cursor is None
    with pytest.raises(UnexpectedAnswer, match="another host"):
        turn(page, headers={"next-page": "https://evil.example.com/"})


def test_a_path_names_a_field_that_has_dots_itself() -> None:
    """As OData's; it comes before what the dots would lead to."""
    page = UrlPages(next="@odata.nextLink", total="@odata.count")
    body = {"@odata": {"nextLink": "/wrong"}, "@odata.nextLink": "/right", "@odata.count": 7}
    assert turn(page, body=body) == Turn(next_cursor="/right", total=7)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example.com/v1/items?page=2",
        "//evil.example.com/x",
        "https://api.example.com@evil.example.com/x",
        "https://api.example.com.evil.example.com/",
    ],
)
def test_no_address_leads_to_another_host(address: str) -> None:
    """Case 15: the error names the host alone; where the host is ignored, ours is asked."""
    with pytest.raises(UnexpectedAnswer, match=r"on another host, .*evil") as e:
        turn(UrlPages(), body={"next": address})
    assert "page=2" not in str(e.value)
    found = turn(UrlPages(foreign="ignore"), body={"next": address}).next_cursor
    assert found is not None
    assert found.startswith("/")
    assert "evil" not in found


@pytest.mark.parametrize("address", ["ftp://api.example.com/", "http://[", "data:,"])
def test_what_is_no_address_is_an_error(address: str) -> None:
    """And never asked for."""
    with pytest.raises(UnexpectedAnswer, match="address"):
        turn(UrlPages(), body={"next": address})


def test_the_address_is_the_whole_request() -> None:
    """The size goes with the first request; the others are what the API gave."""
    page = LinkPages(size=50, size_param="per_page")
    assert pagination_for(page).ask(None).params == {"per_page": 50}
    asked = pagination_for(page).ask("/v1/items?page=2")
    assert (asked.address, asked.params) == ("/v1/items?page=2", {})
    with pytest.raises(UnexpectedAnswer, match="not an address"):
        pagination_for(page).ask("7")


def test_a_list_that_comes_whole() -> None:
    """One request, one page."""
    assert pagination_for(NoPages()).ask(None).params == {}
    assert turn(NoPages(total="n"), body={"n": 3}) == Turn(next_cursor=None, total=3)
