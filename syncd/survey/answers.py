"""What does one answer hold: which of its lists is the list, and what stands around it?"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs

from syncd.api.decode import Envelope, open_envelope
from syncd.api.shown import Redactor, shown
from syncd.errors import ApiUnavailable, UnexpectedAnswer
from syncd.survey.asking import Reply

DEEPEST = 4  # names in the path of a list, or of what says how to go on
USUAL = (
    *("data", "results", "items", "records", "rows", "value", "values", "entries", "content"),
    *("objects", "list", "hits", "elements", "resources", "docs", "documents", "nodes"),
)
"""Names under which lists stand, whatever they are lists of."""


@attrs.frozen(kw_only=True)
class Around:
    """A value that stands around the list."""

    path: str
    value: Any

    @property
    def name(self) -> str:
        """Its last name, without what tells one spelling from another: `hasmore`."""
        return plain(self.path.rpartition(".")[2])


@attrs.frozen(kw_only=True, eq=False)
class Seen:
    """An answer with its list."""

    reply: Reply
    envelope: Envelope
    path: str
    """Of the list; "": the answer is the list."""

    records: list[dict[str, Any]]
    raws: list[bytes]
    others: tuple[str, ...] = ()
    """Paths of other lists of objects."""

    around: tuple[Around, ...] = ()

    def named(self, *names: str) -> Iterator[Around]:
        """What stands around under one of these names, in the order of the names."""
        for name in names:
            yield from (a for a in self.around if a.name == name)


def plain(name: str) -> str:
    """A name without what tells one spelling of it from another."""
    return "".join(c for c in name.lower() if c.isalnum())


def read(reply: Reply, redactor: Redactor, *, stream: str = "", at: str | None = None) -> Seen:
    """Look into an answer; UnexpectedAnswer if there is no list of objects in it.

    stream: what the address calls the list.
    at: where the list is, if that is known; it may be empty then.
    """
    envelope, answer = opened(reply, redactor)
    lists = dict(_lists(answer))
    if at is not None:
        found = lists.get(at)
        if found is None:
            raise UnexpectedAnswer(f"there is no list at `{at}` any more")
        path = at
    else:
        path, found = _chosen(lists, answer, reply, redactor, stream)
    return Seen(
        reply=reply,
        envelope=envelope,
        path=path,
        records=[r for r in found if isinstance(r, dict)],
        raws=[json.dumps(r, default=str, sort_keys=True).encode() for r in found],
        others=tuple(
            p
            for p, of in lists.items()
            if p != path and of and _objects(of) and (_usual(p) or len(of) >= len(found))
        ),
        around=tuple(Around(path=p, value=v) for p, v in _scalars(answer)),
    )


def opened(reply: Reply, redactor: Redactor) -> tuple[Envelope, Any]:
    """The answer as JSON; UnexpectedAnswer if it is none."""
    kind = reply.headers.get("content-type", "")
    try:
        envelope = open_envelope(reply.body, kind, redactor)
        return envelope, json.loads(envelope.text, parse_float=Decimal)
    except (UnexpectedAnswer, ApiUnavailable, ValueError, RecursionError) as error:
        hint = "Give the address of the API's list, not of a page for people"
        if "html" not in kind:
            hint = "Only lists in JSON can be kept"
        reason = error.reason if isinstance(error, UnexpectedAnswer) else str(error)
        raise UnexpectedAnswer(reason, hint=hint) from None


def rows_of_lists(reply: Reply, redactor: Redactor) -> bool:
    """Whether the records are lists of values, whose names stand beside them."""
    _, answer = opened(reply, redactor)
    if not isinstance(answer, dict) or not isinstance(answer.get("columns"), list):
        return False
    return any(
        isinstance(v, list) and v and all(isinstance(r, list) for r in v) for v in answer.values()
    )


def _chosen(
    lists: Mapping[str, list[Any]], answer: Any, reply: Reply, redactor: Redactor, stream: str
) -> tuple[str, list[Any]]:
    good = {path: of for path, of in lists.items() if of and _objects(of)}
    if good:
        best = max(good, key=lambda path: _rank(path, good[path], stream))
        return best, good[best]
    if any(not of for of in lists.values()):
        empty = next(path for path, of in lists.items() if not of)
        where = f"the list at `{empty}`" if empty else "the list"
        raise UnexpectedAnswer(
            f"{where} is empty, so that nothing can be told of its records",
            hint="Give an address whose list has records, or write the config by hand",
        )
    addresses = [v for _, v in _scalars(answer) if isinstance(v, str) and "://" in v]
    hint = "Give the address of one list"
    if addresses:
        named = ", ".join(shown(redactor.text(a), 80) for a in addresses[:5])
        hint += f"; the answer names these addresses: {named}"
    kind = "an object" if isinstance(answer, dict) else "no list of objects"
    begins = shown(redactor.text(reply.body[:400].decode("utf-8", "backslashreplace")), 80)
    raise UnexpectedAnswer(
        f"there is no list of objects in the answer, which is {kind}; it begins: {begins}",
        hint=hint,
    )


def _rank(path: str, found: list[Any], stream: str) -> tuple[bool, int, int, int]:
    same = bool(path) and plain(path.rpartition(".")[2]) == plain(stream)
    return (same or not path, _usual(path), -path.count("."), len(found))


def _usual(path: str) -> int:
    name = plain(path.rpartition(".")[2])
    return len(USUAL) - USUAL.index(name) if name in USUAL else 0


def _objects(found: list[Any]) -> bool:
    return all(isinstance(one, dict) for one in found)


def _lists(answer: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    if isinstance(answer, list):
        yield path, answer
    elif isinstance(answer, dict) and depth < DEEPEST:
        for name, value in answer.items():
            if "." not in name or not path:
                yield from _lists(value, f"{path}.{name}" if path else name, depth + 1)


def _scalars(answer: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if not isinstance(answer, dict):
        return
    for name, value in answer.items():
        here = f"{path}.{name}" if path else name
        if "." in name and path:
            continue
        if isinstance(value, dict):
            if depth + 1 < DEEPEST:
                yield from _scalars(value, here, depth + 1)
        elif not isinstance(value, list):
            yield here, value
