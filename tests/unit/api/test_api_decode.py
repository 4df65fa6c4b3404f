"""What becomes of each record of a page, whatever the page holds."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.api.contract import Contract, Judged
from syncd.api.decode import Envelope, open_envelope, records_at
from syncd.api.shown import Redactor, excerpt, shown
from syncd.api.splitting import MalformedError, depth, elements, members
from syncd.errors import ApiUnavailable, UnexpectedAnswer

COLUMNS = {"id": "text", "budget": "numeric", "n": "bigint", "extra": "jsonb"}


def judged(
    body: bytes | str,
    *,
    path: str = "data",
    where: dict[str, tuple[str, ...]] | None = None,
    **own: Any,
) -> Judged:
    contract = Contract(
        key=own.get("key", ("id",)),
        columns=own.get("columns", COLUMNS),
        where=where or {},
        paths=own.get("paths", {}),
    )
    raw = body if isinstance(body, bytes) else body.encode()
    envelope = open_envelope(raw, "application/json", Redactor())
    return records_at(envelope, path, contract, Redactor())


def data(*records: str) -> str:
    return '{"data": [' + ", ".join(records) + "]}"


def test_records_are_kept_as_the_api_wrote_them() -> None:
    """Case 36: no number passes through a float."""
    page = judged(data('{"id": "a", "budget": 0.10, "n": 9007199254740993, "other": [ 1 ]}'))
    assert page.records[0].fields == {
        "id": b'"a"', "budget": b"0.10", "n": b"9007199254740993", "other": b"[ 1 ]",
    }  # fmt: skip
    assert page.records[0].key == '["a"]'
    assert page.records[0].raw.startswith(b'{"id": "a", "budget": 0.10')


def test_a_reject_names_the_column_at_fault() -> None:
    """CASES 38: so that it is told once for each column, and not for each record."""
    found = data('{"id": "a", "n": "x"}', '{"id": null}', '{"n": 1}', "7")
    assert [r.column for r in judged(found).rejects] == ["n", "id", "id", ""]


def test_columns_may_come_from_within_the_record() -> None:
    """The key among them; what is not there is null, and the whole record is kept as it came."""
    record = '{"uid": {"v": 7}, "a": {"b.c": {"d": 1.50}}, "n": "top", "x": [1]}'
    page = judged(
        data(record, '{"uid": {"v": 8}, "a": [], "n": 3}'),
        columns={"id": "bigint", "n": "numeric", "raw": "jsonb", "y": "text"},
        paths={"id": "uid.v", "n": "a.b.c.d", "raw": "", "y": "x.0"},
    )
    # A name with dots in it is a name before it is a path, at the record's top alone.
    assert [r.key for r in page.records] == ["[7]", "[8]"]
    first = page.records[0].fields
    assert first["raw"] == record.encode()
    assert "n" not in first
    assert "y" not in first
    nested = judged(
        data('{"id": "a", "a": {"b": {"c": 0.10}}, "a.b": {"c": 9}}'),
        columns={"id": "text", "n": "numeric"},
        paths={"n": "a.b.c"},
    )
    assert nested.records[0].fields["n"] == b"0.10"


def test_a_column_from_within_is_judged_as_any_other() -> None:
    """contained: the record alone is put aside, and the column named."""
    page = judged(
        data('{"id": "a", "m": {"n": "x"}}', '{"id": "b", "m": 1}'),
        columns={"id": "text", "n": "bigint"},
        paths={"n": "m.n"},
    )
    assert [(r.key, r.column) for r in page.rejects] == [('["a"]', "n")]
    assert [r.key for r in page.records] == ['["b"]']


def test_where_takes_a_path() -> None:
    """Of the record as it came, not of a column that is called the same."""
    page = judged(
        data('{"id": "a", "m": {"on": true}, "on": 1}', '{"id": "b", "m": {"on": false}}'),
        where={"m.on": ("true",)},
        columns={"id": "text", "on": "text"},
    )
    assert [r.key for r in page.records] == ['["a"]']
    assert page.left_out == ['["b"]']


def test_a_byte_order_mark_is_no_trouble() -> None:
    """Case 34."""
    assert len(judged(b"\xef\xbb\xbf" + data('{"id": "a"}').encode()).records) == 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('[{"id": 1}]', ""),
        ('{"a": {"b": {"c": [{"id": 1}]}}}', "a.b.c"),
        ('{"data": [{"id": 2}], "data": [{"id": 1}]}', "data"),
        ('  {"data"\n:\t[ {"id" : 1} ] } \n', "data"),
    ],
)
def test_records_are_found_by_path(body: str, path: str) -> None:
    """A bare list, a nested one, a name that comes twice (the last one counts)."""
    assert judged(body, path=path).records[0].key == '["1"]'


BAD_RECORDS = {
    "no key": ('{"n": 1}', None, "key column id is missing"),
    "null key": ('{"id": null}', None, "key column id is null"),
    "key of a wrong type": ('{"id": {"x": 1}}', None, 'column id: found {"x": 1}; allowed'),
    "not an object": ('"text"', None, 'the record is a string: "text"; allowed: an object'),
    "null": ("null", None, "the record is null"),
    "a list": ("[1]", None, "the record is a list"),
    "wrong type": ('{"id": "b", "n": "many"}', '["b"]', 'column n: found "many"; allowed: a whole'),
    "out of range": ('{"id": "b", "n": 9223372036854775808}', '["b"]', "allowed: a whole number"),
    "NaN": ('{"id": "b", "budget": NaN}', '["b"]', "column budget: found NaN; allowed: a number"),
    "Infinity": ('{"id": "b", "budget": -Infinity}', '["b"]', "found -Infinity"),
    "a huge number": ('{"id": "b", "budget": 1e999999999}', '["b"]', "131072 digits"),
    "NUL in a key": ('{"id": "a\\u0000b"}', None, "which Postgres cannot store"),
    "NUL in jsonb": ('{"id": "b", "extra": {"a\\u0000": 1}}', '["b"]', "Postgres cannot store"),
    "lone surrogate": ('{"id": "b\\ud800"}', None, "lone surrogate"),
    "lone surrogate in jsonb": ('{"id": "b", "extra": ["\\udc00"]}', '["b"]', "lone surrogate"),
    "depth bomb": (
        '{"id": "b", "extra": ' + "[" * 100_000 + "]" * 100_000 + "}", '["b"]', "nested deeper",
    ),
    "control character": ('{"id": "b", "n": "\x01"}', '["b"]', 'found "\\x01"'),
    "no JSON inside": ('{"id": "b", "n": bogus}', '["b"]', "found bogus"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_costs_one_record(case: str) -> None:
    """Promise 5, contained: the others of its page are kept, and its key is known if it can be."""
    bad, key, words = BAD_RECORDS[case]
    page = judged(data('{"id": "a"}', bad, '{"id": "c"}'))
    assert [r.key for r in page.records] == ['["a"]', '["c"]']
    assert [r.key for r in page.rejects] == [key]
    assert words in page.rejects[0].reason
    assert len(page.rejects[0].reason) < 250
    assert page.rejects[0].reason.isprintable()
    assert page.rejects[0].raw == bad.encode()


def test_a_byte_that_is_not_utf8_costs_one_record() -> None:
    """Case 34: counted, no crash, and no silent U+FFFD in a key."""
    page = judged(data('{"id": "a"}').encode().replace(b"]", b', {"id": "\xff"}]'))
    assert len(page.records) == 1
    assert page.rejects[0].key is None
    assert "not UTF-8" in page.rejects[0].reason


def test_what_is_no_column_is_not_judged() -> None:
    """A NaN where nobody looks costs nothing."""
    page = judged(data('{"id": "a", "ctr": NaN, "bad": "\\ud800"}', '{"id": "b"}'))
    assert [r.key for r in page.records] == ['["a"]', '["b"]']


def test_missing_and_null_columns_are_null() -> None:
    """Only the key must be there."""
    assert len(judged(data('{"id": "a"}', '{"id": "b", "n": null, "extra": null}')).records) == 2


def test_a_key_that_comes_again_is_folded() -> None:
    """Case 37: the last one wins, at its own place, and the fold is counted."""
    page = judged(data('{"id": 1, "n": 1}', '{"id": "2"}', '{"id": "1", "n": 2}'))
    assert [r.key for r in page.records] == ['["2"]', '["1"]']
    assert page.records[1].fields["n"] == b"2"
    assert page.folded == 1


def test_a_reject_with_the_key_of_a_record_stays_a_reject() -> None:
    """Each of them has an end of its own."""
    page = judged(data('{"id": "a"}', '{"id": "a", "n": "x"}'))
    assert (len(page.records), len(page.rejects), page.folded) == (1, 1, 0)


def test_keys_of_several_columns() -> None:
    """The key is a JSON array of what Postgres will hold."""
    page = judged(data('{"id": "a\\"b", "n": 7, "budget": 1.0}'), key=("id", "n", "budget"))
    assert json.loads(page.records[0].key) == ['a"b', 7, 1]


WHERE = [
    ('{"id": "a", "s": "active"}', True),
    ('{"id": "a", "s": "gone"}', False),
    ('{"id": "a", "s": 1}', True),
    ('{"id": "a", "s": 1.0}', False),
    ('{"id": "a", "s": true}', True),
    ('{"id": "a", "s": null}', False),
    ('{"id": "a"}', False),
    ('{"id": "a", "s": ["active"]}', False),
    ('{"id": "a", "s": "\\u0061ctive"}', True),
]


@pytest.mark.parametrize(("record", "kept"), WHERE)
def test_where_compares_text(record: str, kept: bool) -> None:
    """Others are left out, counted by key; even if they break the contract elsewhere."""
    page = judged(data(record), where={"s": ("active", "1", "true")})
    assert len(page.records) == kept
    assert page.left_out == ([] if kept else ['["a"]'])


def test_a_record_left_out_needs_not_be_good() -> None:
    """The rule of the user's comes first."""
    page = judged(data('{"id": "a", "n": "x", "s": "gone"}'), where={"s": ("active",)})
    assert page.left_out == ['["a"]']


