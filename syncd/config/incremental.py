"""What do `incremental` and `deleted` of a stream say: what has changed, and what is gone?"""

from typing import Any

from syncd.config import units
from syncd.config.pages import sent_by
from syncd.config.reading import REQUIRED, Node
from syncd.config.settings import DeletedSettings, IncrementalSettings, StreamSettings
from syncd.config.zones import read_zone

KINDS = ["time", "epoch", "epoch-ms", "number"]
OFTEN = {"daily": 86400.0, "weekly": 7 * 86400.0}


def read_incremental(node: Node) -> IncrementalSettings | None:
    """The table `incremental`; without it, each cycle asks for the whole list."""
    table = node.table("incremental")
    if table is None:
        return None
    kind = table.choice("kind", KINDS, "time")
    for name in ("lookback", "lag", "zone"):
        if kind == "number" and name in table.values:
            table.has(name)
            table.fault(name, 'kind = "number" has no clock; leave it out')
    of_time = kind != "number"
    settings = IncrementalSettings(
        field=table.path_text("field"),
        param=table.text("param", REQUIRED, 'a parameter such as "updated_since"'),
        kind=kind,
        lookback=table.duration("lookback", 300.0, zero=True) if of_time else 0.0,
        lag=table.duration("lag", 60.0, zero=True) if of_time else 0.0,
        zone=read_zone(table, None) if of_time else None,
        full=_full(table),
    )
    table.finish()
    return settings


def read_deleted(node: Node) -> DeletedSettings | None:
    """The table `deleted`; without it, no record says of itself that it is gone."""
    table = node.table("deleted", '{ field = "archived" }, which names what tells it')
    if table is None:
        return None

    def check(value: Any) -> tuple[str, ...] | None:
        values = value if isinstance(value, list) else [value]
        found = [_text(v) for v in values]
        return tuple(t for t in found if t) if values and all(found) else None

    settings = DeletedSettings(
        field=table.path_text("field"),
        wanted=table.get("is", ("true",), 'a value or a list of them, such as "archived"', check),
    )
    table.finish()
    return settings


def check_incremental(node: Node, stream: StreamSettings) -> None:
    """Note what can't be together."""
    if stream.deleted is not None and _hidden(stream, stream.deleted.field):
        node.fault_at(("deleted", "field"), "`hide` hides it before anything can look at it")
    found = stream.incremental
    if found is None:
        return
    if found.param in stream.params:
        node.fault_at(("params", found.param), "`incremental` sends this parameter")
    if stream.search is not None and found.param in stream.search.body:
        node.fault_at(("search", "body", found.param), "`incremental` sends this parameter")
    if found.param in sent_by(stream.page):
        node.fault_at(("incremental", "param"), "`page` sends this parameter for its own sake")
    if _hidden(stream, found.field):
        node.fault_at(("hide", found.field), "`incremental.field` is kept in the checkpoint")


def _hidden(stream: StreamSettings, path: str) -> bool:
    """Whether `hide` changes what stands at a path, or what it leads through."""
    names = str(path).split(".")  # one that is missing was told, and is in no `hide`
    return any(".".join(names[:n]) in stream.hide for n in range(1, len(names) + 1))


def _full(table: Node) -> float | None:
    if table.values.get("full") == "never":
        table.has("full")
        return None

    def check(value: Any) -> float | None:
        # Zero is no interval: each cycle of the whole list is what `incremental` left out says.
        named = OFTEN.get(value) if isinstance(value, str) else None
        return named or units.seconds(value) or None

    allowed = '"daily", "weekly", "never", or a duration of more than 0, such as "12h"'
    return table.get("full", OFTEN["daily"], allowed, check)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value else None
