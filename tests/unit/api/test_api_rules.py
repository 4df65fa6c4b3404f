"""Which answers a rule of the config names, and what becomes of their requests."""

from typing import Any

import attrs
import pytest

from syncd.api.client import ApiClient
from syncd.api.exchange import Answer
from syncd.api.rules import rule_of, rules_for
from syncd.api.source import ApiSource
from syncd.config.settings import (
    BearerAuth,
    CallSettings,
    ErrorRule,
    NumberPages,
    Secret,
    StreamSettings,
    Then,
    VerifySettings,
)
from syncd.errors import (
    AccessDenied,
    ApiUnavailable,
    CallFailed,
    CallSkipped,
    NotNow,
    ParkedByRule,
    RateLimited,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.model import Record
from tests.unit.api.rawserver import Behaviour, NotingPermit, RawServer, answer, ok, token_auth

CALL = CallSettings(path="/campaigns/{id}/sync", keep={"at": "at"})
STREAM = StreamSettings(
    name="campaigns",
    path="/campaigns",
    records="data",
    key=("id",),
    columns={"id": "text", "at": "timestamptz"},
    table="campaigns",
    page=NumberPages(size=10),
    call=CALL,
)
RECORD = Record(key='["a"]', fields={"id": b'"a"'}, raw=b'{"id": "a"}')
GOOD = b'{"data": [{"id": "a"}], "has_more": false}'


def rule(then: Then = "park", **said: Any) -> ErrorRule:
    return ErrorRule(then=then, **said)


def source_of(client: ApiClient, *rules: ErrorRule, **changes: Any) -> ApiSource:
    return ApiSource(client.settings, attrs.evolve(STREAM, errors=rules, **changes), client)


def calling(**changes: Any) -> dict[str, Any]:
    return {"call": attrs.evolve(CALL, **changes)}


# --- which answers a rule names -----------------------------------------------------------------

BODY = b"""\xef\xbb\xbf {"ok": false, "code": 17, "rate": 1.50, "none": null,
 "id": 9007199254740993,
 "error": {"code": "BUSY", "list": ["a", {"why": "b"}], "text": "a\\u0000\\ud800"},
 "a.b": "dotted", "": "x"}"""

NAMED: dict[str, tuple[ErrorRule, bool]] = {
    "its status": (rule(status=("403",)), True),
    "its class": (rule(status=("404", "4xx")), True),
    "another status": (rule(status=("404", "5xx")), False),
    "text": (rule(body={"error.code": ("GONE", "BUSY")}), True),
    "other text": (rule(body={"error.code": ("busy",)}), False),
    "a flag": (rule(body={"ok": ("false",)}), True),
    "a number": (rule(body={"code": ("17",)}), True),
    "a number as it was written": (rule(body={"rate": ("1.5",)}), False),
    "a large number": (rule(body={"id": ("9007199254740993",)}), True),
    "a name with a dot": (rule(body={"a.b": ("dotted",)}), True),
    "null": (rule(body={"none": ("null", "")}), False),
    "nothing": (rule(body={"error.what": ("",)}), False),
    "a table": (rule(body={"error": ("BUSY",)}), False),
    "a list": (rule(body={"error.list": ("a",)}), False),
    "a place in a list": (rule(body={"error.list.1.why": ("b",)}), True),
    "a place that is not there": (rule(body={"error.list.2.why": ("b",)}), False),
    "the last place, counted from the end": (rule(body={"error.list.-1.why": ("b",)}), False),
    "text that no other text is": (rule(body={"error.text": ("a",)}), False),
    "a header": (rule(header={"X-Error": ("quota",)}), True),
    "a header, spelt otherwise": (rule(header={"x-ERROR": ("x", "quota")}), True),
    "another value of a header": (rule(header={"X-Error": ("quot",)}), False),
    "a header that is not there": (rule(header={"X-Else": ("",)}), False),
    "all of it": (
        rule(status=("403",), header={"X-Left": ("0",)}, body={"code": ("17",)}), True,
    ),
    "all but the status": (rule(status=("404",), body={"code": ("17",)}), False),
    "all but a path": (rule(status=("403",), body={"code": ("17",), "ok": ("true",)}), False),
    "all but a header": (rule(status=("403",), header={"X-Left": ("1",)}), False),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_a_rule_names_an_answer_of_which_all_is_so(case: str) -> None:
    """Equality alone: values are compared as text, as the API wrote them."""
    of, named = NAMED[case]
    headers = {"x-error": " quota ", "x-left": "0"}
    found = rule_of((of,), Answer(status=403, headers=headers, body=BODY))
    assert found is (of if named else None)


def test_an_answer_may_be_a_list_of_errors() -> None:
    """And a page that is a list is looked into in the same way: it is no error."""
    limit = rule("wait", body={"0.errorCode": ("REQUEST_LIMIT_EXCEEDED",)})
    body = b'[{"message": "too many", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]'
    assert rule_of((limit,), Answer(status=403, headers={}, body=body)) is limit
    for other in (b"[]", b"[1, 2]", b'[{"id": "a"}', b'[{"errorCode": null}]', b'[{"x": NaN}]'):
        assert rule_of((limit,), Answer(status=200, headers={}, body=other)) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"ok": fal', b'"ok"', b"\xff", b"NaN"])
def test_a_body_that_is_no_object_has_nothing_at_a_path(body: bytes) -> None:
    """Whatever a proxy answers, nothing is made of it, and nothing raised."""
    rules = (rule(body={"ok": ("false",)}), rule("retry", status=("502",)))
    assert rule_of(rules, Answer(status=502, headers={}, body=body)) is rules[1]
    assert rule_of(rules, Answer(status=200, headers={}, body=body)) is None


def test_the_first_rule_that_fits_is_the_one() -> None:
    """The order is the file's; a rule that can't be followed for a request is passed over."""
    skip, end, fail = (rule(then, status=("404",)) for then in ("skip", "end", "fail"))
    rules = (skip, end, fail)
    gone = Answer(status=404, headers={}, body=b"")

    assert rule_of(rules_for(rules, "call"), gone) is skip
    assert rule_of(rules_for(rules, "list"), gone) is end
    assert rule_of(rules_for(rules, "list", first=True), gone) is fail
    assert rule_of(rules_for(rules, "verify"), gone) is fail


# --- lists --------------------------------------------------------------------------------------

Expected = tuple[type[SyncdError], str, dict[str, object]]
QUOTA = answer(403, b'{"message": "slow down"}')

LISTS: dict[str, tuple[ErrorRule, Behaviour, Expected]] = {
    "retry of what would be for good": (
        rule("retry", status=("404",)), answer(404, b'{"message": "not yet"}'),
        (NotNow, "GET /campaigns answered 404: not yet", {"hint": None, "sent": "refused"}),
    ),
    "retry with a hint": (
        rule("retry", status=("409",)), answer(409, retry_after="7"),
        (NotNow, "answered 409", {"hint": 7.0}),
    ),
    "retry of what speaks of the API's health": (
        rule("retry", status=("5xx",)), answer(500), (ApiUnavailable, "answered 500", {}),
    ),
    "retry of a good answer": (
        rule("retry", body={"error": ("BUSY",)}), ok(b'{"error": "BUSY"}'),
        (NotNow, "answered 200: BUSY", {"hint": None}),
    ),
    "wait, with a header": (
        rule("wait", status=("403",), hold=60.0), answer(403, b"{}", retry_after="30"),
        (RateLimited, "answered 403", {"hint": 30.0}),
    ),
    "wait, with a body": (
        rule("wait", status=("403",), hold=60.0), answer(403, b'{"retry_after": 20}'),
        (RateLimited, "answered 403", {"hint": 20.0}),
    ),
    "wait, with the end of a window that is used up": (
        rule("wait", status=("403",), hold=60.0),
        answer(403, x_ratelimit_remaining="0", x_ratelimit_reset="900"),
        (RateLimited, "answered 403", {"hint": 900.0}),
    ),
    "wait, with the end of a window of which something is left": (
        rule("wait", status=("403",), hold=60.0),
        answer(403, x_ratelimit_remaining="4000", x_ratelimit_reset="900"),
        (RateLimited, "answered 403", {"hint": 60.0}),
    ),
    "wait, with nothing": (
        rule("wait", status=("403",), hold=60.0), QUOTA, (RateLimited, "403", {"hint": 60.0}),
    ),
    "wait, with nothing at all": (
        rule("wait", status=("403",)), QUOTA, (RateLimited, "403", {"hint": None}),
    ),
    "wait in a good answer": (
        rule("wait", status=("200",), body={"error": ("RATE",)}, hold=5.0),
        ok(b'{"error": "RATE"}'), (RateLimited, "answered 200: RATE", {"hint": 5.0}),
    ),
    "park": (
        rule(status=("402",), says="not paid; ask accounting"),
        answer(402, b'{"message": "pay"}'),
        (
            ParkedByRule, "not paid; ask accounting: GET /campaigns answered 402: pay",
            {"hint": "A rule parks the stream for this; once it is mended, `syncd resume`"},
        ),
    ),
    "park for what would pass": (
        rule(status=("503",)), answer(503, retry_after="9"), (ParkedByRule, "answered 503", {}),
    ),
    "park for an error in a good answer": (
        rule(body={"error": ("revoked",)}, says="make a new token"),
        ok(b'{"ok": false, "error": "revoked"}'), (ParkedByRule, "make a new token: GET", {}),
    ),
    "park for a redirect": (
        rule(status=("3xx",)), answer(302, location="https://elsewhere.example/login"),
        (ParkedByRule, "answered 302", {}),
    ),
    "fail": (
        rule("fail", status=("503",)), answer(503, b'{"message": "never"}'),
        (UnexpectedAnswer, "answered 503: never", {}),
    ),
    "end, on the first page": (
        rule("end", status=("404",)), answer(404, b"{}"), (UnexpectedAnswer, "Check base_url", {}),
    ),
    "skip": (
        rule("skip", status=("404",)), answer(404, b"{}"), (UnexpectedAnswer, "Check base_url", {}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
async def test_what_a_rule_says_of_an_answer_to_a_list(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """CASES 30: before syncd's own judgement, good answers among them, in the rule's words."""
    said, behaviour, (kind, words, facts) = LISTS[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(kind) as caught:
            await source_of(client, said).fetch(None, permit)

    assert type(caught.value) is kind
    assert words in str(caught.value)
    for name, value in facts.items():
        assert getattr(caught.value, name) == value
    assert ("refused" in permit.notes) == (said.then == "wait")


async def test_a_good_answer_that_no_rule_names_is_a_page(
    server: RawServer, permit: NotingPermit
) -> None:
    """And the stream's rules go before the source's."""
    ours = rule("retry", status=("403",), says="ours")
    theirs = (rule(status=("403",), says="theirs"), rule(status=("410",), says="theirs"))
    server.will(ok(GOOD), QUOTA, answer(410))
    async with ApiClient(server.source(errors=theirs)) as client:
        source = source_of(client, rule(body={"ok": ("false",)}), ours)
        assert (await source.fetch(None, permit)).seen == 1
        with pytest.raises(NotNow, match="ours"):
            await source.fetch(None, permit)
        with pytest.raises(ParkedByRule, match="theirs"):
            await source.fetch(None, permit)


async def test_a_429_that_a_rule_names_is_a_refusal_all_the_same(
    server: RawServer, permit: NotingPermit
) -> None:
    """budget: the API has counted otherwise than we did, whatever is done about it."""
    server.otherwise = answer(429)
    async with ApiClient(server.source()) as client:
        with pytest.raises(NotNow):
            await source_of(client, rule("retry", status=("429",))).fetch(None, permit)
    assert permit.notes.count("refused") == 1


async def test_an_api_that_is_down_has_not_counted_otherwise(
    server: RawServer, permit: NotingPermit
) -> None:
    """A maintenance of an hour is waited for, and costs no throughput afterwards."""
    server.otherwise = answer(503)
    async with ApiClient(server.source()) as client:
        with pytest.raises(RateLimited):
            await source_of(client, rule("wait", status=("503",), hold=3600.0)).fetch(None, permit)
    assert "refused" not in permit.notes


# --- the end of a list --------------------------------------------------------------------------

ENDS: dict[str, Behaviour] = {
    "404": answer(404, b"{}"),
    "400": answer(400, b'{"message": "page out of range"}'),
    "204": answer(204),
    "a list without records": ok(b'{"data": [], "code": "NO_MORE"}'),
    "no list": ok(b'{"data": null, "code": "NO_MORE"}'),
    "no JSON": answer(404, b"<html>"),
    "a page for people": ok(b"<html>", x_last="yes"),
    "null": ok(b"null", x_last="yes"),
}


@pytest.mark.parametrize("case", ENDS)
async def test_a_list_ends_where_a_rule_says_so(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """CASES 18: after the first page, whatever was to follow."""
    rules = (
        rule("end", status=("400", "404", "204")),
        rule("end", body={"code": ("NO_MORE",)}),
        rule("end", header={"X-Last": ("yes",)}),
    )
    server.otherwise = ENDS[case]
    async with ApiClient(server.source()) as client:
        page = await source_of(client, *rules).fetch("3", permit)

    assert (page.seen, page.next_cursor) == (0, None)
    assert page.request.startswith("GET /campaigns?page=3&limit=10 answered ")


async def test_no_record_is_lost_for_an_end(server: RawServer, permit: NotingPermit) -> None:
    """accounted: an answer that holds records is none, and that is said."""
    server.otherwise = ok(b'{"data": [{"id": "a"}, {"id": "b"}], "last": true}')
    async with ApiClient(server.source()) as client:
        source = source_of(client, rule("end", body={"last": ("true",)}))
        with pytest.raises(UnexpectedAnswer, match="but the answer holds 2 records"):
            await source.fetch("3", permit)


MAIMED: dict[str, tuple[bytes, type[SyncdError], str]] = {
    "cut": (b'{"data": [{"id": "a"}', ApiUnavailable, "the JSON of the answer ends early"),
    "malformed": (b'{"data": [{"id": "a"} {"id": "b"}]}', UnexpectedAnswer, "is malformed"),
}


@pytest.mark.parametrize("case", MAIMED)
async def test_an_end_that_is_maimed_is_none(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """accounted: what is missing, or can't be read, may be records."""
    body, kind, words = MAIMED[case]
    server.otherwise = ok(body, x_last="yes")
    async with ApiClient(server.source()) as client:
        source = source_of(client, rule("end", header={"X-Last": ("yes",)}))
        with pytest.raises(kind, match=f"GET /campaigns: .*{words}"):
            await source.fetch("3", permit)


# --- calls --------------------------------------------------------------------------------------

BUSY = b'{"ok": false, "error": "BUSY"}'
CALLS: dict[str, tuple[ErrorRule, Behaviour, Expected]] = {
    "skip": (
        rule("skip", status=("409",)), answer(409, b'{"message": "archived"}'),
        (
            CallSkipped, "POST /campaigns/a/sync answered 409: archived",
            {"cause": "answered 409"},
        ),
    ),
    "skip, in words": (
        rule("skip", status=("4xx",), says="archived"), answer(410),
        (CallSkipped, "archived: POST", {"cause": "archived"}),
    ),
    "skip in a good answer": (
        rule("skip", body={"error": ("BUSY",)}), ok(BUSY), (CallSkipped, "answered 200: BUSY", {}),
    ),
    "fail": (
        rule("fail", status=("503",)), answer(503), (CallFailed, "503", {"kind": "call-failed"}),
    ),
    "park": (rule(status=("402",)), answer(402), (ParkedByRule, "402", {"refused": True})),
    "park where the API breaks": (
        rule(status=("500",)), answer(500), (ParkedByRule, "500", {"refused": False}),
    ),
    "end": (
        rule("end", status=("404",)), answer(404), (CallFailed, "404", {"kind": "call-failed"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
async def test_what_a_rule_says_of_an_answer_to_a_call(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """Leave the record out, put it aside, park the stream."""
    said, behaviour, (kind, words, facts) = CALLS[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(kind) as caught:
            await source_of(client, said).call(RECORD, "key", permit)

    assert type(caught.value) is kind
    assert words in str(caught.value)
    for name, value in facts.items():
        assert getattr(caught.value, name) == value


AGAIN: dict[str, tuple[ErrorRule, Behaviour, bool]] = {
    "retry, turned away": (rule("retry", status=("409",)), answer(409), True),
    "retry, not taken": (rule("retry", status=("503",)), answer(503), True),
    "retry, broken": (rule("retry", status=("500",)), answer(500), False),
    "retry, broken with words": (
        rule("retry", status=("500",), body={"error": ("BUSY",)}), answer(500, BUSY), False,
    ),
    "retry, timed out there": (rule("retry", status=("4xx",)), answer(408), False),
    "retry, taken": (rule("retry", status=("202",)), answer(202), False),
    "retry, taken with words": (rule("retry", body={"error": ("BUSY",)}), ok(BUSY), False),
    "wait, turned away": (rule("wait", status=("403",)), answer(403), True),
    "wait, broken": (rule("wait", status=("5xx",)), answer(502), False),
    "wait, broken with words": (
        rule("wait", status=("500",), body={"error": ("BUSY",)}), answer(500, BUSY), True,
    ),
    "wait, in a good answer": (rule("wait", body={"error": ("BUSY",)}), ok(BUSY), True),
    "fail, turned away": (rule("fail", status=("4xx",)), answer(409), True),
    "fail, broken": (rule("fail", status=("500",)), answer(500), False),
    "fail, taken with words": (rule("fail", body={"error": ("BUSY",)}), ok(BUSY), False),
}  # fmt: skip


@pytest.mark.parametrize("repeat", ["never", "idempotent"])
@pytest.mark.parametrize("case", AGAIN)
async def test_no_blind_repeat_because_of_a_rule(
    server: RawServer, permit: NotingPermit, case: str, repeat: str
) -> None:
    """no-blind-repeat: what may be made once is made again only where nothing was carried out.

    Else its outcome is unknown, whatever the rule says.
    """
    said, behaviour, refused = AGAIN[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        with pytest.raises(SyncdError) as caught:
            await source_of(client, said, **calling(repeat=repeat)).call(RECORD, "key", permit)

    found = caught.value
    known = refused or repeat == "idempotent"
    if known and said.then != "fail":
        assert isinstance(found, RateLimited if said.then == "wait" else ApiUnavailable)
    else:
        # The dead letter of one that has failed makes the call again, by itself.
        assert isinstance(found, CallFailed)
        assert found.kind == ("call-failed" if known else "outcome-unknown")
    assert len(server.heads) == 1


async def test_a_call_says_by_its_own_flag_that_nothing_was_done(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-blind-repeat: then a rule may have it made again, though the status says well."""
    said = rule("retry", body={"error": ("BUSY",)})
    server.will(ok(BUSY), ok(b'{"ok": "false", "error": "BUSY"}'), ok(b'{"error": "BUSY"}'))
    async with ApiClient(server.source()) as client:
        source = source_of(client, said, **calling(success="ok"))
        with pytest.raises(NotNow):
            await source.call(RECORD, "key", permit)
        with pytest.raises(NotNow):
            await source.call(RECORD, "key", permit)  # text that says it is a flag's, too
        with pytest.raises(CallFailed) as caught:
            await source.call(RECORD, "key", permit)
    assert caught.value.kind == "outcome-unknown"


VERIFY = VerifySettings(path="/campaigns/{id}", done="synced", not_found="not-done", keep={})
VERIFIED: dict[str, tuple[ErrorRule, Behaviour, type[SyncdError] | str]] = {
    "retry": (rule("retry", status=("404",)), answer(404), NotNow),
    "wait": (rule("wait", status=("403",)), answer(403), RateLimited),
    "park": (rule(status=("402",)), answer(402), ParkedByRule),
    "fail": (rule("fail", status=("404",)), answer(404), "unknown"),
    "skip": (rule("skip", status=("404",)), answer(404), "not-done"),
    "end": (rule("end", status=("404",)), answer(404), "not-done"),
}


@pytest.mark.parametrize("case", VERIFIED)
async def test_what_a_rule_says_of_an_answer_to_verify(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """no-blind-repeat: it may be asked for again; what can't be told stays unknown."""
    said, behaviour, expected = VERIFIED[case]
    server.otherwise = behaviour
    async with ApiClient(server.source()) as client:
        source = source_of(client, said, **calling(keep={}, verify=VERIFY))
        if isinstance(expected, str):
            assert (await source.verify(RECORD, "key", permit)).outcome == expected
            return
        with pytest.raises(expected):
            await source.verify(RECORD, "key", permit)


# --- logins -------------------------------------------------------------------------------------

EXPIRED: dict[str, tuple[ErrorRule, Behaviour]] = {
    "403": (rule("login", status=("403",), says="token over"), answer(403, b"{}")),
    "302": (rule("login", status=("302",), says="token over"), answer(302, location="/login")),
    "500": (rule("login", status=("500",), says="token over"), answer(500)),
    "200": (
        rule("login", body={"error": ("token_expired",)}, says="token over"),
        ok(b'{"ok": false, "error": "token_expired"}'),
    ),
}


@pytest.mark.parametrize("case", EXPIRED)
async def test_an_answer_that_a_rule_takes_for_an_expired_token(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """CASES 13: however young the token is, one login, and the request once more."""
    said, behaviour = EXPIRED[case]
    server.will(behaviour, ok(GOOD))
    async with ApiClient(server.source(auth=token_auth())) as client:
        assert (await source_of(client, said).fetch(None, permit)).seen == 1

    assert len(server.login_heads) == 2
    assert ["bearer-1" in head for head in server.heads] == [True, False]
    assert permit.notes.count("spend") == 2, "each was a request of its own"


@pytest.mark.parametrize("case", EXPIRED)
async def test_a_fresh_token_that_is_refused_by_a_rule_is_a_real_failure(
    server: RawServer, permit: NotingPermit, case: str
) -> None:
    """CASES 13: no loop, and the rule's words."""
    said, server.otherwise = EXPIRED[case]
    async with ApiClient(server.source(auth=token_auth())) as client:
        source = source_of(client, said)
        for _ in range(3):
            with pytest.raises(AccessDenied, match="token over: GET /campaigns answered") as e:
                await source.fetch(None, permit)
            assert e.value.hint == "The login works, but its bearer is refused here"

    assert len(server.login_heads) == 2
    assert len(server.heads) == 4


async def test_a_call_is_not_replayed_after_a_login_where_it_may_have_been_carried_out(
    server: RawServer, permit: NotingPermit
) -> None:
    """no-blind-repeat: a 500 by itself does not say so, whatever the rule takes it for."""
    said = rule("login", status=("500",)), rule("login", body={"error": ("over",)})
    server.will(answer(500), answer(500, b'{"error": "over"}'), answer(401), ok(b"{}"))
    async with ApiClient(server.source(auth=token_auth())) as client:
        source = source_of(client, said[0])
        with pytest.raises(CallFailed) as caught:
            await source.call(RECORD, "key", permit)
        assert caught.value.kind == "outcome-unknown"
        assert len(server.heads) == 1
        source = source_of(client, said[1])
        with pytest.raises(AccessDenied):
            await source.call(RECORD, "key", permit)
        assert len(server.heads) == 3


async def test_a_403_that_a_rule_names_costs_no_login(
    server: RawServer, permit: NotingPermit
) -> None:
    """A quota is no matter of the token's, however old that is."""
    now = [0.0]
    server.will(ok(GOOD), QUOTA)
    auth = token_auth()
    async with ApiClient(server.source(auth=auth), clocks=(lambda: now[0],)) as client:
        source = source_of(client, rule("wait", status=("403",)))
        await source.fetch(None, permit)
        now[0] = 1800.0
        with pytest.raises(RateLimited):
            await source.fetch(None, permit)

    assert len(server.login_heads) == 1
    assert len(server.heads) == 2


async def test_a_401_is_a_matter_of_the_token_first(
    server: RawServer, permit: NotingPermit
) -> None:
    """A rule for all of 4xx does not park a stream each time that its token ends."""
    said = rule(status=("4xx",), says="look at it")
    server.will(answer(401), ok(GOOD), answer(401), answer(401))
    async with ApiClient(server.source(auth=token_auth(), retries=0)) as client:
        source = source_of(client, said)
        assert (await source.fetch(None, permit)).seen == 1
        with pytest.raises(ParkedByRule, match="look at it: GET /campaigns answered 401"):
            await source.fetch(None, permit)
    assert len(server.login_heads) == 3


async def test_a_401_without_a_login_is_what_a_rule_says(
    server: RawServer, permit: NotingPermit
) -> None:
    """A token that does not end is a matter for a person, in the operator's own words."""
    auth = BearerAuth(token=Secret("canary-token", "env TOKEN"))
    said = rule(status=("401",), says="make a new token at the vendor's")
    server.otherwise = answer(401, b'{"message": "no canary-token here"}')
    async with ApiClient(server.source(auth=auth)) as client:
        with pytest.raises(ParkedByRule, match="make a new token") as caught:
            await source_of(client, said).fetch(None, permit)
    assert "canary" not in str(caught.value)
    assert len(server.heads) == 1
