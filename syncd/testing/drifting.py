"""The columns that were added, and the drifts that were noted, in memory."""

from collections.abc import Sequence

import attrs

from syncd.errors import StoreRefused
from syncd.sync.displaced import lost
from syncd.sync.drift import MOST, Added, Drift, Evolution, bounded, free_name
from syncd.sync.model import Lease, StreamId, Table
from syncd.testing.kept import Kept
from syncd.testing.rows import FakeDrift


@attrs.define(eq=False)
class Drifting(Kept):
    """What a contract leaves behind."""

    async def evolution(self, table: Table) -> Evolution:
        async with self._at("evolution"):
            return self._evolution(table)

    def _evolution(self, table: Table) -> Evolution:
        found = self.evolved[table.schema, table.name]
        there = [(added, added.column not in self.dropped) for added in found]
        return Evolution(columns=table.filled(there), full=len(found) >= MOST)

    async def evolve(
        self, stream: StreamId, table: Table, lease: Lease, wanted: Sequence[Added]
    ) -> Evolution:
        async with self._at("evolve"):
            if self.leases[lease.source].fence != lease.fence:
                raise lost(lease, self.leases[lease.source].fence)
            found = self.evolved[table.schema, table.name]
            fresh: list[Added] = []
            for added in wanted:
                if added.identity in {a.identity for a in found} or len(found) >= MOST:
                    continue
                taken = {name.casefold() for name in (*table.columns, *(a.column for a in found))}
                named = attrs.evolve(added, column=free_name(added.column, taken))
                found.append(named)
                fresh.append(named)
            new = [Drift(what="new-field", name=a.field, rule="evolve") for a in fresh if a.field]
            self._note_drifts(stream, new, self.checkpoints[stream].cycle or 0)
            self.dropped |= {added.column for added in fresh}
            if not self.may_alter:
                raise StoreRefused("this role may not add columns", hint="syncd schema --apply")
            evolution = self._evolution(table)
            lacking = tuple(a for a in evolution.columns if a.column in self.dropped)
            self.dropped -= {added.column for added in lacking}
            for row in self.tables[table.schema, table.name].values():
                row.update({a.column: None for a in evolution.columns if a.column not in row})
            return attrs.evolve(evolution, fresh=lacking)

    def _note_drifts(
        self, stream: StreamId, drifts: Sequence[Drift], cycle: int
    ) -> tuple[Drift, ...]:
        there, news = self.drifts[stream], []
        for drift in bounded(drifts, set(there)):
            before = there.get(drift.identity)
            if before is not None:
                records = before.drift.records + drift.records
                harsher = drift.rule == "dead-letter" != before.drift.rule
                before.accepted = before.accepted and not harsher
                before.drift = attrs.evolve(drift, records=records)
                before.cycle = cycle
                continue
            usual = drift.what == "new-field" and drift.rule in ("discard", "evolve")
            expected = usual and stream not in self.fields_known
            there[drift.identity] = FakeDrift(drift=drift, cycle=cycle, accepted=expected)
            news.append(attrs.evolve(drift, expected=expected))
        return tuple(news)

    def _settle_drifts(self, stream: StreamId, cycle: int) -> None:
        self.fields_known.add(stream)
        there = self.drifts[stream]
        for identity in [i for i, noted in there.items() if noted.cycle < cycle]:
            del there[identity]
