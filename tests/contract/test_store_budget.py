"""Promises about budgets, calls and leases, on every store."""

from contextlib import suppress
from typing import Literal

import attrs
import pytest
import trio

from syncd.errors import CallDone, CheckpointMoved, LeaseHeld, StoreRefused
from syncd.store.leases import LASTS
from syncd.sync.model import Intent, Lease, LedgerEntry
from syncd.sync.ports import ApiFailing, NotYet, Settlement, Store, Taken
from tests.contract.subjects import ADS, TABLE, Subject, intent, one_token

SHORT = 0.2  # seconds of real time; only "not before" is asked of it
LONG = 60.0  # seconds that no test waits out


async def take(
    store: Store,
    *,
    lifetime: float = LONG,
    lease: Lease | None = None,
    intent: Intent | None = None,
    overdue: dict[int, int] | None = None,
) -> Taken | NotYet:
    return await one_token(store, lifetime=lifetime, lease=lease, intent=intent, overdue=overdue)


async def taken(store: Store, count: int = 1, *, lifetime: float = LONG) -> list[Taken]:
    """So many tokens, which are there to be had."""
    found = [await take(store, lifetime=lifetime) for _ in range(count)]
    assert all(isinstance(t, Taken) for t in found)
    return [t for t in found if isinstance(t, Taken)]


async def waited(store: Store) -> Taken:
    """The next token, asked for again each time that the wait it was told is over."""
    while True:
        found = await take(store)
        if isinstance(found, Taken):
            return found
        await trio.sleep(found.seconds)


async def none_left(store: Store) -> NotYet:
    found = await take(store)
    assert isinstance(found, NotYet)
    return found


# --- budget -------------------------------------------------------------------------------------


async def test_budget_gives_so_many_tokens_and_no_more(subject: Subject) -> None:
    """Then it says how long to wait, and how the tokens stand."""
    await subject.store.open_budget("b", requests=3, per=LONG)
    found = await taken(subject.store, 3, lifetime=30.0)
    assert len({t.number for t in found}) == 3
    none = await none_left(subject.store)
    assert not none.held
    assert 10 < none.seconds <= 30
    assert {(t.number, t.version) for t in none.tokens} == {(t.number, t.version) for t in found}
    assert all(10 < t.free_in <= 30 for t in none.tokens)


async def test_budget_many_at_once_take_no_token_twice(subject: Subject) -> None:
    """However many ask at once, each token goes to one of them."""
    await subject.store.open_budget("b", requests=5, per=LONG)
    found: list[Taken | NotYet] = []

    async def ask() -> None:
        found.append(await take(subject.store))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    numbers = [t.number for t in found if isinstance(t, Taken)]
    assert len(numbers) == len(set(numbers)) == 5


async def test_budget_opening_again_refills_nothing(subject: Subject) -> None:
    """A restart, or a command beside the daemon, finds the budget as it was left."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    await taken(subject.store, 2)
    await subject.store.open_budget("b", requests=2, per=LONG)
    await none_left(subject.store)


async def test_budget_a_token_frees_itself_after_its_lifetime(subject: Subject) -> None:
    """Whoever took it may have died; then it comes back by itself, but not before."""
    await subject.store.open_budget("b", requests=1, per=SHORT)
    began = trio.current_time()
    [first] = await taken(subject.store, lifetime=SHORT)
    again = await waited(subject.store)
    assert trio.current_time() - began >= SHORT * 0.9
    assert (again.number, again.version) == (first.number, first.version + 1)


async def test_budget_a_settled_token_is_free_when_it_was_counted_plus_what_it_takes(
    subject: Subject,
) -> None:
    """From the moment that the server counted it, which is past, or a moment ahead."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    past, ahead = await taken(subject.store, 2)
    await subject.store.settle_tokens("b", [(past, 30.0, 50.0), (ahead, -5.0, 50.0)])
    free_in = {t.number: t.free_in for t in (await none_left(subject.store)).tokens}
    assert 10 < free_in[past.number] <= 20
    assert 45 < free_in[ahead.number] <= 55


async def test_budget_a_debt_that_has_passed_is_free(subject: Subject) -> None:
    """What was counted longer ago than it takes can be spent again."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    [first] = await taken(subject.store)
    await subject.store.settle_tokens("b", [(first, 60.0, 60.0)])
    await taken(subject.store)


async def test_budget_a_late_settlement_leaves_the_next_holder_alone(subject: Subject) -> None:
    """A token whose version has moved on is somebody else's."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    [first] = await taken(subject.store)
    await subject.store.give_back("b", first)
    await taken(subject.store)
    await subject.store.settle_tokens("b", [(first, 100.0, 1.0)])
    await subject.store.give_back("b", first)
    await none_left(subject.store)


