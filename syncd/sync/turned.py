"""Which pages has a cycle had, and does its list lead back to them?

A list that names the page to follow leads back by naming one again.  One that is counted through
never does: there it shows in records that come again, page after page, as often as there have
been different pages.  A few that come again are no loop: rows may have moved.
"""

import attrs


@attrs.define(eq=False)
class Turned:
    """The pages that this process has turned in one cycle."""

    _cursors: set[str | None] = attrs.field(factory=set, init=False)
    _contents: set[str] = attrs.field(factory=set, init=False)
    """`Page.fingerprint()` of each."""

    _again: int = attrs.field(default=0, init=False)
    """So many of the last ones, without a gap, held what an earlier one did."""

    def note(self, cursor: str | None, fingerprint: str) -> None:
        """A page was turned."""
        if cursor in self._cursors:
            return  # fetched anew
        self._cursors.add(cursor)
        self._again = self._again + 1 if fingerprint in self._contents else 0
        self._contents.add(fingerprint)

    def had(self, cursor: str) -> bool:
        return cursor in self._cursors

    def goes_round(self, fingerprint: str) -> bool:
        """Whether, with this page, all that there was has come once more."""
        return fingerprint in self._contents and self._again + 1 >= len(self._contents)
