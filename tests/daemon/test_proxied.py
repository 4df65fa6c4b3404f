"""The real command, and a proxy that fails between it and Postgres, or the API."""

import os
import random
from pathlib import Path

import psycopg
import pytest

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config
from tests.daemon.proof import Proof, copied, proof
from tests.daemon.running import daemon
from tests.proxy.between import socket_of, through
from tests.proxy.relay import running_proxy
from tests.proxy.script import Deed, Rule
from tests.servers import Servers

SPEED = 200.0
RECORDS, SIZE = 20, 4
PAGES = RECORDS // SIZE
SEEDS = [int(s) for s in os.environ.get("SYNCD_SEEDS", "").split()] or range(30)
"""Replay one with SYNCD_SEEDS=17."""

PAGE = "UPDATE syncd.checkpoint AS c"
"""What a page's transaction begins with, and no other."""


async def once_through_database_proxy(
    syncd: Syncd, database: str, rules: list[Rule], *, fires: int | None = None
) -> Proof:
    """One cycle with these rules between syncd and Postgres; proves what always holds."""
    async with (
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
        running_proxy(to=socket_of(database), script=rules) as proxy,
    ):
        syncd.write(
            config(
                mock.base_url,
                through(proxy, database, connect_timeout=2),
                speed=SPEED,
                size=SIZE,
            )
        )
        done = await syncd.command("once")
        said = f"{rules}\n{proxy.log}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        assert fires is None or len(proxy.log) == fires, said
        found = await proof(mock, database, syncd.path)
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)
    return found


# --- the answer to COMMIT ----------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("page", [1, (PAGES + 1) // 2, PAGES], ids=["first", "middle", "last"])
async def test_the_answer_to_a_pages_commit_lost_the_page_is_neither_lost_nor_doubled(
    postgres: str, syncd: Syncd, page: int
) -> None:
    """resume, page-atomic: what became of it is read, and COMMIT is not sent again."""
    lost = Rule(statement="COMMIT", of=PAGE, nth=page, do="swallow")
    found = await once_through_database_proxy(syncd, postgres, [lost], fires=1)
    assert found.transactions == PAGES
    assert found.answered == {f"page={n}": 1 for n in range(1, PAGES + 1)}
    assert set(found.calls.values()) == {1}


