"""What was each campaign's sync asked, and was it carried out?

A key is carried out once and its first answer is repeated.  A request without
a key is carried out each time.  Everything is counted, by id and by key, for
whoever wants to prove that nothing was repeated.

Each campaign shows its last sync once that is through, and not while it is under way.
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


@attrs.frozen(kw_only=True)
class Sync:
    """One sync that was carried out."""

    key: str
    begun_at: float
    ready_at: float
    """When it is through and shows, on the monotonic clock like `begun_at`."""
    synced_at: str
    """`ready_at` as the platform tells it."""


class Calls:
    """The ledger of POST /api/campaigns/{id}/sync."""

    def __init__(self) -> None:
        self.by_id: dict[str, Tried] = {}
        self.by_key: dict[str, Keyed] = {}
        self._syncs: dict[str, list[Sync]] = {}
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

    def carry_out(self, campaign_id: str, sync: Sync, answer: bytes) -> None:
        """The work is done, and its answer ready, at `sync.ready_at`."""
        self.carried_out += 1
        self.by_id[campaign_id].carried_out += 1
        before = self._syncs.get(campaign_id, [])
        shown = [s for s in before if s.ready_at <= sync.begun_at]
        pending = [s for s in before if s.ready_at > sync.begun_at]
        self._syncs[campaign_id] = [*shown[-1:], *pending, sync]
        if key := sync.key:
            self.by_key[key] = Keyed(campaign_id=campaign_id, answer=answer, ready_at=sync.ready_at)
            if len(self.by_key) > KEYS:
                del self.by_key[next(iter(self.by_key))]

    def last(self, campaign_id: str, now: float) -> Sync | None:
        """The campaign's last sync that is through."""
        through = [s for s in self._syncs.get(campaign_id, []) if s.ready_at <= now]
        return through[-1] if through else None

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
