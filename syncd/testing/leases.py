"""Who runs a source, in the store in memory?"""

from collections.abc import Sequence

import attrs

from syncd.errors import LeaseHeld
from syncd.sync.displaced import lost
from syncd.sync.model import Lease
from syncd.sync.ports import ApiFailing
from syncd.testing.kept import Kept
from syncd.testing.rows import FakeLease

LASTS = 30.0  # seconds; as long as a lease of the real store


@attrs.define(eq=False)
class Leases(Kept):
    """One row for each source; its fence is on each checkpoint of it."""

    def steal_lease(self, source: str) -> None:
        """Be another syncd that takes the source over."""
        lease = self.leases[source]
        lease.fence += 1
        lease.holder = "somebody else"
        self._raise_fences(source, lease.fence)

    async def acquire_lease(self, source: str) -> Lease:
        async with self._at("acquire_lease"):
            lease = self.leases.setdefault(source, FakeLease())
            now = self._now()
            if lease.holder not in (None, self.who()) and lease.expires_at > now:
                # Later than any that was just renewed: the clock was stepped back since.
                lease.expires_at = min(lease.expires_at, now + LASTS)
                raise LeaseHeld(f"source {source!r} is run by another syncd: {lease.holder}")
            # Grows with time as well: none is given twice when an older state comes back.
            lease.fence = max(lease.fence + 1, int(now * 1_000_000))
            lease.holder, lease.expires_at = self.who(), now + LASTS
            lease.failing = None
            self._raise_fences(source, lease.fence)
            return Lease(source=source, fence=lease.fence)

    def who(self) -> object:
        """The process that asks."""
        return self.holder

    async def renew_leases(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        async with self._at("renew_leases"):
            ours = [x for x in leases if self.leases[x.source].fence == x.fence]
            for lease in ours:
                self.leases[lease.source].expires_at = self._now() + LASTS
            return ours

    async def release_leases(self, leases: Sequence[Lease]) -> None:
        async with self._at("release_leases"):
            for lease in leases:
                found = self.leases[lease.source]
                if found.fence == lease.fence:
                    found.holder, found.expires_at, found.failing = None, float("-inf"), None

    async def post_failing(self, lease: Lease, failing: ApiFailing | None) -> None:
        async with self._at("post_failing"):
            found = self.leases[lease.source]
            if found.fence == lease.fence:
                found.failing = failing

    def _must_hold(self, lease: Lease | None) -> None:
        if lease is not None and self.leases[lease.source].fence != lease.fence:
            raise lost(lease, self.leases[lease.source].fence)

    def _raise_fences(self, source: str, fence: int) -> None:
        for stream, checkpoint in self.checkpoints.items():
            if stream.source == source:
                self.checkpoints[stream] = attrs.evolve(checkpoint, fence=fence)
