"""How does a line look?  In columns on a terminal, plain in a pipe, or as JSON.

In all of them one line stays one line: what holds a newline or a terminal's escape
sequence is quoted.  Only a traceback goes on below, indented.
"""

import json
from collections.abc import Mapping
from textwrap import indent

from syncd.logs.entry import Entry, Value

STREAM = 22  # columns
SENTENCE = 28  # columns

DIM, RESET = "\x1b[2m", "\x1b[0m"
COLOURS = ((40, "\x1b[1;31m"), (30, "\x1b[33m"), (20, "\x1b[32m"), (0, DIM))


def plain(entry: Entry) -> str:
    """ISO time, level, sentence, fields."""
    stream = {"stream": entry.stream} if entry.stream else {}
    words = [entry.time.isoformat(timespec="milliseconds"), entry.level, one_line(entry.sentence)]
    return _below(" ".join([*words, *pairs({**stream, **entry.fields})]), entry)


def terminal(entry: Entry, *, colours: bool = True) -> str:
    """Columns: time, level, stream, sentence, fields."""
    dim, reset = (DIM, RESET) if colours else ("", "")
    colour = next(c for least, c in COLOURS if entry.severity >= least) if colours else ""
    time = entry.time.strftime("%H:%M:%S.%f")[:-3]
    stream = one_line(entry.stream)
    columns = [
        f"{dim}{time}{reset}",
        f"{colour}{entry.level:<8}{reset}",
        f"{stream:<{STREAM}}",
        f"{one_line(entry.sentence):<{SENTENCE}}",
        f"{dim}{' '.join(pairs(entry.fields))}{reset}",
    ]
    return _below(" ".join(columns).rstrip(), entry)


def as_json(entry: Entry) -> str:
    """One object a line; a field never takes the place of what every line has."""
    shown: dict[str, Value] = {
        "time": entry.time.isoformat(timespec="milliseconds"),
        "level": entry.level,
        "message": entry.sentence,
    }
    if entry.kind is not None:
        shown["event"] = entry.kind.name
    if entry.stream:
        shown["stream"] = entry.stream
    if entry.traceback:
        shown["traceback"] = entry.traceback
    for name, value in entry.fields.items():
        shown[f"{name}_" if name in shown else name] = finite(value)
    # ASCII: a lone surrogate would make a line that no UTF-8 reader takes.
    return json.dumps(shown)


def pairs(fields: Mapping[str, Value]) -> list[str]:
    """`name=value` of each field, quoted where it has to be."""
    return [f"{one_line(name)}={quoted(value)}" for name, value in fields.items()]


def quoted(value: Value) -> str:
    """A value as one word: as it is, or as a JSON string."""
    text = str(value)
    simple = text and text.isprintable() and not set(text) & set(" =\"'")
    return text if simple else json.dumps(text, ensure_ascii=not text.isprintable())


def one_line(text: str) -> str:
    """A text on one line, with what would break it escaped."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _below(line: str, entry: Entry) -> str:
    if not entry.traceback:
        return line
    told = "\n".join(map(one_line, entry.traceback.split("\n")))
    return f"{line}\n{indent(told, '    ')}"


def finite(value: Value) -> Value:
    """As it is, or as text where JSON has no such number."""
    return str(value) if isinstance(value, float) and value - value != 0 else value
