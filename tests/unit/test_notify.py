"""What systemd is told: the datagrams, and the sentence of what the streams do."""

import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from syncd.daemon.doing import Doing, changes_within, heard, sentence, span
from syncd.daemon.notify import EXTENSION, Notifier, Teller
from syncd.sync import events
from syncd.sync.model import Checkpoint, Counts, StreamId


@attrs.define(eq=False)
class Manager:
    """The other end: a datagram socket, as systemd's."""

    name: str
    _socket: socket.socket

    @classmethod
    def at(cls, address: str) -> "Manager":
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind("\0" + address[1:] if address.startswith("@") else address)
        return cls(address, opened)

    def heard(self) -> list[str]:
        """All that has arrived since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager.at(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier.of({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "30000000"})
    yield made
    made.close()


async def test_a_whole_life_is_told_in_order(
    manager: Manager, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    """READY, a status, a reload, the end: as systemd documents them."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready("here")
    await trio.sleep(1)
    assert notifier.status("page 1")
    notifier.reloading()
    notifier.ready("reloaded")
    notifier.extend(2.5)
    notifier.stopping("leaving")
    notifier.stopping("said once")

    ready, status, reloading, again, extend, stopping = manager.heard()
    assert ready == "READY=1\nSTATUS=here"
    assert status == "STATUS=page 1"
    first, stamp = reloading.split("\n")
    assert first == "RELOADING=1"
    assert int(stamp.removeprefix("MONOTONIC_USEC=")) >= before
    assert again == "READY=1\nSTATUS=reloaded"
    assert extend == "EXTEND_TIMEOUT_USEC=2500000"
    assert stopping == "STOPPING=1\nSTATUS=leaving"


async def test_a_status_is_said_when_it_is_new_and_at_most_once_a_second(
    manager: Manager, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    """The manager is not flooded, and hears the newest in the end."""
    assert notifier.status("a")
    assert notifier.status("a")
    assert not notifier.status("b")
    await trio.sleep(1)
    assert notifier.status("c")
    assert manager.heard() == ["STATUS=a", "STATUS=c"]


async def test_a_full_socket_loses_a_ping_but_neither_blocks_nor_forgets_the_end(
    manager: Manager, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    """Nobody reads: every call returns; when somebody reads again, STOPPING arrives first."""
    for _ in range(10_000):
        notifier.extend(1)
    notifier.stopping("leaving")
    await trio.sleep(1)
    assert not notifier.status("lost")

    full = manager.heard()
    assert 0 < len(full) < 10_000
    assert not any("STOPPING" in message for message in full)
    notifier.extend(1)
    assert manager.heard() == ["STOPPING=1\nSTATUS=leaving", "EXTEND_TIMEOUT_USEC=1000000"]
    await trio.sleep(1)
    assert notifier.status("lost")
    assert manager.heard() == ["STATUS=lost"]


async def test_an_address_in_the_abstract_namespace_is_reached() -> None:
    """$NOTIFY_SOCKET that begins with @ names no file."""
    manager = Manager.at(f"@syncd-test-{os.getpid()}")
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.name})
    try:
        notifier.ready("here")
        assert manager.heard() == ["READY=1\nSTATUS=here"]
    finally:
        notifier.close()
        manager.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative/path"])
async def test_without_a_service_manager_nothing_is_said(address: str | None) -> None:
    """On a terminal all calls are empty, and no task stays."""
    notifier = Notifier.of({} if address is None else {"NOTIFY_SOCKET": address})
    notifier.ready("here")
    assert notifier.silent
    assert notifier.status("there")
    with trio.fail_after(1):
        await notifier.watchdog()
        await Teller(notifier).run()


async def test_a_manager_that_is_gone_or_cannot_be_reached_is_nothing_to_stumble_over(
    tmp_path: Path,
) -> None:
    """No file, and a path too long for a socket."""
    for name in ("gone", "x" * 200):
        notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / name)})
        notifier.ready("here")
        assert not notifier.status("there")
        notifier.close()


