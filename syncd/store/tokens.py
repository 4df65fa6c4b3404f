"""Which rows stand behind the token bucket and the ledger of calls?"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from syncd.errors import CallDone, CheckpointMoved, StoreRefused
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.store.sqlstate import clean, storable
from syncd.sync.displaced import lost
from syncd.sync.model import DRIFT, Intent, Lease, LedgerEntry, StreamId
from syncd.sync.ports import (
    BudgetState,
    Granted,
    NotYet,
    Settlement,
    Taken,
    TokenState,
    Want,
    until_free,
)

PURGE = 5000  # ledger rows that leave in one transaction

Cursor = psycopg.Cursor[tuple[Any, ...]]


def open_budget(
    connection: Connection,
    budget: str,
    requests: int,
    per: float,
    *,
    seed: str | None,
    whole: bool,
) -> BudgetState:
    with transaction(connection) as cursor:
        found = {"budget": budget, "requests": requests, "per": per, "takes": per * DRIFT}
        cursor.execute(sql("ensure_budget"), found)
        new = cursor.rowcount > 0
        cursor.execute(sql("lock_budget"), found)
        per_before, from_answers, held_for = _one(cursor.fetchone())
        if seed is not None and (new or whole):
            cursor.execute(sql("seed_budget"), {**found, "seed": seed})
        if per > per_before:
            longer = (per - per_before) * DRIFT
            cursor.execute(sql("stretch_debts"), {**found, "longer": longer})
        if per != per_before:
            cursor.execute(sql("set_per"), found)
        for step in ("forget_debts", "add_tokens", "retire_tokens"):
            cursor.execute(sql(step), found)
    return BudgetState(from_answers=from_answers, held_for=held_for)


def take_tokens(
    connection: Connection,
    wants: Sequence[Want],
    spent_on: str,
    lease: Lease | None,
    intent: Intent | None,
) -> Granted | Sequence[NotYet]:
    names = [want.budget for want in wants]
    overdue = [(w.budget, n, version) for w in wants for n, version in w.overdue.items()]
    with transaction(connection) as cursor:
        cursor.execute(
            sql("take_tokens"),
            {
                "budgets": names,
                "costs": [want.cost for want in wants],
                "lifetimes": [want.lifetime for want in wants],
                "spent_on": clean(spent_on),
                "source": lease.source if lease else None,
                "fence": lease.fence if lease else None,
                "watched": [name for name, _, _ in overdue],
                "numbers": [number for _, number, _ in overdue],
                "versions": [version for _, _, version in overdue],
                **_intent(intent),
            },
        )
        rows = cursor.fetchall()
        ours, done = rows[0][:2]
        _must_be_made(cursor, lease, intent, ours=ours, done=done)
        stand = {name: (held, from_answers) for _, _, name, held, from_answers, _, _ in rows}
        if rows[0][5] is not None:
            return Granted(tokens=[_taken(want.budget, rows) for want in wants])
        cursor.execute(sql("tokens_in_use"), {"budgets": names})
        tokens: dict[str, list[TokenState]] = {}
        for name, number, version, free_in, withheld_for in cursor:
            state = TokenState(
                number=number, version=version, free_in=free_in, withheld_for=withheld_for
            )
            tokens.setdefault(name, []).append(state)
    return [_not_yet(want, tokens.get(want.budget, []), *stand[want.budget]) for want in wants]


def _taken(budget: str, rows: Sequence[tuple[Any, ...]]) -> list[Taken]:
    return [
        Taken(number=number, version=version, from_answers=from_answers)
        for _, _, name, _, from_answers, number, version in rows
        if name == budget
    ]


def _not_yet(
    want: Want, tokens: Sequence[TokenState], held: float | None, from_answers: bool | None
) -> NotYet:
    if not tokens and held is None:
        raise StoreRefused(
            f"the budget {want.budget!r} has no tokens any more",
            hint="was the database restored or cleaned? restart syncd, which makes them anew",
        )
    return NotYet(
        seconds=until_free(tokens, want.cost) if held is None else held,
        held=held is not None,
        tokens=tuple(tokens),
        from_answers=bool(from_answers),
    )


def settle_tokens(
    connection: Connection, budget: str, settlements: Sequence[tuple[Taken, float, float]]
) -> None:
    with transaction(connection) as cursor:
        cursor.execute(
            sql("settle_tokens"),
            {
                "budget": budget,
                "numbers": [token.number for token, _, _ in settlements],
                "versions": [token.version for token, _, _ in settlements],
                "since": [since for _, since, _ in settlements],
                "takes": [takes for _, _, takes in settlements],
            },
        )


def give_back(connection: Connection, budget: str, given: Sequence[Taken]) -> None:
    with transaction(connection) as cursor:
        numbers, versions = [t.number for t in given], [t.version for t in given]
        cursor.execute(
            sql("give_back"), {"budget": budget, "numbers": numbers, "versions": versions}
        )


def change_budget(connection: Connection, statement: str, values: Mapping[str, object]) -> None:
    """Run one of hold_budget, note_quota, count_from_answers."""
    with transaction(connection) as cursor:
        cursor.execute(sql(statement), values)


def store_intent(connection: Connection, intent: Intent, lease: Lease) -> None:
    with transaction(connection) as cursor:
        cursor.execute(sql("store_intent"), {"fence": lease.fence, **_intent(intent)})
        ours, done = _one(cursor.fetchone())
        _must_be_made(cursor, lease, intent, ours=ours, done=done)


def ledger(connection: Connection, keys: Sequence[str]) -> dict[str, LedgerEntry]:
    with transaction(connection) as cursor:
        cursor.execute(sql("ledger"), {"keys": list(keys)})
        return {
            key: LedgerEntry(
                idempotency_key=key,
                outcome=outcome,
                kept=None if kept is None else kept.encode(),
                reason=reason,
            )
            for key, outcome, kept, reason in cursor
        }


def settle_calls(connection: Connection, settlements: Sequence[Settlement]) -> None:
    with transaction(connection) as cursor:
        intents = [s.intent for s in settlements]
        cursor.execute(
            sql("settle_calls"),
            {
                "keys": [i.idempotency_key for i in intents],
                "sources": [i.stream.source for i in intents],
                "streams": [i.stream.stream for i in intents],
                "cycles": [i.cycle for i in intents],
                "record_keys": [storable(i.record_key) for i in intents],
                "outcomes": [s.outcome for s in settlements],
                "kept": [None if s.kept is None else s.kept.decode() for s in settlements],
                "reasons": [clean(s.reason) for s in settlements],
            },
        )


def forget_calls(connection: Connection, keys: Sequence[str], unknown: bool) -> None:
    with transaction(connection) as cursor:
        cursor.execute(sql("forget_calls"), {"keys": list(keys), "unknown": unknown})


def withdraw_intents(connection: Connection, keys: Sequence[str], lease: Lease) -> None:
    values = {"keys": list(keys), "source": lease.source, "fence": lease.fence}
    with transaction(connection) as cursor:
        cursor.execute(sql("withdraw_intents"), values)


def _must_be_made(
    cursor: Cursor, lease: Lease | None, intent: Intent | None, *, ours: bool, done: bool
) -> None:
    """Raise unless the request may go: its lease is ours, and its call is not done."""
    if not ours:
        raise _lost(cursor, lease)
    if done and intent is not None:
        raise CallDone(f"the call for {intent.record_key} is done already")


def _lost(cursor: Cursor, lease: Lease | None) -> CheckpointMoved:
    assert lease is not None  # noqa: S101 - where there is none, none can be lost
    cursor.execute(sql("fence_of_lease"), {"source": lease.source})
    (fence,) = cursor.fetchone() or (0,)
    return lost(lease, fence)


def _intent(intent: Intent | None) -> dict[str, object]:
    if intent is None:
        return {"key": None, "stream": None, "cycle": None, "record_key": None}
    return {
        "key": intent.idempotency_key,
        "source": intent.stream.source,
        "stream": intent.stream.stream,
        "cycle": intent.cycle,
        "record_key": storable(intent.record_key),
    }


def _one(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    assert row is not None  # noqa: S101 - each of these statements gives exactly one row
    return row


def purge_ledger(connection: Connection, stream: StreamId) -> tuple[bool, bool]:
    """Let one batch of old calls go; whether there may be more, and whether there were any."""
    with transaction(connection) as cursor:
        cursor.execute(
            sql("purge_ledger"),
            {"source": stream.source, "stream": stream.stream, "batch": PURGE},
        )
        gone, there = cursor.fetchone() or (0, False)
        return gone == PURGE, there