NOT_AS_PROMISED = {
    "HTML": (b"<!DOCTYPE html>\n<p>Log in", "is not JSON (text/html); it begins: <!DOCTYPE html>"),
    "text": (b"Service \x1b[31m down", "it begins: Service \\x1b[31m down"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00", "is not JSON"),
    "an error in a 200": (
        b'{"success": false, "error": {"code": 7}}',
        "no records at `data`; found: the keys success, error",
    ),
    "null": (b'{"data": null}', "`data` is null, not a list"),
    "an object": (b'{"data": {"items": []}}', "`data` is an object with the keys items, not a"),
    "a string": (b'{"data": "[]"}', "`data` is a string, not a list"),
    "a bare list": (b"[1]", "no records at `data`; found: a list"),
    "a bare value": (b"true", "no records at `data`; found: true"),
    "an empty object": (b"{}", "found: an empty object"),
    "trailing garbage": (b'{"data": []} oops', "is not JSON"),
    "two answers": (b'{"data": []}{"data": []}', "is not JSON"),
    "a template": (b"{% if user %}", "is not JSON"),
    "brackets crossed": (b'{"data": [1}]', "is not JSON"),
    "UTF-16": ('{"data": []}'.encode("utf-16"), "is not JSON"),
}


@pytest.mark.parametrize("case", NOT_AS_PROMISED)
def test_an_answer_that_is_not_as_promised_is_named(case: str) -> None:
    """Case 30: never zero rows and success; the sentence says what is there."""
    body, words = NOT_AS_PROMISED[case]
    with pytest.raises(UnexpectedAnswer) as caught:
        records_at(
            open_envelope(body, "text/html", Redactor()),
            "data",
            Contract(key=("id",), columns=COLUMNS),
            Redactor(),
        )
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


TRUNCATED = [b"", b" \n", b"{", b'{"data"', b'{"data": [', b'{"data": [{"id": "a"}', b'["x', b"[1,"]


@pytest.mark.parametrize("body", [*TRUNCATED, b'{"data": [{"id": "a"}, {"id": "b"}]'])
def test_json_that_ends_early_is_transient(body: bytes) -> None:
    """Case 32: cut at a record's edge it looks nearly whole; it is asked for again."""
    with pytest.raises(ApiUnavailable):
        judged(body)


def test_every_cut_of_a_page_is_noticed() -> None:
    """No prefix of a page passes for a page."""
    whole = data('{"id": "a", "extra": {"x": "}]"}}', '{"id": "b\\""}').encode()
    for length in range(len(whole)):
        with pytest.raises(ApiUnavailable):
            judged(whole[:length])


def test_secrets_are_struck_out_of_what_is_shown() -> None:
    """Promise 8, no-secret-out: an API may echo what it refuses."""
    redactor = Redactor()
    redactor.add('pä"ss/word', "bearer-1")
    body = (
        json.dumps({"your password": 'pä"ss/word'}).encode() + b" pa p%C3%A4%22ss%2Fword bearer-1"
    )
    for text in (excerpt(body, redactor, 500), redactor.data(body).decode()):
        assert "ss/word" not in text
        assert "bearer-1" not in text
        assert "word" in text.replace("ss%2Fword", "")
    redactor.replace(["bearer-1"], ["bearer-2"])
    assert redactor.text("bearer-1 bearer-2") == "bearer-1 ***"


def test_a_secret_at_the_cut_is_struck_out_whole() -> None:
    """Half a secret is a secret too."""
    redactor = Redactor()
    redactor.add("S" * 40)
    assert "SS" not in excerpt(b"x" * 70 + b"S" * 40, redactor)


def test_foreign_text_is_shown_on_one_short_line() -> None:
    """No newline, no terminal escape, no megabyte."""
    assert shown("a\nb\x1b") == "a\\nb\\x1b"
    assert len(shown("x" * 10**6)) == 60
    assert shown(b"\xff\xfe") == "\\xff\\xfe"


# --- the lenient parser agrees with the strict one --------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values), st.booleans(), st.sampled_from([None, 1]))
def test_splitting_agrees_with_json(
    value: dict[str, object], ascii_: bool, indent: int | None
) -> None:
    """Each field is cut out where a JSON parser sees it, NaN included."""
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent).encode("utf-8", "surrogatepass")
    parts = members(text)
    expected = {k: json.dumps(v) for k, v in value.items()}
    if not any("\ud800" <= c <= "\udfff" for k in value for c in k):
        assert {
            k: json.dumps(json.loads(p.decode("utf-8", "surrogatepass"))) for k, p in parts.items()
        } == expected


