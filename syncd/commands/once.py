"""`syncd once`: one cycle, and what came of it."""

import sys
import time
from typing import Any

import trio

from syncd import logs
from syncd.app.one_cycle import one_cycle
from syncd.commands.options import Options, select
from syncd.config.secrets import redactions
from syncd.progress import Progress
from syncd.sync.model import Committed
from syncd.usage.exits import FAILED
from syncd.views.streams import configured


def once(options: Options, streams: tuple[str, ...]) -> None:
    settings = options.settings()
    only = set(select(configured(settings), streams)) if streams else None
    logs.configure(level="WARNING", secrets=redactions(settings))
    progress = Progress.on(sys.stdout)
    began = time.monotonic()

    async def main() -> Any:
        return await one_cycle(settings, report=progress.hear, only=only, progress=progress)

    supervisor = trio.run(main)
    progress.summary(supervisor.results, time.monotonic() - began)
    results = supervisor.results.values()
    if any(not isinstance(r, Committed) or r.outcome != "ok" for r in results):
        sys.exit(FAILED)
