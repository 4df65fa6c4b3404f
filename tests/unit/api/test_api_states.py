"""What an API calls the state of a page, and what its 304 is worth, on real sockets."""

import json
from typing import Any

import attrs
import pytest

from syncd.api.client import ApiClient
from syncd.api.shown import Redactor
from syncd.api.source import ApiSource
from syncd.api.states import judged_by, may_know, speaks_of, validator_of
from syncd.config.settings import (
    BearerAuth,
    CallSettings,
    ErrorRule,
    IncrementalSettings,
    LinkPages,
    NumberPages,
    SearchSettings,
    Secret,
    SourceSettings,
    StreamSettings,
)
from syncd.errors import ApiUnavailable, UnexpectedAnswer
from syncd.sync.drift import Added, Evolution
from syncd.sync.known import KnownPage, Validator
from syncd.sync.model import Page
from tests.unit.api.rawserver import NotingPermit, RawServer, answer, ok

STREAM = StreamSettings(
    name="items",
    path="/items",
    records="data",
    key=("id",),
    columns={"id": "text"},
    table="items",
    page=NumberPages(size=2, more="more", total="total"),
)
SOURCE = SourceSettings(name="s", base_url="http://a")
PAGE = b'{"data": [{"id": "a"}, {"id": "b"}], "more": true, "total": 9}'
DATE = "Thu, 26 Nov 2026 12:00:00 GMT"
EARLIER = "Thu, 26 Nov 2026 11:00:00 GMT"


def source_of(client: ApiClient, **changes: Any) -> ApiSource:
    return ApiSource(client.settings, attrs.evolve(STREAM, **changes), client)


def known_of(page: Page, source: ApiSource, cursor: str | None = None) -> KnownPage:
    return KnownPage(
        asked=source.asked(cursor),
        judged=source.judged,
        validator=page.validator,
        next_cursor=page.next_cursor,
        total=page.total,
        records=len(page.records),
        fingerprint=page.fingerprint(),
        keys=(1, 2),
    )


def header_of(head: str, name: str) -> str | None:
    for line in head.split("\r\n")[1:]:
        found, _, value = line.partition(": ")
        if found.lower() == name:
            return value
    return None


async def test_a_page_is_asked_for_by_its_state(server: RawServer, permit: NotingPermit) -> None:
    """budget: 304 has no body, costs its token, and says what the page was when it was read."""
    server.will(ok(PAGE, ETag='W/"v1"'), answer(304, ETag='"v1"'))
    async with ApiClient(server.source()) as client:
        source = source_of(client)
        first = await source.fetch(None, permit)
        known = known_of(first, source)
        again = await source.fetch(None, permit, None, known)

    assert first.validator == Validator(text='W/"v1"')
    assert [header_of(head, "if-none-match") for head in server.heads] == [None, 'W/"v1"']
    assert (again.same, again.records, again.seen) == (known, [], 2)
    assert (again.next_cursor, again.total) == (first.next_cursor, 9)
    assert again.fingerprint() == first.fingerprint()
    assert again.request == "GET /items?page=1&limit=2 answered 304"
    assert permit.notes.count("spend") == 2


async def test_another_state_comes_with_its_body(server: RawServer, permit: NotingPermit) -> None:
    """The page is read as ever, and known by its new state."""
    server.will(ok(PAGE, ETag='"v1"'), ok(PAGE, ETag='"v2"'))
    async with ApiClient(server.source()) as client:
        source = source_of(client)
        known = known_of(await source.fetch(None, permit), source)
        page = await source.fetch(None, permit, None, known)
    assert (page.same, page.seen, page.validator) == (None, 2, Validator(text='"v2"'))


async def test_a_304_that_means_another_state_is_not_believed(
    server: RawServer, permit: NotingPermit
) -> None:
    """The page is asked for whole, for a token of its own, and nobody asks so again."""
    server.will(ok(PAGE, ETag='"v1"'), answer(304, ETag='"v7"'), ok(PAGE, ETag='"v7"'))
    async with ApiClient(server.source()) as client:
        source = source_of(client)
        known = known_of(await source.fetch(None, permit), source)
        page = await source.fetch(None, permit, None, known)
        assert not source.conditional
    assert (page.same, page.seen, page.validator) == (None, 2, None)
    assert header_of(server.heads[2], "if-none-match") is None
    assert permit.notes.count("spend") == 3


