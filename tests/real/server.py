"""What the tests ask of each server: its records, and to change them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import attrs

from tests.real.records import record


@attrs.define(eq=False, kw_only=True)
class Server(ABC):
    """One running server that is loaded with records."""

    port: int
    env: Mapping[str, str] = attrs.field(factory=dict)
    """The secrets that a config refers to."""

    _next: int = attrs.field(default=100_000, init=False)

    @property
    @abstractmethod
    def address(self) -> str:
        """The path of its list, with the query that a person would give."""

    @property
    def options(self) -> list[str]:
        """What `syncd init` needs beside the address."""
        return []

    @property
    @abstractmethod
    def source(self) -> str:
        """The source in a hand-written config, but for `base_url` at its beginning; the stream is
        `things`, with pages of a few records.
        """

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """All of them, as the server tells them, in one answer or beside its API."""

    @abstractmethod
    def add(self, values: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def change(self, key: Any, values: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def remove(self, key: Any) -> None: ...

    def stir(self) -> None:
        """Change one record, remove one and add one, here and there in the list."""
        self._next += 1
        n, there = self._next, self.records()
        self.change(there[n * 31 % len(there)]["id"], {"name": f"changed {n}", "stock": n})
        self.remove(there[(n * 57 + 5) % len(there)]["id"])
        self.add(record(n))
