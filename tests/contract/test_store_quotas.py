"""What the API says is left lowers a budget, on every store."""

import pytest
import trio

from syncd.sync.ports import NotYet, Store, Taken
from tests.contract.subjects import Subject, one_token

LONG = 60.0  # seconds that no test waits out
SHORT = 0.2  # seconds of real time; only "not before" is asked of it


async def taken(store: Store) -> Taken:
    found = await one_token(store)
    assert isinstance(found, Taken)
    return found


async def spent(store: Store, *, since: float = 0.0, takes: float = LONG) -> Taken:
    """A token whose request the server has counted so long ago."""
    token = await taken(store)
    await store.settle_tokens("b", [(token, since, takes)])
    return token


async def to_be_had(store: Store) -> int:
    """How many can be taken, one after the other."""
    many = 0
    while isinstance(await one_token(store), Taken):
        many += 1
    return many


async def told(store: Store, token: Taken, left: int, *, of: float = LONG, at: float = 0.0) -> None:
    await store.note_quota("b", token, left=left, seconds=of, since=at)


async def test_budget_no_more_than_is_left_can_be_had(subject: Subject) -> None:
    """Until then; the tokens beyond that are withheld, and one that is spent is spent for good."""
    await subject.store.open_budget("b", requests=10, per=0.1)
    token = await spent(subject.store, takes=0.0)
    await told(subject.store, token, 3)
    for _ in range(3):
        await spent(subject.store, since=1.0, takes=0.1)  # its own stretch is over at once
    none = await one_token(subject.store)
    assert isinstance(none, NotYet)
    assert not none.held
    assert 10 < none.seconds <= LONG
    assert all(10 < t.withheld_for <= LONG for t in none.tokens)


async def test_budget_with_nothing_left_everybody_waits(subject: Subject) -> None:
    """As for a hold that a refusal asked for."""
    await subject.store.open_budget("b", requests=3, per=LONG)
    token = await spent(subject.store)
    await told(subject.store, token, 0, of=30.0)
    none = await one_token(subject.store)
    assert isinstance(none, NotYet)
    assert none.held
    assert 10 < none.seconds <= 30
    assert 10 < (await subject.store.open_budget("b", requests=3, per=LONG)).held_for <= 30


async def test_budget_what_was_left_is_over_at_its_end(subject: Subject) -> None:
    """Then the tokens are as they were."""
    await subject.store.open_budget("b", requests=3, per=LONG)
    token = await spent(subject.store)
    began = trio.current_time()
    await told(subject.store, token, 0, of=SHORT)
    none = await one_token(subject.store)
    assert isinstance(none, NotYet)
    await trio.sleep(none.seconds)
    assert isinstance(await one_token(subject.store), Taken)
    assert trio.current_time() - began >= SHORT * 0.9
    assert await to_be_had(subject.store) == 1


async def test_budget_requests_that_the_api_counts_later_go_off_what_is_left(
    subject: Subject,
) -> None:
    """Those in flight, and those counted since; not the one itself, nor those before it."""
    await subject.store.open_budget("b", requests=10, per=LONG)
    await spent(subject.store, since=5.0)
    answered = await spent(subject.store, since=3.0)
    await spent(subject.store, since=1.0)
    await taken(subject.store)  # in flight
    await told(subject.store, answered, 5, at=3.0)
    assert await to_be_had(subject.store) == 3


async def test_budget_what_is_said_of_a_later_request_stands(subject: Subject) -> None:
    """An answer that took its time says how it stood long ago."""
    await subject.store.open_budget("b", requests=10, per=LONG)
    early = await spent(subject.store, since=3.0)
    late = await spent(subject.store, since=1.0)
    await told(subject.store, late, 2, at=1.0)
    await told(subject.store, early, 8, at=3.0)
    assert await to_be_had(subject.store) == 2


@pytest.mark.parametrize(("left", "had"), [(1, 1), (4, 4), (50, 8)])
async def test_budget_what_is_said_later_replaces_what_was_said(
    subject: Subject, left: int, had: int
) -> None:
    """Be it less or more; but it never comes to more than the budget has."""
    await subject.store.open_budget("b", requests=10, per=LONG)
    early = await spent(subject.store, since=3.0)
    late = await spent(subject.store, since=1.0)
    await told(subject.store, early, 3, at=3.0)
    await told(subject.store, late, left, at=1.0)
    assert await to_be_had(subject.store) == had


async def test_budget_more_than_it_has_withholds_nothing_for_long(subject: Subject) -> None:
    """Tokens that are spent then come back as ever, long before that end."""
    await subject.store.open_budget("b", requests=2, per=0.1)
    token = await spent(subject.store, takes=0.0)
    await told(subject.store, token, 100)
    for _ in range(6):
        await spent(subject.store, since=1.0, takes=0.1)


async def test_budget_a_token_that_was_not_written_is_as_it_was(subject: Subject) -> None:
    """What was taken of the few that are left, and given back, can be had again."""
    await subject.store.open_budget("b", requests=10, per=LONG)
    token = await spent(subject.store)
    await told(subject.store, token, 1)
    last = await taken(subject.store)
    assert await to_be_had(subject.store) == 0
    await subject.store.give_back("b", last)
    assert await to_be_had(subject.store) == 1


async def test_budget_watched_for_long_it_is_withheld_all_the_same(subject: Subject) -> None:
    """A token counts as free for who has watched it, but not before the API's limit is over."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    token = await spent(subject.store)
    await told(subject.store, token, 1)
    last = await taken(subject.store)
    overdue = {t.number: t.version for t in (token, last)}
    found = await one_token(subject.store, overdue=overdue)
    assert isinstance(found, NotYet)


async def test_budget_a_number_of_any_size_is_noted(subject: Subject) -> None:
    """And an end of any length."""
    await subject.store.open_budget("b", requests=2, per=LONG)
    token = await spent(subject.store)
    await told(subject.store, token, 10**40, of=1e12)
    assert await to_be_had(subject.store) == 1


async def test_budget_of_no_requests_can_be_told_that_nothing_is_left(subject: Subject) -> None:
    """It has no tokens to withhold, and a hold."""
    await subject.store.open_budget("b", requests=0, per=LONG)
    await told(subject.store, Taken(number=1, version=1), 0)
    assert (await subject.store.open_budget("b", requests=0, per=LONG)).held_for > 10
