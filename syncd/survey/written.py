"""What was found out, as a config with comments."""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from syncd import __version__
from syncd.config.settings import (
    AuthSettings,
    CursorPages,
    KeysetPages,
    LinkPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    Secret,
    UrlPages,
)
from syncd.survey.records import Column
from syncd.survey.survey import Finding, Survey

BARE = re.compile(r"[A-Za-z0-9_-]+")


@attrs.frozen(kw_only=True)
class Given:
    """What a person gave, and what of it stands in the file."""

    url: str
    """Without its query."""

    source: str
    stream: str
    base_url: str
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict)
    auth: AuthSettings | None = None
    token_key: Secret | None = None
    """What seals in the database the tokens that a login buys."""


def config(found: Survey, given: Given, today: dt.date) -> str:
    """The text of a config file that loads."""
    return "\n".join(_lines(found, given, today)) + "\n"


def _lines(found: Survey, given: Given, today: dt.date) -> Iterator[str]:
    source = f"sources.{name(given.source)}"
    stream = f"{source}.streams.{name(given.stream)}"
    yield from _head(found, given, today)
    yield from _source(found, given, source)
    yield from _stream(found, stream)
    yield from _columns(found, stream)


def _head(found: Survey, given: Given, today: dt.date) -> Iterator[str]:
    many = "request" if found.requests == 1 else "requests"
    yield f"# Written by `syncd init` {__version__} on {today}, from {found.requests} {many} to"
    yield from comment(f"{given.url}, which showed {found.seen} records.")
    yield "#"
    yield "#   sure:  was seen"
    yield "#   guess: is likely; look at it before the first cycle"
    yield "#"
    yield "# Next: syncd check, then syncd once. All keys: docs/configuration.md"
    if found.stopped:
        yield from comment(f"Not all was asked: {found.stopped}.")
    if given.token_key is not None:
        yield ""
        yield "# From `openssl rand -base64 32`: it seals what is kept of logins"
        yield f"token_key = {value(given.token_key)}"


def _source(found: Survey, given: Given, source: str) -> Iterator[str]:
    yield ""
    yield f"[{source}]"
    yield f"base_url = {value(given.base_url)}"
    if given.headers:
        yield f"headers = {value(dict(given.headers))}"
    yield from _budget(found)
    if given.auth is not None:
        yield ""
        yield f"[{source}.auth]"
        for key, of_it in _set(given.auth).items():
            yield f"{name(key)} = {value(of_it)}"


def _stream(found: Survey, stream: str) -> Iterator[str]:
    of = {f.what: f for f in found.findings}
    yield ""
    yield f"[{stream}]"
    if "start" in of:
        yield from _said(of["start"])
    yield f"path = {value(found.place.path)}"
    yield 'every = "15m"'
    if found.place.params:
        yield f"params = {value(dict(found.place.params))}"
    yield from _said(of["records"])
    if found.records:
        yield f"records = {value(found.records)}"
    yield from _said(of["key"])
    yield f"key = {value(list(found.key.columns))}"
    yield from _said(of["page"])
    if "size" in of:
        yield from _said(of["size"])
    yield f"page = {value(_page(found.page))}"
    yield from _hints(found)
    if found.place.body is not None:
        yield ""
        yield f"[{stream}.search]"
        yield f"body = {value(dict(found.place.body))}"


def _columns(found: Survey, stream: str) -> Iterator[str]:
    yield ""
    yield from (line for f in found.findings if f.what == "columns" for line in _said(f))
    yield f"[{stream}.columns]"
    for column in found.columns:
        yield _column(column)
    if found.left_out:
        yield from comment(f"Left out, as they are too many: {', '.join(found.left_out)}")


