"""Whether docs/operations.md explains every line that syncd can say, and no other."""

import ast
import re
from pathlib import Path

import pytest

from syncd.logs import kinds
from syncd.logs.shapes import as_json, plain
from syncd.logs.todo import WHAT_TO_DO
from tests.unit.test_logs_shapes import entry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
ROW = re.compile(
    r"^\| `([^`]+)` \| ([A-Z]+) \| (?:`([a-z-]+)`|—) \| .+\. \| .+\. \|$", re.MULTILINE
)
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
WITH_ADVICE = re.compile(
    r"^\| `([^`]+)` \| ([A-Z]+) \| (?:`([a-z-]+)`|—) \| .+\. \| (.+\.) \|$", re.MULTILINE
)
LEVELS = ("debug", "info", "warning", "error", "critical")


def said_elsewhere() -> set[tuple[str, str]]:
    """Sentence and level of each line that is logged without an event of the loop."""
    found = set()
    for path in (ROOT / "syncd").rglob("*.py"):
        if (ROOT / "syncd" / "logs") in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and "logger" in ast.unparse(node.func.value)
            ):
                sentence = node.args[0]
                assert isinstance(sentence, ast.Constant), f"{path}: values are bound, not baked in"
                found.add((str(sentence.value), node.func.attr.upper()))
    return found


def test_the_page_explains_every_line_and_no_other() -> None:
    """A line added, changed or dropped in the code is so in the page."""
    rows = set(ROW.findall(PAGE))
    known = {(k.sentence, k.level, k.name) for k in kinds.ALL}
    strays = {(s, level, "") for s, level in said_elsewhere() if s not in kinds.BY_SENTENCE}
    assert rows == known | strays


def test_what_to_do_is_the_same_on_the_page_and_at_the_side_door() -> None:
    """Every warning and every error has it."""
    said = {name: LINK.sub(r"\1", todo) for _, _, name, todo in WITH_ADVICE.findall(PAGE)}
    serious = {kind.name for kind in kinds.ALL if kind.level != "INFO"}
    assert {name: said[name] for name in serious} == WHAT_TO_DO


def test_a_sentence_has_one_level_wherever_it_is_said() -> None:
    """The catalog and who says it agree."""
    for sentence, level in said_elsewhere():
        kind = kinds.BY_SENTENCE.get(sentence)
        assert kind is None or kind.level == level, sentence


@pytest.mark.parametrize("of", ["name", "sentence", "id"])
def test_no_two_kinds_are_called_the_same(of: str) -> None:
    """Whoever filters gets one kind of line."""
    values = [getattr(kind, of) for kind in kinds.ALL]
    assert len(values) == len(set(values)) > 20


def test_an_id_is_as_journald_wants_it() -> None:
    """32 lower-case hexadecimal digits."""
    assert all(re.fullmatch("[0-9a-f]{32}", kind.id) for kind in kinds.ALL)


def test_the_page_shows_the_lines_as_they_are() -> None:
    """Its examples are what the sinks write."""
    shown = entry(fields={"cycle": 3, "page": 7, "records": 70})
    for line in (plain(shown), as_json(shown)):
        assert f"    {line}\n" in PAGE
