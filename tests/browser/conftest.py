"""A real browser, and whatever goes wrong in it: a test whose page complains fails."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsing import chromium, found
from tests.browser.stage import Stage

PATIENCE = 15_000.0  # ms
DESKTOP = (1200, 800)

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The session's browser; started by the first test that asks."""
    if found() is None:
        pytest.skip("no Chromium is installed")
    with chromium() as browser:
        yield browser


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A side door whose words are the test's own."""
    with Stage().playing() as stage:
        yield stage


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of; a test takes out what it has provoked."""
    return []


@pytest.fixture
def open_page(browser: Browser, complaints: list[str]) -> Iterator[Open]:
    """Opens a page: `open_page(url, size=…, scheme=…)`."""
    with ExitStack() as opened:

        def open_one(url: str, size: tuple[int, int] = DESKTOP, scheme: Any = "light") -> Page:
            viewport: Any = {"width": size[0], "height": size[1]}
            context = browser.new_context(
                viewport=viewport, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
            )
            opened.callback(context.close)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on(
                "console",
                lambda line: (
                    complaints.append(line.text) if line.type in ("error", "warning") else None
                ),
            )
            page.goto(url)
            return page

        yield open_one
    # What a test provokes on purpose, a request that is refused or comes to nothing, is the
    # browser's own line.  All else (a policy that was violated, an exception) is our fault.
    ours = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert ours == []
