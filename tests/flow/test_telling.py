"""Receivers that are away or slow, and what a restart remembers, on a clock that jumps."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from syncd.alarms import mailbox
from syncd.alarms.telling import AGAIN, Telling
from syncd.config.settings import NotifySettings, Secret, Settings, SourceSettings, StreamSettings
from syncd.errors import NotDelivered, StoreRefused, StoreUnavailable
from syncd.sync import events
from syncd.sync.alarm import Alarm, Message
from syncd.sync.model import Checkpoint, Counts, StreamId
from syncd.testing.alarms import FakeBook

Clock = trio.testing.MockClock
SHOP = StreamId(source="shop", stream="orders")
PARKED = events.Parked(stream=SHOP, reason="no right", hint="grant it")
RESTING = events.Resting(stream=SHOP, seconds=9.0)
STARTED = events.CycleStarted(
    stream=SHOP, checkpoint=Checkpoint(stream=SHOP, seq=1, fence=1), totals=Counts()
)
COMMITTED = events.PageCommitted(
    stream=SHOP, checkpoint=Checkpoint(stream=SHOP, seq=1, fence=1), totals=Counts()
)
AWAY = events.Waiting(stream=SHOP, why="database", seconds=1.0, reason="refused")
HOUR = 3600.0


def ended(outcome: Any = "ok", dead: int = 0) -> events.CycleEnded:
    return events.CycleEnded(
        stream=SHOP, cycle=1, outcome=outcome, reason="why", totals=Counts(dead=dead), seconds=1.0
    )


def receiver(name: str = "me", **of: Any) -> NotifySettings:
    url = Secret(f"http://{name}/", "here")
    return NotifySettings(**{"name": name, "key": name, "url": url, "after": 60.0, **of})


def settings(
    *receivers: NotifySettings, heartbeat: str = "", stream_name: str = "orders", streams: int = 1
) -> Settings:
    stream = StreamSettings(
        name=stream_name,
        path="/",
        key=("id",),
        columns={"id": "text"},
        table="orders",
        heartbeat=Secret(heartbeat, "here") if heartbeat else None,
    )
    source = SourceSettings(name="shop", base_url="http://x", streams={stream_name: stream})
    return Settings(
        state=Path("/"),
        path=Path("/syncd.toml"),
        notify=receivers or (receiver(),),
        sources={"shop": source} if streams else {},
    )


@attrs.define(eq=False)
class FakePost:
    """Takes what it is sent, unless the receiver is away."""

    taken: list[tuple[float, str, Message]] = attrs.field(factory=list)
    beats: list[float] = attrs.field(factory=list)
    tries: list[float] = attrs.field(factory=list)
    away: set[str] = attrs.field(factory=set)
    slow: float = 0.0
    hint: float | None = None

    async def deliver(self, receiver: NotifySettings, message: Message) -> None:
        self.tries.append(trio.current_time())
        await trio.sleep(self.slow)
        if receiver.name in self.away:
            raise NotDelivered("it answered 500", hint=self.hint)
        self.taken.append((trio.current_time(), receiver.name, message))

    async def beat(self, address: Secret) -> None:
        self.tries.append(trio.current_time())
        if address.reveal() in self.away:
            raise NotDelivered("no answer within 10 s")
        self.beats.append(trio.current_time())

    def said(self, name: str = "me") -> list[str]:
        return [message.what for _, of, message in self.taken if of == name]


@attrs.define(eq=False)
class FakeLog:
    lines: list[tuple[Any, ...]] = attrs.field(factory=list)

    def told(self, receiver: str, what: str, *, attempts: int) -> None:
        self.lines.append(("told", receiver, what, attempts))

    def not_told(self, receiver: str, what: str, **_: Any) -> None:
        self.lines.append(("not-told", receiver, what))

    def given_up(self, receiver: str, what: str, **_: Any) -> None:
        self.lines.append(("given-up", receiver, what))

    def left_untold(self, receiver: str, count: int) -> None:
        self.lines.append(("left", receiver, count))

    def not_kept(self, reason: str) -> None:
        self.lines.append(("not-kept", reason))

    def heartbeat_failed(self, stream: StreamId, **_: Any) -> None:
        self.lines.append(("heartbeat", str(stream)))


@attrs.define(eq=False, kw_only=True)
class Stage:
    """Processes that come and go; the receivers and the database stay."""

    post: FakePost = attrs.field(factory=FakePost)
    book: FakeBook = attrs.field(factory=FakeBook)
    log: FakeLog = attrs.field(factory=FakeLog)
    settings: Settings = attrs.field(factory=settings)

    @asynccontextmanager
    async def process(self, *, attach: bool = True) -> AsyncIterator[Telling]:
        """One life; it ends without a goodbye."""
        made = Telling(
            post=self.post,
            log=self.log,
            hide=lambda text: text.replace("canary", "***"),
            host="db1",
            version="1",
            rng=random.Random(1),
            wall=trio.current_time,
        )
        made.follow(self.settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            if attach:
                made.attach(self.book)
            await idle()
            yield made
            nursery.cancel_scope.cancel()


async def idle() -> None:
    """Let all that is to be done at once be done."""
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked()


async def hear(telling: Telling, *those: events.Event) -> None:
    for event in those:
        telling.hear(event)
    await idle()


@pytest.fixture
def stage() -> Stage:
    return Stage()


# --- what is told, and once --------------------------------------------------------------------


async def test_it_is_told_once_and_once_that_it_is_over(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        await hear(telling, PARKED, PARKED)
        await hear(telling, COMMITTED, RESTING)
        assert stage.post.said() == ["parked shop.orders, firing", "parked shop.orders, recovered"]
    assert not stage.book.messages
    first, second = (json.loads(m.body) for *_, m in stage.post.taken)
    assert first["todo"] == "grant it. Then `syncd resume shop.orders`."
    assert first["id"] != second["id"]


async def test_each_receiver_hears_what_it_asked_for(stage: Stage, autojump_clock: Clock) -> None:
    stage.settings = settings(receiver("a"), receiver("b", on=("suspicious",)))
    async with stage.process() as telling:
        await hear(telling, PARKED, ended("suspicious"))
        assert stage.post.said("a") == [
            "parked shop.orders, firing",
            "suspicious shop.orders, firing",
        ]
        assert stage.post.said("b") == ["suspicious shop.orders, firing"]


async def test_no_secret_goes_out_in_a_reason(stage: Stage, autojump_clock: Clock) -> None:
    """no-secret-out: nor the query of an address, whose signature opens a door."""
    said = "canary at https://u:pw@s3.example.com/x?X-Sig=opens-it, " + "long " * 100
    async with stage.process() as telling:
        await hear(telling, attrs.evolve(PARKED, reason=said, hint="canary"))
    (*_, message) = stage.post.taken[0]
    reason = json.loads(message.body)["reason"]
    assert reason.startswith("*** at https://s3.example.com/x?***")
    assert len(reason) == 300
    for secret in ("canary", "opens-it", "pw@"):
        assert secret not in message.body


async def test_dead_letters_that_were_retried_well_wake_nobody(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        await hear(telling, ended(dead=3), RESTING)
        assert stage.post.said() == []
        stage.book.letters = {SHOP: 2}
        await hear(telling, ended(dead=3), RESTING)
        await hear(telling, ended(dead=0), RESTING)  # they lie there still
        stage.book.letters = {}
        await hear(telling, ended(dead=0), RESTING)
    said = ["dead-letters shop.orders, firing", "dead-letters shop.orders, recovered"]
    assert stage.post.said() == said


async def test_data_that_was_old_before_the_start_is_told_soon(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.settings = settings(receiver(max_age=HOUR))
    stage.book.whole = {SHOP: -0.5 * HOUR}
    async with stage.process() as telling:
        await trio.sleep(0.5 * HOUR - 1)
        assert stage.post.said() == []
        await trio.sleep(2)
        await hear(telling, ended())
        said = ["data-too-old shop.orders, firing", "data-too-old shop.orders, recovered"]
        assert stage.post.said() == said


# --- receivers ---------------------------------------------------------------------------------


async def test_a_receiver_that_is_away_gets_all_in_order_when_it_is_back(
    stage: Stage, autojump_clock: Clock
) -> None:
    """And it holds no other."""
    stage.settings = settings(receiver("a"), receiver("b"))
    stage.post.away = {"a"}
    async with stage.process() as telling:
        await hear(telling, PARKED)
        await hear(telling, COMMITTED)
        assert len(stage.post.said("b")) == 2
        await trio.sleep(HOUR)
        assert stage.post.said("a") == []
        stage.post.away = set()
        await trio.sleep(2 * mailbox.CAP)
        assert stage.post.said("a") == stage.post.said("b")
    assert [line[0] for line in stage.log.lines if line[1] == "a"] == ["not-told", "told", "told"]


async def test_the_waits_grow_and_end_after_half_a_day(stage: Stage, autojump_clock: Clock) -> None:
    stage.post.away = {"me"}
    async with stage.process() as telling:
        await hear(telling, PARKED)
        await trio.sleep(13 * HOUR)
        waits = [b - a for a, b in zip(stage.post.tries, stage.post.tries[1:], strict=False)]
        assert all(0 < wait <= mailbox.CAP * 1.02 + mailbox.BASE for wait in waits)
        assert 72 < len(waits) < 300
        assert stage.log.lines[-1] == ("given-up", "me", "parked shop.orders, firing")
    assert not stage.book.messages


async def test_a_wait_that_the_receiver_asks_for_is_kept(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.post.away, stage.post.hint = {"me"}, 120.0
    async with stage.process() as telling:
        await hear(telling, PARKED)
        await trio.sleep(119.0)
        assert len(stage.post.tries) == 1
        await trio.sleep(30.0)
        assert len(stage.post.tries) == 2


async def test_what_waits_is_bounded(stage: Stage, autojump_clock: Clock) -> None:
    """The oldest go, with a line in the log."""
    stage.post.away = {"me"}
    async with stage.process():
        box = stage_box(stage)
        for n in range(mailbox.MOST + 3):
            box.put(Message(id=str(n), receiver="me", what=str(n), body=""))
        assert len(box) == mailbox.MOST
        assert [line[2] for line in stage.log.lines if line[0] == "given-up"] == ["1", "2", "3"]


def stage_box(stage: Stage) -> mailbox.Mailbox:
    return mailbox.Mailbox(
        receiver=receiver(),
        post=stage.post,
        log=stage.log,
        settled=lambda _: None,
        rng=random.Random(1),
    )


async def test_a_reload_that_mends_the_address_is_tried_at_once(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.post.away = {"me"}
    async with stage.process() as telling:
        await hear(telling, PARKED)
        await trio.sleep(HOUR)
        stage.post.away = set()
        mended = receiver(url=Secret("http://other/", "here"))
        tries = len(stage.post.tries)
        telling.follow(settings(mended))
        await idle()
        assert len(stage.post.tries) == tries + 1
        assert stage.post.said() == ["parked shop.orders, firing"]


async def test_a_new_receiver_hears_what_stands_and_one_that_left_nothing(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        await hear(telling, PARKED)
        telling.follow(settings(receiver("new")))
        await idle()
        assert stage.post.said("new") == ["parked shop.orders, firing"]
        await hear(telling, COMMITTED)
        assert len(stage.post.said("new")) == 2
        assert len(stage.post.said("me")) == 1


async def test_a_stream_that_leaves_the_config_takes_its_alarms_along(
    stage: Stage, autojump_clock: Clock
) -> None:
    """And what it still says while it ends is no news."""
    async with stage.process() as telling:
        await hear(telling, PARKED)
        telling.follow(settings(streams=0))
        await hear(telling, PARKED)
        assert stage.post.said() == ["parked shop.orders, firing", "parked shop.orders, recovered"]
    (*_, over) = stage.post.taken[-1]
    assert json.loads(over.body)["reason"] == "it is not in the config any more"


# --- over a restart, and without a database ----------------------------------------------------


async def test_a_restart_tells_nothing_again(stage: Stage, autojump_clock: Clock) -> None:
    async with stage.process() as telling:
        await hear(telling, PARKED)
    async with stage.process() as telling:
        await hear(telling, PARKED)
        await trio.sleep(HOUR)
        await hear(telling, COMMITTED)
    async with stage.process() as telling:
        await hear(telling, COMMITTED)
    assert stage.post.said() == ["parked shop.orders, firing", "parked shop.orders, recovered"]


async def test_what_was_not_delivered_is_by_the_next_start(
    stage: Stage, autojump_clock: Clock
) -> None:
    """With the same id, and byte for byte the same."""
    stage.post.away = {"me"}
    async with stage.process() as telling:
        await hear(telling, PARKED)
        (kept,) = stage.book.messages.values()
    stage.post.away = set()
    async with stage.process():
        assert attrs.evolve(stage.post.taken[0][2], age=0.0) == kept.message
    async with stage.process():
        pass
    assert len(stage.post.taken) == 1
    assert not stage.book.messages


async def test_cut_between_delivery_and_writing_that_down_it_comes_twice_with_one_id(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        stage.post.slow = 1.0
        await hear(telling, PARKED)
        stage.book.trouble = StoreUnavailable("away")
        await trio.sleep(2)
    stage.book.trouble = None
    async with stage.process():
        await trio.sleep(2)
    first, second = (message for *_, message in stage.post.taken)
    assert (first.id, first.body) == (second.id, second.body)


async def test_nothing_is_told_before_it_is_known_what_was(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        await hear(telling, PARKED)
    async with stage.process(attach=False) as telling:
        await hear(telling, PARKED)
        await trio.sleep(HOUR)
        telling.attach(stage.book)
        await idle()
    assert stage.post.said() == ["parked shop.orders, firing"]


async def test_a_postgres_that_is_away_is_told_from_memory_and_when_it_is_back(
    stage: Stage, autojump_clock: Clock
) -> None:
    """After a minute here; and what happened meanwhile is told and kept as well."""
    async with stage.process() as telling:
        stage.book.trouble = StoreUnavailable("away")
        await hear(telling, AWAY)
        await trio.sleep(59)
        assert stage.post.said() == []
        await trio.sleep(2)
        await hear(telling, PARKED)
        assert stage.post.said() == ["postgres-away, firing", "parked shop.orders, firing"]
        assert not stage.book.standing
        stage.book.trouble = None
        await trio.sleep(AGAIN + 61)  # nobody else asks: all are parked
        assert stage.post.said()[2:] == ["postgres-away, recovered"]
        assert ("me", "", Alarm("parked", "shop", "orders")) in stage.book.standing
    assert not stage.book.messages


async def test_a_postgres_that_is_back_is_written_to_at_once(
    stage: Stage, autojump_clock: Clock
) -> None:
    """resume: what was told meanwhile is not told again, however soon syncd leaves."""
    async with stage.process() as telling:
        stage.book.trouble = StoreUnavailable("away")
        await hear(telling, AWAY, PARKED)
        stage.book.trouble = None
        await hear(telling, RESTING)
        assert len(stage.book.standing) == 1
        await telling.goodbye()
    async with stage.process() as telling:
        await hear(telling, RESTING)
    assert stage.post.said() == ["parked shop.orders, firing", "parked shop.orders, recovered"]


async def test_a_short_absence_is_no_alarm(stage: Stage, autojump_clock: Clock) -> None:
    async with stage.process() as telling:
        for _ in range(20):
            await hear(telling, AWAY)
            await trio.sleep(30)
            await hear(telling, COMMITTED)
            await trio.sleep(30)
    assert stage.post.said() == []


async def test_a_full_disk_is_asked_about_now_and_then_only(
    stage: Stage, autojump_clock: Clock
) -> None:
    """It answers, and that is no proof: no turning in a circle."""
    async with stage.process() as telling:
        await hear(telling, attrs.evolve(AWAY, in_need=True))
        await trio.sleep(HOUR)
        assert stage.post.said() == ["postgres-away, firing"]
        assert stage.book.writes < HOUR / AGAIN + 10
        await hear(telling, COMMITTED)
        await trio.sleep(61)
        assert stage.post.said()[1:] == ["postgres-away, recovered"]


async def test_a_postgres_that_refuses_to_remember_silences_nobody(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.book.trouble = StoreRefused("permission denied for table alarm")
    async with stage.process() as telling:
        await hear(telling, PARKED)
        assert stage.post.said() == ["parked shop.orders, firing"]
        await trio.sleep(HOUR)
        assert [line[0] for line in stage.log.lines] == ["not-kept", "told"]
        stage.book.trouble = None
        await trio.sleep(2 * AGAIN)
        assert len(stage.book.standing) == 1


async def test_an_alarm_of_a_stream_that_left_while_nobody_ran_is_over(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        await hear(telling, PARKED)
        telling.refused("1 fault")
        await idle()
    stage.settings = settings(stream_name="items")
    async with stage.process():
        pass
    over = [what for what in stage.post.said() if what.endswith("recovered")]
    assert sorted(over) == ["parked shop.orders, recovered", "reload-refused, recovered"]


# --- the end -----------------------------------------------------------------------------------


async def test_the_last_messages_get_a_moment(stage: Stage, autojump_clock: Clock) -> None:
    """drain: and what was heard last is among them."""
    stage.post.slow = 1.0
    async with stage.process() as telling:
        telling.hear(PARKED)
        began = trio.current_time()
        await telling.goodbye()
        assert trio.current_time() - began == 1.0
    assert stage.post.said() == ["parked shop.orders, firing"]
    assert not stage.book.messages


@pytest.mark.parametrize("slow", [0.0, 100.0])
async def test_a_dead_receiver_delays_no_end(
    stage: Stage, autojump_clock: Clock, slow: float
) -> None:
    """drain: two seconds at most; none if it is known to fail.  The next start delivers."""
    stage.post.slow, stage.post.away = slow, {"me"}
    async with stage.process() as telling:
        await hear(telling, PARKED)
        began = trio.current_time()
        await telling.goodbye()
        assert trio.current_time() - began == (2.0 if slow else 0.0)
    assert stage.log.lines[-1] == ("left", "me", 1)
    assert len(stage.book.messages) == 1


async def test_without_anything_to_say_the_end_is_at_once(
    stage: Stage, autojump_clock: Clock
) -> None:
    async with stage.process() as telling:
        began = trio.current_time()
        await telling.goodbye()
        assert trio.current_time() == began


# --- heartbeats --------------------------------------------------------------------------------


async def test_a_heartbeat_is_sent_once_for_each_good_cycle(
    stage: Stage, autojump_clock: Clock
) -> None:
    """accounted: not after one in doubt, not for a second pass of the same, not if it parks."""
    stage.settings = settings(heartbeat="http://beat/")
    second = attrs.evolve(STARTED, checkpoint=attrs.evolve(STARTED.checkpoint, follows=1))
    async with stage.process() as telling:
        await hear(telling, STARTED, ended())
        assert len(stage.post.beats) == 0  # it may park, for all that it has put aside
        await hear(telling, second)
        assert len(stage.post.beats) == 1
        await hear(telling, ended(), RESTING)
        await hear(telling, STARTED, ended("suspicious"), RESTING)
        await hear(telling, STARTED, ended(), PARKED, RESTING)
        assert len(stage.post.beats) == 1
        await hear(telling, STARTED, ended(), RESTING)
        assert len(stage.post.beats) == 2
        await hear(telling, STARTED, ended())
        await telling.goodbye()
        assert len(stage.post.beats) == 3


async def test_a_heartbeat_that_fails_is_tried_again_and_then_told_of(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.settings = settings(heartbeat="http://beat/")
    stage.post.away = {"http://beat/"}
    async with stage.process() as telling:
        await hear(telling, ended(), RESTING)
        await trio.sleep(120)
        assert len(stage.post.tries) == 3
        assert stage.log.lines == [("heartbeat", "shop.orders")]
        began = trio.current_time()
        await hear(telling, ended(), RESTING)
        await telling.goodbye()
        assert trio.current_time() == began  # it fails: nothing to wait for


async def test_a_heartbeat_that_a_reload_takes_away_is_sent_no_more(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.settings = settings(heartbeat="http://beat/")
    stage.post.away = {"http://beat/"}
    async with stage.process() as telling:
        await hear(telling, ended(), RESTING)
        telling.follow(settings())
        await trio.sleep(120)
        assert len(stage.post.tries) == 1
        assert stage.log.lines == []
