"""What do people see of syncd's own tables?  Plain reads, of one moment, for the commands.

Nothing here locks what a running daemon waits for.  Times are seconds since the epoch
on Postgres's clock, `now` among them, so that ages are right on any host.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import attrs
import psycopg

from syncd.errors import SchemaError
from syncd.store import leases, migrate, pages
from syncd.store.connections import Connection, Connections, transaction
from syncd.store.sql import sql
from syncd.sync import ranges
from syncd.sync.model import Counts, StreamId

T = TypeVar("T")
Cursor = psycopg.Cursor[tuple[Any, ...]]


@attrs.frozen(kw_only=True)
class Cycle:
    """One pass over a stream, as its row tells it."""

    id: int
    stream: StreamId
    started: float
    ended: float | None
    outcome: str | None
    """None while it runs."""

    reason: str
    taken_up: int
    pages: int
    aside: bool
    """A few records that were asked for, not a pass over the whole list."""

    follows: int | None
    """Of a pass out of turn: the whole cycle that it came after."""

    reconcile: bool
    """It looked for what is gone."""

    missing: int | None
    """Rows that it did not meet, and that stay for now; None until that is known."""

    deleted: int
    totals: Counts


@attrs.frozen(kw_only=True)
class Seen:
    """Where one stream stands."""

    stream: StreamId
    parked: str | None = None
    paused: float | None = None
    """Since when an operator has it paused."""

    paused_by: str | None = None
    next_start: float | None = None
    pages: int | None = None
    """Committed in the running cycle; None between cycles."""

    running: Cycle | None = None
    """The cycle that was begun and has not ended."""

    last: Cycle | None = None
    """The last one that came to its end."""

    dead: int = 0
    """Dead letters that lie there now."""

    question: str | None = None
    """What has to be approved before rows may go; None if nothing has."""

    reconciled: float | None = None
    """When the last complete scan began."""

    extra: str | None = None
    """Why a pass out of turn begins at once; None if none does."""

    missing: int = 0
    """Rows that the last complete scan did not meet, and that are there still."""

    usual: ranges.Usual = attrs.field(factory=ranges.Usual)


@attrs.frozen(kw_only=True)
class Holder:
    """Who has the right to run a source."""

    source: str
    host: str
    pid: int
    since: float
    heard: float
    """When it renewed its lease the last time."""

    runs: bool
    """False when its lease has run out, or the process is provably gone."""

    failing: "Failing | None" = None
    """Its API fails everybody, so that nobody asks it; only told of one that runs."""


@attrs.frozen(kw_only=True)
class Failing:
    """Why nobody asks an API."""

    since: float
    reason: str
    next_probe: float


@attrs.frozen(kw_only=True)
class Budget:
    """How the tokens of one budget stand."""

    name: str
    per: float
    tokens: int
    free: int
    next_free: float | None
    """When the next of the others is free."""

    held_until: float | None
    from_answers: bool


@attrs.frozen(kw_only=True)
class Picture:
    """Everything that `status` shows, of one moment."""

    now: float
    streams: Sequence[Seen]
    holders: Sequence[Holder]
    budgets: Sequence[Budget]


@attrs.frozen(kw_only=True)
class Letter:
    """A dead letter as it lies there."""

    id: int
    stream: StreamId
    kind: str
    key: str | None
    reason: str
    attempts: int
    first: float
    last: float
    next_try: float | None
    cycle: int | None
    target: str
    schema_version: int
    idempotency_key: str | None
    payload: bytes = b""
    """Only read for one letter at a time."""


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

    async def discard(self, ids: Collection[int]) -> int:
        """Forget dead letters; how many there still were."""

        def write(connection: Connection) -> int:
            with transaction(connection) as cursor:
                cursor.execute(sql("discard_dead"), {"ids": list(ids)})
                return len(cursor.fetchall())

        return await self._connections.run(write)

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
    ids = [number for row in found.values() for number in (row[5], row[6]) if number is not None]
    cycles = {c.id: c for c in _cycles(cursor, "look_at_these_cycles", {"ids": ids})}
    seen = []
    for stream in streams:
        parked, paused, paused_by, next_start, turned, running, last, dead, *scan = found[stream]
        question, reconciled, extra, missing = scan
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
                dead=dead,
                question=question,
                reconciled=reconciled,
                extra=extra,
                missing=missing,
                usual=ranges.learned(pages.past(cursor, stream)) if last else ranges.Usual(),
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
        )
        for name, per, from_answers, held, many, free, next_free in cursor
    ]
    return Picture(now=now, streams=seen, holders=holders, budgets=tokens)


def _cycles(cursor: Cursor, statement: str, values: dict[str, Any]) -> list[Cycle]:
    cursor.execute(sql(statement), values)
    names = [f.name for f in attrs.fields(Cycle) if f.name not in ("stream", "totals")]
    found = []
    for number, source, stream, *rest in cursor:
        counts = rest[-len(pages.COUNTS) :]
        found.append(
            Cycle(
                stream=StreamId(source=source, stream=stream),
                totals=Counts(**dict(zip(pages.COUNTS, counts, strict=True))),
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
