"""Where do large tables of numbers live, so that they are given back when they go?

In memory mapped for each table alone.  What `array` takes comes from the
allocator's heap, which keeps much of it: after a million client ids in one
window the process stayed 33 MB larger, for no one's use.
"""

import mmap

WORD = 8  # bytes
HALF = 2  # bytes


def words(count: int) -> "memoryview[int]":
    """So many unsigned 64-bit numbers, all zero."""
    return memoryview(mmap.mmap(-1, count * WORD)).cast("Q")


def halves(count: int) -> "memoryview[int]":
    """So many unsigned 16-bit numbers, all zero."""
    return memoryview(mmap.mmap(-1, count * HALF)).cast("H")


def times(count: int) -> "memoryview[float]":
    """So many floats, all zero."""
    return memoryview(mmap.mmap(-1, count * WORD)).cast("d")
