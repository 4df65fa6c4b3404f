"""How is one table of a config read so that every fault in it is found, not just the first?

A Node is a table and where it stands.  Each getter names a key, checks its value and
gives it, or notes a fault and gives a stand-in, so that reading goes on.  `finish`
notes the keys that nobody asked for.
"""

import difflib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

from syncd.config import units
from syncd.config.secrets import MissingSecretError
from syncd.config.settings import Secret
from syncd.errors import Fault

T = TypeVar("T")

LONGEST_SHOWN = 60  # characters of a wrong value

KINDS = {
    int: "a number", float: "a number",
    str: "text", list: "a list", dict: "a table",
}  # fmt: skip

LARGEST = 2**63 - 1  # TOML's integers; tomllib reads larger ones

REFERENCES = (
    '{ credential = "name" }, { env = "NAME" }, { file = "/path" } or '
    '{ command = ["program", "argument"] }'
)
"""How a secret is named."""

REQUIRED: Any = object()
"""As a default: the key must be there."""

Reveal = Callable[[Mapping[str, Any]], Secret]
"""Makes a Secret of a reference such as `{ env = "NAME" }`; raises MissingSecretError."""


def shown(value: object) -> str:
    """What was found, on one short line."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        text = f"a table ({', '.join(map(str, value))})" if value else "an empty table"
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, int) and abs(value) > LARGEST:
        text = "a number beyond 64 bits"  # Python refuses to write the largest of them
    elif isinstance(value, str | int | float):
        text = repr(value)
    else:
        text = str(value)  # a date or a time, as TOML writes it
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def kind(value: object) -> str:
    """What was found, for where the value itself may be a secret."""
    if isinstance(value, bool):
        return shown(value)
    return "empty text" if value == "" else KINDS.get(type(value), "a date or time")


def one_line(text: str) -> str:
    """What a terminal or a log would not show as it is, in TOML's escapes."""
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def dotted(start: str, *keys: str) -> str:
    """A path as an operator would write it: `sources.x.streams."a b"`."""
    return ".".join([*([start] if start else []), *map(_key, keys)])


def _key(key: str) -> str:
    bare = key and key.isascii() and all(c.isalnum() or c in "-_" for c in key)
    return key if bare else json.dumps(key, ensure_ascii=False)


