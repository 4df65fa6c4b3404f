"""Which alarm begins and ends with which event."""

import pytest

from syncd.alarms.rules import AWAY, GONE, PAUSED, Rules
from syncd.sync import events
from syncd.sync.alarm import Alarm, Begun, Change, Ended
from syncd.sync.model import Checkpoint, Counts, StreamId
from syncd.sync.scans import Reconciled

SHOP = StreamId(source="shop", stream="orders")
OTHER = StreamId(source="shop", stream="items")


def at(*, follows: int | None = None) -> Checkpoint:
    return Checkpoint(stream=SHOP, seq=1, fence=1, follows=follows)


def started(*, follows: int | None = None) -> events.CycleStarted:
    return events.CycleStarted(stream=SHOP, checkpoint=at(follows=follows), totals=Counts())


def ended(outcome: str = "ok", *, dead: int = 0) -> events.CycleEnded:
    return events.CycleEnded(
        stream=SHOP,
        cycle=7,
        outcome=outcome,  # type: ignore[arg-type]  # one of them
        reason="0 rows where 100 were",
        totals=Counts(dead=dead),
        seconds=1.0,
    )


COMMITTED = events.PageCommitted(stream=SHOP, checkpoint=at(), totals=Counts())
RESTING = events.Resting(stream=SHOP, seconds=9.0)
PARKED = events.Parked(stream=SHOP, reason="no right", hint="grant it")
DENIED = events.Parked(stream=SHOP, reason="403", hint="correct it", kind="AccessDenied")
OPENED = events.BreakerOpened(stream=SHOP, failed=9, attempts=10, seconds=15.0, reason="503")
CLOSED = events.BreakerClosed(stream=OTHER, seconds=60.0)
FAILING = events.Failing(stream=SHOP, seconds=30.0, reason="timeout")
ASKED = events.Reconciled(stream=SHOP, cycle=7, found=Reconciled(question="30 of 100 rows"))


def waiting(*, in_need: bool = False) -> events.Waiting:
    return events.Waiting(
        stream=SHOP, why="database", seconds=1.0, reason="refused", in_need=in_need
    )


def login(status: int | None) -> events.Requested:
    return events.Requested(
        stream=OTHER, purpose="login", method="POST", status=status, seconds=0.1
    )


def begun(changes: list[Change]) -> set[str]:
    return {str(change.alarm) for change in changes if isinstance(change, Begun)}


def over(changes: list[Change]) -> set[str]:
    return {str(change.alarm) for change in changes if isinstance(change, Ended)}


def heard(rules: Rules, *those: events.Event, now: float = 0.0) -> list[Change]:
    return [change for event in those for change in rules.hear(event, now)]


@pytest.mark.parametrize(
    ("begins", "alarm", "ends"),
    [
        (PARKED, "parked shop.orders", COMMITTED),
        (PARKED, "parked shop.orders", RESTING),
        (FAILING, "failing shop.orders", COMMITTED),
        (ended("suspicious"), "suspicious shop.orders", ended()),
        (ASKED, "deletes-held shop.orders", events.Reconciled(
            stream=SHOP, cycle=8, found=Reconciled(deleted=30))),
        (OPENED, "api-failing shop", CLOSED),
        (waiting(), "postgres-away", COMMITTED),
        (waiting(), "postgres-away", RESTING),
    ],
)  # fmt: skip
def test_each_begins_with_one_event_and_ends_with_another(
    begins: events.Event, alarm: str, ends: events.Event
) -> None:
    """And the one that begins it does not end it."""
    rules = Rules()
    first = heard(rules, begins)
    assert (begun(first), alarm in over(first)) == ({alarm}, False)
    then = heard(rules, ends)
    assert (begun(then), alarm in over(then)) == (set(), True)


def test_a_resumed_stream_has_recovered_when_it_has_done_something() -> None:
    """Not when its cycle begins: it may be parked again at the same page."""
    assert "parked shop.orders" not in over(heard(Rules(), PARKED, started()))


def test_a_refused_login_is_one_alarm_of_the_source_and_not_one_of_each_stream() -> None:
    rules = Rules()
    assert begun(heard(rules, login(401), DENIED)) == {"login-refused shop"}
    assert over(heard(rules, events.LoggedIn(stream=OTHER, expires_in=9.0))) == {
        "login-refused shop"
    }
    assert begun(heard(rules, DENIED)) == {"parked shop.orders"}  # the login works: it is a right