async def test_budget_what_was_never_written_is_given_back(subject: Subject) -> None:
    """It is free at once, and only once."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    [first] = await taken(subject.store)
    await subject.store.give_back("b", first)
    [second] = await taken(subject.store)
    assert second.version > first.version
    await none_left(subject.store)


async def test_budget_the_token_that_is_free_the_longest_goes_first(subject: Subject) -> None:
    """So that each token's stretch is over before it is needed again."""
    await subject.store.open_budget("b", requests=3, per=LONG)
    a, b, c = await taken(subject.store, 3)
    await subject.store.settle_tokens("b", [(a, 11.0, 10.0), (b, 13.0, 10.0), (c, 12.0, 10.0)])
    again = await taken(subject.store, 3)
    assert [t.number for t in again] == [b.number, c.number, a.number]


async def test_budget_a_hold_keeps_everybody_waiting(subject: Subject) -> None:
    """Free tokens or not; a shorter hold does not end a longer one."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    await subject.store.hold_budget("b", 50.0)
    await subject.store.hold_budget("b", 5.0)
    none = await none_left(subject.store)
    assert none.held
    assert 30 < none.seconds <= 50
    state = await subject.store.open_budget("b", requests=2, per=LONG)
    assert 30 < state.held_for <= 50


async def test_budget_a_hold_ends(subject: Subject) -> None:
    """When it is over, the tokens are as before."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    began = trio.current_time()
    await subject.store.hold_budget("b", SHORT)
    await waited(subject.store)
    assert trio.current_time() - began >= SHORT * 0.9


async def test_budget_of_no_requests_is_there_for_its_hold(subject: Subject) -> None:
    """A source without a budget can be held off as well."""
    state = await subject.store.open_budget("b", requests=0, per=LONG)
    assert (state.held_for, state.from_answers) == (0, False)
    await subject.store.hold_budget("b", 20.0)
    state = await subject.store.open_budget("b", requests=0, per=LONG)
    assert 10 < state.held_for <= 20


async def test_budget_remembers_that_it_counts_from_answers(subject: Subject) -> None:
    """For good: the next process knows it from the start."""
    state = await subject.store.open_budget("b", requests=1, per=LONG)
    assert not state.from_answers
    await subject.store.count_from_answers("b")
    state = await subject.store.open_budget("b", requests=1, per=LONG)
    assert state.from_answers
    for _ in ("taken", "not yet"):  # and whoever runs beside it learns it with each token
        answer = await take(subject.store)
        assert answer.from_answers


async def test_budget_more_requests_are_free_at_once(subject: Subject) -> None:
    """The debts that were run up stay."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    await taken(subject.store, 2)
    await subject.store.open_budget("b", requests=5, per=LONG)
    await taken(subject.store, 3)
    assert len((await none_left(subject.store)).tokens) == 5


async def test_budget_fewer_requests_forgive_no_debt(subject: Subject) -> None:
    """The tokens that are free go first, then those that are free the soonest."""
    await subject.store.open_budget("b", requests=5, per=LONG)
    soon, late = await taken(subject.store, 2)
    await subject.store.settle_tokens("b", [(soon, 0.0, 30.0), (late, 0.0, 50.0)])
    await subject.store.open_budget("b", requests=2, per=LONG)
    none = await none_left(subject.store)
    assert {t.number for t in none.tokens} == {soon.number, late.number}
    await subject.store.open_budget("b", requests=1, per=LONG)
    assert {t.number for t in (await none_left(subject.store)).tokens} == {late.number}


async def test_budget_fewer_then_more_comes_to_no_more_than_the_larger(
    subject: Subject,
) -> None:
    """Changing the number to and fro within a stretch forgives nothing."""
    await subject.store.open_budget("b", requests=4, per=LONG)
    await taken(subject.store, 3)
    await subject.store.open_budget("b", requests=1, per=LONG)
    assert len((await none_left(subject.store)).tokens) == 1
    await subject.store.open_budget("b", requests=4, per=LONG)
    await taken(subject.store, 1)
    assert len((await none_left(subject.store)).tokens) == 4


async def test_budget_whose_tokens_are_gone_says_so(subject: Subject) -> None:
    """Nobody waits for a token that can't come."""
    await subject.store.open_budget("b", requests=0, per=LONG)
    with pytest.raises(StoreRefused, match="no tokens"):
        await take(subject.store)


