"""Which JSON values fit which column, and which of them are the same key."""

import json

import pytest

from syncd.api.columns import NESTING, TYPES
from syncd.config.settings import COLUMN_TYPES

DEEP = "[" * 100_000 + "]" * 100_000

FITS = {
    "text": ['""', '"a"', '"\\n\\"\\\\"', '"ß😀"', '"\\ud83d\\ude00"', "1", "-0.0", "1e999999999"],
    "bigint": ["0", "-1", "9223372036854775807", "-9223372036854775808", '"9007199254740993"'],
    "integer": ["2147483647", "-2147483648", "0"],
    "smallint": ["32767", "-32768"],
    "numeric": ["0.1", "-1e5", "9" * 131_072, "1e131071", "1e-16383", '"12.50"', "0.0", "1E+2"],
    "double precision": ["0.1", "1e308", "-1.7e308", "5e-324", "0e5", "0", '"1.5"'],
    "real": ["3.4e38", "1.5", "1e-45"],
    "boolean": ["true", "false"],
    "date": ['"2024-02-29"', '"20240131"', '"2024-01-31T12:00:00Z"'],
    "timestamp": ['"2024-01-31T12:00:00"', '"2024-01-31 12:00"', '"2024-01-31"'],
    "timestamptz": [
        '"2024-01-31T12:00:00Z"',
        '"2024-01-31T12:00:00.123456789+05:30"',
        '"2024-01-31 12:00:00 -0800"',
        '"20240131T120000Z"',
        '"2016-12-31T23:59:60Z"',
        '"2024-01-31T24:00:00Z"',
        '"\\u0032024-01-31T12:00:00Z"',
    ],
    "uuid": ['"6F9619FF-8B86-D011-B42D-00C04FC964FF"', '"{6f9619ff8b86d011b42d00c04fc964ff}"'],
    "jsonb": [
        "{}", "[1, 2]", '"x"', "1", "true", '{"a": "\\\\u0000"}', "1e400", "1e131071",
        "[" * NESTING + "]" * NESTING, '"' + "[" * 9000 + '"', '["1e999999"]',
    ],
}  # fmt: skip

DOES_NOT_FIT = {
    "text": ["true", "{}", "[]", '"a\\u0000b"', '"\\ud800"', '"\\udc00x"', '"a\nb"', "NaN"],
    "bigint": [
        "9223372036854775808", "-9223372036854775809", "1.0", "1e3", "true", '"1,000"', '""',
        "9" * 5000, '"abc"', "{}", "NaN", "Infinity", '" 1"', "01", "[]", "1_0", '"\uff11"',
    ],
    "integer": ["2147483648", "-2147483649"],
    "smallint": ["32768", "-32769"],
    "numeric": [
        "1e131072", "9" * 131_073, "1e-16384", "0." + "1" * 16_384, "1e999999999999", "NaN",
        "Infinity", "-Infinity", '"NaN"', '"1,000"', "true", "{}", "1e" + "0" * 5000 + "9999999",
        "0e999999",
    ],
    "double precision": ["1e309", "-1e309", "1e-400", '"NaN"', "NaN", '"inf"', "true", "1e-20000"],
    "real": ["3.5e38", "1e-46", "1e39"],
    "boolean": ["0", "1", '"true"', "True", "[]"],
    "date": [
        '"now"', '"infinity"', '"-infinity"', '"epoch"', '"2024-02-30"', "20240131", '"31.01.2024"',
    ],
    "timestamp": ['"today"', '"2024-13-01T00:00:00"', '"2024-01-31T25:00:00"', '"Jan 31 2024"'],
    "timestamptz": [
        '"now"', '"infinity"', "1700000000", '"2023-02-29T00:00:00Z"', '"0000-01-01T00:00:00Z"',
        '"2024-01-31T12:00:00Z; DROP"', '"2024-01-31T12:00:00+99:00"', "null1", "true", '"\\ud800"',
    ],
    "uuid": ['"6f9619ff"', "1", '"zf9619ff-8b86-d011-b42d-00c04fc964ff"', '""'],
    "jsonb": [
        "NaN", "[Infinity]", '{"a": "\\u0000"}', '{"a\\u0000": 1}', '["\\\\\\u0000"]', '"\\ud800"',
        '{"\\udc00": 1}', "1e131072", "[1, 1e-16384]", DEEP, "[1e999999999999]",
        "[" + "9" * 131_073 + "]",
    ],
}  # fmt: skip


