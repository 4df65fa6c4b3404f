"""What was each campaign's sync asked, and was it carried out?

A key is carried out once and its first answer is repeated.  A request without
a key is carried out each time.  Everything is counted, by id and by key, for
whoever wants to prove that nothing was repeated.
"""

from typing import Any

import attrs

KEYS = 1_000_000  # keys remembered; beyond it the oldest is forgotten


@attrs.define(kw_only=True)
class Tried:
    """How often one campaign's sync was asked for, and carried out."""

    asked: int = 0
    carried_out: int = 0


@attrs.define(kw_only=True, eq=False)
class Keyed:
    """One idempotency key: its first answer, and how often it was asked for."""

    campaign_id: str
    answer: bytes
    ready_at: float
    """When the first answer is given, on the monotonic clock."""
    asked: int = 1


class Calls:
    """The ledger of POST /api/campaigns/{id}/sync."""

    def __init__(self) -> None:
        self.by_id: dict[str, Tried] = {}
        self.by_key: dict[str, Keyed] = {}
        self.asked = 0
        self.carried_out = 0
        self.repeated = 0

    def first(self, campaign_id: str, key: str) -> Keyed | None:
        """Counts the request; the first answer to this key, if it was carried out."""
        self.asked += 1
        self.by_id.setdefault(campaign_id, Tried()).asked += 1
        kept = self.by_key.get(key) if key else None
        if kept is not None:
            kept.asked += 1
            self.repeated += 1
        return kept

    def carry_out(self, campaign_id: str, key: str, answer: bytes, ready_at: float) -> None:
        """The work was done; its answer is ready then."""
        self.carried_out += 1
        self.by_id[campaign_id].carried_out += 1
        if key:
            self.by_key[key] = Keyed(campaign_id=campaign_id, answer=answer, ready_at=ready_at)
            if len(self.by_key) > KEYS:
                del self.by_key[next(iter(self.by_key))]

    def as_json(self) -> dict[str, Any]:
        return {
            "asked": self.asked,
            "carried_out": self.carried_out,
            "repeated": self.repeated,
            "by_id": {name: attrs.asdict(tried) for name, tried in self.by_id.items()},
            "by_key": {
                key: {"campaign_id": kept.campaign_id, "asked": kept.asked}
                for key, kept in self.by_key.items()
            },
        }
