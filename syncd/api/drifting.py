"""How does the data of one page leave the contract?  Gathered record by record.

Bounded whatever an API sends: so many names are kept, the rest is only counted.
"""

from collections.abc import Callable, Sequence

import attrs

from syncd.api.columns import TYPES, kind_of
from syncd.config.settings import NewFields, WrongTypes
from syncd.sync.drift import MOST, Added, Drift

NAME = 200  # characters of a name that are told

Propose = Callable[[str, Sequence[bytes]], Added | None]
"""The column for a new field with these values; None for a name that no column can have."""


def anything(field: str, _: Sequence[bytes]) -> Added:
    """A column that takes whatever there is."""
    return Added(column=field, type="jsonb", field=field)


def kind(value: bytes) -> str:
    """What JSON calls it: drifts of one kind are the same."""
    found = kind_of(value)
    return "true or false" if found in ("true", "false") else found


def rival(column: str, of: str, value: bytes) -> Added | None:
    """The column beside one of this type that takes the value; None if none does.

    It is of a wider type, and no column's type is ever changed: views and programs stand on it.
    """
    first = value[:1]
    wider = ["text"] if first == b'"' else ["jsonb"]
    if first in b"-0123456789":
        wider = ["numeric", "text"]
    for name in wider:
        if name != of and TYPES[name].check(value) is None:
            return Added(column=f"{column}_{name}", type=name, instead_of=column)
    return None


@attrs.define(kw_only=True)
class Drifts:
    """What a page's records have shown so far."""

    frozen: str = ""
    """Why nothing of the page may be written."""

    _new: dict[str, list[bytes]] = attrs.field(factory=dict, init=False)
    """New fields, with their values."""

    _more: bool = attrs.field(default=False, init=False)
    _wrong: dict[tuple[str, str, WrongTypes], int] = attrs.field(factory=dict, init=False)
    """Column, what JSON calls the value and what becomes of it, to how many records."""

    _rivals: dict[str, Added] = attrs.field(factory=dict, init=False)

    def new(self, name: str, value: bytes) -> None:
        """A record has a field that nobody has named."""
        values = self._new.get(name)
        if values is None and len(self._new) >= MOST:
            self._more = True
        elif values is None:
            self._new[name] = [value]
        else:
            values.append(value)

    def wrong(self, column: str, value: bytes, rule: WrongTypes) -> None:
        """A value does not fit its column, and this becomes of it."""
        key = (column, kind(value), rule)
        self._wrong[key] = self._wrong.get(key, 0) + 1

    def want(self, column: Added) -> None:
        """A value has no column that it fits."""
        self._rivals[column.column] = column

    def wanted(self, propose: Propose) -> tuple[Added, ...]:
        """The columns that these records need."""
        proposed = [propose(name, values) for name, values in self._new.items()]
        return (*filter(None, proposed), *self._rivals.values())

    def forget_nulls(self) -> None:
        """A field that is null in all records is as if it were not there."""
        fields = {n: [v for v in values if v != b"null"] for n, values in self._new.items()}
        self._new = {name: values for name, values in fields.items() if values}

    def forget(self, name: str) -> None:
        """Nobody may be shown this name."""
        self._new.pop(name, None)

    @property
    def names(self) -> list[str]:
        """Of the new fields."""
        return list(self._new)

    def all(self, new_fields: NewFields) -> tuple[Drift, ...]:
        """Them all; new_fields: what becomes of these."""
        fields = dict.fromkeys(name[:NAME] for name in self._new)
        return (
            *(Drift(what="new-field", name=n, rule=new_fields) for n in fields),
            *([Drift(what="new-field", name="", rule=new_fields)] if self._more else []),
            *(
                Drift(what="wrong-type", name=n, found=found, rule=rule, records=many)
                for (n, found, rule), many in self._wrong.items()
            ),
        )
