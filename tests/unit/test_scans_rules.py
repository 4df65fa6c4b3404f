"""The pure rules of scans: what is usual, what a guard asks, whether rows moved."""

import attrs
import pytest

from syncd.sync.known import KnownPage
from syncd.sync.model import Counts, Page
from syncd.sync.moves import Movement
from syncd.sync.ranges import Past, Range, Usual, learned, unusual
from syncd.sync.scans import Absent, Reconciled, Scan, question
from syncd.testing import record, reject

# --- what is usual ---------------------------------------------------------------------------


def past(*seen: int, written: int = 0) -> list[Past]:
    """Cycles that saw so much, the last one first."""
    return [Past(seen=many, written=written) for many in seen]


def counts(seen: int, written: int = 0) -> Counts:
    return Counts(seen=seen, written=written, unchanged=seen - written)


@pytest.mark.parametrize("known", range(5))
def test_a_few_cycles_tell_nothing(known: int) -> None:
    """accounted: below five cycles no number of records is unusual but none."""
    assert learned(past(*[100] * known)) == Usual()
    assert unusual(past(*[100] * known), counts(1)) == ""


def test_five_cycles_tell_the_records_and_ten_the_changes() -> None:
    """accounted: changes vary more, so they are learned later."""
    five = learned(past(*[100] * 5, written=40))
    assert five == Usual(records=Range(least=80, most=120))
    ten = learned(past(*[100] * 10, written=40))
    assert ten == Usual(records=Range(least=80, most=120), changes=Range(least=1, most=90))


def test_five_cycles_tell_how_long_one_takes() -> None:
    """The median; what was taken up again tells nothing, as an outage may be among it."""
    took = [60.0, 61.0, 62.0, 63.0, 600.0]
    known = [Past(seen=100, written=0, seconds=seconds) for seconds in took]
    assert learned(known).seconds == 62.0
    assert learned(known * 3).seconds == 62.0
    assert learned([*known[1:], Past(seen=100, written=0)]).seconds is None


def test_a_list_that_grows_slowly_stays_usual() -> None:
    """accounted: 1 % more with each cycle, for 200 cycles, makes no noise."""
    history: list[Past] = []
    size = 100.0
    for _ in range(200):
        assert unusual(history, counts(int(size))) == ""
        history.insert(0, Past(seen=int(size), written=0))
        size *= 1.01


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (100, ""),
        (80, ""),
        (79, "79 records, where 80 to 120 are usual"),
        (120, ""),
        (121, "121 records, where 80 to 120 are usual"),
        (50, "50 records, where 80 to 120 are usual"),
    ],
)
def test_what_is_outside_of_the_range_is_suspicious(seen: int, says: str) -> None:
    """accounted: both ends are usual; half of the list is not."""
    assert unusual(past(*[100] * 5), counts(seen)) == says


def test_small_lists_may_vary_by_ten() -> None:
    """accounted: three records more or less of eight are no reason to ask."""
    assert learned(past(*[8] * 5)).records == Range(least=0, most=18)


def test_one_odd_cycle_moves_nothing() -> None:
    """accounted: neither the median nor the MAD."""
    steady = learned(past(*[100] * 19))
    assert learned(past(5000, *[100] * 18)) == steady


def test_what_stays_becomes_usual() -> None:
    """accounted: only the last 20 cycles count, so a list that was halved is usual one day."""
    assert unusual(past(*[50] * 4, *[100] * 16), counts(50))
    assert unusual(past(*[50] * 11, *[100] * 9), counts(50)) == ""
    assert unusual(past(*[50] * 20, *[100] * 80), counts(100))


def test_steady_changes_that_drop_to_none_are_suspicious() -> None:
    """accounted: where 40 rows change with each cycle, none is a sign of an API that stands."""
    history = past(*[100] * 10, written=40)
    assert unusual(history, counts(100)) == "0 rows written, where 1 to 90 are usual"
    assert unusual(history, counts(100, written=1)) == ""
    assert unusual(history, counts(100), extra=True) == ""


def test_few_or_unsteady_changes_may_be_none() -> None:
    """accounted: only what comes with every cycle is missed."""
    assert unusual(past(*[100] * 10, written=19), counts(100)) == ""
    unsteady = [Past(seen=100, written=many) for many in (20, 60) * 5]
    assert unusual(unsteady, counts(100)) == ""


def test_many_changes_are_suspicious_out_of_turn_as_well() -> None:
    """accounted: a list that is all new is told, whoever began the cycle."""
    history = past(*[100] * 10, written=10)
    assert unusual(history, counts(100, written=60)) == ""
    for extra in (False, True):
        says = unusual(history, counts(100, written=61), extra=extra)
        assert says == "61 rows written, where 0 to 60 are usual"


def test_empties_are_never_learned() -> None:
    """accounted: a list that stays empty does not become the usual thing."""
    history = past(*[0] * 50, *[100] * 5)
    assert learned(history).records == Range(least=80, most=120)
    assert unusual(history, counts(0)) == "no records, where the last good cycle saw 100"
    assert unusual(past(*[0] * 50), counts(0)) == ""
    assert unusual([], counts(0)) == ""


