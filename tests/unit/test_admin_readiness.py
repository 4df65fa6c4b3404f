"""When does the daemon say that it can do its job?"""

import attrs
import pytest

from syncd.admin.readiness import Ourselves, readiness
from syncd.sync.picture import Failing, Holder, Picture

US = Ourselves(host="here", pid=7)
HELD = Holder(source="ads", host="here", pid=7, since=0.0, heard=99.0, runs=True)
DOWN = Failing(since=50.0, reason="GET /x answered 503", next_probe=120.0)


def picture(*holders: Holder) -> Picture:
    return Picture(now=100.0, streams=[], holders=list(holders), budgets=[])


def test_ready_with_each_lease_held_and_each_api_well() -> None:
    """contained: nothing else is asked for."""
    found = readiness(picture(HELD), "", ["ads"], US, away="", over=False)
    assert found["ready"]
    assert found["sources"] == [{"source": "ads", "ok": True, "reason": None}]
    assert found["reason"] is None


@pytest.mark.parametrize(
    ("holders", "said"),
    [
        ([], "its lease is held by nobody"),
        ([attrs.evolve(HELD, runs=False)], "its lease is held by nobody"),
        ([attrs.evolve(HELD, pid=8)], "another syncd has its lease: pid 8 on here"),
        ([attrs.evolve(HELD, failing=DOWN)], "its API fails everybody: GET /x answered 503"),
    ],
)
def test_not_ready_says_of_which_source_and_why(holders: list[Holder], said: str) -> None:
    """contained: one source is enough, and the database is well."""
    other = attrs.evolve(HELD, source="shop")
    found = readiness(picture(other, *holders), "", ["shop", "ads"], US, away="", over=False)
    assert not found["ready"]
    assert found["database"]["ok"]
    assert [each["reason"] for each in found["sources"]] == [None, said]
    assert found["reason"] == f"ads: {said}"


def test_not_ready_where_postgres_answers_but_takes_nothing() -> None:
    """contained: its disk is full; that the leases are held is read all the same."""
    full = "Postgres: No space left on device"
    found = readiness(picture(HELD), "", ["ads"], US, away=full, over=False)
    assert not found["ready"]
    assert found["database"] == {"ok": False, "reason": full}
    assert found["reason"] == full
    assert found["sources"] == [{"source": "ads", "ok": True, "reason": None}]


def test_not_ready_without_postgres_or_while_leaving() -> None:
    """drain: and what was known before says nothing of now."""
    away = readiness(picture(HELD), "Postgres: gone", ["ads"], US, away="", over=False)
    assert (away["ready"], away["database"]["reason"]) == (False, "Postgres: gone")
    assert away["sources"][0]["reason"] == "Postgres: gone"
    assert away["reason"] == "Postgres: gone"
    not_yet = readiness(None, "not yet", ["ads"], US, away="x", over=False)
    assert (not_yet["ready"], not_yet["reason"]) == (False, "not yet")
    leaving = readiness(picture(), "", ["ads"], US, away="x", over=True)
    assert (leaving["ready"], leaving["reason"]) == (False, "syncd is leaving")
