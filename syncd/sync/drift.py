"""How has the API's data left what a stream's config says of it, and what became of that?

A drift is told once, however many records show it.  A column that was added for one is the
table's from then on: Postgres remembers it, and the file stays the user's.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import attrs

from syncd.config.settings import NewFields, WrongTypes

MOST = 100  # drifts that are remembered of a stream, and columns that are added to a table

What = Literal["new-field", "wrong-type"]
Rule = NewFields | WrongTypes


@attrs.frozen(kw_only=True)
class Drift:
    """One column or field, and what is wrong with it."""

    what: What
    name: str
    """The field that is new, or the column; empty: more of them than are told one by one."""

    found: str = ""
    """Of a wrong type: what JSON calls it."""

    rule: Rule
    """What becomes of it."""

    records: int = 0
    """Of a wrong type: so many records had it."""

    expected: bool = False
    """It was so when the stream was new: nobody needs to be alarmed."""

    @property
    def identity(self) -> tuple[What, str, str]:
        """What is equal is the same drift, however often it comes."""
        return self.what, self.name, self.found


@attrs.frozen(kw_only=True)
class Added:
    """A column beside those of the config."""

    column: str
    type: str
    field: str = ""
    """The field that fills it."""

    instead_of: str = ""
    """Else the column whose values it takes where they do not fit there."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What is equal is for the same values, whatever the column is called."""
        return self.field, self.instead_of, self.type if self.instead_of else ""


@attrs.frozen(kw_only=True)
class Evolution:
    """The columns that were added to a table, as far as a stream has them filled."""

    columns: tuple[Added, ...] = ()
    full: bool = False
    """No further one is added."""

    fresh: tuple[Added, ...] = ()
    """Those that were added just now."""


def bounded(drifts: Iterable[Drift], there: Collection[tuple[What, str, str]]) -> Sequence[Drift]:
    """The drifts as they are noted beside those that are there: what is too much is one."""
    found: dict[tuple[What, str, str], Drift] = {}
    room = MOST - len(there)
    for drift in drifts:
        named = drift
        if drift.identity not in there and drift.identity not in found:
            room -= 1
            if room < 0:
                named = attrs.evolve(drift, name="", found="")
        before = found.get(named.identity)
        records = named.records + (before.records if before else 0)
        found[named.identity] = attrs.evolve(named, records=records)
    return list(found.values())


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name, or one like it that no column has, whatever the case.

    taken: in lower case.  Two names that differ in nothing else are two columns for Postgres,
    and one for most who read it.
    """
    name, number = wanted, 2
    while name.casefold() in taken:
        # Names are at most 63 bytes long.
        name = wanted.encode()[:58].decode("utf-8", "ignore") + f"_{number}"
        number += 1
    return name
