"""The ledger of the store in memory."""

from collections.abc import Mapping, Sequence

import attrs

from syncd.errors import CallDone
from syncd.sync.model import Intent, Lease, LedgerEntry
from syncd.sync.ports import Settlement
from syncd.testing.leases import Leases
from syncd.testing.rows import FakeCall


@attrs.define(eq=False)
class Calls(Leases):
    """One row for each idempotency key."""

    async def store_intent(self, intent: Intent, lease: Lease) -> None:
        async with self._at("store_intent"):
            self._must_hold(lease)
            self._must_not_be_done(intent)
            self.calls.setdefault(intent.idempotency_key, FakeCall(intent=intent))

    async def ledger(self, keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        async with self._at("ledger"):
            return {
                key: LedgerEntry(
                    idempotency_key=key,
                    outcome=call.outcome,  # type: ignore[arg-type]  # only ours are ever set
                    kept=call.kept,
                    reason=call.reason,
                )
                for key in keys
                if (call := self.calls.get(key)) is not None
            }

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None:
        async with self._at("settle_calls"):
            for settlement in settlements:
                key = settlement.intent.idempotency_key
                call = self.calls.setdefault(key, FakeCall(intent=settlement.intent))
                known = settlement.outcome in ("done", "failed")
                if call.outcome == "open" or (call.outcome == "unknown" and known):
                    call.outcome = settlement.outcome
                    call.kept, call.reason = settlement.kept, settlement.reason

    async def forget_calls(self, keys: Sequence[str], *, unknown: bool) -> None:
        async with self._at("forget_calls"):
            for key in keys:
                outcome = self.calls[key].outcome if key in self.calls else "done"
                if outcome == "failed" or (unknown and outcome != "done"):
                    del self.calls[key]

    async def withdraw_intents(self, keys: Sequence[str], lease: Lease) -> None:
        async with self._at("withdraw_intents"):
            ours = self.leases[lease.source].fence == lease.fence
            for key in keys if ours else ():
                if key in self.calls and self.calls[key].outcome == "open":
                    del self.calls[key]

    def _must_not_be_done(self, intent: Intent | None) -> None:
        call = intent and self.calls.get(intent.idempotency_key)
        if intent and call and call.outcome == "done":
            raise CallDone(f"the call for {intent.record_key} is done already")
