"""Whether the config that a survey ends in reads the whole list, for many shapes of answers."""

import datetime as dt
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio.testing

from syncd.api.auth.bought import NoPermit
from syncd.api.client import ApiClient
from syncd.api.exchange import Answer, Ask
from syncd.api.shown import Redactor
from syncd.api.source import ApiSource
from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.errors import RateLimited, SyncdError, UnexpectedAnswer
from syncd.survey.asking import MOST, Asking, Place, Reply
from syncd.survey.fetching import Fetching
from syncd.survey.names import source_name, stream_name
from syncd.survey.survey import Survey, survey
from syncd.survey.written import Given, config
from tests.unit.survey.apis import APIS, HOST, Api
from tests.unit.survey.replay import Client

TODAY = dt.date(2024, 5, 17)


async def surveyed(client: Client) -> tuple[Survey, str]:
    api = client.api
    asking = Asking(Fetching(cast("ApiClient", client)), lambda _: None)
    stream = stream_name(api.path)
    place = Place(path=api.path, params=api.params, body=api.body)
    found = await survey(asking, place, stream, client.redactor)
    given = Given(url=HOST + api.path, source=source_name("api.shop.example"), stream=stream,
                  base_url=HOST)  # fmt: skip
    return found, config(found, given, TODAY)