async def test_budget_a_token_in_flight_is_stretched_as_well(subject: Subject) -> None:
    """Where it is not known yet when it was counted, a longer `per` puts it off by as much."""
    await subject.store.open_budget("b", requests=1, per=10.0)
    await taken(subject.store, lifetime=20.0)
    await subject.store.open_budget("b", requests=1, per=100.0)
    assert 100 < (await none_left(subject.store)).seconds <= 110.2


async def test_budget_a_longer_stretch_holds_for_what_was_spent(subject: Subject) -> None:
    """What was counted under a shorter `per` is free only after the longer one."""
    await subject.store.open_budget("b", requests=1, per=10.0)
    [first] = await taken(subject.store)
    await subject.store.settle_tokens("b", [(first, 10.0, 10.0)])
    await subject.store.open_budget("b", requests=1, per=100.0)
    assert 60 < (await none_left(subject.store)).seconds <= 90.2


async def test_budget_a_shorter_stretch_shortens_no_debt(subject: Subject) -> None:
    """What was promised under the longer `per` is kept."""
    await subject.store.open_budget("b", requests=1, per=100.0)
    [first] = await taken(subject.store)
    await subject.store.settle_tokens("b", [(first, 0.0, 100.0)])
    await subject.store.open_budget("b", requests=1, per=1.0)
    assert (await none_left(subject.store)).seconds > 60


async def test_budget_overdue_tokens_count_as_free(subject: Subject) -> None:
    """One that was watched for longer than it can be in use, whatever the clock says."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    first, second = await taken(subject.store, 2)
    wrong = await take(subject.store, overdue={first.number: first.version - 1})
    assert isinstance(wrong, NotYet)
    found = await take(subject.store, overdue={second.number: second.version})
    assert isinstance(found, Taken)
    assert (found.number, found.version) == (second.number, second.version + 1)
    used = await take(subject.store, overdue={second.number: second.version})
    assert isinstance(used, NotYet)


async def test_budget_a_lease_that_was_taken_spends_nothing(subject: Subject) -> None:
    """No token and no intent for whoever is no longer the holder."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    old = await subject.store.acquire_lease(ADS.source)
    await subject.store.acquire_lease(ADS.source)
    with pytest.raises(CheckpointMoved, match="lease"):
        await take(subject.store, lease=old, intent=intent("1"))
    assert await subject.store.ledger([intent("1").idempotency_key]) == {}
    await taken(subject.store, 1)


async def test_budgets_stand_each_for_itself(subject: Subject) -> None:
    """Another budget's tokens and hold are another's."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    await subject.store.open_budget("c", requests=1, per=LONG)
    await subject.store.hold_budget("c", 50.0)
    await taken(subject.store, 1)


# --- no blind repeat ------------------------------------------------------------------------------


async def test_no_blind_repeat_the_intent_is_stored_with_the_token(subject: Subject) -> None:
    """In one step: whoever has the token has announced the call."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    lease = await subject.store.acquire_lease(ADS.source)
    one = intent("1")
    assert isinstance(await take(subject.store, lease=lease, intent=one), Taken)
    found = await subject.store.ledger([one.idempotency_key])
    assert found == {
        one.idempotency_key: LedgerEntry(idempotency_key=one.idempotency_key, outcome="open")
    }


async def test_no_blind_repeat_without_a_token_there_is_no_intent(subject: Subject) -> None:
    """A call that can't be made yet is not announced."""
    await subject.store.open_budget("b", requests=1, per=LONG)
    lease = await subject.store.acquire_lease(ADS.source)
    await taken(subject.store)
    assert isinstance(await take(subject.store, lease=lease, intent=intent("1")), NotYet)
    assert await subject.store.ledger([intent("1").idempotency_key]) == {}


async def test_no_blind_repeat_an_intent_without_a_budget(subject: Subject) -> None:
    """It is stored once, however often, and only for the holder."""
    old = await subject.store.acquire_lease(ADS.source)
    lease = await subject.store.acquire_lease(ADS.source)
    with pytest.raises(CheckpointMoved):
        await subject.store.store_intent(intent("1"), old)
    assert await subject.store.ledger([intent("1").idempotency_key]) == {}
    await subject.store.store_intent(intent("1"), lease)
    await subject.store.store_intent(intent("1"), lease)
    assert len(await subject.store.ledger([intent("1").idempotency_key])) == 1


