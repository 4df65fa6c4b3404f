"""How answers to calls become facts."""

from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing

from syncd.errors import StoreUnavailable
from syncd.sync.ledger import Ledger
from syncd.sync.model import Intent, StreamId
from syncd.sync.ports import Settlement
from syncd.testing import FakeStore

Clock = trio.testing.MockClock
STREAM = StreamId(source="ads", stream="campaigns")


def answer(name: str) -> Settlement:
    intent = Intent(idempotency_key=name, stream=STREAM, cycle=1, record_key=name)
    return Settlement(intent=intent, outcome="done", kept=b"{}")


class Slow(FakeStore):
    """A store whose statements take a second and are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[list[str]] = []

    async def settle_calls(self, settlements: Sequence[Settlement]) -> None:
        self.statements.append([s.intent.idempotency_key for s in settlements])
        await trio.sleep(1)
        await super().settle_calls(settlements)


async def test_answers_that_come_during_a_statement_share_the_next(autojump_clock: Clock) -> None:
    """Ten answers at once cost two statements, and each waits until its own is stored."""
    store = Slow()
    ledger = Ledger(store)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.settle, answer("c0"))
        await trio.sleep(0.5)
        for n in range(1, 10):
            nursery.start_soon(ledger.settle, answer(f"c{n}"))
    assert [len(s) for s in store.statements] == [1, 9]
    assert set(store.calls) == {f"c{n}" for n in range(10)}
    assert trio.current_time() - started == 2


async def test_a_failing_statement_is_tried_by_each_for_itself_and_loses_none(
    autojump_clock: Clock,
) -> None:
    """no-blind-repeat: Postgres going away costs the one who asked a try, nobody an answer."""
    store = Slow()
    ledger = Ledger(store)
    failed: list[str] = []

    async def settle(name: str) -> None:
        try:
            await ledger.settle(answer(name))
        except StoreUnavailable:
            failed.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(settle, "c0")
        await trio.sleep(0.5)
        store.fail_next("settle_calls", StoreUnavailable("away"))
        for name in ("c1", "c2", "c3"):
            nursery.start_soon(settle, name)
            await trio.sleep(0.01)
    assert failed == ["c0"]
    assert set(store.calls) == {"c1", "c2", "c3"}

    store.away = True
    failed.clear()
    async with trio.open_nursery() as nursery:
        for name in ("c4", "c5", "c6"):
            nursery.start_soon(settle, name)
    assert sorted(failed) == ["c4", "c5", "c6"], "nobody is told that it was stored"
    store.away = False
    for name in failed[:]:
        await settle(name)
    assert {"c4", "c5", "c6"} <= set(store.calls)


async def test_a_waiter_that_is_cancelled_loses_nothing(autojump_clock: Clock) -> None:
    """no-blind-repeat: the answer of one who gave up waiting is still stored by the next."""
    store = Slow()
    ledger = Ledger(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.settle, answer("c0"))
        await trio.sleep(0.5)
        with trio.move_on_after(0.1):
            await ledger.settle(answer("gave up"))
        await ledger.settle(answer("c1"))
    assert set(store.calls) == {"c0", "gave up", "c1"}


async def test_a_cancelled_statement_loses_nothing_of_the_others(autojump_clock: Clock) -> None:
    """no-blind-repeat: the one who asks being cut leaves the others to ask themselves."""
    store = Slow()
    ledger = Ledger(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.settle, answer("c0"))
        await trio.sleep(0.5)
        with trio.CancelScope() as cut:
            async with trio.open_nursery() as asking:
                asking.start_soon(ledger.settle, answer("c1"))
                await trio.sleep(0.01)
                nursery.start_soon(ledger.settle, answer("c2"))
                await trio.sleep(0.7)  # c1 has the turn, and c2 in its statement
                cut.cancel()
    assert {"c0", "c2"} <= set(store.calls)
    assert store.statements == [["c0"], ["c1", "c2"], ["c2"]]


async def test_an_error_is_the_callers_and_the_next_one_goes_on(autojump_clock: Clock) -> None:
    """One failed statement does not close the ledger."""
    store = FakeStore()
    ledger = Ledger(store)
    store.fail_next("settle_calls", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await ledger.settle(answer("c0"))
    await ledger.settle(answer("c0"))
    assert set(store.calls) == {"c0"}


async def test_no_blind_repeat_what_was_lost_is_stored_again(autojump_clock: Clock) -> None:
    """A failover took some answers back: those of the stream come again, the others stay."""
    store = FakeStore()
    ledger = Ledger(store)
    for name in ("a", "b", "c"):
        await ledger.settle(answer(name))
    del store.calls["b"], store.calls["c"]
    await ledger.store_again(StreamId(source="ads", stream="another"))
    assert set(store.calls) == {"a"}
    await ledger.store_again(STREAM)
    assert [c.outcome for c in store.calls.values()] == ["done"] * 3


async def test_only_the_newest_answers_are_remembered(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls a daemon makes in its life; one that is settled again is the newest."""
    monkeypatch.setattr("syncd.sync.ledger.REMEMBERED", 2)
    monkeypatch.setattr("syncd.sync.ledger.AT_ONCE", 1)
    store = FakeStore()
    ledger = Ledger(store)
    for name in ("a", "b", "a", "c"):
        await ledger.settle(answer(name))
    store.calls.clear()
    await ledger.store_again(STREAM)
    assert set(store.calls) == {"a", "c"}


async def test_no_blind_repeat_a_failure_is_not_told_twice(autojump_clock: Clock) -> None:
    """Another syncd may have tried that call again meanwhile, and died before its answer."""
    store = FakeStore()
    ledger = Ledger(store)
    await ledger.settle(attrs.evolve(answer("a"), outcome="failed", kept=None))
    store.calls["a"].outcome = "open"
    await ledger.store_again(STREAM)
    assert store.calls["a"].outcome == "open"
