"""What do operators ask of a running syncd, and how does its answer find its way back?

A request is a row.  A command writes it and reads the answer from it, the syncd that holds
the source's lease takes it; so a command works from any host that reaches the database.
"""

from collections.abc import Collection, Sequence

import attrs

from syncd.store import audit, drifts, letters
from syncd.store.connections import Connection, Connections, transaction
from syncd.store.leases import arrays
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, storable
from syncd.sync.asking import Asker, Deed, Progress
from syncd.sync.model import Lease, StreamId
from syncd.sync.ports import Request, RequestKind


@attrs.frozen
class Asking:
    """The commands' side of it."""

    _connections: Connections

    async def ask(
        self,
        kind: RequestKind,
        source: str,
        stream: str | None,
        *,
        asked_by: Asker,
        subjects: Sequence[str] = (),
    ) -> int:
        """Write a request; its number.  `pause` and `resume` hold from now on, heard or not."""
        values = {
            "kind": kind,
            "source": source,
            "stream": stream,
            "asked_by": clean(asked_by.who),
            "subjects": [storable(s) for s in subjects],
        }
        about = f"{source}.{stream}" if stream else source
        deed = Deed(asker=asked_by, what=kind, subject=" ".join([about, *subjects]))

        def write(connection: Connection) -> int:
            with transaction(connection) as cursor:
                if kind in ("pause", "resume"):
                    cursor.execute(sql(kind), values)
                cursor.execute(sql("ask"), values)
                (number,) = cursor.fetchone() or (0,)
                audit.note(cursor, deed, request=int(number))
                cursor.execute(sql("notify"))
                return int(number)

        return await self._connections.run(write)

    async def hold(self, kind: RequestKind, stream: StreamId, *, asked_by: Asker) -> None:
        """`pause` or `resume` a stream that nobody runs."""
        who = clean(asked_by.who)
        values = {"source": stream.source, "stream": stream.stream, "asked_by": who}

        def write(connection: Connection) -> None:
            with transaction(connection) as cursor:
                cursor.execute(sql(kind), values)
                audit.note(cursor, Deed(asker=asked_by, what=kind, subject=str(stream), ok=True))

        await self._connections.run(write)

    async def discard(self, ids: Collection[int], *, asked_by: Asker) -> list[int]:
        """Forget dead letters; those that there still were."""

        def write(connection: Connection) -> list[int]:
            with transaction(connection) as cursor:
                gone = letters.discard(cursor, list(ids), f"by {asked_by.who}")
                subject = " ".join(map(str, sorted(ids)))
                answer = f"{len(gone)} discarded"
                deed = Deed(asker=asked_by, what="discard", subject=subject, ok=True, answer=answer)
                audit.note(cursor, deed)
                return gone

        return await self._connections.run(write)

    async def accept(self, stream: StreamId, names: Sequence[str], *, asked_by: Asker) -> list[str]:
        """Somebody has seen how a stream's data leaves its contract; the names that were new."""

        def write(connection: Connection) -> list[str]:
            with transaction(connection) as cursor:
                done = drifts.accept(cursor, stream, [storable(name) for name in names])
                subject = " ".join([str(stream), *names])
                answer = f"{len(done)} accepted"
                deed = Deed(asker=asked_by, what="accept", subject=subject, ok=True, answer=answer)
                audit.note(cursor, deed)
                return done

        return await self._connections.run(write)

    async def note(self, deed: Deed) -> None:
        """Write into the audit what was done, or refused, without a request."""

        def write(connection: Connection) -> None:
            with transaction(connection) as cursor:
                audit.note(cursor, deed)

        await self._connections.run(write)

    async def audit(self, limit: int) -> tuple[float, list[tuple[float, Deed]]]:
        """The moment, and the last entries of the audit with theirs, newest first."""

        def read(connection: Connection) -> tuple[float, list[tuple[float, Deed]]]:
            with transaction(connection) as cursor:
                cursor.execute(sql("look_at_clock"))
                (now,) = cursor.fetchone() or (0.0,)
                return float(now), audit.last(cursor, limit)

        return await self._connections.run(read)

    async def progress(self, number: int) -> Progress:
        """How far it has come; one that is gone has ended without success."""

        def read(connection: Connection) -> Progress:
            with transaction(connection) as cursor:
                cursor.execute(sql("look_at_request"), {"id": number})
                row = cursor.fetchone()
            if row is None:
                gone = "the request is gone"
                return Progress(taken=True, ended=True, ok=False, answer=gone, known=False)
            taken, ended, ok, answer = row
            return Progress(taken=taken, ended=ended, ok=bool(ok), answer=answer)

        return await self._connections.run(read)

    async def withdraw(self, number: int) -> bool:
        """Take it back; False if a syncd has taken it already."""

        def write(connection: Connection) -> bool:
            with transaction(connection) as cursor:
                cursor.execute(sql("withdraw_request"), {"id": number})
                return cursor.fetchone() is not None

        return await self._connections.run(write)


def take(connection: Connection, leases: Sequence[Lease]) -> list[Request]:
    with transaction(connection) as cursor:
        cursor.execute(sql("take_requests"), arrays(leases))
        found = [
            Request(id=number, kind=kind, source=source, stream=stream, subjects=tuple(subjects))
            for number, kind, source, stream, subjects in cursor
        ]
    return sorted(found, key=lambda request: request.id)


def answer(connection: Connection, request: Request, ok: bool, text: str) -> None:
    with transaction(connection) as cursor:
        cursor.execute(
            sql("answer_request"), {"id": request.id, "ok": ok, "answer": storable(text)}
        )


def abandon(connection: Connection, leases: Sequence[Lease], text: str) -> None:
    with transaction(connection) as cursor:
        sources = [lease.source for lease in leases]
        cursor.execute(sql("abandon_requests"), {"sources": sources, "answer": text})


def purge(connection: Connection) -> None:
    with transaction(connection) as cursor:
        cursor.execute(sql("purge_requests"))
