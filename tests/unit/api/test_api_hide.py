"""no-secret-out: hidden fields are seen by nobody, whatever the record looks like."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.api.client import ApiClient
from syncd.api.hide import Hiding
from syncd.config.settings import ErrorRule, Secret
from syncd.errors import SyncdError, UnexpectedAnswer
from syncd.sync.model import Reject
from tests.unit.api.rawserver import NotingPermit, RawServer, answer, ok
from tests.unit.api.test_api_source import page, record, source_of

KEY = Secret("0123456789abcdef", "env HIDE")
HIDE: Any = {"email": "hash", "phone": "mask", "note": "drop", "address.street": "drop"}


def hidden(record: object, fields: Any = None, key: Secret = KEY) -> Any:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return json.loads(Hiding(HIDE if fields is None else fields, key).of(raw))


def test_each_way_to_hide_a_field() -> None:
    """And all else stays as the API wrote it."""
    record = {
        "id": 1,
        "email": "me@example.org",
        "phone": 4711,
        "note": "x",
        "address": {"street": "Main 1", "city": "Köln"},
    }
    got = hidden(record)
    assert got.pop("email").startswith("hmac:")
    assert got == {"id": 1, "phone": "***", "address": {"city": "Köln"}}


def test_equal_values_stay_equal_and_nobody_can_try() -> None:
    """By one key; another makes another hash. A number is not the text of its figures."""
    one, same, other = ({"email": e} for e in ("a", "a", "b"))
    assert hidden(one) == hidden(same) != hidden(other)
    assert hidden(one) != hidden(one, key=Secret("fedcba9876543210", "env HIDE"))
    assert hidden({"email": {"x": 1}})["email"].startswith("hmac:")


def test_what_was_hidden_is_not_hidden_again() -> None:
    """A dead letter comes this way a second time, and must keep its key."""
    once = hidden({"id": 1, "email": "a", "phone": "b", "note": "c"})
    assert hidden(once) == once


@pytest.mark.parametrize("value", [None, "missing"])
def test_nothing_stays_nothing(value: str | None) -> None:
    """That there is no email is not hidden."""
    record = {"id": 1, "email": None} if value is None else {"id": 1}
    assert hidden(record) == record


@pytest.mark.parametrize("value", ["canary", 7, True, ["canary"], [{"street": "canary"}]])
def test_what_should_be_an_object_and_is_none_is_hidden_whole(value: object) -> None:
    """Nobody can tell what of it should be hidden."""
    assert hidden({"address": value}) == {"address": "***"}


@pytest.mark.parametrize("raw", [b'"canary"', b'["canary"]', b'{"email": "canary"', b"canary"])
def test_a_record_that_is_none_is_hidden_whole(raw: bytes) -> None:
    """It becomes a dead letter, whose payload is kept."""
    assert hidden(raw) == "***"


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.just("canary")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["email", "address", "street", "b"]), inner),
        ),
    )
)
def test_nothing_below_a_hidden_path_is_left(record: Any) -> None:
    """Whatever stands where."""
    fields: Any = {"email": "mask", "address.street": "hash", "b.b": "drop"}
    got = hidden(record, fields)
    for path in fields:
        left = got
        for name in path.split("."):
            left = left.get(name) if isinstance(left, dict) else left
        assert "canary" not in json.dumps(left)


async def test_no_error_and_no_dead_letter_shows_what_is_hidden(
    server: RawServer, permit: NotingPermit
) -> None:
    """Nor does a page that is refused whole, which shows its beginning otherwise."""
    server.will(
        ok(page('{"id": "a", "name": "canary", "budget": "x"}, {"id": "b", "name": "canary"}')),
        ok(b'{"error": {"name": "canary"}}'),
    )
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, hide={"name": "hash"}, hide_key=KEY)
        got = await source.fetch(None, permit)
        with pytest.raises(UnexpectedAnswer) as e:
            await source.fetch(None, permit)
        again = source.judge(got.rejects[0].raw)

    (reject,) = got.rejects
    assert reject.key == '["a"]'
    assert b"canary" not in reject.raw + got.records[0].raw + source.row(got.records[0], None).json
    assert "canary" not in str(e.value) + reject.reason
    assert isinstance(again, Reject)
    assert again.raw == reject.raw


@pytest.mark.parametrize("then", [None, "retry", "wait", "park", "fail", "skip"])
async def test_no_error_in_words_shows_what_is_hidden(
    server: RawServer, permit: NotingPermit, then: Any
) -> None:
    """APIs quote what they refuse: `canary is taken`; so a rule's own words must do."""
    server.otherwise = answer(409, b'{"message": "canary is taken"}')
    rules = (ErrorRule(status=("409",), then=then, says="name it otherwise"),) if then else ()
    async with ApiClient(server.source()) as client:
        source = source_of(server, client, hide={"name": "hash"}, hide_key=KEY, errors=rules)
        with pytest.raises(SyncdError) as listed:
            await source.fetch(None, permit)
        with pytest.raises(SyncdError) as called:
            await source.call(record(id="a"), "key", permit)

    assert "canary" not in f"{listed.value} {called.value}"
    assert ("name it otherwise" in str(called.value)) == bool(then)