async def test_a_304_that_nobody_asked_for_is_no_page(
    server: RawServer, permit: NotingPermit
) -> None:
    """accounted: nothing is known that it could stand for."""
    server.will(answer(304))
    async with ApiClient(server.source()) as client:
        with pytest.raises(UnexpectedAnswer, match="nobody had asked for that"):
            await source_of(client).fetch(None, permit)


async def test_a_304_that_a_rule_names_is_the_rules(
    server: RawServer, permit: NotingPermit
) -> None:
    """What the config says of an answer comes first."""
    server.will(ok(PAGE, ETag='"v1"'), answer(304))
    rule = ErrorRule(status=("304",), then="retry")
    async with ApiClient(server.source()) as client:
        source = source_of(client, errors=(rule,))
        known = known_of(await source.fetch(None, permit), source)
        with pytest.raises(ApiUnavailable):
            await source.fetch(None, permit, None, known)


NEXT = '</items?page=2>; rel="next"'


@pytest.mark.parametrize(
    ("headers", "believed"),
    [
        ({"Link": NEXT}, True),
        ({}, False),
        ({"Link": '</items?page=7>; rel="next"'}, False),
        ({"Link": "malformed"}, False),
    ],
)
async def test_where_a_header_names_the_next_page_a_304_has_to_name_it_too(
    server: RawServer, permit: NotingPermit, headers: dict[str, Any], believed: bool
) -> None:
    """accounted: a state is one of a body, and says nothing of what follows."""
    body = b'{"data": [{"id": "a"}]}'
    server.will(ok(body, ETag='"v1"', Link=NEXT), answer(304, **headers))
    server.will(ok(body, ETag='"v1"', Link=NEXT))
    async with ApiClient(server.source()) as client:
        source = source_of(client, page=LinkPages())
        known = known_of(await source.fetch(None, permit), source)
        page = await source.fetch(None, permit, None, known)
    assert (page.same is not None) == believed
    assert page.next_cursor == "/items?page=2"


async def test_where_a_header_names_the_next_page_the_last_one_is_read(
    server: RawServer, permit: NotingPermit
) -> None:
    """accounted: that another page follows by now would be told by no body."""
    server.will(ok(b'{"data": [{"id": "a"}]}', ETag='"v1"'))
    async with ApiClient(server.source()) as client:
        page = await source_of(client, page=LinkPages()).fetch(None, permit)
    assert (page.next_cursor, page.validator) == (None, None)