def _hints(found: Survey) -> Iterator[str]:
    if found.volatile:
        yield "# guess: these differ each time, though nobody changes the record"
        yield f"volatile = {value(list(found.volatile))}"
    if found.updated is not None:
        note = f" ({found.updated.note})" if found.updated.note else ""
        yield from comment(
            f"`{found.updated.path}`{note} seems to tell when a record changed: if the API can "
            "be asked for what changed since, by a parameter such as updated_since, a cycle need "
            "not read all of the list:"
        )
        kind = {"bigint": {"kind": "epoch-ms"}, "timestamp": {"zone": "UTC"}}
        asked = {"field": found.updated.path, "param": "updated_since"}
        yield f"# incremental = {value(asked | kind.get(found.updated.type, {}))}"
    if isinstance(found.page, NumberPages | OffsetPages):
        yield "# Rows may move while such a list is read: if the API can sort by what never"
        yield '# changes, add it: params = { sort = "id" }'
    yield '# reconcile = "daily"   # also find rows that the API does not have any more'


def _budget(found: Survey) -> Iterator[str]:
    budget = found.budget
    if budget is None:
        if found.limit:
            yield from comment(f"The API tells of a limit ({found.limit}): see its documentation.")
        yield '# budget = { requests = 60, per = "1m" }   # never more, if the API has a limit'
    else:
        yield "# sure: the API tells it in RateLimit-Policy"
        yield f'budget = {{ requests = {budget.requests}, per = "{budget.per:.0f}s" }}'


def _said(finding: Finding) -> Iterator[str]:
    yield from comment(f"{'sure' if finding.sure else 'guess'}: {finding.value}; {finding.why}")


def _page(page: PageSettings) -> dict[str, Any]:
    """What differs from the defaults of the kind, its kind first."""
    found: dict[str, Any] = {"kind": page.kind}
    for field in attrs.fields(type(page)):
        here = getattr(page, field.name)
        if field.name == "kind" or (here == field.default and field.name != "size"):
            continue
        found[field.name] = here
    if found.get("size_param", "") is None:
        found["size_param"] = ""
    if found.get("until") == "more" or "more" not in found or found["more"] is None:
        found.pop("until" if found.get("until") == "more" else "more", None)
    if isinstance(page, CursorPages | UrlPages) and page.header is not None:
        for key in ("next", "absent"):
            found.pop(key, None)
    sized = (CursorPages, LinkPages, UrlPages)
    if isinstance(page, sized) and page.size_param is None:
        found.pop("size", None)
    if isinstance(page, NumberPages) and page.until == "more" and page.more == "has_more":
        found["more"] = page.more
    if isinstance(page, OffsetPages | KeysetPages | NumberPages) and page.until == "empty":
        found["until"] = "empty"
    return found


def _set(thing: AuthSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": thing.kind}
    for field in attrs.fields(type(thing)):
        here = getattr(thing, field.name)
        if field.name != "kind" and here != field.default and here is not None and here != {}:
            found[field.name] = here
    return found


def _column(column: Column) -> str:
    of: Any = column.type
    if column.path != column.name:
        of = {"type": column.type, "path": column.path}
    guess = "" if column.sure else "guess"
    note = "; ".join(part for part in (guess, column.note) if part)
    line = f"{name(column.name)} = {value(of)}"
    return f"{line}   # {note}" if note else line


def comment(text: str) -> Iterator[str]:
    """Text as comment lines, whatever it holds."""
    line = "#"
    for word in "".join(c if c.isprintable() else "?" for c in text).split():
        if len(line) + len(word) > 98 and line != "#":
            yield line
            line = "#  "
        line += f" {word}"
    yield line


def name(text: str) -> str:
    """A key of TOML, in quotes where it needs them."""
    return text if BARE.fullmatch(text) else value(text)


def value(of: Any) -> str:
    """A value of TOML; a secret as the reference that it came from."""
    match of:
        case Secret():
            kind, _, place = of.origin.partition(" ")
            return f"{{ {kind} = {value(place)} }}"
        case bool():
            return str(of).lower()
        case int():
            return str(of)
        case str():
            # TOML's escapes are JSON's, but for pairs of surrogates and DEL.
            return json.dumps(of, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            inner = ", ".join(f"{name(str(k))} = {value(v)}" for k, v in of.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return "[" + ", ".join(map(value, of)) + "]"
        case float():
            return repr(of)
        case _:
            raise TypeError(f"TOML has no {type(of).__name__}")
