"""Who may come in?

Basic credentials buy a bearer token, which lives as long as the settings say.
Only issued tokens pass.  Tokens that died are forgotten as new ones are issued.
"""

import base64
import binascii
import hmac
import secrets

CAPACITY = 100_000  # live tokens; a client that logs in more often loses its oldest


class Tokens:
    """The tokens that live, and how many logins there were."""

    def __init__(self, *, email: str, password: str, life: float) -> None:
        self._expected = f"{email}:{password}".encode()
        self._life = life
        self._expiry: dict[str, float] = {}  # oldest first: all live equally long
        self.logins = 0
        self.logins_failed = 0

    def login(self, authorization: str, now: float) -> str | None:
        """A new token for the right credentials, else None."""
        if not hmac.compare_digest(_basic(authorization), self._expected):
            self.logins_failed += 1
            return None
        self.logins += 1
        self._forget(now)
        token = secrets.token_urlsafe(32)
        self._expiry[token] = now + self._life
        return token

    def passes(self, authorization: str, now: float) -> bool:
        """Whether the header carries a token that was issued and still lives."""
        token = bearer(authorization)
        return token is not None and now < self._expiry.get(token, now)

    def expire_all(self) -> int:
        """Let every token die now; says how many did."""
        count = len(self._expiry)
        self._expiry.clear()
        return count

    def _forget(self, now: float) -> None:
        while self._expiry:
            oldest = next(iter(self._expiry))
            if self._expiry[oldest] > now and len(self._expiry) < CAPACITY:
                break
            del self._expiry[oldest]


def bearer(authorization: str) -> str | None:
    """The token in an Authorization header, if it holds one."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def _basic(authorization: str) -> bytes:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
