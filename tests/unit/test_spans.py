"""Which spans are made of the loop's events, whatever order trouble brings them in."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import StatusCode

from syncd.sync import events
from syncd.sync.model import Checkpoint, Counts, Outcome, StreamId
from tests.spans import WALL, Kept, field, id_of, seconds, trace_of

CAMPAIGNS = StreamId(source="ads", stream="campaigns")
OTHERS = StreamId(source="ads", stream="others")


def ticking() -> Callable[[], float]:
    """A clock that goes on by a second whenever it is looked at."""
    seconds = itertools.count(1000)
    return lambda: float(next(seconds))


def started(stream: StreamId = CAMPAIGNS, cycle: int = 1, pages: int = 0) -> events.CycleStarted:
    at = Checkpoint(stream=stream, seq=1, fence=1, cycle=cycle, started=f"{cycle}.5", pages=pages)
    return events.CycleStarted(stream=stream, checkpoint=at, totals=Counts())


def fetched(page: int = 1, stream: StreamId = CAMPAIGNS) -> events.PageFetched:
    return events.PageFetched(
        stream=stream, page=page, last=False, records=9, calls=9, total=None, seconds=2.0
    )


def committed(stream: StreamId = CAMPAIGNS) -> events.PageCommitted:
    at = Checkpoint(stream=stream, seq=2, fence=1)
    return events.PageCommitted(stream=stream, checkpoint=at, totals=Counts(), seconds=0.5)


def ended(
    stream: StreamId = CAMPAIGNS, outcome: Outcome = "ok", cycle: int = 1
) -> events.CycleEnded:
    return events.CycleEnded(
        stream=stream, cycle=cycle, outcome=outcome, reason="", totals=Counts(seen=9), seconds=9.0
    )


def requested(
    purpose: events.Purpose = "list",
    status: int | None = 200,
    key: str | None = None,
    stream: StreamId = CAMPAIGNS,
) -> events.Requested:
    return events.Requested(
        stream=stream,
        purpose=purpose,
        method="GET" if purpose == "list" else "POST",
        status=status,
        trouble="" if status else "timeout",
        seconds=0.5,
        key=key,
        server="api.example.com",
        port=443,
    )


def answered(
    key: str = '["c1"]', *, ok: bool = True, page: int = 1, stream: StreamId = CAMPAIGNS
) -> events.CallAnswered:
    kind = "" if ok else "outcome-unknown"
    return events.CallAnswered(stream=stream, key=key, ok=ok, seconds=1.5, page=page, kind=kind)


def parked(stream: StreamId = CAMPAIGNS) -> events.Parked:
    return events.Parked(stream=stream, reason="it is s3cret", hint="", kind="AccessDenied")


def heard(*told: events.Event, hide: Callable[[str], str] = str) -> Kept:
    kept = Kept.by(ticking(), hide=hide)
    for event in told:
        kept.spans.hear(event)
    return kept


def test_a_try_that_failed_is_an_error_of_its_own_alone() -> None:
    """By its status, or the trouble; the call that came off in the end is none."""
    kept = heard(
        started(),
        fetched(),
        requested("call", None, '["c1"]'),
        requested("call", 503, '["c1"]'),
        requested("call", 200, '["c1"]'),
        answered(),
    )
    [call] = kept.named("call")
    tries = kept.below(call)
    assert [field(t, "error.type") for t in tries] == ["timeout", "503", None]
    codes = [t.status.status_code for t in tries]
    assert codes == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [field(t, "http.request.resend_count") for t in tries] == [None, 1, 2]
    assert call.status.status_code is StatusCode.UNSET
    assert field(tries[0], "http.response.status_code") is None


def test_a_look_at_what_a_call_did_is_no_further_try() -> None:
    """http.request.resend_count is of what was sent again."""
    kept = heard(
        started(),
        fetched(),
        requested("call", None, '["c1"]'),
        requested("verify", 200, '["c1"]'),
        requested("call", 200, '["c1"]'),
        answered(),
    )
    tries = kept.below(kept.named("call")[0])
    assert [field(t, "http.request.resend_count") for t in tries] == [None, None, 1]


def test_a_call_begins_when_it_was_first_meant() -> None:
    """Before its first request, for which it waited."""
    told = events.CallAnswered(stream=CAMPAIGNS, key='["c1"]', ok=True, seconds=100.0, page=1)
    [call] = heard(started(), fetched(), requested("call", 200, '["c1"]'), told).named("call")
    assert seconds(call) >= 100


def test_a_call_whose_page_nobody_can_tell_is_the_cycles() -> None:
    """It was not answered, and two pages are under way."""
    kept = heard(started(), fetched(1), fetched(2), requested("call", 401, '["c1"]'), parked())
    [call], pages = kept.named("call"), kept.named("page")
    assert len(pages) == 2
    assert call.parent is not None
    assert call.parent.span_id not in {id_of(p) for p in pages}


def test_a_cycle_that_goes_on_asks_for_its_page_anew() -> None:
    """What was begun of it has a span, and no error."""
    [page] = heard(started(), requested(), started()).named("page")
    assert field(page, "syncd.unfinished")
    assert field(page, "error.type") is None


@pytest.mark.parametrize("kind", ["", "Draining", "ApiUnavailable"])
def test_records_out_of_turn_say_how_they_ended(kind: str) -> None:
    """drain: nothing failed where syncd leaves."""
    began = events.AsideBegan(stream=CAMPAIGNS, what="letters")
    over = events.AsideEnded(stream=CAMPAIGNS, kind=kind, seconds=1.0, commit=None)
    [aside] = heard(began, over).named("aside")
    assert field(aside, "error.type") == (kind if kind == "ApiUnavailable" else None)


def test_a_call_that_failed_says_how() -> None:
    """As the dead letter does."""
    [call] = heard(started(), fetched(), answered(ok=False)).named("call")
    assert field(call, "error.type") == "outcome-unknown"


def test_a_parked_stream_leaves_the_spans_of_what_it_had_begun() -> None:
    """With the error's kind, and never its words; the cycle's own waits for its end."""
    kept = heard(started(), fetched(), requested("call", 401, '["c1"]'), parked())
    [page], [call] = kept.named("page"), kept.named("call")
    for span in (page, call):
        assert field(span, "error.type") == "AccessDenied"
        assert field(span, "syncd.unfinished")
        assert "s3cret" not in span.to_json()
    assert [id_of(s) for s in kept.below(page)] == [id_of(call)]
    assert kept.named("cycle") == []
    # Resumed: the same cycle, and its page anew.
    for event in (started(), fetched(), committed(), ended()):
        kept.spans.hear(event)
    [cycle] = kept.named("cycle")
    assert [field(p, "error.type") for p in kept.below(cycle)] == ["AccessDenied", None]
    assert [e.name for e in cycle.events] == ["broke off"]
    assert "s3cret" not in cycle.to_json()


def test_a_cycle_in_doubt_is_an_error() -> None:
    """Whoever looks for errors finds it."""
    [cycle] = heard(started(), ended(outcome="suspicious")).named("cycle")
    assert field(cycle, "error.type") == "suspicious"
    assert field(cycle, "syncd.seen") == 9


def test_a_key_is_short_text_without_secrets() -> None:
    """An API chooses it: it may be long, no text at all, or what we have sent."""
    for key, shown in (
        ('["42", 7]', "42, 7"),
        ('["s3cret"]', "***"),
        ('["\\ud800"]', "\\ud800"),
        (f'["{"x" * 5000}"]', "x" * 127 + "…"),
    ):
        kept = heard(
            started(),
            fetched(),
            requested("call", 200, key),
            answered(key),
            hide=lambda text: text.replace("s3cret", "***"),
        )
        keys = [field(s, "syncd.record.key") for s in kept.all]
        assert keys == [shown, shown]
        assert all(str(k).encode() for k in keys)


def test_a_login_belongs_to_what_is_under_way_or_to_itself() -> None:
    """It is nobody's page."""
    kept = heard(requested("login"), started(), requested("login"), fetched(), ended())
    alone, within = kept.named("POST")
    assert alone.parent is None
    assert within.parent is not None
    assert within.parent.span_id == id_of(kept.named("cycle")[0])


