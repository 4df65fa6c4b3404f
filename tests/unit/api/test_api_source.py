"""What each status, body and setting means for pages, calls and rows, on real sockets."""

import json
from typing import Any

import attrs
import pytest
import trio.testing

from syncd.api.client import ApiClient
from syncd.api.source import ApiSource
from syncd.config.settings import (
    CallSettings,
    CursorPages,
    KeyAuth,
    LinkPages,
    NoPages,
    NumberPages,
    SearchSettings,
    Secret,
    StreamSettings,
    UrlPages,
)
from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallFailed,
    RateLimited,
    StreamBroken,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.model import Record
from syncd.sync.ports import Source
from tests.unit.api.rawserver import (
    Behaviour,
    NotingPermit,
    RawServer,
    answer,
    cut,
    hang,
    ok,
    raw,
    token_auth,
)

COLUMNS = {"id": "text", "name": "text", "budget": "numeric", "synced_at": "timestamptz"}
CALL = CallSettings(
    path="/api/campaigns/{id}/sync",
    repeat="idempotent",
    success="success",
    keep={"synced_at": "synced_at"},
)
STREAM = StreamSettings(
    name="campaigns",
    path="/api/campaigns",
    params={"sort": "id"},
    records="data",
    key=("id",),
    columns=COLUMNS,
    table="campaigns",
    page=NumberPages(size=10, more="pagination.has_more", total="pagination.total"),
    call=CALL,
)
SYNCED = b'{"success": true, "synced_at": "2024-01-31T12:00:00Z", "message": "done"}'


def source_of(
    server: RawServer, client: ApiClient, call: CallSettings | None = CALL, **changes: Any
) -> ApiSource:
    stream = attrs.evolve(STREAM, call=call, **changes)
    return ApiSource(client.settings, stream, client)


def page(records: str, more: str = "true") -> bytes:
    pagination = f'{{"has_more": {more}, "total": 100}}'
    return f'{{"data": [{records}], "pagination": {pagination}}}'.encode()


def record(**fields: object) -> Record:
    texts = {name: json.dumps(value).encode() for name, value in fields.items()}
    return Record(key=json.dumps([fields.get("id")]), fields=texts, raw=json.dumps(fields).encode())


async def test_a_page_is_fetched_and_decoded(server: RawServer, permit: NotingPermit) -> None:
    """The request's parameters, and all that the page says."""
    server.will(ok(page('{"id": "a"}, {"id": 1, "budget": "x"}, {"id": "a"}')))
    async with ApiClient(server.source()) as client:
        source: Source = source_of(server, client)
        got = await source.fetch("7", permit)

    assert server.heads[0].startswith("GET /api/campaigns?sort=id&page=7&limit=10 HTTP/1.1")
    assert [r.key for r in got.records] == ['["a"]']
    assert [r.key for r in got.rejects] == ['["1"]']
    assert (got.folded, got.seen, got.total, got.next_cursor) == (1, 3, 100, "8")
    assert got.request == "GET /api/campaigns?page=7&limit=10 answered 200", (
        "the rest may be secret"
    )


async def test_the_last_page_ends_the_cycle(server: RawServer, permit: NotingPermit) -> None:
    """An empty one with has_more does not."""
    server.will(ok(page("", "true")), ok(page("", "false")))
    async with ApiClient(server.source()) as client:
        source = source_of(server, client)
        assert (await source.fetch(None, permit)).next_cursor == "2"
        assert (await source.fetch("2", permit)).next_cursor is None


async def test_a_list_that_is_searched_for_by_post(server: RawServer, permit: NotingPermit) -> None:
    """What is looked for stands in the body, and with it the cursor, as text or number."""
    server.will(ok(b'{"data": [{"id": "a"}], "next_cursor": "x=="}'), ok(page("", "true")))
    search = SearchSettings(body={"state": ["open"]})
    async with ApiClient(server.source()) as client:
        source = source_of(
            server, client, page=CursorPages(size=7, size_param="n"), search=search, params={}
        )
        got = await source.fetch(None, permit)
        counted = SearchSettings(body={"state": "open"}, place="query")
        source = source_of(server, client, page=NumberPages(size=7), search=counted)
        with pytest.raises(UnexpectedAnswer):
            await source.fetch("3", permit)

    first, second = server.heads
    assert first.startswith("POST /api/campaigns HTTP/1.1")
    assert "content-type: application/json" in first.lower()
    assert got.next_cursor == "x=="
    assert json.loads(server.bodies[0]) == {"state": ["open"], "n": 7}
    assert second.startswith("POST /api/campaigns?sort=id&page=3&limit=7 HTTP/1.1")


