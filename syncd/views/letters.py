"""What does a dead letter mean, and what can a person do about it?"""

from typing import Any

from syncd.config.settings import Settings
from syncd.sync.picture import Letter
from syncd.views.words import as_written, moment

WHAT_IT_MEANS = {
    "contract": "The record does not fit what the config says of it.",
    "refused": "Postgres refused the row; the other rows of its page were written.",
    "call-failed": "The record's own call failed for good, so its row was not written.",
    "outcome-unknown": "The record's own call may have been carried out: its answer never came.",
}

WHAT_TO_DO = {
    "contract": "Correct the record where it comes from, or its column in the config (`columns`).",
    "refused": "Correct the record where it comes from, or the table: a constraint, a type.",
    "call-failed": "Read the reason; correct the record where it comes from, or the call "
    "(`call.path`, `call.success`).",
    "outcome-unknown": "Look there whether it was. If so, discard this letter; if not, retry it "
    "with --repeat. An API that can say what became of a call is asked by `call.verify`; of one "
    'that knows a call again by its key, say so (`call.repeat = "with-key"`).',
}

MAY_BE_TWICE = (
    "the call may have been carried out, and the API is neither said to know a repeated one "
    "(`call.repeat`) nor to tell what became of it (`call.verify`); look there first, then use "
    "--repeat"
)

AFTERWARDS = "When a later cycle writes the record, this letter leaves by itself."
KEYLESS = (
    "Nobody can tell whose record it is: this letter leaves by itself when a whole cycle does not "
    "meet it again."
)


def may_be_twice(settings: Settings, letter: Letter) -> bool:
    """Whether to try it again may make a call twice, and nobody would know."""
    call = settings.sources[letter.stream.source].streams[letter.stream.stream].call
    if letter.kind != "outcome-unknown" or call is None:
        return False
    return call.repeat == "never" and call.verify is None


def letter_object(letter: Letter, *, whole: bool = False) -> dict[str, Any]:
    """A dead letter for programs; `whole` with its payload as text."""
    shown: dict[str, Any] = {
        "id": letter.id,
        "source": letter.stream.source,
        "stream": letter.stream.stream,
        "kind": letter.kind,
        "means": WHAT_IT_MEANS.get(letter.kind),
        "todo": WHAT_TO_DO.get(letter.kind),
        "key": letter.key,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_at": moment(letter.first),
        "last_at": moment(letter.last),
        "next_try_at": moment(letter.next_try),
        "cycle": letter.cycle,
        "target": letter.target,
        "schema_version": letter.schema_version,
        "idempotency_key": letter.idempotency_key,
    }
    return shown | ({"payload": as_written(letter.payload)} if whole else {})
