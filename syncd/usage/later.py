"""Who does what was typed?  The function of the same name, imported only then.

A command that is declared in `syncd.usage.cycles` is done by `syncd.commands.cycles`.
"""

import gc
import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

SELDOM = 10_000  # objects more, until garbage is looked for: not at all costs 2.7 MiB


def later(declared: Callable[[], None]) -> Callable[..., None]:
    """Let a declared command be done by its namesake in `syncd.commands`.

    That one is given what stands before the command's name, as `Options`, and the command's
    own parameters.
    """

    @wraps(declared)
    def done(**parameters: Any) -> None:
        # What is imported stays as long as the process: to search it for garbage now and then,
        # and once more at the end, took a tenth of a short command's CPU.
        usual = gc.get_threshold()
        gc.set_threshold(SELDOM)
        from syncd.commands.options import Options  # noqa: PLC0415 - that is what this is for

        module = importlib.import_module(declared.__module__.replace("usage", "commands"))
        gc.collect()  # for each class attrs makes another one, and leaves the first
        gc.freeze()
        gc.set_threshold(*usual)
        options = Options(**click.get_current_context().find_root().params)
        getattr(module, declared.__name__)(options, **parameters)

    return done
