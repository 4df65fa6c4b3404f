"""Which words of a text tell of one record?  They are struck out when it is forgotten.

Reasons, alarms and answers are made of others' words: an API's, Postgres's, a record's own
values, cut where they were too long.  So its key and its values are looked for, as whole words,
as JSON writes them, and cut off.  A key such as `7` is a number like any other: it counts only
where it stands as a key does, in quotes, in brackets, or as a step of an address.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

STRUCK = "***"
SHORT = 4  # characters; a shorter text says little of anybody, and stands in many words
SMALL = 6  # digits; a number of fewer is a page's, a count, a status
CUT = 16  # characters of a long value by which it is known where the rest was cut off

ELLIPSIS = "…"  # where `api.shown` has cut
OPENS, CLOSES = "\"'[/", "\"'],/?"
Stands = Callable[[str, str], bool]
"""Whether a word counts between these two characters, each empty at an end."""

PARAMETER = ("=", "& ")  # what stands around a keyset's key in an address


@attrs.define(eq=False)
class Words:
    """The words of records that are being forgotten."""

    in_addresses: bool = False
    """The list is paged by its records' own keys: `after=7` is one."""

    _forms: set[str] = attrs.field(factory=set, init=False)
    """Keys as JSON arrays; nothing else looks like one."""

    _keys: set[str] = attrs.field(factory=set, init=False)
    """Keys as people say them."""

    _values: set[str] = attrs.field(factory=set, init=False)

    def add_key(self, forms: Iterable[str], said: Iterable[str]) -> None:
        self._forms |= set(forms)
        self._keys |= {form for text in said for form in _written(text)}

    def add_values(self, value: Any) -> None:
        """All that a record, or an answer to its call, holds; numbers as they are written."""
        self._values |= {
            form for text in _leaves(value) if _telling(text) for form in _written(text)
        }

    @property
    def marks(self) -> list[str]:
        """One of these is in each text that holds any of the words."""
        cut = {v[:CUT] for v in self._values}
        return sorted(self._forms | self._keys | cut)

    @property
    def keys(self) -> list[str]:
        """One of these is in each text that holds a key."""
        return sorted(self._forms | self._keys)

    def strike(self, text: str, *, of_keys: bool = False) -> str:
        """The text without them; `of_keys`: it is known to speak of records by their keys."""
        for word in sorted(self._forms, key=len, reverse=True):
            text = text.replace(word, STRUCK)
        for word in sorted(self._keys, key=len, reverse=True):
            text = _without(text, word, _whole if of_keys else self._as(word))
        for word in sorted(self._values, key=len, reverse=True):
            text = _without(text, word, _whole, cut=CUT)
        return text

    def names(self, text: str) -> bool:
        """Whether a key stands in it."""
        if any(form in text for form in self._forms):
            return True
        return any(_without(text, word, self._as(word)) != text for word in self._keys)

    def _as(self, word: str) -> Stands:
        """Where a key has to stand to be one."""
        if not _telling(word):
            return self._as_key
        return _whole if self.in_addresses or not word.isdigit() else _no_parameter

    def _as_key(self, before: str, after: str) -> bool:
        if self.in_addresses and not before + after:  # a cursor is nothing else
            return True
        if self.in_addresses and before == PARAMETER[0] and (not after or after in PARAMETER[1]):
            return True
        return bool(before) and before in OPENS and (not after or after in CLOSES)


def _whole(before: str, after: str) -> bool:
    return not (_in_a_word(before) or _in_a_word(after))


def _no_parameter(before: str, after: str) -> bool:
    """`offset=100000` is no record's."""
    return _whole(before, after) and before != PARAMETER[0]


def _without(text: str, word: str, stands: Stands, cut: int = 0) -> str:
    """The text with a word struck out wherever it `stands` between two characters.

    cut: it is known by so many of its first characters, as far as the text goes on like it.
    """
    known = word[:cut] if cut else word
    at = text.find(known)
    while at >= 0:
        end = at + len(known)
        while end < len(text) and end - at < len(word) and text[end] == word[end - at]:
            end += 1
        after = text[end : end + 1]
        if end - at < len(word) and after in ("", ELLIPSIS):
            after = ""
        elif end - at < len(word):
            at = text.find(known, end)
            continue
        if stands(text[at - 1 : at] if at else "", after):
            text = text[:at] + STRUCK + text[end:]
            end = at + len(STRUCK)
        at = text.find(known, end)
    return text


def _in_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _telling(text: str) -> bool:
    """Whether a text that holds this speaks of the record, and not of something else."""
    return len(text) >= (SMALL if text.lstrip("-").isdigit() else SHORT)


def _written(text: str) -> Iterator[str]:
    """As reasons and JSON have it."""
    if text.strip():
        yield text
        yield " ".join(text.split())
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers of a JSON value, whatever holds them; not the names."""
    todo = [value]
    while todo:
        match todo.pop():
            case dict() as fields:
                todo += fields.values()
            case list() as values:
                todo += values
            case str() as text:
                yield text
            case _:
                pass
