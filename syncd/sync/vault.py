"""What do logins need of a store, so that what they bought outlasts a process?"""

from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class Sealed:
    """What the last login of a source has bought, as the store keeps it."""

    version: int
    """0 before the first; grows by one with each login."""

    text: bytes | None = attrs.field(repr=False)
    """None before the first login."""

    left: float
    """Seconds that the access token still has, on the store's clock; below 0 when it has ended."""


class Vault(Protocol):
    """Keeps tokens over restarts, and lets one of all processes log in.

    Each method raises StoreUnavailable, StoreRefused.
    """

    async def look_into_vault(self, source: str) -> Sealed: ...

    async def claim_login(self, source: str, version: int, seconds: float) -> bool:
        """The right to log in for so long; False if somebody has it, or the version is older."""

    async def keep_bought(self, source: str, version: int, text: bytes, life: float) -> bool:
        """Put away what was bought instead of `version`, and end the claim.

        False, and nothing is put away, if somebody else has put something away since.
        """

    async def give_claim_back(self, source: str, version: int) -> None:
        """Nothing was bought; others may try."""
