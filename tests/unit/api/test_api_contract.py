"""What becomes of fields that no column names, and of values that do not fit theirs (case 38)."""

import json
from typing import Any

import attrs
import pytest

from syncd.api.client import ApiClient
from syncd.api.source import ApiSource
from syncd.config.settings import (
    CallSettings,
    ContractSettings,
    KeyAuth,
    Secret,
    SourceSettings,
    StreamSettings,
)
from syncd.survey.proposed import proposed
from syncd.sync.drift import MOST, Added, Drift, Evolution
from syncd.sync.model import Page

STREAM = StreamSettings(
    name="orders",
    path="/orders",
    key=("id",),
    columns={"id": "bigint", "name": "text", "budget": "bigint"},
    table="orders",
)
SHOP = SourceSettings(name="shop", base_url="http://api.test")
GREEN = {"id": 1, "name": "a", "budget": 7}


def source(evolution: Evolution | None = None, **changed: Any) -> ApiSource:
    of_source = attrs.evolve(SHOP, auth=changed.pop("auth", None))
    rules = ContractSettings(
        new_fields=changed.pop("new_fields", "discard"),
        wrong_types=changed.pop("wrong_types", "dead-letter"),
        ignore=changed.pop("ignore", ()),
    )
    stream = attrs.evolve(STREAM, contract=rules, **changed)
    made = ApiSource(of_source, stream, ApiClient(of_source), proposed)
    if evolution is not None:
        made.follow(evolution)
    return made


def texts(*records: object) -> tuple[bytes, ...]:
    return tuple(r if isinstance(r, bytes) else json.dumps(r).encode() for r in records)


def judged(of: ApiSource, *records: object) -> Page:
    return of.look_again(Page(records=[], raws=texts(*records)))


def rows(of: ApiSource, page: Page) -> list[dict[str, Any]]:
    return [json.loads(of.row(record, None).json) for record in page.records]


def test_what_fits_leaves_nothing() -> None:
    page = judged(source(), GREEN, GREEN | {"id": 2, "name": None}, {"id": 3})
    assert (page.drifts, page.frozen, page.wanted, page.raws) == ((), "", (), ())
    assert len(page.records) == 3


# --- new fields -------------------------------------------------------------------------------


def test_a_new_field_is_left_out_and_told_once_for_all_records() -> None:
    """accounted: the record is written as ever; which field no column has is known."""
    of = source()
    page = judged(of, GREEN | {"colour": "red"}, GREEN | {"id": 2, "colour": None, "size": 1})
    assert set(page.drifts) == {
        Drift(what="new-field", name="colour", rule="discard"),
        Drift(what="new-field", name="size", rule="discard"),
    }
    assert rows(of, page) == [GREEN, GREEN | {"id": 2}]


def test_a_record_with_a_new_field_is_put_aside_where_that_is_asked_for() -> None:
    """contained: it costs this record, and its key is known."""
    page = judged(source(new_fields="dead-letter"), GREEN | {"id": 2, "b": 1, "a": 1}, GREEN)
    (reject,) = page.rejects
    assert (reject.key, reject.column) == ("[2]", "a")
    assert reject.reason == "the fields a, b are new: no column names them"
    assert [r.key for r in page.records] == ["[1]"]
    assert (page.frozen, {d.rule for d in page.drifts}) == ("", {"dead-letter"})


def test_a_new_field_freezes_the_page_where_that_is_asked_for() -> None:
    page = judged(source(new_fields="freeze"), GREEN, GREEN | {"id": 2, "colour": "red"})
    assert page.frozen == "record 2: the field colour is new: no column names it"


def test_a_reason_names_ten_fields_at_most() -> None:
    many = {f"f{n:02}": n for n in range(12)}
    page = judged(source(new_fields="freeze"), GREEN | many)
    assert page.frozen.endswith("f08, f09 (and 2 more) are new: no column names them")


def test_fields_that_the_settings_speak_of_are_not_new() -> None:
    """Those of paths, rules, calls, of what is hidden, and those that are to be ignored."""
    of = source(
        new_fields="freeze",
        ignore=("_links",),
        columns={**STREAM.columns, "city": "text", "raw": "jsonb"},
        paths={"city": "address.city", "raw": ""},
        hide={"email": "drop", "card.number": "mask"},
        where={"meta.kind": ("x",)},
        call=CallSettings(path="/orders/{slug}/sync"),
    )
    told = {"address": {"city": "x"}, "email": "e", "card": {"number": 1}, "_links": []}
    page = judged(of, GREEN | told | {"meta": {"kind": "x"}, "slug": "s", "city": "y"})
    assert (page.frozen, page.drifts, len(page.records)) == ("", (), 1)