def test_a_login_without_an_answer_takes_no_refusal_back() -> None:
    """And OAuth says 400 where others say 401."""
    rules = Rules()
    assert begun(heard(rules, login(400), login(None), DENIED)) == {"login-refused shop"}


def test_a_login_that_works_at_the_second_try_is_no_alarm() -> None:
    """Credentials that were rotated are read again by themselves."""
    rules = Rules()
    assert not begun(heard(rules, login(401), login(200)))
    assert begun(heard(rules, DENIED)) == {"parked shop.orders"}


def test_a_broken_scan_takes_no_question_back() -> None:
    broken = events.Reconciled(stream=SHOP, cycle=8, found=Reconciled(broken="interrupted"))
    assert not over(heard(Rules(), ASKED, broken))


def test_a_full_disk_is_over_with_a_commit_alone() -> None:
    """A token may be spent and a cycle begun, while no page is committed."""
    rules = Rules()
    assert "postgres-away" not in over(heard(rules, waiting(in_need=True), started(), RESTING))
    assert rules.postgres_answers() == []
    assert "postgres-away" in over(heard(rules, COMMITTED))
    assert rules.postgres_answers() == [Ended(alarm=AWAY)]


def test_an_api_is_not_well_for_a_page_that_was_under_way() -> None:
    """Only a probe tells; but after a restart the first page does."""
    rules = Rules()
    assert "api-failing shop" not in over(heard(rules, OPENED, COMMITTED))
    assert "api-failing shop" in over(heard(Rules(), COMMITTED))


def test_dead_letters_are_counted_once_those_that_were_due_have_been_tried() -> None:
    rules = Rules()
    assert not begun(heard(rules, ended(dead=3)))
    assert not rules.letters
    heard(rules, RESTING)
    assert list(rules.letters) == [SHOP]
    assert begun(rules.counted(SHOP, 2)) == {"dead-letters shop.orders"}
    assert not rules.letters


def test_what_parked_a_stream_is_told_once() -> None:
    """Where that was the records that were put aside, they are no second alarm."""
    rules = Rules()
    assert begun(heard(rules, ended(dead=9), PARKED)) == {"parked shop.orders"}
    heard(rules, started())
    assert not rules.letters


@pytest.mark.parametrize(
    ("aside", "there", "begins", "ends"),
    [(3, 0, False, True), (0, 2, False, False), (0, 0, False, True), (3, None, True, False),
     (0, None, False, False)],
)  # fmt: skip
def test_what_lies_there_decides(aside: int, there: int | None, begins: bool, ends: bool) -> None:
    """Those that were tried again and succeeded are nobody's trouble; old ones are no news."""
    rules = Rules()
    heard(rules, ended(dead=aside), started())
    assert rules.aside(SHOP) == aside
    changes = rules.counted(SHOP, there)
    assert (bool(begun(changes)), bool(over(changes))) == (begins, ends)


def test_a_pause_ends_what_a_person_has_taken_in_hand() -> None:
    rules = Rules()
    heard(rules, ended(), now=5.0)
    changes = heard(rules, PARKED, events.Paused(stream=SHOP))
    assert "parked shop.orders" in over(changes)
    assert {c.why for c in changes if isinstance(c, Ended)} == {PAUSED}
    assert not rules.whole  # nobody expects its data to be new
    heard(rules, RESTING, now=50.0)
    assert rules.whole == {SHOP: 50.0}  # from here on, somebody does again


def test_a_stream_that_left_the_config_takes_its_alarms_along() -> None:
    """And the source's only with its last stream."""
    rules = Rules()
    heard(rules, ended(dead=1), RESTING)
    assert "api-failing shop" not in over(rules.gone(SHOP, last=False))
    assert not rules.letters
    changes = rules.gone(SHOP, last=True)
    assert {"parked shop.orders", "api-failing shop"} <= over(changes)
    assert Ended(alarm=Alarm("login-refused", "shop"), why=GONE) in changes


def test_most_events_mean_nothing() -> None:
    answered = events.CallAnswered(stream=SHOP, key="1", ok=False)
    aside = events.PutAside(stream=SHOP, key="1", kind="refused", reason="x")
    assert heard(Rules(), answered, aside, login(200)) == []
