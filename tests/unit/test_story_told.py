"""How the story of a record reads: what was, what is, what comes next."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from syncd.config.settings import CallSettings, Settings, SourceSettings, StreamSettings
from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import (
    CallOf,
    Cycle,
    Happened,
    Holder,
    Letter,
    PageOf,
    Picture,
    Row,
    Seen,
    Story,
)
from syncd.views.story import heading, tell

ADS = StreamId(source="ads", stream="campaigns")
NOW = 1_800_000_000.0
STREAM = StreamSettings(
    name="campaigns",
    path="/campaigns",
    key=("id",),
    columns={"id": "text", "clicks": "bigint"},
    table="campaigns",
    volatile=frozenset({"clicks"}),
    call=CallSettings(path="/campaigns/{id}/sync?token=x"),
)
DAEMON = Holder(source="ads", host="web1", pid=1, since=NOW - 9, heard=NOW, runs=True)


def settings(**changes: Any) -> Settings:
    stream = attrs.evolve(STREAM, **changes)
    source = SourceSettings(name="ads", base_url="http://x", streams={"campaigns": stream})
    return Settings(state=Path("/"), sources={"ads": source})


def cycle(number: int, **changes: Any) -> Cycle:
    plain: dict[str, Any] = {
        "id": number,
        "stream": ADS,
        "started": NOW - 100,
        "ended": NOW - 90,
        "outcome": "ok",
        "reason": "",
        "taken_up": 0,
        "pages": 2,
        "aside": False,
        "follows": None,
        "reconcile": False,
        "missing": None,
        "deleted": 0,
        "totals": Counts(seen=20, unchanged=17, left_out=3),
    }
    return Cycle(**plain | changes)


def page(number: int, at: float, *, cycle: int = 1, changed: int = 1) -> PageOf:
    return PageOf(
        cycle=cycle,
        number=number,
        at=at,
        request="GET /campaigns?page=1 answered 200",
        seen=10,
        written=1,
        unchanged=8,
        left_out=0,
        dead=1,
        folded=0,
        changed=changed,
    )


def happened(what: Any, at: float, **changes: Any) -> Happened:
    plain: dict[str, Any] = {"cycle": 1, "page": 1, "kind": "contract", "reason": ""}
    return Happened(at=at, what=what, many=1, named=True, **plain | changes)


def letter(**changes: Any) -> Letter:
    plain: dict[str, Any] = {
        "id": 7,
        "stream": ADS,
        "kind": "contract",
        "key": '["c_1"]',
        "reason": "budget: bad",
        "attempts": 1,
        "first": NOW - 100,
        "last": NOW - 100,
        "next_try": None,
        "cycle": 1,
        "target": "public.campaigns",
        "schema_version": 6,
        "idempotency_key": None,
    }
    return Letter(**plain | changes)


def story(*, seen: Seen | None = None, runs: bool = True, **changes: Any) -> Story:
    holders = [DAEMON] if runs else []
    seen = seen or Seen(stream=ADS, last=cycle(1), next_start=NOW + 300)
    picture = Picture(now=NOW, streams=[seen], holders=holders, budgets=[])
    plain: dict[str, Any] = {"key": '["c_1"]', "cycles": {1: cycle(1)}}
    return Story(asked="c_1", picture=picture, **plain | changes)


WRITTEN = story(
    row=Row(changed=NOW - 60, deleted=None), pages=[page(3, NOW - 60)], last=page(3, NOW - 60)
)


def test_a_record_that_the_api_calls_deleted_was_not_written_then() -> None:
    """The page that met its tombstone marked the row; the one after it brought it back."""
    gone = happened("deleted", NOW - 60, page=2, reason="the API says so")
    found = story(
        row=Row(changed=NOW - 30, deleted=None),
        pages=[page(1, NOW - 90), page(2, NOW - 60), page(3, NOW - 30)],
        last=page(3, NOW - 30),
        events=[gone],
    )
    tale = tell(found, settings())
    assert [c.kind for c in tale.past] == ["written", "deleted", "returned"]
    assert tale.past[1].words == "Marked as deleted by page 2 of cycle 1"
    assert tale.past[1].details == ["the API says so"]


def test_what_a_page_did_at_one_moment_stands_in_the_order_of_its_causes() -> None:
    """Tried again, called, written, and so its letter left."""
    at = NOW - 60
    call = CallOf(
        idempotency_key="k", cycle=1, intended=at - 2, settled=at, outcome="done", reason=""
    )
    found = story(
        row=Row(changed=at, deleted=None),
        pages=[page(1, at)],
        last=page(1, at),
        calls=[call],
        events=[happened("retried", at), happened("recovered", at)],
    )
    tale = tell(found, settings())
    assert [c.kind for c in tale.past] == ["retried", "called", "written", "recovered"]
    assert (
        tale.past[1].words == "Its call POST /campaigns/{id}/sync, for cycle 1, succeeded after 2 s"
    )
    assert tale.past[3].words == (
        "Its dead letter (contract) left, because the record succeeded, in cycle 1"
    )


def test_the_first_page_that_is_known_need_not_be_the_first() -> None:
    assert tell(WRITTEN, settings()).past[0].words == "Written by page 3 of cycle 1"
    whole = attrs.evolve(WRITTEN, from_the_first=True)
    words = tell(whole, settings()).past[0].words
    assert words == "Written for the first time by page 3 of cycle 1"


def test_what_it_came_to_and_what_may_be_newer_is_told() -> None:
    tale = tell(WRITTEN, settings())
    assert tale.past[0].details == [
        "GET /campaigns?page=1 answered 200; 10 records: 1 written, 8 unchanged, 1 dead"
    ]
    (now,) = tale.now
    assert now == (
        "Its row in public.campaigns was last changed 1 min ago, by page 3 of cycle 1. (clicks may "
        "be newer: they move no `_syncd_changed_at`.)"
    )
    assert heading(WRITTEN, settings()) == "ads.campaigns, record c_1, table public.campaigns"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"known_since": NOW - 10}, "is not remembered any more (pages are since 2027-01-15)"),
        ({"known_since": NOW - 500}, "it may have been another hand"),
        ({"known_since": None}, "by a page of which nothing is known"),
    ],
)
def test_a_row_whose_page_is_not_known_says_so(changes: dict[str, Any], words: str) -> None:
    found = story(row=Row(changed=NOW - 60, deleted=None), **changes)
    (chapter,) = tell(found, settings()).past
    assert words in chapter.words


def test_a_mark_that_nobody_known_has_made_is_told() -> None:
    found = story(row=Row(changed=NOW - 60, deleted=NOW - 50))
    assert tell(found, settings()).past[-1].words == "Marked as deleted, by whom is not known"


@pytest.mark.parametrize(
    ("seen", "runs", "words"),
    [
        ({"next_start": NOW + 300, "last": cycle(1)}, True, "reads the list again in 5 min"),
        ({"next_start": NOW - 3, "last": cycle(1)}, True, "reads the list again now"),
        ({"last": cycle(1), "extra": "rows moved"}, True, "begins at once (rows moved)"),
        ({"last": cycle(1)}, False, "No daemon runs: the next start, or `syncd once`"),
        ({"running": cycle(2, ended=None), "pages": 4}, True, "Cycle 2 is under way, at page 5"),
        ({"running": cycle(2, ended=None), "pages": 4}, False, "goes on with page 5"),
        ({"parked": "401"}, True, "Nothing is read while the stream is parked: 401. Mend that"),
        ({"paused": NOW - 60, "paused_by": "ann@web1"}, True, "Paused by ann@web1 1 min ago."),
    ],
)
def test_what_the_stream_does_next(seen: dict[str, Any], runs: bool, words: str) -> None:
    found = attrs.evolve(WRITTEN, picture=story(seen=Seen(stream=ADS, **seen), runs=runs).picture)
    assert words in tell(found, settings()).coming[0]


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ({"kind": "call-failed", "next_try": NOW + 900}, "tried again by itself in 15 min"),
        ({"kind": "call-failed", "next_try": NOW - 1}, "by itself at the end of the next cycle"),
        ({"kind": "call-failed"}, "The cycle makes its call again"),
        ({"kind": "outcome-unknown"}, "is not made again by itself"),
        ({"kind": "contract"}, "The cycle looks at it again"),
    ],
)
def test_what_becomes_of_its_letter(of: dict[str, Any], words: str) -> None:
    tale = tell(story(letters=[letter(**of)]), settings())
    assert words in tale.coming[-1]
    assert tale.now[0] == "There is no row of it in public.campaigns."
    assert "It lies aside as dead letter 7" in tale.now[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "If the next complete scan does not meet it either, the row is marked"),
        ({"approved": True}, "marks the row as deleted"),
        ({"question": "12 of 20 rows are gone"}, "It is held: 12 of 20 rows are gone. `syncd rec"),
    ],
)
def test_what_becomes_of_a_row_that_is_missing(changes: dict[str, Any], words: str) -> None:
    question = changes.pop("question", None)
    seen = Seen(stream=ADS, last=cycle(1), question=question)
    found = attrs.evolve(WRITTEN, picture=story(seen=seen).picture, missing=1, **changes)
    tale = tell(found, settings())
    assert words in tale.coming[-1]
    assert "cycle 1 was the first that did not" in tale.now[1]


def test_an_unknown_record_is_looked_for_where_it_could_be() -> None:
    """A filter, a letter without a key, a page that is still to come, a misspelt key."""
    seen = Seen(stream=ADS, last=cycle(1), dead=2)
    tale = tell(story(seen=seen), settings(where={"status": ("active",)}))
    assert not tale.known
    assert tale.now[0].startswith(
        "Nothing is known of a record with this key: no row in public.campaigns with id (text) = "
    )
    assert "(status) may leave it out: the last cycle (1) left out 3 of 20 records" in tale.now[1]
    assert "2 dead letters" in tale.now[2]
    under_way = Seen(stream=ADS, running=cycle(2, ended=None), pages=1)
    assert "Cycle 2 has read 1 page so far" in tell(story(seen=under_way), settings()).now[-1]
    odd = story(key=None, misfit="the key has 2 columns (a, b), to be separated by commas")
    assert tell(odd, settings()).now[0].startswith("No record can have this key: the key has 2")