async def test_a_state_that_holds_a_credential_is_not_kept(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-secret-out: it would stand in the database."""
    server.will(ok(PAGE, ETag='"for canary-token"'))
    auth = BearerAuth(token=Secret("canary-token", "env TOKEN"))
    async with ApiClient(server.source(auth=auth)) as client:
        assert (await source_of(client).fetch(None, permit)).validator is None


@pytest.mark.parametrize(
    ("etag", "kept"),
    [
        ('"abc"', True),
        ('W/"abc-gzip"', True),
        ('""', True),
        ("abc123==", True),
        ("*", False),
        ('"a", "b"', False),
        ("a b", False),
        ('"ä"', False),
        ('"' + "x" * 300 + '"', False),
        ("", False),
    ],
)
def test_only_what_is_one_plain_etag_is_kept(etag: str, kept: bool) -> None:
    """It is sent back as it came, and `*` would mean any state at all."""
    found = validator_of({"etag": etag}, Redactor(), times=True)
    assert found == (Validator(text=etag) if kept else None)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"last-modified": EARLIER, "date": DATE}, True),
        ({"last-modified": EARLIER, "date": DATE, "etag": "*"}, False),
        ({"last-modified": DATE, "date": DATE}, False),
        ({"last-modified": EARLIER}, False),
        ({"last-modified": "yesterday", "date": DATE}, False),
    ],
)
def test_a_time_is_a_state_only_once_it_is_settled(headers: dict[str, str], kept: bool) -> None:
    """Within a second a page may change twice; and only the config has times asked by."""
    assert (validator_of(headers, Redactor(), times=True) is not None) == kept
    assert validator_of(headers, Redactor(), times=False) is None


async def test_if_modified_since_is_sent_where_there_is_no_etag(
    server: RawServer, permit: NotingPermit
) -> None:
    """As the config says."""
    server.will(ok(PAGE, Last_Modified=EARLIER, Date=DATE), answer(304))
    async with ApiClient(server.source()) as client:
        source = source_of(client, conditional="last-modified")
        known = known_of(await source.fetch(None, permit), source)
        assert (await source.fetch(None, permit, None, known)).same == known
    assert header_of(server.heads[1], "if-modified-since") == EARLIER
    assert header_of(server.heads[1], "if-none-match") is None


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ({}, True),
        ({"etag": '"abc"'}, True),
        ({"etag": 'W/"abc"'}, True),
        ({"etag": '"abc-gzip"'}, True),
        ({"etag": '"abc;br"'}, True),
        ({"etag": '"abcd"'}, False),
    ],
)
def test_a_304_may_name_its_state_as_a_proxy_has_made_it(said: dict[str, str], same: bool) -> None:
    """Compression changes an ETag on its way; another state is another one."""
    assert speaks_of(said, Validator(text='W/"abc"')) == same
    assert speaks_of(said, Validator(text='"abc--gzip"')) == same


BY_CALL = CallSettings(path="/items/{id}", when="changed")


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"conditional": "never"}, False),
        ({"call": BY_CALL}, True),
        ({"call": attrs.evolve(BY_CALL, when="always")}, False),
        ({"incremental": IncrementalSettings(field="at", param="since")}, False),
        ({"search": SearchSettings()}, False),
    ],
)
def test_pages_are_known_only_where_no_record_need_be_met(
    changes: dict[str, Any], may: bool
) -> None:
    """Not where each has its call, nor where only what has changed is asked for."""
    assert may_know(attrs.evolve(STREAM, **changes)) == may


def test_whatever_decides_about_a_record_is_in_the_judgement() -> None:
    """And what only decides when it is looked at is no harm in it."""
    secret = Secret("canary", "env KEY")
    by_key = attrs.evolve(STREAM, hide={"name": "hash"}, hide_key=secret)
    column = Evolution(columns=(Added(column="more", type="text", field="more"),))
    judged = [
        judged_by(SOURCE, STREAM, Evolution()),
        judged_by(SOURCE, STREAM, column),
        judged_by(attrs.evolve(SOURCE, headers={"X-Account": "b"}), STREAM, Evolution()),
        judged_by(attrs.evolve(SOURCE, auth=BearerAuth(token=secret)), STREAM, Evolution()),
        *(
            judged_by(SOURCE, attrs.evolve(STREAM, **change), Evolution())
            for change in (
                {"columns": {"id": "text", "name": "text"}},
                {"paths": {"id": "a.b"}},
                {"where": {"state": ("open",)}},
                {"volatile": frozenset({"id"})},
                {"hide": {"name": "mask"}},
                {"call": BY_CALL},
            )
        ),
        judged_by(SOURCE, by_key, Evolution()),
        judged_by(SOURCE, attrs.evolve(by_key, hide_key=Secret("other", "env KEY")), Evolution()),
    ]
    assert len(set(judged)) == len(judged)
    assert judged[0] == judged_by(SOURCE, STREAM, Evolution())
    assert all(len(text) == 32 for text in judged)


async def test_a_request_is_known_by_all_that_it_sends(server: RawServer) -> None:
    """The cursor, the parameters and the path; what follows from them is the same page."""
    async with ApiClient(server.source()) as client:
        source = source_of(client)
        others = [source_of(client, params={"a": "1"}), source_of(client, path="/x")]
        asked = {s.asked(cursor) for s in (source, *others) for cursor in (None, "2")}
        assert len(asked) == 6
        assert source.asked("1") == source.asked(None), "page 1 is the first one"
    assert json.dumps(sorted(asked)).isascii()
