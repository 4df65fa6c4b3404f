"""Which records do the benchmarks move?  As many as are asked for, the same each time.

Eight columns, of the kinds that lists have: an id, texts, a numeric, a bigint, a time and a
yes or no.  Each follows from its number alone, so that nobody has to hold them.
"""

import datetime as dt
import json
from collections.abc import Iterator

COLUMNS = {
    "id": "text",
    "name": "text",
    "status": "text",
    "country": "text",
    "amount": "numeric",
    "views": "bigint",
    "active": "boolean",
    "created_at": "timestamptz",
}
"""Name to type; the first is the key."""

STATUSES = ("active", "paused", "ended", "draft")
COUNTRIES = ("de", "fr", "pl", "us", "jp", "br", "in")
BEGAN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
STEP = 61  # seconds from one record to the next


def record(number: int) -> dict[str, object]:
    """The record with this number, from 0."""
    created = BEGAN + dt.timedelta(seconds=number * STEP)
    return {
        "id": f"rec_{number:08}",
        "name": f"Récord № {number}, with a name as long as names are",
        "status": STATUSES[number % len(STATUSES)],
        "country": COUNTRIES[number % len(COUNTRIES)],
        "amount": number * 7919 % 10_000_000 / 100,
        "views": number * 2_654_435_761 % 10**12,
        "active": number % 3 != 0,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def texts(first: int, end: int) -> Iterator[str]:
    """Those from `first` up to `end`, as the API writes them."""
    for number in range(first, end):
        yield json.dumps(record(number), ensure_ascii=False, separators=(",", ":"))
