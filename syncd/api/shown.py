"""How is text that others wrote shown in our own sentences?

Short, on one line, with nothing that a terminal would obey, and with our secrets
struck out: an API may well echo the credentials that it refuses.
"""

import json
import urllib.parse
from collections.abc import Iterable

import attrs

VALUE = 60  # characters of a value in a reason
BODY = 80  # characters of a body in a reason
STRUCK = "***"


def shown(text: str | bytes, limit: int = VALUE) -> str:
    """The text on one line: escaped where it is not printable, cut where it is too long."""
    if isinstance(text, bytes):
        # No character has more than four bytes; do not decode megabytes to show a line.
        text = text[: limit * 4 + 4].decode("utf-8", "backslashreplace")
    cut = text[: limit + 1]
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def excerpt(body: bytes, redactor: "Redactor", limit: int = BODY) -> str:
    """The beginning of a body, without our secrets; "an empty body" if there is nothing."""
    if redactor.muted:
        return "(not shown, since fields of it may be hidden)"
    # Strike out first and cut then: half a secret is a secret too.
    text = redactor.text(body[:4096].decode("utf-8", "backslashreplace"))
    line = shown(" ".join(text.split()), limit)
    return line or "an empty body"


@attrs.define(eq=False)
class Redactor:
    """Strikes out the values it knows, however an answer may have written them."""

    muted: bool = attrs.field(default=False, init=False)
    """Nothing of any body is shown."""

    _needles: set[str] = attrs.field(factory=set, init=False, repr=False)

    def mute(self) -> None:
        """From now on, show nothing of any body."""
        self.muted = True

    def add(self, *secrets: str) -> None:
        self._needles.update(form for secret in secrets if secret for form in _forms(secret))

    def replace(self, old: Iterable[str], new: Iterable[str]) -> None:
        """Forget what holds no longer, so that a year of bearers is not kept."""
        for secret in old:
            self._needles.difference_update(_forms(secret))
        self.add(*new)

    def text(self, text: str) -> str:
        for needle in sorted(self._needles, key=len, reverse=True):
            text = text.replace(needle, STRUCK)
        return text

    def found_in(self, body: bytes) -> bool:
        return any(needle.encode() in body for needle in self._needles)

    def data(self, body: bytes) -> bytes:
        for needle in sorted(self._needles, key=len, reverse=True):
            body = body.replace(needle.encode(), STRUCK.encode())
        return body


def _forms(secret: str) -> set[str]:
    escaped = json.dumps(secret)[1:-1]
    plain = json.dumps(secret, ensure_ascii=False)[1:-1]
    quoted = urllib.parse.quote(secret, safe="")
    return {secret, escaped, plain, quoted, urllib.parse.quote_plus(secret)}
