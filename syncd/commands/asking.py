"""How does a command ask a running syncd for something, and get its answer?

Through the database: a row is written, whoever holds the source's lease takes it and writes
the answer beside it.  So a command works from any host, and needs no open port.
"""

import getpass
import os
import socket
from collections.abc import Sequence

import attrs
import click
import trio

from syncd.errors import SyncdError
from syncd.store.looking import Looking
from syncd.store.postgres import PostgresStore
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.picture import Holder
from syncd.sync.ports import RequestKind

SOON = 0.2  # seconds between two looks at the answer
HEARD = 30.0  # seconds in which a syncd that runs takes a request
PATIENT = 2.0  # seconds after which a person is told what is being waited for


@attrs.frozen
class Answer:
    """What the running syncd said."""

    ok: bool
    text: str


def whoami() -> Asker:
    """Who asks, for the row: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as containers have them
        user = f"uid {os.getuid()}"
    return Asker(who=f"{user}@{socket.gethostname()}")


async def running(store: PostgresStore, sources: Sequence[str]) -> dict[str, Holder]:
    """By source: the syncd that runs it.  Sources that nobody runs are not in it."""
    picture = await Looking(store.connections).picture([], sources, [])
    return {h.source: h for h in picture.holders if h.runs}


async def ask(
    store: PostgresStore,
    holder: Holder,
    kind: RequestKind,
    stream: str | None = None,
    subjects: Sequence[str] = (),
) -> Answer:
    """Ask the syncd that runs the source, and wait for its answer.

    One that is not taken within half a minute, or whose asker leaves before it is taken, is
    withdrawn: nothing happens later that nobody expects any more.
    """
    asking = Asking(store.connections)
    number = await asking.ask(kind, holder.source, stream, asked_by=whoami(), subjects=subjects)
    began, told = trio.current_time(), False
    try:
        while True:
            progress = await asking.progress(number)
            if progress.ended:
                return Answer(progress.ok, progress.answer)
            waited = trio.current_time() - began
            if not progress.taken and waited > HEARD and await asking.withdraw(number):
                raise SyncdError(
                    f"the syncd that runs {holder.source} (pid {holder.pid} on {holder.host}) did "
                    f"not take the request within {HEARD:.0f} s; it was withdrawn. Its log may "
                    "tell why"
                )
            if waited > PATIENT and progress.taken and not told:
                told = True
                click.echo(
                    "asked; it waits for what is under way (Ctrl-C leaves it to syncd)", err=True
                )
            await trio.sleep(SOON)
    finally:
        with trio.move_on_after(5, shield=True):
            await asking.withdraw(number)  # does nothing to one that was taken
