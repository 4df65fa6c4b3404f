"""What a verify request asks for, and which answers settle a call."""

import json
from typing import Any

import attrs
import pytest

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.api.source import ApiSource
from syncd.api.verify import Verify
from syncd.config.settings import CallSettings, StreamSettings, VerifySettings
from syncd.errors import AccessDenied, ApiUnavailable, CallFailed, RateLimited
from syncd.sync.model import Record, Verdict
from tests.unit.api.rawserver import Behaviour, NotingPermit, RawServer, answer, cut, ok

COLUMNS = {"id": "text", "n": "bigint", "synced_at": "timestamptz"}
SETTINGS = VerifySettings(
    path="/api/campaigns/{id}?key={idempotency_key}",
    done="last.key",
    wanted="{idempotency_key}",
    keep={"synced_at": "last.at"},
)
STREAM = StreamSettings(
    name="campaigns",
    path="/api/campaigns",
    key=("id",),
    columns=COLUMNS,
    table="campaigns",
    call=CallSettings(path="/api/campaigns/{id}/sync", verify=SETTINGS),
)
AT = "2024-01-31T12:00:00Z"
DONE = f'{{"last": {{"key": "K-1", "at": "{AT}"}}}}'.encode()


def record(**fields: object) -> Record:
    texts = {name: json.dumps(value).encode() for name, value in fields.items()}
    return Record(key=json.dumps([fields.get("id")]), fields=texts, raw=json.dumps(fields).encode())


def asked(settings: VerifySettings = SETTINGS, **fields: object) -> Ask:
    return Verify(settings=settings, columns=COLUMNS).ask(record(**fields), "K-1")


def test_fields_and_the_key_stand_in_the_path() -> None:
    """As in the call's own path: encoded, so that no record leads elsewhere."""
    ask = asked(id="a/b?c")
    assert (ask.method, ask.path) == ("GET", "/api/campaigns/a%2Fb%3Fc?key=K-1")
    assert asked(attrs.evolve(SETTINGS, path="/k/{idempotency_key}"), idempotency_key="x").path == (
        "/k/K-1"
    )


def test_a_field_without_a_value_asks_for_nothing() -> None:
    """The reason names verify, not the call."""
    with pytest.raises(CallFailed, match="verify's path needs id, which is null"):
        asked(id=None)


async def verified(
    server: RawServer,
    permit: NotingPermit,
    behaviour: Behaviour,
    settings: VerifySettings = SETTINGS,
    **fields: object,
) -> Verdict:
    server.otherwise = behaviour
    call = CallSettings(path="/x", verify=settings)
    async with ApiClient(server.source()) as client:
        source = ApiSource(client.settings, attrs.evolve(STREAM, call=call), client)
        assert source.verifiable
        return await source.verify(record(id="a", **fields), "K-1", permit)


async def test_a_call_that_was_carried_out_gives_its_kept_columns(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-blind-repeat: the row is as if the call's own answer had come."""
    verdict = await verified(server, permit, ok(DONE))
    assert verdict.outcome == "done"
    assert verdict.kept == f'{{"synced_at":"{AT}"}}'.encode()
    assert server.heads[0].startswith("GET /api/campaigns/a?key=K-1 HTTP/1.1")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"last": {"key": "K-0", "at": "x"}}', "`last.key` is K-0, not K-1"),
        (b'{"last": {"key": null}}', "`last.key` is null, not K-1"),
        (b'{"last": null}', "`last.key` is null, not K-1"),
    ],
)
async def test_another_value_is_not_done(
    server: RawServer, permit: NotingPermit, body: bytes, said: str
) -> None:
    """no-blind-repeat: a null is what an API shows of what never happened."""
    assert await verified(server, permit, ok(body)) == Verdict(outcome="not-done", reason=said)


