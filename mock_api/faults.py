"""Which request goes wrong, and how?

A script is a list of rules.  Each rule says which requests it is for and what
happens to them; the first rule that fires has the request.  This module reads
scripts and picks rules; `mock_api.delivery` does what they say.

    {"rules": [
        {"path": "/api/campaigns", "on": [3], "status": 502, "body": "<html>"},
        {"path": "/api/campaigns/*/sync", "rate": 0.1, "seed": 7, "cut": "before-headers",
         "handle": true},
        {"path": "/auth/token", "to": 2, "hang": true}
    ]}

Which requests (all that are given must hold):

    path, query, client   globs as in a shell, `*` crosses slashes; `client` is X-Client-Id
    method                GET, POST …
    on                    the numbers of the requests, counted from 1 among those that the
                          globs and the method match
    from, to, every       from the n-th, up to the n-th, each n-th (n % every == 0)
    rate, seed            a share of them, 0 to 1, drawn from a seeded sequence
    times                 no more often than this

What happens:

    status, headers, body   sent in place of the answer; body is text, or JSON of any kind
    body_base64             the same as bytes: bad UTF-8, a BOM …
    delay                   seconds before the answer (divided by --speed)
    hang                    never answered
    cut                     "before-headers" or "mid-body": the connection is closed there
    reset                   with cut or truncate: by RST instead of FIN
    truncate                only so many bytes of the body are sent, then the connection ends
    declare                 with truncate, what content-length says: "whole" (default) or "sent"
    drip                    {"bytes": 1, "every": 0.5}: the body in small pieces (divided too)
    gzip                    the body is compressed
    bomb                    so many MB of blanks stand before the body, and it is compressed
    late                    it comes to the platform only so many seconds after it was received
                            (divided too): then it is counted, and met by the other rules.  A
                            rule that says so does nothing else

Two more, seldom needed:

    handle   whether the platform does the work first.  Not if the rule hangs, cuts before the
             headers, or brings an answer of its own; else yes.  `"handle": true` with one of
             those is the answer that got lost: the work is done, and nobody is told.
    quota    whether it costs quota: yes, unless the status is 401 or 429, as on the platform
    name     shown in the journal as the entry's `fault`; "rule 1" and so on by default
"""

import base64
import binascii
from fnmatch import fnmatchcase
from random import Random
from typing import Annotated, Any, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

CHOOSES = {
    *("path", "query", "client", "method"),
    *("on", "from", "to", "every", "rate", "seed", "times"),
}
"""The fields that say which requests a rule is for."""


class BadScript(ValueError):
    """The script cannot be used; says where and why."""


class Drip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body sent in small pieces."""

    bytes: Count = 1
    every: Seconds = 0.5


class Rule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"from_": "from"},
):
    """One rule of the script; the module's docstring explains each field."""

    name: str = ""

    path: str = "*"
    query: str = "*"
    client: str = "*"
    method: str = "*"
    on: tuple[Count, ...] | None = None
    from_: Count = 1
    to: Annotated[int, msgspec.Meta(ge=0)] | None = None
    every: Count = 1
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int = 0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = {}
    body: Any = msgspec.UNSET
    body_base64: str | None = None
    delay: Seconds = 0
    hang: bool = False
    cut: Literal["before-headers", "mid-body"] | None = None
    reset: bool = False
    truncate: Annotated[int, msgspec.Meta(ge=0)] | None = None
    declare: Literal["whole", "sent"] = "whole"
    drip: Drip | None = None
    gzip: bool = False
    bomb: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    late: Seconds = 0

    handle: bool | None = None
    quota: bool | None = None

    @property
    def brings_answer(self) -> bool:
        """Whether the rule replaces the answer's status or body."""
        has_body = self.body is not msgspec.UNSET or self.body_base64 is not None
        return self.status is not None or has_body

    @property
    def handled(self) -> bool:
        """Whether the platform does the work all the same."""
        if self.handle is not None:
            return self.handle
        return not (self.brings_answer or self.hang or self.cut == "before-headers")

    @property
    def costs(self) -> bool:
        """Whether the request costs quota."""
        return self.status not in {401, 429} if self.quota is None else self.quota

    @property
    def only_late(self) -> bool:
        """Whether nothing happens but that the request comes late."""
        return set(msgspec.to_builtins(self)) <= {*CHOOSES, "name", "late"}

    def own_body(self) -> bytes | None:
        """The body that the rule brings, if it brings one."""
        if self.body_base64 is not None:
            return base64.b64decode(self.body_base64, validate=True)
        if self.body is msgspec.UNSET:
            return None
        return self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)

    def own_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in self.headers.items()
        )


class Armed:
    """A rule at work: how many requests it saw and how often it fired."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matched = 0
        self.fired = 0
        self._draw = Random(rule.seed).random  # noqa: S311 - replayed, not secret

    def is_for(self, method: str, path: str, query: str, client: str) -> bool:
        rule = self.rule
        return (
            rule.method in {"*", method}
            and fnmatchcase(path, rule.path)
            and fnmatchcase(query, rule.query)
            and fnmatchcase(client, rule.client)
        )

    def next_fires(self) -> bool:
        """Count one more request that matches; whether the rule wants it."""
        self.matched += 1
        n, rule = self.matched, self.rule
        # Drawn for each, wanted or not: the sequence depends on the number alone.
        lucky = rule.rate is None or self._draw() < rule.rate
        return (
            lucky
            and (rule.on is None or n in rule.on)
            and n >= rule.from_
            and (rule.to is None or n <= rule.to)
            and n % rule.every == 0
            and (rule.times is None or self.fired < rule.times)
        )


class Script:
    """The rules in force."""

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self._armed: list[Armed] = []
        self.replace(rules or [])

    def replace(self, rules: list[Rule]) -> None:
        """Start again with these; their counts begin at zero."""
        self._armed = []
        self.append(rules)

    def append(self, rules: list[Rule]) -> None:
        for rule in rules:
            name = rule.name or f"rule {len(self._armed) + 1}"
            self._armed.append(Armed(msgspec.structs.replace(rule, name=name)))

    def pick(
        self, method: str, path: str, query: str, client: str, *, late: bool = False
    ) -> Rule | None:
        """The rule that has this request.  Every rule that it matches counts it.

        `late`: of those by which it comes late; without it, of all the others.
        """
        picked: Armed | None = None
        for armed in self._armed:
            if late is not bool(armed.rule.late) or not armed.is_for(method, path, query, client):
                continue
            if armed.next_fires() and picked is None:
                picked = armed
        if picked is None:
            return None
        picked.fired += 1
        return picked.rule

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {**msgspec.to_builtins(armed.rule), "matched": armed.matched, "fired": armed.fired}
            for armed in self._armed
        ]


def read_rules(text: bytes) -> list[Rule]:
    """The rules in a JSON text: `{"rules": […]}`, a list of rules, or one rule."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as fault:
        raise BadScript(f"the script is not JSON: {fault}") from fault
    if isinstance(value, dict):
        value = value["rules"] if value.keys() == {"rules"} else [value]
    try:
        rules = msgspec.convert(value, list[Rule])
    except msgspec.ValidationError as fault:
        raise BadScript(str(fault)) from fault
    for number, rule in enumerate(rules, 1):
        try:
            rule.own_headers()
            rule.own_body()
        except (UnicodeEncodeError, binascii.Error) as fault:
            raise BadScript(f"rule {number}: {fault}") from fault
        if rule.late and not rule.only_late:
            raise BadScript(f"rule {number}: with `late` nothing else happens; add a second rule")
    return rules
