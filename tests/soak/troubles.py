"""What does each action do to the world?  All that is drawn is drawn from the action."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg
import trio

from tests.proxy.relay import Proxy
from tests.proxy.script import Rule
from tests.soak.knobs import FAULT, Knobs
from tests.soak.schedule import Action, What
from tests.soak.world import World

WITHIN = 90.0  # seconds for one action: a Postgres is started again in it
HEARD = 5.0  # seconds for a faulty file to be told of
FEWEST, MOST = 15, 45  # campaigns

Deed = Callable[[World, random.Random], Awaitable[None]]


async def play(world: World, action: Action) -> None:
    """Do it; what can't be done, because who is meant is dead at the time, is left out."""
    with trio.move_on_after(WITHIN) as patience:
        await DEEDS[action.what](world, action.rng)
    if patience.cancelled_caught:
        world.violate(f"the soak's own `{action.what}` was not done in {WITHIN:.0f} s")


# --- killed -------------------------------------------------------------------------------------


async def kill(world: World, rng: random.Random) -> None:
    """The daemon, or Postgres, which is back after a while."""
    if rng.random() < 0.5:
        world.kill()
        return
    world.kill_postgres()
    await trio.sleep(rng.choice((0.0, rng.uniform(0, 8))))
    await world.revive()


# --- told to change -----------------------------------------------------------------------------


async def reload(world: World, rng: random.Random) -> None:
    """Other settings, and seldom a file that is refused."""
    if rng.random() < 0.2:
        await _refused(world)
        return
    world.knobs = Knobs.drawn(rng)
    async with world.file:
        world.write(world.knobs)
    world.reloads += world.hup()


async def _refused(world: World) -> None:
    running = world.running
    async with world.file:
        world.write(world.knobs, f"{FAULT} = 1\n")
        if world.hup() and running is not None:
            world.reloads += 1
            with trio.move_on_after(HEARD):
                await running.ended_or_said(FAULT)
        world.write(world.knobs)


# --- the API's records --------------------------------------------------------------------------


async def records(world: World, rng: random.Random) -> None:
    """A few campaigns change, come, go, or turn into what no table takes."""
    what = rng.choice(("change", "change", "spoil", "mend", "add", "remove"))
    if what == "add" and len(world.ids) < MOST:
        world.ids += await world.mock.add(rng.randint(1, 3))
    elif what == "remove" and len(world.ids) > FEWEST:
        gone = world.ids.pop(rng.randrange(len(world.ids)))
        world.spoilt.discard(gone)
        await world.mock.remove(gone)
    elif what == "mend":
        await mended(world)
    elif what == "spoil" and len(world.spoilt) < 3:
        one = rng.choice(world.ids)
        world.spoilt.add(one)
        await world.mock.change(one, **rng.choice(SPOILT))
    else:
        one = rng.choice(world.ids)
        await world.mock.change(one, **_values(rng))


SPOILT: tuple[dict[str, Any], ...] = (
    {"impressions": "many"},
    {"name": "a\0b"},
    {"created_at": "the day before yesterday"},
)


def _values(rng: random.Random) -> dict[str, Any]:
    """A change that matters, or one that is volatile."""
    return rng.choice(
        (
            {"name": f"Campaign, now {rng.randrange(1000)}"},
            {"status": rng.choice(("active", "paused"))},
            {"budget": rng.randrange(10**6) / 100},
            {"impressions": rng.randrange(10**9), "clicks": rng.randrange(10**6)},
        )
    )


async def mended(world: World) -> None:
    """Every record is one that a table takes."""
    while world.spoilt:
        await world.mock.restore(world.spoilt.pop())


# --- between syncd and Postgres -----------------------------------------------------------------

COMMITS = ("UPDATE syncd.checkpoint AS c", "ON CONFLICT (idempotency_key)", "")
"""A page's, a settlement's, any."""


async def postgres(world: World, rng: random.Random) -> None:
    """Connections that open from now on meet a script; those that are open, sometimes their end."""
    proxy = world.to_postgres
    what = rng.choice(("script", "script", "script", "reset", "backends", "dark"))
    if what == "dark":
        proxy.silence()
        await trio.sleep(rng.uniform(1, 5))
        proxy.follow()
        proxy.reset_all()
        return
    proxy.follow(*(_at_postgres(rng, proxy) for _ in range(rng.randint(1, 3))))
    if what == "reset":
        proxy.reset_all()
    elif what == "backends":
        with suppress(psycopg.OperationalError):
            await world.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'syncd'"
            )


