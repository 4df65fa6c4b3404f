"""What a start with very many sources keeps while it goes on."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from scripts.benchmarks import fleet
from syncd.app import opened
from syncd.config.load import load
from syncd.config.settings import BudgetSettings
from syncd.store.postgres import PostgresStore
from syncd.sync import events
from syncd.sync.bucket import TokenBucket
from syncd.sync.model import Lease


async def test_leases_are_renewed_while_further_sources_are_opened(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a thousand sources take longer than a lease lasts gives none of them away."""
    renewed: list[list[str]] = []
    renew = PostgresStore.renew_leases

    async def counted(store: PostgresStore, held: Sequence[Lease]) -> Sequence[Lease]:
        renewed.append([lease.source for lease in held])
        return await renew(store, held)

    monkeypatch.setattr(PostgresStore, "renew_leases", counted)
    monkeypatch.setattr(opened, "RENEW", 0.0)
    path = fleet.config(tmp_path, "http://127.0.0.1:1", postgres, sources=3, every=60.0)
    async with opened.opened(load(path), report=events.nobody):
        assert renewed == [["s0"], ["s0", "s1"], ["s0", "s1", "s2"]]


async def test_a_budget_that_was_out_of_use_looks_what_was_spent_meanwhile(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """budget: its source left the config and came back, and another syncd ran it meanwhile."""
    anew: list[str] = []
    change = TokenBucket.change

    async def noted(bucket: TokenBucket, settings: BudgetSettings, longest: float) -> None:
        anew.append(settings.name)
        await change(bucket, settings, longest)

    monkeypatch.setattr(TokenBucket, "change", noted)
    path = fleet.config(tmp_path, "http://127.0.0.1:1", postgres, sources=2, every=60.0)
    budgets = [f"sources.s{n}.budget={{ requests = 5, per = '60s' }}" for n in range(2)]
    both = load(path, overrides=budgets)
    one = attrs.evolve(both, sources={"s0": both.sources["s0"]})
    async with opened.opened(both, report=events.nobody) as app:
        for settings in (both, one, both):
            await app.reload(settings)
        assert anew == ["source s1"]