def test_the_variables_are_taken_out_so_that_no_child_speaks_for_us() -> None:
    """An embedded Postgres must not say READY in our name."""
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.of(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("variables", "period"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_is_fed_where_systemd_asked_this_process(
    variables: dict[str, str], period: float | None
) -> None:
    """WATCHDOG_PID names another process, or the period is none: no pings."""
    assert Notifier.of({"NOTIFY_SOCKET": "/x", **variables}).period == period


async def test_the_watchdog_is_pinged_at_half_its_time_for_hours(
    manager: Manager, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    """Through a wait of two hours the loop turns, and that is all it says."""
    pings = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.watchdog)
        for _ in range(120):
            await trio.sleep(60)
            pings += len(manager.heard())
        nursery.cancel_scope.cancel()
    assert pings == pytest.approx(2 * 3600 / 15, abs=1)


async def test_a_status_cannot_smuggle_in_an_assignment(
    manager: Manager, notifier: Notifier
) -> None:
    """An API's words stay one line, of a length that systemd takes, in UTF-8."""
    notifier.ready("said\nMAINPID=1\r\x00\x1b[1m \ud800 " + "ü" * 5000)
    (message,) = manager.heard()
    assert message.startswith("READY=1\nSTATUS=said MAINPID=1 [1m ü")
    assert message.count("\n") == 1


# --- what the streams do ----------------------------------------------------------------------

CAMPAIGNS = StreamId(source="ads", stream="campaigns")
ORDERS = StreamId(source="shop", stream="orders")
OTHERS = StreamId(source="other", stream="campaigns")


def checkpoint(pages: int = 0) -> Checkpoint:
    return Checkpoint(stream=CAMPAIGNS, seq=1, fence=1, cycle=1, pages=pages)


def fetched(page: int, records: int = 10, total: int | None = 100) -> events.PageFetched:
    return events.PageFetched(
        stream=CAMPAIGNS, page=page, last=False, records=records, calls=0, total=total
    )


def after(*happened: events.Event, now: float = 0) -> Doing:
    doing = Doing()
    for event in happened:
        doing = heard(doing, event, now)
    return doing


STARTED = events.CycleStarted(stream=CAMPAIGNS, checkpoint=checkpoint(), totals=Counts())
SIX = events.PageCommitted(stream=CAMPAIGNS, checkpoint=checkpoint(6), totals=Counts())
ENDED = events.CycleEnded(
    stream=CAMPAIGNS, cycle=1, outcome="ok", reason="", totals=Counts(), seconds=1
)


def waiting(why: events.Why, seconds: float = 4) -> events.Waiting:
    return events.Waiting(stream=CAMPAIGNS, why=why, seconds=seconds)


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        ([], "page 1"),
        ([STARTED, fetched(1)], "page 1 of 10"),
        ([STARTED, fetched(1, total=None)], "page 1"),
        ([STARTED, fetched(1), SIX], "page 7 of 10"),
        ([STARTED, fetched(1, total=5), SIX], "page 7 of 7"),
        ([STARTED, fetched(1), SIX, waiting("budget")], "page 7 of 10, next token in 4 s"),
        ([STARTED, waiting("backoff", 90)], "page 1, next try in 2 min"),
        ([STARTED, waiting("hint", 7500)], "page 1, the API asked to wait, next try in 2 h 5 min"),
        ([waiting("database")], "page 1, Postgres is away, next try in 4 s"),
        ([waiting("api", 40)], "page 1, the API is failing, next probe in 40 s"),
        (
            [waiting("budget"), events.LoggedIn(stream=CAMPAIGNS, expires_in=9)],
            "page 1, next token in 4 s",
        ),
        ([STARTED, waiting("budget"), fetched(1)], "page 1 of 10"),
        (
            [events.Failing(stream=CAMPAIGNS, seconds=30, reason="503\nagain")],
            "failing, tries again in 30 s (503 again)",
        ),
        ([events.Parked(stream=CAMPAIGNS, reason="401", hint="")], "parked, 401"),
    ],
)
def test_one_stream_in_words(happened: list[events.Event], said: str) -> None:
    """Every state has words that need no manual."""
    assert sentence({CAMPAIGNS: after(*happened)}, 0) == f"campaigns: {said}"


