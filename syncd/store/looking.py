"""What do people see of syncd's own tables?  Plain reads, each of one moment.

Fulfils `sync.picture.Look`: nothing here locks what a running daemon waits for.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import attrs
import psycopg

from syncd.errors import SchemaError
from syncd.store import evolution, leases, migrate, stories
from syncd.store.connections import Connection, Connections, transaction
from syncd.store.cycles import COUNTS, counts_of, past
from syncd.store.sql import sql
from syncd.sync import ranges
from syncd.sync.drift import Drift
from syncd.sync.model import StreamId, Table
from syncd.sync.picture import (
    SHOWN,
    Budget,
    Cycle,
    Failing,
    Holder,
    Letter,
    Noted,
    Picture,
    Seen,
    Story,
    Token,
)

T = TypeVar("T")
Cursor = psycopg.Cursor[tuple[Any, ...]]


@attrs.frozen
class Looking:
    """The reading side of a store."""

    _connections: Connections

    async def picture(
        self, streams: Collection[StreamId], sources: Collection[str], budgets: Collection[str]
    ) -> Picture:
        """How these streams, sources and budgets stand; those never seen included."""
        return await self._look(
            lambda cursor: _picture(cursor, streams, sources, budgets),
            lambda now: Picture(
                now=now, streams=[Seen(stream=s) for s in streams], holders=[], budgets=[]
            ),
        )

    async def cycles(self, stream: StreamId | None, limit: int) -> tuple[float, list[Cycle]]:
        """The moment, and the last cycles, newest first."""
        return await self._look(
            lambda cursor: (
                _now(cursor),
                _cycles(cursor, "look_at_last_cycles", {**_stream(stream), "limit": limit}),
            ),
            lambda now: (now, []),
        )

    async def streams(self) -> list[StreamId]:
        """Every stream that was ever opened."""
        return await self._look(_streams, lambda _: [])

    async def dead(
        self, stream: StreamId | None, kind: str | None, limit: int
    ) -> tuple[float, int, list[Letter]]:
        """The moment, how many there are, and the newest of them without their payloads."""
        values = {**_stream(stream), "kind": kind, "limit": limit}
        return await self._look(
            lambda cursor: (
                _now(cursor),
                int(_one(cursor, "look_how_many_dead", values)),
                _letters(cursor, "look_at_dead", values),
            ),
            lambda now: (now, 0, []),
        )

    async def letters(self, ids: Collection[int]) -> tuple[float, list[Letter]]:
        """The moment, and those of these letters that there are, whole."""
        return await self._look(
            lambda cursor: (
                _now(cursor),
                _letters(cursor, "look_at_dead_letters", {"ids": list(ids)}),
            ),
            lambda now: (now, []),
        )

    async def which_are_dead(self, stream: StreamId) -> list[int]:
        """The ids of a stream's dead letters."""

        def read(cursor: Cursor) -> list[int]:
            cursor.execute(sql("look_which_are_dead"), _stream(stream))
            return [number for (number,) in cursor]

        return await self._look(read, lambda _: [])

    async def drifts(self, streams: Collection[StreamId]) -> tuple[float, list[Noted]]:
        """The moment, and how the streams' data leaves their contracts; the newest first."""
        return await self._look(lambda c: (_now(c), _drifts(c, streams)), lambda now: (now, []))

    async def added(self, table: Table) -> Table:
        """The table with those columns alone that were added to it."""
        return await self._look(
            lambda c: attrs.evolve(table, columns=evolution.added(c, table)),
            lambda _: attrs.evolve(table, columns={}),
        )

    async def story(self, stream: StreamId, table: Table, key: str) -> Story:
        """All that is known of one record; key: as a person says it, or a JSON array."""
        return await self._look(
            lambda cursor: _story(cursor, stream, table, key),
            lambda now: Story(
                asked=key,
                picture=Picture(now=now, streams=[Seen(stream=stream)], holders=[], budgets=[]),
            ),
        )

    async def _look(self, read: Callable[[Cursor], T], nothing: Callable[[float], T]) -> T:
        """Read in one snapshot; `nothing` is the answer where no syncd has ever run."""

        def work(connection: Connection) -> T:
            todo = migrate.pending(connection)
            with transaction(connection) as cursor:
                cursor.execute(sql("look_consistently"))
                if len(todo) == len(migrate.known()):
                    return nothing(_now(cursor))
                if todo:
                    raise SchemaError(
                        "the database's schema is older than this syncd: start the daemon, or "
                        "run `syncd schema --apply`, and look again"
                    )
                return read(cursor)

        return await self._connections.run(work)


