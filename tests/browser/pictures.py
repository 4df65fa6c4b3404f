"""Pictures of the status page, for the documents: `python -m tests.browser.pictures [SCENE…]`.

The daemon's part is played (`stage.py`), so that every state is there at once; what the objects
hold comes from the real views (`states.py`).
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser.browsing import chromium
from tests.browser.stage import Stage
from tests.browser.states import SCENES, cycle_running

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"desktop": (1200, 780, 1.0), "phone": (390, 844, 1.5)}
SCHEMES = ("light", "dark")
GONE = "daemon-gone"
TALLEST = 1900  # pixels; a page of 200 sources goes on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, GONE, []])
    parser.add_argument("--into", type=Path, default=PLACE)
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for scene in arguments.scenes or [*SCENES, GONE]:
            take(browser, scene, Path(folder), arguments.into)


def take(browser: Browser, scene: str, folder: Path, into: Path) -> None:
    """One scene in every size and scheme."""
    for size, (width, height, scale) in SIZES.items():
        for scheme in SCHEMES:
            stage = Stage()
            SCENES.get(scene, cycle_running)(stage, folder)
            context = browser.new_context(
                viewport={"width": width, "height": height},
                device_scale_factor=scale,
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
                has_touch=size == "phone",
            )
            page = context.new_page()
            with stage.playing():
                page.goto(stage.url)
                page.wait_for_selector(".stream")
                if scene in SCENES:
                    shoot(page, into / f"{scene}-{size}-{scheme}.png")
            if scene == GONE:
                page.wait_for_selector(".notice")
                shoot(page, into / f"{scene}-{size}-{scheme}.png")
            context.close()


def shoot(page: Page, path: Path) -> None:
    """The whole page, once its charts are drawn."""
    if page.locator(".charts:visible").count():
        page.wait_for_selector(".canvas canvas")
    size = page.viewport_size
    assert size is not None
    for _ in range(2):  # what was out of sight is measured when it has come into sight
        page.evaluate("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
        tall = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], tall)})
    page.screenshot(path=path)
    if shutil.which("pngquant"):
        small = ["pngquant", "--force", "--skip-if-larger", "--speed", "1", "--output"]
        subprocess.run([*small, str(path), "128", str(path)], check=False)


if __name__ == "__main__":
    main()
