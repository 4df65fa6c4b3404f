"""Did rows move while a list was paged, so that one may have slipped by unseen?

A row that leaves an earlier page lets the next ones up: one of them crosses the border and
is met by nobody.  One that comes in pushes them down: one is met twice.  Both show in what
the API says it has, and in keys that come again on the page after theirs.
"""

import attrs

from syncd.sync.known import prints_of
from syncd.sync.model import Page


@attrs.define(kw_only=True)
class Movement:
    """What one cycle's pages tell, in their order, as far as this process met them."""

    pages: int = 0
    first_page: str = ""
    """`Page.fingerprint()` of the first page met here."""

    first_keys: frozenset[str] = frozenset()
    """Those of its records."""

    met_twice: int = 0
    """Keys that came again on the page after theirs."""

    first_total: int | None = None
    last_total: int | None = None
    """The last one that was another."""

    _before: frozenset[str] = frozenset()
    """Keys of the page before."""

    _known_before: frozenset[int] | None = None
    """Their prints, where that page came without a body."""

    def look(self, page: Page) -> None:
        """Look at the next page."""
        keys = frozenset(page.keys)
        known = None if page.same is None else frozenset(page.same.keys)
        if known is None and self._known_before is None:
            self.met_twice += len(keys & self._before)
        else:
            here = frozenset(prints_of(keys)) if known is None else known
            there = self._known_before
            self.met_twice += len(
                here & (frozenset(prints_of(self._before)) if there is None else there)
            )
        self._before, self._known_before = keys, known
        if not self.pages:
            self.first_page, self.first_total = page.fingerprint(), page.total
            self.first_keys = keys
        self.pages += 1
        # Whichever page tells of another one: they may have been read in another order.  One that
        # came without a body tells what was so when it was read.
        if page.same is None and page.total not in (None, self.first_total):
            self.last_total = page.total

    @property
    def words(self) -> str:
        """How they moved; empty if that was not noticed."""
        found = []
        if self.first_total is not None and self.last_total not in (None, self.first_total):
            found.append(f"the total went from {self.first_total} to {self.last_total}")
        if self.met_twice:
            keys = "1 key was" if self.met_twice == 1 else f"{self.met_twice} keys were"
            found.append(f"{keys} met twice")
        return " and ".join(found)
