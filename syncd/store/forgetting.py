"""How is a record erased, everywhere that syncd keeps it?

In one transaction, which begins with the checkpoint's lock: a page that is being committed
comes before it, and one that is under way finds in its own transaction who was forgotten
(`store.kept_out`).  What is only looked at is done in the same way, and undone.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import attrs
import psycopg
from psycopg import sql as composed

from syncd.errors import StoreRefused
from syncd.store import audit, kept_out, known_pages, stories, tables
from syncd.store.checkpoints import standing
from syncd.store.connections import Connection, Connections, transaction
from syncd.store.letters import identity_of_key
from syncd.store.proving import Proof, prove
from syncd.store.sql import sql
from syncd.store.sqlstate import is_of_the_record, storable, words
from syncd.store.statements import statements
from syncd.store.struck import STRUCK, Words
from syncd.sync.asking import Asker, Deed
from syncd.sync.keepout import key_is
from syncd.sync.model import StreamId, Table, key_parts, spoken
from syncd.sync.ports import NOT_LISTED

Cursor = psycopg.Cursor[tuple[Any, ...]]
Canonical = Callable[[str], str]
"""A record's key as pages have it, of the JSON array that Postgres makes of it."""

ENDED = "a record that it named was forgotten; ask again for the others"

TEXTS = (
    ("cycle", "reason", "of_stream"),
    ("checkpoint", "parked", "of_stream"),
    ("page", "request", "of_stream"),
    ("event", "reason", "of_stream"),
    ("request", "answer", "of_stream"),
    ("lease", "failing_reason", "of_source"),
    ("alarm", "reason", "of_source"),
    ("notice", "body", "of_source"),
    ("audit", "subject", "synced"),
    ("audit", "subject", "said"),
    ("audit", "answer", "said"),
)
"""Where words of others stand, and how rows are found there that may be of the stream."""

MANY = {"page", "event"}
"""Tables of many rows, in which others' words name records by their keys alone."""

SCOPES = {
    "of_stream": "source = %(source)s AND stream = %(stream)s",
    "of_source": "source = %(source)s",
    "synced": "what = 'sync' AND starts_with(subject, %(name)s || ' ')",
    "said": "(subject = %(name)s OR starts_with(subject, %(name)s || ' '))",
}


class MisfitError(ValueError):
    """A key that no record of the stream can have; `str()` says why."""


class _OnlyLookedError(Exception):
    """Undoes the transaction."""


@attrs.define(eq=False, kw_only=True)
class Forgotten:
    """What was found of the records, and is erased."""

    places: dict[str, int] = attrs.field(factory=dict)
    """Where to how many, in the order in which people are told; none that are empty."""

    unknown: int = 0
    """Calls whose outcome nobody knows: afterwards nobody can find out any more."""

    keyless: int = 0
    """Dead letters of the stream that have no key: they may be of anybody."""

    were_kept_out: int = 0
    """Of the records: those that were to stay forgotten before."""

    elsewhere: list[StreamId] = attrs.field(factory=list)
    """Other streams that know a record by one of these keys."""

    def add(self, where: str, many: int) -> None:
        if many:
            self.places[where] = self.places.get(where, 0) + many

    @property
    def words(self) -> str:
        """In one line, for the audit."""
        return ", ".join(f"{many} {where}" for where, many in self.places.items()) or "nothing"


@attrs.define(eq=False, kw_only=True)
class _Record:
    """One record that is being forgotten."""

    keys: list[str]
    """All forms that its key can have where syncd keeps one."""

    typed: str
    """Its key as Postgres holds it, a JSON array."""

    canonical: str
    said: list[str]
    """As people may have said it."""


