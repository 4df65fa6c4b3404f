"""The dead letters of the store in memory."""

from collections.abc import Mapping, Sequence

import attrs

from syncd.sync.model import LETTER_LATER, LETTER_TRIES, DeadLetter, Lease, StreamId
from syncd.testing.kept import Kept
from syncd.testing.rows import FakeDeadLetter


@attrs.define(eq=False)
class Letters(Kept):
    """What was put aside; one that comes again is the same one."""

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """All that lie there, of every stream, oldest first."""
        return [found.letter for found in self.put_aside.values()]

    async def letters(self, stream: StreamId, ids: Sequence[int]) -> Mapping[int, DeadLetter]:
        async with self._at("letters"):
            return {
                found.id: found.letter
                for found in self.put_aside.values()
                if found.stream == stream and found.id in ids
            }

    async def due_letters(self, stream: StreamId) -> Mapping[int, DeadLetter]:
        async with self._at("due_letters"):
            now = self._now()
            ours = [f for f in self.put_aside.values() if f.stream == stream]
            return {f.id: f.letter for f in ours if f.next_try is not None and f.next_try <= now}

    async def streams_to_purge(self, held: Sequence[Lease]) -> Sequence[StreamId]:
        async with self._at("streams_to_purge"):
            ours = {x.source for x in held if self.leases[x.source].fence == x.fence}
            return [stream for stream in self.checkpoints if stream.source in ours]

    async def purge(self, stream: StreamId, keep: float) -> None:
        async with self._at("purge"):
            before = self._now() - keep
            ours = [f for f in self.put_aside.values() if f.stream == stream]
            old = [f.id for f in ours if f.last_at < before]
            for number in old:
                self._letter_leaves(number)

    def _letter_leaves(self, number: int) -> None:
        self.put_aside = {k: f for k, f in self.put_aside.items() if f.id != number}

    def _resolve_dead(self, stream: StreamId, keys: set[str]) -> None:
        self.put_aside = {
            identity: found
            for identity, found in self.put_aside.items()
            if found.stream != stream or found.letter.key is None or found.letter.key not in keys
        }

    def _put_aside(self, stream: StreamId, letter: DeadLetter, cycle: int) -> None:
        unkeyed = letter.payload if letter.key is None else None
        identity = (stream, letter.kind, letter.key, unkeyed)
        found = self.put_aside.get(identity)
        if found is None:
            self._letters += 1
            self.put_aside[identity] = FakeDeadLetter(
                id=self._letters,
                stream=stream,
                letter=letter,
                cycle=cycle,
                last_at=self._now(),
                next_try=self._now() if letter.again else None,
            )
            return
        later = min(LETTER_LATER * 2.0 ** (found.attempts - 1), 86400.0)
        again = letter.again and found.attempts < LETTER_TRIES
        found.last_at, found.next_try = self._now(), self._now() + later if again else None
        found.attempts, found.cycle = found.attempts + 1, cycle
        found.letter = attrs.evolve(letter, idempotency_key=found.letter.idempotency_key)

    def _drop_keyless(self, stream: StreamId, cycle: int) -> None:
        for identity, found in list(self.put_aside.items()):
            unkeyed = found.letter.key is None and found.stream == stream
            if unkeyed and found.cycle < cycle:
                del self.put_aside[identity]
