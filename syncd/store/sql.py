"""Where do the statements come from?  `queries.sql`, each under its name."""

import functools
import importlib.resources
import re
from typing import LiteralString

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)  # for who reads the file: Postgres need not


@functools.cache
def _statements() -> dict[str, LiteralString]:
    text = importlib.resources.files("syncd.store").joinpath("queries.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    # The file is part of the program, as a literal would be: nobody's input is in it.
    return {
        name: _COMMENT.sub("", body).strip().rstrip(";")
        for name, body in zip(names, bodies, strict=True)
    }


def sql(name: str) -> LiteralString:
    """The statement of that name; KeyError if there is none."""
    return _statements()[name]
