"""Promises contained and accounted: a page seen at one look is what its records are one by one."""

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.api.contract import Contract, judge_all
from syncd.api.decode import Envelope, raws_of, records_at
from syncd.api.drifting import Drifts
from syncd.api.shown import Redactor
from syncd.api.typed import READ_AS, Typed
from syncd.sync.model import Block

COLUMNS = {"id": "text", "n": "bigint", **{of.replace(" ", "_"): of for of in READ_AS}}
NAMED = frozenset(COLUMNS)

ODD = [
    *('""', '"a"', '"ü\\n"', '"\\u0000"', '"\\\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"'),
    *("0", "-0", "1", "-1.50", "1e400", "1e-400", "1e-20000", "0.0", "1E5", "0e-99999"),
    *(f"0.{'0' * 400}1", f"1{'0' * 20_000}", f"0.5{'0' * 17_000}1", "9223372036854775808"),
    *("true", "false", "null", "NaN", "[]", "{}", '{"a": [1, "\\u0000"]}', "[1e99999999]"),
    *('"2024-01-31"', '"2024-02-30"', '"2024-01-31T12:00:00Z"', '"2024-01-31t12:00:00z"'),
    *('"2024-01-31 12:00:00"', '"2024-01-31T12:00:00+15:59"', '"2024-01-31T12:00:00+16:00"'),
    *('"2024-01-31T24:00:00Z"', '"2024-01-31T12:00:60Z"', '"9999-12-31T23:59:59.9999999Z"'),
    *('"2024-01-31T12:00:00-23:59"', '"2024-01-31T12:00:00.123456789+0100"', '"now"'),
    *('"6ba7b810-9dad-11d1-80b4-00c04fd430c8"', '"6BA7B8109DAD11D180B400C04FD430C8"'),
    '"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"',
    '"urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"',
]  # fmt: skip

values = st.one_of(
    st.sampled_from(ODD),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.datetimes().map(lambda at: f'"{at.isoformat()}"'),
    st.uuids().map(lambda found: f'"{found}"'),
)
fields = st.dictionaries(st.sampled_from([*COLUMNS, "new"]), values, max_size=6)


def text_of(records: Sequence[Mapping[str, str]]) -> bytes:
    each = (", ".join(f"{json.dumps(n)}: {v}" for n, v in record.items()) for record in records)
    return ("[" + ", ".join(f"{{{members}}}" for members in each) + "]").encode(
        "utf-8", "surrogatepass"
    )


def contract(*, key: tuple[str, ...] = ("id", "n")) -> Contract:
    return Contract(key=key, columns=COLUMNS, named=NAMED)


def typed(of: Contract) -> Typed:
    found = Typed.of(of, NAMED)
    assert found is not None
    return found


@given(st.lists(fields, max_size=3), st.booleans())
@example([{"numeric": value} for value in ODD], True)
def test_contained_what_fits_at_one_look_fits_one_by_one(
    records: list[dict[str, str]], whole: bool
) -> None:
    """The same keys in the same order, nothing put aside, folded, left out or told."""
    if whole:  # else most are refused for their keys
        records = [{"id": f'"{n}"', "n": str(n), **r} for n, r in enumerate(records)]
    judge, text = contract(), text_of(records)
    found = typed(judge).read(text)
    if found is None:
        return
    one_by_one = judge_all(judge, raws_of(text))
    assert found.keys == [record.key for record in one_by_one.records]
    assert (one_by_one.rejects, one_by_one.folded) == ([], 0)
    assert (one_by_one.left_out, one_by_one.gone) == ([], [])
    assert one_by_one.drifts == Drifts()
    assert found.text == text


@pytest.mark.parametrize("column", [c for c in COLUMNS if c not in ("id", "n")])
@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:30])
def test_contained_no_odd_value_fits_that_its_column_refuses(column: str, value: str) -> None:
    judge = contract()
    text = text_of([{"id": '"a"', "n": "1", column: value}])
    try:
        refused = judge_all(judge, raws_of(text)).rejects
    except ValueError:
        refused = ["not even that"]  # type: ignore[list-item]
    assert not (refused and typed(judge).read(text))


GOOD = {
    "id": '"ü"', "n": "-9223372036854775808", "text": '"a\\"b"', "bigint": "1", "integer": "-1",
    "smallint": "32767", "numeric": "12345678901234567890.0123456789", "boolean": "true",
    "double_precision": "0.1", "date": '"2024-02-29"', "timestamp": '"2024-02-29T12:00:00.5"',
    "timestamptz": '"2024-02-29 12:00:00+05:30"', "jsonb": '{"a": [1, null]}',
    "uuid": '"6ba7b810-9dad-11d1-80b4-00c04fd430c8"',
}  # fmt: skip


def test_a_page_of_usual_values_is_seen_at_one_look() -> None:
    """Else nothing would be gained; and null, or nothing at all, is usual."""
    sparse = {"id": '"b"', "n": "0", **dict.fromkeys(["text", "numeric", "timestamptz"], "null")}
    found = typed(contract()).read(text_of([GOOD, sparse]))
    assert found is not None
    assert found.keys == ['["ü",-9223372036854775808]', '["b",0]']


def test_accounted_what_comes_twice_is_looked_at_one_by_one() -> None:
    assert typed(contract()).read(text_of([GOOD, GOOD])) is None


def test_a_field_that_nobody_has_named_is_not_seen_past() -> None:
    """One that is known, and has no column, is."""
    text = text_of([{**GOOD, "new": "1"}])
    assert typed(contract()).read(text) is None
    known = Typed.of(contract(), NAMED | {"new"})
    assert known is not None
    assert known.read(text) is not None


@pytest.mark.parametrize("text", [b"", b"[", b"{}", b"[1]", b"[null]", b'[{"id": "a", "n": 1}] x'])
def test_what_is_no_list_of_objects_does_not_fit(text: bytes) -> None:
    assert typed(contract()).read(text) is None


@pytest.mark.parametrize(
    "of",
    [
        Contract(key=("numeric",), columns=COLUMNS),
        Contract(key=("id",), columns={"id": "text", "x": "real"}),
        Contract(key=("id",), columns={"id": "text"}, where={"id": ("a",)}),
        Contract(key=("id",), columns={"id": "text"}, paths={"id": "a.b"}),
        Contract(key=("id",), columns={"id": "text"}, deleted=("gone", frozenset({"true"}))),
        Contract(key=("id",), columns={"id": "text"}, hide=lambda raw: raw),
        Contract(key=("id",), columns={"id": "text", 'a"b': "text"}),
    ],
    ids=["key", "real", "where", "paths", "deleted", "hide", "name"],
)
def test_where_more_than_types_decides_records_are_looked_at_one_by_one(of: Contract) -> None:
    assert Typed.of(of) is None


@pytest.mark.parametrize("seen_at_once", [True, False])
def test_the_last_record_is_the_last(seen_at_once: bool) -> None:
    """resume: a keyset goes on from it, however the page was looked at."""
    judge = Contract(key=("id",), columns={"id": "text"})
    text = b'{"data": [{"id": "a"}, {"id":  "b"} ]}'
    redactor = Redactor()
    whole = Typed.of(judge) if seen_at_once else None
    found = records_at(Envelope(text), "data", judge, redactor, typed=whole)
    assert isinstance(found.records, Block) == seen_at_once
    assert found.last == b'{"id":  "b"}'
