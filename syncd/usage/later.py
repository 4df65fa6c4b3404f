"""Who does what was typed?  The function of the same name, imported only then.

A command that is declared in `syncd.usage.cycles` is done by `syncd.commands.cycles`.
"""

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def later(declared: Callable[[], None]) -> Callable[..., None]:
    """Let a declared command be done by its namesake in `syncd.commands`.

    That one is given what stands before the command's name, as `Options`, and the command's
    own parameters.
    """

    @wraps(declared)
    def done(**parameters: Any) -> None:
        from syncd.commands.options import Options  # noqa: PLC0415 - that is what this is for

        options = Options(**click.get_current_context().find_root().params)
        module = importlib.import_module(declared.__module__.replace("usage", "commands"))
        getattr(module, declared.__name__)(options, **parameters)

    return done
