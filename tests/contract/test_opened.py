"""What a start with very many sources keeps while it goes on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.benchmarks import fleet
from syncd.app import opened
from syncd.config.load import load
from syncd.store.postgres import PostgresStore
from syncd.sync import events
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
