"""What do the `[[errors]]` of a source or a stream say: which answer means what?"""

import re
from collections.abc import Collection
from typing import Any

from syncd.config.names import HEADER
from syncd.config.reading import Node, as_texts
from syncd.config.settings import (
    ErrorRule,
    Login,
    NoPages,
    SourceSettings,
    StreamSettings,
    Then,
)
from syncd.errors import Fault

THEN = ["retry", "wait", "login", "skip", "end", "park", "fail"]
CLASS = re.compile("[2-5]xx")
LONGEST = 7 * 86_400.0  # seconds, as for a hint of the API: a slip must not hold a budget for ever
GOOD = {"200", "2xx"}
"""Statuses that every good answer has."""


def read_rules(node: Node) -> tuple[ErrorRule, ...]:
    """Every `[[errors]]` of a source or a stream, in their order."""
    return tuple(_rule(table) for _, table in node.list_of_tables("errors"))


def _rule(table: Node) -> ErrorRule:
    value = 'a value or a list of them, such as ["BUSY"]'
    rule = ErrorRule(
        status=_status(table),
        header=table.mapping("header", value, as_texts),
        body=table.mapping("body", f"{value} (a path with dots stands in quotes)", as_texts),
        then=table.choice("then", THEN),
        hold=table.duration("for", None),
        says=table.text("says", ""),
    )
    _check(table, rule)
    table.finish()
    return rule


def _status(table: Node) -> tuple[str, ...]:
    def check(value: Any) -> tuple[str, ...] | None:
        values = value if isinstance(value, list) else [value]
        found = [_one_status(v) for v in values]
        return tuple(s for s in found if s) if values and all(found) else None

    allowed = 'a status from 200 to 599, a class such as "5xx", or a list of them'
    return table.get("status", (), allowed, check)


def _one_status(value: object) -> str | None:
    if isinstance(value, str):
        return value.lower() if CLASS.fullmatch(value.lower()) else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return str(value) if 200 <= value <= 599 else None


def _check(table: Node, rule: ErrorRule) -> None:
    """Note what can't be meant; what was written wrong is a fault already."""
    for name in rule.header:
        if not HEADER.fullmatch(name):
            message = "a header's name is made of letters, figures and dashes"
            table.fault_at(("header", name), message)
    told_apart = table.values.get("header") or table.values.get("body")
    if not told_apart and "status" not in table.values:
        table.fault_at((), "it names no answer; say by `status`, `header` or `body` which it means")
    elif not told_apart and GOOD & set(rule.status):
        table.fault(
            "status",
            "each good answer would be taken for an error; say by `body` or `header` which is one",
        )
    if table.has("for") and rule.then in THEN and rule.then != "wait":
        table.fault("for", f'then = "{rule.then}" has no use for it; leave one of the two out')
    elif rule.hold is not None and rule.hold > LONGEST:
        table.wrong("for", table.values["for"], 'a duration of up to "7d"')


def check_rules(node: Node, source: SourceSettings) -> None:
    """Note rules of a source and its streams that can never be followed."""
    streams = source.streams.values()
    if not streams:
        return  # a pattern for others
    _refuse_idle(node, (), source.errors, streams, "its streams have")
    for stream in streams:
        _refuse_idle(node, ("streams", stream.name), stream.errors, [stream], "the stream has")
    if isinstance(source.auth, Login) or (source.auth is None and "auth" in node.values):
        return  # what is wrong with such an `auth` is told already
    message = "needs an `auth` that buys a token (token, client-credentials or refresh-token)"
    for keys, rules in ((), source.errors), *((("streams", s.name), s.errors) for s in streams):
        _refuse(node, keys, rules, "login", message)


def _refuse_idle(
    node: Node,
    keys: tuple[str, ...],
    rules: tuple[ErrorRule, ...],
    streams: Collection[StreamSettings],
    whose: str,
) -> None:
    if all(s.call is None for s in streams):
        _refuse(node, keys, rules, "skip", f"is for the calls of records, and {whose} none")
    if all(isinstance(s.page, NoPages) for s in streams):
        message = "is for the pages after the first, and there are none"
        _refuse(node, keys, rules, "end", message)


def _refuse(
    node: Node, keys: tuple[str, ...], rules: tuple[ErrorRule, ...], then: Then, message: str
) -> None:
    for place, rule in enumerate(rules, 1):
        if rule.then == then:
            path = f"{node.at(*keys, 'errors')}[{place}].then"
            node.faults.append(Fault(path=path, message=f'"{then}" {message}'))
