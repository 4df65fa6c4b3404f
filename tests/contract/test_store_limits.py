"""A request that several budgets count takes its tokens of all of them, on every store."""

from collections.abc import Sequence

import attrs
import pytest
import trio

from syncd.errors import CheckpointMoved, StoreRefused
from syncd.sync.ports import Granted, NotYet, Store, Taken, Want
from tests.contract.subjects import ADS, Subject, intent, key, one_token

LONG = 60.0  # seconds that no test waits out


async def take(
    store: Store, *, a: int = 1, b: int = 1, **overdue: dict[int, int]
) -> Granted | Sequence[NotYet]:
    """So many tokens of two budgets, the first of which comes back sooner."""
    wants = [
        Want(budget="a", lifetime=30.0, cost=a, overdue=overdue.get("watched", {})),
        Want(budget="b", lifetime=LONG, cost=b),
    ]
    return await store.take_tokens(wants, spent_on="GET /", lease=None, intent=None)


async def granted(store: Store, *, a: int = 1, b: int = 1) -> tuple[list[Taken], list[Taken]]:
    found = await take(store, a=a, b=b)
    assert isinstance(found, Granted)
    of_a, of_b = found.tokens
    assert (len(of_a), len(of_b)) == (a, b)
    return list(of_a), list(of_b)


async def not_yet(store: Store, *, a: int = 1, b: int = 1) -> tuple[NotYet, NotYet]:
    found = await take(store, a=a, b=b)
    assert not isinstance(found, Granted)
    of_a, of_b = found
    return of_a, of_b


@pytest.fixture
async def store(subject: Subject) -> Store:
    """Two budgets, of three and of five tokens."""
    await subject.store.open_budget("a", requests=3, per=30.0)
    await subject.store.open_budget("b", requests=5, per=LONG)
    return subject.store


async def free(store: Store, budget: str) -> int:
    """How many can be had of one; they are gone then."""
    many = 0
    while isinstance(await one_token(store, budget), Taken):
        many += 1
    return many


async def test_budget_all_that_is_wanted_is_taken(store: Store) -> None:
    """Each token once, and of each budget as many as the request costs."""
    first, second = await granted(store, a=1, b=3)
    again, more = await granted(store, a=2, b=1)
    assert len({t.number for t in first + again}) == 3
    assert len({t.number for t in second + more}) == 4


async def test_budget_where_one_lacks_nothing_is_taken_of_the_others(store: Store) -> None:
    """And each says how long it takes: 0 where there are enough."""
    await granted(store, a=3, b=1)
    of_a, of_b = await not_yet(store, a=1, b=2)
    assert 10 < of_a.seconds <= 30
    assert of_b.seconds == 0
    assert await free(store, "b") == 4


async def test_budget_the_wait_is_until_as_many_are_free_as_are_wanted(store: Store) -> None:
    """Not until the first is."""
    (soon, late, _), _ = await granted(store, a=3, b=1)
    await store.settle_tokens("a", [(soon, 0.0, 10.0), (late, 0.0, 20.0)])
    for cost, least, most in ((1, 5, 10), (2, 15, 20), (3, 25, 30)):
        of_a, _ = await not_yet(store, a=cost)
        assert least < of_a.seconds <= most


async def test_budget_a_hold_of_one_keeps_the_request_waiting(store: Store) -> None:
    """Nothing is taken of the other meanwhile."""
    await store.hold_budget("b", 50.0)
    of_a, of_b = await not_yet(store)
    assert (of_a.held, of_b.held) == (False, True)
    assert of_a.seconds == 0
    assert 30 < of_b.seconds <= 50
    assert await free(store, "a") == 3


async def test_budget_what_is_left_by_the_api_counts_for_requests_that_cost_many(
    store: Store,
) -> None:
    """Two are left, so that one which costs three waits, and one which costs two does not."""
    (token,), _ = await granted(store)
    await store.settle_tokens("a", [(token, 1.0, 0.5)])
    await store.note_quota("a", token, left=2, seconds=50.0, since=1.0)
    of_a, _ = await not_yet(store, a=3)
    assert 30 < of_a.seconds <= 50
    await granted(store, a=2)