def test_what_is_left_out_or_deleted_says_nothing_of_the_contract() -> None:
    of = source(new_fields="freeze", where={"name": ("a",)})
    page = judged(of, GREEN | {"name": "b", "colour": 1})
    assert (page.frozen, page.drifts, page.left_out) == ("", (), ["[1]"])


def test_ten_thousand_new_names_are_not_ten_thousand_drifts() -> None:
    """contained: so many are told by their name, the others as one."""
    many = {f"f{n}": n for n in range(10_000)}
    page = judged(source(), GREEN | many)
    assert len(page.drifts) == MOST + 1
    assert page.drifts[-1] == Drift(what="new-field", name="", rule="discard")
    assert len(judged(source(new_fields="evolve"), GREEN | many).wanted) == MOST


def test_a_name_that_holds_a_credential_is_nobodys_to_see() -> None:
    """no-secret-out: an API that echoes the key as a field's name gets no column for it."""
    auth = KeyAuth(key=Secret("canary-4711", "env KEY"))
    of = source(new_fields="evolve", auth=auth)
    page = judged(of, GREEN | {"canary-4711": 1, "colour": 2})
    assert [added.field for added in page.wanted] == ["colour"]
    frozen = judged(source(new_fields="freeze", auth=auth), GREEN | {"canary-4711": 1})
    assert "canary" not in frozen.frozen
    assert frozen.frozen


# --- wrong types ------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_puts_its_record_aside() -> None:
    """contained: as ever; and how the column has drifted is known, by what JSON calls it."""
    page = judged(
        source(),
        GREEN | {"budget": "1,000"},
        GREEN | {"id": 2, "budget": {}},
        GREEN | {"id": 3, "budget": "x"},
        GREEN | {"id": 4, "budget": True},
    )
    assert len(page.rejects) == 4
    assert {(d.name, d.found, d.records) for d in page.drifts} == {
        ("budget", "a string", 2),
        ("budget", "an object", 1),
        ("budget", "true or false", 1),
    }
    assert {d.rule for d in page.drifts} == {"dead-letter"}


def test_a_value_that_does_not_fit_is_null_where_that_is_asked_for() -> None:
    """accounted: the row is kept, and so many values are counted."""
    of = source(wrong_types="discard")
    page = judged(of, GREEN | {"budget": [1], "name": {}}, GREEN | {"id": 2, "budget": [2]})
    assert rows(of, page) == [
        {"id": 1, "name": None, "budget": None},
        {"id": 2, "name": "a", "budget": None},
    ]
    assert {(d.name, d.found, d.rule, d.records) for d in page.drifts} == {
        ("budget", "a list", "discard", 2),
        ("name", "an object", "discard", 1),
    }
    assert page.rejects == []


@pytest.mark.parametrize("rule", ["discard", "evolve", "dead-letter"])
def test_a_key_is_never_null(rule: Any) -> None:
    """contained: a record whose key does not fit is put aside, whatever the contract says."""
    page = judged(source(wrong_types=rule), {"id": "x", "name": "a"})
    (reject,) = page.rejects
    assert reject.key is None
    (drift,) = page.drifts
    assert (drift.name, drift.rule) == ("id", "dead-letter")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (GREEN | {"budget": {}}, "record 1: column budget: found {}; allowed: a whole number"),
        ({"id": {}}, "a record: column id: found {}; allowed: a whole number"),
    ],
)
def test_a_wrong_type_freezes_the_page_where_that_is_asked_for(record: object, words: str) -> None:
    page = judged(source(wrong_types="freeze"), GREEN | {"id": 9}, record)
    assert page.frozen.startswith(words)


def test_a_letter_that_is_tried_again_freezes_nothing() -> None:
    """contained: it stays aside, with what the contract says of it."""
    of = source(new_fields="freeze", wrong_types="freeze")
    for broken in (GREEN | {"colour": 1}, GREEN | {"budget": {}}):
        (raw,) = texts(broken)
        assert of.judge(raw) is not None
        assert not hasattr(of.judge(raw), "fields")