@attrs.define(eq=False, kw_only=True)
class Node:
    """One table of the file."""

    path: str
    values: Mapping[str, Any]
    faults: list[Fault]
    reveal: Reveal
    _known: set[str] = attrs.field(factory=set, init=False)

    def at(self, *keys: str) -> str:
        """The path of a key in this table."""
        return dotted(self.path, *keys)

    def fault(self, key: str, message: str) -> None:
        self.fault_at((key,), message)

    def fault_at(self, keys: Iterable[str], message: str) -> None:
        """A fault of something further in, or of this table itself."""
        self.faults.append(Fault(path=self.at(*keys), message=message))

    def fault_of(self, key: str, place: int, message: str) -> None:
        """A fault of what stands at a place, from 1, of a list."""
        self.faults.append(Fault(path=f"{self.at(key)}[{place}]", message=message))

    def wrong(self, key: str, value: object, allowed: str) -> None:
        self.fault(key, f"found {shown(value)}; it must be {allowed}")

    def has(self, key: str) -> bool:
        self._known.add(key)
        return key in self.values

    def get(self, key: str, default: T, allowed: str, check: Callable[[Any], T | None]) -> T:
        """The key's value as `check` gives it; a fault if that is None."""
        if not self.has(key):
            if default is REQUIRED:
                self.fault(key, f"missing; it must be {allowed}")
            return default
        found = check(self.values[key])
        if found is None:
            self.wrong(key, self.values[key], allowed)
            return default
        return found

    # --- kinds of values ---------------------------------------------------------------

    def text(self, key: str, default: Any = REQUIRED, allowed: str = "text") -> Any:
        return self.get(key, default, f"{allowed}, and not empty", lambda v: _text(v) or None)

    def path_text(self, key: str, default: Any = REQUIRED) -> Any:
        """A dotted path into an answer."""
        return self.text(key, default, 'a path such as "pagination.has_more"')

    def path_or_none(self, key: str, default: str | None) -> str | None:
        """A dotted path into an answer, or None for the empty text."""
        allowed = 'a path such as "pagination.total", or "" for none'
        return self.get(key, default or "", allowed, any_text) or None

    def choice(self, key: str, choices: Collection[str], default: Any = REQUIRED) -> Any:
        allowed = " or ".join(f'"{c}"' for c in choices)
        return self.get(key, default, allowed, lambda v: v if v in choices else None)

    def flag(self, key: str, *, default: bool) -> bool:
        return self.get(key, default, "true or false", lambda v: v if isinstance(v, bool) else None)

    def count(self, key: str, default: Any = REQUIRED, *, least: int = 1, most: int = 10**9) -> Any:
        def check(value: Any) -> int | None:
            whole = isinstance(value, int) and not isinstance(value, bool)
            return value if whole and least <= value <= most else None

        return self.get(key, default, f"a whole number from {least} to {most}", check)

    def duration(self, key: str, default: Any = REQUIRED, *, zero: bool = False) -> Any:
        def check(value: Any) -> float | None:
            found = units.seconds(value)
            return found if found is not None and (found > 0 or (zero and found == 0)) else None

        least = "0 or more" if zero else "more than 0"
        allowed = f'a duration of {least} and up to ten years, such as "250ms", "15s" or "2h"'
        return self.get(key, default, allowed, check)

    def size(self, key: str, default: Any) -> Any:
        def check(value: Any) -> int | None:
            found = units.size(value)
            return found if found is not None and found > 0 else None

        return self.get(key, default, 'a size of more than 0, such as "64MiB" or "200kB"', check)

    def texts(
        self, key: str, default: Any = REQUIRED, *, filled: bool = False, example: str = "id"
    ) -> Any:
        """A list of different texts; empty only if the key may be left out, and not `filled`."""
        filled = filled or default is REQUIRED

        def check(value: Any) -> tuple[str, ...] | None:
            good = isinstance(value, list) and all(_text(v) for v in value)
            good = good and len(set(value)) == len(value)
            return tuple(value) if good and (value or not filled) else None

        least = "one or more" if filled else "any number of"
        such = f"such as {json.dumps([example])}"
        allowed = f"a list of {least} different texts, none of them empty, {such}"
        return self.get(key, default, allowed, check)

    def text_or_secret(self, key: str, default: Any = REQUIRED) -> Any:
        """Text, or a Secret by reference."""
        if isinstance(value := self.values.get(key), dict):
            self._known.add(key)
            try:
                return self.reveal(value)
            except MissingSecretError as missing:
                self.fault(key, str(missing))
                return Secret("", "nowhere")
        if key in self.values and not _text(value):
            self._known.add(key)
            allowed = 'text that is not empty, or a reference such as { env = "NAME" }'
            self.fault(key, f"found {kind(value)}; it must be {allowed}")
            return default
        return self.text(key, default)

    def secret(self, key: str) -> Secret:
        """A Secret, always by reference."""
        if isinstance(self.values.get(key), dict):
            found: Secret = self.text_or_secret(key)
            return found
        there = self.has(key)
        what = "a secret's value must not stand in the file" if there else "missing"
        self.fault(
            key,
            f"{what}; say where it is: {REFERENCES}",
        )
        return Secret("", "nowhere")

    def json(self, key: str, default: dict[str, Any]) -> dict[str, Any]:
        """A table that can be written as JSON: a request's body."""

        def check(value: Any) -> dict[str, Any] | None:
            return value if isinstance(value, dict) and _is_json(value) else None

        return self.get(key, default, "a table of texts, numbers, true, false and lists", check)

    def address(
        self, key: str, default: Any = REQUIRED, *, query: bool = False, other: str = ""
    ) -> str:
        """A path on the API's server; `other` says what else is allowed."""

        def check(value: Any) -> str | None:
            good = isinstance(value, str) and value.startswith("/") and value.isprintable()
            return value if good and not set(value) & set("#" if query else "?#") else None

        without = "" if query else " and holds no '?' (a query goes into `params`)"
        found = self.get(key, default, f'a path that begins with "/"{without}{other}', check)
        return "/" if found is REQUIRED else str(found)

    # --- tables ---------------------------------------------------------------------------

    def table(self, key: str, example: str = "") -> "Node | None":
        """The table under a key, or None if it is not there or is none."""
        if not self.has(key):
            return None
        return self.child(key, self.values[key], example)

    def child(self, key: str, value: object, example: str = "") -> "Node | None":
        if not isinstance(value, dict):
            such = f" such as {example}" if example else ""
            self.fault(key, f"found {kind(value)}; it must be a table{such}")
            return None
        return Node(path=self.at(key), values=value, faults=self.faults, reveal=self.reveal)

    def tables(self, key: str) -> "Iterator[tuple[str, Node]]":
        """Each table in the table under a key, by its name."""
        whole = self.table(key)
        if whole is None:
            return
        for name, value in whole.values.items():
            if (child := whole.child(name, value)) is not None:
                yield name, child

    def list_of_tables(self, key: str) -> "Iterator[tuple[int, Node]]":
        """Each table of an array of tables, by its place from 1; its path is `key[1]`."""
        if not self.has(key):
            return
        value = self.values[key]
        if not isinstance(value, list):
            self.fault(key, f"found {kind(value)}; it must be tables, each under [[{key}]]")
            return
        for place, inner in enumerate(value, 1):
            path = f"{self.at(key)}[{place}]"
            if isinstance(inner, dict):
                yield place, Node(path=path, values=inner, faults=self.faults, reveal=self.reveal)
            else:
                self.fault_of(key, place, f"found {kind(inner)}; it must be a table")

    def mapping(self, key: str, allowed: str, check: Callable[[Any], T | None]) -> dict[str, T]:
        """The table under a key whose values are all of one kind."""
        whole = self.table(key)
        found: dict[str, T] = {}
        if whole is None:
            return found
        for name in whole.values:
            value = whole.get(name, REQUIRED, allowed, check)
            if value is not REQUIRED:
                found[name] = value
        return found

    def finish(self, kinds: Iterable[type[attrs.AttrsInstance]] = ()) -> None:
        """Note the keys that mean nothing here; those of `kinds` have a place in others."""
        for key in self.values:
            others = [k for k in kinds if key in attrs.fields_dict(k)]
            if key not in self._known and others:
                names = ", ".join(attrs.fields_dict(k)["kind"].default or "" for k in others)
                self.fault(key, f"`{key}` belongs to the kind{'s' * (len(others) > 1)} {names}")
            elif key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                known = ", ".join(sorted(self._known))
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {known}"
                self.fault(key, f"unknown key; {hint}")


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) <= LARGEST)


def as_text(value: object) -> str | None:
    """As a check: one value as text, the way an answer's is compared or a request's is sent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) <= LARGEST else None
    return value if isinstance(value, str) else None


def as_texts(value: object) -> tuple[str, ...] | None:
    """As a check: a value, or a list of them, each as text."""
    values = value if isinstance(value, list) else [value]
    texts = [str(v) if isinstance(v, float) else as_text(v) for v in values]
    found = tuple(t for t in texts if t is not None)
    return found if values and len(found) == len(values) else None


def any_text(value: object) -> str | None:
    """As a check: text that may be empty."""
    return value if isinstance(value, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
