"""What have receivers been told, and what is still to be delivered?  Fulfils `alarm.Book`."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from syncd.store import drifts, letters
from syncd.store.connections import Connection, Connections, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import storable
from syncd.sync.alarm import Alarm, Kept, Message, Standing
from syncd.sync.drift import Drift
from syncd.sync.model import StreamId


@attrs.frozen
class AlarmBook:
    """Rows of `syncd.alarm` and `syncd.notice`; times go in and come out as seconds ago."""

    _connections: Connections

    async def load(
        self, instance: str, sources: Collection[str], receivers: Collection[str]
    ) -> Sequence[Kept]:
        """What is known of these sources and of this instance; other receivers are forgotten."""
        values = {
            "instance": storable(instance),
            "sources": list(sources),
            "receivers": [storable(receiver) for receiver in receivers],
        }

        def read(connection: Connection) -> Sequence[Kept]:
            with transaction(connection) as cursor:
                cursor.execute(sql("forget_receivers"), values)
                cursor.execute(sql("forget_notices"), values)
                cursor.execute(sql("alarms"), values)
                standing = [_standing(row) for row in cursor]
                cursor.execute(sql("notices"), values)
                messages = [
                    Message(id=number, receiver=receiver, what=what, body=body, age=age)
                    for receiver, number, what, body, age in cursor
                ]
            return [
                Kept(
                    receiver=receiver,
                    standing=[found for key, found in standing if key == storable(receiver)],
                    messages=[m for m in messages if m.receiver == storable(receiver)],
                )
                for receiver in receivers
            ]

        return await self._connections.run(read)

    async def write(
        self,
        instance: str,
        *,
        standing: Sequence[tuple[str, Standing]] = (),
        forgotten: Sequence[tuple[str, Alarm]] = (),
        messages: Sequence[tuple[str, Message]] = (),
        settled: Sequence[str] = (),
    ) -> None:
        """In one transaction; twice is no harm."""
        kept = [{**_named(key, s.alarm), **_told(s)} for key, s in standing]
        gone = [_named(key, alarm) for key, alarm in forgotten]
        notices = [_notice(source, message) for source, message in messages]

        def change(connection: Connection) -> None:
            with transaction(connection) as cursor:
                for statement, name, rows in (
                    ("keep_alarms", "alarms", kept),
                    ("forget_alarms", "alarms", gone),
                    ("keep_notices", "notices", notices),
                ):
                    if rows:
                        values = {"instance": storable(instance), name: json.dumps(rows)}
                        cursor.execute(sql(statement), values)
                if settled:
                    cursor.execute(sql("settle_notices"), {"ids": list(settled)})

        await self._connections.run(change)

    async def dead(self, stream: StreamId) -> int:
        """How many dead letters of a stream lie there."""
        return await self._connections.run(lambda c: letters.count(c, stream))

    async def drifts(self, stream: StreamId) -> Sequence[Drift]:
        """How a stream's data leaves its contract, as far as nobody has seen it."""
        return await self._connections.run(lambda c: drifts.unaccepted(c, stream))

    async def ages(self, sources: Collection[str]) -> Mapping[StreamId, float]:
        """Seconds since a cycle ended well, of each stream that had one and is not paused."""

        def read(connection: Connection) -> Mapping[StreamId, float]:
            with transaction(connection) as cursor:
                cursor.execute(sql("ages"), {"sources": list(sources)})
                return {StreamId(source=s, stream=name): age for s, name, age in cursor}

        return await self._connections.run(read)


def _standing(row: tuple[Any, ...]) -> tuple[str, Standing]:
    receiver, kind, source, stream, about, reason, since, told, ended, times = row
    alarm = Alarm(kind, source, stream, about)
    return receiver, Standing(
        alarm=alarm, reason=reason, since=since, told=told, ended=ended, times=times
    )


def _named(receiver: str, alarm: Alarm) -> dict[str, Any]:
    return {
        "receiver": storable(receiver),
        "kind": alarm.kind,
        "source": alarm.source,
        "stream": alarm.stream,
        "about": alarm.about,
    }


def _told(standing: Standing) -> dict[str, Any]:
    return {
        "reason": storable(standing.reason),
        "since": standing.since,
        "told": standing.told,
        "ended": standing.ended,
        "times": standing.times,
    }


def _notice(source: str, message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "receiver": storable(message.receiver),
        "source": source,
        "age": message.age,
        "what": storable(message.what),
        "body": message.body,
    }
