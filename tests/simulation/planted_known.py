"""Bugs of what a 304 stands for: each lets a page go unread that had to be read."""

from collections.abc import Sequence
from typing import Any

from syncd.sync.known import KnownPage
from syncd.sync.model import Checkpoint, Committed, PageCommit, Table
from syncd.sync.turn import Turn
from syncd.testing import FakeStore
from syncd.testing.known import Known

Patch = tuple[object, str, Any]


def known_before_the_rows() -> list[Patch]:
    whole = FakeStore.commit_pages

    async def commit(
        self: FakeStore, table: Table, checkpoint: Checkpoint, pages: Sequence[PageCommit]
    ) -> Sequence[Committed]:
        for page in pages:
            if page.known is not None:
                self._note_known(table, checkpoint, page, ())
        return await whole(self, table, checkpoint, pages)

    return [(FakeStore, "commit_pages", commit)]


def a_scan_that_does_not_read() -> list[Patch]:
    async def known(self: Turn) -> KnownPage | None:
        stream, source = self.stream, self.stream.source
        if not source.conditional:
            return None
        return await stream.store.known_page(
            stream.id, stream.table, source.asked(self.cursor), source.judged
        )

    return [(Turn, "_known", known)]


def rows_that_another_page_has_written_taken_for_its_own() -> list[Patch]:
    def taken(*_: object) -> Sequence[str]:
        return ()

    return [(Known, "_taken", taken)]


KNOWN = (
    known_before_the_rows,
    a_scan_that_does_not_read,
    rows_that_another_page_has_written_taken_for_its_own,
)
