"""What a person sees of a cycle, while it runs and at its end."""

import io

import attrs
import pytest
import trio
import trio.testing
from rich.console import Console

from syncd.errors import AccessDenied, Draining, RateLimited, SyncdError
from syncd.progress import Pipe, Progress
from syncd.progress.drawn import Terminal
from syncd.progress.view import View
from syncd.sync import events
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint, Committed, Counts, StreamId
from syncd.sync.ports import PLAIN
from syncd.sync.stream import run_cycle
from syncd.testing import Asked
from syncd.views.words import seconds, wide
from tests.flow.conftest import CAMPAIGNS, World

Clock = trio.testing.MockClock


@pytest.fixture
def world() -> World:
    """25 campaigns, 10 on a page, 10 requests in any minute."""
    world = World()
    world.api.fill(25)
    return world


def checkpoint(pages: int = 0) -> Checkpoint:
    return Checkpoint(stream=CAMPAIGNS, seq=1, fence=1, cycle=7, pages=pages)


def started(pages: int = 0, seen: int = 0) -> events.CycleStarted:
    totals = Counts(seen=seen, written=seen)
    return events.CycleStarted(stream=CAMPAIGNS, checkpoint=checkpoint(pages), totals=totals)


def fetched(page: int, *, total: int | None = 100, calls: int = 10) -> events.PageFetched:
    return events.PageFetched(
        stream=CAMPAIGNS, page=page, last=False, records=10, calls=calls, total=total
    )


def waiting(why: events.Why, for_seconds: float) -> events.Waiting:
    return events.Waiting(stream=CAMPAIGNS, why=why, seconds=for_seconds)


def compared(page: int, *, last: bool = False) -> events.PageCompared:
    return events.PageCompared(
        stream=CAMPAIGNS,
        page=page,
        last=last,
        records=10,
        total=25,
        totals=Counts(seen=10 * page, written=10 * page),
    )


ANSWERED = events.CallAnswered(stream=CAMPAIGNS, key='["c1"]', ok=True)


def on_terminal(out: io.StringIO, width: int) -> Terminal:
    return Terminal(Console(file=out, force_terminal=True, width=width, color_system=None))


def shown(context: StreamContext, *heard: events.Event, terminal: bool = True) -> str:
    """What stands on the screen after these events."""
    out = io.StringIO()
    paper = on_terminal(out, width=100) if terminal else Pipe(out)
    progress = Progress(paper)
    progress.watch(context)
    for event in heard:
        progress.hear(event)
    if isinstance(paper, Terminal):
        paper.console.print(paper.picture(progress._views))
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (3.2, "4 s"), (60, "1 min"), (190, "3 min 10 s"), (7500, "2 h 5 min")],
)
def test_durations_read_as_a_person_says_them(value: float, text: str) -> None:
    """Nobody has to count seconds."""
    assert seconds(value) == text


async def test_the_picture_says_where_the_cycle_is(world: World, autojump_clock: Clock) -> None:
    """Pages, records, calls, trouble and the wait stand on one line."""
    async with world.process() as context:
        retry = events.Retrying(stream=CAMPAIGNS, attempt=1, reason="503")
        aside = events.PutAside(stream=CAMPAIGNS, key="k", kind="contract", reason="no name")
        wait = waiting("budget", 4)
        text = shown(context, started(6, 60), fetched(7), retry, aside, wait, ANSWERED)
    line, foot = text.splitlines()
    assert "61/100 page 7 of 10 budget: next token in 4 s · 1/10 calls · 1 retry" in line
    assert len(line) <= 100
    assert "at the earliest" in foot


async def test_the_arrival_is_what_the_budget_allows(world: World, autojump_clock: Clock) -> None:
    """Nine calls, three pages and thirty calls are 42 requests: four more minutes."""
    async with world.process() as context:
        view = View(context)
        for event in (started(6, 60), fetched(7), ANSWERED):
            view.hear(event)
        assert view.requests_left() == (3, 9 + 30)
        assert view.arrival() == context.budget.outlook((PLAIN, 42)) == pytest.approx(240.24)


