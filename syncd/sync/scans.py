"""May what a scan did not see be taken for gone?

Pure: the facts of one scan, and what follows from them.  A row leaves only after two
complete scans that did not meet it, each unbroken and unresumed, and not under a guard.
"""

import attrs

BROKEN = "nothing can be told of what is gone"
GUARD = 10  # rows; so many may go without asking …
GUARD_SHARE = 0.05  # … or this part of the stream's


@attrs.frozen(kw_only=True)
class Scan:
    """A whole cycle that noted what it saw, as its rows tell it."""

    taken_up: int
    """How often it was gone on with after a stop or a trouble."""

    noted: int
    """Keys that its pages noted."""

    there: int
    """Keys that are noted now: fewer if Postgres crashed, which empties their table."""

    keyless: int
    """Rejects whose key could not be told: they may be any row."""

    moved: str = ""
    """How rows moved while it paged, if that was noticed."""

    suspicious: str = ""
    """Why it is, if it is."""

    @property
    def broken(self) -> str:
        """Why nothing can be told from it; empty if it is complete."""
        if self.taken_up:
            return "it was interrupted"
        if self.keyless:
            records = "1 record" if self.keyless == 1 else f"{self.keyless} records"
            return f"{records} had no key that could be told"
        if self.there != self.noted:
            return "Postgres lost what was noted of it"
        return self.moved


@attrs.frozen(kw_only=True)
class Absent:
    """What a complete scan did not meet."""

    live: int
    """Rows of the source in the table that are not deleted."""

    again: int
    """Missing for the second time or more, and not approved by an operator."""


def question(absent: Absent, scan: Scan) -> str:
    """What a guard asks before so many rows may go; empty if they may."""
    if not absent.again:
        return ""
    rows = f"{absent.again} of {absent.live} rows are gone at the API"
    if scan.suspicious:
        return f"{rows}, and the scan was suspicious: {scan.suspicious}"
    if absent.again > GUARD and absent.again > GUARD_SHARE * absent.live:
        return f"{rows}, more than go without asking"
    return ""


def broken_in(reason: str) -> str:
    """Why a scan was broken, from the words on its cycle's row; empty if it was not."""
    return reason.partition(f"{BROKEN}: ")[2]


def rows_in_words(many: int) -> str:
    """Such as `1 row`."""
    return "1 row" if many == 1 else f"{many} rows"


@attrs.frozen(kw_only=True)
class Reconciled:
    """What came of a scan."""

    deleted: int = 0
    missing: int = 0
    """Rows that it did not meet and that stay for now."""

    broken: str = ""
    question: str = ""

    @property
    def words(self) -> str:
        """What came of it, for people."""
        if self.note:
            return self.note
        found = [(self.deleted, "marked as deleted"), (self.missing, "missing for the first time")]
        said = [f"{rows_in_words(many)} {what}" for many, what in found if many]
        return ", ".join(said) or "nothing is gone"

    @property
    def note(self) -> str:
        """For the cycle's row, in words."""
        if self.broken:
            return f"{BROKEN}: {self.broken}"
        return self.question
