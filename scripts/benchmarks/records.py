"""Which records do the benchmarks move?  As many as are asked for, the same each time.

Eight columns, of the kinds that lists have: an id, texts, a numeric, a bigint, a time and a
yes or no.  Each follows from its number alone, so that nobody has to hold them.

In the second edition of the list one of a hundred has changed, later than all others.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator

COLUMNS = {
    "id": "text",
    "name": "text",
    "status": "text",
    "country": "text",
    "amount": "numeric",
    "views": "bigint",
    "active": "boolean",
    "updated_at": "timestamptz",
}
"""Name to type; the first is the key."""

STATUSES = ("active", "paused", "ended", "draft")
COUNTRIES = ("de", "fr", "pl", "us", "jp", "br", "in")
BEGAN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
STEP = 61  # seconds from one record to the next
EVERY = 100
"""Of so many records one differs in the second edition."""

CHANGED = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def updated_at(number: int, edition: int = 1) -> dt.datetime:
    """When the record with this number, from 0, was changed the last time."""
    if edition == 2 and number % EVERY == 0:
        return CHANGED + dt.timedelta(seconds=number)
    return BEGAN + dt.timedelta(seconds=number * STEP)


def record(number: int, edition: int = 1) -> dict[str, object]:
    """The record with this number."""
    at = updated_at(number, edition)
    views = number + (at >= CHANGED)
    return {
        "id": f"rec_{number:08}",
        "name": f"Récord № {number}, with a name as long as names are",
        "status": STATUSES[number % len(STATUSES)],
        "country": COUNTRIES[number % len(COUNTRIES)],
        "amount": number * 7919 % 10_000_000 / 100,
        "views": views * 2_654_435_761 % 10**12,
        "active": number % 3 != 0,
        "updated_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def texts(numbers: Iterable[int], edition: int = 1) -> Iterator[str]:
    """The records with these numbers, as the API writes them."""
    for number in numbers:
        yield json.dumps(record(number, edition), ensure_ascii=False, separators=(",", ":"))
