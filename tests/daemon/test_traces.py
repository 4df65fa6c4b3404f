"""Spans of a real daemon, at a collector that is there, one that is not, and none at all."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import trio

from mock_api.testing import MockServer, running_mock
from tests.daemon.conftest import Syncd, config, lines_until
from tests.otlp import Collector, Span, collecting

SPEED = 60.0
CAMPAIGNS = 12
SIZE = 4
AT_ONCE = 2.0  # seconds in which a process ends that has nothing to wait for, on a busy machine
GOODBYE = 2.0  # seconds that the last spans may take


def environ(collector: Collector, **more: str) -> Mapping[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }


async def ran(
    syncd: Syncd, mock: MockServer, database: str, env: Mapping[str, str], until: str = "resting"
) -> str:
    """A daemon that has run until it said this, and has left; what it said."""
    syncd.write(config(mock.base_url, database, speed=SPEED, size=SIZE))
    syncd.env = env
    async with syncd.started("run") as process:
        said = await lines_until(process, until)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        with trio.fail_after(20):
            rest = b"".join([piece async for piece in process.stdout])
            assert await process.wait() == 0, said
    return "\n".join([*said, rest.decode()])


def within(inner: Span, outer: Span) -> bool:
    """As far as the clocks tell: a begin is counted back from an end."""
    return outer.began - 0.01 <= inner.began <= inner.ended <= outer.ended + 0.01


async def test_the_spans_of_a_cycle_are_a_whole_tree(syncd: Syncd, postgres: str) -> None:
    """A cycle with its pages, their requests, calls and commits, all in one trace."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "/api/campaigns", "query": "page=2*", "times": 2, "status": 503})
        with collecting() as collector:
            said = await ran(syncd, mock, postgres, environ(collector))
        asked = await mock.requests()
    assert "spans are made and exported" in said

    [cycle] = collector.named("cycle")
    assert (cycle.name, cycle.parent) == ("cycle adplatform.campaigns", b"")
    assert {s.trace for s in collector.spans if s.fields.get("syncd.cycle")} == {cycle.trace}
    assert (cycle.fields["syncd.seen"], cycle.fields["syncd.outcome"]) == (CAMPAIGNS, "ok")
    assert not cycle.failed
    assert cycle.resource["service.name"] == "syncd"

    pages = collector.below(cycle, "page")
    assert [p.fields["syncd.page"] for p in pages] == [1, 2, 3]
    for page in pages:
        assert within(page, cycle)
        assert len(collector.below(page, "call")) == SIZE
        [commit] = collector.below(page, "commit")
        assert within(commit, page)
        assert commit.ended == pytest.approx(page.ended, abs=0.01)
        assert commit.fields["db.system.name"] == "postgresql"
    assert [len(collector.below(p, "GET")) for p in pages] == [1, 3, 1]

    tries = collector.below(pages[1], "GET")
    assert [t.fields["http.response.status_code"] for t in tries] == [503, 503, 200]
    assert [t.failed for t in tries] == [True, True, False]
    assert [t.fields.get("error.type") for t in tries] == ["503", "503", None]
    assert [t.fields.get("http.request.resend_count") for t in tries] == [None, 1, 2]

    calls = [call for page in pages for call in collector.below(page, "call")]
    keys = {call.fields["syncd.record.key"] for call in calls}
    assert keys == {f"camp_{n}" for n in range(1, CAMPAIGNS + 1)}
    for call in calls:
        [post] = collector.below(call, "POST")
        assert within(post, call)
        # Two seconds at the API's own speed.
        assert 2 / SPEED <= post.seconds <= 2
        assert (post.kind, post.fields["server.address"]) == ("CLIENT", "127.0.0.1")
    # The login too: no request that the API saw is without its span.
    requests = [s for s in collector.spans if "http.request.method" in s.fields]
    assert len(requests) == len(asked)
    known = {s.id for s in collector.spans}
    assert all(s.parent in known for s in collector.spans if s.parent)
    assert len(known) == len(collector.spans)