async def test_the_next_page_is_asked_for_at_the_address_that_was_given(
    server: RawServer, permit: NotingPermit
) -> None:
    """On the server that base_url names, whatever path it has of its own."""
    link = '<http://127.0.0.1:1/other/items?c=x%20y&sort=id>; rel="next"'
    server.will(ok(b'{"data": [{"id": "a"}]}', link=link), ok(b'{"data": []}'))
    async with ApiClient(attrs.evolve(server.source(), base_url=f"{server.url}/v1")) as client:
        source = source_of(server, client, page=LinkPages(size=7, size_param="n"))
        got = await source.fetch(None, permit)
        assert got.next_cursor == "/other/items?c=x%20y&sort=id"
        last = await source.fetch(got.next_cursor, permit)

    assert server.heads[0].startswith("GET /v1/api/campaigns?sort=id&n=7 HTTP/1.1")
    assert server.heads[1].startswith("GET /other/items?c=x%20y&sort=id HTTP/1.1")
    assert last.next_cursor is None
    assert got.request == "GET /api/campaigns?n=7 answered 200"
    assert last.request == "GET /other/items?c=…&sort=… answered 200", "it may be a signed address"


async def test_a_key_that_an_api_writes_into_the_next_address_is_kept_nowhere(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-secret-out: a cursor stands in the database. The key is sent all the same."""
    auth = KeyAuth(key=Secret("canary key", "env KEY"), header=None, query="api key")
    body = {"data": [{"id": "a"}], "next": "/items?p=2&api+key=canary+key&q=1"}
    elsewhere = {"data": [{"id": "a"}], "next": "/items/canary%20key"}
    server.will(
        ok(json.dumps(body).encode()),
        ok(b'{"data": [], "next": null}'),
        ok(json.dumps(elsewhere).encode()),
    )
    async with ApiClient(server.source(auth=auth)) as client:
        source = source_of(server, client, page=UrlPages(), params={})
        got = await source.fetch(None, permit)
        assert got.next_cursor == "/items?p=2&q=1"
        await source.fetch(got.next_cursor, permit)
        with pytest.raises(UnexpectedAnswer, match="holds a credential") as e:
            await source.fetch(None, permit)

    assert server.heads[1].startswith("GET /items?p=2&q=1&api%20key=canary%20key HTTP/1.1")
    assert "canary" not in str(e.value)


async def test_a_404_ends_a_list_that_nothing_else_ends(
    server: RawServer, permit: NotingPermit
) -> None:
    """CASES 18: after the first page, and never on it."""
    server.otherwise = answer(404)
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, page=NumberPages(until="short", more=None))
        got = await source.fetch("3", permit)
        assert (got.seen, got.next_cursor) == (0, None)
        with pytest.raises(UnexpectedAnswer, match="404"):
            await source.fetch(None, permit)


Expected = tuple[type[SyncdError], str, dict[str, object]]
LISTS: dict[str, tuple[Behaviour, Expected]] = {
    "429 with a header": (
        answer(429, b"{}", retry_after="30"), (RateLimited, "answered 429", {"hint": 30.0}),
    ),
    "429 with a body": (
        answer(429, b'{"retry_after": 60}'), (RateLimited, "answered 429", {"hint": 60.0}),
    ),
    "429 with nothing": (answer(429), (RateLimited, "answered 429", {"hint": None})),
    "429 with zero": (answer(429, retry_after="0"), (RateLimited, "429", {"hint": None})),
    "429 with the window's end": (
        answer(429, x_ratelimit_reset="30"), (RateLimited, "429", {"hint": 30.0}),
    ),
    "500 with the window's end": (
        answer(500, x_ratelimit_reset="30"), (ApiUnavailable, "500", {"hint": None}),
    ),
    "503 with nothing left of the quota": (
        answer(503, x_ratelimit_reset="30", x_ratelimit_remaining="0"),
        (ApiUnavailable, "503", {"hint": 30.0}),
    ),
    "429 for ever": (answer(429, retry_after="1e9"), (RateLimited, "429", {"hint": 604800.0})),
    "503": (
        answer(503, b'{"error": "try later"}', retry_after="2"),
        (ApiUnavailable, "answered 503: try later", {"hint": 2.0, "sent": "refused"}),
    ),
    "500": (answer(500), (ApiUnavailable, "500: an empty body", {"hint": None, "sent": "unknown"})),
    "502": (answer(502, b"<h1>Bad\n gateway"), (ApiUnavailable, "502: <h1>Bad gateway", {})),
    "408": (answer(408), (ApiUnavailable, "answered 408", {"sent": "unknown"})),
    "425": (answer(425), (ApiUnavailable, "answered 425", {"sent": "refused"})),
    "404": (answer(404, b"<html>"), (UnexpectedAnswer, "answered 404: <html>. Check base_url", {})),
    "400": (
        answer(400, b'{"error": {"message": "limit too large"}}'),
        (UnexpectedAnswer, "answered 400: limit too large", {}),
    ),
    "401": (answer(401), (AccessDenied, "answered 401", {})),
    "403": (answer(403, b'{"message": "no"}'), (AccessDenied, "answered 403", {})),
    "a redirect": (
        answer(302, location="https://evil.example:444/x?token=canary-1"),
        (UnexpectedAnswer, "answered 302, a redirect to evil.example. Redirects", {}),
    ),
    "a redirect to itself": (
        answer(301, location="/api/campaigns/"), (UnexpectedAnswer, "another path of the same", {}),
    ),
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), (UnexpectedAnswer, "answered 304", {})),
    "HTML": (
        ok(b"<html>Hello", content_type="text/html"),
        (UnexpectedAnswer, "GET /api/campaigns: the answer is not JSON (text/html)", {}),
    ),
    "200 with an error": (
        ok(b'{"success": false}'), (UnexpectedAnswer, "no records at `data`", {}),
    ),
    "has_more missing": (ok(b'{"data": []}'), (UnexpectedAnswer, "which says whether", {})),
    "cut JSON": (ok(b'{"data": [{"id": "a"}'), (ApiUnavailable, "ends early", {})),
    "cut": (cut, (ApiUnavailable, "connection was lost", {"sent": "unknown"})),
    "hang": (hang, (ApiUnavailable, "no answer within 15 s", {"sent": "unknown"})),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
async def test_what_each_answer_to_a_list_means(
    server: RawServer, permit: NotingPermit, jumping: trio.testing.MockClock, case: str
) -> None:
    """Try again, wait, or park the stream with a sentence that says on what to act."""
    behaviour, (kind, words, facts) = LISTS[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(kind) as caught:
            await source_of(server, client).fetch(None, permit)

    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    for name, value in facts.items():
        assert getattr(caught.value, name) == value
    assert ("refused" in permit.notes) == (kind is RateLimited)


async def test_a_404_where_a_page_should_follow_is_not_the_end(
    server: RawServer, permit: NotingPermit
) -> None:
    """CASES 18, accounted: `has_more` wins; the sentence does not blame the address."""
    server.will(ok(page('{"id": "a"}')), answer(404, b'{"error": "no such page"}'))
    async with ApiClient(server.source()) as client:
        source = source_of(server, client)
        cursor = (await source.fetch(None, permit)).next_cursor
        assert cursor == "2"
        with pytest.raises(UnexpectedAnswer, match="answered 404: no such page") as caught:
            await source.fetch(cursor, permit)

    assert caught.value.hint.startswith("The page before said that this one follows")
    assert "base_url" not in caught.value.hint


async def test_no_redirect_is_followed(
    server: RawServer, permit: NotingPermit, nursery: trio.Nursery
) -> None:
    """Case 15: neither to another host nor with our headers."""
    elsewhere = RawServer()
    await nursery.start(elsewhere.serve)
    server.will(answer(307, location=elsewhere.url + "/steal"))
    async with ApiClient(server.source(auth=token_auth())) as client:
        with pytest.raises(UnexpectedAnswer):
            await source_of(server, client).fetch(None, permit)

    assert elsewhere.connections == 0


async def test_rejects_hold_no_secret_that_the_api_echoes(
    server: RawServer, permit: NotingPermit
) -> None:
    """Promise 8, no-secret-out: dead letters are kept, so our own credentials are struck out."""
    headers = {"X-Api-Key": Secret("canary-key", "env KEY")}
    server.will(ok(page('{"id": "a", "budget": "canary-key"}')))
    async with ApiClient(server.source(headers=headers)) as client:
        got = await source_of(server, client).fetch(None, permit)

    assert b"canary" not in got.rejects[0].raw
    assert "canary" not in got.rejects[0].reason


# --- rows -------------------------------------------------------------------------------------


async def test_a_row_holds_the_columns_as_the_api_wrote_them() -> None:
    """Case 36: exact numbers; a number for a text column as its own text; kept columns apart."""
    server = RawServer()
    async with ApiClient(server.source()) as client:
        source = source_of(server, client)
        one = Record(
            key='["1e2"]',
            fields={"id": b"1e2", "budget": b"0.10", "synced_at": b'"x"', "other": b"NaN"},
            raw=b"raw",
        )
        plain, called = source.row(one, None), source.row(one, b'{"synced_at":null}')
        empty = source.row(one, b"{}")

    assert plain.json == b'{"id":"1e2","name":null,"budget":0.10}'
    assert called.json == b'{"id":"1e2","name":null,"budget":0.10,"synced_at":null}'
    assert empty.json == plain.json
    assert (plain.called, called.called, empty.called) == (False, True, True)
    assert called.raw == b"raw"


async def test_a_column_may_have_any_name() -> None:
    """Quotes, newlines and every plane."""
    names = ['a"b', "x\ny", "ü", "😀", "; DROP TABLE", "\\"]
    server = RawServer()
    columns = {"id": "text", **dict.fromkeys(names, "text")}
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, call=None, columns=columns)
        row = source.row(record(id="1", **{n: n for n in names}), None)

    assert json.loads(row.json) == {"id": "1", **{n: n for n in names}}


async def test_what_makes_a_cursor_valid_makes_the_fingerprint() -> None:
    """A change that a cursor does not outlive starts the cycle anew; others do not."""
    server = RawServer()
    async with ApiClient(server.source()) as client:

        def fingerprint(**changes: Any) -> str:
            return source_of(server, client, **changes).fingerprint

        same = [fingerprint(), fingerprint(every=5.0), fingerprint(volatile=frozenset({"name"}))]
        other = [
            fingerprint(path="/x"),
            fingerprint(params={}),
            fingerprint(where={"name": ("x",)}),
            fingerprint(page=NumberPages(size=11)),
            fingerprint(page=NumberPages(first=0)),
            fingerprint(page=NoPages()),
            fingerprint(search=SearchSettings()),
        ]

    assert len(set(same)) == 1
    assert len({same[0], *other}) == 8


# --- calls ------------------------------------------------------------------------------------


async def test_a_call_gives_the_kept_columns(server: RawServer, permit: NotingPermit) -> None:
    """The record's fields fill the path, percent-encoded."""
    server.otherwise = ok(SYNCED)
    async with ApiClient(server.source()) as client:
        source = source_of(server, client)
        for id_ in ("a", "a/b?c=1&ü#%2F .. ", 17):
            assert await source.call(record(id=id_), "KEY", permit) == (
                b'{"synced_at":"2024-01-31T12:00:00Z"}'
            )

    assert [h.split(" ")[1] for h in server.heads] == [
        "/api/campaigns/a/sync",
        "/api/campaigns/a%2Fb%3Fc%3D1%26%C3%BC%23%252F%20..%20/sync",
        "/api/campaigns/17/sync",
    ]
    assert "KEY" not in "".join(server.heads)


async def test_only_with_key_sends_the_key(server: RawServer, permit: NotingPermit) -> None:
    """In the header that the source asks for."""
    server.otherwise = ok(SYNCED)
    call = attrs.evolve(CALL, repeat="with-key", key_header="X-Request-Id", method="PUT")
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, call=call)
        assert source.has_call
        assert source.repeatable
        await source.call(record(id="a"), "KEY", permit)

    assert server.heads[0].startswith("PUT ")
    assert "X-Request-Id: KEY" in server.heads[0]