CANNOT_TELL: dict[str, tuple[Behaviour, str]] = {
    "missing": (ok(b'{"other": 1}'), "the answer has no `last.key`; it has the keys other"),
    "a list above": (ok(b'{"last": []}'), "the answer has no `last.key`"),
    "no single value": (ok(b'{"last": {"key": {"a": 1}}}'), "no single value"),
    "no kept value": (
        ok(b'{"last": {"key": "K-1"}}'),
        "carried out, but the answer has no `last.at`",
    ),
    "a kept value that does not fit": (ok(b'{"last": {"key": "K-1", "at": "soon"}}'), "synced_at"),
    "HTML": (ok(b"<html>"), "not JSON"),
    "404": (answer(404), "GET /api/campaigns/a answered 404"),
    "410": (answer(410), "answered 410"),
    "a redirect": (answer(301, location="/x"), "a redirect"),
    "405": (answer(405), "answered 405"),
}


@pytest.mark.parametrize("case", CANNOT_TELL)
async def test_an_answer_that_is_not_as_described_does_not_tell(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """no-blind-repeat: it costs that record, with what was found."""
    behaviour, said = CANNOT_TELL[case]
    verdict = await verified(server, permit, behaviour)
    assert verdict.outcome == "unknown"
    assert said in verdict.reason


async def test_a_404_means_what_the_config_says(server: RawServer, permit: NotingPermit) -> None:
    """no-blind-repeat: only an operator knows whether nothing found is nothing done."""
    settings = attrs.evolve(SETTINGS, not_found="not-done")
    assert (await verified(server, permit, answer(404), settings)).outcome == "not-done"
    assert (await verified(server, permit, answer(410), settings)).outcome == "unknown"


@pytest.mark.parametrize(
    ("wanted", "body", "outcome"),
    [
        ("true", b'{"v": true}', "done"),
        ("true", b'{"v": false}', "not-done"),
        ("3", b'{"v": 3}', "done"),
        ("{n}", b'{"v": 3}', "done"),
        ("{n}", b'{"v": 2}', "not-done"),
        ("{gone}", b'{"v": 2}', "unknown"),
    ],
)
async def test_the_value_is_compared_as_text(
    server: RawServer, permit: NotingPermit, wanted: str, body: bytes, outcome: str
) -> None:
    """A flag, a number, or a field of the record."""
    settings = VerifySettings(path="/x/{id}", done="v", wanted=wanted)
    assert (await verified(server, permit, ok(body), settings, n=3)).outcome == outcome


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (answer(500), ApiUnavailable),
        (answer(503), ApiUnavailable),
        (answer(429), RateLimited),
        (cut, ApiUnavailable),
        (ok(b'{"last": '), ApiUnavailable),
        (answer(401), AccessDenied),
    ],
)
async def test_trouble_is_for_the_retry_and_credentials_for_the_operator(
    server: RawServer, permit: NotingPermit, behaviour: Behaviour, kind: type[Exception]
) -> None:
    """A GET may be asked again; an outage says nothing of the call."""
    with pytest.raises(kind):
        await verified(server, permit, behaviour)


@pytest.mark.parametrize(
    ("changes", "sends"),
    [
        ({"repeat": "with-key"}, True),
        ({"repeat": "never"}, False),
        ({"repeat": "idempotent"}, False),
        ({"verify": SETTINGS}, True),
        ({"verify": VerifySettings(path="/x/{id}", done="v")}, False),
    ],
)
async def test_a_call_carries_its_key_where_something_needs_it(
    server: RawServer, permit: NotingPermit, changes: dict[str, Any], sends: bool
) -> None:
    """A verify request can look for the key only if the API was told it."""
    server.otherwise = ok(b"{}")
    stream = attrs.evolve(STREAM, call=CallSettings(path="/x", **changes))
    async with ApiClient(server.source()) as client:
        await ApiSource(client.settings, stream, client).call(record(id="a"), "K-1", permit)
    assert ("idempotency-key: k-1" in server.heads[0].lower()) == sends
