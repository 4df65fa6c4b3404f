"""Which records stay out, because somebody asked that they be forgotten for good?

What is remembered of them is a keyed hash of each key, never a key.  A page is sifted as soon
as it is there: what is kept out is not called for, not put aside and not logged, only counted;
no page is frozen and no column added for it.
What was forgotten while the page was under way is dropped in the page's transaction
(`dropped`), where nothing can come between.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable

import attrs

from syncd.sync.model import Page, PageCommit, StreamId, Table

PAD = 64  # bytes; the block of SHA-256
INNER, OUTER = 0x36, 0x5C  # RFC 2104

JudgedWithout = Callable[[Page, Collection[str]], Page]
"""`ports.Source.look_again`."""


@attrs.frozen(kw_only=True)
class Salt:
    """The secret of the hashes, as HMAC uses it: Postgres itself makes the same ones."""

    inner: bytes
    outer: bytes

    @classmethod
    def of(cls, secret: bytes) -> "Salt":
        """A secret of up to 64 random bytes."""
        padded = secret.ljust(PAD, b"\0")
        return cls(inner=bytes(b ^ INNER for b in padded), outer=bytes(b ^ OUTER for b in padded))

    def hashed(self, stream: StreamId, key: str) -> bytes:
        """HMAC-SHA256 of a record's name: source, stream and canonical key."""
        name = f"{stream.source}\x1f{stream.stream}\x1f{key}"
        text = name.encode("utf-8", "backslashreplace")
        inside = hashlib.sha256(self.inner + text).digest()
        return hashlib.sha256(self.outer + inside).digest()


@attrs.frozen(kw_only=True)
class KeptOut:
    """What is kept out of one stream, at one moment."""

    version: int = 0
    """`Checkpoint.kept_out_version` then."""

    key_is: str = ""
    """The stream's key, as `key_is` says it, for which that was read."""

    salt: Salt | None = None
    hashes: frozenset[bytes] = frozenset()

    def without(self, stream: StreamId, keys: Iterable[str]) -> set[str]:
        """These keys, but for those that are kept out."""
        salt = self.salt
        if salt is None:
            return set(keys)
        return {key for key in keys if salt.hashed(stream, key) not in self.hashes}

    def sift(self, stream: StreamId, page: Page, judged_without: JudgedWithout) -> Page:
        """The page without what is kept out; what is not there any more is counted.

        judged_without: tells anew how the others leave the contract, where any record does.
        """
        salt = self.salt
        if salt is None or not self.hashes:
            return page
        hashes = {key: salt.hashed(stream, key) for key in page.keys}
        out = {key: found.hex() for key, found in hashes.items() if found in self.hashes}
        if not out:
            return page
        rest = attrs.evolve(
            page,
            records=[r for r in page.records if r.key not in out],
            rejects=[r for r in page.rejects if r.key not in out],
            left_out=[key for key in page.left_out if key not in out],
            gone=[key for key in page.gone if key not in out],
        )
        if page.raws:
            rest = judged_without(rest, out)
        return attrs.evolve(
            rest,
            kept_out=page.kept_out + page.seen - rest.seen,
            # Of a page that holds nothing else, a plain hash of its keys would tell who it is.
            printed=page.fingerprint_of([out.get(key, key) for key in page.keys]),
        )


def key_is(table: Table) -> str:
    """The columns of a table's key and their types: with others, hashes mean something else."""
    return ", ".join(f"{column} {table.columns[column]}" for column in table.key)


def keys_of(page: PageCommit) -> list[str]:
    """Canonical keys of all that a page would write, note or put aside."""
    dead = [letter.key for letter in page.dead if letter.key is not None]
    written = [row.key for row in page.rows]
    return list(dict.fromkeys([*written, *page.gone, *dead, *(page.keys or ())]))


def dropped(page: PageCommit, keys: Collection[str], version: int) -> PageCommit:
    """The page without these records, as it would be had they been forgotten before it."""
    rows = [row for row in page.rows if row.key not in keys]
    gone = tuple(key for key in page.gone if key not in keys)
    dead = [letter for letter in page.dead if letter.key not in keys]
    many = len(page.rows) + len(page.gone) + len(page.dead) - len(rows) - len(gone) - len(dead)
    return attrs.evolve(
        page,
        rows=rows,
        gone=gone,
        dead=dead,
        left_out=page.left_out + many,
        kept_out=page.kept_out + many,
        kept_out_version=version,
        known=None if many else page.known,
        keys=None if page.keys is None else tuple(k for k in page.keys if k not in keys),
        letters={number: key for number, key in page.letters.items() if key not in keys},
    )
