"""The system's Chromium, driven by Playwright."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>
"""
"""A system font as a desktop has one, where it is installed (`fonts-inter`)."""


def found() -> str | None:
    """Where Chromium is."""
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, and without the network."""
    with tempfile.TemporaryDirectory(prefix="syncd-browser-") as folder:
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS, encoding="utf-8")
        arguments = ["--disable-dev-shm-usage", "--font-render-hinting=none"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # its sandbox refuses to run for root
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=found(),
                args=arguments,
                env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
            )
            try:
                yield browser
            finally:
                browser.close()


__all__ = ["chromium", "found"]
