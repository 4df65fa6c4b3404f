"""The list that benchmarks are run against: a wrong page there would make a wrong figure."""

import json

from scripts.benchmarks.listing import Listing
from scripts.benchmarks.records import COLUMNS, record


def asked(listing: Listing, target: str, *headers: str) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of an answer."""
    request = "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers])
    head, _, body = listing.answer(request.encode(), 7.0).partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    return line, dict(x.split(": ", 1) for x in rest), body


def test_the_pages_of_any_size_hold_each_record_once() -> None:
    """Rendered ahead or not, all records come in order, and the last page says that it is."""
    listing = Listing(25)
    listing.render(10)
    for size, flags in ((10, [True, True, False]), (25, [False]), (7, [True] * 3 + [False])):
        found = []
        for number, more in enumerate(flags, start=1):
            line, headers, body = asked(listing, f"/records?page={number}&limit={size}")
            answer = json.loads(body)
            assert line == "HTTP/1.1 200 OK"
            assert int(headers["Content-Length"]) == len(body)
            assert (answer["has_more"], answer["total"]) == (more, 25)
            found += answer["data"]
        assert found == [record(number) for number in range(25)]
    assert set(found[0]) == set(COLUMNS)


def test_what_has_changed_since_comes_alone_and_in_order() -> None:
    """In the second edition each hundredth is a later one; who has the last one gets it again."""
    listing = Listing(250)
    mark = record(249)["updated_at"]
    query = f"/records?page=1&limit=10&updated_since={mark}"
    assert json.loads(asked(listing, query)[2])["data"] == [record(249)]
    listing.publish(2)
    answer = json.loads(asked(listing, query)[2])
    changed = [record(n, edition=2) for n in (0, 100, 200)]
    assert (answer["data"], answer["total"]) == ([record(249), *changed], 4)
    assert all(now != record(n) for n, now in zip((0, 100, 200), changed, strict=True))
    whole = json.loads(asked(listing, "/records?page=1&limit=250")[2])["data"]
    assert whole == [record(n, edition=2) for n in range(250)]


def test_a_page_behind_the_end_is_empty() -> None:
    """Who asks on finds nothing, and no error."""
    body = asked(Listing(5), "/records?page=9&limit=5")[2]
    assert json.loads(body) == {"data": [], "has_more": False, "total": 5}


def test_a_page_that_the_client_has_comes_without_a_body() -> None:
    """Its tag is known again, also in a list and as a weak one; another page's is not."""
    listing = Listing(20)
    tag = asked(listing, "/records?page=1&limit=10")[1]["ETag"]
    other = asked(listing, "/records?page=2&limit=10")[1]["ETag"]
    assert tag != other
    for given in (tag, f'"x", {tag}', f"W/{tag}"):
        line, headers, body = asked(listing, "/records?page=1&limit=10", f"if-none-match: {given}")
        assert (line, headers["ETag"], body) == ("HTTP/1.1 304 Not Modified", tag, b"")
    line, _, body = asked(listing, "/records?page=1&limit=10", f"If-None-Match: {other}")
    assert line == "HTTP/1.1 200 OK"
    assert body


def test_a_list_may_have_no_tags() -> None:
    """Then each body is read."""
    listing = Listing(20, etags=False)
    line, headers, body = asked(listing, "/records?page=1&limit=10", "If-None-Match: ")
    assert line == "HTTP/1.1 200 OK"
    assert "ETag" not in headers
    assert body


def test_requests_and_bytes_are_counted_from_look_to_look() -> None:
    """What a look tells is not told by the next one."""
    listing = Listing(20)
    _, headers, body = asked(listing, "/records?page=1&limit=10")
    asked(listing, "/records?page=1&limit=10", f"If-None-Match: {headers['ETag']}")
    told = {"requests": 2, "unchanged": 1, "body_bytes": len(body), "first_at": 7.0}
    assert json.loads(asked(listing, "/_counts")[2]) == told
    nothing = {"requests": 0, "unchanged": 0, "body_bytes": 0, "first_at": None}
    assert json.loads(asked(listing, "/_counts")[2]) == nothing


def test_what_is_no_page_is_refused() -> None:
    """A misspelt benchmark must not measure answers that say no."""
    listing = Listing(5)
    assert asked(listing, "/record?page=1")[0] == "HTTP/1.1 404 Not Found"
    for query in ("page=0", "limit=0", "page=x", "updated_since=then"):
        assert asked(listing, f"/records?{query}")[0] == "HTTP/1.1 400 Bad Request"
