"""What has the data that an API sends done to a stream's contract, in words?"""

from syncd.sync.drift import Drift
from syncd.views.words import plain

LONGEST = 60  # characters of a name

OF_FIELDS = {
    "discard": "it is left out",
    "evolve": "a column was added for it",
    "freeze": "the stream is parked",
    "dead-letter": "its records are put aside",
}
OF_TYPES = {
    "discard": "the value is left out of its row",
    "evolve": "another column keeps the value",
    "freeze": "the stream is parked",
    "dead-letter": "the record is put aside",
}


def named(drift: Drift) -> str:
    """The field or the column."""
    if not drift.name:
        return "others"
    name = plain(drift.name)
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def what_is_wrong(drift: Drift) -> str:
    """What the API sends, and what becomes of it."""
    if drift.what == "wrong-type":
        if not drift.name:
            return "further columns have values of another type"
        found = f"column {named(drift)} is sent {drift.found}"
        return f"{found} that does not fit its type: {OF_TYPES[drift.rule]}"
    if not drift.name:
        return "more fields are new than are told one by one: they are left out"
    return f"field {named(drift)} is new, no column names it: {OF_FIELDS[drift.rule]}"


def about(drift: Drift) -> str:
    """Which drift of a stream it is: what is equal is the same."""
    return f"{drift.name} {drift.found or 'new'}".lstrip()
