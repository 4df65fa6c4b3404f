"""Which key and which types do records get?"""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.api.contract import Contract
from syncd.survey.records import columns_of, key_of, type_of, updated_field, volatile_of
from syncd.sync.model import Record


@pytest.mark.parametrize(
    ("name", "values", "of"),
    [
        ("id", [1, 2, 3], "bigint"),
        ("id", [1, 2**70], "numeric"),
        ("zip", ["01234", "99999"], "text"),
        ("number", ["12", "13"], "text"),
        ("id", ["1", "x"], "text"),
        ("ratio", [Decimal("1.5"), 2], "numeric"),
        ("price", [1, 2], "numeric"),
        ("price", ["1.50", "2.00"], "numeric"),
        ("price", ["1.50", "free"], "text"),
        ("ok", [True, False], "boolean"),
        ("ok", [True, "yes"], "jsonb"),
        ("ok", [True, 1], "jsonb"),
        ("at", ["2024-01-31T12:00:00Z", "2024-02-29T12:00:00+01:00"], "timestamptz"),
        ("at", ["2024-01-31 12:00:00.123456+00", "2024-01-31T12:00:00.000+0000"], "timestamptz"),
        ("at", ["2024-01-31T12:00:00", "2024-02-29T12:00:00"], "timestamp"),
        ("at", ["2024-01-31T12:00:00Z", "2024-02-29T12:00:00"], "text"),
        ("on", ["2024-01-31", "2024-02-29"], "date"),
        ("on", ["2024-01-31", "2024-02-30"], "text"),
        ("on", ["2024-01-31", ""], "text"),
        ("on", ["20240131", "20240229"], "text"),
        ("on", ["2024-01-31", "2024-02-29T12:00:00Z"], "text"),
        ("at", ["Thu, 24 Aug 2023 05:01:45 +0000"], "text"),
        ("uid", ["668d797c-76fa-4934-9b05-ad288df2d136"], "uuid"),
        ("uid", ["668d797c76fa49349b05ad288df2d136"], "text"),
        ("a", [[1], [2]], "jsonb"),
        ("a", [{"b": 1}, "c"], "jsonb"),
        ("a", [1, "c"], "text"),
        ("a", [], "jsonb"),
    ],
)
def test_a_type_holds_for_all_values_that_were_seen(name: str, values: list[Any], of: str) -> None:
    """Where in doubt, the wider one."""
    assert type_of(name, values)[0] == of


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
    | st.dates().map(str) | st.datetimes().map(str) | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)  # fmt: skip
NAMES = st.text(
    alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8
) | st.sampled_from(["id", "_id", "ctid", "_syncd_x", "attributes", "a.b", "fields"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(NAMES, ANYTHING, max_size=5), min_size=1, max_size=6))
def test_no_record_that_was_seen_is_refused_for_a_type(records: list[dict[str, Any]]) -> None:
    """Each record that the types were told from passes them, key aside."""
    columns, _ = columns_of(records)
    contract = Contract(
        key=("\x01",),
        columns={"\x01": "text", **{c.name: c.type for c in columns}},
        paths={c.name: c.path for c in columns if c.path != c.name},
    )
    for number, record in enumerate(records):
        raw = json.dumps({**record, "\x01": str(number)}, default=str, ensure_ascii=False)
        numbers = _bare_decimals(raw, record)
        judged = contract.judge(numbers.encode())
        assert isinstance(judged, Record), judged


def _bare_decimals(raw: str, record: dict[str, Any]) -> str:
    """`json` writes no Decimal; those at the top are put back as numbers."""
    for value in record.values():
        if isinstance(value, Decimal):
            number = format(value, "f") if abs(value.adjusted()) < 50 else "0"
            raw = raw.replace(f'"{value}"', number)
    return raw


@pytest.mark.parametrize(
    ("records", "key"),
    [
        ([{"id": 1, "uuid": "a"}, {"id": 2, "uuid": "b"}], ["id"]),
        ([{"name": "a", "_id": 1}, {"name": "b", "_id": 2}], ["_id"]),
        ([{"id": None, "slug": "a"}, {"id": 2, "slug": "b"}], ["slug"]),
        ([{"id": 1, "thing_id": 5}, {"id": 1, "thing_id": 6}], ["thing_id"]),
        ([{"shop_id": 1, "n_id": 1}, {"shop_id": 1, "n_id": 2}, {"shop_id": 2, "n_id": 1}],
         ["shop_id", "n_id"]),
        ([{"id": {"$oid": "x"}, "n": 1}, {"id": {"$oid": "y"}, "n": 2}], ["n"]),
    ],
)  # fmt: skip
def test_a_key_is_different_in_all_records(records: list[dict[str, Any]], key: list[str]) -> None:
    """And is never null; what is called so comes first."""
    assert list(key_of(records, columns_of(records)[0], "things").columns) == key


def test_where_no_field_is_different_that_is_said_aloud() -> None:
    """Such a config loads, but a person has to name the key."""
    records = [{"a": 1}, {"a": 1}]
    key = key_of(records, columns_of(records)[0], "things")
    assert not key.sure
    assert "NO field" in key.why


def test_what_differs_between_two_reads_is_volatile() -> None:
    """In most records: one that was changed meanwhile is none."""
    first = [{"id": n, "seen": n, "name": "a"} for n in range(10)]
    again = [{"id": n, "seen": n + 1, "name": "b" if n == 3 else "a"} for n in range(10)]
    key = key_of(first, columns_of(first)[0], "things")
    assert volatile_of(first, again, key) == ["seen"]


def test_what_tells_of_changes_is_found() -> None:
    """By its name, if it is a time."""
    records = [{"id": 1, "updatedAt": "2024-01-31T12:00:00Z", "updated_by": "me"}]
    found = updated_field(columns_of(records)[0])
    assert found is not None
    assert found.name == "updatedAt"