async def test_a_cycle_that_is_taken_up_goes_on_in_its_trace(syncd: Syncd, postgres: str) -> None:
    """Of a killed daemon's pages and the next one's; the cycle's own span comes once, and whole."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        with collecting() as collector:
            await mock.faults({"path": "/api/campaigns", "query": "page=2*", "hang": True})
            syncd.write(config(mock.base_url, postgres, speed=SPEED, size=SIZE))
            syncd.env = environ(collector)
            async with syncd.started("run") as process:
                await lines_until(process, "page committed")
                with trio.fail_after(20):
                    await collector.until("page")
                process.kill()
                await process.wait()
            assert collector.named("cycle") == []
            await mock.faults()
            await ran(syncd, mock, postgres, environ(collector))
    [cycle] = collector.named("cycle")
    pages = collector.below(cycle, "page")
    assert [p.fields["syncd.page"] for p in pages] == [1, 2, 3]
    assert cycle.fields["syncd.cycle.taken_up"]
    assert all(within(page, cycle) for page in pages)


async def test_drain_does_not_wait_for_a_collector(syncd: Syncd, postgres: str) -> None:
    """drain: one that is not there costs nothing; one that says nothing, two seconds at most."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=SIZE))
        for endpoint, limit in ((refusing(), AT_ONCE), (silent(), GOODBYE + AT_ONCE)):
            with endpoint as url:
                syncd.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
                async with syncd.started("run") as process:
                    await lines_until(process, "resting until")
                    process.send_signal(signal.SIGTERM)
                    with trio.fail_after(limit):
                        assert await process.wait() == 0
                await syncd.command("reset", "campaigns")


@pytest.mark.long
async def test_a_collector_that_is_away_is_told_of_once(syncd: Syncd, postgres: str) -> None:
    """One line when it starts, none of the SDK's own, and no page is later for it."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        with refusing() as url:
            env = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
                "OTEL_BSP_SCHEDULE_DELAY": "50",
            }
            said = await ran(syncd, mock, postgres, env, until="spans can't be exported")
    lines = [line.partition(" reason=")[0] for line in said.splitlines() if "export" in line]
    assert len(lines) == 2  # that they are, and that they can't be
    assert "efused" in said


async def test_no_span_no_opentelemetry(syncd: Syncd, postgres: str) -> None:
    """Unless the environment asks for spans, its modules are not even imported."""
    script = (
        "import sys, json\n"
        "from syncd.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(json.dumps([m for m in sys.modules if 'opentelemetry' in m]))\n"
    )
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, size=SIZE))
        for env in ({}, {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}):
            command = [sys.executable, "-c", script, "--config", str(syncd.path), "run"]
            process = await trio.lowlevel.open_process(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=of(syncd, env)
            )
            await lines_until(process, "resting until")
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            with trio.fail_after(20):
                rest = b"".join([piece async for piece in process.stdout])
                await process.wait()
            assert json.loads(rest.decode().splitlines()[-1]) == []


async def test_what_the_extra_is_missing_for_is_said(syncd: Syncd, postgres: str) -> None:
    """One line with the command to run, and syncd goes on without spans."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        said = await ran(syncd, mock, postgres, env)
    line = next(line for line in said.splitlines() if "no spans are made" in line)
    assert "otlp_proto_grpc" in line
    assert "pip install opentelemetry-exporter-otlp-proto-grpc" in line


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "no spans are made"),
        ({"OTEL_TRACES_SAMPLER": "no-such"}, "spans are made"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "x=1,Authorization Bearer c4n4ry"}, "Header format"),
    ],
    ids=["queue", "sampler", "headers"],
)
async def test_a_setting_that_is_wrong_costs_spans_at_most(
    syncd: Syncd, postgres: str, wrong: Mapping[str, str], said: str
) -> None:
    """no-secret-out: it is told, without what opens the collector, and syncd goes on."""
    async with running_mock(speed=SPEED, campaigns=CAMPAIGNS, fail_every=0, hang_every=0) as mock:
        with collecting() as collector:
            told = await ran(syncd, mock, postgres, environ(collector, **wrong))
    assert said in told
    assert "c4n4ry" not in told
    assert "Traceback" not in told


def of(syncd: Syncd, env: Mapping[str, str]) -> dict[str, str]:
    whole: dict[str, str] = {**syncd._open()["env"], **env}
    return whole


@contextmanager
def refusing() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
