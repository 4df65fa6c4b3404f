"""What is to be told when a run ends: for how many servers what `syncd init` wrote ran unedited.

Tests say it as properties of theirs, which come with their reports from whichever process ran
them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

UNEDITED = "syncd init"


def sentences(passed: Iterable[Any], failed: Iterable[Any]) -> Iterator[str]:
    """Lines for the end of a run, from the reports of its tests."""
    ran: dict[str, str] = {}
    for reports, word in ((passed, "yes"), (failed, "no")):
        for report in reports:
            found = dict(getattr(report, "user_properties", ()))
            if UNEDITED in found:
                ran[found[UNEDITED]] = word
    if ran:
        good = sum(word == "yes" for word in ran.values())
        told = ", ".join(f"{name}: {word}" for name, word in sorted(ran.items()))
        yield f"syncd init: {good} of {len(ran)} configs ran unedited ({told})"