async def test_budget_each_frees_itself_after_its_own_lifetime(store: Store) -> None:
    """Whoever took them may have died."""
    await granted(store, a=3, b=5)
    of_a, of_b = await not_yet(store)
    assert 10 < of_a.seconds <= 30
    assert 40 < of_b.seconds <= LONG


async def test_budget_tokens_that_were_watched_for_long_enough_count_as_free(store: Store) -> None:
    """Those of that budget alone, and of that version."""
    (first, second, third), _ = await granted(store, a=3, b=1)
    await store.give_back("a", second)
    overdue = {first.number: first.version, third.number: third.version - 1}
    assert isinstance(await take(store, a=2, watched=overdue), Granted)
    of_a, _ = await not_yet(store)
    assert of_a.seconds > 10


async def test_budget_several_are_given_back_at_once(store: Store) -> None:
    """None that has gone to somebody else meanwhile."""
    tokens, _ = await granted(store, a=3)
    await store.give_back("a", *tokens)
    again, _ = await granted(store, a=1)
    await store.give_back("a", *tokens)
    assert await free(store, "a") == 2
    assert again[0].version > min(t.version for t in tokens)


async def test_budget_many_at_once_overspend_none_and_lose_none(store: Store) -> None:
    """budget: they wait for no lock of each other's, whatever they want of which."""
    found: list[tuple[list[Taken], list[Taken]]] = []

    async def ask(a: int, b: int) -> None:
        for _ in range(10):
            got = await take(store, a=a, b=b)
            if isinstance(got, Granted):
                found.append((list(got.tokens[0]), list(got.tokens[1])))

    async def ask_the_other_way_round() -> None:
        for _ in range(10):
            wants = [Want(budget=n, lifetime=LONG) for n in "ba"]
            got = await store.take_tokens(wants, spent_on="x", lease=None, intent=None)
            if isinstance(got, Granted):
                found.append((list(got.tokens[1]), list(got.tokens[0])))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for n in range(6):
                nursery.start_soon(ask, 1 + n % 2, 1 + n % 3)
                nursery.start_soon(ask_the_other_way_round)
    for side, most in ((0, 3), (1, 5)):
        numbers = [t.number for each in found for t in each[side]]
        assert len(numbers) == len(set(numbers)) <= most
    assert found


async def test_no_blind_repeat_the_intent_is_stored_with_all_tokens_or_none(
    subject: Subject, store: Store
) -> None:
    """budget: a call that waits for one of its limits is not known yet."""
    lease = await store.acquire_lease("ads")
    call = intent("1")
    wants = [Want(budget="a", lifetime=30.0), Want(budget="b", lifetime=30.0)]
    await store.hold_budget("b", 50.0)
    await store.take_tokens(wants, spent_on="x", lease=lease, intent=call)
    assert await store.ledger([call.idempotency_key]) == {}
    wants = wants[:1]
    assert isinstance(
        await store.take_tokens(wants, spent_on="x", lease=lease, intent=call), Granted
    )
    assert (await store.ledger([call.idempotency_key]))[call.idempotency_key].outcome == "open"
    assert call.record_key == key("1")
    assert call.stream == ADS
    await subject.held_elsewhere("ads")
    old = attrs.evolve(lease, fence=lease.fence - 1)
    with pytest.raises(CheckpointMoved):
        await store.take_tokens(wants, spent_on="x", lease=old, intent=None)
    assert await free(store, "a") == 2


async def test_budget_one_whose_tokens_are_gone_is_named(subject: Subject, store: Store) -> None:
    """Nobody waits for a token that can't come."""
    await store.open_budget("c", requests=0, per=LONG)
    wants = [Want(budget="a", lifetime=30.0), Want(budget="c", lifetime=30.0)]
    with pytest.raises(StoreRefused, match="'c' has no tokens"):
        await store.take_tokens(wants, spent_on="x", lease=None, intent=None)
    assert await free(subject.store, "a") == 3


