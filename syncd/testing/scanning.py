"""What the store in memory makes of scans, with the rules of `sync.scans`."""

from collections.abc import Mapping, Sequence

from syncd.sync.model import DeadLetter, PageCommit, Row, Table
from syncd.sync.scans import Absent, Reconciled, Scan, question
from syncd.testing.rows import FakeCycle, FakeScans
from syncd.testing.values import Key, Values, key_of, typed_key

DELETED = "_syncd_deleted_at"


def note(
    scans: FakeScans,
    cycle: FakeCycle,
    table: Table,
    source: str,
    good: Sequence[tuple[Row, Values]],
    page: PageCommit,
    refused: Sequence[DeadLetter],
) -> None:
    """Note a page's keys, if the cycle is a scan."""
    if page.keys is None:
        return
    others = [*page.keys, *(d.key for d in refused if d.key is not None)]
    found: list[Key] = [key_of(table, source, values) for _, values in good]
    found += [typed_key(table, source, text) for text in others]
    scans.seen += found
    cycle.noted += len(found)
    cycle.keyless += page.keyless


def conclude(
    scans: FakeScans,
    cycle: FakeCycle,
    there: Mapping[Key, Values],
    source: str,
    moved: str,
    again: str,
    now: float,
) -> tuple[Reconciled, str]:
    """What came of a scan, and why another one begins at once, if it does."""
    scan = Scan(
        taken_up=cycle.taken_up,
        noted=cycle.noted,
        there=len(scans.seen),
        keyless=cycle.keyless,
        moved=moved,
        suspicious=cycle.reason if cycle.outcome == "suspicious" else "",
    )
    seen = set(scans.seen)
    scans.seen.clear()
    if scan.broken:
        scans.due = True
        found = Reconciled(broken=scan.broken)
        cycle.missing = 0
        cycle.reason = "; ".join(filter(None, [cycle.reason, found.note]))
        return found, again
    live = [k for k, row in there.items() if k[0] == source and row.get(DELETED) is None]
    before = dict(scans.missing)
    scans.missing = {k: before.get(k, cycle.id) for k in live if k not in seen}
    scans.approved &= set(scans.missing)
    twice = [k for k, first in scans.missing.items() if first < cycle.id]
    absent = Absent(
        live=len(live),
        again=sum(k not in scans.approved for k in twice),
    )
    asked = question(absent, scan)
    gone = [k for k in twice if k in scans.approved or not asked]
    for key in gone:
        there[key][DELETED] = now
        del scans.missing[key]
    cycle.missing, cycle.deleted = len(scans.missing), len(gone)
    scans.question, scans.reconciled_at = asked, cycle.started_at
    scans.due = bool(scans.missing) and not asked
    found = Reconciled(deleted=len(gone), missing=len(scans.missing), question=asked)
    cycle.reason = "; ".join(filter(None, [cycle.reason, found.note]))
    at_once = scans.due and cycle.follows is not None and not before
    return found, "to see whether what was missing still is" if at_once else ""
