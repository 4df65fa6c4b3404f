"""The script of faults: which rule has which request."""

import json
from typing import Any

import pytest

from mock_api.faults import BadScript, Script, read_rules


def script(*rules: dict[str, Any]) -> Script:
    made = Script()
    made.replace(read_rules(json.dumps(rules).encode()))
    return made


def fired(made: Script, times: int, path: str = "/a", **other: str) -> list[int]:
    """The numbers, from 1, of the requests that a rule had."""
    asked = {"method": "GET", "path": path, "query": "", "client": "c"} | other
    return [n for n in range(1, times + 1) if made.pick(*asked.values())]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"on": [2, 5]}, [2, 5]),
        ({"from": 4}, [4, 5, 6]),
        ({"to": 2}, [1, 2]),
        ({"every": 3}, [3, 6]),
        ({"from": 4, "every": 2}, [4, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"rate": 0}, []),
        ({"rate": 1}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_rule_has_the_requests_that_it_names(which: dict[str, Any], expected: list[int]) -> None:
    assert fired(script({"status": 500, **which}), 6) == expected


def test_globs_and_the_method_choose_and_only_what_they_choose_is_counted() -> None:
    made = script({"path": "/api/*", "method": "POST", "query": "*p=2*", "client": "x?", "on": [2]})
    assert fired(made, 3, "/other") == []
    assert fired(made, 3, "/api/a/b") == []
    chosen = {"method": "POST", "query": "p=2&q", "client": "x1"}
    assert fired(made, 3, "/api/a/b", **chosen) == [2]
    assert made.as_json()[0]["matched"] == 3
    assert made.as_json()[0]["fired"] == 1


def test_a_rate_falls_on_the_same_requests_each_time() -> None:
    one = fired(script({"rate": 0.3, "seed": 5}), 1000)
    assert one == fired(script({"rate": 0.3, "seed": 5}), 1000)
    assert one != fired(script({"rate": 0.3, "seed": 6}), 1000)
    assert 250 < len(one) < 350


def test_the_first_rule_that_fires_has_the_request_and_the_others_count_it() -> None:
    made = script({"name": "odd", "on": [1, 3]}, {"name": "third", "on": [3, 4]})
    names = [rule.name if (rule := made.pick("GET", "/", "", "")) else None for _ in range(4)]
    assert names == ["odd", None, "odd", "third"]


def test_a_request_can_come_late_and_meet_another_rule_then() -> None:
    made = script({"name": "late", "late": 3, "from": 2}, {"name": "bad", "status": 500})
    asked = ("GET", "/a", "", "c")
    late = [made.pick(*asked, late=True) for _ in range(3)]
    assert [rule.name if rule else None for rule in late] == [None, "late", "late"]
    met = made.pick(*asked)
    assert met is not None
    assert met.name == "bad"
    assert [rule["matched"] for rule in made.as_json()] == [3, 1]


@pytest.mark.parametrize(
    ("rule", "handled", "costs"),
    [
        ({"status": 500}, False, True),
        ({"status": 429}, False, False),
        ({"status": 401}, False, False),
        ({"status": 429, "quota": True}, False, True),
        ({"body": None}, False, True),
        ({"hang": True}, False, True),
        ({"cut": "before-headers"}, False, True),
        ({"cut": "before-headers", "handle": True}, True, True),
        ({"cut": "mid-body"}, True, True),
        ({"truncate": 3}, True, True),
        ({"delay": 1}, True, True),
        ({"delay": 1, "quota": False}, True, False),
        ({"gzip": True}, True, True),
    ],
)
def test_the_work_is_done_unless_the_rule_takes_its_place(
    rule: dict[str, Any],
    handled: bool,
    costs: bool,
) -> None:
    (read,) = read_rules(json.dumps(rule).encode())
    assert (read.handled, read.costs) == (handled, costs)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[{", "not JSON"),
        (b"3", "array"),
        (b'[{"statuss": 500}]', "statuss"),
        (b'[{"status": 99}]', "$[0].status"),
        (b'[{"rate": 2}]', "rate"),
        (b'[{"cut": "somewhere"}]', "cut"),
        (b'[{"drip": {"bytes": 0}}]', "bytes"),
        (b'[{"headers": {"\xc3\xa9": "x"}}]', "rule 1"),
        (b'[{"body_base64": "?"}]', "rule 1"),
        (b'[{"late": -1}]', "late"),
        (b'[{"late": 3, "status": 500}]', "rule 1"),
    ],
)
def test_a_bad_script_says_where(text: bytes, says: str) -> None:
    with pytest.raises(BadScript, match=says.replace("$", r"\$").replace("[", r"\[")):
        read_rules(text)


def test_a_rule_alone_a_list_and_a_script_are_all_read() -> None:
    for text in (b'{"status": 500}', b'[{"status": 500}]', b'{"rules": [{"status": 500}]}'):
        assert [rule.status for rule in read_rules(text)] == [500]
