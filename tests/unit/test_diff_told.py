"""How a diff is told: no digit lost, nothing that a terminal would obey, and what is not known."""

import json
from typing import Any

import attrs
import pytest

from syncd.config.settings import CallSettings, StreamSettings
from syncd.sync.diff import Absence, Change, Coming, Difference, Outcome
from syncd.sync.model import Counts, StreamId
from syncd.views.differences import (
    WIDEST,
    chosen,
    field,
    heading,
    line,
    notes,
    summed_up,
)

STREAM = StreamId(source="shop", stream="items")
COLUMNS = (
    '{ "price" : {"old" : 1.10, "new" : 9007199254740993.10}, "name" : {"old":null,"new":"x"} }'
)
NOTHING: dict[Change, int] = dict.fromkeys(
    ("added", "changed", "volatile", "returned", "deleted", "missing", "put-aside"), 0
)


@pytest.fixture
def items() -> StreamSettings:
    found = {f.name: f for f in attrs.fields(StreamSettings)}
    given: dict[str, Any] = {
        "name": "items",
        "path": "/items",
        "key": ("id",),
        "columns": {"id": "bigint"},
        "table": "items",
        "call": CallSettings(path="/items/{id}/sync", when="changed", keep={"synced": "at"}),
    }
    needed = {n for n, f in found.items() if f.default is attrs.NOTHING} - given.keys()
    return StreamSettings(**given, **dict.fromkeys(needed))  # type: ignore[arg-type]


def changed(**more: Any) -> Difference:
    return Difference(change="changed", key="[7]", columns=COLUMNS, **more)


def test_a_line_for_programs_holds_each_digit() -> None:
    """accounted: numbers stand there as Postgres wrote them, not as a float would."""
    ((difference, fields),) = chosen(iter([changed(called=True)]), [])
    text = line(difference, fields)
    assert '"price": {"old": 1.10, "new": 9007199254740993.10}' in text
    assert json.loads(text)["key"] == [7]
    assert json.loads(text)["call"] is True
    aside = Difference(change="put-aside", key=None, reason='a "b"', kind="contract", again=True)
    assert json.loads(line(aside, {})) == {
        "change": "put-aside",
        "key": None,
        "reason": 'a "b"',
        "kind": "contract",
        "again": True,
    }


def test_only_rows_that_change_in_the_chosen_columns_are_shown() -> None:
    """What is new, or goes, is shown whatever was chosen."""
    gone = Difference(change="deleted", key="[8]", reason="gone")
    shown = list(chosen(iter([changed(), gone]), ["price"]))
    assert [list(fields) for _, fields in shown] == [["price"], []]
    assert [d.change for d, _ in chosen(iter([changed(), gone]), ["other"])] == ["deleted"]


def test_values_are_shown_so_that_their_difference_is_seen() -> None:
    """Of long values the part that differs; blanks and what is not printable stay visible."""
    assert field("a", '"x  y"', '"x y"', added=False) == 'a: "x  y" -> "x y"'
    assert field("a", '"\u202e"', "null", added=False) == 'a: "\\u202e" -> null'
    assert field("a", "null", "1", added=True) == "a: 1"
    old, new = '"' + "a" * 500 + 'b"', '"' + "a" * 500 + 'c"'
    said = field("a", old, new, added=False)
    assert 'b" (503 characters) -> …' in said
    assert said.endswith('c" (503 characters)')
    assert len(said) < 2 * WIDEST + 100


def test_the_line_of_a_record_says_what_would_happen() -> None:
    """contained: a reason is on one line, whatever the API wrote."""
    assert heading(changed()) == ("~ 7  changed", "yellow")
    aside = Difference(change="put-aside", key=None, reason="bad\n\x1b[31mred", kind="contract")
    assert heading(aside)[0] == "! (no key)  put aside (contract): bad \\x1b[31mred"


def test_the_sum_accounts_for_every_record() -> None:
    """accounted: what stays is told beside what changes."""
    totals = Counts(seen=9, written=3, unchanged=3, left_out=1, dead=1, folded=1, requests=3)
    outcome = Outcome(pages=2, totals=totals)
    of = {**NOTHING, "added": 2, "volatile": 1, "put-aside": 1}
    assert summed_up(outcome, of) == (
        "9 records on 2 pages (3 requests): 2 new, 1 changed in volatile columns alone, "
        "1 put aside; 3 as in the table, 1 left out by `where`, 1 that came again on their page "
        "(the last one wins)."
    )
    assert (
        summed_up(Outcome(pages=1), NOTHING) == "0 records on 1 page (0 requests): no difference."
    )


def test_what_can_not_be_known_is_said(items: StreamSettings) -> None:
    """no-delete-on-absence, no-blind-repeat: calls, a part of the list, and what was not tried."""
    outcome = Outcome(
        coming=Coming(since="2026-01-01", paused=True, under_way=3, untried="trigger t"),
        calls=2,
        recovered=1,
        untried=4,
        moved="1 key was met twice",
    )
    said = "\n".join(notes(STREAM, items, outcome, 1))
    for words in (
        'POST /items/{id}/sync would be called for 2 records (when = "changed")',
        "what it gives to synced, and which calls fail",
        "since 2026-01-01",
        "--full asks for the whole list",
        "the daemon begins no cycle until `syncd resume shop.items`",
        "with 3 pages committed",
        "beyond their types: trigger t",
        "4 rows: somebody holds a lock there",
        "a cycle makes a second pass",
        "1 dead letter leaves",
        "1 record lies among the dead letters already",
        "a cycle asks anew",
    ):
        assert words in said


def test_rows_that_stay_are_said_with_why(items: StreamSettings) -> None:
    """no-delete-on-absence: no scan, a guard, a broken scan."""
    absence = Absence(live=30, first=2, again=20)
    plain = Outcome(absence=absence)
    assert "22 rows are not in the list, and stay" in "\n".join(notes(STREAM, items, plain, 0))
    held = Outcome(
        coming=Coming(reconcile=True), absence=absence, question="20 of 30 rows are gone"
    )
    said = "\n".join(notes(STREAM, items, held, 0))
    assert "deletes would be held: 20 of 30 rows are gone" in said
    assert "does not look for what is gone" not in said
    parked = Outcome(coming=Coming(parked="a bad page"))
    assert "it is parked (a bad page): the daemon" in notes(STREAM, items, parked, 0)[0]
    broken = Outcome(coming=Coming(reconcile=True), absence=absence, broken="it was interrupted")
    assert "can't be told: it was interrupted" in "\n".join(notes(STREAM, items, broken, 0))