def test_a_wait_that_is_over_is_said_no_more() -> None:
    """Between the end of a wait and the next event nothing wrong is told."""
    doing = after(STARTED, waiting("budget"))
    assert sentence({CAMPAIGNS: doing}, 4) == "campaigns: page 1"
    assert changes_within({CAMPAIGNS: doing}, 4) == math.inf


def test_many_streams_in_one_sentence() -> None:
    """What needs a person comes first; those at rest are counted; names are told apart."""
    at_rest = after(events.Resting(stream=ORDERS, seconds=7200))
    parked = after(events.Parked(stream=OTHERS, reason="403", hint=""))
    work = after(STARTED)
    assert sentence({ORDERS: at_rest}, 0) == "1 stream resting, next cycle in 2 h"
    assert sentence({ORDERS: after(ENDED)}, 0) == "1 stream resting"
    assert sentence({CAMPAIGNS: work, ORDERS: at_rest}, 0) == "campaigns: page 1; 1 stream resting"
    assert sentence({CAMPAIGNS: work, OTHERS: parked, ORDERS: at_rest}, 0) == (
        "other.campaigns: parked, 403; ads.campaigns: page 1; 1 stream resting"
    )
    many = {StreamId(source="s", stream=str(n)): work for n in range(5)}
    assert sentence(many, 0) == "0: page 1; 1: page 1; 2: page 1; 2 more at work"
    assert sentence({}, 0) == "starting"


def test_spans_are_no_finer_than_they_need_to_be() -> None:
    """Seconds, then minutes, then hours and minutes."""
    given = [0.0, 4, 59.2, 61, 3599, 3600, 7500]
    assert [span(s) for s in given] == ["1 s", "4 s", "1 min", "2 min", "1 h", "1 h", "2 h 5 min"]


async def test_the_teller_follows_the_streams_and_is_quiet_at_rest(
    manager: Manager, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    """READY first; a countdown by the second; a rest of ten hours by the minute."""
    teller = Teller(notifier)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(teller.run)
        await trio.testing.wait_all_tasks_blocked()
        assert manager.heard() == ["READY=1\nSTATUS=starting: opening the database"]
        teller.away("connection\nrefused", 3)
        await trio.sleep(2.5)
        assert manager.heard()[0] == (
            "STATUS=starting: the database is away, next try in 2 s (connection refused)"
        )
        teller.reached()
        teller.hear(STARTED)
        teller.hear(waiting("budget"))
        await trio.sleep(6.1)
        said = manager.heard()
        assert said[0] == "STATUS=campaigns: page 1, next token in 4 s"
        assert said[-1] == "STATUS=campaigns: page 1"
        assert len(said) == 5
        teller.hear(events.Resting(stream=CAMPAIGNS, seconds=36000))
        for _ in range(100):
            await trio.sleep(60)
            assert len(manager.heard()) <= 2
        teller.leaving(30)
        assert manager.heard() == [
            "STOPPING=1\nSTATUS=leaving: requests in flight get 30 s more",
            f"EXTEND_TIMEOUT_USEC={EXTENSION * 1_000_000:.0f}",
        ]
        extensions: list[str] = []
        for _ in range(200):
            await trio.sleep(1)
            extensions += [m for m in manager.heard() if m.startswith("EXTEND")]
        # For the drain and the closing; then systemd's own timeout has the last word.
        assert 85 <= len(extensions) <= 92
        nursery.cancel_scope.cancel()