# --- what a guard asks -------------------------------------------------------------------------


def whole(**facts: object) -> Scan:
    plain: dict[str, object] = {"taken_up": 0, "noted": 9, "there": 9, "keyless": 0}
    return Scan(**plain | facts)  # type: ignore[arg-type]  # each case names real fields


@pytest.mark.parametrize(
    ("again", "live", "asks"),
    [
        (0, 0, False),
        (10, 10, False),
        (11, 11, True),
        (11, 219, True),
        (11, 220, False),
        (12, 220, True),
        (50, 1000, False),
        (51, 1000, True),
    ],
)
def test_the_borders_of_the_guard(again: int, live: int, asks: bool) -> None:
    """no-delete-on-absence: it asks above 10 rows and above 5 %, never at one of the two."""
    absent = Absent(live=live, again=again)
    said = question(absent, whole())
    assert bool(said) is asks
    assert not asks or said.startswith(f"{again} of {live} rows are gone at the API")


def test_what_is_approved_or_new_is_not_asked_about() -> None:
    """no-delete-on-absence: the one is settled, and the other stays anyhow."""
    assert question(Absent(live=100, again=0), whole()) == ""
    assert question(Absent(live=100, again=0), whole(suspicious="x")) == ""


def test_a_suspicious_scan_asks_about_a_single_row() -> None:
    """no-delete-on-absence: what is not as usual is looked at by a person first."""
    said = question(Absent(live=100, again=1), whole(suspicious="too few"))
    assert said == "1 of 100 rows are gone at the API, and the scan was suspicious: too few"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, ""),
        ({"suspicious": "too few"}, ""),
        ({"taken_up": 1, "keyless": 1}, "it was interrupted"),
        ({"keyless": 1}, "1 record had no key that could be told"),
        ({"keyless": 2, "there": 0}, "2 records had no key that could be told"),
        ({"there": 8}, "Postgres lost what was noted of it"),
        ({"there": 10}, "Postgres lost what was noted of it"),
        ({"moved": "1 key was met twice"}, "1 key was met twice"),
    ],
)
def test_what_breaks_a_scan(facts: dict[str, object], why: str) -> None:
    """no-delete-on-absence: each reason alone is enough, and is named."""
    assert whole(**facts).broken == why


def test_what_came_of_it_in_words() -> None:
    """accounted: an operator reads what went, what stays, and why nothing could be told."""
    assert Reconciled().words == "nothing is gone"
    both = Reconciled(deleted=1, missing=2)
    assert both.words == "1 row marked as deleted, 2 rows missing for the first time"
    assert both.note == ""
    assert Reconciled(broken="it was interrupted").words == (
        "nothing can be told of what is gone: it was interrupted"
    )


# --- rows that move ------------------------------------------------------------------------------


def listed(*ids: str, total: int | None = None) -> Page:
    return Page(records=[record({"id": of}) for of in ids], total=total)


def looked(*pages: Page) -> Movement:
    movement = Movement()
    for page in pages:
        movement.look(page)
    return movement


def test_a_list_that_stands_still_has_no_words() -> None:
    """no-delete-on-absence: nothing is seen where nothing moved."""
    still = looked(listed("a", "b", total=3), listed("c", total=3))
    assert (still.words, still.pages) == ("", 2)
    assert still.first_page == listed("b", "a").fingerprint()
    assert Movement().words == ""


def test_a_total_that_changes_and_keys_met_twice_are_told() -> None:
    """no-delete-on-absence: each by itself, and both together."""
    shrunk = looked(listed("a", total=3), listed("b", total=2))
    assert shrunk.words == "the total went from 3 to 2"
    pushed = looked(listed("a", "b"), listed("b", "c"), listed("c", "d"))
    assert pushed.words == "2 keys were met twice"
    grown = looked(listed("a", "b", total=3), listed("b", "c", total=4))
    assert grown.words == "the total went from 3 to 4 and 1 key was met twice"


def test_a_total_that_was_another_on_any_page_is_told() -> None:
    """no-delete-on-absence: of pages asked for at once the last in line may be read first."""
    read = looked(listed("a", total=3), listed("b", total=2), listed("c", total=3))
    assert read.words == "the total went from 3 to 2"


def test_a_total_that_was_read_long_ago_is_not_told() -> None:
    """accounted: a page without a body has the total of when it was read, which may be another."""
    known = attrs.evolve(listed(total=2), same=KnownPage(asked="", judged="", validator=None))
    assert looked(listed("a", total=3), known, listed("c", total=3)).words == ""


def test_a_total_that_is_not_told_tells_nothing() -> None:
    """no-delete-on-absence: an API that drops the total on some pages has not moved."""
    assert looked(listed("a", total=3), listed("b")).words == ""
    assert looked(listed("a"), listed("b", total=3)).words == ""


def test_keys_of_rejects_and_of_what_is_left_out_count_as_well() -> None:
    """no-delete-on-absence: they move as others do."""
    first = Page(records=[], rejects=[reject("bad", '["x"]'), reject("bad")], left_out=['["y"]'])
    assert looked(first, listed("x", "y")).words == "2 keys were met twice"
