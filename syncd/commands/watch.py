"""`syncd status --watch`: the same picture, drawn anew each second.

One task looks, one draws, one waits for the key that ends it.  A Postgres that goes away ends
nothing: what was seen last stays, with the time since when it can't be looked at.
"""

import io
import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
import click
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from syncd.app import database
from syncd.commands.screen import Screen
from syncd.commands.status import look, show
from syncd.config.settings import Settings
from syncd.errors import StoreRefused, StoreUnavailable
from syncd.store.looking import Looking
from syncd.sync.model import StreamId
from syncd.sync.picture import Picture, Seen
from syncd.views.live import ASCII
from syncd.views.standing import standing
from syncd.views.words import clock, number, plain

EACH = 1.0  # seconds from one look to the next
SILENT = 3.0  # seconds without an answer, after which that is said
CALM = ("resting", "never ran")
"""States that give way where not all streams have room."""


def watch(settings: Settings, streams: Sequence[StreamId]) -> None:
    """Show how the streams stand until a person has seen enough."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise click.UsageError(
            "--watch needs a terminal; elsewhere ask again and again, with --json for programs"
        )
    trio.run(_watch, settings, streams, console)


async def _watch(settings: Settings, streams: Sequence[StreamId], console: Console) -> None:
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        seeing = _Seeing(
            looking=looking,
            settings=settings,
            streams=streams,
            console=console,
            # Before the screen is taken: what is wrong with the schema is an error.
            picture=await look(looking, settings, streams),
        )
        async with trio.open_nursery() as nursery:
            live = Live(console=console, screen=True, auto_refresh=False)
            with _keys() as keyboard, live:
                nursery.start_soon(seeing.look_on)
                nursery.start_soon(seeing.draw_on, live)
                await _until_enough(seeing, live, keyboard)
            # The screen is the person's again; a look under way is not waited for long.
            store.hurry()
            nursery.cancel_scope.cancel()


@attrs.define(eq=False, kw_only=True)
class _Seeing:
    """What was seen last, and since when that is."""

    looking: Looking
    settings: Settings
    streams: Sequence[StreamId]
    console: Console
    picture: Picture
    trouble: str = attrs.field(default="", init=False)
    since: float = attrs.field(factory=time.time, init=False)
    """When it could be looked the last time, by the clock on the wall."""

    asked: float = attrs.field(default=0.0, init=False)
    """When the look that is under way began."""

    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def look_on(self) -> None:
        """Look each second, one look at a time."""
        while True:
            began = trio.current_time()
            self.asked = time.time()
            try:
                self.picture = await look(self.looking, self.settings, self.streams)
                self.trouble, self.since = "", time.time()
            except (StoreUnavailable, StoreRefused) as error:
                self.trouble = str(error)
            self._news.set()
            self.asked = 0.0
            await trio.sleep_until(max(began + EACH, trio.current_time() + EACH / 4))

    async def draw_on(self, live: Live) -> None:
        """Draw what is new, and each second in any case."""
        while True:
            self.draw(live)
            with trio.move_on_after(EACH):
                await self._news.wait()
            self._news = trio.Event()

    def draw(self, live: Live) -> None:
        """Draw what was seen last."""
        live.update(Group(*self._frame()), refresh=True)

    def _frame(self) -> list[Text]:
        """As many lines as the terminal has."""
        width, height = self.console.size
        head = self._head(width)
        room = max(1, height - len(head))
        lines = self._drawn(self.picture, width)
        if len(lines) > room:
            picture, calm = self._without_the_calm(self.picture)
            if calm:
                head.append(Text(f"{number(calm, 'stream')} at rest: not shown, for want of room"))
            lines = self._drawn(picture, width)
            room = max(1, height - len(head))
        if len(lines) > room:
            more = len(lines) - room + 1
            lines = [*lines[: room - 1], Text(f"… {number(more, 'line')} more", style="dim")]
        for line in (all_lines := [*head, *lines]):
            line.truncate(width)
        return all_lines

    def _head(self, width: int) -> list[Text]:
        now = clock(time.time()).partition(" ")[2]
        told = [Text(f"{now} UTC · q ends", style="dim")]
        silent = self.asked and time.time() - self.asked > SILENT
        if self.trouble or silent:
            why = self.trouble or "Postgres does not answer"
            since = clock(self.since).partition(" ")[2]
            said = plain(f"can't look since {since}: {why}")
            told += Text(said, style="bold red").wrap(self.console, width)
        return [*told, Text()]

    def _drawn(self, picture: Picture, width: int) -> list[Text]:
        paper = Console(
            file=io.StringIO(),
            width=width,
            force_terminal=True,
            color_system=self.console.color_system,  # type: ignore[arg-type]  # its own words
            highlight=False,
            no_color=self.console.no_color,
        )
        with paper.capture() as captured:
            show(Screen(paper, width), picture, self.settings, live=True)
        drawn = captured.get()
        if self.console.options.ascii_only:
            drawn = drawn.translate(ASCII)
        return [Text.from_ansi(line) for line in drawn.splitlines()]

    def _without_the_calm(self, picture: Picture) -> tuple[Picture, int]:
        runs = {h.source for h in picture.holders if h.runs}

        def calm(seen: Seen) -> bool:
            of_stream = self.settings.sources[seen.stream.source].streams[seen.stream.stream]
            found = standing(seen, picture.now, of_stream, runs=seen.stream.source in runs)
            return found.state in CALM

        kept = [seen for seen in picture.streams if not calm(seen)]
        return attrs.evolve(picture, streams=kept), len(picture.streams) - len(kept)


# --- what ends it ---------------------------------------------------------------------------------


@contextmanager
def _keys() -> Iterator[int | None]:
    """The keyboard, without an echo and a key at a time; None if there is none."""
    if not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard, termios.TCSADRAIN)
        # Stopped by Ctrl-Z it would leave the shell a strange screen.
        now = termios.tcgetattr(keyboard)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(keyboard, termios.TCSADRAIN, now)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


async def _until_enough(seeing: _Seeing, live: Live, keyboard: int | None) -> None:
    """Return at `q`, at SIGINT or at SIGTERM."""
    ends = (signal.SIGINT, signal.SIGTERM)
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(*ends, signal.SIGWINCH) as signals:
            if keyboard is not None:
                nursery.start_soon(_until_q, keyboard, nursery.cancel_scope)
            async for received in signals:
                if received in ends:
                    nursery.cancel_scope.cancel()
                    break
                seeing.draw(live)


async def _until_q(keyboard: int, enough: trio.CancelScope) -> None:
    while True:
        await trio.lowlevel.wait_readable(keyboard)
        keys = os.read(keyboard, 64)
        if b"q" in keys.lower():
            enough.cancel()
        if not keys:
            return  # the keyboard has gone; a signal still ends it
