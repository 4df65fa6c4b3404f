"""What can be said of the status page without a browser; tests/browser says the rest."""

import hashlib
import re
from pathlib import Path

import pytest

import syncd

STATIC = Path(syncd.__file__).parent / "admin" / "static"
INDEX = (STATIC / "index.html").read_text("utf-8")
MODULES = sorted(STATIC.glob("*.js"))
VENDOR = STATIC / "vendor" / "uplot"


def test_the_chart_library_is_the_one_that_was_published() -> None:
    """Unchanged, with its licence beside it."""
    listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "VERSION").read_text(), re.MULTILINE)
    assert {name for _, name in listed} == {"uPlot.iife.min.js", "uPlot.min.css"}
    for digest, name in listed:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
    assert "MIT License" in (VENDOR / "LICENSE").read_text("utf-8")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_no_text_can_become_markup_or_code(module: Path) -> None:
    """no-secret-out has a neighbour: what an API says is text, and goes in as text."""
    text = module.read_text("utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    )
    assert re.findall(forbidden, text) == []
    for name in re.findall(r'from "\./([^"]+)"', text):
        assert (STATIC / name).is_file(), name


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", INDEX) == []
    for address in re.findall(r'(?:src|href)="([^"#]+)"', INDEX):
        assert (STATIC / address.removeprefix("static/")).is_file(), address


def test_each_element_that_a_module_asks_for_is_there() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', INDEX))
    asked = {
        name
        for module in MODULES
        for name in re.findall(r'\$\("([a-z-]+)"\)', module.read_text("utf-8"))
    }
    assert asked - ids == set()
