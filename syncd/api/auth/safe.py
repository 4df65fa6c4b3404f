"""How do bought tokens outlast this process, and how is one login enough for several?

They are sealed before they leave for the store: AES-256-GCM with a fresh nonce (NIST SP 800-38D),
the source's name authenticated with them, so that no row can stand in for another.  Within the
seal stands what they were bought with: other credentials open it, and find nothing of theirs.
"""

import base64
import hashlib
import json
import os
from typing import Any

import attrs

from syncd.api.auth.logins import Granted
from syncd.config.settings import Login, Secret
from syncd.errors import StoreUnavailable
from syncd.sync.vault import Vault

NONCE = 12  # bytes


@attrs.frozen(kw_only=True)
class Kept:
    """What the store holds for us."""

    version: int
    granted: Granted | None = None
    """None if nothing was bought yet with these credentials."""

    left: float = 0.0
    """Seconds that the access token still has."""


@attrs.frozen(eq=False, kw_only=True)
class Safe:
    """One source's place in the vault."""

    source: str
    vault: Vault
    key: Secret
    """32 bytes in base64."""

    async def look(self, login: Login) -> Kept:
        found = await self.vault.look_into_vault(self.source)
        granted = None if found.text is None else self._opened(found.text, login)
        return Kept(version=found.version, granted=granted, left=found.left)

    async def claim(self, version: int, seconds: float) -> bool:
        return await self.vault.claim_login(self.source, version, seconds)

    async def keep(self, version: int, granted: Granted, login: Login) -> bool:
        """Whether it is kept; False if another process has kept something since.

        May be asked again when the answer was lost.
        """
        text = self._sealed(granted, login)
        if await self.vault.keep_bought(self.source, version, text, granted.life):
            return True
        kept = (await self.look(login)).granted
        return kept is not None and kept.token == granted.token

    async def give_back(self, version: int) -> None:
        try:
            await self.vault.give_claim_back(self.source, version)
        except StoreUnavailable:
            return  # it ends by itself

    def _sealed(self, granted: Granted, login: Login) -> bytes:
        held = {**attrs.asdict(granted), "of": _told_by(login)}
        nonce = os.urandom(NONCE)
        sealed: bytes = self._cipher.encrypt(nonce, json.dumps(held).encode(), self._name)
        return nonce + sealed

    def _opened(self, text: bytes, login: Login) -> Granted | None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as below

        try:
            held = json.loads(self._cipher.decrypt(text[:NONCE], text[NONCE:], self._name))
        except (InvalidTag, ValueError):
            return None  # sealed with another key: it is as if nothing had been bought
        return Granted(**held) if held.pop("of") == _told_by(login) else None

    @property
    def _name(self) -> bytes:
        return self.source.encode()

    @property
    def _cipher(self) -> Any:
        # Only where tokens are kept: it costs 3 MiB.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return AESGCM(base64.b64decode(self.key.reveal()))


def _told_by(login: Login) -> str:
    """What tells one set of credentials from another; never leaves its seal."""
    told = "\0".join([login.kind, login.url, *login.secrets()])
    return hashlib.sha256(told.encode()).hexdigest()
