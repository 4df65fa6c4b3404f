"""What a scrape is answered with: of which sources, in which words, and how much of it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import attrs
import pytest
import trio
import trio.testing
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from syncd.metrics import kinds
from syncd.metrics.inside import HttpPool, Inside, StorePool
from syncd.metrics.metrics import Metrics
from syncd.sync import events
from syncd.sync.events import Purpose, Trouble
from syncd.sync.model import Checkpoint, Counts, DeadLetterKind, StreamId
from syncd.sync.picture import Picture, Taken
from tests.metrics.sources import NOW, cycle, picture, settings

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ORDERS = StreamId(source="shop", stream="orders")


def measured(**given: Any) -> Metrics:
    """Metrics that are looked at again and again within a test."""
    return Metrics(keep=0.0, **given)


def now(shown: Picture) -> Taken:
    return Taken(picture=shown, at=time.monotonic())


def samples(metrics: Metrics, name: str) -> list[Sample]:
    return [s for s in scraped(metrics) if s.name == name]


def scraped(metrics: Metrics) -> Iterator[Sample]:
    text, _ = metrics.render("text/plain")
    for family in text_string_to_metric_families(text.decode()):
        yield from family.samples


def openmetrics_families(text: bytes) -> int:
    """How many Prometheus's own parser finds; it raises for what it does not take."""
    families = openmetrics.text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    return len(list(families))


def value(metrics: Metrics, name: str, **labels: str) -> float:
    (found,) = (s.value for s in samples(metrics, name) if labels.items() <= s.labels.items())
    return found


def inside(*sources: str) -> Inside:
    return Inside(
        store=StorePool(size=4, in_use=1, waiting=0, waits=3, waited=0.5, away=False),
        http={
            s: HttpPool(size=10, in_use=2, waiting=0, rebuilt=0, under_way={"list": 1})
            for s in sources
        },
    )


def everything(stream: StreamId) -> Iterator[events.Event]:
    """One event of each kind that is counted, with every outcome."""
    at = Checkpoint(stream=stream, seq=1, fence=1, cycle=1)
    totals = Counts(seen=100, written=20, unchanged=70, left_out=3, dead=5, folded=2)
    yield events.CycleStarted(stream=stream, checkpoint=at, totals=Counts(), abandoned="changed")
    purposes, troubles = get_args(Purpose), [t for t in get_args(Trouble) if t]
    answers = [*product((200, 401, 404, 429, 500, 503), [""]), *product([None], troubles)]
    for purpose, (status, trouble) in product(purposes, answers):
        yield events.Requested(
            stream=stream,
            purpose=purpose,
            method="GET",
            status=status,
            trouble=trouble,
            seconds=0.2,
        )
    yield events.Spent(stream=stream, sent=1, waited=2.0)
    yield events.LoggedIn(stream=stream, expires_in=60.0)
    yield events.CallAnswered(stream=stream, key='["hostile"]', ok=True, seconds=2.1)
    for kind in get_args(DeadLetterKind):
        yield events.PutAside(stream=stream, key='["hostile"]', kind=kind, reason="hostile")
    yield events.PageCommitted(stream=stream, checkpoint=at, totals=totals, seconds=0.02)
    yield events.CycleEnded(
        stream=stream, cycle=1, outcome="ok", reason="", totals=totals, seconds=61.0
    )
    yield events.BreakerOpened(stream=stream, failed=9, attempts=10, seconds=1.0, reason="hostile")
    yield events.Failing(stream=stream, seconds=9.0, reason="hostile")
    yield events.Parked(stream=stream, reason="hostile", hint="hostile")


def full(*names: str) -> Metrics:
    """Everything that can be known of each source."""
    of = settings(*names)
    made = measured(settings=of, taken=lambda: now(picture(of)), inside=lambda: inside(*names))
    for name in names:
        for event in everything(StreamId(source=name, stream="orders")):
            made.hear(event)
    return made


def test_freshness_comes_first_and_each_metric_has_its_words() -> None:
    """An operator who reads the answer sees how old the data is before all else."""
    text, content_type = full("shop").render("text/plain")
    lines = text.decode().splitlines()
    assert lines[0].startswith("# HELP syncd_stream_data_age_seconds Age of the oldest data")
    assert lines[1] == "# TYPE syncd_stream_data_age_seconds gauge"
    assert lines[2].startswith('syncd_stream_data_age_seconds{source="shop",stream="orders"} 120')
    assert content_type.startswith("text/plain")


