"""What is said of new fields and wrong types, in the log and in words."""

from typing import Any

import pytest

from syncd.logs import kinds
from syncd.logs.teller import Teller
from syncd.sync import events
from syncd.sync.drift import Added, Drift
from syncd.sync.model import StreamId
from syncd.views.drifts import about, what_is_wrong

SHOP = StreamId(source="shop", stream="orders")


def lines(event: events.Event) -> list[tuple[str, dict[str, Any]]]:
    return [(line.kind.name, line.fields) for line in Teller(lambda: 0.0).hear(event)]


def drifted(**of: Any) -> events.Drifted:
    return events.Drifted(stream=SHOP, drift=Drift(**of))


def test_what_is_new_is_one_warning() -> None:
    assert lines(drifted(what="new-field", name="colour", rule="discard")) == [
        ("drifted", {"what": "new-field", "name": "colour", "rule": "discard"})
    ]
    assert lines(drifted(what="wrong-type", name="n", found="a list", rule="evolve")) == [
        ("drifted", {"what": "wrong-type", "name": "n", "found": "a list", "rule": "evolve"})
    ]
    assert kinds.DRIFTED.level == "WARNING"


def test_what_is_put_aside_has_a_line_of_its_own_already() -> None:
    """One line for one thing."""
    assert lines(drifted(what="wrong-type", name="n", found="a list", rule="dead-letter")) == []


def test_what_was_so_from_the_start_is_one_line() -> None:
    many = tuple(f"f{n}" for n in range(25))
    ((name, fields),) = lines(events.FieldsLeftOut(stream=SHOP, fields=many))
    assert name == "fields-left-out"
    assert fields["fields"].endswith("f19 and 5 more")
    assert lines(events.FieldsLeftOut(stream=SHOP, fields=("a", "b")))[0][1] == {"fields": "a, b"}


def test_a_column_that_was_added_is_told_with_its_type() -> None:
    added = Added(column="Name_2", type="text", field="Name")
    assert lines(events.ColumnAdded(stream=SHOP, added=added)) == [
        ("column-added", {"column": "Name_2", "type": "text", "field": "Name"})
    ]


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (
            {"what": "new-field", "name": "a", "rule": "discard"},
            "field a is new, no column names it: it is left out",
        ),
        (
            {"what": "new-field", "name": "a", "rule": "evolve"},
            "field a is new, no column names it: a column was added for it",
        ),
        (
            {"what": "wrong-type", "name": "n", "found": "a list", "rule": "discard"},
            "column n is sent a list that does not fit its type: the value is left out of its row",
        ),
        (
            {"what": "new-field", "name": "", "rule": "discard"},
            "more fields are new than are told one by one: they are left out",
        ),
        (
            {"what": "wrong-type", "name": "", "rule": "dead-letter"},
            "further columns have values of another type",
        ),
    ],
)
def test_it_is_said_in_words(of: dict[str, Any], words: str) -> None:
    assert what_is_wrong(Drift(**of)) == words


def test_each_drift_of_a_stream_has_a_name_of_its_own() -> None:
    """A field and a column of one name, and two kinds of value, are three."""
    found = [
        Drift(what="new-field", name="a", rule="discard"),
        Drift(what="wrong-type", name="a", found="a list", rule="discard"),
        Drift(what="wrong-type", name="a", found="a string", rule="discard"),
    ]
    assert len({about(d) for d in found}) == 3
