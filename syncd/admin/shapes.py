"""What do the answers look like?  JSON Schema, for the document and for the tests.

Keys stay, and new ones may come: of what is answered, nothing here forbids others.
"""

from typing import Any, Literal

import attrs

from syncd.sync.ports import RequestKind
from syncd.views.letters import WHAT_IT_MEANS

Schema = dict[str, Any]

KINDS = tuple(WHAT_IT_MEANS)
ACTIONS: dict[str, RequestKind] = {
    "sync": "sync",
    "pause": "pause",
    "resume": "resume",
    "reconcile": "reconcile",
    "approve": "reconcile",
}
"""What may be asked of a stream, as a request of which kind."""

MOST = 1000  # of what is listed at once
USUAL = 50


@attrs.frozen
class Parameter:
    """What stands in an address."""

    name: str
    says: str
    where: Literal["query", "path"] = attrs.field(default="query", kw_only=True)
    type: Literal["string", "integer"] = attrs.field(default="string", kw_only=True)
    needed: bool = attrs.field(default=False, kw_only=True)
    choices: tuple[str, ...] = attrs.field(default=(), kw_only=True)


LIMIT = Parameter("limit", f"so many at most; {USUAL} if left out, up to {MOST}", type="integer")


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _maybe(shape: Schema) -> Schema:
    kind = shape.get("type")
    if isinstance(kind, str):
        return {**shape, "type": [kind, "null"]}
    return {"anyOf": [shape, {"type": "null"}]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
AT: Schema = {"type": "string", "format": "date-time"}
OBJECT: Schema = {"type": "object"}

ERROR = _object(error=TEXT)
HEALTH = _object(ok=FLAG, version=TEXT)
READINESS = _object(
    ready=FLAG,
    reason=_maybe(
        {**TEXT, "description": "The first of the reasons; each stands where it belongs, too."}
    ),
    database=_object(ok=FLAG, reason=_maybe(TEXT)),
    sources=_list(_object(source=TEXT, ok=FLAG, reason=_maybe(TEXT))),
)

CYCLE = _object(
    cycle=WHOLE,
    source=TEXT,
    stream=TEXT,
    started_at=AT,
    ended_at=_maybe(AT),
    outcome=_maybe(TEXT),
    whole=FLAG,
    reason=_maybe(TEXT),
    taken_up=WHOLE,
    pages=WHOLE,
    follows=_maybe(WHOLE),
    reconcile=FLAG,
    missing=_maybe(WHOLE),
    deleted=WHOLE,
    seen=WHOLE,
    written=WHOLE,
    unchanged=WHOLE,
    left_out=WHOLE,
    dead=WHOLE,
    folded=WHOLE,
    calls=WHOLE,
    requests=WHOLE,
    retried=WHOLE,
    refused=WHOLE,
    kept_out=WHOLE,
)
STREAM = _object(
    source=TEXT,
    stream=TEXT,
    state=TEXT,
    words=TEXT,
    reason=_maybe(TEXT),
    todo=_maybe(TEXT),
    every_seconds=NUMBER,
    cron=_list(TEXT),
    zone=_maybe(TEXT),
    paused_at=_maybe(AT),
    next_start=_maybe(AT),
    running=_maybe(CYCLE),
    expected=_maybe(_object(records=_maybe(WHOLE), pages=_maybe(WHOLE), done_at=_maybe(AT))),
    waits=_maybe(_object(until=_maybe(AT), **{"for": TEXT})),
    last=_maybe(CYCLE),
    whole=_maybe(CYCLE),
    dead_letters=WHOLE,
    drifts=WHOLE,
    missing=WHOLE,
    kept_out=WHOLE,
    question=_maybe(TEXT),
    reconciled_at=_maybe(AT),
    usual=OBJECT,
)
SOURCE = _object(
    source=TEXT,
    budget=_maybe(TEXT),
    budgets=_list(TEXT),
    held_until=_maybe(AT),
    running=FLAG,
    host=_maybe(TEXT),
    pid=_maybe(WHOLE),
    since=_maybe(AT),
    last_heard=_maybe(AT),
    breaker=_maybe(_object(open_since=AT, reason=TEXT, next_probe_at=AT)),
)
BUDGET = _object(
    budget=TEXT,
    requests=WHOLE,
    per_seconds=NUMBER,
    paths=_list(TEXT),
    free=WHOLE,
    next_free_at=_maybe(AT),
    held_until=_maybe(AT),
    told=_maybe(_object(left=WHOLE, until=AT)),
    counted_from={"enum": ["answers", "writing"]},
    spent=_list(_object(token=WHOLE, counted_at=_maybe(AT), free_at=AT, spent_on=TEXT)),
)
LINE = _object(
    at=AT,
    level={"enum": ["INFO", "WARNING", "ERROR", "CRITICAL"]},
    event=_maybe(TEXT),
    stream=_maybe(TEXT),
    sentence=TEXT,
    fields=OBJECT,
    todo=_maybe(TEXT),
)
STATUS = _object(
    at=AT,
    streams=_list(STREAM),
    sources=_list(SOURCE),
    budgets=_list(BUDGET),
    stale_since=_maybe(AT),
    stale_reason=_maybe(TEXT),
    version=TEXT,
    daemon=_object(
        pid=WHOLE,
        since=AT,
        host=TEXT,
        writable=FLAG,
        reload=_object(ok=_maybe(FLAG), at=_maybe(AT), faults=_list(TEXT)),
    ),
    events=_list(LINE),
)

CYCLES = _object(at=AT, cycles=_list(CYCLE))
LETTER = _object(
    id=WHOLE,
    source=TEXT,
    stream=TEXT,
    kind={"enum": list(KINDS)},
    means=_maybe(TEXT),
    todo=_maybe(TEXT),
    key=_maybe(TEXT),
    reason=TEXT,
    attempts=WHOLE,
    first_at=AT,
    last_at=AT,
    next_try_at=_maybe(AT),
    cycle=_maybe(WHOLE),
    target=TEXT,
)
LETTERS = _object(at=AT, total=WHOLE, letters=_list(LETTER))
WHOLE_LETTER: Schema = {"allOf": [LETTER, _object(payload=TEXT)]}
REQUEST = _object(id=WHOLE, done=FLAG, ok=FLAG, answer=TEXT)
AUDIT = _object(
    at=AT,
    entries=_list(
        {
            "type": "object",
            "required": ["at", "who", "what", "subject", "from", "ok", "answer"],
            "properties": {
                "at": AT,
                "who": TEXT,
                "what": TEXT,
                "subject": TEXT,
                "from": TEXT,
                "ok": _maybe(FLAG),
                "answer": TEXT,
            },
        }
    ),
)
ASKED = _object(requests=_list(WHOLE))
DISCARDED = _object(requests=_list(WHOLE), discarded=WHOLE, unknown=_list(WHOLE))

# Of what is sent: a key that is not here is refused.
NOTHING: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
KEYS: Schema = {**NOTHING, "properties": {"keys": {**_list(TEXT), "minItems": 1}}}
IDS: Schema = {**_object(ids={**_list(WHOLE), "minItems": 1}), "additionalProperties": False}
RETRY: Schema = {**IDS, "properties": {**IDS["properties"], "repeat": FLAG}}
