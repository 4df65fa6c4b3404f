"""How the commands that look write times, keys and tables, and what rows mean."""

import io

import attrs
import pytest
from rich.cells import cell_len
from rich.console import Console

from syncd.commands.screen import Line, Screen
from syncd.config.settings import StreamSettings
from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Cycle, Seen
from syncd.views.standing import standing
from syncd.views.words import ago, ahead, as_written, key_in_words, moment, plain, span, tied

ADS = StreamId(source="ads", stream="campaigns")
NOW = 1_800_000_000.0
OF = StreamSettings(
    name="campaigns", path="/c", key=("id",), columns={"id": "text"}, table="campaigns"
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86399, "23 h 59 min"),
        (86400, "1 day"),
        (3 * 86400 + 1, "3 days"),
    ],
)
def test_a_span_is_as_exact_as_a_glance_needs(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_what_is_ahead_is_rounded_up_and_what_was_down() -> None:
    """Nobody comes back too early, and nothing is called older than it is."""
    assert [ahead(s) for s in (-1, 0.1, 59.5, 61, 3601)] == [
        *("0 s", "1 s", "1 min", "2 min", "1 h 1 min")
    ]
    assert [ago(s) for s in (0.5, 1.9, 119)] == ["just now", "1 s ago", "1 min ago"]


def test_a_moment_is_iso_in_utc() -> None:
    assert moment(0.0015) == "1970-01-01T00:00:00.001Z"
    assert moment(None) is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('["c_1"]', "c_1"),
        ('["a", 7, null]', "a, 7, null"),
        ("key-sha256:00", "key-sha256:00"),
        ("7", "7"),
        (None, "(no key)"),
        (r'["\ud800"]', r"\ud800"),
        (r'["a\nb\u001b[31m"]', r"a b\x1b[31m"),
        ('[{"a": 1}]', '{"a": 1}'),
    ],
)
def test_a_key_in_words(key: str | None, words: str) -> None:
    assert key_in_words(key) == words


def test_nothing_that_a_terminal_would_obey_is_left() -> None:
    assert plain("a\x1b[2Jb\u202ec\ue000d\n e") == r"a\x1b[2Jb\u202ec\ue000d e"
    assert as_written(b"a\r\nb\x00\xff\x1b\tc") == "a\nb\\x00\\xff\\x1b\tc"


@pytest.mark.parametrize("width", [1, 10, 33, 80])
def test_a_table_holds_all_it_was_given_at_any_width(width: int) -> None:
    """Only the column that gives way is broken, then the names; numbers never are."""
    out = io.StringIO()
    screen = Screen(Console(file=out, width=width, highlight=False), width)
    lines = [
        Line(cells=("a" * 20, tied("next in 4 min"), "123456"), beneath=["[b]why[/] so"]),
        Line(cells=("広告" * 9, "x", "7")),
    ]
    screen.table(("stream", "state", "records"), lines, gives_way=1, right=2)
    text = out.getvalue()
    together = text.replace("\n", "").replace(" ", "")
    assert together.count("a") >= 20
    assert together.count("広") == 9
    assert "123456" in text
    assert "nextin4min" in together
    if width > 60:
        assert "next in 4 min" in text
        assert max(map(cell_len, text.splitlines())) <= width


CYCLE = Cycle(
    id=3,
    stream=ADS,
    started=NOW - 100,
    ended=None,
    outcome=None,
    reason="",
    aside=False,
    follows=None,
    reconcile=False,
    missing=None,
    deleted=0,
    taken_up=0,
    pages=2,
    totals=Counts(seen=1, written=1),
)
ENDED = attrs.evolve(CYCLE, id=2, ended=NOW - 50, outcome="ok")


@pytest.mark.parametrize(
    ("seen", "runs", "words"),
    [
        (Seen(stream=ADS), False, "never ran"),
        (Seen(stream=ADS, next_start=NOW + 7200), True, "never ran, first in 2 h"),
        (Seen(stream=ADS, last=ENDED, next_start=NOW + 5), True, "resting, next in 5 s"),
        (Seen(stream=ADS, last=ENDED, next_start=NOW - 5), True, "resting, next now"),
        (Seen(stream=ADS, last=ENDED, next_start=NOW - 5), False, "late: due 5 s ago"),
        (Seen(stream=ADS, last=ENDED, next_start=NOW - 15), True, "late: due 15 s ago"),
        (Seen(stream=ADS, running=CYCLE, pages=2), True, "running: page 3, 1 record"),
        (Seen(stream=ADS, running=CYCLE, pages=2), False, "stopped at page 3, 1 record"),
        (Seen(stream=ADS, running=CYCLE, parked="why"), True, "parked"),
    ],
)
def test_what_the_rows_mean(seen: Seen, runs: bool, words: str) -> None:
    found = standing(seen, NOW, OF, runs=runs)
    assert found.words.replace(tied(" "), " ") == words


def test_a_suspicious_cycle_is_still_told_while_the_next_one_runs() -> None:
    doubtful = attrs.evolve(ENDED, outcome="suspicious", reason="no records")
    seen = Seen(stream=ADS, running=CYCLE, pages=0, last=doubtful)
    found = standing(seen, NOW, OF, runs=True)
    assert found.reason == "The last cycle was suspicious: no records"
    assert not found.todo
    late = standing(seen, NOW, attrs.evolve(OF, every=60.0), runs=True)
    assert late.todo == "Started 1 min ago; the next one was due 40 s ago."


def test_how_late_a_cycle_is_that_a_calendar_began() -> None:
    """Its next start is known while it runs; its interval is not the same every time."""
    seen = Seen(stream=ADS, running=CYCLE, pages=0, next_start=NOW - 40)
    of = attrs.evolve(OF, cron=("* * * * *",), every=1.0)
    found = standing(seen, NOW, of, runs=True)
    assert found.todo == "Started 1 min ago; the next one was due 40 s ago."
    in_time = attrs.evolve(seen, next_start=NOW + 3600)
    assert not standing(in_time, NOW, of, runs=True).todo
