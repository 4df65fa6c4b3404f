"""Is a source taken over at once from a process that is gone, and never from one that lives?"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from psycopg import sql

from syncd.errors import CheckpointMoved, LeaseHeld
from tests.contract.subjects import ADS, TABLE, PostgresSubject, one_token

HOLDER = """
import sys, trio
from syncd.store.postgres import open_store

async def main(conninfo, source):
    async with open_store(conninfo) as store:
        lease = await store.acquire_lease(source)
        print(lease.fence, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main, *sys.argv[1:])
"""


@contextmanager
def holder(conninfo: str, source: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Another process that has the lease, and its fence."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, conninfo, source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def test_lease_of_a_process_that_lives_is_refused(real: PostgresSubject) -> None:
    """The refusal says which process on which host has it."""
    with holder(real.conninfo, "ads") as (process, _), pytest.raises(LeaseHeld) as caught:
        await real.store.acquire_lease("ads")
    assert f"pid {process.pid} on " in str(caught.value)


async def test_lease_of_a_killed_process_is_taken_at_once(real: PostgresSubject) -> None:
    """Nobody waits for a lease to run out whose holder is provably gone."""
    with holder(real.conninfo, "ads") as (process, fence):
        process.kill()
        process.wait()
        lease = await real.store.acquire_lease("ads")
    assert lease.fence > fence


async def test_lease_of_a_zombie_is_taken_at_once(real: PostgresSubject) -> None:
    """A process that nobody has collected runs no more either."""
    with holder(real.conninfo, "ads") as (process, fence):
        process.kill()
        with trio.fail_after(20):
            while _state(process.pid) != "Z":  # noqa: ASYNC110 - the kernel tells its parent alone
                await trio.sleep(0.01)
        lease = await real.store.acquire_lease("ads")
    assert lease.fence > fence


async def test_lease_of_a_pid_that_was_given_again_is_taken_at_once(
    real: PostgresSubject,
) -> None:
    """The PID lives, but it is a process that started at another time."""
    with holder(real.conninfo, "ads") as (_, fence):
        await _rewrite(real, '{"started": "1"}')
        assert (await real.store.acquire_lease("ads")).fence > fence


@pytest.mark.parametrize("part", ["boot", "pid_namespace"])
async def test_lease_of_elsewhere_is_not_judged_by_our_processes(
    real: PostgresSubject, part: str
) -> None:
    """On another boot, or in another PID namespace, a PID says nothing about its holder."""
    with holder(real.conninfo, "ads") as (process, _):
        await _rewrite(real, f'{{"{part}": "another"}}')
        process.kill()
        process.wait()
        with pytest.raises(LeaseHeld):
            await real.store.acquire_lease("ads")


async def test_lease_taken_over_leaves_the_former_holder_nothing(real: PostgresSubject) -> None:
    """Its calls are not announced and its checkpoints are not moved."""
    old = await real.store.acquire_lease("ads")
    at = await real.store.open_stream(ADS, TABLE, old, every=900)
    await real.held_elsewhere("ads")
    await real.expire_lease("ads")
    await real.store.acquire_lease("ads")
    with pytest.raises(CheckpointMoved):
        await real.store.begin_cycle(at, fingerprint="f")
    with pytest.raises(CheckpointMoved):
        await one_token(real.store, "b", lifetime=1.0, spent_on="x", lease=old)


def _state(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return stat.rpartition(")")[2].split()[0]


async def _rewrite(real: PostgresSubject, change: str) -> None:
    await real.select(sql.SQL("UPDATE syncd.lease SET holder = holder || %s::jsonb"), change)
