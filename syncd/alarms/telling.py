"""Who tells whom, for as long as syncd runs?

Events come in (`hear`), the rules say what begins and ends, each receiver's watch when it is
told, and its mailbox delivers.  A message and what the receiver then knows are written down
in one transaction before it is sent, so that a crash neither loses it nor tells anything
again; where Postgres is away that is done later, and meanwhile this process remembers.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator

import attrs
import trio

from syncd.alarms import shapes
from syncd.alarms.heartbeats import Heartbeats
from syncd.alarms.mailbox import Mailbox
from syncd.alarms.rules import AWAY, GONE, REFUSED_RELOAD, Rules
from syncd.alarms.watch import Watch
from syncd.config.settings import NotifySettings, Settings
from syncd.errors import StoreUnavailable, StreamBroken
from syncd.sync import events
from syncd.sync.alarm import Alarm, Begun, Book, Change, Ended, Kept, Log, Message, Post, Told
from syncd.sync.model import StreamId
from syncd.views.words import span

AGAIN = 15.0  # seconds until what could not be written is tried again
GOODBYE = 2.0  # seconds that the last messages get when syncd leaves


@attrs.define(eq=False, kw_only=True)
class _Receiver:
    watch: Watch
    mailbox: Mailbox
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(self) -> None:
        with self.scope:
            await self.mailbox.run()


@attrs.frozen
class _Fresh:
    """A message that was just made."""

    receiver: _Receiver
    source: str
    message: Message


@attrs.define(eq=False, kw_only=True)
class Telling:
    """All receivers of one syncd."""

    post: Post
    log: Log
    hide: Callable[[str], str]
    """Takes secrets out of somebody's words."""

    host: str
    version: str
    rng: random.Random
    wall: Callable[[], float] = time.time
    heartbeats: Heartbeats = attrs.field(init=False)
    _instance: str = attrs.field(default="", init=False)
    """What concerns no source is kept under this name."""

    _rules: Rules = attrs.field(factory=Rules, init=False)
    _standing: dict[Alarm, Begun] = attrs.field(factory=dict, init=False)
    """What is wrong now, for a receiver that a reload brings."""

    _streams: set[StreamId] = attrs.field(factory=set, init=False)
    _receivers: dict[str, _Receiver] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _book: Book | None = attrs.field(default=None, init=False)
    _loaded: bool = attrs.field(default=False, init=False)
    """What was kept is known here."""

    _stale: bool = attrs.field(default=True, init=False)
    """There may be more that was kept: other sources, or other receivers."""

    _unkept: dict[str, tuple[str, Message]] = attrs.field(factory=dict, init=False)
    """Messages that are not written down, with their source."""

    _settled: dict[str, None] = attrs.field(factory=dict, init=False)
    """Ids of messages that are, and that are over."""

    _again_at: float = attrs.field(default=-math.inf, init=False)
    """Not before then is anything asked of a Postgres that did not answer."""

    _refused: bool = attrs.field(default=False, init=False)
    """It refuses, and that was told."""

    def __attrs_post_init__(self) -> None:
        self.heartbeats = Heartbeats(post=self.post, log=self.log, rng=self.rng)

    # --- what is heard: at once, and never raises ---------------------------------------------

    def hear(self, event: events.Event) -> None:
        """Take in one event of the loop."""
        if event.stream not in self._streams:
            return
        self._take(self._rules.hear(event, trio.current_time()))
        if self._rules.good(event):
            self.heartbeats.beat(event.stream)

    def postgres_away(self, reason: str) -> None:
        """It can't be reached at the start."""
        self._take([Begun(alarm=AWAY, reason=reason)])

    def postgres_back(self) -> None:
        """It can, now."""
        self._take(self._rules.postgres_answers())

    def refused(self, faults: str) -> None:
        """A reload was refused."""
        self._take([Begun(alarm=REFUSED_RELOAD, reason=faults)])

    def follow(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._instance = f"{self.host}:{settings.path}"
        streams = {
            StreamId(source=source.name, stream=stream): found.heartbeat
            for source in settings.sources.values()
            for stream, found in source.streams.items()
        }
        self.heartbeats.addresses = {s: beat for s, beat in streams.items() if beat is not None}
        left, self._streams = self._streams - set(streams), set(streams)
        for stream in left:
            last = stream.source not in settings.sources
            several = self._several(stream)
            self._take(self._rules.gone(stream, last=last, standing=several))
        self._follow_receivers({r.key: r for r in settings.notify})
        self._stale = True
        self._take([Ended(alarm=REFUSED_RELOAD)])

    def _follow_receivers(self, wanted: dict[str, NotifySettings]) -> None:
        for key in [key for key in self._receivers if key not in wanted]:
            self._receivers.pop(key).scope.cancel()
        for key, settings in wanted.items():
            there = self._receivers.get(key)
            if there is None:
                self._receivers[key] = self._made(settings)
            elif there.watch.settings != settings:
                there.watch.change(settings)
                there.mailbox.change(settings)

    def _made(self, settings: NotifySettings) -> _Receiver:
        mailbox = Mailbox(
            receiver=settings, post=self.post, log=self.log, settled=self._settle, rng=self.rng
        )
        made = _Receiver(watch=Watch(settings), mailbox=mailbox)
        for begun in self._standing.values():
            made.watch.take(begun, trio.current_time())
        if self._nursery is not None:
            self._nursery.start_soon(made.run)
        return made

    def _take(self, changes: Collection[Change]) -> None:
        now = trio.current_time()
        for change in changes:
            if isinstance(change, Begun):
                self._standing[change.alarm] = change
            elif self._standing.pop(change.alarm, None) is not None and change.alarm == AWAY:
                self._again_at = -math.inf  # others have found it, before we asked again
            for receiver in self._receivers.values():
                receiver.watch.take(change, now)
        if changes:
            self._news.set()

    def _settle(self, message: str) -> None:
        """It is delivered, or given up."""
        if self._unkept.pop(message, None) is None:
            self._settled[message] = None
        self._news.set()

    # --- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.heartbeats.run)
            for receiver in self._receivers.values():
                nursery.start_soon(receiver.run)
            while True:
                self._news = trio.Event()
                await self._step()
                with trio.move_on_at(self._next_at()):
                    await self._news.wait()

    def attach(self, book: Book) -> None:
        """Remember there from now on."""
        self._book, self._stale = book, True
        self._news.set()

    async def goodbye(self) -> None:
        """Give the last messages a moment, and then remember nothing more.

        What is not delivered by then is by the next start, if it was written down.
        """
        for stream in self._rules.well:
            self.heartbeats.beat(stream)
        with trio.move_on_after(GOODBYE):
            await self._step()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.heartbeats.sent)
                for receiver in self._receivers.values():
                    nursery.start_soon(receiver.mailbox.emptied)
        for receiver in self._receivers.values():
            if len(receiver.mailbox):
                self.log.left_untold(receiver.watch.settings.name, len(receiver.mailbox))
        if self._settled or self._unkept:
            async with self._turn:
                await self._keep()
        async with self._turn:
            self._book = None

    async def _step(self) -> None:
        """Tell what is to be told now."""
        async with self._turn:
            if self._stale:
                await self._load()
            for stream in list(self._rules.letters):
                await self._count(stream)
            for stream in list(self._rules.contracts):
                await self._look_at_contract(stream)
            now = trio.current_time()
            self._look_at_ages(now)
            fresh = [
                self._fresh(receiver, told)
                for receiver in self._receivers.values()
                for told in receiver.watch.due(now, self._may_tell)
            ]
            self._unkept |= {f.message.id: (f.source, f.message) for f in fresh}
            if self._to_write:
                await self._keep()
            for each in fresh:
                each.receiver.mailbox.put(each.message)

    def _next_at(self) -> float:
        now = trio.current_time()
        times = [r.watch.next_at(self._may_tell) for r in self._receivers.values()]
        times += [until for *_, until in self._ages()]
        if self._book is not None and (self._stale or self._to_write):
            times.append(max(self._again_at, now))
        return min(times, default=math.inf)

    def _may_tell(self, alarm: Alarm) -> bool:
        # Before what was kept is known, nobody knows whether it was told.
        return self._loaded or alarm == AWAY

    def _look_at_ages(self, now: float) -> None:
        for watch, alarm, since, until in self._ages():
            if now >= until:
                reason = f"no cycle has ended well for {span(now - since)}"
                watch.take(Begun(alarm=alarm, reason=reason), now)

    def _ages(self) -> Iterator[tuple[Watch, Alarm, float, float]]:
        """Of data that may get too old for a receiver: since when it ages, and until it is."""
        for watch in [receiver.watch for receiver in self._receivers.values()]:
            if watch.settings.max_age is None:
                continue
            for stream, since in self._rules.whole.items():
                alarm = Alarm.of(stream, "data-too-old")
                if watch.wants(alarm) and not watch.stands(alarm):
                    yield watch, alarm, since, since + watch.settings.max_age

    def _fresh(self, receiver: _Receiver, told: Told) -> _Fresh:
        message = shapes.message(
            told,
            receiver.watch.settings,
            now=self.wall(),
            host=self.host,
            version=self.version,
            hide=self.hide,
        )
        return _Fresh(receiver, told.alarm.source, message)

    # --- what lasts ---------------------------------------------------------------------------

    @property
    def _to_write(self) -> bool:
        """There is something to write; or that would show that Postgres is back."""
        changed = any(r.watch.is_changed for r in self._receivers.values())
        return bool(changed or self._unkept or self._settled or AWAY in self._standing)

    async def _load(self) -> None:
        book, now = self._book, trio.current_time()
        if book is None or now < self._again_at:
            return
        sources = sorted({stream.source for stream in self._streams})
        try:
            kept = await book.load(self._instance, sources, list(self._receivers))
            ages = await book.ages(sources)
        except (StoreUnavailable, StreamBroken) as error:
            # One that is away is told of; one that refuses would keep us silent for ever.
            self._loaded |= isinstance(error, StreamBroken)
            self._later(error)
            return
        for each in kept:
            if each.receiver in self._receivers:  # else a reload took it away meanwhile
                self._remember(self._receivers[each.receiver], each)
        now = trio.current_time()
        for stream, age in ages.items():
            # Later on this process knows better: a pause that is over counts from its end.
            if stream in self._streams and not (self._loaded and stream in self._rules.whole):
                self._rules.known(stream, now - age)
        self._loaded, self._stale = True, False

    def _remember(self, receiver: _Receiver, kept: Kept) -> None:
        now = trio.current_time()
        for standing in kept.standing:
            receiver.watch.remember(standing, now)
            for over in self._over(standing.alarm):
                receiver.watch.take(over, now)
        for message in kept.messages:
            if message.id not in self._settled:
                receiver.mailbox.put(message)

    def _over(self, alarm: Alarm) -> list[Ended]:
        """What stood when the last syncd left, and can't stand any more."""
        if alarm in (AWAY, REFUSED_RELOAD):
            # It answered just now; and the file that is wrong now would not have started us.
            return [] if alarm in self._standing else [Ended(alarm=alarm)]
        stream = StreamId(source=alarm.source, stream=alarm.stream)
        there = not alarm.stream or stream in self._streams
        return [] if there else [Ended(alarm=alarm, why=GONE)]

    async def _count(self, stream: StreamId) -> None:
        alarm = Alarm.of(stream, "dead-letters")
        stands = any(r.watch.stands(alarm) for r in self._receivers.values())
        dead: int | None = None
        if self._book is not None and (stands or self._rules.aside(stream)):
            try:
                dead = await self._book.dead(stream)
            except (StoreUnavailable, StreamBroken) as error:
                self._later(error)
        self._take(self._rules.counted(stream, dead))

    async def _look_at_contract(self, stream: StreamId) -> None:
        if self._book is None or not any(
            "contract" in r.watch.settings.on for r in self._receivers.values()
        ):
            self._rules.contracts.pop(stream, None)
            return
        try:
            found = await self._book.drifts(stream)
        except (StoreUnavailable, StreamBroken) as error:
            # The next cycle looks again: they are rows, and nothing is lost.
            self._rules.contracts.pop(stream, None)
            self._later(error)
            return
        self._take(self._rules.drifted(stream, found, self._several(stream)))

    def _several(self, stream: StreamId) -> list[Alarm]:
        """The stream's alarms of the kind of which it may have several."""
        told = [a for r in self._receivers.values() for a in r.watch.several(stream, "contract")]
        of = Alarm.of(stream, "contract")
        known = [a for a in self._standing if attrs.evolve(a, about="") == of]
        return list(dict.fromkeys([*told, *known]))

    async def _keep(self) -> None:
        """Write down what changed; if that can't be done, later."""
        book, now = self._book, trio.current_time()
        if book is None or now < self._again_at:
            return
        changed = {key: r.watch.changed(now) for key, r in self._receivers.items()}
        messages, settled = dict(self._unkept), list(self._settled)
        try:
            await book.write(
                self._instance,
                standing=[(key, each) for key, (kept, _) in changed.items() for each in kept],
                forgotten=[(key, each) for key, (_, gone) in changed.items() for each in gone],
                messages=list(messages.values()),
                settled=settled,
            )
        except (StoreUnavailable, StreamBroken) as error:
            self._later(error)
            for key, (kept, gone) in changed.items():
                if key in self._receivers:  # else a reload took it away meanwhile
                    self._receivers[key].watch.again([*(each.alarm for each in kept), *gone])
        else:
            self._is_kept(messages, settled)

    def _later(self, error: StoreUnavailable | StreamBroken) -> None:
        """Ask Postgres again in a while; that it refuses nobody else tells."""
        self._again_at = trio.current_time() + AGAIN
        if isinstance(error, StreamBroken) and not self._refused:
            self._refused = True
            self.log.not_kept(str(error))

    def _is_kept(self, messages: Collection[str], settled: Collection[str]) -> None:
        for number in messages:
            if self._unkept.pop(number, None) is None:
                self._settled[number] = None  # it was over before it was written
        for number in settled:
            self._settled.pop(number, None)
        self._refused = False
        if AWAY in self._standing:
            self._take(self._rules.postgres_answers())
        if AWAY in self._standing:  # it answers, and lacks something still
            self._again_at = trio.current_time() + AGAIN
