"""What a diff has found: the last one wins, all are counted, and none is held in memory."""

import sqlite3

import pytest

from syncd.errors import SyncdError
from syncd.store import findings as module
from syncd.store.findings import Findings
from syncd.sync.diff import Difference


def changed(key: str, columns: str = "{}", change: str = "changed") -> Difference:
    return Difference(change=change, key=key, columns=columns)  # type: ignore[arg-type]


def letter(key: str, *, kind: str = "contract", again: bool = False) -> Difference:
    return Difference(change="put-aside", key=key, reason="bad", kind=kind, again=again)


def test_of_a_record_that_comes_again_the_last_one_wins() -> None:
    """accounted: as in a cycle, which compares it with what it has written itself."""
    with Findings() as findings:
        assert findings.row("[1]", changed("[1]", '{"a": 1}'))
        assert not findings.row("[1]", changed("[1]", '{"a": 1}'))
        assert findings.row("[1]", changed("[1]", '{"a": 2}'))
        assert [d.columns for d in findings] == ['{"a": 2}']
        assert findings.row("[1]", None)  # it is written back
        assert not findings.row("[1]", None)
        assert list(findings) == []


def test_they_come_in_the_order_of_the_list_however_many() -> None:
    """More than are read at once are all there, in order."""
    many = module.AT_ONCE * 2 + 1
    with Findings() as findings:
        for n in range(many):
            findings.row(f"[{n}]", changed(f"[{n}]"))
        assert [d.key for d in findings] == [f"[{n}]" for n in range(many)]
        assert findings.counted().of["changed"] == findings.counted().differences == many


def test_a_record_that_is_well_leaves_no_letter_and_one_that_lies_there_is_no_difference() -> None:
    """accounted: only what a cycle would newly put aside is a difference."""
    with Findings() as findings:
        findings.letter("a", letter("a"))
        findings.letter("a", letter("a"))
        findings.letter("b", letter("b", again=True))
        findings.letter("c", letter("c", kind="refused"))
        findings.well("c")
        counted = findings.counted()
        assert (counted.of["put-aside"], counted.aside_again, counted.differences) == (1, 1, 1)


def test_only_rows_that_no_page_held_are_missing() -> None:
    """no-delete-on-absence: what was met on any page stays; the others are judged by kind."""
    with Findings() as findings:
        findings.meet(["[1]", "[2]"])
        findings.meet(["[2]"])
        many = findings.absent(
            {"[1]": "first", "[3]": "first", "[4]": "again", "[5]": "approved"}, "stays"
        )
        assert many == {"first": 1, "again": 1, "approved": 1}
        assert findings.counted().differences == 0
        findings.judge("again", "deleted", "twice")
        assert [(d.key, d.change) for d in findings] == [
            ("[3]", "missing"),
            ("[4]", "deleted"),
            ("[5]", "missing"),
        ]
        assert findings.counted().differences == 1
        findings.forget_absent()
        assert list(findings) == []


def test_a_disk_that_is_full_is_said_and_what_to_do() -> None:
    """contained: no traceback, but where it was to be kept."""
    with Findings() as findings:
        findings._db.close()
        with pytest.raises(SyncdError, match=r"can't be kept on disk: .*TMPDIR") as caught:
            findings.meet(["[1]"])
        assert isinstance(caught.value.__cause__, sqlite3.Error)
