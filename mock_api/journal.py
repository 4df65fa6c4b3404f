"""What was asked, when, and what was sent?

Every request leaves one entry, written when it arrives (at the same reading of
the clock by which the limiter counts it) and completed when it is answered.
Entries lie packed in one flat piece of memory that is taken at the start and
written round and round: the journal costs the same empty and full, and the
oldest entries make room for the newest.
"""

import struct
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from math import isnan, nan
from typing import Any

import attrs

ENTRY = 160  # bytes set aside for one; longer ones only mean that fewer are remembered
SMALLEST = 1 << 17  # bytes; no single entry comes near it, a request's head is capped at 16 KiB

HEAD = struct.Struct("<dddIHBBHHHHHH")  # alignment is the packer's business: "<" has none
ANSWERED = struct.Struct("<d")
ANSWERED_AT = 16
STATUS = struct.Struct("<H")
STATUS_AT = 28
TEXT_MAX = 0xFFFF  # what a length of two bytes can say


@attrs.frozen(kw_only=True)
class Entry:
    """One request, as the server saw it."""

    seq: int
    """1, 2, 3 … in order of arrival."""
    arrived: float
    """Monotonic seconds; the stamp by which the limiter counted it."""
    wall: float
    """The same moment, in seconds since the epoch."""
    answered: float | None
    """Monotonic seconds when the last byte was handed over; None until then, and for ever
    when it was left hanging or cut before the headers."""
    method: str
    path: str
    query: str
    client: str
    key: str
    """The Idempotency-Key, or ""."""
    status: int | None
    """As sent; None if none was."""
    cost: bool
    """Whether it cost quota."""
    n: int
    """The number of this list request, by which the platform misbehaves; 0 for others."""
    fault: str
    """The name of the scripted fault that it met, or ""."""


class Journal:
    """The last `size` requests."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Written at once, so that the pages are there from the start and the
        # process does not seem to grow as the journal fills.
        self._arena = bytearray(b"\xff") * max(size * ENTRY, SMALLEST)
        self._offsets = array("Q", bytes(8 * size))
        self.clear()

    def clear(self) -> None:
        """Forget all; numbers start again at 1."""
        self._next = 1
        self._oldest = 1
        self._write_at = 0

    @property
    def last(self) -> int:
        """The number of the newest entry."""
        return self._next - 1

    @property
    def oldest(self) -> int:
        """The number of the oldest entry that is still remembered."""
        return self._oldest

    def arrived(
        self,
        at: float,
        wall: float,
        *,
        method: str,
        path: str,
        query: str = "",
        client: str = "",
        key: str = "",
        cost: bool = False,
        n: int = 0,
        fault: str = "",
    ) -> int:
        """A request came in; gives its number."""
        texts = [
            text.encode("utf-8", "replace")[:TEXT_MAX]
            for text in (method, path, query, client, key, fault)
        ]
        body = b"".join(texts)
        offset = self._room(HEAD.size + len(body))
        head = HEAD.pack(at, wall, nan, n, 0, cost, 0, *map(len, texts))
        self._arena[offset : offset + len(head) + len(body)] = head + body
        seq = self._next
        self._next += 1
        self._offsets[seq % self._size] = offset
        return seq

    def sent(self, seq: int, status: int) -> None:
        """The head of the answer was sent."""
        if seq >= self._oldest:
            STATUS.pack_into(self._arena, self._offsets[seq % self._size] + STATUS_AT, status)

    def answered(self, seq: int, at: float) -> None:
        """The last byte of the answer was handed over."""
        if seq >= self._oldest:
            ANSWERED.pack_into(self._arena, self._offsets[seq % self._size] + ANSWERED_AT, at)

    def entries(self, since: int = 0) -> Iterator[Entry]:
        """Those numbered above `since`, oldest first; newer ones may arrive while it is read."""
        seq = max(since + 1, self._oldest)
        while seq < self._next:
            yield self._entry(seq)
            seq = max(seq + 1, self._oldest)

    def _room(self, length: int) -> int:
        """Where the next entry of this length goes; the oldest ones there are forgotten."""
        offsets, size = self._offsets, self._size
        if self._next - self._oldest >= size:
            self._oldest += 1
        start = self._write_at
        if start + length > len(self._arena):
            # Entries are not split: those in the rest of this lap go, and a new lap begins.
            while self._oldest < self._next and offsets[self._oldest % size] >= start:
                self._oldest += 1
            start = 0
        end = start + length
        while self._oldest < self._next and start <= offsets[self._oldest % size] < end:
            self._oldest += 1
        self._write_at = end
        return start

    def _entry(self, seq: int) -> Entry:
        at = self._offsets[seq % self._size]
        arrived, wall, answered, n, status, cost, _, *lengths = HEAD.unpack_from(self._arena, at)
        at += HEAD.size
        texts = []
        for length in lengths:
            texts.append(self._arena[at : at + length].decode("utf-8", "replace"))
            at += length
        method, path, query, client, key, fault = texts
        return Entry(
            seq=seq,
            arrived=arrived,
            wall=wall,
            answered=None if isnan(answered) else answered,
            method=method,
            path=path,
            query=query,
            client=client,
            key=key,
            status=status or None,
            cost=bool(cost),
            n=n,
            fault=fault,
        )


def fullest_windows(entries: Iterable[Entry], window: float) -> dict[str, int]:
    """For each client, the most requests that cost quota in any stretch of `window`.

    Counted from the arrival times alone, so that it proves what the limiter
    claims instead of repeating it.
    """
    recent: dict[str, deque[float]] = defaultdict(deque)
    fullest: dict[str, int] = {}
    for entry in entries:
        if not entry.cost:
            continue
        times = recent[entry.client]
        times.append(entry.arrived)
        while entry.arrived - times[0] >= window:
            times.popleft()
        fullest[entry.client] = max(fullest.get(entry.client, 0), len(times))
    return fullest


def as_json(entry: Entry) -> dict[str, Any]:
    """An entry as `/_mock/requests` shows it."""
    return attrs.asdict(entry)
