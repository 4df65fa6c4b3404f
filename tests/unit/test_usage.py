"""What can be typed stands apart from the work, so that the help comes at once."""

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import click
import pytest

from syncd import logs
from syncd.cli import cli
from syncd.commands.options import Options
from syncd.usage.dead import KINDS
from syncd.usage.run import run
from syncd.views.letters import WHAT_IT_MEANS

SEEN = """
import json, sys
from syncd.__main__ import main

before = set(sys.modules)
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, 2), (words, end.code)
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""
"""Types one line of words after the other, and says what that has imported."""

KNOWN = {"attr", "attrs", "click", "syncd"}
"""The packages that the help may take, beside Python's own."""


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, *path, name)
    else:
        yield path, command


COMMANDS = dict(leaves(cli))


def imported(*lines: list[str]) -> set[str]:
    """What is imported by whoever types these lines; each ends with 0, or with 2."""
    done = subprocess.run(
        [sys.executable, "-c", SEEN, json.dumps(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(modules)


def test_the_help_is_seen_without_what_the_work_needs() -> None:
    """`syncd --help`, each command's and a slip of the fingers take click, and next to nothing."""
    helps = [[*path, "--help"] for path in COMMANDS]
    groups = [[name, "--help"] for name, each in cli.commands.items() if hasattr(each, "commands")]
    slips = [["onse"], ["once", "--hlp"], ["why"], ["dead", "lst"], ["run", "--log", "loud"]]
    found = imported(["--help"], ["--version"], [], *helps, *groups, *slips)
    packages = {m.split(".")[0] for m in found}
    assert packages - sys.stdlib_module_names <= KNOWN
    assert not packages & {"asyncio", "email", "http", "sqlite3", "ssl"}
    ours = {".".join(m.split(".")[:2]) for m in found if m.startswith("syncd.")}
    assert ours <= {"syncd.cli", "syncd.errors", "syncd.usage"}


def test_what_is_imported_when_work_is_asked_for_would_be_seen() -> None:
    """The test above is no test if nothing is ever seen by it."""
    assert {"trio", "syncd.commands.forget"} <= imported(["forget", "campaigns"])


def test_garbage_is_looked_for_as_soon_as_the_work_begins() -> None:
    """What was imported is left alone for good, and what comes after it is not."""
    typed = "import gc; from syncd.cli import cli; before = gc.get_freeze_count()\n"
    typed += "try: cli(['forget', 'campaigns'], standalone_mode=False)\n"
    typed += "except Exception as error: print(type(error).__name__)\n"
    typed += "print(gc.isenabled(), gc.get_freeze_count() - before > 10_000)"
    done = subprocess.run([sys.executable, "-c", typed], capture_output=True, text=True, check=True)
    assert done.stdout == "UsageError\nTrue True\n"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_can_be_typed_is_what_the_work_takes(path: tuple[str, ...]) -> None:
    """A command's parameters are those of the function that does it."""
    command = COMMANDS[path]
    declared = inspect.unwrap(command.callback or pytest.fail("it does nothing"))
    module = importlib.import_module(declared.__module__.replace("usage", "commands"))
    signature = inspect.signature(getattr(module, declared.__name__))
    first, *_ = signature.parameters.values()
    assert first.annotation is Options
    # Raises TypeError if one is missing or too many.
    signature.bind(None, **{parameter.name or "": None for parameter in command.params})


def test_what_can_be_chosen_is_what_there_is() -> None:
    """Choices are written out where they are typed; they are those that the work knows."""
    assert KINDS.choices == tuple(WHAT_IT_MEANS)
    (shape,) = run.params
    assert isinstance(shape.type, click.Choice)
    assert shape.type.choices == get_args(logs.Shape)
