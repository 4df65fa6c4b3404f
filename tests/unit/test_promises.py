"""Every promise of docs/guarantees.md is held by tests that carry its name."""

import ast
import re
from pathlib import Path

import pytest

from tests import promises

ROOT = Path(__file__).parents[2]


def _held() -> dict[str, int]:
    counts = dict.fromkeys((p.replace("-", "_") for p in promises.NAMES), 0)
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                for promise in promises.of(node.name, ast.get_docstring(node)):
                    counts[promise] += 1
    return counts


@pytest.mark.parametrize("promise", promises.NAMES)
def test_a_promise_is_held_by_tests_that_carry_its_name(promise: str) -> None:
    """No promise stands in the page without a test that one can select by its name."""
    assert _held()[promise.replace("-", "_")] > 0


def test_a_promise_that_a_docstring_names_is_one() -> None:
    """A name that is cut short selects nothing, and nobody notices."""
    unknown = {
        f"{file.name}: {word}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        for word in _named(ast.get_docstring(node) or "")
        if word not in promises.NAMES
    }
    assert not unknown


def _named(docstring: str) -> list[str]:
    """The words with dashes that a docstring begins with, up to the colon."""
    first, colon, _ = docstring.partition(":")
    words = re.split(r",\s*", first) if colon else []
    return [word for word in words if re.fullmatch(r"[a-z]+(-[a-z]+)+", word)]


def test_the_page_names_the_promises_in_their_order() -> None:
    """docs/guarantees.md and the tests speak of the same promises."""
    page = (ROOT / "docs/guarantees.md").read_text("utf-8")
    headings = re.findall(r"^## \d+\. (.+)$", page, re.MULTILINE)
    assert [h.replace(" ", "-") for h in headings] == list(promises.NAMES)
