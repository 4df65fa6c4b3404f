"""Which names can Postgres keep as they are?  Any text of 1 to 63 bytes without a NUL."""

import re

from syncd.config.reading import Node, shown

LONGEST = 63  # bytes; Postgres would cut a longer one, and two could become one

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of an HTTP header (a token of RFC 9110, section 5.6.2)."""

SYSTEM_COLUMNS = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}
"""Every table of Postgres has these already; quotes don't help."""


def refuse_name(node: Node, key: str, name: str, what: str) -> None:
    """Note what is wrong with a name that stands at a key (empty: that is the node's own)."""
    at = (key,) if key else ()
    if not name or "\x00" in name:
        node.fault_at(at, f"{what} can't be empty or hold a NUL")
    elif len(name.encode()) > LONGEST:
        message = f"{shown(name)}: {what} can't be longer than {LONGEST} bytes, it has"
        node.fault_at(at, f"{message} {len(name.encode())}")
