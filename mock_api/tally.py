"""How often is each key held?  In ten bytes a slot.

A dict of a million client ids costs a hundred megabytes; this table costs
twenty.  It is open addressing with linear probing over two flat tables.  A key
whose count falls to zero leaves at once, and the keys behind it move up, so
that there are no tombstones and the table can shrink again.

Keys are well-mixed 64-bit numbers (hashes of text; a run of successive numbers would
be one long probe) other than 0, which marks an empty slot.
"""

from mock_api.flat import halves, words

SMALLEST = 1024  # slots; a power of two, as every size is


class Tally:
    """Counts per key; forgets a key when its count is zero."""

    def __init__(self) -> None:
        self._resize(SMALLEST)

    def __len__(self) -> int:
        """How many keys are held."""
        return self._held

    def __getitem__(self, key: int) -> int:
        return self._counts[self._find(key)]

    @property
    def nbytes(self) -> int:
        """What the table itself takes."""
        return self._keys.nbytes + self._counts.nbytes

    def add(self, key: int) -> None:
        slot = self._find(key)
        if not self._keys[slot]:
            self._keys[slot] = key
            self._held += 1
        self._counts[slot] += 1
        if self._held * 3 > len(self._keys) * 2:
            self._rebuild(len(self._keys) * 2)

    def remove(self, key: int) -> None:
        slot = self._find(key)
        self._counts[slot] -= 1
        if not self._counts[slot]:
            self._empty(slot)
            if len(self._keys) > SMALLEST and self._held * 8 < len(self._keys):
                self._rebuild(len(self._keys) // 2)

    def _find(self, key: int) -> int:
        """The slot of this key, or the empty one where it belongs."""
        keys, mask = self._keys, self._mask
        slot = key & mask
        while (held := keys[slot]) and held != key:
            slot = (slot + 1) & mask
        return slot

    def _empty(self, slot: int) -> None:
        """Take the key out and move up every key that probing could no longer reach."""
        keys, counts, mask = self._keys, self._counts, self._mask
        hole = slot
        while True:
            slot = (slot + 1) & mask
            key = keys[slot]
            if not key:
                break
            # It may fill the hole unless its home lies behind the hole.
            if (slot - (key & mask)) & mask >= (slot - hole) & mask:
                keys[hole], counts[hole] = key, counts[slot]
                hole = slot
        keys[hole] = counts[hole] = 0
        self._held -= 1

    def _rebuild(self, slots: int) -> None:
        keys, counts = self._keys, self._counts
        self._resize(slots)
        for slot, key in enumerate(keys):
            if key:
                place = self._find(key)
                self._keys[place] = key
                self._counts[place] = counts[slot]
                self._held += 1

    def _resize(self, slots: int) -> None:
        self._keys = words(slots)
        self._counts = halves(slots)
        self._mask = slots - 1
        self._held = 0
