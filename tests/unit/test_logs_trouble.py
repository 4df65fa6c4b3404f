"""Whether an outage makes few lines, and each of them says where and how often."""

import attrs
import pytest

from syncd.logs.kinds import Kind
from syncd.logs.teller import AWAY, Line, Teller
from syncd.logs.trouble import Troubles
from syncd.sync import events
from syncd.sync.model import Checkpoint, Counts, StreamId

SHOP = StreamId(source="shop", stream="orders")
OTHER = StreamId(source="shop", stream="returns")


@attrs.define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def teller(clock: Clock) -> Teller:
    return Teller(clock)


def at(pages: int, *, cycle: int | None = 3, stream: StreamId = SHOP) -> Checkpoint:
    return Checkpoint(stream=stream, seq=pages + 1, fence=1, cycle=cycle, pages=pages)


def started(pages: int = 0) -> events.CycleStarted:
    return events.CycleStarted(stream=SHOP, checkpoint=at(pages), totals=Counts())


def committed(pages: int, seen: int = 10, *, cycle: int | None = 3) -> events.PageCommitted:
    checkpoint = at(pages, cycle=cycle)
    return events.PageCommitted(stream=SHOP, checkpoint=checkpoint, totals=Counts(seen=seen))


def away(seconds: float = 15.0, stream: StreamId = SHOP) -> events.Waiting:
    return events.Waiting(stream=stream, why="database", seconds=seconds, reason="refused")


def held(seconds: float) -> events.Waiting:
    return events.Waiting(stream=SHOP, why="hint", seconds=seconds, reason="429")


def failed(attempt: int = 1) -> events.Retrying:
    return events.Retrying(stream=SHOP, attempt=attempt, reason="503")


def fetched(page: int = 1) -> events.PageFetched:
    return events.PageFetched(stream=SHOP, page=page, last=False, records=9, calls=9, total=None)


def answered(*, ok: bool = True) -> events.CallAnswered:
    return events.CallAnswered(stream=SHOP, key="[1]", ok=ok)


def opened(stream: StreamId) -> events.BreakerOpened:
    return events.BreakerOpened(stream=stream, failed=7, attempts=10, seconds=14.04, reason="503")


def said(lines: list[Line]) -> list[str]:
    return [line.kind.sentence for line in lines]


def test_ten_minutes_without_postgres_are_a_dozen_lines(teller: Teller, clock: Clock) -> None:
    """A line at the start, at most one a minute, and one at the end with counts and duration."""
    teller.hear(started())
    lines = []
    for _ in range(600):
        lines += teller.hear(away(1.0))
        clock.now += 1
    lines += teller.hear(committed(1))
    assert said(lines) == [
        "Postgres is away",
        *["Postgres is still away"] * 9,
        "Postgres is back",
        "page committed",
    ]
    assert lines[0].fields == {"cycle": 3, "page": 1, "reason": "refused", "again_in": 1.0}
    assert lines[1].fields == {**lines[0].fields, "times": 61, "lasted": 60.0}
    assert lines[-2].fields == {"cycle": 3, "page": 1, "times": 600, "lasted": 600.0}
    assert lines[-1].fields == {"cycle": 3, "page": 1, "records": 10}


def test_a_record_put_aside_makes_a_line_only_where_it_says_so(teller: Teller) -> None:
    """CASES 38: who counts a column's faults is the loop; the next of them is not told again."""
    aside = events.PutAside(stream=SHOP, key="[1]", kind="contract", reason="column status: 7")
    teller.hear(started())
    assert said(teller.hear(aside)) == ["record put aside"]
    assert teller.hear(attrs.evolve(aside, alert=False)) == []


def test_an_api_that_fails_for_an_hour_is_told_once_a_minute(teller: Teller, clock: Clock) -> None:
    """Through pauses and resumed cycles it stays one trouble, until a page is committed."""
    teller.hear(started())
    lines = []
    for n in range(720):
        lines += teller.hear(failed(n % 5 + 1))
        if n % 5 == 4:
            teller.hear(events.Failing(stream=SHOP, seconds=30, reason="503"))
            teller.hear(started())
        clock.now += 5
    assert said(lines) == ["request failed", *["requests still fail"] * 59]
    assert said(teller.hear(committed(1))) == ["requests succeed again", "page committed"]


