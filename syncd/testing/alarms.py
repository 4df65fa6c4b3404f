"""What receivers were told, in memory; it passes the contract tests of the one on Postgres."""

from collections.abc import Collection, Mapping, Sequence

import attrs
import trio

from syncd.sync.alarm import Alarm, Kept, Message, Standing
from syncd.sync.drift import Drift
from syncd.sync.model import StreamId

Key = tuple[str, str, Alarm]
"""Receiver, instance (empty for what is of a source), and alarm."""


@attrs.frozen(kw_only=True)
class _Notice:
    message: Message
    instance: str
    source: str
    made: float


@attrs.define(eq=False)
class FakeBook:
    """Outlives the processes of a test."""

    standing: dict[Key, tuple[float, Standing]] = attrs.field(factory=dict)
    """With the moment in which it was written."""

    messages: dict[str, _Notice] = attrs.field(factory=dict)
    letters: dict[StreamId, int] = attrs.field(factory=dict)
    drifting: dict[StreamId, list[Drift]] = attrs.field(factory=dict)
    """How each stream's data leaves its contract, as far as nobody has seen it."""

    whole: dict[StreamId, float] = attrs.field(factory=dict)
    """When a cycle of each stream ended well."""

    trouble: Exception | None = None
    """What each question comes to."""

    writes: int = attrs.field(default=0, init=False)

    async def _ask(self) -> float:
        await trio.lowlevel.checkpoint()
        if self.trouble is not None:
            raise self.trouble
        return trio.current_time()

    async def load(
        self, instance: str, sources: Collection[str], receivers: Collection[str]
    ) -> Sequence[Kept]:
        now = await self._ask()

        def ours(source: str, of: str) -> bool:
            return source in sources or (not source and of == instance)

        def left(receiver: str, source: str, of: str) -> bool:
            return ours(source, of) and receiver not in receivers

        self.standing = {
            k: s for k, s in self.standing.items() if not left(k[0], k[2].source, k[1])
        }
        self.messages = {
            i: n
            for i, n in self.messages.items()
            if not left(n.message.receiver, n.source, n.instance)
        }
        return [
            Kept(
                receiver=name,
                standing=[
                    _aged(standing, now - at)
                    for (receiver, of, alarm), (at, standing) in self.standing.items()
                    if receiver == name and ours(alarm.source, of)
                ],
                messages=[
                    attrs.evolve(n.message, age=now - n.made)
                    for n in self.messages.values()
                    if n.message.receiver == name and ours(n.source, n.instance)
                ],
            )
            for name in receivers
        ]

    async def write(
        self,
        instance: str,
        *,
        standing: Sequence[tuple[str, Standing]] = (),
        forgotten: Sequence[tuple[str, Alarm]] = (),
        messages: Sequence[tuple[str, Message]] = (),
        settled: Sequence[str] = (),
    ) -> None:
        now = await self._ask()
        self.writes += 1
        for receiver, each in standing:
            self.standing[receiver, _of(each.alarm.source, instance), each.alarm] = now, each
        for receiver, alarm in forgotten:
            self.standing.pop((receiver, _of(alarm.source, instance), alarm), None)
        for source, message in messages:
            made = _Notice(
                message=message,
                instance=_of(source, instance),
                source=source,
                made=now - message.age,
            )
            self.messages.setdefault(message.id, made)
        for number in settled:
            self.messages.pop(number, None)

    async def dead(self, stream: StreamId) -> int:
        await self._ask()
        return self.letters.get(stream, 0)

    async def drifts(self, stream: StreamId) -> Sequence[Drift]:
        await self._ask()
        return self.drifting.get(stream, [])

    async def ages(self, sources: Collection[str]) -> Mapping[StreamId, float]:
        now = await self._ask()
        return {s: now - at for s, at in self.whole.items() if s.source in sources}


def _of(source: str, instance: str) -> str:
    return "" if source else instance


def _aged(standing: Standing, by: float) -> Standing:
    ended = None if standing.ended is None else standing.ended + by
    return attrs.evolve(standing, since=standing.since + by, told=standing.told + by, ended=ended)