def test_a_trace_is_kept_whole_or_not_at_all() -> None:
    """A sampler that takes some cycles takes all spans of these."""
    kept = Kept.by(ticking(), sampler=ParentBasedTraceIdRatio(0.5))
    for cycle in range(100):
        for event in (
            *(started(cycle=cycle), fetched(), requested("call", 200, '["c1"]')),
            *(answered(), committed(), ended(cycle=cycle)),
        ):
            kept.spans.hear(event)
    cycles = {trace_of(s) for s in kept.named("cycle")}
    assert 20 < len(cycles) < 80
    assert len(kept.all) == 5 * len(cycles)
    assert {trace_of(s) for s in kept.all} == cycles


def test_a_step_of_the_walls_clock_moves_no_span_against_another() -> None:
    """Within one trace there is one clock."""
    clock = ticking()
    kept = Kept.by(clock)
    kept.spans.hear(started())
    kept.spans.wall = lambda: WALL - 10**18
    for event in (fetched(), committed(), ended()):
        kept.spans.hear(event)
    [cycle], [page] = kept.named("cycle"), kept.named("page")
    assert cycle.start_time is not None
    assert page.end_time is not None
    assert cycle.start_time <= page.end_time <= (cycle.end_time or 0)


EVENTS = st.sampled_from([CAMPAIGNS, OTHERS]).flatmap(
    lambda stream: st.sampled_from(
        [
            started(stream),
            started(stream, cycle=2),
            started(stream, pages=3),
            *(fetched(n, stream) for n in range(4)),
            committed(stream),
            ended(stream),
            requested(stream=stream),
            requested("list", 503, stream=stream),
            requested("login", stream=stream),
            requested("call", 200, '["c1"]', stream),
            requested("verify", 200, '["c2"]', stream),
            answered(stream=stream),
            answered('["c2"]', ok=False, page=0, stream=stream),
            parked(stream),
            events.Failing(stream=stream, seconds=9, reason="", kind="RateLimited"),
            events.WentBack(stream=stream, reason=""),
            events.Paused(stream=stream),
            events.AsideBegan(stream=stream, what="letters"),
            events.AsideEnded(stream=stream, kind="", seconds=1.0, commit=0.5),
            events.AsideEnded(stream=stream, kind="Draining", seconds=1.0, commit=None),
        ]
    )
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_is_told_every_span_has_its_place(told: list[events.Event]) -> None:
    """Nothing raises, no id comes twice, nothing ends before it began, no parent is missing."""
    kept = heard(*told)
    kept.spans.leave()
    for stream in (CAMPAIGNS, OTHERS):
        kept.spans.hear(started(stream, cycle=3))
        kept.spans.hear(ended(stream, cycle=3))
        kept.spans.hear(events.AsideEnded(stream=stream, kind="", seconds=1.0, commit=None))
    spans = kept.all
    known = {id_of(s): s for s in spans}
    # A cycle whose end Postgres has lost in a restore ends again.
    own = [id_of(s) for s in spans if not s.name.startswith("cycle")]
    assert len(set(own)) == len(own)
    for span in spans:
        assert seconds(span) >= 0
        assert span.parent is None or trace_of(known[span.parent.span_id]) == trace_of(span)
    assert not any(_is_open(kept))


def _is_open(kept: Kept) -> list[object]:
    return [*kept.spans._cycles.values(), *kept.spans._asides.values()]


def test_spans_are_json() -> None:
    """As the console exporter prints them."""
    spans: tuple[ReadableSpan, ...] = heard(started(), fetched(), committed(), ended()).all
    assert all(s.to_json().startswith("{") for s in spans)


@pytest.mark.parametrize("began", ["", "nonsense", "inf", "9e9", "1.5"])
def test_a_start_that_nobody_can_read_is_now(began: str) -> None:
    """The span of a cycle that is taken up begins when it began, if that is known."""
    kept = Kept.by(ticking())
    at = Checkpoint(stream=CAMPAIGNS, seq=1, fence=1, cycle=1, started=began, pages=1, resumed=True)
    kept.spans.hear(events.CycleStarted(stream=CAMPAIGNS, checkpoint=at, totals=Counts()))
    kept.spans.hear(ended())
    [cycle] = kept.named("cycle")
    assert (cycle.start_time == 1_500_000_000) == (began == "1.5")
    assert seconds(cycle) >= 0