def test_failures_among_answers_make_two_lines_a_page(teller: Teller, clock: Clock) -> None:
    """At an API that fails one call in two, the answers between don't count as its end."""
    teller.hear(started())
    lines = []
    for _ in range(20):
        lines += teller.hear(failed())
        clock.now += 1
        lines += teller.hear(answered())
    lines += teller.hear(committed(1))
    assert said(lines) == ["request failed", "requests succeed again", "page committed"]
    assert lines[1].fields == {"cycle": 3, "page": 1, "times": 20, "lasted": 20.0}


def test_an_api_that_fails_everybody_is_one_trouble_of_its_source(
    teller: Teller, clock: Clock
) -> None:
    """contained: one line when the breaker opens, one when it closes, whoever's request it was."""
    other = StreamId(source=SHOP.source, stream="other")
    [opens] = teller.hear(opened(SHOP))
    assert opens.kind.name == "api-failing"
    assert opens.fields == {"failed": 7, "attempts": 10, "again_in": 14.0, "reason": "503"}
    clock.now += 14
    assert teller.hear(opened(other)) == []
    clock.now += 60
    [still] = teller.hear(opened(SHOP))
    assert still.kind.name == "api-still-failing"
    assert (still.fields["times"], still.fields["lasted"]) == (3, 74.0)
    clock.now += 6
    [closes] = teller.hear(events.BreakerClosed(stream=other, seconds=80))
    assert closes.kind.name == "api-well"
    assert closes.fields == {"times": 3, "lasted": 80.0}
    assert teller.hear(events.BreakerClosed(stream=SHOP, seconds=80)) == []


def test_a_hint_ends_with_an_answer_after_it(teller: Teller, clock: Clock) -> None:
    """What was in flight when the API asked to wait does not end the wait."""
    teller.hear(started())
    assert said(teller.hear(held(1800))) == ["the API asked to wait"]
    clock.now += 5
    assert teller.hear(answered()) == []
    clock.now += 100
    [still] = teller.hear(held(1695))
    assert still.kind.sentence == "the API still asks to wait"
    clock.now += 1695
    assert teller.hear(answered(ok=False)) == []
    [line] = teller.hear(fetched())
    assert line.kind.sentence == "the API answers again"
    assert line.fields == {"cycle": 3, "page": 1, "times": 2, "lasted": 1800.0}


@pytest.mark.parametrize("good", [started(), fetched(), answered(), committed(1)])
def test_whatever_needs_postgres_tells_that_it_is_back(
    teller: Teller, clock: Clock, good: events.Event
) -> None:
    """Nobody waits for the next commit to learn that Postgres answers."""
    teller.hear(away())
    assert said(teller.hear(good))[0] == "Postgres is back"


def test_an_hour_with_a_full_disk_is_a_line_a_minute(teller: Teller, clock: Clock) -> None:
    """CASES 47: the next page's calls are settled meanwhile, which is no end of it."""
    teller.hear(started())
    full = attrs.evolve(away(15.0), reason="disk full (53100)", in_need=True)
    lines = []
    for n in range(240):
        lines += teller.hear(full)
        clock.now += 7
        lines += teller.hear(answered() if n % 2 else fetched(2))
        clock.now += 8
        lines += teller.hear(answered())
    assert said(lines) == ["Postgres is away", *["Postgres is still away"] * 59]
    # The commit that had failed is what tells.
    assert said(teller.hear(committed(1))) == ["Postgres is back", "page committed"]
    assert teller.hear(answered()) == []