@given(st.lists(values))
def test_splitting_cuts_lists(value: list[object]) -> None:
    """As many elements as there are."""
    assert len(elements(json.dumps(value).encode())) == len(value)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0a1 ntf', max_size=60).map(str.encode))
def test_splitting_never_fails_otherwise(text: bytes) -> None:
    """Parts, or MalformedError."""
    for split in (members, elements):
        try:
            split(text)
        except MalformedError:
            continue


def test_depth_counts_brackets_outside_of_strings() -> None:
    """Brackets in a string are text."""
    assert depth(b'[{"a": "[[[[", "b": [1]}, []]') == 3


records = st.one_of(
    values.map(json.dumps),
    st.fixed_dictionaries(
        {"id": st.sampled_from(["a", "b", 1, "1", None, [], True]), "n": values, "extra": values}
    ).map(json.dumps),
    st.sampled_from(["NaN", '{"id": "\\ud800"}', "[" * 5000 + "]" * 5000, '{"id": 1, "id": 2}']),
)


@settings(max_examples=200)
@given(st.lists(records, max_size=8))
def test_every_record_has_exactly_one_end(texts: list[str]) -> None:
    """Promise 4, accounted: written, rejected, left out and folded add up to what was given."""
    page = judged(
        data(*texts).encode("utf-8", "surrogatepass"), where={"n": ("1", "true", "x", "")}
    )
    ends = len(page.records) + len(page.rejects) + len(page.left_out) + page.folded
    assert ends == len(texts)
    assert len({r.key for r in page.records}) == len(page.records)