@pytest.mark.parametrize("total", [None, 0, 3, 10_000_000])
async def test_a_total_that_lies_breaks_nothing(
    total: int | None, world: World, autojump_clock: Clock
) -> None:
    """The picture stays one line, whatever the API says it has."""
    async with world.process() as context:
        text = shown(context, started(6, 60), fetched(7, total=total))
    assert len(text.splitlines()) == 2
    assert "60/3" not in text


async def test_keys_and_reasons_are_shown_as_they_are(world: World, autojump_clock: Clock) -> None:
    """What an API sends can neither colour the screen nor break a line."""
    aside = events.PutAside(stream=CAMPAIGNS, key="[red]a\nb", kind="contract", reason="[/bold]\n!")
    async with world.process() as context:
        text = shown(context, aside, terminal=False)
    assert text == "ads.campaigns: put aside [red]a b: [/bold] !\n"


async def test_a_drifting_column_is_one_line_and_all_of_its_records(
    world: World, autojump_clock: Clock
) -> None:
    """CASES 38: what is told once is counted each time."""
    aside = events.PutAside(stream=CAMPAIGNS, key="k", kind="contract", reason="r", alert=False)
    async with world.process() as context:
        assert shown(context, aside, terminal=False) == ""
        view = View(context)
        view.hear(aside)
        assert view.dead == 1


async def test_the_plain_lines_of_a_whole_run(world: World, autojump_clock: Clock) -> None:
    """Off a terminal: a line for each page and each trouble, and for nothing else."""
    world.source.has_call = False
    await world.cycle()
    async with world.process() as context:
        text = shown(context, *world.heard, terminal=False)
    assert text == (
        "ads.campaigns: cycle 1 begins\n"
        "ads.campaigns: page 1 committed, 10 records\n"
        "ads.campaigns: page 2 committed, 20 records\n"
        "ads.campaigns: page 3 committed, 25 records\n"
    )


async def test_the_summary_says_what_became_of_everything(
    world: World, autojump_clock: Clock
) -> None:
    """accounted: rates, suspicions, dead letters and what to do stand below each other."""
    totals = Counts(seen=200, written=150, unchanged=49, dead=1, requests=210, retried=3)
    suspicious = Committed(
        checkpoint=checkpoint(), totals=totals, outcome="suspicious", reason="[b]fewer"
    )
    gone = StreamId(source="ads", stream="gone")
    denied = AccessDenied("401\n[b]", hint="check the password")
    results: dict[StreamId, Committed | SyncdError] = {CAMPAIGNS: suspicious, gone: denied}
    out = io.StringIO()
    progress = Progress(Pipe(out))
    async with world.process() as context:
        progress.watch(context)
        other = attrs.evolve(context, id=gone)
        progress.watch(other)
    progress.summary(results, 130)
    header, row, *rest = [line.rstrip() for line in out.getvalue().splitlines()]
    assert header.split()[-4:] == ["requests", "retries", "429s", "duration"]
    assert " ".join(row.split()) == "ads.campaigns 200 150 49 0 1 99.5 % 210 3 0 2 min 10 s"
    assert rest[1:] == [
        "ads.campaigns: its rows are in table public.campaigns",
        "ads.campaigns: suspicious: [b]fewer",
        "ads.campaigns: 1 dead letter, kept with the reason; see `syncd dead list`",
        "ads.gone: not finished: 401 [b]",
        "  check the password",
        "  what is committed stays; the next run goes on from there",
    ]


async def test_names_in_any_script_leave_the_columns_in_line(
    world: World, autojump_clock: Clock
) -> None:
    """A character that is two columns wide is reckoned as two."""
    out = io.StringIO()
    progress = Progress(Pipe(out))
    async with world.process() as context:
        for name in ("広告", "ads", "d\u00e9j\u00e0"):
            progress.watch(attrs.evolve(context, id=StreamId(source=name, stream="x")))
    progress.summary({}, 1)
    lines = out.getvalue().splitlines()
    assert {wide(line) for line in lines} == {wide(lines[0])}
    assert len({len(line) for line in lines}) == 2


