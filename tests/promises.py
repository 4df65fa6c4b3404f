"""Which promise does a test hold?  The one that its docstring begins with, or its name names.

scripts/test -k resume            all tests that hold the promise `resume`
scripts/test -k no_blind_repeat   dashes are underscores here
"""

import re

NAMES = (
    "page-atomic",
    "resume",
    "budget",
    "accounted",
    "contained",
    "no-delete-on-absence",
    "no-blind-repeat",
    "no-secret-out",
    "drain",
    "all-or-nothing-reload",
)
"""Those of docs/guarantees.md, in its order."""


def of(name: str, docstring: str | None) -> set[str]:
    """The promises of a test, as words that pytest's -k can select."""
    first = (docstring or "").split(":")[0]
    told = set(re.split(r",\s*", first)) if ":" in (docstring or "") else set()
    words = {p: p.replace("-", "_") for p in NAMES}
    return {word for p, word in words.items() if p in told or f"_{word}_" in f"{name}_"}