def _picture(
    cursor: Cursor,
    streams: Collection[StreamId],
    sources: Collection[str],
    budgets: Collection[str],
) -> Picture:
    now = _now(cursor)
    cursor.execute(
        sql("look_at_streams"),
        {"sources": [s.source for s in streams], "streams": [s.stream for s in streams]},
    )
    found = {StreamId(source=row[0], stream=row[1]): row[2:] for row in cursor}
    ids = [n for row in found.values() for n in row[5:8] if n is not None]
    cycles = {c.id: c for c in _cycles(cursor, "look_at_these_cycles", {"ids": ids})}
    seen = []
    for stream in streams:
        parked, paused, paused_by, next_start, turned, *of_cycles, dead = found[stream][:9]
        running, last, whole = of_cycles
        question, reconciled, extra, missing, drifts, kept_out = found[stream][9:]
        seen.append(
            Seen(
                stream=stream,
                parked=parked,
                paused=paused,
                paused_by=paused_by,
                next_start=next_start,
                pages=turned,
                running=cycles.get(running),
                last=cycles.get(last),
                whole=cycles.get(whole),
                dead=dead,
                question=question,
                reconciled=reconciled,
                extra=extra,
                missing=missing,
                drifts=drifts,
                kept_out=kept_out,
                usual=ranges.learned(past(cursor, stream)) if last else ranges.Usual(),
            )
        )
    cursor.execute(sql("look_at_leases"), {"sources": list(sources)})
    holders = [
        Holder(
            source=source,
            host=str(holder.get("host")),
            pid=int(holder.get("pid", 0)),
            since=taken,
            heard=expires - leases.LASTS,
            runs=(runs := valid and not leases.is_gone(holder)),
            failing=Failing(since=since, reason=reason, next_probe=probe)
            if runs and since is not None
            else None,
        )
        for source, holder, taken, expires, valid, since, reason, probe in cursor
    ]
    cursor.execute(sql("look_at_spent_tokens"), {"budgets": list(budgets), "most": SHOWN})
    spent: dict[str, list[Token]] = {}
    for name, number, counted, free, spent_on in cursor:
        token = Token(number=number, counted=counted, free=free, spent_on=spent_on or "")
        spent.setdefault(name, []).append(token)
    cursor.execute(sql("look_at_budgets"), {"budgets": list(budgets)})
    tokens = [
        Budget(
            name=name,
            per=per,
            tokens=many,
            free=free,
            next_free=next_free,
            held_until=held if held > now else None,
            from_answers=from_answers,
            quota_left=quota_left if quota_until > now else None,
            quota_until=quota_until if quota_until > now else None,
            spent=spent.get(name, ()),
        )
        for name, per, from_answers, held, many, free, next_free, quota_left, quota_until in cursor
    ]
    return Picture(now=now, streams=seen, holders=holders, budgets=tokens)


def _story(cursor: Cursor, stream: StreamId, table: Table, key: str) -> Story:
    of = {"source": stream.source, "stream": stream.stream}
    found = stories.find(cursor, stream, table, key)
    many = {**of, "keys": found.keys, "limit": stories.TOLD}
    pages_of = stories.pages(cursor, "look_at_pages_of", many)
    events = stories.events(cursor, many)
    calls = stories.calls(cursor, many)
    at = {} if found.row is None else {**of, "at": found.row.changed}
    last = stories.pages(cursor, "look_at_page_at", at) if at else []
    beside = stories.pages_beside(cursor, of, events)
    spoken_of = {x.cycle for x in [*pages_of, *last]} | {x.cycle for x in calls} | found.cycles
    ids = sorted(spoken_of | {e.cycle for e in events if e.cycle is not None})
    cursor.execute(sql("look_at_first_page"), of)
    known_since, from_the_first = cursor.fetchone() or (None, False)
    story = Story(
        asked=key,
        key=found.key,
        misfit=found.misfit,
        unread=found.unread,
        picture=_picture(cursor, [stream], [stream.source], []),
        row=found.row,
        pages=pages_of,
        last=last[0] if last else None,
        beside=beside,
        known_since=known_since,
        from_the_first=from_the_first,
        events=events,
        calls=calls,
        letters=_letters(cursor, "look_at_letters_of", many),
        missing=found.missing,
        approved=found.approved,
        cycles={c.id: c for c in _cycles(cursor, "look_at_these_cycles", {"ids": ids})},
    )
    if story.known:
        return story
    return attrs.evolve(
        story,
        elsewhere=stories.elsewhere(cursor, stream, found.keys),
        kept_out=stories.is_kept_out(cursor, stream, found.keys),
    )


def _cycles(cursor: Cursor, statement: str, values: dict[str, Any]) -> list[Cycle]:
    cursor.execute(sql(statement), values)
    names = [f.name for f in attrs.fields(Cycle) if f.name not in ("stream", "totals")]
    found = []
    for number, source, stream, *rest in cursor:
        counts = rest[-len(COUNTS) :]
        found.append(
            Cycle(
                stream=StreamId(source=source, stream=stream),
                totals=counts_of(counts),
                **dict(zip(names, [number, *rest], strict=False)),
            )
        )
    return found


def _letters(cursor: Cursor, statement: str, values: dict[str, Any]) -> list[Letter]:
    cursor.execute(sql(statement), values)
    names = [f.name for f in attrs.fields(Letter) if f.name != "stream"]
    return [
        Letter(
            stream=StreamId(source=source, stream=stream),
            **dict(zip(names, [number, *rest], strict=False)),
        )
        for number, source, stream, *rest in cursor
    ]


def _drifts(cursor: Cursor, streams: Collection[StreamId]) -> list[Noted]:
    values = {"sources": [s.source for s in streams], "streams": [s.stream for s in streams]}
    cursor.execute(sql("look_at_drifts"), values)
    return [
        Noted(
            stream=StreamId(source=source, stream=stream),
            drift=Drift(what=what, name=name, found=found, rule=rule, records=records),
            first=first,
            last=last,
            accepted=accepted,
        )
        for source, stream, what, name, found, rule, records, first, last, accepted in cursor
    ]


def _streams(cursor: Cursor) -> list[StreamId]:
    cursor.execute(sql("look_for_streams"))
    return [StreamId(source=source, stream=stream) for source, stream in cursor]


def _stream(stream: StreamId | None) -> dict[str, str | None]:
    if stream is None:
        return {"source": None, "stream": None}
    return {"source": stream.source, "stream": stream.stream}


def _now(cursor: Cursor) -> float:
    return float(_one(cursor, "look_at_clock", {}))


def _one(cursor: Cursor, statement: str, values: dict[str, Any]) -> Any:
    cursor.execute(sql(statement), values)
    (value,) = cursor.fetchone() or (None,)
    return value