@pytest.mark.parametrize("interrupted", [True, False])
async def test_what_a_page_asked_for_that_never_came_is_in_the_summary(
    world: World, autojump_clock: Clock, interrupted: bool
) -> None:
    """accounted: its requests were made, and were counted by the API."""
    tries = []

    async def fault(asked: Asked) -> None:
        await trio.lowlevel.checkpoint()
        if asked.what == "page 2":
            tries.append(asked)
            if interrupted and len(tries) == 3:
                world.waits.end()
            raise RateLimited("429", hint=1.0)

    world.api.faults, world.source.has_call = fault, False
    world.retries = 5 if interrupted else 2
    out = io.StringIO()
    progress = Progress(Pipe(out))
    async with world.process() as context:
        progress.watch(context)
        context.report = progress.hear
        with pytest.raises((RateLimited, Draining)) as caught:
            await run_cycle(context)
    progress.summary({CAMPAIGNS: caught.value}, 5)
    (row,) = (x for x in out.getvalue().splitlines() if x.startswith("ads.campaigns  "))
    assert " ".join(row.split()) == f"ads.campaigns 10 10 0 0 0 100 % 4 {2 + interrupted} 3 5 s"


async def test_on_a_narrow_terminal_the_summary_is_in_words(
    world: World, autojump_clock: Clock
) -> None:
    """A table that would wrap in the middle of its words is not drawn."""
    totals = Counts(seen=100, written=99, dead=1, requests=112, retried=2)
    done = Committed(checkpoint=checkpoint(), totals=totals, outcome="ok")
    out = io.StringIO()
    progress = Progress(on_terminal(out, width=70))
    async with world.process() as context:
        progress.watch(context)
    progress.summary({CAMPAIGNS: done}, 34)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[:3] == [
        "ads.campaigns",
        "  100 records: 99 written, 0 unchanged, 0 left out, 1 dead",
        "  112 requests, 2 retries, 0 429s, 34 s",
    ]
    assert max(map(len, lines)) <= 80


async def test_a_cycle_that_was_cut_short_is_not_called_finished(world: World) -> None:
    """Ctrl-C after a page: its rows are there, and the cycle is not at its end."""
    async with world.process() as stream:
        text = io.StringIO()
        progress = Progress.on(text)
        progress.watch(stream)
        at = Checkpoint(stream=CAMPAIGNS, seq=1, fence=1, cycle=1, pages=1)
        left = Committed(checkpoint=at, totals=Counts(seen=10, written=10))
        progress.summary({CAMPAIGNS: left}, 3.0)
    assert "ads.campaigns: not finished: interrupted\n" in text.getvalue()


def test_a_reader_that_goes_away_does_not_end_the_work() -> None:
    """`syncd once | head -1` goes on to the end of the cycle."""

    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    progress = Progress.on(Gone())
    progress.note("the first line")
    progress.note("the second line")


async def test_a_dry_run_shows_how_far_it_is(world: World, autojump_clock: Clock) -> None:
    """Pages are compared, not committed, and no call is reckoned with."""
    world.only_changed = True
    async with world.process() as stream:
        said = shown(stream, compared(1), compared(2), compared(3, last=True), terminal=False)
        drawn = shown(stream, compared(1))
        view = View(stream)
        view.hear(compared(2))
        assert view.requests_left() == (2, 0)  # there are no calls for the five that are left
    assert said.splitlines() == [
        "ads.campaigns: page 1 compared, 10 records",
        "ads.campaigns: page 2 compared, 20 records",
        "ads.campaigns: page 3 compared, 30 records",
    ]
    assert "page 2 of 3" in drawn
    assert "10/25" in drawn