# --- evolve -----------------------------------------------------------------------------------


def test_a_new_field_wants_a_column_of_the_type_that_its_values_have() -> None:
    """What is null so far waits for the value that tells."""
    of = source(new_fields="evolve")
    record = {"count": 3, "price": "1.50", "tags": [], "on": True, "day": "2024-01-31", "no": None}
    page = judged(of, GREEN | record, GREEN | {"id": 2, "count": None})
    assert {(a.column, a.type) for a in page.wanted} == {
        ("count", "numeric"),
        ("price", "numeric"),
        ("tags", "jsonb"),
        ("on", "boolean"),
        ("day", "date"),
    }
    assert len(page.raws) == 2


def test_a_column_that_was_added_is_filled_and_checked_like_any_other() -> None:
    added = Added(column="count", type="bigint", field="count")
    of = source(Evolution(columns=(added,)), new_fields="freeze")
    page = judged(of, GREEN | {"count": 3}, GREEN | {"id": 2}, GREEN | {"id": 3, "count": "x"})
    assert rows(of, page) == [GREEN | {"count": 3}, GREEN | {"id": 2, "count": None}]
    assert [reject.column for reject in page.rejects] == ["count"]


def test_a_column_may_have_another_name_than_its_field() -> None:
    """And what has the name of that column is another field."""
    evolution = Evolution(
        columns=(
            Added(column="Name_2", type="text", field="Name"),
            Added(column="Name_2_2", type="text", field="Name_2"),
        )
    )
    of = source(evolution)
    page = judged(of, GREEN | {"Name": "x", "Name_2": "y"}, GREEN | {"id": 2, "Name_2": "z"})
    assert rows(of, page) == [
        GREEN | {"Name_2": "x", "Name_2_2": "y"},
        GREEN | {"id": 2, "Name_2": None, "Name_2_2": "z"},
    ]


def test_what_is_named_later_is_filled_still() -> None:
    """accounted: a rule that speaks of the field does not make its column go stale."""
    colour = Added(column="colour", type="text", field="colour")
    of = source(Evolution(columns=(colour,)), where={"colour": ("red",)})
    assert rows(of, judged(of, GREEN | {"colour": "red"})) == [GREEN | {"colour": "red"}]


def test_what_is_hidden_later_is_hidden_in_its_column() -> None:
    """no-secret-out: the next cycle writes over it; what takes no text becomes null."""
    added = [("mail", "text"), ("age", "numeric"), ("card", "jsonb"), ("phone", "text")]
    columns = tuple(Added(column=name, type=of, field=name) for name, of in added)
    hide: Any = {"mail": "mask", "age": "mask", "card.number": "drop", "phone": "drop"}
    of = source(Evolution(columns=columns), hide=hide)
    told = {"mail": "a@b", "age": 7, "card": {"number": 1, "kind": "x"}, "phone": "0"}
    page = judged(of, GREEN | told)
    hidden = {"mail": "***", "age": None, "card": {"kind": "x"}, "phone": None}
    assert rows(of, page) == [GREEN | hidden]
    assert (page.rejects, page.drifts) == ([], ())


def test_where_there_is_no_room_new_fields_are_left_out() -> None:
    page = judged(source(Evolution(full=True), new_fields="evolve"), GREEN | {"colour": "red"})
    assert page.wanted == ()
    assert page.drifts == (Drift(what="new-field", name="colour", rule="discard"),)


@pytest.mark.parametrize("name", ["", "a\x00b", "\ud800", "n" * 501])
def test_a_name_that_no_column_can_have_is_left_out(name: str) -> None:
    page = judged(source(new_fields="evolve"), GREEN | {name: 1})
    assert page.wanted == ()
    assert [d.rule for d in page.drifts] == ["discard"]


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("1,000", Added(column="budget_text", type="text", instead_of="budget")),
        (1.5, Added(column="budget_numeric", type="numeric", instead_of="budget")),
        ({"a": 1}, Added(column="budget_jsonb", type="jsonb", instead_of="budget")),
        (True, Added(column="budget_jsonb", type="jsonb", instead_of="budget")),
    ],
)
def test_a_value_that_does_not_fit_wants_a_column_beside(value: object, column: Added) -> None:
    """page-atomic: nothing is lost, and no column's type changes under a view."""
    of = source(wrong_types="evolve")
    page = judged(of, GREEN, GREEN | {"id": 2, "budget": value})
    assert page.wanted == (column,)
    of.follow(Evolution(columns=page.wanted))
    again = of.look_again(page)
    assert (again.wanted, again.rejects) == ((), [])
    assert rows(of, again) == [
        GREEN | {column.column: None},
        GREEN | {"id": 2, "budget": None, column.column: value},
    ]
    assert [(d.name, d.rule, d.records) for d in again.drifts] == [("budget", "evolve", 1)]


