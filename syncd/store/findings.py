"""What has a diff found so far?  On disk, so that memory holds one page whatever the list.

In a file of SQLite's own that has no name and goes with its connection.  Of a record that
comes again the last one wins, as in a cycle.
"""

import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Self, get_args

import attrs

from syncd.errors import SyncdError
from syncd.sync.diff import WRITES, Change, Difference

Missing = Literal["first", "again", "approved"]

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE met (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE line (
    n INTEGER PRIMARY KEY, of TEXT NOT NULL UNIQUE, change TEXT NOT NULL, key TEXT,
    columns TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, again INTEGER NOT NULL,
    called INTEGER NOT NULL, missing TEXT NOT NULL);
"""
AT_ONCE = 500  # lines that are read at once


@attrs.frozen(kw_only=True)
class Counted:
    """How many differences there are of each kind; letters that lie aside already apart."""

    of: Mapping[Change, int]
    aside_again: int

    @property
    def differences(self) -> int:
        """That a cycle would make: rows written, and records newly put aside."""
        return sum(self.of[change] for change in (*WRITES, "put-aside"))


@attrs.define(eq=False)
class Findings:
    """The differences of one diff, in the order of the list."""

    _db: sqlite3.Connection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        with _told():
            # Several threads use it, one after the other.
            self._db = sqlite3.connect("", check_same_thread=False)
            self._db.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # --- writing --------------------------------------------------------------------------

    def meet(self, keys: Collection[str]) -> None:
        """These rows are in the list."""
        with _told():
            self._db.executemany("INSERT OR IGNORE INTO met VALUES (?)", [(k,) for k in keys])

    def row(self, key: str, found: Difference | None) -> bool:
        """What would become of a row, None: nothing; whether a cycle would write it.

        A cycle compares a record that comes again with what it has written itself.
        """
        of = f"row {key}"
        with _told():
            before = self._db.execute(
                "SELECT change, columns FROM line WHERE of = ?", (of,)
            ).fetchone()
            if found is None:
                self._db.execute("DELETE FROM line WHERE of = ?", (of,))
                return before is not None
            if before == (found.change, found.columns):
                return False
            self._put(of, found)
            return True

    def letter(self, identity: str, found: Difference) -> None:
        """A record would be put aside."""
        with _told():
            self._put(f"letter {found.kind} {identity}", found)

    def well(self, identity: str) -> None:
        """A record is well: whatever was put aside of it leaves."""
        with _told():
            kinds = ("contract", "refused")
            self._db.executemany(
                "DELETE FROM line WHERE of = ?", [(f"letter {k} {identity}",) for k in kinds]
            )

    def absent(self, keys: Mapping[str, Missing], reason: str) -> dict[Missing, int]:
        """Of these rows, those that no page held stay for now; how many they are."""
        many: dict[Missing, int] = dict.fromkeys(get_args(Missing), 0)
        with _told():
            for key, missing in keys.items():
                met = self._db.execute("SELECT 1 FROM met WHERE key = ?", (key,)).fetchone()
                if met is None:
                    found = Difference(change="missing", key=key, reason=reason)
                    self._put(f"absent {key}", found, missing)
                    many[missing] += 1
        return many

    def forget_absent(self) -> None:
        """They are to be looked for anew."""
        with _told():
            self._db.execute("DELETE FROM line WHERE missing <> ''")

    def judge(self, missing: Missing, change: Change, reason: str) -> None:
        """Say what becomes of those that are missing so."""
        with _told():
            self._db.execute(
                "UPDATE line SET change = ?, reason = ? WHERE missing = ?",
                (change, reason, missing),
            )

    def _put(self, of: str, found: Difference, missing: str = "") -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO line "
            "(of, change, key, columns, reason, kind, again, called, missing) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (of, *attrs.astuple(found), missing),
        )

    # --- reading --------------------------------------------------------------------------

    def counted(self) -> Counted:
        """How many there are."""
        with _told():
            rows = self._db.execute(
                "SELECT change, again, count(*) FROM line GROUP BY change, again"
            ).fetchall()
        of: dict[Change, int] = dict.fromkeys(get_args(Change), 0)
        aside_again = 0
        for change, again, many in rows:
            if again:
                aside_again += many
            else:
                of[change] += many
        return Counted(of=of, aside_again=aside_again)

    def __iter__(self) -> Iterator[Difference]:
        last = -1
        while True:
            with _told():
                rows = self._db.execute(
                    "SELECT n, change, key, columns, reason, kind, again, called FROM line "
                    "WHERE n > ? ORDER BY n LIMIT ?",
                    (last, AT_ONCE),
                ).fetchall()
            if not rows:
                return
            for last, change, key, columns, reason, kind, again, called in rows:  # noqa: B007 - the last one's is where the next begin
                yield Difference(
                    change=change,
                    key=key,
                    columns=columns,
                    reason=reason,
                    kind=kind,
                    again=bool(again),
                    called=bool(called),
                )


@contextmanager
def _told() -> Iterator[None]:
    """A disk that is full is nobody's bug."""
    try:
        yield
    except sqlite3.Error as error:
        raise SyncdError(
            f"what the diff finds can't be kept on disk: {error}; is {tempfile.gettempdir()} "
            "full? TMPDIR names another place"
        ) from error