# --- a limit that is new ------------------------------------------------------------------------


async def test_budget_a_new_limit_begins_with_what_was_spent_lately(subject: Subject) -> None:
    """What the same requests were counted for in its own stretch, and what is in flight."""
    store = subject.store
    await store.open_budget("hour", requests=10, per=3600.0)
    found = [await one_token(store, "hour", lifetime=3600.0) for _ in range(5)]
    old, lately, now, _in_flight, unsent = (t for t in found if isinstance(t, Taken))
    settled = [(old, 100.0, 3600.0), (lately, 30.0, 3600.0), (now, 0.0, 3600.0)]
    await store.settle_tokens("hour", settled)
    await store.give_back("hour", unsent)
    await store.open_budget("hour per 60s", requests=4, per=60.0, seed="hour")
    assert await free(store, "hour per 60s") == 1
    none = await one_token(store, "hour per 60s")
    assert isinstance(none, NotYet)
    assert 20 < none.seconds <= 31


async def test_budget_more_than_a_new_limit_allows_was_spent(subject: Subject) -> None:
    """It is used up; what is owed beyond that is kept, in case it is made larger."""
    store = subject.store
    await store.open_budget("hour", requests=10, per=3600.0)
    for _ in range(6):
        token = await one_token(store, "hour", lifetime=3600.0)
        assert isinstance(token, Taken)
        await store.settle_tokens("hour", [(token, 0.0, 3600.0)])
    await store.open_budget("hour per 60s", requests=4, per=60.0, seed="hour")
    assert await free(store, "hour per 60s") == 0
    await store.open_budget("hour per 60s", requests=7, per=60.0, seed="hour")
    assert await free(store, "hour per 60s") == 1


async def test_budget_a_limit_that_is_there_is_not_seeded_again(subject: Subject) -> None:
    """It knows what was spent of it; nor is one whose seed is not there."""
    store = subject.store
    await store.open_budget("hour per 60s", requests=4, per=60.0, seed="hour")
    await store.open_budget("hour", requests=10, per=3600.0)
    await one_token(store, "hour")
    await store.open_budget("hour per 60s", requests=4, per=60.0, seed="hour")
    assert await free(store, "hour per 60s") == 4


async def test_budget_a_limit_that_was_not_in_use_knows_what_was_spent_meanwhile(
    subject: Subject,
) -> None:
    """As a file that goes from one limit to several, and back, would have it."""
    store = subject.store
    await store.open_budget("ads", requests=5, per=60.0, seed="ads", whole=True)
    first = await one_token(store, "ads")
    assert isinstance(first, Taken)
    await store.settle_tokens("ads", [(first, 50.0, 60.0)])
    await store.open_budget("ads per 60s", requests=5, per=60.0, seed="ads", whole=True)
    assert await free(store, "ads per 60s") == 4
    await store.open_budget("ads", requests=5, per=60.0, seed="ads", whole=True)
    assert await free(store, "ads") == 0
    none = await one_token(store, "ads")
    assert isinstance(none, NotYet)
    assert len(none.tokens) == 5


async def test_budget_one_that_was_in_use_is_left_as_it_is(subject: Subject) -> None:
    """Its tokens are spent by others at this moment; nor do those of some paths tell of all."""
    store = subject.store
    for name in ("ads", "ads per 1s", "ads per 60s of /x"):
        await store.open_budget(name, requests=5, per=60.0, seed="ads", whole="of" not in name)
    wants = [Want(budget=name, lifetime=LONG) for name in ("ads", "ads per 1s")]
    for _ in range(2):
        await store.take_tokens(wants, spent_on="x", lease=None, intent=None)
    for _ in range(4):
        await one_token(store, "ads per 60s of /x")
    for name in ("ads", "ads per 1s", "ads per 60s of /x"):
        await store.open_budget(name, requests=5, per=60.0, seed="ads", whole="of" not in name)
    for name, left in (("ads", 3), ("ads per 1s", 3), ("ads per 60s of /x", 1)):
        assert await free(store, name) == left
