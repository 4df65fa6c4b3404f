"""How are the side door and the metrics built and plugged in, if the config wants them?

Only then is anything of them imported: hypercorn, starlette, prometheus_client and what they
bring cost memory.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from syncd import __version__, logs
from syncd.app import database
from syncd.app.measuring import inside
from syncd.app.opened import App
from syncd.config.settings import Settings
from syncd.errors import ConfigError, Fault
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync import events
from syncd.sync.model import StreamId
from syncd.sync.picture import Story

if TYPE_CHECKING:
    from syncd.admin.door import Door
    from syncd.metrics.metrics import Metrics


@attrs.define(eq=False)
class SideDoor:
    """The side door, or the wall where there is none: then nothing here does anything."""

    door: "Door | None" = None
    metrics: "Metrics | None" = None
    _socket: socket.socket | None = None

    def hear(self, event: events.Event) -> None:
        """Take in one event of the loop."""
        if self.metrics is not None:
            self.metrics.hear(event)
        if self.door is not None:
            self.door.hear(event)

    async def run(self) -> None:
        """Serve until cancelled."""
        if self.door is not None and self.metrics is not None and self._socket is not None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.metrics.run)
                nursery.start_soon(self.door.run, self._socket)

    async def work(self, app: App) -> None:
        """Do what needs the store, until cancelled."""
        if self.metrics is not None:
            self.metrics.inside = partial(inside, app)
        if self.door is None:
            return
        door, looking = self.door, Looking(app.store.connections)

        async def story(stream: StreamId, key: str) -> Story:
            of = door.settings.sources[stream.source].streams[stream.stream]
            return await looking.story(stream, database.table(of), key)

        await door.work(looking, Asking(app.store.connections), story)

    def away(self, reason: str) -> None:
        """Postgres can't be reached at the start."""
        if self.door is not None:
            self.door.away(reason)

    def follow(self, settings: Settings) -> None:
        """A reload was taken up: these hold from now on."""
        if self.door is not None:
            self.door.settings = settings
            self.door.reloaded(())
        if self.metrics is not None:
            self.metrics.follow(settings)

    def refused(self, faults: Iterable[str]) -> None:
        """A reload was refused, for these faults."""
        if self.door is not None:
            self.door.reloaded(faults)
        if self.metrics is not None:
            self.metrics.refused()

    def leave(self) -> None:
        """The daemon drains."""
        if self.door is not None:
            self.door.leave()


@contextmanager
def side_door(settings: Settings) -> Iterator[SideDoor]:
    """Listen, if the config says where; raises ConfigError if that can't be done."""
    if settings.admin is None:
        yield SideDoor()
        return
    try:
        from syncd.admin.door import Door, Telling  # noqa: PLC0415 - costs memory
        from syncd.admin.listening import address, listening  # noqa: PLC0415
        from syncd.admin.readiness import Ourselves  # noqa: PLC0415
        from syncd.metrics.metrics import Metrics  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = f"it needs {error.name}, which is not installed: install syncd anew"
        raise ConfigError([Fault(path="admin", message=message)]) from error
    with listening(settings.admin) as sock:
        logs.remember()
        door = Door(
            settings=settings,
            ourselves=Ourselves(host=socket.gethostname(), pid=os.getpid()),
            version=__version__,
            recent=logs.recent,
            telling=Telling(refused=logs.door_refused, failed=logs.door_failed, safe=logs.hidden),
            clock=time.time,
        )
        metrics = Metrics(settings=settings, taken=lambda: door.feed.taken)
        door.show_metrics(metrics.render)
        door.heed(metrics.postgres_away)
        logs.door_open(address(sock))
        yield SideDoor(door, metrics, sock)
