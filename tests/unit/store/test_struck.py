"""Which words of a text are struck out when a record is forgotten, and which are not."""

import json

import pytest

from syncd.store.struck import Words


def words(key: str, *values: object, in_addresses: bool = False) -> Words:
    known = Words(in_addresses=in_addresses)
    known.add_key([json.dumps([key])], [key])
    for value in values:
        known.add_values(value)
    return known


@pytest.mark.parametrize(
    ("key", "text", "struck"),
    [
        ("camp_7", "record camp_7 was put aside", "record *** was put aside"),
        ("camp_7", "camp_77 and camp_7.", "camp_77 and ***."),
        ("camp_7", 'call ["camp_7"] failed', "call *** failed"),
        ("7", "page 7: 7 of 20 records, 77 %", "page 7: 7 of 20 records, 77 %"),
        ("7", "POST /api/items/7/sync answered 422", "POST /api/items/***/sync answered 422"),
        ("7", 'column id: found "7"', 'column id: found "***"'),
        ("7", "GET /api/items?page=7 answered 200", "GET /api/items?page=7 answered 200"),
        (
            "4711001",
            "GET /items?offset=4711001 answered 200",
            "GET /items?offset=4711001 answered 200",
        ),
        ("4711001", "order 4711001 is gone", "order *** is gone"),
    ],
)
def test_a_key_is_struck_out_where_it_is_one(key: str, text: str, struck: str) -> None:
    """A small number is a page's, or a count, unless it stands as a key does."""
    known = words(key)
    assert known.strike(text) == struck
    assert known.names(text) == (struck != text)


def test_an_address_of_a_list_that_is_paged_by_keys_holds_keys() -> None:
    """A keyset's cursor is the key itself."""
    known = words("7", in_addresses=True)
    assert known.strike("GET /items?after=7&limit=5 answered 200").count("***") == 1
    assert known.strike("7") == "***"
    assert known.strike("page 7: nothing") == "page 7: nothing"


def test_what_operators_have_written_names_records_by_any_key() -> None:
    """In what was asked and answered a number is a key."""
    known = words("7")
    assert known.strike(" 7 8", of_keys=True) == " *** 8"
    assert known.strike("the API does not list: 7, 77", of_keys=True).endswith("***, 77")


def test_values_are_struck_out_whole_and_cut() -> None:
    """As a reason has them: quoted, escaped, and cut where they were too long."""
    long = "Grüße an Marker Muster, wohnhaft in der Musterstraße 12 in Musterstadt"
    known = words("camp_7", {"name": "Marker", "note": [long], "old": True, "n": "12"})
    assert known.strike('column name: found "Marker"; 12') == 'column name: found "***"; 12'
    assert known.strike(f"found {long[:40]}…; allowed") == "found ***…; allowed"
    assert known.strike(json.dumps({"reason": f"of {long}"})) == '{"reason": "of ***"}'
    assert (
        known.strike("Markers are true, Grüße an Marker M.") == "Markers are true, Grüße an *** M."
    )


def test_a_record_without_words_strikes_nothing() -> None:
    """Empty texts, small numbers and nothing at all stand everywhere."""
    known = words("7", {"a": "", "b": None, "c": "200", "d": "ok"}, [], "null")
    text = 'null "" 200 ok'
    assert known.strike(text).replace("***", "null") == text
