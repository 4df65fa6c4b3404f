"""Which secrets may no line hold?  The last line of defence, before every sink.

Nothing in syncd writes a secret into a message.  A foreign library's error may, and a
server may send one back; so each value that the config's references led to is replaced
by `***`, in the ways in which such things are written: as it is, in a URL, in JSON, in
Python's quotes.
"""

import json
import re
import string
from collections.abc import Iterable

import attrs

STARS = "***"
SHORT = 4  # characters; a shorter secret is replaced only where it stands alone
UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")  # the same everywhere


@attrs.define(eq=False)
class Hiding:
    """The secrets that are known; they are added to, never forgotten."""

    _known: set[str] = attrs.field(factory=set, init=False, repr=False)
    _pattern: re.Pattern[str] | None = attrs.field(default=None, init=False, repr=False)

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these too, from now on."""
        self._known |= {form for secret in secrets for form in (secret, secret.strip()) if form}
        # The longest first: of a URL and the password in it, the URL goes whole.
        ordered = sorted(self._known, key=lambda secret: (-len(secret), secret))
        self._pattern = re.compile("|".join(map(_piece, ordered))) if ordered else None

    def hide(self, text: str) -> str:
        """The text without any of them."""
        return self._pattern.sub(STARS, text) if self._pattern is not None else text


def _piece(secret: str) -> str:
    piece = "".join(map(_written, secret))
    return rf"(?<!\w){piece}(?!\w)" if len(secret) < SHORT else piece


def _written(character: str) -> str:
    """A character in every way it may be written, however often it was quoted again."""
    itself = re.escape(character)
    if character in UNRESERVED:
        return itself
    in_url = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    escapes = {f(character)[1:-1] for f in (repr, ascii, json.dumps)} - {character}
    bare = {re.escape(escape.lstrip("\\")) for escape in escapes} - {""}
    # A quote or a slash with backslashes before it; of a backslash as many as there are.
    ways = [r"\\+" if character == "\\" else rf"\\*{itself}", f"(?i:{in_url})"]
    ways += [rf"\\+(?i:{escape})" for escape in sorted(bare)]
    ways += [r"\+"] if character == " " else []
    return f"(?:{'|'.join(ways)})"