def test_a_field_with_the_name_of_a_column_beside_does_not_fill_it() -> None:
    beside = Added(column="budget_text", type="text", instead_of="budget")
    of = source(Evolution(columns=(beside,)))
    page = judged(of, GREEN | {"budget_text": "mine"})
    assert rows(of, page) == [GREEN | {"budget_text": None}]
    assert [d.name for d in page.drifts] == ["budget_text"]


def test_what_no_column_takes_is_put_aside() -> None:
    """contained: a NUL fits no text and no jsonb (case 35); a full table gets no column."""
    page = judged(source(wrong_types="evolve"), GREEN | {"name": "a\x00b"})
    assert [reject.column for reject in page.rejects] == ["name"]
    full = judged(source(Evolution(full=True), wrong_types="evolve"), GREEN | {"budget": "x"})
    assert [reject.column for reject in full.rejects] == ["budget"]
    assert [d.rule for d in full.drifts] == ["dead-letter"]


def test_digits_stay_exact_in_a_column_that_was_added() -> None:
    """accounted: what is beyond a bigint, and decimals, as the API wrote them (case 36)."""
    of = source(new_fields="evolve")
    raw = b'{"id":1,"big":9007199254740993,"huge":123456789012345678901234567890,"sum":0.10}'
    page = judged(of, raw)
    assert {a.type for a in page.wanted} == {"numeric"}
    of.follow(Evolution(columns=page.wanted))
    (record,) = of.look_again(page).records
    assert b'"huge":123456789012345678901234567890' in of.row(record, None).json
    assert b'"sum":0.10' in of.row(record, None).json


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("ctid", "ctid_"),
        ("_syncd_source", "syncd_source"),
        ("_SYNCD_x", "SYNCD_x"),
        ("ä" * 40, "ä" * 31),
        ("a b", "a b"),
    ],
)
def test_a_columns_name_is_one_that_postgres_and_syncd_take(field: str, column: str) -> None:
    added = proposed(field, [b"1"])
    assert added is not None
    assert (added.column, added.field) == (column, field)


@pytest.mark.parametrize("rules", [{"new_fields": "freeze"}, {"new_fields": "dead-letter"}, {}])
def test_a_page_is_judged_as_if_one_of_its_records_had_never_been_in_it(
    rules: dict[str, Any],
) -> None:
    """accounted, contained: of who is kept out nothing is left, and nobody is folded into it."""
    of = source(**rules)
    bad = GREEN | {"id": 2, "marker": 1, "budget": "marker"}
    page = judged(of, GREEN, bad, bad, GREEN | {"id": 3})
    assert page.drifts
    rest = of.look_again(page, {"[2]"})
    assert [r.key for r in rest.records] == ["[1]", "[3]"]
    assert (rest.drifts, rest.frozen, rest.rejects, rest.raws) == ((), "", [], ())
    assert rest.seen == 2
    also = of.look_again(judged(of, GREEN, bad, GREEN | {"id": 3, "colour": 1}), {"[2]"})
    assert [d.name for d in also.drifts] == ["colour"]
    assert "marker" not in f"{also.frozen} {also.rejects}"


def test_looked_at_once_more_it_stays_away() -> None:
    """accounted: with columns that were added for others."""
    of = source(new_fields="evolve")
    page = judged(of, GREEN | {"colour": 1}, GREEN | {"id": 2, "marker": 1})
    rest = of.look_again(page, {"[2]"})
    assert [a.column for a in rest.wanted] == ["colour"]
    of.follow(Evolution(columns=rest.wanted))
    assert [r.key for r in of.look_again(rest).records] == ["[1]"]
