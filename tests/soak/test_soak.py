"""The soak of the real thing: that it runs, and that it would find what is broken."""

import itertools
from collections.abc import Callable

import attrs
import httpx
import psycopg
import pytest
import trio

from tests.servers import short_place
from tests.soak import proof, soaking
from tests.soak.held import Held, Life, growth
from tests.soak.knobs import LIMIT
from tests.soak.schedule import schedule
from tests.soak.world import World, made

MIB = 2**20


@pytest.mark.long
async def test_soaked_for_a_minute_it_breaks_no_promise(figure: Callable[[str], None]) -> None:
    """page-atomic, resume, budget, accounted, contained, no-blind-repeat, drain: killed, cut off.

    And all-or-nothing: reloads come all along.
    """
    told: list[str] = []
    with trio.fail_after(400):
        soaked = await soaking.soak(seed=17, minutes=0.7, pace=3, say=told.append, show=told.append)
    said = "\n".join([*told, *soaked.violations, *soaked.summary])
    figure(soaked.summary[-1])
    assert not soaked.violations, said
    assert soaked.kills >= 2, said
    assert soaked.reloads >= 2, said
    assert soaked.sums.cycles >= 4, said


@pytest.mark.long
async def test_the_proof_finds_what_was_planted() -> None:
    """A proof that finds nothing proves nothing, unless it finds what is there."""
    with trio.fail_after(120), short_place() as folder:
        async with made(folder, speed=soaking.SPEED, minutes=1) as world:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.keep_alive)
                await proof.end(world)
            assert not world.violations
            await proof.prove(world)
            assert not world.violations
            with await _planted(world):
                await proof.prove(world)
    found = [v.split(": ", 1)[1] for v in world.violations]
    assert found == [
        "adplatform: 1 rows are missing, 1 differ",
        "30 calls were made although their answers were in the ledger",
        "careful: calls for camp_7 were made again",
        "lists was refused 1 times for its budget",
        "nobody has 2 cycles under way at once",
        "1 connections to Postgres are left after the stop",
    ]


PLANTED = (
    "DELETE FROM campaigns WHERE _syncd_source = 'adplatform' AND id = 'camp_3'",
    "UPDATE campaigns SET budget = 0 WHERE _syncd_source = 'adplatform' AND id = 'camp_4'",
    """UPDATE soak.call SET done_at = 'epoch'
       WHERE key = ANY (ARRAY(SELECT key FROM soak.call WHERE source = 'adplatform' LIMIT 30))""",
    """DELETE FROM soak.call WHERE source = 'careful' AND record_key = '["camp_7"]'""",
    """INSERT INTO syncd.cycle (source, stream)
       SELECT 'nobody', 'campaigns' FROM generate_series(1, 2)""",
)


async def _planted(world: World) -> psycopg.Connection[tuple[object, ...]]:
    """Do what syncd never does; returns a connection that is left."""
    for statement in PLANTED:
        await world.rows(f"{statement} RETURNING true")
    await _ask_too_much(world.mock.base_url, "lists")
    return psycopg.connect(world.conninfo, application_name="syncd")


async def _ask_too_much(base_url: str, client: str) -> None:
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        login = await http.post("/auth/token", auth=("ads@example.com", "secret"))
        bearer = f"Bearer {login.json()['access_token']}"
        await trio.sleep(60 / soaking.SPEED)  # a window: what syncd asked last is out of it
        for _ in range(LIMIT + 1):
            await http.post(
                "/api/campaigns/none/sync",
                headers={"Authorization": bearer, "X-Client-Id": client},
            )


def test_what_is_done_follows_from_the_seed() -> None:
    """`--seed` repeats the actions, each at its time; another seed has others."""
    first = list(itertools.islice(schedule(17), 200))
    assert first == list(itertools.islice(schedule(17), 200))
    assert first != list(itertools.islice(schedule(18), 200))
    assert [a.at for a in first] == sorted(a.at for a in first)
    kills = [a.at for a in first if a.what == "kill"]
    assert all(20 <= b - a <= 60 for a, b in itertools.pairwise(kills))


def life(number: int, *, seconds: int, leak: float = 0, rss: float = 60) -> Life:
    """One that opens `leak` descriptors a second, and has work that comes and goes."""
    samples = [
        Held(
            age=age,
            rss=int((rss + 10 * (age % 3)) * MIB),
            descriptors=int(13 + leak * age + age % 4),
            threads=4 + age % 2,
            connections=3 if age % 5 else None,
        )
        for age in range(0, seconds, 2)
    ]
    return Life(number, 1, float(seconds), samples)


def test_what_comes_and_goes_is_no_growth() -> None:
    """Connections and memory of requests in flight are not left over."""
    assert growth([life(n, seconds=40) for n in range(8)]) == []
    assert growth([life(1, seconds=200)]) == []
    assert growth([]) == []


def test_a_postgres_that_was_away_at_the_beginning_is_no_growth() -> None:
    """What was there before and after it is what it has."""
    found = life(1, seconds=200)
    found.samples = [
        attrs.evolve(s, descriptors=8, threads=3, connections=0) if 20 <= s.age < 28 else s
        for s in found.samples
    ]
    assert growth([found]) == []


def test_what_a_long_life_never_gives_back_is_found() -> None:
    """One descriptor in ten seconds shows in some minutes."""
    assert growth([life(3, seconds=200, leak=0.1)]) == [
        "descriptors grew from 18 to 31, life 3 in 200 s"
    ]


def test_what_grows_from_life_to_life_is_found() -> None:
    """A daemon of whose kind each one needs more than the one before."""
    lives = [life(n, seconds=40, rss=60 + 5 * n) for n in range(8)]
    assert growth(lives) == [
        "memory grew from 67.5 MiB to 87.5 MiB, from the early lives to the late ones"
    ]
