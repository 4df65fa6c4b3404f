"""What logins have bought: kept once, in versions, and one login at a time for all processes."""

from collections.abc import AsyncIterator

import pytest
import trio

from syncd.store.postgres import PostgresStore, open_store

LONG = 60.0


@pytest.fixture
async def store(postgres: str) -> AsyncIterator[PostgresStore]:
    async with open_store(postgres) as opened:
        yield opened


async def test_nothing_was_bought_yet(store: PostgresStore) -> None:
    """Version 0, and whoever claims it may log in."""
    found = await store.look_into_vault("ads")
    assert (found.version, found.text, found.left) == (0, None, 0.0)
    assert await store.claim_login("ads", 0, LONG)


async def test_what_was_bought_is_there_for_all(store: PostgresStore) -> None:
    """And the claim is over; another source has its own."""
    assert await store.claim_login("ads", 0, LONG)
    assert await store.keep_bought("ads", 0, b"sealed \x00\xff", 3600.0)
    found = await store.look_into_vault("ads")
    assert (found.version, found.text) == (1, b"sealed \x00\xff")
    assert 3500 < found.left <= 3600
    assert await store.claim_login("ads", 1, LONG)
    assert await store.claim_login("shop", 0, LONG)


async def test_one_of_many_that_claim_at_once_gets_it(postgres: str) -> None:
    """Case 12: two processes, ten tasks each, one login."""
    got: list[bool] = []
    async with open_store(postgres) as one, open_store(postgres) as two:

        async def claim(store: PostgresStore) -> None:
            got.append(await store.claim_login("ads", 0, LONG))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(claim, one)
                nursery.start_soon(claim, two)
    assert sorted(got) == [False] * 19 + [True]


async def test_who_comes_with_an_older_version_gets_nothing(store: PostgresStore) -> None:
    """Case 11: the loser reads again."""
    await store.claim_login("ads", 0, LONG)
    await store.keep_bought("ads", 0, b"one", LONG)
    assert not await store.claim_login("ads", 0, LONG)
    assert not await store.keep_bought("ads", 0, b"late", LONG)
    assert (await store.look_into_vault("ads")).text == b"one"


async def test_a_claim_ends_by_itself_or_is_given_back(store: PostgresStore) -> None:
    """A process that died in its login holds nobody up for long."""
    assert await store.claim_login("ads", 0, 0.0)
    assert await store.claim_login("ads", 0, LONG)
    assert not await store.claim_login("ads", 0, LONG)
    await store.give_claim_back("ads", 0)
    assert await store.claim_login("ads", 0, LONG)