@pytest.mark.parametrize(
    "settlement",
    [
        Settlement(intent=intent("1"), outcome="done", kept=b'{"synced": "\\u0000 \\ud800"}'),
        Settlement(intent=intent("1"), outcome="done"),
        Settlement(intent=intent("1"), outcome="failed", reason="404 not found"),
    ],
    ids=["done", "done with nothing kept", "failed"],
)
async def test_no_blind_repeat_the_first_settlement_stands(
    subject: Subject, settlement: Settlement
) -> None:
    """A late copy, or another outcome, changes nothing; what was kept comes back as it was."""
    lease = await subject.store.acquire_lease(ADS.source)
    await subject.store.store_intent(settlement.intent, lease)
    await subject.store.settle_calls([settlement])
    others = [
        attrs.evolve(settlement, outcome=outcome, kept=b'{"synced": "late"}', reason="late")
        for outcome in ("done", "failed", "unknown")
    ]
    for other in others:
        await subject.store.settle_calls([other])
    with suppress(CallDone):
        await subject.store.store_intent(settlement.intent, lease)
    name = settlement.intent.idempotency_key
    assert await subject.store.ledger([name]) == {
        name: LedgerEntry(
            idempotency_key=name,
            outcome=settlement.outcome,
            kept=settlement.kept,
            reason=settlement.reason,
        )
    }


@pytest.mark.parametrize("outcome", ["done", "failed"])
async def test_no_blind_repeat_what_was_not_known_may_become_known(
    subject: Subject, outcome: Literal["done", "failed"]
) -> None:
    """A call whose outcome was read back later is settled by that; then it stands."""
    unknown = Settlement(intent=intent("1"), outcome="unknown", reason="the connection broke")
    known = attrs.evolve(unknown, outcome=outcome, kept=b"{}", reason="read back")
    name = unknown.intent.idempotency_key
    await subject.store.settle_calls([unknown])
    await subject.store.settle_calls([attrs.evolve(unknown, reason="late")])
    assert (await subject.store.ledger([name]))[name].reason == "the connection broke"
    await subject.store.settle_calls([known])
    await subject.store.settle_calls([unknown])
    assert await subject.store.ledger([name]) == {
        name: LedgerEntry(
            idempotency_key=name, outcome=outcome, kept=known.kept, reason="read back"
        )
    }


async def test_no_blind_repeat_an_answer_counts_without_its_intent(subject: Subject) -> None:
    """A settlement whose intent is not there is kept all the same."""
    await subject.store.settle_calls([Settlement(intent=intent("1"), outcome="done", kept=b"{}")])
    name = intent("1").idempotency_key
    assert (await subject.store.ledger([name]))[name].outcome == "done"


async def test_no_blind_repeat_a_call_that_is_done_costs_no_token(subject: Subject) -> None:
    """Another syncd was answered while we waited: the call is not made, with or without budget."""
    await subject.store.open_budget("b", requests=1, per=60.0)
    lease = await subject.store.acquire_lease("ads")
    await subject.store.settle_calls([Settlement(intent=intent("1"), outcome="done", kept=b"{}")])
    with pytest.raises(CallDone):
        await take(subject.store, lease=lease, intent=intent("1"))
    with pytest.raises(CallDone):
        await subject.store.store_intent(intent("1"), lease)
    assert isinstance(await take(subject.store, lease=lease, intent=intent("2")), Taken)


async def test_no_blind_repeat_many_settlements_share_a_statement(subject: Subject) -> None:
    """Each call has its own outcome; calls that nobody knows are not in the ledger."""
    outcomes = {"1": "done", "2": "failed", "3": "unknown"}
    await subject.store.settle_calls(
        [
            Settlement(intent=intent(of), outcome=outcome)  # type: ignore[arg-type]
            for of, outcome in outcomes.items()
        ]
    )
    asked = {intent(of).idempotency_key: of for of in [*outcomes, "4"]}
    found = await subject.store.ledger(list(asked))
    assert {asked[name]: entry.outcome for name, entry in found.items()} == outcomes
    assert await subject.store.ledger([]) == {}
    await subject.store.settle_calls([])


# --- leases ---------------------------------------------------------------------------------------


async def test_lease_each_taking_raises_the_fence(subject: Subject) -> None:
    """Whoever holds an older one is told from whoever holds the newest."""
    fences = [(await subject.store.acquire_lease("ads")).fence for _ in range(3)]
    assert fences == sorted(set(fences))
    assert (await subject.store.acquire_lease("shop")).source == "shop"


