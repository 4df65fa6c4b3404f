"""Which pages are known, in memory: the rules of `store.known_pages`."""

from collections.abc import Callable, Sequence

import attrs

from syncd.errors import PageNotKnown
from syncd.sync.known import WHOLE, KnownPage, prints_of
from syncd.sync.model import Checkpoint, PageCommit, StreamId, Table, keys_of
from syncd.testing.kept import Kept
from syncd.testing.rows import FakeKnownPage
from syncd.testing.values import RefusedError, typed_key


@attrs.define(eq=False)
class Known(Kept):
    """Pages that a 304 can stand for."""

    async def known_page(
        self, stream: StreamId, table: Table, asked: str, judged: str
    ) -> KnownPage | None:
        async with self._at("known_page"):
            found = self.known.get((stream, asked))
            rows = self.tables.get((table.schema, table.name), {})
            if found is None or found.page.validator is None or found.page.judged != judged:
                return None
            same = (
                found.columns == tuple(table.columns)
                and found.kept_out_version == self.kept_out_versions.get(stream, 0)
                and 0 <= self._now() - found.read_at <= WHOLE
                and any(key[0] == stream.source for key in rows)
            )
            return found.page if same else None

    def _knows(self, stream: StreamId) -> bool:
        return any(of == stream for of, _ in self.known)

    def _taken(self, table: Table, at: Checkpoint, page: PageCommit) -> Sequence[str] | None:
        if page.same is not None or not (page.asked and self._knows(at.stream)):
            return ()
        before, keys = self.known.get((at.stream, page.asked)), _keys(page)
        ours = set(before.page.keys) if before else set()
        whole = before is not None and before.page.validator is not None
        there = {key for key in keys if self._is_there(table, at.stream, key)}
        own = {key for key, known in zip(keys, prints_of(keys), strict=True) if known in ours}
        strange = [key for key in keys if key in there and key not in own]
        return None if whole and own - there else strange

    def _is_there(self, table: Table, stream: StreamId, key: str) -> bool:
        try:
            return typed_key(table, stream.source, key) in self.tables[table.schema, table.name]
        except RefusedError:
            return False

    def _must_be_known(self, at: Checkpoint, page: PageCommit) -> None:
        same = page.same
        if same is None:
            return
        found = self.known.get((at.stream, same.asked))
        version = self.kept_out_versions.get(at.stream, 0)
        if (
            found is None
            or (found.page.validator, found.page.judged) != (same.validator, same.judged)
            or found.kept_out_version != version
        ):
            raise PageNotKnown(f"{at.stream}: a page has not changed, but is known no more")

    def _note_known(
        self, table: Table, at: Checkpoint, page: PageCommit, taken: Sequence[str] | None
    ) -> None:
        stream, cycle = at.stream, at.cycle or 0
        knew = self._knows(stream)
        if page.same is not None:
            self.known[stream, page.same.asked].cycle = cycle
        elif page.asked and (page.known is not None or knew):
            few = None if taken is None else set(prints_of(taken))
            self._unknow(
                stream,
                lambda found: (
                    found.page.asked != page.asked
                    and (few is None or bool(few & set(found.page.keys)))
                ),
            )
            plain = KnownPage(
                asked=page.asked, judged="", validator=None, keys=prints_of(_keys(page))
            )
            self.known[stream, page.asked] = FakeKnownPage(
                page=page.known or plain,
                cycle=cycle,
                read_in=cycle,
                read_at=self._now(),
                kept_out_version=self.kept_out_versions.get(stream, 0),
                columns=tuple(table.columns),
            )
        elif page.rows or page.gone or page.dead:
            self._unknow(stream)
        if page.next_cursor is None and not page.aside and knew:
            self._unknow(stream, lambda found: found.cycle != cycle)

    def _were_met(self, stream: StreamId, cycle: int) -> bool:
        return any(
            of == stream and found.cycle == cycle != found.read_in
            for (of, _), found in self.known.items()
        )

    def _unknow(
        self, stream: StreamId, which: Callable[[FakeKnownPage], bool] = lambda _: True
    ) -> None:
        self.known = {
            (of, asked): found
            for (of, asked), found in self.known.items()
            if of != stream or not which(found)
        }


def _keys(page: PageCommit) -> list[str]:
    return [*keys_of(page.rows), *page.gone]