def loaded(text: str, tmp_path: Path) -> Settings:
    path = tmp_path / "syncd.toml"
    path.write_text(text, "utf-8")
    return load(path, environ={}, secrets=False)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_the_config_reads_the_whole_list(
    api: Api, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Each record of each page comes once, and none is refused for its types."""
    client = Client(api)
    found, text = await surveyed(client)
    assert len(client.asked) == found.requests <= MOST
    assert (found.page.kind, found.key.columns, found.records) == (api.kind, api.key, api.records)
    types = {column.name: column.type for column in found.columns}
    assert {name: types.get(name) for name in api.types} == dict(api.types)

    assert await keys_read(api, text, tmp_path) == api.many, text


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
@pytest.mark.parametrize("many", [1, 7])
async def test_a_short_list_gives_a_config_that_reads_it(
    api: Api, many: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A list with one page shows less; what is written still loads and reads that page."""
    api = attrs.evolve(api, many=many)
    _, text = await surveyed(Client(api))
    (source,) = loaded(text, tmp_path).sources.values()
    (stream,) = source.streams.values()
    page = await ApiSource(source, stream, cast("ApiClient", Client(api, source))).fetch(
        None, NoPermit()
    )
    assert len(page.records) == many, text
    assert page.rejects == []


async def test_a_keyset_that_was_not_tried_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """A flag alone does not tell by which parameter the API goes on."""
    (api,) = (a for a in APIS if a.name == "Stripe")
    found, text = await surveyed(Client(attrs.evolve(api, many=7)))
    (page,) = (f for f in found.findings if f.what == "page")
    assert not page.sure
    assert "that `starting_after` asks for it was not tried: LOOK" in page.why
    assert "# guess: kind keyset" in text


LATER = [
    ("GitHub", {"page": "3", "state": "all"}, {"state": "all"}),
    ("Spring", {"page": "2"}, {}),
    ("pages that nothing tells of", {"page": "2"}, {}),
    ("the same, counted from 0", {"page": "2"}, {}),
    ("Jira", {"startAt": "0"}, {}),
    ("Mailchimp", {"offset": "40"}, {}),
    ("Stripe", {"starting_after": "ch_000040"}, {}),
    ("Slack", {"cursor": "dGVhbTpDMDY="}, {}),
]


@pytest.mark.parametrize(("name", "params", "kept"), LATER, ids=[f"{n}" for n, _, _ in LATER])
async def test_the_address_of_a_later_page_is_not_taken_for_that_of_the_list(
    name: str,
    params: dict[str, str],
    kept: dict[str, str],
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """accounted: it begins where the list does, and says so."""
    (api,) = (a for a in APIS if a.name == name)
    client = Client(attrs.evolve(api, params=params))
    found, text = await surveyed(client)
    assert (found.page.kind, dict(found.place.params)) == (api.kind, kept)
    assert await keys_read(api, text, tmp_path) == api.many, text
    said = [f for f in found.findings if f.what == "start"]
    if params.keys() & {"startAt"}:
        assert said == []
    else:
        ((param, value), *_) = params.items()
        assert f"({param}={value if value.isdigit() else '…'})" in said[0].why
        assert value.isdigit() or value not in text
        assert "# sure: the list's first page; the address asks for a later page" in text


@pytest.mark.parametrize(
    "params", [{"p": "37"}, {"start": "1700000000"}, {"cursor": "*"}, {"after": "2024-01-01"}]
)
async def test_what_may_be_a_filter_or_a_first_cursor_is_left_as_it_is(
    params: dict[str, str], autojump_clock: trio.testing.MockClock
) -> None:
    (api,) = (a for a in APIS if a.name == "GitHub")
    found, _ = await surveyed(Client(attrs.evolve(api, params=params)))
    assert dict(found.place.params) == params
    assert [f for f in found.findings if f.what == "start"] == []


async def keys_read(api: Api, text: str, tmp_path: Path) -> int:
    """How many records the config reads, each of which must come once."""
    (source,) = loaded(text, tmp_path).sources.values()
    (stream,) = source.streams.values()
    reading = ApiSource(source, stream, cast("ApiClient", Client(api, source)))
    keys: list[str] = []
    cursor: str | None = None
    for _ in range(api.many + 1):
        page = await reading.fetch(cursor, NoPermit())
        assert page.rejects == [], text
        keys += [record.key for record in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(keys) == len(set(keys)), text
    return len(keys)


async def test_nothing_more_is_asked_after_a_429(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known by then makes a config, which says that not all was asked."""
    client = Client(APIS[0])
    send, replies = client.send, 0

    async def refusing(ask: Ask, permit: object) -> Answer:
        nonlocal replies
        replies += 1
        if replies > 1:
            return Answer(status=429, headers={"retry-after": "30"}, body=b"{}")
        return await send(ask, permit)

    monkeypatch.setattr(client, "send", refusing)
    found, text = await surveyed(client)
    assert replies == 2
    assert found.page.kind == "link"
    assert "Not all was asked: the API answered 429" in text
    assert "# guess: kind link" in text


async def test_a_429_at_once_says_when_to_come_back() -> None:
    """Nothing is known then."""

    async def fetch(_: object) -> Reply:
        return Reply(status=429, headers={"retry-after": "30"}, body=b"")

    with pytest.raises(RateLimited, match="in 30 s"):
        await survey(Asking(fetch, lambda _: None), Place(path="/x"), "x", Redactor())


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html><body>Log in</body></html>", "text/html", "page for people"),
        (b'{"data": []}', "application/json", "the list at `data` is empty"),
        (b"[]", "application/json", "the list is empty"),
        (b'{"things": "https://api.example.com/things"}', "", "https://api.example.com/things"),
        (b'{"id": 1, "name": "one"}', "application/json", "no list of objects"),
        (b"[1, 2, 3]", "application/json", "no list of objects"),
        (b'{"a": {"id": 1}', "application/json", "ends early"),
        (b"", "application/json", "empty body"),
    ],
)
async def test_what_is_no_list_of_records_is_told_of(body: bytes, kind: str, words: str) -> None:
    """Each with what was found, and what to do."""

    async def fetch(_: object) -> Reply:
        return Reply(status=200, headers={"content-type": kind}, body=body)

    with pytest.raises(UnexpectedAnswer) as raised:
        await survey(Asking(fetch, lambda _: None), Place(path="/x"), "x", Redactor())
    assert words in str(raised.value)


@pytest.mark.parametrize("status", [400, 404, 405, 500, 503])
async def test_an_error_is_told_of(status: int) -> None:
    """With what the API says."""

    async def fetch(_: object) -> Reply:
        return Reply(status=status, body=b'{"message": "not like this"}')

    with pytest.raises(SyncdError, match="not like this"):
        await survey(Asking(fetch, lambda _: None), Place(path="/x"), "x", Redactor())


async def test_a_redirect_is_followed_on_the_same_server_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Credentials go nowhere else; a missing slash at the end is mended in the config."""
    to = "/x/"

    async def fetch(request: Any) -> Reply:
        if request.place.path == "/x":
            return Reply(status=301, headers={"location": to}, body=b"", url="https://a.example/x")
        return Reply(status=200, body=b'[{"id": 1}]', url="https://a.example/x/")

    found = await survey(Asking(fetch, lambda _: None), Place(path="/x"), "x", Redactor())
    assert found.place.path == "/x/"
    to = "https://b.example/x/"
    with pytest.raises(UnexpectedAnswer, match=r"redirect to https://b\.example/x/"):
        await survey(Asking(fetch, lambda _: None), Place(path="/x"), "x", Redactor())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.github.com", "github"),
        ("127.0.0.1", "api"),
        ("localhost", "api"),
        ("acme.zendesk.com", "zendesk"),
        ("api.shop.co.uk", "shop"),
    ],
)
def test_a_source_is_called_after_its_host(host: str, name: str) -> None:
    assert source_name(host) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/orders", "orders"),
        ("/v1/buckets/shop/collections/things/records", "things"),
        ("/admin/api/2024-10/orders.json", "orders"),
        ("/v1/databases/668d797c76fa49349b05ad288df2d136/query", "databases"),
        ("/", "records"),
        ("/crm/v3/objects/lineItems", "line_items"),
    ],
)
def test_a_stream_is_called_after_its_path(path: str, name: str) -> None:
    assert stream_name(path) == name
