"""What does journald's catalog say below each line?  What docs/operations.md says of it.

`scripts/catalog` writes systemd/syncd.catalog with this; a test keeps the two equal.
"""

import re
import sys
from pathlib import Path
from textwrap import fill

from syncd.logs import kinds

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `[^`]+` \| [A-Z]+ \| `([a-z-]+)` \| (.+) \| (.+) \|$", re.MULTILINE)
WIDTH = 79  # columns of a terminal; journalctl puts two characters before each line

HEAD = """\
# What journalctl -x says below syncd's lines.  Made by scripts/catalog from the tables of
# docs/operations.md; change it there.
#
# Install: see README.md beside this file.
"""


def catalog(page: str) -> str:
    """The whole file, from the page's text."""
    rows = {name: (meaning, todo) for name, meaning, todo in ROW.findall(page)}
    entries = [_entry(kind, *rows[kind.name]) for kind in kinds.ALL]
    return "\n".join([HEAD, *entries])


def _entry(kind: kinds.Kind, meaning: str, todo: str) -> str:
    lines = [
        f"-- {kind.id}",
        f"Subject: {kind.sentence}",
        "Defined-By: syncd",
        "",
        _plain(meaning),
        "",
        _plain(f"What to do: {todo}"),
        "",
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """As a terminal shows it.  What stands between two @ would be taken for a field."""
    return fill(text.replace("`", "").replace("@", " at "), WIDTH, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(catalog(PAGE.read_text("utf-8")))
