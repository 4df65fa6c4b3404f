"""How does it look on a terminal?  One live line a stream."""

import time
from collections.abc import Mapping
from typing import Any, TextIO

import attrs
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from syncd.progress.view import View
from syncd.sync.model import StreamId
from syncd.views.words import one_line, seconds

REFRESH = 0.25  # seconds between two pictures


class _Screen(Console):
    """A console whose reader may go away: the work goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True


@attrs.define(eq=False)
class Terminal:
    """A `Paper` on which the picture is drawn anew."""

    console: Console
    _started: float = attrs.field(factory=time.monotonic, init=False)

    @classmethod
    def of(cls, file: TextIO) -> "Terminal":
        return cls(_Screen(file=file, highlight=False))

    @property
    def width(self) -> int:
        return self.console.width

    def say(self, line: str) -> None:
        """Print a line, above the picture."""
        self.console.print(Text(line), soft_wrap=True)

    async def draw(self, views: Mapping[StreamId, View]) -> None:
        # No refresh thread: the picture is drawn on the loop, between two steps.
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self.picture(views), refresh=True)
                await trio.sleep(REFRESH)

    def picture(self, views: Mapping[StreamId, View]) -> Group:
        grid = Table.grid(padding=(0, 1))
        # One line a stream: of these nothing is cut, what follows may be.
        for justify in ("left", "left", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True)
        for stream, view in views.items():
            total = max(view.total or 0, view.done)
            bar = ProgressBar(
                total=max(total, 1), completed=view.done, width=16, pulse=view.total is None
            )
            # A total that is smaller than what came is a lie, and left out.
            known = view.total is not None and 0 < view.total >= view.done
            records = f"{view.done}/{view.total}" if known else f"{view.done}"
            grid.add_row(
                Text(one_line(str(stream)), style="bold"),
                bar,
                records,
                view.pages_text(),
                _aside(view),
            )
        waits = [w for v in views.values() if (w := v.waiting())]
        left = max((a for v in views.values() if (a := v.arrival())), default=None)
        elapsed = f"{seconds(time.monotonic() - self._started)} gone"
        ahead = f", at the earliest {seconds(left)} to go" if left else ""
        foot = f"{elapsed}{ahead}" + (f" · {waits[0]}" if waits else "")
        return Group(grid, Text(foot, style="dim"))


def _aside(view: View) -> Text:
    # The wait first: a narrow terminal cuts the end off.
    parts = [view.waiting() or view.state]
    if view.page_calls:
        parts.append(f"{view.page_answered}/{view.page_calls} calls")
    if view.retries:
        parts.append("1 retry" if view.retries == 1 else f"{view.retries} retries")
    if view.dead:
        parts.append(f"{view.dead} dead")
    return Text(" · ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")
