"""Which samples come of what is known?  From the picture, the tally, and the open process."""

from syncd.config.settings import Settings, StreamSettings
from syncd.metrics import kinds
from syncd.metrics.inside import Inside
from syncd.metrics.samples import Samples
from syncd.metrics.tally import SourceTally, StreamTally, Tally
from syncd.sync.events import Purpose
from syncd.sync.model import StreamId
from syncd.sync.picture import Picture, Seen
from syncd.views.standing import standing


def streams_of(settings: Settings) -> dict[StreamId, StreamSettings]:
    """Every stream that the config has."""
    return {
        StreamId(source=source.name, stream=stream.name): stream
        for source in settings.sources.values()
        for stream in source.streams.values()
    }


def tell_settings(samples: Samples, settings: Settings) -> None:
    """What the config says of each stream: what other samples are compared with."""
    for stream, of_stream in streams_of(settings).items():
        names = stream.source, stream.stream
        samples.add(kinds.INTERVAL, of_stream.interval, *names)
        samples.add(kinds.CYCLE_LIMIT, of_stream.slow_after, *names)


def tell_picture(
    samples: Samples, settings: Settings, picture: Picture, age: float, inside: Inside
) -> None:
    """How streams and budgets stand.  Ages are as old as the picture is, and `age` on top."""
    runs = {h.source for h in picture.holders if h.runs}
    known = streams_of(settings)
    for seen in picture.streams:
        if seen.stream in known:
            of_stream = known[seen.stream]
            _tell_seen(samples, seen, picture.now, age)
            found = standing(seen, picture.now, of_stream, runs=seen.stream.source in runs)
            state = "parked" if seen.stream in inside.parked else found.state
            names = seen.stream.source, seen.stream.stream
            samples.one_of(kinds.STATE, kinds.STATES, state, *names)
            running = 0.0
            if seen.running is not None and state in ("running", "failing"):
                running = picture.now - seen.running.started + age
            samples.add(kinds.RUNNING_FOR, max(0.0, running), *names)
    spent_from = {limit.name for s in settings.sources.values() for limit in s.budget}
    for budget in picture.budgets:
        if budget.name in spent_from:
            samples.add(kinds.TOKENS, budget.tokens, budget.name)
            samples.add(kinds.TOKENS_FREE, budget.free, budget.name)
            held = (budget.held_until or 0.0) - picture.now - age
            samples.add(kinds.BUDGET_HELD, max(0.0, held), budget.name)
            if budget.quota_left is not None:
                samples.add(kinds.BUDGET_TOLD, budget.quota_left, budget.name)
    samples.add(kinds.PICTURE_AGE, age)


def _tell_seen(samples: Samples, seen: Seen, now: float, age: float) -> None:
    names = seen.stream.source, seen.stream.stream
    if seen.whole is not None:
        samples.add(kinds.DATA_AGE, max(0.0, now - seen.whole.started + age), *names)
    if (last := seen.last) is not None:
        samples.one_of(kinds.LAST_OUTCOME, ("ok", "suspicious"), last.outcome, *names)
        if last.totals.seen:
            well = 1 - last.totals.dead / last.totals.seen
            samples.add(kinds.LAST_SUCCESS, well, *names)
        if last.ended is not None:
            samples.add(kinds.LAST_DURATION, max(0.0, last.ended - last.started), *names)
    if seen.usual.seconds is not None:
        samples.add(kinds.USUAL_DURATION, seen.usual.seconds, *names)
    if (records := seen.usual.records) is not None:
        bounds = {"least": records.least, "most": records.most}
        samples.each(kinds.USUAL_RECORDS, bounds, *names)
    samples.add(kinds.DELETES_HELD, seen.question is not None, *names)
    samples.add(kinds.DEAD_LETTERS, seen.dead, *names)


def tell_tally(samples: Samples, settings: Settings, tally: Tally) -> None:
    """What was counted."""
    known = streams_of(settings)
    for stream, counted in list(tally.streams.items()):
        if stream in known:
            _tell_stream(samples, stream, known[stream], counted)
    for source, of_source in list(tally.sources.items()):
        _tell_source(samples, source, of_source)


def _tell_stream(
    samples: Samples, stream: StreamId, settings: StreamSettings, tally: StreamTally
) -> None:
    names = stream.source, stream.stream
    samples.each(kinds.CYCLES, tally.cycles, *names)
    samples.each(kinds.INTERRUPTIONS, tally.interruptions, *names)
    samples.durations(kinds.CYCLE_DURATION, tally.durations, *names)
    samples.add(kinds.PAGES, tally.pages, *names)
    samples.each(kinds.RECORDS, tally.records, *names)
    samples.each(kinds.PUT_ASIDE, dict(tally.put_aside), *names)
    samples.add(kinds.RETRIES, tally.retries, *names)
    if settings.call is not None:
        samples.each(kinds.CALLS, tally.calls, *names)
        samples.durations(kinds.CALL_DURATION, tally.call_durations, *names)


def _tell_source(samples: Samples, source: str, tally: SourceTally) -> None:
    for (purpose, outcome), many in list(tally.requests.items()):
        samples.add(kinds.REQUESTS, many, source, purpose, outcome)
    for purpose, took in list(tally.durations.items()):
        samples.durations(kinds.REQUEST_DURATION, took, source, purpose)
    samples.add(kinds.AUTH_FAILURES, tally.denied, source)
    samples.each(kinds.LOGINS, tally.logins, source)
    samples.durations(kinds.TOKEN_WAIT, tally.waits, source)
    samples.durations(kinds.COMMIT_DURATION, tally.commits, source)
    samples.add(kinds.BREAKER_OPEN, tally.open, source)
    samples.add(kinds.BREAKER_OPENED, tally.openings, source)


def postgres_away(inside: Inside, tally: Tally) -> str:
    """Why Postgres does not do what it is asked for; empty if it does."""
    for stream in list(tally.streams.values()):
        if stream.needs_postgres:
            return stream.needs_postgres
    return kinds.UNTOLD if inside.store is None or inside.store.away else ""


def tell_inside(samples: Samples, settings: Settings, inside: Inside, tally: Tally) -> None:
    """What this process has open."""
    for source, http in inside.http.items():
        if source not in settings.sources:
            continue
        samples.add(kinds.HTTP_SIZE, http.size, source)
        samples.add(kinds.HTTP_IN_USE, http.in_use, source)
        samples.add(kinds.HTTP_WAITING, http.waiting, source)
        samples.add(kinds.HTTP_REBUILT, http.rebuilt, source)
        calls = any(s.call is not None for s in settings.sources[source].streams.values())
        usual: tuple[Purpose, ...] = ("list", "call") if calls else ("list",)
        for purpose in dict.fromkeys((*usual, *http.under_way)):
            samples.add(kinds.IN_FLIGHT, http.under_way.get(purpose, 0), source, purpose)
    store = inside.store
    samples.add(kinds.POSTGRES_UP, not postgres_away(inside, tally))
    if store is not None:
        samples.add(kinds.STORE_SIZE, store.size)
        samples.add(kinds.STORE_IN_USE, store.in_use)
        samples.add(kinds.STORE_WAITING, store.waiting)
        samples.add(kinds.STORE_WAITS, store.waits)
        samples.add(kinds.STORE_WAITED, store.waited)
    samples.add(kinds.LINES_LOST, inside.lines_lost)
