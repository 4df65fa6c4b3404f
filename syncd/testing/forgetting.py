"""What is to stay forgotten, in the store in memory."""

import json
from decimal import Decimal

import attrs

from syncd.errors import StoreRefused
from syncd.sync.keepout import KeptOut, Salt, dropped, key_is, keys_of
from syncd.sync.model import Checkpoint, PageCommit, StreamId, Table
from syncd.testing.kept import Kept
from syncd.testing.rows import FakeKeptOut
from syncd.testing.values import value_of

SALT = Salt.of(b"of the tests")


@attrs.define(eq=False)
class Forgetting(Kept):
    """Hashes of keys, and what they hold off."""

    def forget(self, stream: StreamId, table: Table, key: str, *, keep_out: bool = False) -> None:
        """Be an operator who has a record erased, by its canonical key."""
        version = self.kept_out_versions[stream] = self.kept_out_versions.get(stream, 0) + 1
        known = (stream, SALT.hashed(stream, key))
        before = self.forgotten.get(known)
        self.forgotten[known] = FakeKeptOut(
            key_is=key_is(table),
            lasting=keep_out or (before is not None and before.lasting),
            version=version,
        )
        parts = json.loads(key, parse_int=Decimal, parse_float=Decimal)
        values = [value_of(c, table.columns[c], p) for c, p in zip(table.key, parts, strict=True)]
        row = (stream.source, *values)
        self.tables.get((table.schema, table.name), {}).pop(row, None)
        scans = self.scans[stream]
        many = len(scans.seen)
        scans.seen = [k for k in scans.seen if k != row]
        for cycle in self.cycles:
            if cycle.stream == stream and cycle.reconcile and cycle.missing is None:
                cycle.noted -= many - len(scans.seen)
        scans.missing.pop(row, None)
        scans.approved.discard(row)
        self.put_aside = {
            i: f for i, f in self.put_aside.items() if (f.stream, f.letter.key) != (stream, key)
        }
        self._forget_calls_of(stream, {SALT.hashed(stream, key)})
        self.known = {known: found for known, found in self.known.items() if known[0] != stream}

    def let_in(self, stream: StreamId, key: str) -> None:
        """Be an operator who undoes it."""
        self.kept_out_versions[stream] = self.kept_out_versions.get(stream, 0) + 1
        self.forgotten.pop((stream, SALT.hashed(stream, key)), None)

    async def kept_out(self, stream: StreamId, table: Table) -> KeptOut:
        async with self._at("kept_out"):
            ours = {h: f for (of, h), f in self.forgotten.items() if of == stream and f.lasting}
            if any(found.key_is != key_is(table) for found in ours.values()):
                raise StoreRefused(f"{stream}: records are kept out by another key")
            return KeptOut(
                version=self.kept_out_versions.get(stream, 0),
                key_is=key_is(table),
                salt=SALT,
                hashes=frozenset(ours),
            )

    def _without_forgotten(self, stream: StreamId, page: PageCommit) -> PageCommit:
        version = self.kept_out_versions.get(stream, 0)
        if version == page.kept_out_version:
            return page
        out = [k for k in keys_of(page) if self._holds_off(stream, k, page.kept_out_version)]
        self._forget_calls_of(stream, {SALT.hashed(stream, k) for k in out})
        return dropped(page, out, version)

    def _holds_off(self, stream: StreamId, key: str, version: int) -> bool:
        found = self.forgotten.get((stream, SALT.hashed(stream, key)))
        return found is not None and (found.lasting or found.version > version)

    def _tidy_up(self, at: Checkpoint) -> None:
        stream = at.stream
        self._forget_calls_of(stream, {h for of, h in self.forgotten if of == stream})
        self.forgotten = {
            known: found
            for known, found in self.forgotten.items()
            if found.lasting or known[0] != stream
        }

    def _forget_calls_of(self, stream: StreamId, hashes: set[bytes]) -> None:
        if hashes:
            self._forget_spendings(stream, hashes)
            self.calls = {
                key: call
                for key, call in self.calls.items()
                if call.intent.stream != stream
                or SALT.hashed(stream, call.record_key) not in hashes
            }

    def _forget_spendings(self, stream: StreamId, hashes: set[bytes]) -> None:
        for budget in self.budgets.values():
            for token in budget.tokens.values():
                for plain in (f"{stream} call", f"{stream} verify"):
                    key = token.spent_on.removeprefix(f"{plain} ")
                    if key != token.spent_on and SALT.hashed(stream, key) in hashes:
                        token.spent_on = plain