def test_a_disk_that_is_emptied_is_told_without_a_commit(teller: Teller, clock: Clock) -> None:
    """CASES 47: where the cycle makes nothing to commit, a minute without failures is enough."""
    teller.hear(attrs.evolve(away(15.0), in_need=True))
    clock.now += 75
    assert said(teller.hear(answered())) == ["Postgres is back"]


def test_a_wait_for_the_budget_or_a_backoff_is_no_trouble(teller: Teller) -> None:
    """Waiting for a token is what syncd is for."""
    for why in ("budget", "backoff"):
        assert teller.hear(events.Waiting(stream=SHOP, why=why, seconds=60)) == []


def test_each_stream_has_its_own_troubles(teller: Teller) -> None:
    """One stream's good news is not the other's."""
    assert len(teller.hear(away()) + teller.hear(away(stream=OTHER))) == 2
    assert said(teller.hear(started())) == ["Postgres is back", "cycle started"]
    assert teller.hear(away(stream=OTHER)) == []


def test_a_parked_stream_has_no_troubles_left(teller: Teller) -> None:
    """Started again by a reload, its first failure is told as one."""
    teller.hear(failed())
    parked = events.Parked(stream=SHOP, reason="401", hint="")
    [line] = teller.hear(parked)
    assert (line.kind.level, line.fields) == ("ERROR", {"reason": "401"})
    assert said(teller.hear(failed())) == ["request failed"]


def test_the_last_page_of_a_cycle_has_its_number(teller: Teller) -> None:
    """Its commit ends the cycle, so that the checkpoint no longer says which it was."""
    [resumed] = teller.hear(started(6))
    assert (resumed.kind.sentence, resumed.fields) == (
        "cycle taken up again",
        {"cycle": 3, "page": 6},
    )
    assert teller.hear(committed(7))[0].fields["page"] == 7
    assert teller.hear(committed(0, cycle=None))[0].fields["page"] == 8


@pytest.mark.parametrize(
    ("outcome", "level"), [("ok", "INFO"), ("suspicious", "WARNING"), ("failed", "WARNING")]
)
def test_a_cycle_in_doubt_is_a_warning(teller: Teller, outcome: str, level: str) -> None:
    """What `journalctl -p warning` shows is what someone may have to look at."""
    [line] = teller.hear(
        events.CycleEnded(
            stream=SHOP,
            cycle=3,
            outcome=outcome,  # type: ignore[arg-type]  # one of the literals
            reason="",
            totals=Counts(seen=4, written=4),
            seconds=2.25,
        )
    )
    assert line.kind.level == level
    assert line.fields == {"outcome": outcome, "seen": 4, "written": 4, "took": 2.2}


def test_good_news_without_trouble_are_no_line(clock: Clock) -> None:
    """Only what was told to be wrong is told to be well again."""
    troubles = Troubles(clock)
    assert troubles.ended("x", AWAY) is None
    told = troubles.happened("x", AWAY)
    assert told is not None
    assert isinstance(told[0], Kind)
    assert troubles.ended("x", AWAY) == (AWAY.ends, {"times": 1, "lasted": 0.0})
    assert troubles.ended("x", AWAY) is None


def test_a_start_without_postgres_is_thinned_as_well(teller: Teller, clock: Clock) -> None:
    """Before any stream runs there is one trouble, of syncd as a whole."""
    lines = []
    for _ in range(40):
        lines += teller.away("refused", 15)
        clock.now += 15
    lines += teller.back()
    assert said(lines) == ["Postgres is away", *["Postgres is still away"] * 9, "Postgres is back"]
    assert {line.stream for line in lines} == {""}
    assert lines[-1].fields == {"times": 40, "lasted": 600.0}
    assert teller.back() == []


def test_a_trouble_that_lasts_is_told_as_often_as_its_owner_wants(clock: Clock) -> None:
    """Spans that are lost are worth a line less often than an API that fails."""
    troubles = Troubles(clock, every=600.0)
    told = []
    for _ in range(13):
        told.append(troubles.happened("otlp", AWAY) is not None)
        clock.now += 100.0
    assert [n for n, said in enumerate(told) if said] == [0, 6, 12]
