"""What does `hide` of a stream say: which fields of a record does nobody get to see?"""

from typing import Any

from syncd.config.reading import Node
from syncd.config.settings import UNRESOLVED, Hidden, KeysetPages, StreamSettings

LEAST = 16  # characters of a key
WAYS: dict[str, Hidden] = {"hash": "hash", "mask": "mask", "drop": "drop"}


def read_hidden(node: Node) -> dict[str, Hidden]:
    """Path to what becomes of it."""

    def check(value: Any) -> Hidden | None:
        return WAYS.get(value) if isinstance(value, str) else None

    return node.mapping("hide", '"hash", "mask" or "drop"', check)


def check_hidden(node: Node, stream: StreamSettings) -> None:
    """Note what can't be hidden, or not so."""
    _check_key(node, stream)
    for path, how in stream.hide.items():
        within = [p for p in stream.hide if path.startswith(p + ".")]
        if not all(path.split(".")):
            node.fault_at(("hide", path), 'it must be a path such as "address.street"')
        elif within:
            node.fault_at(("hide", path), f"{within[0]!r} is hidden, and this with it")
        _check_columns(node, stream, path, how)
    if isinstance(stream.page, KeysetPages) and stream.page.field in stream.hide:
        node.fault_at(("hide", stream.page.field), "`page.field` is kept in the checkpoint")


def _check_key(node: Node, stream: StreamSettings) -> None:
    key = stream.hide_key
    if key is None and "hash" in stream.hide.values():
        node.fault(
            "hide_key",
            "missing; what a hash without a key hides can be guessed: name a secret of "
            f"{LEAST} or more characters, such as `openssl rand -base64 32` makes",
        )
    elif key is not None and key.value not in ("", UNRESOLVED) and len(key.value) < LEAST:
        node.fault("hide_key", f"the secret from {key.origin} has fewer than {LEAST} characters")


def _check_columns(node: Node, stream: StreamSettings, path: str, how: Hidden) -> None:
    for column, of in stream.columns.items():
        if stream.paths.get(column, column) != path:
            continue
        if how == "hash" and of != "text":
            node.fault_at(("hide", path), f"the column {column!r} is {of}; a hash is text")
        if how == "mask" and of not in ("text", "jsonb"):
            node.fault_at(("hide", path), f"the column {column!r} is {of}; a mask is text")
        if how != "hash" and column in stream.key:
            node.fault_at(("hide", path), f"{column!r} is of the key, which can only be hashed")
