"""What are the campaigns?

Ten million of them can be listed, and none is held: each is computed from its
number by a stable hash, the same in every process.  Held are only the
differences: what a test changed, and what it removed.

A campaign has a place, which never changes and from which `camp_<place + 1>`
is named, and a position in the list, which moves up when one before it is
removed.
"""

import bisect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import attrs

MASK = 0xFFFF_FFFF_FFFF_FFFF
STATUSES = ("active", "paused", "completed", "draft")
DAYS = tuple(f"{date(2022, 1, 1) + timedelta(days=n)}T" for n in range(1024))
MINUTES = tuple(f"{n // 60:02d}:{n % 60:02d}:" for n in range(1440))
OUR_ID = re.compile(r"camp_([1-9][0-9]{0,15})")


class UnknownCampaign(LookupError):
    """No campaign of that id."""


@attrs.define(kw_only=True)
class Override:
    """How one campaign differs from the computed one."""

    values: dict[str, Any] = attrs.field(factory=dict)
    dropped: set[str] = attrs.field(factory=set)
    raw: str | None = None
    """Sent in place of the record, as it is: for what JSON libraries refuse to write."""


class Campaigns:
    """The list of campaigns, to read by page and to change while it is read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._removed: list[int] = []
        self._overrides: dict[int, Override] = {}
        self._named: dict[str, int] = {}

    def __len__(self) -> int:
        return self._size - len(self._removed)

    # Reading

    def render(self, start: int, count: int, *, salt: int = 0, beyond: bool = False) -> str:
        """The records at these positions as JSON, with commas between."""
        if not beyond:
            count = min(count, len(self) - start)
        places = self._places(start, max(count, 0))
        overrides = self._overrides
        if not overrides:
            return ",".join([_computed(place, salt) for place in places])
        return ",".join(
            [
                _overridden(place, salt, overrides[place])
                if place in overrides
                else _computed(place, salt)
                for place in places
            ]
        )

    def render_one(self, campaign_id: str) -> str:
        """One record as the list would show it."""
        place = self._place(campaign_id)
        override = self._overrides.get(place)
        return _computed(place, 0) if override is None else _overridden(place, 0, override)

    def serves(self, campaign_id: str, *, beyond: bool = False) -> bool:
        """Whether the list holds a record that calls itself so."""
        if beyond and OUR_ID.fullmatch(campaign_id):
            return True
        try:
            place = self._place(campaign_id)
        except UnknownCampaign:
            return False
        override = self._overrides.get(place)
        return override is None or override.values.get("id", campaign_id) == campaign_id

    # Changing

    def change(
        self,
        campaign_id: str,
        values: Mapping[str, Any] | None = None,
        *,
        drop: Iterable[str] = (),
        raw: str | None = None,
    ) -> None:
        """Set fields, leave fields out, or send `raw` in place of the record.

        A campaign whose id was changed answers to the new one, and is still
        found here by the old one.
        """
        place = self._place(campaign_id)
        override = self._overrides.setdefault(place, Override())
        override.values.update(values or {})
        override.dropped.difference_update(values or {})
        override.dropped.update(drop)
        override.raw = raw
        name = (values or {}).get("id")
        if isinstance(name, str):
            self._named[name] = place

    def restore(self, campaign_id: str) -> None:
        """Undo every change of this campaign."""
        self._overrides.pop(self._place(campaign_id), None)

    def add(self, count: int = 1) -> list[str]:
        """New campaigns at the end of the list; gives their ids."""
        first = self._size
        self._size += count
        return [f"camp_{place + 1}" for place in range(first, self._size)]

    def remove(self, campaign_id: str) -> None:
        """Take it out of the list; those behind it move up."""
        place = self._place(campaign_id)
        bisect.insort(self._removed, place)
        self._overrides.pop(place, None)

    # Places

    def _places(self, start: int, count: int) -> Iterator[int]:
        if not self._removed:
            yield from range(start, start + count)
            return
        # removed[i] - i campaigns stand before the i-th removed one, and never fewer
        # before a later one: so the removed ones to skip are found by bisection.
        removed = self._removed
        skip = bisect.bisect_right(range(len(removed)), start, key=lambda i: removed[i] - i)
        place = start + skip
        for _ in range(count):
            while skip < len(removed) and removed[skip] == place:
                skip += 1
                place += 1
            yield place
            place += 1

    def _place(self, campaign_id: str) -> int:
        place = self._named.get(campaign_id)
        if place is None:
            match = OUR_ID.fullmatch(campaign_id)
            if match is None:
                raise UnknownCampaign(campaign_id)
            place = int(match[1]) - 1
        at = bisect.bisect_left(self._removed, place)
        gone = at < len(self._removed) and self._removed[at] == place
        if gone or place >= self._size:
            raise UnknownCampaign(campaign_id)
        return place


def _computed(place: int, salt: int) -> str:
    # The finaliser of splitmix64: 64 well-mixed bits, of which each field takes its share.
    h = (place + salt * 0x9E37_79B9 + 0x9E37_79B9_7F4A_7C15) & MASK
    h = ((h ^ (h >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    h = ((h ^ (h >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    h ^= h >> 31
    cents = 5_000 + (h & 0xF_FFFF)
    impressions = (h >> 20) & 0x3_FFFF
    clicks = impressions * ((h >> 38) & 63) // 640
    conversions = clicks * ((h >> 44) & 63) // 320
    number = place + 1
    return (
        f'{{"id":"camp_{number}","name":"Campaign {number}",'
        f'"status":"{STATUSES[(h >> 50) & 3]}",'
        f'"budget":{cents // 100}.{cents % 100:02d},'
        f'"impressions":{impressions},"clicks":{clicks},"conversions":{conversions},'
        f'"created_at":"{DAYS[(h >> 52) & 1023]}{MINUTES[(h >> 7) % 1440]}{(h >> 3) % 60:02d}Z"}}'
    )


def _overridden(place: int, salt: int, override: Override) -> str:
    if override.raw is not None:
        return override.raw
    record = json.loads(_computed(place, salt)) | override.values
    for name in override.dropped:
        record.pop(name, None)
    # ASCII escapes carry every character, lone surrogates among them.
    return json.dumps(record, separators=(",", ":"))
