"""The benchmarks: the real command against a mock or a list, and Postgres."""

import importlib

import click

COMMANDS = {
    "budget": "budget",
    "concurrency": "concurrency",
    "door": "door",
    "endurance": "endurance",
    "idle": "idle",
    "many": "many",
    "memory": "memory",
    "outage": "endurance",
    "start": "start",
    "throughput": "throughput",
    "unchanged": "unchanged",
}
"""Name to the module that it stands in, which is imported when it is asked for."""


class _Lazy(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"scripts.benchmarks.{COMMANDS[name]}")
        command: click.Command = getattr(module, name)
        return command


@click.group(cls=_Lazy)
def bench() -> None:
    """Compare, in one run, and print ratios.

    What was measured, and what is compared with what: docs/performance.md.
    """


if __name__ == "__main__":
    bench(prog_name="scripts/bench")