def test_every_kind_goes_out_and_nothing_else_of_ours() -> None:
    """No metric is listed that never comes, and none comes that is not listed."""
    text, _ = full("shop").render("text/plain")
    families = {f.name: f for f in text_string_to_metric_families(text.decode())}
    ours = {name for name in families if name.startswith("syncd_")}
    assert ours == {kind.name.removesuffix("_total") for kind in kinds.ALL}
    for kind in kinds.ALL:
        family = families[kind.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (kind.type, kind.help)
        (labels,) = {frozenset(s.labels) - {"le"} for s in family.samples}
        assert labels == set(kind.labels)


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
def test_names_follow_prometheus(kind: kinds.Kind) -> None:
    """Base units, `_total` for counters alone, and a sentence for each."""
    assert kind.name.startswith("syncd_")
    assert kind.name.endswith("_total") == (kind.type == "counter")
    assert kind.type != "histogram" or kind.name.endswith("_seconds")
    assert kind.help.endswith(".")
    assert bool(kind.bounds) == (kind.type == "histogram")
    assert list(kind.bounds) == sorted(kind.bounds)


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    """Prometheus asks for OpenMetrics; its own parser takes what it gets."""
    text, content_type = full("shop").render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert openmetrics_families(text)


def test_the_process_is_told_of_too() -> None:
    """Memory, processor time and open files, by the names that every dashboard knows."""
    names = {s.name for s in scraped(full("shop"))}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= names
    assert {"process_open_fds", "python_info", "python_gc_collections_total"} <= names


def test_names_with_quotes_and_newlines_break_no_line() -> None:
    """A config's own names may hold anything that Postgres takes."""
    hostile = 'a"b\\c\nd{}=,é☃'
    made = full(hostile)
    assert value(made, "syncd_stream_data_age_seconds", source=hostile) == pytest.approx(120, abs=5)
    text, _ = made.render(OPENMETRICS)
    assert openmetrics_families(text)


def test_two_hundred_sources_stay_within_bounds() -> None:
    """With every outcome seen in every source: so many series, so many bytes, so much time."""
    made = full(*(f"account-{n:03}" for n in range(200)))
    began = time.perf_counter()
    text, _ = made.render("text/plain")
    took = time.perf_counter() - began
    series = [line for line in text.decode().splitlines() if not line.startswith("#")]
    assert len(series) < 200 * 250
    assert len(text) < 6 * 2**20
    assert took < 5.0, f"{took:.1f} s for {len(series)} series"
    print(f"{len(series)} series, {len(text)} bytes, {took * 1000:.0f} ms")  # noqa: T201


def test_record_keys_and_reasons_are_no_labels() -> None:
    """However many records an API invents, there are no more series than before."""
    made = full("shop")
    before = len(list(scraped(made)))
    for n in range(1000):
        for event in everything(ORDERS):
            made.hear(event)
        made.hear(events.PutAside(stream=ORDERS, key=f'["{n}"]', kind="contract", reason=f"{n}"))
        made.hear(events.Retrying(stream=ORDERS, attempt=1, reason=f"{n}", key=f"{n}"))
    text, _ = made.render("text/plain")
    assert len(list(scraped(made))) == before
    assert b"hostile" not in text


def test_what_a_reload_takes_away_takes_its_series_with_it() -> None:
    """Also where a stream that was retired still ends its page."""
    made = full("shop", "crm")
    made.follow(settings("shop"))
    for event in everything(StreamId(source="crm", stream="orders")):
        made.hear(event)
    left = {s.labels.get("source", "shop") for s in scraped(made)}
    budgets = {s.labels["budget"] for s in scraped(made) if "budget" in s.labels}
    assert (left, budgets) == ({"shop"}, {"source shop"})
    assert value(made, "syncd_pages_total", source="shop") == 1


def test_a_stream_that_stays_keeps_its_counters_over_a_reload() -> None:
    made = full("shop")
    kept = settings("crm", "shop")
    made.follow(kept)
    assert value(made, "syncd_pages_total", source="shop") == 1
    assert value(made, "syncd_pages_total", source="crm") == 0


def test_a_reload_that_is_refused_shows_until_one_is_taken_up() -> None:
    """all-or-nothing-reload: the metrics say so."""
    made = full("shop")
    started = value(made, "syncd_config_last_reload_success_timestamp_seconds")
    assert value(made, "syncd_config_last_reload_successful") == 1
    made.refused()
    assert value(made, "syncd_config_last_reload_successful") == 0
    assert value(made, "syncd_config_last_reload_success_timestamp_seconds") == started
    made.follow(settings("shop"))
    assert value(made, "syncd_config_last_reload_successful") == 1
    assert value(made, "syncd_config_reloads_total", outcome="refused") == 1
    assert value(made, "syncd_config_reloads_total", outcome="ok") == 1


def test_records_are_counted_once_where_a_cycle_is_taken_up() -> None:
    """What was committed before this process took the cycle up is not its own work."""
    made = measured(settings=settings("shop"))
    at = Checkpoint(stream=ORDERS, seq=7, fence=1, cycle=3, pages=6)
    made.hear(events.CycleStarted(stream=ORDERS, checkpoint=at, totals=Counts(seen=60, written=60)))
    for written in (70, 80, 85):
        totals = Counts(seen=written, written=written)
        made.hear(events.PageCommitted(stream=ORDERS, checkpoint=at, totals=totals, seconds=0.1))
    assert value(made, "syncd_records_total", result="written") == 25
    assert value(made, "syncd_commit_duration_seconds_count") == 3
    assert value(made, "syncd_commit_duration_seconds_sum") == pytest.approx(0.3)


def test_a_database_that_went_back_takes_nothing_back() -> None:
    """A counter that falls is a restart to Prometheus; what is written again counts again."""
    made = measured(settings=settings("shop"))
    at = Checkpoint(stream=ORDERS, seq=7, fence=1, cycle=3)
    made.hear(events.CycleStarted(stream=ORDERS, checkpoint=at, totals=Counts()))
    for written in (70, 40, 70):
        totals = Counts(seen=written, written=written)
        made.hear(events.PageCommitted(stream=ORDERS, checkpoint=at, totals=totals, seconds=0.1))
    assert value(made, "syncd_records_total", result="written") == 100


def test_a_breaker_that_stays_open_has_opened_once() -> None:
    """However often a probe fails."""
    made = measured(settings=settings("shop"))
    opened = events.BreakerOpened(stream=ORDERS, failed=9, attempts=10, seconds=1.0, reason="503")
    for _ in range(3):
        made.hear(opened)
    assert value(made, "syncd_breaker_open") == 1
    assert value(made, "syncd_breaker_openings_total") == pytest.approx(1)
    made.hear(events.BreakerClosed(stream=ORDERS, seconds=9.0))
    made.hear(opened)
    assert value(made, "syncd_breaker_openings_total") == 2


def test_a_token_that_was_neither_waited_for_nor_used_was_not_spent() -> None:
    made = measured(settings=settings("shop"))
    for sent, waited in ((0, 0.0), (1, 0.0), (0, 2.0)):
        made.hear(events.Spent(stream=ORDERS, sent=sent, waited=waited))
    assert value(made, "syncd_budget_wait_seconds_count") == 2


def test_a_login_that_oauth_refuses_is_a_refused_one() -> None:
    """OAuth answers 400 where others answer 401; a list's 400 is no matter of credentials."""
    made = measured(settings=settings("shop"))
    purposes: tuple[Purpose, ...] = ("login", "list")
    for purpose, status in product(purposes, (200, 400, 401, 503)):
        made.hear(
            events.Requested(
                stream=ORDERS, purpose=purpose, method="POST", status=status, seconds=0.1
            )
        )
    assert value(made, "syncd_logins_total", outcome="refused") == 2
    assert value(made, "syncd_logins_total", outcome="failed") == 1
    assert value(made, "syncd_authentication_failures_total") == 3


def test_a_histogram_counts_each_value_in_every_bucket_above_it() -> None:
    made = measured(settings=settings("shop"))
    for waited in (0.0, 0.1, 7.0, 1000.0):
        made.hear(events.Spent(stream=ORDERS, sent=1, waited=waited))
    found = {s.labels["le"]: s.value for s in samples(made, "syncd_budget_wait_seconds_bucket")}
    assert found == {
        "0.01": 1, "0.1": 2, "1.0": 2, "5.0": 2, "15.0": 3, "30.0": 3, "60.0": 3, "300.0": 3,
        "+Inf": 4,
    }  # fmt: skip


def test_postgres_is_away_until_it_has_answered_the_stream_that_waits() -> None:
    """Also where it answers others, but lacks the disk to write."""
    made = measured(settings=settings("shop"), inside=lambda: inside("shop"))
    assert value(made, "syncd_postgres_up") == 1
    assert made.postgres_away() == ""
    made.hear(
        events.Waiting(stream=ORDERS, why="database", seconds=1.0, reason="disk full", in_need=True)
    )
    assert value(made, "syncd_postgres_up") == 0
    assert made.postgres_away() == "disk full"
    made.hear(events.Waiting(stream=ORDERS, why="database", seconds=1.0))
    assert value(made, "syncd_postgres_up") == 0
    assert made.postgres_away() == kinds.UNTOLD
    made.hear(events.Resting(stream=ORDERS, seconds=9.0))
    assert value(made, "syncd_postgres_up") == 1
    assert made.postgres_away() == ""


def test_postgres_is_away_where_the_last_piece_of_work_was_lost() -> None:
    """Also where no stream waits for it."""
    has = inside("shop")
    assert has.store is not None
    lost = attrs.evolve(has, store=attrs.evolve(has.store, away=True))
    made = measured(settings=settings("shop"), inside=lambda: lost)
    assert value(made, "syncd_postgres_up") == 0
    assert made.postgres_away() == kinds.UNTOLD


def test_before_anything_is_open_the_door_can_be_asked() -> None:
    """Postgres is away when syncd starts: the metrics say so, and how old the config is."""
    made = measured(settings=settings("shop"))
    assert value(made, "syncd_postgres_up") == 0
    assert value(made, "syncd_cycles_total", outcome="ok") == 0
    assert not samples(made, "syncd_stream_data_age_seconds")


def test_a_picture_that_is_not_renewed_grows_old() -> None:
    """While Postgres is away nobody can look: data grow older all the same."""
    of = settings("shop")
    last = picture(of)
    held = attrs.evolve(last.budgets[0], held_until=NOW + 4000.0)
    last = attrs.evolve(last, budgets=[held])
    clock = 100.0
    made = measured(settings=of, taken=lambda: Taken(picture=last, at=100.0), clock=lambda: clock)
    assert value(made, "syncd_picture_age_seconds") == 0
    clock += 3600.0
    assert value(made, "syncd_picture_age_seconds") == 3600
    assert value(made, "syncd_stream_data_age_seconds") == 3720
    assert value(made, "syncd_budget_held_seconds") == 400


def test_the_first_scrape_tells_how_old_a_picture_is_that_another_had_taken() -> None:
    """A health check looked, then nobody did, and Postgres fell silent."""
    of = settings("shop")
    taken = Taken(picture=picture(of), at=100.0)
    made = measured(settings=of, taken=lambda: taken, clock=lambda: 156.0)
    assert value(made, "syncd_picture_age_seconds") == 56
    assert value(made, "syncd_stream_data_age_seconds") == 176


def test_what_the_api_says_is_left_is_told_where_it_lowers_a_budget() -> None:
    of = settings("shop")
    last = picture(of)
    made = measured(settings=of, taken=lambda: now(last))
    assert value(made, "syncd_budget_told_left") == 4
    silent = attrs.evolve(last.budgets[0], quota_left=None, quota_until=None)
    silence = attrs.evolve(last, budgets=[silent])
    made = measured(settings=of, taken=lambda: now(silence))
    assert not samples(made, "syncd_budget_told_left")


def test_a_cycle_runs_on_while_nobody_can_look_but_not_in_a_parked_stream() -> None:
    of = settings("shop")
    (rests,) = picture(of).streams
    runs = attrs.evolve(rests, running=cycle(ORDERS, ago=30.0, took=None))
    last = Taken(picture=attrs.evolve(picture(of), streams=[runs]), at=100.0)
    has, clock = inside("shop"), 100.0
    made = measured(settings=of, taken=lambda: last, inside=lambda: has, clock=lambda: clock)
    assert value(made, "syncd_cycle_running_seconds") == 30
    clock += 3600.0
    assert value(made, "syncd_cycle_running_seconds") == 3630
    has = Inside(parked={ORDERS})
    assert value(made, "syncd_cycle_running_seconds") == 0


def test_a_parked_stream_shows_also_where_the_database_was_not_told() -> None:
    of = settings("shop")
    parked = Inside(parked={ORDERS})
    made = measured(settings=of, taken=lambda: now(picture(of)), inside=lambda: parked)
    states = {s.labels["state"]: s.value for s in samples(made, "syncd_stream_state")}
    assert states == {state: float(state == "parked") for state in kinds.STATES}


def test_a_stream_of_a_source_without_calls_has_no_series_for_them() -> None:
    of = settings("shop", call=False)
    assert not samples(measured(settings=of), "syncd_calls_total")


async def test_how_late_the_loop_was_is_told(mock_clock: trio.testing.MockClock) -> None:
    """The worst of the last minute, and no longer."""
    made = measured(settings=settings("shop"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5.0)
        await trio.testing.wait_all_tasks_blocked()
        assert value(made, "syncd_loop_lag_seconds") == pytest.approx(4.0)
        for _ in range(60):
            mock_clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
        assert value(made, "syncd_loop_lag_seconds") == pytest.approx(0.0)
        nursery.cancel_scope.cancel()


def test_without_a_side_door_nothing_of_it_is_imported() -> None:
    """Memory: prometheus_client costs some, and what serves it more."""
    code = "import sys, syncd.app.running; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "syncd.app.running" in modules
    assert not modules & {"prometheus_client", "syncd.metrics.metrics", "syncd.metrics.samples"}


def test_who_asks_in_a_storm_gets_one_answer_over_and_over() -> None:
    """A hundred scrapers cost what one does."""
    made = Metrics(settings=settings("shop"), keep=60.0)
    first, _ = made.render("text/plain")
    made.refused()
    assert made.render("text/plain")[0] is first
    assert made.render(OPENMETRICS)[0] is not first
