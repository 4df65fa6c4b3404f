"""What is known of a page, so that an answer without a body can stand for it?

An API that names the state of a page (an ETag) can be asked for the page only if its state is
another by now.  If it is not, the answer has no body: 304.  What that stands for was kept in the
transaction that committed the page, and is good only for as long as

- the page's records would become the same today: nothing that decides that has changed (`judged`);
- no other page has written a row of it since: what a 304 says of the API is true of the table
  only while the table holds what the page has written.  So whatever writes a row that another
  page is known by takes that page's state away (`store.known_pages`).

What people do to the rows by hand nobody notices without a body.  So a page is read whole at
least when it was last read `WHOLE` seconds ago, and with every scan.
"""

import hashlib
from collections.abc import Iterable

import attrs

WHOLE = 86400.0  # seconds after which a page is read whole again, whatever its state


@attrs.frozen(kw_only=True)
class Validator:
    """What an API calls the state of a page (RFC 9110, section 8.8)."""

    text: str
    of_time: bool = False
    """It is a Last-Modified, not an ETag."""


@attrs.frozen(kw_only=True)
class KnownPage:
    """One page as it was committed, whole."""

    asked: str
    """A hash of the request: the same for the same page of the same list."""

    judged: str
    """A hash of all that decides what becomes of its records."""

    validator: Validator | None
    """None: no 304 can stand for it."""

    next_cursor: str | None = None
    total: int | None = None
    records: int = 0
    """That gave a row, or marked one as deleted: all of them unchanged, as long as it is known."""

    left_out: int = 0
    folded: int = 0
    fingerprint: str = ""
    """`Page.fingerprint()`."""

    keys: tuple[int, ...] = attrs.field(default=(), repr=False)
    """`print_of` each of its records' keys."""

    @property
    def seen(self) -> int:
        return self.records + self.left_out + self.folded


def print_of(key: str) -> int:
    """A canonical key in 64 bits, as Postgres's bigint: two keys of one list differ in it."""
    text = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def prints_of(keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(map(print_of, keys))