@settings(max_examples=300)
@given(
    st.binary(max_size=300)
    | st.builds(
        lambda text, at, junk: text[: at % (len(text) + 1)] + junk + text[at % (len(text) + 1) :],
        st.lists(records, max_size=4).map(lambda r: data(*r).encode("utf-8", "surrogatepass")),
        st.integers(0, 10_000),
        st.binary(max_size=5),
    )
)
def test_any_bytes_are_a_page_or_a_named_error(body: bytes) -> None:
    """No body, however broken, is a bug."""
    try:
        judged(body)
    except (UnexpectedAnswer, ApiUnavailable) as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "around",
    [
        '"success": false',
        '"ok" : false',
        '"status": "error"',
        '"status": "fail"',
        '"error": {"message": "no such account"}',
        '"error": "boom"',
        '"error": true',
        '"errors": [{"code": 7}]',
    ],
)
def test_an_empty_list_inside_an_error_is_no_list(around: str) -> None:
    """CASES 30, accounted: the sentence holds the API's own words."""
    with pytest.raises(UnexpectedAnswer, match="says that it is an error") as caught:
        judged(f'{{"data": [], {around}}}')
    assert around.partition(":")[0].strip(' "') in caught.value.reason


def test_a_list_that_failed_is_no_list_although_it_holds_records() -> None:
    """CASES 30, no-delete-on-absence: half a list is not a whole one."""
    with pytest.raises(UnexpectedAnswer, match="`success` is false"):
        judged('{"success": false, "data": [{"id": 1}]}')


