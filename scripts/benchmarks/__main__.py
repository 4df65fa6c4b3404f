"""The benchmarks: the real command against a mock or a list, and Postgres."""

import importlib

import click

COMMANDS = {
    "all": "whole:whole",
    "budget": "budget",
    "calls": "calls",
    "concurrency": "concurrency",
    "door": "door",
    "endurance": "endurance",
    "idle": "idle",
    "incremental": "incremental",
    "many": "many",
    "memory": "memory",
    "outage": "endurance",
    "plot": "plot",
    "restart": "restart",
    "start": "start",
    "throughput": "throughput",
    "unchanged": "unchanged",
}
"""Name to the module that it stands in, which is imported when it is asked for; and what it is
called there, if that is another name."""


class _Lazy(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, *other = COMMANDS[name].split(":")
        found = importlib.import_module(f"scripts.benchmarks.{module}")
        command: click.Command = getattr(found, *(other or [name]))
        return command


@click.group(cls=_Lazy)
def bench() -> None:
    """Compare, in one run, and print ratios.

    What was measured, and what is compared with what: docs/performance.md.
    """


if __name__ == "__main__":
    bench(prog_name="scripts/bench")
