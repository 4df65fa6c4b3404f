"""Bugs of what tells that a record is gone: each breaks one rule of promise 6."""

from typing import Any

from syncd.sync import reconcile
from syncd.sync.context import StreamContext
from syncd.sync.model import Checkpoint, Row, Table
from syncd.sync.moves import Movement
from syncd.sync.scans import Reconciled, Scan
from syncd.testing import FakeStore, scanning
from syncd.testing.scanning import DELETED
from syncd.testing.values import Values, key_of

Patch = tuple[object, str, Any]


def delete_after_a_resumed_scan() -> list[Patch]:
    def broken(self: Scan) -> str:
        return "lost" if self.there != self.noted else self.moved

    return [(Scan, "broken", property(broken))]


def delete_after_what_was_noted_is_lost() -> list[Patch]:
    def broken(self: Scan) -> str:
        return "interrupted" if self.taken_up else self.moved

    return [(Scan, "broken", property(broken))]


def delete_on_the_first_absence() -> list[Patch]:
    whole = FakeStore.reconcile

    async def at_once(
        self: FakeStore, table: Table, checkpoint: Checkpoint, cycle: int, **why: str
    ) -> Reconciled:
        scans = self.scans[checkpoint.stream]
        for key in self.tables[(table.schema, table.name)]:
            if key not in scans.seen:
                scans.missing.setdefault(key, 0)
        return await whole(self, table, checkpoint, cycle, **why)

    return [(FakeStore, "reconcile", at_once)]


def delete_without_asking() -> list[Patch]:
    return [(scanning, "question", lambda *_: "")]


def rows_that_moved_taken_for_gone() -> list[Patch]:
    async def still(_: StreamContext) -> tuple[str, str]:
        return "", ""

    return [(Movement, "words", property(lambda _: "")), (reconcile, "changed_since", still)]


def deleted_for_good() -> list[Patch]:
    whole = FakeStore._write

    def write(self: FakeStore, table: Table, source: str, row: Row, values: Values) -> bool:
        there = self.tables[(table.schema, table.name)]
        key = key_of(table, source, values)
        mark = there.get(key, {}).get(DELETED)
        written = whole(self, table, source, row, values)
        if mark is not None:
            there[key][DELETED] = mark
        return written

    return [(FakeStore, "_write", write)]


DELETES = (
    delete_after_a_resumed_scan,
    delete_after_what_was_noted_is_lost,
    delete_on_the_first_absence,
    delete_without_asking,
    rows_that_moved_taken_for_gone,
    deleted_for_good,
)
