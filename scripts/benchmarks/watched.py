"""The daemon with a witness: what it holds is written to a file, as long as it lives.

SYNCD_WITNESS=FILE python -m scripts.benchmarks.watched --config … run
"""

import gc
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from syncd.cli import main

EVERY = 2.0  # seconds


def held() -> dict[str, int]:
    """Memory in bytes, tasks, threads, descriptors, objects of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names alone
        "objects": len(gc.get_objects()),
    }


async def _witness(path: Path) -> None:
    while True:
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(held()), "utf-8")
        whole.replace(path)
        await trio.sleep(EVERY)


def watched() -> None:
    """Run the command line with a witness in its loop."""
    path = Path(os.environ["SYNCD_WITNESS"])
    run = trio.run

    def with_witness(start: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        async def both() -> Any:
            trio.lowlevel.spawn_system_task(_witness, path)
            return await start(*args)

        return run(both, **options)

    trio.run = with_witness
    main()


if __name__ == "__main__":
    watched()
