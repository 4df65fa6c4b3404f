"""May this client be served now, or has it had its requests?

An exact sliding window for each client id: a request that comes at t is
counted against those counted after t - window, and the one that comes `window`
later to the microsecond is free again.

All clients share one queue of counted requests, oldest first, and a tally of
how many of them are each client's.  So a client without requests in the window
is not remembered at all, a million ids cost nothing once their window is over,
and 31 to 62 bytes each while it lasts.  Ids are kept as 64-bit hashes, keyed
anew for each process; that two of a million meet has odds of one in 37 million.
"""

from mock_api.flat import times, words
from mock_api.tally import Tally

CAPACITY = 4_000_000  # counted requests in one window, of all clients together
STEP = 64  # expired requests that one call forgets, so that no call is slow
MASK = 0xFFFF_FFFF_FFFF_FFFF
SMALLEST = 512  # places in the queue; a power of two, as every size is


class Queue:
    """Counted requests, oldest first: when, and whose.  A ring that grows and shrinks."""

    def __init__(self) -> None:
        self._times, self._owners = times(SMALLEST), words(SMALLEST)
        self._mask = SMALLEST - 1
        self._head = self._tail = 0  # they only grow; the mask makes places of them

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def nbytes(self) -> int:
        return self._times.nbytes + self._owners.nbytes

    @property
    def newest(self) -> float:
        return self._times[(self._tail - 1) & self._mask]

    @property
    def oldest(self) -> float:
        return self._times[self._head & self._mask]

    def push(self, at: float, owner: int) -> None:
        if len(self) > self._mask:
            self._resize(2 * (self._mask + 1))
        place = self._tail & self._mask
        self._times[place], self._owners[place] = at, owner
        self._tail += 1

    def pop(self) -> int:
        """Take the oldest out; whose it was."""
        owner = self._owners[self._head & self._mask]
        self._head += 1
        if self._mask >= SMALLEST and len(self) * 8 <= self._mask:
            self._resize((self._mask + 1) // 2)
        return owner

    def _resize(self, places: int) -> None:
        held, start = len(self), self._head & self._mask
        before, owners = self._times, self._owners
        self._times, self._owners = times(places), words(places)
        straight = min(held, len(before) - start)  # the rest lies at the ring's beginning
        wrapped = held - straight
        self._times[:straight] = before[start : start + straight]
        self._owners[:straight] = owners[start : start + straight]
        self._times[straight:held] = before[:wrapped]
        self._owners[straight:held] = owners[:wrapped]
        self._mask = places - 1
        self._head, self._tail = 0, held


class SlidingWindow:
    """At most `limit` requests in any stretch of `window` seconds, for each client.

    When `capacity` requests are in the window everyone is refused: memory is
    bounded, and a limiter that cannot count must not wave through.
    """

    def __init__(self, *, limit: int, window: float, capacity: int = CAPACITY) -> None:
        self.limit = limit
        self.window = window
        self._capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget every request."""
        self._tally = Tally()
        self._queue = Queue()

    @property
    def counted(self) -> int:
        """Requests remembered, of all clients."""
        return len(self._queue)

    @property
    def clients(self) -> int:
        """Clients remembered."""
        return len(self._tally)

    @property
    def nbytes(self) -> int:
        """Memory that the bookkeeping takes."""
        return self._queue.nbytes + self._tally.nbytes

    def has_room(self, client: str, now: float) -> bool:
        """Whether a request that arrives now is within the limit."""
        if not self.limit:
            return True
        self._forget(now, at_most=STEP)
        key = _key(client)
        if self._tally[key] >= self.limit or self.counted >= self._capacity:
            # Some of these may have expired: only now must the count be exact.
            self._forget(now, at_most=self.counted)
        return self._tally[key] < self.limit and self.counted < self._capacity

    def count(self, client: str, now: float) -> None:
        """A request arrived now and was let through."""
        if not self.limit:
            return
        key = _key(client)
        self._tally.add(key)
        self._queue.push(now, key)

    def _forget(self, now: float, *, at_most: int) -> None:
        """Drop requests that left the window; all at once if all have."""
        if not self._queue:
            return
        if now - self._queue.newest >= self.window:
            self.clear()
            return
        while at_most and now - self._queue.oldest >= self.window:
            self._tally.remove(self._queue.pop())
            at_most -= 1


def _key(client: str) -> int:
    return hash(client) & MASK or 1