@pytest.mark.parametrize("value", [None, "", ".", "..", [1], {"a": 1}, "x" * 9000, "\ud800"])
async def test_a_field_that_cannot_stand_in_a_path_costs_its_record(
    server: RawServer, permit: NotingPermit, value: object
) -> None:
    """No call is led to another address by a record."""
    async with ApiClient(server.source()) as client:
        source = source_of(server, client)
        with pytest.raises(CallFailed, match=r"the call's path|cannot stand"):
            await source.call(record(id=value), "KEY", permit)
        with pytest.raises(CallFailed, match="needs id, which is missing"):
            await source.call(record(), "KEY", permit)

    assert server.heads == []
    assert permit.notes == []


FAILED = "call-failed"
CALLS: dict[str, tuple[Behaviour, str]] = {
    "404": (answer(404, b'{"error": "no such campaign"}'), "answered 404: no such campaign"),
    "409": (answer(409, b"busy"), "answered 409: busy"),
    "410": (answer(410), "answered 410: an empty body"),
    "422": (answer(422, b'{"detail": "paused"}'), "answered 422: paused"),
    "400": (answer(400, b'{"message": "' + b"x" * 5000 + b'"}'), "answered 400: xxx"),
    "success is false": (ok(b'{"success": false, "message": "no"}'), "is false, not true: no"),
    "success is text": (ok(b'{"success": "true"}'), '`success` of the answer is "true", not true'),
    "success is missing": (ok(b'{"ok": true}'), "`success` of the answer is missing"),
    "HTML": (ok(b"<html>"), "is not JSON"),
    "a bad kept value": (
        ok(b'{"success": true, "synced_at": "now"}'), 'column synced_at: found "now"; allowed',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kept_out", "dropped"), [(True, False), (False, True), (False, False)])
async def test_a_new_field_is_told_of_once_in_a_cycle_but_of_somebody(
    server: RawServer, permit: NotingPermit, kept_out: bool, dropped: bool
) -> None:
    """accounted: what one has that is kept out, or on a page that came to nothing, is still new
    when another one brings it.
    """
    columns, name = {"id": "text", "name": "text"}, "n" * 500
    first = f'{{"id": "a", "name": "{name}", "tag": 1}}, {{"id": "b", "name": "{name}"}}'
    server.will(ok(page(first)), ok(page(f'{{"id": "c", "name": "{name}", "tag": 1}}')))
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, None, columns=columns)
        got = await source.fetch(None, permit)
        assert [d.name for d in got.drifts] == ["tag"]
        if kept_out:
            assert source.look_again(got, {'["a"]'}).drifts == ()
        if dropped:
            source.anew()
        then = await source.fetch(got.next_cursor, permit)

    assert [d.name for d in then.drifts] == (["tag"] if kept_out or dropped else [])


@pytest.mark.parametrize("case", CALLS)
async def test_an_answer_that_concerns_one_record_costs_one_record(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """A dead letter with the API's own words, shortened."""
    behaviour, words = CALLS[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(CallFailed) as caught:
            await source_of(server, client).call(record(id="a"), "KEY", permit)

    assert caught.value.kind == FAILED
    assert words in caught.value.reason
    assert len(caught.value.reason) < 250


@pytest.mark.parametrize("case", CALLS)
async def test_no_blind_repeat_of_a_call_whose_answer_is_not_what_was_expected(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """no-blind-repeat: the letter of one that failed makes it again, so it has to be certain."""
    behaviour, words = CALLS[case]
    server.otherwise = behaviour
    call = attrs.evolve(CALL, repeat="never")
    async with ApiClient(server.source()) as client:
        with pytest.raises(CallFailed) as caught:
            await source_of(server, client, call=call).call(record(id="a"), "KEY", permit)

    certain = case.startswith("4") or case == "success is false"
    assert caught.value.kind == (FAILED if certain else "outcome-unknown")
    assert words in caught.value.reason
    assert certain or "answered 200, but not as expected: " in caught.value.reason


async def test_a_kept_value_that_is_not_there_is_null(
    server: RawServer, permit: NotingPermit
) -> None:
    """As in a record; and a number kept in a text column is its text."""
    server.otherwise = ok(b'{"success": true, "n": 1e2}')
    call = attrs.evolve(CALL, keep={"synced_at": "a.b", "name": "n"})
    async with ApiClient(server.source()) as client:
        kept = await source_of(server, client, call=call).call(record(id="a"), "KEY", permit)

    assert kept == b'{"synced_at":null,"name":"1e2"}'


@pytest.mark.parametrize("body", [b"", b"<html>", b"OK", b"{"])
async def test_where_nothing_is_kept_any_answer_will_do(
    server: RawServer, permit: NotingPermit, body: bytes
) -> None:
    """The status alone decides."""
    server.otherwise = answer(202, body)
    call = CallSettings(path="/do/{id}")
    async with ApiClient(server.source()) as client:
        assert await source_of(server, client, call=call).call(record(id="a"), "K", permit) == b"{}"


UNKNOWN: dict[str, Behaviour] = {
    "cut": cut,
    "hang": hang,
    "cut in the body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", close=True),
    "500": answer(500),
    "504": answer(504, retry_after="3"),
    "408": answer(408),
    "200 with cut JSON": ok(b'{"success": tr'),
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.parametrize("repeat", ["idempotent", "with-key", "never"])
async def test_a_call_with_an_unknown_outcome_is_repeated_only_where_it_may_be(
    server: RawServer,
    permit: NotingPermit,
    jumping: trio.testing.MockClock,
    case: str,
    repeat: Any,
) -> None:
    """Promise 7, no-blind-repeat; case 32."""
    server.otherwise = UNKNOWN[case]
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, call=attrs.evolve(CALL, repeat=repeat))
        assert source.repeatable == (repeat != "never")
        with pytest.raises((CallFailed, ApiUnavailable)) as caught:
            await source.call(record(id="a"), "KEY", permit)

    if repeat == "never":
        assert isinstance(caught.value, CallFailed)
        assert caught.value.kind == "outcome-unknown"
    else:
        assert isinstance(caught.value, ApiUnavailable)
        assert caught.value.sent == "unknown"


async def test_a_reused_connection_that_was_closed_is_no_licence_to_repeat(
    server: RawServer, permit: NotingPermit
) -> None:
    """Case 40 meets promise 7: the server may have read the call before it closed."""
    server.will(ok(SYNCED), cut, ok(SYNCED), cut)
    async with ApiClient(server.source()) as client:
        never = source_of(server, client, call=attrs.evolve(CALL, repeat="never"))
        await never.call(record(id="a"), "KEY", permit)
        with pytest.raises(CallFailed):
            await never.call(record(id="b"), "KEY", permit)
        again = source_of(server, client)
        await again.call(record(id="a"), "KEY", permit)
        with pytest.raises(ApiUnavailable) as caught:
            await again.call(record(id="b"), "KEY", permit)

    assert caught.value.stale_connection


@pytest.mark.parametrize("status", [503, 425, 429])
async def test_a_call_that_was_refused_may_always_be_repeated(
    server: RawServer, permit: NotingPermit, status: int
) -> None:
    """The server said that it did not act."""
    server.otherwise = answer(status)
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, call=attrs.evolve(CALL, repeat="never"))
        with pytest.raises((ApiUnavailable, RateLimited)):
            await source.call(record(id="a"), "KEY", permit)


async def test_a_login_that_fails_sends_no_call(server: RawServer, permit: NotingPermit) -> None:
    """Nothing was asked, so that even a call that must not be repeated may come again."""
    server.logins.append(cut)
    call = attrs.evolve(CALL, repeat="never")
    async with ApiClient(server.source(auth=token_auth())) as client:
        with pytest.raises(ApiUnavailable, match="login") as caught:
            await source_of(server, client, call=call).call(record(id="a"), "KEY", permit)

    assert caught.value.sent == "no"


@pytest.mark.parametrize(
    ("behaviour", "kind", "refused"),
    [
        (answer(401), AccessDenied, None),
        (answer(403), AccessDenied, None),
        (answer(405), UnexpectedAnswer, True),
        (answer(301, location="/x"), UnexpectedAnswer, True),
        (answer(308, location="/x"), UnexpectedAnswer, True),
        (answer(303, location="/x"), UnexpectedAnswer, False),
    ],
)
async def test_what_concerns_all_calls_parks_the_stream(
    server: RawServer,
    permit: NotingPermit,
    behaviour: Behaviour,
    kind: type[StreamBroken],
    refused: bool | None,
) -> None:
    """A missing right or a wrong method is not the record's; and whether it was carried out."""
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(kind) as caught:
            await source_of(server, client).call(record(id="a"), "KEY", permit)

    assert refused is None or caught.value.refused == refused