def _at_postgres(rng: random.Random, proxy: Proxy) -> Rule:
    first = proxy.accepted + rng.randint(1, 4)
    if rng.random() < 0.5:
        return Rule(
            from_=first,
            times=1,
            statement="COMMIT",
            of=rng.choice(COMMITS),
            nth=rng.randint(1, 20),
            do=rng.choice(("swallow", "swallow", "reset")),
        )
    return Rule(
        from_=first,
        times=1,
        side=rng.choice(("up", "down")),
        after=rng.choice((0, rng.randint(1, 2_000), rng.randint(1, 60_000))),
        do=rng.choice(("cut", "reset", "cut", "reset", "black-hole")),
    )


# --- between syncd and the API ------------------------------------------------------------------


async def connections(world: World, rng: random.Random) -> None:
    """Connections that open from now on are cut, reset, silent or slow."""
    proxy = world.to_api
    proxy.follow(*(_at_the_api(rng, proxy) for _ in range(rng.randint(1, 4))))
    if rng.random() < 0.3:
        proxy.reset_all()


def _at_the_api(rng: random.Random, proxy: Proxy) -> Rule:
    first = proxy.accepted + rng.randint(1, 6)
    if rng.random() < 0.2:
        # Answers alone are slow: a request that came after its end would prove nothing.
        return Rule(from_=first, times=1, after=rng.randint(0, 500), do="drip", seconds=0.02)
    return Rule(
        from_=first,
        every=rng.randint(1, 3),
        times=rng.randint(1, 3),
        side=rng.choice(("up", "down", "down")),
        # A page has some 1,000 bytes, a call's answer 300.
        after=rng.choice((0, rng.randint(1, 400), rng.randint(1, 1_800))),
        do=rng.choice(("cut", "reset", "cut", "reset", "black-hole")),
    )


# --- the API's answers --------------------------------------------------------------------------

LISTS, CALLS, LOGIN = "/api/campaigns", "/api/campaigns/*/sync", "/auth/token"

ANSWERS: tuple[dict[str, Any], ...] = (
    {"path": LISTS, "status": 502, "body": "<html>bad gateway</html>"},
    {"path": LISTS, "truncate": 200},
    {"path": LISTS, "truncate": 200, "declare": "sent"},
    {"path": LISTS, "cut": "mid-body", "reset": True},
    {"path": LISTS, "gzip": True},
    {"path": LISTS, "hang": True},
    {"path": CALLS, "status": 503},
    {"path": CALLS, "status": 503, "headers": {"Retry-After": "1"}},
    {"path": CALLS, "cut": "before-headers", "handle": True},
    {"path": CALLS, "cut": "before-headers"},
    {"path": CALLS, "hang": True, "handle": True},
    {"path": CALLS, "truncate": 20},
    {"path": LOGIN, "status": 503},
    {"path": LOGIN, "hang": True},
    {"path": LOGIN, "truncate": 10},
)


async def answers(world: World, rng: random.Random) -> None:
    """Some of the next answers are not what they should be; beside each 5th and 10th, always."""
    chosen = rng.sample(ANSWERS, rng.randint(1, 3))
    await world.answer_badly(*({**rule, "times": rng.randint(1, 3)} for rule in chosen))


async def logins(world: World, rng: random.Random) -> None:
    """Every token that was bought is worth nothing any more."""
    await world.mock.expire_tokens()


DEEDS: dict[What, Deed] = {
    "kill": kill,
    "reload": reload,
    "records": records,
    "postgres": postgres,
    "connections": connections,
    "answers": answers,
    "logins": logins,
}


async def calm(world: World) -> None:
    """End all trouble: what is left is the API's own, each 5th and each 10th of its answers."""
    await world.revive()
    await world.answer_badly()
    await mended(world)
    for proxy in (world.to_api, world.to_postgres):
        proxy.follow()
        proxy.reset_all()
    world.knobs = Knobs()
    async with world.file:
        world.write(world.knobs)
    world.hup()
