"""What stands before a command's name, and which streams it is asked about."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

import attrs
import click

from syncd import logs
from syncd.config.load import find, load
from syncd.config.secrets import redactions
from syncd.config.settings import Settings
from syncd.sync.model import StreamId


@attrs.frozen(kw_only=True)
class Options:
    """What stands before the command's name."""

    config: Path | None
    overrides: tuple[str, ...]

    def settings(self, *, secrets: bool | Literal["database"] = True) -> Settings:
        """Load the config file; raises ConfigError."""
        path = find(self.config, os.environ)
        return load(path, overrides=self.overrides, secrets=secrets)

    def to_look(self) -> Settings:
        """Load it for a command that asks no API: the database's secret is enough."""
        settings = self.settings(secrets="database")
        logs.configure(level="ERROR", secrets=redactions(settings))
        return settings


def select(known: Iterable[StreamId], names: Collection[str]) -> list[StreamId]:
    """The streams that are meant, in their own order; raises UsageError for what is not known."""
    known = list(known)
    chosen = set()
    for name in names:
        found = [s for s in known if str(s) == name] or [s for s in known if s.stream == name]
        if len(found) != 1:
            what = "several sources have a stream" if found else "there is no stream"
            listed = ", ".join(map(str, found or known)) or "there is none yet"
            raise click.UsageError(f"{what} {name!r}; name one of: {listed}")
        chosen.add(found[0])
    return [s for s in known if s in chosen]