async def test_contained_who_looks_sees_that_an_api_is_failing(subject: Subject) -> None:
    """Until it is well again, or whoever found it out has the source no more."""
    lease = await subject.store.acquire_lease("ads")
    assert await subject.failing("ads") is None
    failing = ApiFailing(since=90.0, reason="503: \0 \ud800 it's 'down'", next_probe=40.0)
    await subject.store.post_failing(lease, failing)
    found = await subject.failing("ads")
    assert found is not None
    assert 90 <= found.since < 95
    assert 35 < found.next_probe <= 40
    assert found.reason.endswith("it's 'down'")
    await subject.store.post_failing(lease, None)
    assert await subject.failing("ads") is None
    await subject.store.post_failing(lease, failing)
    after = await subject.store.acquire_lease("ads")
    assert await subject.failing("ads") is None
    await subject.store.post_failing(lease, failing)
    assert await subject.failing("ads") is None, "posted by one who has lost the lease"
    await subject.store.post_failing(after, failing)
    await subject.store.release_leases([after])
    assert await subject.failing("ads") is None


async def test_lease_of_another_is_not_taken(subject: Subject) -> None:
    """The refusal names the source, and takes nothing."""
    held = await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    with pytest.raises(LeaseHeld, match="'ads' is run by another syncd"):
        await subject.store.acquire_lease("ads")
    assert list(await subject.store.renew_leases([held])) == [held]


async def test_lease_that_has_run_out_is_taken_over(subject: Subject) -> None:
    """From a holder that was not heard of for too long; it can renew no more."""
    old = await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    await subject.expire_lease("ads")
    new = await subject.store.acquire_lease("ads")
    assert new.fence > old.fence
    assert list(await subject.store.renew_leases([old])) == []
    assert list(await subject.store.renew_leases([new])) == [new]


async def test_lease_taken_over_raises_the_fence_of_every_checkpoint(subject: Subject) -> None:
    """In the same step: what the former holder has under way can't be committed."""
    old = await subject.store.acquire_lease("ads")
    from_old = await subject.store.open_stream(ADS, TABLE, old, every=900)
    new = await subject.store.acquire_lease("ads")
    now = await subject.store.read_checkpoint(ADS)
    assert (from_old.fence, now.fence) == (old.fence, new.fence)
    with pytest.raises(CheckpointMoved):
        await subject.store.begin_cycle(from_old, fingerprint="f")


async def test_resume_a_fence_is_never_given_twice(subject: Subject) -> None:
    """Not after a restore from a backup either: a holder from before is told from the new one."""
    old = await subject.store.acquire_lease("ads")
    lost = await subject.store.acquire_lease("ads")
    await subject.put_back("ads", old.fence)
    new = await subject.store.acquire_lease("ads")
    assert new.fence > lost.fence
    assert list(await subject.store.renew_leases([lost])) == []


async def test_contained_a_clock_stepped_back_makes_no_lease_longer(subject: Subject) -> None:
    """Whoever asks has it end when one renewed now would; a holder that lives renews it."""
    await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    await subject.step_back_since("ads")
    with pytest.raises(LeaseHeld):
        await subject.store.acquire_lease("ads")
    assert 0 < await subject.lease_left("ads") <= LASTS


async def test_lease_renewed_is_held_again(subject: Subject) -> None:
    """Renewing puts off its end."""
    held = await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    await subject.expire_lease("ads")
    assert list(await subject.store.renew_leases([held])) == [held]
    with pytest.raises(LeaseHeld):
        await subject.store.acquire_lease("ads")


async def test_lease_released_is_free_at_once(subject: Subject) -> None:
    """Nobody waits for a lease whose holder has left."""
    held = await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    await subject.store.release_leases([held])
    assert (await subject.store.acquire_lease("ads")).fence > held.fence


async def test_lease_released_late_does_not_free_anothers(subject: Subject) -> None:
    """Only the newest fence releases."""
    old = await subject.store.acquire_lease("ads")
    new = await subject.store.acquire_lease("ads")
    await subject.held_elsewhere("ads")
    await subject.store.release_leases([old])
    with pytest.raises(LeaseHeld):
        await subject.store.acquire_lease("ads")
    assert list(await subject.store.renew_leases([new])) == [new]


async def test_leases_are_renewed_and_released_together(subject: Subject) -> None:
    """One step for all that a daemon holds; none is no trouble."""
    held = [await subject.store.acquire_lease(source) for source in ("a", "b", "c")]
    assert list(await subject.store.renew_leases(held)) == held
    await subject.store.release_leases(held[:2])
    assert list(await subject.store.renew_leases([])) == []
    await subject.store.release_leases([])
