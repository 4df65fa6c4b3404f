"""What `status --watch` adds: how far, how long, and what for."""

from typing import Any

import attrs
import pytest

from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Budget, Seen, Token
from syncd.views.arrival import Share
from syncd.views.live import bar, progress, progress_words, spent_words, strip, waits
from syncd.views.words import percent, took
from tests.unit.test_story_told import ADS, NOW, cycle

RUNNING = cycle(2, started=NOW - 30, ended=None, outcome=None, totals=Counts(seen=10, written=10))


def tokens(*ages: float | None, what: str = "page 1") -> list[Token]:
    return [
        Token(
            number=n,
            counted=None if age is None else NOW - age,
            free=NOW + (70 if age is None else 10),
            spent_on=f"{ADS} {what}",
        )
        for n, age in enumerate(ages)
    ]


OF_ANOTHER = [attrs.evolve(token, spent_on="ads.creatives page 1") for token in tokens(None)]

DEAD = [attrs.evolve(token, free=NOW + 59) for token in tokens(None)]
"""Its deadline has passed; it keeps its token from others for the rest of a window."""


def budget(**changes: Any) -> Budget:
    plain: dict[str, Any] = {"name": "ads", "per": 60.0, "tokens": 10, "free": 0}
    plain |= {"next_free": NOW + 4, "held_until": None, "from_answers": False}
    return Budget(**plain | changes)


def test_how_far_a_cycle_is_the_last_one_tells() -> None:
    seen = Seen(stream=ADS, running=RUNNING, pages=1, last=cycle(1))
    assert progress_words(seen, NOW) == (
        "page 2 of about 2, 10 of about 20 records; 30 s so far, the last took 10 s"
    )
    found = progress(seen)
    assert found is not None
    assert found.share == 0.5


def test_a_cycle_that_has_come_further_than_the_last_is_not_measured_by_it() -> None:
    """And the first one by nothing."""
    longer = Seen(stream=ADS, running=RUNNING, pages=2, last=cycle(1))
    assert progress_words(longer, NOW).startswith("page 3, 10 records; 30 s so far")
    first = attrs.evolve(longer, last=None)
    assert progress_words(first, NOW) == "page 3, 10 records; 30 s so far"
    assert progress_words(Seen(stream=ADS), NOW) == ""


@pytest.mark.parametrize(
    ("share", "drawn"), [(0.0, "────"), (0.5, "━━──"), (0.65, "━━╸─"), (0.99, "━━━╸")]
)
def test_a_bar_is_full_only_at_the_end(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_a_strip_shows_when_tokens_were_spent() -> None:
    """The longest ago left, now right; what is under way has no moment yet."""
    spent = tokens(59, 31, 30.5, 0, None, 70)
    assert strip(budget(spent=spent), NOW, 6) == "▕▄·█··▄▏"
    assert strip(budget(), NOW, 6) == "▕······▏"


def test_what_a_window_was_spent_on() -> None:
    spent = tokens(9, 8, what="page 3") + tokens(7, None, 5, what='call ["c_1"]')
    other = Token(number=9, counted=NOW, free=NOW, spent_on="check of crm")
    words = spent_words(budget(spent=[*spent, other]), [ADS], NOW)
    assert words == "last 1 min: 3 calls and 2 pages of ads.campaigns, 1 request; 1 under way"
    assert spent_words(budget(), [ADS], NOW) == "nothing was spent in the last 1 min"
    later = spent_words(budget(spent=tokens(7, None)), [ADS], NOW + 11)
    assert later.endswith(": 2 pages of ads.campaigns; 1 without an answer")


def test_many_streams_are_summed_up() -> None:
    streams = [StreamId(source="a", stream=str(n)) for n in range(5)]
    spent = [Token(number=1, counted=NOW, free=NOW, spent_on=f"{s} page 1") for s in streams]
    assert spent_words(budget(spent=spent), streams, NOW).endswith("2 requests of others")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "waits for its budget: the next token in 4 s"),
        ({"free": 1}, ""),
        ({"spent": tokens(None)}, "waits for an answer, 10 s more at most"),
        ({"spent": OF_ANOTHER}, "waits for its budget: the next token in 4 s"),
        (
            {"spent": DEAD},
            "waits for its budget: the next token in 4 s; 1 token held by what got no answer",
        ),
        ({"held_until": NOW + 9}, "waits 9 s, because the API asked for it"),
    ],
)
def test_what_a_cycle_waits_for(changes: dict[str, Any], words: str) -> None:
    seen = Seen(stream=ADS, running=RUNNING, pages=1)
    assert waits(seen, [Share(budget=budget(**changes))], NOW) == words
    assert waits(Seen(stream=ADS), [Share(budget=budget(**changes))], NOW) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.44, "0.4 s"),
        (9.0, "9 s"),
        (59.6, "1 min"),
        (190, "3 min 10 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_how_long_something_took(seconds: float, words: str) -> None:
    assert took(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(None, "-"), (1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.0, "0 %")],
)
def test_a_share_is_never_rounded_up_to_all(share: float | None, words: str) -> None:
    assert percent(share) == words
