"""Which fields of a record does nobody get to see?

They are changed in its JSON before anything looks at it.

hash   a keyed hash, HMAC-SHA256 (RFC 2104): equal values stay equal, and nobody without the
       key can tell what they were, nor try
mask   `***`
drop   as if the API had not sent it

What is null, or not there, stays so.  What was changed is not changed again: dead letters come
this way a second time.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from syncd.api.columns import text_of
from syncd.api.contract import fields_of
from syncd.api.splitting import MalformedError
from syncd.config.settings import Hidden, Secret

MASKED = b'"***"'
_HASHED = re.compile(rb'"hmac:[0-9a-f]{64}"')


@attrs.define(eq=False)
class Hiding:
    """What one stream hides."""

    fields: Mapping[str, Hidden]
    """Path to what becomes of it."""

    key: Secret | None = attrs.field(default=None, repr=False)
    _tree: dict[str, Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        tree: dict[str, Any] = {}
        for path, how in self.fields.items():
            *parents, name = path.split(".")
            at: dict[str, Any] = tree
            for parent in parents:
                at = at.setdefault(parent, {})
            at[name] = how
        self._tree = tree

    def of(self, raw: bytes) -> bytes:
        """The record as everybody sees it; what can't be looked into is hidden whole."""
        return raw if not self._tree else self._changed(raw, self._tree)

    def _changed(self, raw: bytes, tree: Mapping[str, Any]) -> bytes:
        if raw.lstrip()[:1] == b"[":
            return MASKED  # a list stands where an object should: nobody can tell what is in it
        if raw.lstrip()[:1] != b"{":
            return raw if raw.strip() == b"null" else MASKED
        try:
            fields = fields_of(raw)
        except MalformedError:
            return MASKED
        kept = []
        for name, value in fields.items():
            how = tree.get(name)
            new: bytes | None = value
            if isinstance(how, dict):
                new = self._changed(value, how)
            elif how is not None and value != b"null":
                new = self._hidden(value, how)
            if new is not None:
                kept.append(json.dumps(name).encode() + b":" + new)
        return b"{" + b",".join(kept) + b"}"

    def _hidden(self, value: bytes, how: Hidden) -> bytes | None:
        match how:
            case "hash":
                return self._hash(value)
            case "mask":
                return MASKED
            case "drop":
                return None

    def _hash(self, value: bytes) -> bytes:
        if _HASHED.fullmatch(value):
            return value
        text = text_of(value)
        said = value if text is None else text.encode("utf-8", "surrogatepass")
        key = b"" if self.key is None else self.key.reveal().encode()
        return f'"hmac:{hmac.digest(key, said, hashlib.sha256).hex()}"'.encode()