@attrs.frozen(kw_only=True)
class Forgetting:
    """Erases records of one stream."""

    connections: Connections
    stream: StreamId
    table: Table
    canonical: Canonical
    paged_by_key: bool
    """The list's cursors may be keys of its records."""

    async def look(self, keys: Sequence[str]) -> Forgotten:
        """What there is of them; nothing is changed.

        Raises MisfitError, StoreRefused, StoreUnavailable.
        """
        return await self.connections.run(lambda c: self._look(c, keys))

    async def forget(self, keys: Sequence[str], *, keep_out: bool, asked_by: Asker) -> Forgotten:
        """Erase them; with `keep_out` for good.  Raises as above; nothing is erased then."""

        def write(connection: Connection) -> Forgotten:
            with _ours(self.table), transaction(connection) as cursor:
                found = self._erase(cursor, keys, keep_out=keep_out)
                many = "1 record" if len(keys) == 1 else f"{len(keys)} records"
                out = ", kept out" if keep_out else ""
                subject = f"{self.stream} ({many}{out})"
                deed = Deed(
                    asker=asked_by, what="forget", subject=subject, ok=True, answer=found.words
                )
                audit.note(cursor, deed)
                return found

        return await self.connections.run(write)

    async def let_in(self, keys: Sequence[str], *, asked_by: Asker) -> int:
        """Undo `keep_out`, for all of the stream if no key is named; for how many."""

        def write(connection: Connection) -> int:
            with transaction(connection) as cursor:
                cursor.execute(sql("ensure_lockable"), self._names)
                standing(cursor, self.stream, lock=True)
                salt = kept_out.salt(cursor)
                records = [self._record(cursor, key) for key in keys]
                hashes = [salt.hashed(self.stream, r.canonical) for r in records] or None
                cursor.execute(sql("let_in"), {**self._names, "hashes": hashes})
                many = cursor.rowcount
                cursor.execute(sql("kept_out_changed"), self._names)
                what = "1 record" if many == 1 else f"{many} records"
                subject = f"{self.stream} (let {what} in)"
                audit.note(cursor, Deed(asker=asked_by, what="forget", subject=subject, ok=True))
                return many

        return await self.connections.run(write)

    async def prove(self, keys: Sequence[str]) -> Proof:
        """Look for them in every table."""

        def read(connection: Connection) -> Proof:
            with transaction(connection) as cursor:
                cursor.execute(sql("look_consistently"))
                records = [self._record(cursor, key) for key in keys]
                known = self._words(records)
                return prove(cursor, self.stream, self.table, [r.typed for r in records], known)

        return await self.connections.run(read)

    # --- in one transaction -------------------------------------------------------------------

    def _look(self, connection: Connection, keys: Sequence[str]) -> Forgotten:
        found = Forgotten()  # replaced before it is given
        try:
            with _ours(self.table), transaction(connection) as cursor:
                found = self._erase(cursor, keys, keep_out=False)
                _undo()
        except _OnlyLookedError:
            return found

    def _erase(self, cursor: Cursor, keys: Sequence[str], *, keep_out: bool) -> Forgotten:
        cursor.execute(sql("ensure_lockable"), self._names)
        standing(cursor, self.stream, lock=True)
        tables.must_be_erasable(cursor, self.table)
        cursor.execute(sql("kept_out_changed"), self._names)
        (version,) = cursor.fetchone() or (0,)
        found, records = Forgotten(), [self._record(cursor, key) for key in keys]
        known = self._words(records)
        all_keys = [key for record in records for key in record.keys]
        self._erase_rows(cursor, records, found, known)
        self._erase_letters_and_calls(cursor, all_keys, found, known)
        self._erase_story(cursor, records, all_keys, found, known)
        self._erase_questions(cursor, records, found, known)
        self._strike_texts(cursor, known, found)
        cursor.execute(sql("forget_marks"), {**self._names, "marks": _alone(records)})
        known_pages.forget(cursor, self.stream)
        self._hold_off(cursor, records, found, version, keep_out=keep_out)
        cursor.execute(sql("count_keyless"), self._names)
        (found.keyless,) = cursor.fetchone() or (0,)
        found.elsewhere = stories.elsewhere(cursor, self.stream, all_keys)
        return found

    def _record(self, cursor: Cursor, asked: str) -> _Record:
        there = stories.find(cursor, self.stream, self.table, asked)
        if there.key is None:
            raise MisfitError(there.misfit)
        canonical = self.canonical(there.key)
        keys = list(dict.fromkeys([*there.keys, canonical]))
        said = dict.fromkeys([spoken(canonical), asked, *map(spoken, keys)])
        return _Record(
            keys=[storable(key) for key in keys],
            typed=there.key,
            canonical=canonical,
            said=[storable(text) for text in said],
        )

    def _words(self, records: Sequence[_Record]) -> Words:
        known = Words(in_addresses=self.paged_by_key)
        for record in records:
            forms = [key for key in record.keys if key.startswith("[")]
            known.add_key(forms, record.said)
        return known

    def _erase_rows(
        self, cursor: Cursor, records: Sequence[_Record], found: Forgotten, known: Words
    ) -> None:
        if not tables.is_there(cursor, self.table):
            return
        for record in records:
            parts = key_parts(record.typed, len(self.table.key))
            values = {"source": self.stream.source, "parts": parts}
            cursor.execute(statements(self.table).erase, values)
            for (row,) in cursor.fetchall():
                found.add(f"in {self.table.schema}.{self.table.name}", 1)
                known.add_values(_read(row))

    def _erase_letters_and_calls(
        self, cursor: Cursor, keys: list[str], found: Forgotten, known: Words
    ) -> None:
        identities = [identity_of_key(key) for key in keys]
        values = {**self._names, "keys": keys, "identities": identities}
        cursor.execute(sql("forget_letters"), values)
        first = []
        for kind, reason, payload, idempotency_key in cursor.fetchall():
            found.add("among the dead letters", 1)
            found.unknown += kind == "outcome-unknown"
            first.append(idempotency_key)
            known.add_values([reason, _read(bytes(payload).decode("utf-8", "replace"))])
        of_letters = [key for key in first if key is not None]
        cursor.execute(sql("forget_ledger"), {**values, "first": of_letters})
        for idempotency_key, outcome, kept, reason in cursor.fetchall():
            found.add("in the ledger of calls", 1)
            found.unknown += outcome in ("open", "unknown") and idempotency_key not in of_letters
            known.add_values([reason, _read(kept or "null")])
        many = kept_out.forget_spendings(cursor, self.stream, keys)
        found.add("beside tokens of the budget", many)

    def _erase_story(
        self,
        cursor: Cursor,
        records: Sequence[_Record],
        keys: list[str],
        found: Forgotten,
        known: Words,
    ) -> None:
        values = {**self._names, "keys": keys, "typed": [record.typed for record in records]}
        cursor.execute(sql("forget_events"), values)
        found.add("in its story", cursor.rowcount)
        for (reason,) in cursor.fetchall():
            known.add_values(reason)
        for statement in ("forget_pages", "forget_in_events"):
            cursor.execute(sql(statement), values)
            found.add("in its story", cursor.rowcount)
        cursor.execute(sql("forget_missing_record"), values)
        found.add("noted by scans", cursor.rowcount)
        cursor.execute(sql("forget_seen_record"), values)
        found.add("noted by scans", cursor.rowcount)
        # The scan that runs is as whole as before.
        cursor.execute(sql("note_less"), {**self._names, "many": cursor.rowcount})

    def _erase_questions(
        self, cursor: Cursor, records: Sequence[_Record], found: Forgotten, known: Words
    ) -> None:
        """What operators asked about it: they may have written its key in any way."""
        cursor.execute(sql("subjects_of_requests"), self._names)
        subjects = [text for (text,) in cursor.fetchall()]
        typed = {record.typed for record in records}
        said = [text for record in records for text in record.said]
        for subject in subjects:
            if subject not in said and self._typed(cursor, subject) in typed:
                said.append(subject)
        known.add_key([], said)
        values = {**self._names, "asked": said, "answer": ENDED, "struck": STRUCK}
        cursor.execute(sql("end_requests"), values)
        cursor.execute(sql("forget_subjects"), values)
        found.add("among the requests", cursor.rowcount)

    def _typed(self, cursor: Cursor, said: str) -> str | None:
        return stories.find(cursor, self.stream, self.table, said).key

    def _strike_texts(self, cursor: Cursor, known: Words, found: Forgotten) -> None:
        name = str(self.stream)
        for table, column, scope in TEXTS:
            marks = known.keys if table in MANY else known.marks
            parts = {
                "table": composed.Identifier("syncd", table),
                "column": composed.Identifier(column),
                "scope": composed.SQL(SCOPES[scope]),
            }
            cursor.execute(
                composed.SQL(
                    "SELECT ctid::text, {column} FROM {table} WHERE {scope} AND EXISTS ("
                    "SELECT FROM unnest(%(marks)s::text[]) AS m (mark) "
                    "WHERE strpos({column}, mark) > 0) FOR UPDATE"
                ).format(**parts),
                {**self._names, "name": name, "marks": marks},
            )
            for at, text in cursor.fetchall():
                # The stream's own name is not struck out, whoever is called like it.
                named = len(name) if column == "subject" and text.startswith(name) else 0
                rest = text[named:]
                if scope == "synced":
                    struck = known.strike(rest, of_keys=True)
                else:
                    before, phrase, after = rest.partition(NOT_LISTED)
                    struck = known.strike(before) + phrase + known.strike(after, of_keys=True)
                struck = text[:named] + struck
                if struck != text:
                    found.add("in reasons, answers and the audit", 1)
                    cursor.execute(
                        composed.SQL(
                            "UPDATE {table} SET {column} = %(text)s WHERE ctid = %(at)s::tid"
                        ).format(**parts),
                        {"text": struck, "at": at},
                    )

    def _hold_off(
        self,
        cursor: Cursor,
        records: Sequence[_Record],
        found: Forgotten,
        version: int,
        *,
        keep_out: bool,
    ) -> None:
        salt = kept_out.salt(cursor)
        for record in records:
            values = {
                **self._names,
                "hash": salt.hashed(self.stream, record.canonical),
                "key_is": key_is(self.table),
                "lasting": keep_out,
                "version": version,
            }
            cursor.execute(sql("was_kept_out"), values)
            found.were_kept_out += cursor.fetchone() is not None
            cursor.execute(sql("keep_out"), values)

    @property
    def _names(self) -> dict[str, object]:
        return {"source": self.stream.source, "stream": self.stream.stream}


def _undo() -> NoReturn:
    raise _OnlyLookedError


@contextmanager
def _ours(table: Table) -> Iterator[None]:
    """What another table of the user's, or a trigger, has against it; nothing was erased."""
    try:
        yield
    except psycopg.Error as error:
        if not is_of_the_record(error):
            raise
        raise StoreRefused(
            f"{table.schema}.{table.name}: a row may not go: {words(error)}",
            hint="another table of yours refers to it, or a trigger of yours refuses: see to that "
            "first; nothing was erased",
        ) from error


def _alone(records: Sequence[_Record]) -> list[str]:
    """What a high-water mark looks like that is a record's key."""
    return [text for record in records for text in record.said]


def _read(text: str) -> Any:
    """A JSON value, its numbers as they are written; a text that is none as it is."""
    try:
        return json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return text