@pytest.mark.long
@pytest.mark.parametrize("page", [1, (PAGES + 1) // 2, PAGES], ids=["first", "middle", "last"])
async def test_a_commit_that_never_arrived_is_made_again_without_another_request(
    postgres: str, syncd: Syncd, page: int
) -> None:
    """resume, no-blind-repeat: the page and its answers are still in hand."""
    lost = Rule(statement="COMMIT", of=PAGE, nth=page, do="reset")
    found = await once_through_database_proxy(syncd, postgres, [lost], fires=1)
    assert found.transactions == PAGES
    assert found.answered == {f"page={n}": 1 for n in range(1, PAGES + 1)}
    assert set(found.calls.values()) == {1}


@pytest.mark.long
@pytest.mark.parametrize("nth", [1, 6])
@pytest.mark.parametrize("do", ["swallow", "reset"])
@pytest.mark.parametrize(
    "of",
    ["SET version = t.version + 1, counted_at", "ON CONFLICT (idempotency_key) DO UPDATE"],
    ids=["token", "settlement"],
)
async def test_any_other_commit_lost_costs_neither_a_record_nor_a_second_call(
    postgres: str, syncd: Syncd, of: str, do: Deed, nth: int
) -> None:
    """budget, no-blind-repeat: a token in doubt is spent, a settlement in doubt is made again."""
    rule = Rule(statement="COMMIT", of=of, nth=nth, do=do)
    found = await once_through_database_proxy(syncd, postgres, [rule], fires=1)
    assert found.answered == {f"page={n}": 1 for n in range(1, PAGES + 1)}
    assert set(found.calls.values()) == {1}


@pytest.mark.long
@pytest.mark.parametrize("do", ["swallow", "reset"])
async def test_the_commit_that_begins_a_cycle_lost_begins_one_cycle(
    postgres: str, syncd: Syncd, do: Deed
) -> None:
    """resume: read anew, the cycle has begun or has not; there are never two."""
    rule = Rule(statement="COMMIT", of="INSERT INTO syncd.cycle", do=do)
    await once_through_database_proxy(syncd, postgres, [rule], fires=1)
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM syncd.cycle").fetchone() == (1,)


@pytest.mark.long
@pytest.mark.parametrize("do", ["swallow", "reset"])
async def test_each_commit_of_a_start_lost_the_daemon_starts_all_the_same(
    servers: Servers, tmp_path: Path, do: Deed
) -> None:
    """resume: schema, lease, table, budget, checkpoint: `run` comes again until all is there."""
    fired = True
    nth = 0
    while fired:
        nth += 1
        with servers["embedded"].fresh_database() as database:
            fired = await started_without_commit(Syncd(tmp_path / f"{nth}.toml"), database, do, nth)
    assert nth > 8  # as many as a start has; the rest of the cycle has its tests above


async def started_without_commit(syncd: Syncd, database: str, do: Deed, nth: int) -> bool:
    """Start with that COMMIT lost; False if the first page was committed before it."""
    rule = Rule(statement="COMMIT", nth=nth, do=do)
    async with (
        running_mock(speed=SPEED, campaigns=SIZE) as mock,
        running_proxy(to=socket_of(database), script=[rule]) as proxy,
    ):
        behind = through(proxy, database, connect_timeout=2)
        syncd.write(config(mock.base_url, behind, speed=SPEED, size=SIZE))
        async with daemon(syncd) as running:
            await running.until("cycle started")
            fired = bool(proxy.log)
            await running.leave()
        found = await proof(mock, database, syncd.path)
    found.assert_equal(records=SIZE, pages=1, said=f"{do} {nth}\n{running.said}")
    return fired


# --- cut off, and back again -------------------------------------------------------------------


@pytest.mark.long
async def test_one_that_was_cut_off_while_another_took_over_writes_nothing_more(
    postgres: str, tmp_path: Path
) -> None:
    """resume, page-atomic: back again it finds the lease taken, and says so."""
    former = Syncd(tmp_path / "former.toml", module="tests.daemon.impatient")
    other = Syncd(tmp_path / "other.toml")
    async with (
        running_mock(speed=SPEED, campaigns=2 * RECORDS) as mock,
        running_proxy(to=socket_of(postgres)) as proxy,
    ):
        behind = through(proxy, postgres, connect_timeout=2)
        former.write(config(mock.base_url, behind, speed=SPEED, size=SIZE))
        other.write(config(mock.base_url, postgres, speed=SPEED, size=SIZE))
        async with daemon(former, former.module) as first:
            await first.until("records=8")
            proxy.silence()
            await first.until("Postgres is away")
            with psycopg.connect(postgres, autocommit=True) as admin:
                admin.execute("UPDATE syncd.lease SET expires_at = 'epoch'")  # 30 s later
            async with daemon(other) as second:
                await second.leave()
            proxy.follow()
            proxy.reset_all()
            await first.until("stop the other one")
            first.process.terminate()
            assert await first.process.wait() == 0
        found = await proof(mock, postgres, other.path)
    said = f"{first.said}\n{second.said}"
    found.assert_equal(records=2 * RECORDS, pages=2 * PAGES, said=said)
    assert found.transactions == 2 * PAGES, said
    twice = {call for call, times in found.calls.items() if times > 1}
    assert len(twice) <= 2 * SIZE, said  # what the first had in flight, or could not settle


# --- Postgres's connections at any moment ------------------------------------------------------


def some_moments(seed: int) -> list[Rule]:
    """Three connections that end or fall silent, each after some bytes of a side."""
    rng = random.Random(seed)
    return [
        Rule(
            name=f"SYNCD_SEEDS={seed}, {n}",
            # The first ones are those of the start, where `once` gives up and `run` does not.
            from_=rng.randint(4, 6),
            times=1,
            side=rng.choice(("up", "down")),
            after=rng.choice((0, rng.randint(1, 2_000), rng.randint(1, 20_000))),
            do=rng.choice(("cut", "reset", "black-hole")),
        )
        for n in range(3)
    ]


async def seeded(seed: int, postgres: str, folder: Path) -> None:
    own = await copied(postgres, f"{psycopg.conninfo.conninfo_to_dict(postgres)['dbname']}_{seed}")
    syncd = Syncd(folder / f"{seed}.toml", module="tests.daemon.impatient")
    found = await once_through_database_proxy(syncd, own, some_moments(seed))
    assert found.answered == {f"page={n}": 1 for n in range(1, PAGES + 1)}, f"seed {seed}"


@pytest.mark.long
async def test_connections_to_postgres_that_end_at_thirty_moments_cost_nothing(
    postgres: str, tmp_path: Path
) -> None:
    """resume, no-blind-repeat, budget: cut, reset or silent after any byte of a side."""
    for seed in SEEDS:
        await seeded(seed, postgres, tmp_path)


# --- the API's answers -------------------------------------------------------------------------


async def once_through_api_proxy(
    syncd: Syncd, database: str, rules: list[Rule], *, call: str = 'repeat = "with-key"'
) -> tuple[Proof, str]:
    """One cycle with these rules between syncd and the API."""
    async with running_mock(speed=SPEED, campaigns=RECORDS) as mock:
        async with running_proxy(to=mock.base_url.removeprefix("http://"), script=rules) as proxy:
            base_url = f"http://{proxy.address}"
            # As many as the rules can break, and one more.
            text = config(
                base_url, database, speed=SPEED, size=SIZE, call=call, source="retries = 8"
            )
            syncd.write(text)
            done = await syncd.command("once")
            said = f"{rules}\n{proxy.log}\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
            assert proxy.log, said
        return await proof(mock, database, syncd.path), said


def some_answers(seed: int) -> list[Rule]:
    """Up to six answers that break off, and one that takes for ever."""
    rng = random.Random(seed)
    broken = [
        Rule(
            name=f"SYNCD_SEEDS={seed}, {n}",
            from_=rng.randint(1, 3),
            every=rng.randint(1, 3),
            times=rng.randint(1, 2),
            side=rng.choice(("up", "down", "down")),
            # A page has some 1,400 bytes, a call's answer 300.
            after=rng.choice((0, rng.randint(1, 400), rng.randint(1, 1_800))),
            do=rng.choice(("cut", "reset")),
        )
        for n in range(3)
    ]
    slow = Rule(
        from_=rng.randint(2, 4), times=1, after=rng.randint(0, 500), do="drip", seconds=0.02
    )
    return [*broken, slow]


async def seeded_answers(seed: int, postgres: str, folder: Path) -> None:
    own = await copied(postgres, f"{psycopg.conninfo.conninfo_to_dict(postgres)['dbname']}_{seed}")
    # Enough of them fail for the breaker to open, now and then more than once.
    syncd = Syncd(folder / f"{seed}.toml", module="tests.daemon.probing")
    found, said = await once_through_api_proxy(syncd, own, some_answers(seed))
    found.assert_equal(records=RECORDS, pages=PAGES, said=said)


@pytest.mark.long
async def test_answers_that_break_off_at_thirty_moments_cost_nothing_but_requests(
    postgres: str, tmp_path: Path
) -> None:
    """resume, no-blind-repeat, budget: cut, reset, dripped past the timeout, at any byte."""
    for seed in SEEDS:
        await seeded_answers(seed, postgres, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("do", ["cut", "reset", "black-hole", "drip"])
async def test_the_answer_to_a_call_lost_that_may_not_be_repeated_is_put_aside(
    postgres: str, syncd: Syncd, do: Deed
) -> None:
    """no-blind-repeat: its outcome is unknown, it is told, and it is never made again."""
    rules = [
        Rule(text="POST /api/campaigns/", nth=nth, after=20, do=do, seconds=0.1) for nth in (1, 5)
    ]
    found, said = await once_through_api_proxy(syncd, postgres, rules, call='repeat = "never"')
    assert set(found.calls.values()) == {1}, said
    assert found.dead == found.missing == 2, said
    assert (found.outcome, found.balanced, found.seen) == ("ok", True, RECORDS), said
    assert found.fullest <= 10