@pytest.mark.parametrize(
    "around",
    [
        '"success": true',
        '"success": null',
        '"error": null, "errors": []',
        '"error": "", "errors": { }',
        '"error": 0',
        '"status": "ok"',
        '"failed": {"success": false}',
    ],
)
def test_an_empty_list_is_one_where_nothing_speaks_against_it(around: str) -> None:
    """Members that many APIs send with every answer are no error."""
    assert judged(f'{{"data": [], {around}}}') == judged("[]", path="")


def test_warnings_beside_records_cost_nothing() -> None:
    """contained: nobody is parked for what stands under `errors` while there are records."""
    assert len(judged('{"errors": ["deprecated"], "data": [{"id": 1}]}').records) == 1
    assert len(judged('{"error": [{"id": 1}], "data": 1}', path="error").records) == 1


def test_paths_into_an_envelope() -> None:
    """Through objects, and by figures through lists; what leads through else leads nowhere."""
    envelope = Envelope(b'{"a": {"b": null, "c": {"d": 1}}, "e": [1, {"f": [2]}], "0": 3}')
    found = {
        "a.b": b"null", "a.c.d": b"1", "a.x": None, "a.b.x": None, "x.y.z": None, "0": b"3",
        "e.0": b"1", "e.1.f.0": b"2", "e.2": None, "e.-1": None, "e.x": None, "e.0.0": None,
        "a.0": None, "e.01x": None, "e.9999999999": None,
    }  # fmt: skip
    assert {path: envelope.at(path) for path in found} == found
    assert Envelope(b'[{"code": 7}]').at("0.code") == b"7"
