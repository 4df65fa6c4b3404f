"""Which of the last lines a person sees who looks at the daemon now."""

import json

from syncd.logs import kinds
from syncd.logs.kinds import Kind
from syncd.logs.recent import KEPT, LONGEST, Recent
from tests.unit.test_logs_shapes import entry


def hear(recent: Recent, kind: Kind, **fields: object) -> None:
    severity = {"INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}[kind.level]
    recent.hear(entry(kind.sentence, level=kind.level, severity=severity, fields=fields))


def events(recent: Recent) -> list[object]:
    return [line["event"] for line in recent.objects()]


def test_trouble_is_kept_and_that_it_is_over_and_nothing_else() -> None:
    """The newest first."""
    recent = Recent()
    for kind in (kinds.PAGE_COMMITTED, kinds.AWAY, kinds.RESTING, kinds.BACK, kinds.PARKED):
        hear(recent, kind)
    assert events(recent) == ["parked", "postgres-back", "postgres-away"]
    assert (
        recent.objects()[0]["todo"] == "What `hint` says, then `syncd resume STREAM`, or a reload."
    )
    assert recent.objects()[0]["at"] == "2026-03-01T12:30:05.123Z"


def test_no_more_is_kept_than_so_many_and_no_field_is_longer_than_so_much() -> None:
    """However an API talks, memory is bounded; and what goes out is JSON."""
    recent = Recent()
    for n in range(KEPT + 1):
        hear(recent, kinds.PARKED, reason="x" * 10_000, n=n, lasted=float("inf"))
    found = recent.objects()
    assert [line["fields"]["n"] for line in found] == list(range(KEPT, 0, -1))
    assert {len(line["fields"]["reason"]) for line in found} == {LONGEST}
    assert "Infinity" not in json.dumps(found)