def accepts(of: str, value: str) -> bool:
    raw = value.encode()
    column = TYPES[of]
    wrong = column.check(raw)
    if column.fits(raw):
        assert wrong is None or of == "boolean", "the quick look must not let through more"
        return True
    return wrong is None


def test_every_type_of_the_settings_is_known() -> None:
    """What a config may name, a record can be checked against."""
    assert set(TYPES) == COLUMN_TYPES


@pytest.mark.parametrize(("of", "value"), [(of, v) for of, vs in FITS.items() for v in vs])
def test_what_fits(of: str, value: str) -> None:
    """Postgres takes it, and it means what the API meant."""
    assert accepts(of, value)
    json.dumps(TYPES[of].canonical(value.encode()))


@pytest.mark.parametrize(("of", "value"), [(of, v) for of, vs in DOES_NOT_FIT.items() for v in vs])
def test_what_does_not_fit(of: str, value: str) -> None:
    """Postgres would refuse it, or take it for something else."""
    assert not accepts(of, value)


@pytest.mark.parametrize("of", sorted(TYPES))
def test_bytes_that_are_not_utf8_do_not_fit(of: str) -> None:
    """Case 34: no silent U+FFFD."""
    assert TYPES[of].check(b'"\xff"') is not None
    assert not TYPES[of].fits(b'"\xff"')


SAME = {
    "text": [["1", '"1"', '"\\u0031"'], ['"é"', '"\\u00e9"']],
    "bigint": [["1", '"1"'], ["0", "-0"]],
    "numeric": [["1", "1.0", "1.00e0", "10e-1", '"1"'], ["0", "-0.0", "0e5"], ["100", "1e2"],
                ["1.5", "1.50", "15e-1"]],
    "double precision": [["1", "1.0", "1e0"], ["0", "-0.0"], ["0.1", "0.10"]],
    "real": [["0.1", "0.10000000149"]],
    "date": [['"2024-01-31"', '"20240131"', '"2024-01-31T12:00:00Z"']],
    "timestamp": [['"2024-01-31T12:00:00"', '"2024-01-31 12:00"', '"2024-01-31T12:00:00+05:00"']],
    "timestamptz": [
        ['"2024-01-31T12:00:00Z"', '"2024-01-31T13:00:00+01:00"', '"2024-01-31T12:00"',
         '"2024-01-31T07:00:00.0000001-0500"'],
        ['"2024-01-31T24:00:00Z"', '"2024-02-01T00:00:00Z"'],
    ],
    "uuid": [['"6F9619FF-8B86-D011-B42D-00C04FC964FF"', '"{6f9619ff8b86d011b42d00c04fc964ff}"']],
    "jsonb": [['{"a": 1, "b": 2}', '{"b":2.0,"a":1}']],
}  # fmt: skip


@pytest.mark.parametrize(("of", "values"), [(of, g) for of, gs in SAME.items() for g in gs])
def test_values_that_postgres_holds_equal_are_one_key(of: str, values: list[str]) -> None:
    """Case 37: two equal keys in one statement are an error for ever."""
    keys = {json.dumps(TYPES[of].canonical(v.encode()), sort_keys=True) for v in values}
    assert len(keys) == 1


DIFFERENT = {
    "text": ["1", "1.0", '"a"', '"A"', '" a"', '"e\\u0301"', '"\\u00e9"'],
    "bigint": ["9007199254740993", "9007199254740992"],
    "numeric": ["1.5", "15", "150", "1e2000", "1e2001", "0.1", "0." + "0" * 200 + "1", "-1.5"],
    "timestamptz": ['"2024-01-31T12:00:00Z"', '"2024-01-31T12:00:00+01:00"',
                    '"2024-01-31T12:00:00.000001Z"'],
}  # fmt: skip


@pytest.mark.parametrize("of", DIFFERENT)
def test_values_that_postgres_holds_apart_are_different_keys(of: str) -> None:
    """Case 36: no key goes through a float."""
    keys = {json.dumps(TYPES[of].canonical(v.encode())) for v in DIFFERENT[of]}
    assert len(keys) == len(DIFFERENT[of])


def test_integers_are_exact_in_a_key() -> None:
    """2 ** 53 + 1 stays what it is."""
    assert TYPES["bigint"].canonical(b"9007199254740993") == 9007199254740993
