"""What may be asked of a running syncd from outside, and how is it remembered who asked?"""

from collections.abc import Collection, Sequence
from typing import Protocol

import attrs

from syncd.sync.ports import RequestKind

BY_COMMAND = "command"


@attrs.frozen(kw_only=True)
class Asker:
    """Who asks."""

    who: str
    """`user@host` for a command; for the side door, which token it was."""

    origin: str = BY_COMMAND
    """BY_COMMAND, or the address from which the side door was asked."""


@attrs.frozen(kw_only=True)
class Deed:
    """What somebody asked for: an entry of the audit."""

    asker: Asker
    what: str
    subject: str = ""
    ok: bool | None = None
    """None as long as nobody has answered."""

    answer: str = ""


@attrs.frozen(kw_only=True)
class Progress:
    """How far a request has come."""

    taken: bool
    ended: bool
    ok: bool
    answer: str
    known: bool = True
    """False if there is no such request (any more)."""


class Ask(Protocol):
    """Writes what is asked; raises StoreUnavailable, StoreRefused."""

    async def ask(
        self,
        kind: RequestKind,
        source: str,
        stream: str | None,
        *,
        asked_by: Asker,
        subjects: Sequence[str] = (),
    ) -> int:
        """Write a request, and that it was made; its number."""

    async def progress(self, number: int) -> Progress:
        """How far it has come."""

    async def discard(self, ids: Collection[int], *, asked_by: Asker) -> list[int]:
        """Forget dead letters; those that there still were."""

    async def note(self, deed: Deed) -> None:
        """Remember what was done, or refused, without a request."""

    async def audit(self, limit: int) -> tuple[float, list[tuple[float, Deed]]]:
        """The moment, and the last deeds with theirs, newest first."""
