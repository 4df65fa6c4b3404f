"""The budgets of the store in memory."""

from collections.abc import Sequence

import attrs

from syncd.errors import StoreRefused
from syncd.sync.model import Intent, Lease
from syncd.sync.ports import (
    BudgetState,
    Granted,
    NotYet,
    Taken,
    TokenState,
    Want,
    until_free,
)
from syncd.testing.calls import Calls
from syncd.testing.rows import FakeBudget, FakeCall


@attrs.define(eq=False)
class Tokens(Calls):
    """Tokens of budgets; a call's intent is stored with the token that it takes."""

    async def open_budget(
        self,
        budget: str,
        *,
        requests: int,
        per: float,
        seed: str | None = None,
        whole: bool = False,
    ) -> BudgetState:
        async with self._at("open_budget"):
            now = self._now()
            new = budget not in self.budgets
            found = self.budgets.setdefault(budget, FakeBudget(per=per))
            if seed is not None and (new or whole):
                kin = (
                    other
                    for name, other in self.budgets.items()
                    if name == seed or (name.startswith(f"{seed} per ") and " of /" not in name)
                )
                for other in kin:
                    found.owe(other, per * 1.001, now)
            longer = (per - found.per) * 1.001
            found.per = per
            for token in found.tokens.values():
                if longer > 0 and token.free_at > now - longer:
                    counted = token.counted_at
                    until = token.free_at + longer if counted is None else counted + per * 1.001
                    token.free_at = max(token.free_at, until)
            found.make(requests, now)
            return BudgetState(
                from_answers=found.from_answers, held_for=max(0.0, found.held_until - now)
            )

    async def take_tokens(
        self,
        wants: Sequence[Want],
        *,
        spent_on: str,
        lease: Lease | None,
        intent: Intent | None,
    ) -> Granted | Sequence[NotYet]:
        async with self._at("take_tokens"):
            self._must_hold(lease)
            self._must_not_be_done(intent)
            now = self._now()
            found = [self.budgets[want.budget] for want in wants]
            picked = [_pick(b, want, now) for b, want in zip(found, wants, strict=True)]
            whole = all(len(p) == want.cost for p, want in zip(picked, wants, strict=True))
            if not whole or any(b.held_until > now for b in found):
                return [_not_yet(b, want, now) for b, want in zip(found, wants, strict=True)]
            if intent is not None:
                self.calls.setdefault(intent.idempotency_key, FakeCall(intent=intent))
            return Granted(
                tokens=[
                    [_taken(b, number, now + want.lifetime, spent_on) for number in numbers]
                    for b, want, numbers in zip(found, wants, picked, strict=True)
                ]
            )

    async def settle_tokens(
        self, budget: str, settlements: Sequence[tuple[Taken, float, float]]
    ) -> None:
        async with self._at("settle_tokens"):
            now = self._now()
            for taken, since, takes in settlements:
                token = self.budgets[budget].tokens.get(taken.number)
                if token is not None and token.version == taken.version:
                    token.counted_at = now - since
                    token.free_at = now - since + takes

    async def give_back(self, budget: str, *tokens: Taken) -> None:
        async with self._at("give_back"):
            for token in tokens:
                found = self.budgets[budget].tokens.get(token.number)
                if found is not None and found.version == token.version:
                    found.version += 1
                    found.free_at = self._now()
                    found.withheld_until = float("-inf")

    async def hold_budget(self, budget: str, seconds: float) -> None:
        async with self._at("hold_budget"):
            found = self.budgets[budget]
            found.held_until = max(found.held_until, self._now() + seconds)

    async def note_quota(
        self, budget: str, token: Taken, *, left: int, seconds: float, since: float
    ) -> None:
        async with self._at("note_quota"):
            found, now = self.budgets[budget], self._now()
            counted = now - since
            if counted < found.quota_as_of <= now + 60:
                return
            later = sum(
                t.free_at > now if t.counted_at is None else t.counted_at > counted
                for n, t in found.tokens.items()
                if (n, t.version) != (token.number, token.version)
            )
            usable = max(0, left - later)
            binds = usable <= len(found.allowed)
            found.quota_left, found.quota_as_of = left, counted
            found.quota_until = now + seconds if binds else float("-inf")
            if left == 0:
                found.held_until = max(found.held_until, now + seconds)
            by_freedom = sorted((t.free_at, n) for n, t in found.allowed.items())
            for place, (_, number) in enumerate(by_freedom):
                until = found.quota_until if place >= usable else float("-inf")
                found.tokens[number].withheld_until = until

    async def count_from_answers(self, budget: str) -> None:
        async with self._at("count_from_answers"):
            self.budgets[budget].from_answers = True


def _pick(budget: FakeBudget, want: Want, now: float) -> list[int]:
    """Those that have been free the longest."""
    free = [
        (token.free_at, number)
        for number, token in budget.allowed.items()
        if token.withheld_until <= now
        and (token.free_at <= now or want.overdue.get(number) == token.version)
    ]
    return [number for _, number in sorted(free)[: want.cost]]


def _taken(budget: FakeBudget, number: int, free_at: float, spent_on: str) -> Taken:
    token = budget.tokens[number]
    token.version += 1
    token.free_at, token.counted_at = free_at, None
    token.spent_on = spent_on
    token.withheld_until = budget.quota_until
    return Taken(number=number, version=token.version, from_answers=budget.from_answers)


def _not_yet(budget: FakeBudget, want: Want, now: float) -> NotYet:
    tokens = tuple(
        TokenState(
            number=number,
            version=token.version,
            free_in=token.free_at - now,
            withheld_for=token.withheld_until - now,
        )
        for number, token in budget.allowed.items()
    )
    held = budget.held_until - now
    if not tokens and held <= 0:
        raise StoreRefused(f"the budget {want.budget!r} has no tokens any more")
    return NotYet(
        seconds=held if held > 0 else until_free(tokens, want.cost),
        held=held > 0,
        tokens=tokens,
        from_answers=budget.from_answers,
    )
