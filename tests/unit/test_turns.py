"""Tests that measure are alone, whoever else there is."""

from pathlib import Path

import trio

from tests.turns import turn


async def test_who_is_alone_has_waited_for_all_and_all_wait_for_it(tmp_path: Path) -> None:
    told: list[str] = []
    first, second, third = trio.Event(), trio.Event(), trio.Event()

    def enter(name: str, alone: bool, leave: trio.Event) -> None:
        with turn(tmp_path, alone=alone):
            trio.from_thread.run_sync(told.append, name)
            trio.from_thread.run(leave.wait)
            trio.from_thread.run_sync(told.append, f"{name} leaves")

    async def until(name: str) -> None:
        while name not in told:  # noqa: ASYNC110 - a thread's doing
            await trio.sleep(0.001)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, enter, "one", False, first)
            nursery.start_soon(trio.to_thread.run_sync, enter, "another", False, first)
            await until("one")
            await until("another")
            nursery.start_soon(trio.to_thread.run_sync, enter, "alone", True, second)
            first.set()
            await until("alone")
            nursery.start_soon(trio.to_thread.run_sync, enter, "late", False, third)
            third.set()
            second.set()
    assert set(told[:2]) == {"one", "another"}
    assert set(told[2:4]) == {"one leaves", "another leaves"}
    assert told[4:] == ["alone", "alone leaves", "late", "late leaves"]
