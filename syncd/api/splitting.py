"""Where does each value of a JSON text begin and end, when a strict parser refuses the text?

One NaN, one lone surrogate or one byte that is not UTF-8 makes a whole page
unreadable to a strict parser.  Here a text is cut along its brackets and quotes
alone, without judging what stands between them, so that each record can be
judged by itself.  Nothing recurses: a hundred thousand brackets are only a loop.
"""

import json
import re

_SPACE = re.compile(rb"[ \t\n\r]*")
# Possessive, so that a string of 60 MB keeps no 60 million states to go back to.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TO_NEXT = re.compile(rb'[^\[\]{}"]*+')
_SCALAR = re.compile(rb"[-+.\w]+")
_CLOSING = {0x5B: 0x5D, 0x7B: 0x7D}


class MalformedError(ValueError):
    """The brackets or quotes do not match; `truncated` if only the end is missing."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


def members(text: bytes) -> dict[str, bytes]:
    """The fields of the one object that `text` is; of a name that comes twice the last."""
    found: dict[str, bytes] = {}
    at = _begin(text, b"{")
    while not _ends(text, at, b"}"):
        if found:
            at = _skip(text, _expect(text, at, b","))
        end = _string_end(text, at)
        name = text[at + 1 : end - 1]
        start = _skip(text, _expect(text, _skip(text, end), b":"))
        end = _value_end(text, start)
        found[_name(name)] = text[start:end]
        at = _skip(text, end)
    _finish(text, at)
    return found


def elements(text: bytes) -> list[bytes]:
    """The values of the one list that `text` is."""
    found: list[bytes] = []
    at = _begin(text, b"[")
    while not _ends(text, at, b"]"):
        if found:
            at = _skip(text, _expect(text, at, b","))
        end = _value_end(text, at)
        found.append(text[at:end])
        at = _skip(text, end)
    _finish(text, at)
    return found


def _name(raw: bytes) -> str:
    # A column's name never has to be guessed: bytes that are no UTF-8 match none.
    if b"\\" not in raw:
        return raw.decode("utf-8", "backslashreplace")

    try:
        return str(json.loads(b'"' + raw + b'"', strict=False))
    except ValueError:
        return raw.decode("utf-8", "backslashreplace")


def _begin(text: bytes, opening: bytes) -> int:
    at = _skip(text, 0)
    return _skip(text, _expect(text, at, opening))


def _finish(text: bytes, at: int) -> None:
    if _skip(text, at + 1) != len(text):
        raise MalformedError(f"more text follows after the end, at byte {at + 1}")


def _ends(text: bytes, at: int, closing: bytes) -> bool:
    if at >= len(text):
        raise MalformedError("the text ends too early", truncated=True)
    return text[at : at + 1] == closing


def _skip(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: bytes, at: int, wanted: bytes) -> int:
    if at >= len(text):
        raise MalformedError("the text ends too early", truncated=True)
    if text[at : at + 1] != wanted:
        raise MalformedError(f"{wanted.decode()} is missing at byte {at}")
    return at + 1


def _string_end(text: bytes, at: int) -> int:
    _ends(text, at, b"")
    if text[at] != 0x22:  # a quote
        raise MalformedError(f"a name is missing at byte {at}")
    match = _STRING.match(text, at)
    if match is None:
        raise MalformedError("the text ends inside a string", truncated=True)
    return match.end()


def _value_end(text: bytes, at: int) -> int:
    _ends(text, at, b"")
    first = text[at]
    if first == 0x22:
        return _string_end(text, at)
    if first in _CLOSING:
        return _nested_end(text, at)
    match = _SCALAR.match(text, at)
    if match is None:
        raise MalformedError(f"a value is missing at byte {at}")
    return match.end()


def _nested_end(text: bytes, at: int) -> int:
    open_: list[int] = []
    while True:
        match = _TO_NEXT.match(text, at)
        at = match.end() if match else at
        _ends(text, at, b"")
        byte = text[at]
        if byte == 0x22:
            at = _string_end(text, at)
            continue
        at += 1
        if byte in _CLOSING:
            open_.append(_CLOSING[byte])
        elif byte != open_.pop():
            raise MalformedError(f"brackets do not match at byte {at - 1}")
        elif not open_:
            return at


def depth(text: bytes) -> int:
    """How deep the brackets of a well-formed text are nested."""
    deepest = now = 0
    for match in re.finditer(rb'[\[{]|[\]}]|"[^"\\]*+(?:\\.[^"\\]*+)*+"', text, re.DOTALL):
        byte = text[match.start()]
        if byte in _CLOSING:
            now += 1
            deepest = max(deepest, now)
        elif byte != 0x22:
            now -= 1
    return deepest
