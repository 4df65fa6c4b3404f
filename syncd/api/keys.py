"""What is the canonical key of a record, where Postgres says what its columns hold?"""

from collections.abc import Mapping, Sequence

from syncd.api.columns import TYPES
from syncd.api.contract import canonical_key
from syncd.api.splitting import elements


def canonical(key: Sequence[str], columns: Mapping[str, str], typed: str) -> str:
    """The key as pages have it; typed: a JSON array of the key columns' values in Postgres."""
    values = elements(typed.encode())
    return canonical_key(
        [TYPES[columns[c]].canonical(value) for c, value in zip(key, values, strict=True)]
    )
