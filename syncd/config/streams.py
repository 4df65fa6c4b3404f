"""What does `[sources.NAME.streams.NAME]` say: which list, cut how, kept in which columns?"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from syncd.config import units
from syncd.config.contract import check_contract, read_contract
from syncd.config.hidden import check_hidden, read_hidden
from syncd.config.incremental import check_incremental, read_deleted, read_incremental
from syncd.config.names import HEADER, SYSTEM_COLUMNS, refuse_name
from syncd.config.pages import read_page, sent_by
from syncd.config.reading import REQUIRED, Node, any_text, as_text, as_texts, shown
from syncd.config.receivers import read_heartbeat
from syncd.config.rules import read_rules
from syncd.config.schedules import read_schedule
from syncd.config.settings import (
    COLUMN_TYPES,
    CallSettings,
    Conditional,
    SearchSettings,
    StreamSettings,
    VerifySettings,
)

SYNONYMS = {
    "int": "integer", "int4": "integer", "int8": "bigint", "int2": "smallint",
    "float8": "double precision", "float": "double precision", "float4": "real",
    "bool": "boolean", "decimal": "numeric",
    "varchar": "text", "character varying": "text", "string": "text",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
}  # fmt: skip

OFTEN = {"daily": 86400.0, "weekly": 7 * 86400.0}

FIELD = re.compile(r"\{[^{}]+\}")


def read_stream(name: str, node: Node) -> StreamSettings:
    """One stream of a source."""
    refuse_name(node, "", name, "a stream's name")
    columns, paths = _columns(node)
    key = node.texts("key")
    volatile = node.texts("volatile", ())
    indexes = _indexes(node, columns)
    page, call = read_page(node), _call(node, columns)
    begins = read_schedule(node)
    schema, table = _table(name, node)
    stream = StreamSettings(
        name=name,
        path=node.address("path"),
        every=begins.every,
        cron=begins.cron,
        zone=begins.zone,
        slow_after=node.duration("slow_after", 300.0),
        reconcile=_reconcile(node),
        cost=node.count("cost", 1, most=100_000),
        params=node.mapping("params", "text, a whole number, true or false", as_text),
        records=node.path_or_none("records", "") or "",
        where=node.mapping("where", 'a value or a list of them, such as ["active"]', as_texts),
        key=() if key is REQUIRED else key,
        columns=columns,
        paths=paths,
        hide=read_hidden(node),
        hide_key=node.secret("hide_key") if node.has("hide_key") else None,
        volatile=frozenset(volatile),
        schema=schema,
        table=table,
        indexes=indexes,
        page=page,
        call=call,
        conditional=_conditional(node),
        errors=read_rules(node),
        contract=read_contract(node),
        heartbeat=read_heartbeat(node),
        incremental=read_incremental(node),
        deleted=read_deleted(node),
        search=_search(node),
    )
    _check_columns(node, stream, volatile)
    _refuse_sent_twice(node, stream)
    check_hidden(node, stream)
    check_incremental(node, stream)
    check_contract(node, stream)
    node.finish()
    return stream


def _conditional(node: Node) -> Conditional:
    def check(value: Any) -> Conditional | None:
        if isinstance(value, bool):
            return "etag" if value else "never"
        return "last-modified" if value == "last-modified" else None

    default: Conditional = "etag"
    return node.get("conditional", default, 'true, false or "last-modified"', check)


def _search(node: Node) -> SearchSettings | None:
    table = node.table("search")
    if table is None:
        return None
    search = SearchSettings(
        body=table.json("body", {}), place=table.choice("in", ["body", "query"], "body")
    )
    table.finish()
    return search


def _refuse_sent_twice(node: Node, stream: StreamSettings) -> None:
    in_body = stream.search is not None and stream.search.place == "body"
    there = stream.search.body if stream.search is not None and in_body else stream.params
    place = ("search", "body") if in_body else ("params",)
    for param in sent_by(stream.page):
        if param in there:
            node.fault_at((*place, param), "`page` sends this parameter; leave it out here")


def _reconcile(node: Node) -> float | None:
    def check(value: Any) -> float | None:
        return (OFTEN.get(value) if isinstance(value, str) else None) or units.seconds(value)

    if node.values.get("reconcile") == "never":
        node.has("reconcile")
        return None
    allowed = '"daily", "weekly", "never", or a duration of more than 0, such as "12h"'
    return node.get("reconcile", None, allowed, check)


def _check_columns(node: Node, stream: StreamSettings, volatile: Iterable[str]) -> None:
    columns = stream.columns
    kept = stream.call.keep if stream.call else {}
    _refuse_strangers(node, "key", stream.key, columns)
    _refuse_strangers(node, "volatile", volatile, columns)
    for column in stream.paths.keys() & kept.keys():
        node.fault_at(("columns", column), "it is kept from the call's answer, so it has no path")
    for column in stream.key:
        if column in stream.volatile:
            node.fault("key", f"{column!r} is volatile; a key must be what does not change")
        if column in kept:
            node.fault(
                "key", f"{column!r} is kept from the call's answer; a key comes from the list"
            )
        if columns.get(column) == "jsonb":
            node.fault("key", f"{column!r} is jsonb, which can't be a key")


def _type(value: Any) -> str | None:
    of = " ".join(value.lower().split()) if isinstance(value, str) else ""
    of = SYNONYMS.get(of, of)
    return of if of in COLUMN_TYPES else None


def _columns(node: Node) -> tuple[dict[str, str], dict[str, str]]:
    """Each column's type, and where in the record it is if that is not said by its name."""
    table = node.table("columns")
    read = {name: _column(table, name) for name in table.values} if table else {}
    columns = {name: of for name, (of, _) in read.items() if of is not REQUIRED}
    paths = {name: path for name, (_, path) in read.items() if path != name}
    if node.values.get("columns", {}) == {}:
        node.fault("columns", 'missing; name at least the key, as { id = "text" }')
    for name in columns:
        refuse_name(node, "columns", name, "a column's name")
        if name.startswith("_syncd_"):
            node.fault("columns", f"{name!r}: names that begin with _syncd_ are syncd's own")
        if name in SYSTEM_COLUMNS:
            node.fault("columns", f"{name!r}: every table of Postgres has a column of that name")
    return columns, paths


def _column(columns: Node, name: str) -> tuple[str, str]:
    """Its type, REQUIRED if that is wrong, and its path in the record."""
    allowed = f"one of {', '.join(sorted(COLUMN_TYPES))}"
    table = columns.table(name) if isinstance(columns.values[name], dict) else None
    if table is None:
        return columns.get(name, REQUIRED, allowed, _type), name
    of = table.get("type", REQUIRED, allowed, _type)
    whole = 'a path such as "address.city", or "" for the whole record'
    path = table.get("path", name, whole, any_text)
    table.finish()
    return of, path


def _table(name: str, node: Node) -> tuple[str, str]:
    """Schema and table: `table = "sales.orders"` names both."""
    schema, table = node.text("schema", "public"), node.text("table", name)
    place = "schema"
    if "." in table and "schema" not in node.values and "table" in node.values:
        schema, _, table = table.partition(".")
        place = "table"
    refuse_name(node, place, schema, "a schema's name")
    if "table" in node.values:  # else it is the stream's name, which was looked at
        refuse_name(node, "table", table, "a table's name")
    if schema in ("syncd", "information_schema") or schema.startswith("pg_"):
        owner = "syncd's own" if schema == "syncd" else "Postgres's own"
        node.fault(place, f"the schema {schema} is {owner}; choose another")
    return schema, table


def _indexes(node: Node, columns: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    none: list[object] = []
    allowed = 'a list of different indexes, such as ["status", ["name", "status"]]'
    given = node.get("indexes", none, allowed, lambda v: v if isinstance(v, list) else None)
    found: dict[tuple[str, ...], int] = {}
    for place, value in enumerate(given, 1):
        index = _index(value)
        if index is None:
            one = 'a column, or a list of different columns, such as ["name", "status"]'
            node.fault_of("indexes", place, f"found {shown(value)}; it must be {one}")
        elif found.setdefault(index, place) != place:
            message = f"it is the same as indexes[{found[index]}]; leave one of them out"
            node.fault_of("indexes", place, message)
        for column in index or ():
            if _is_stranger(node, column, columns):
                node.fault_of("indexes", place, _stranger(column, columns))
    return tuple(found)


def _index(value: object) -> tuple[str, ...] | None:
    columns: list[Any] = value if isinstance(value, list) else [value]
    good = bool(columns) and all(isinstance(c, str) and c for c in columns)
    return tuple(columns) if good and len(set(columns)) == len(columns) else None


def _call(node: Node, columns: Mapping[str, str]) -> CallSettings | None:
    table = node.table("call")
    if table is None:
        return None
    keep = table.mapping("keep", 'a path into the answer, such as "synced_at"', _path)
    _refuse_strangers(table, "keep", keep, columns)
    repeat = table.choice("repeat", ["idempotent", "with-key", "never"], "never")
    call = CallSettings(
        method=table.choice("method", ["POST", "PUT", "PATCH", "GET", "DELETE"], "POST"),
        path=_filled_path(table, "/items/{id}/sync"),
        concurrency=table.count("concurrency", 5, most=1000),
        cost=table.count("cost", 1, most=100_000),
        when=table.choice("when", ["always", "changed"], "always"),
        repeat=repeat,
        key_header=table.text("key_header", "Idempotency-Key"),
        success=table.path_or_none("success", None),
        keep=keep,
        verify=_verify(table, keep, repeat),
    )
    if not HEADER.fullmatch(call.key_header):
        table.wrong("key_header", call.key_header, "a header's name")
    table.finish()
    return call


def _filled_path(table: Node, example: str) -> str:
    """A path with fields of the record in braces."""
    path = table.address("path", query=True)
    if _stray_brace(path):
        table.wrong("path", path, f'a path whose fields stand in braces, such as "{example}"')
    return path


def _stray_brace(text: str) -> bool:
    return bool(set("{}") & set(FIELD.sub("", text)))


def _verify(call: Node, kept: Mapping[str, str], repeat: str) -> VerifySettings | None:
    table = call.table("verify")
    if table is None:
        return None
    if repeat != "never":
        call.fault(
            "verify",
            f'not needed with repeat = "{repeat}": a call whose outcome is unknown is made again '
            "then; leave one of the two out",
        )
    keep = table.mapping("keep", 'a path into the answer, such as "synced_at"', _path)
    given = table.values.get("keep")
    if isinstance(given, dict) and set(given) != set(kept):
        columns = ", ".join(kept) or "none"
        table.fault("keep", f"it must name the columns of the call's own `keep` ({columns})")
    verify = VerifySettings(
        path=_filled_path(table, "/items/{id}"),
        done=table.path_text("done"),
        wanted=table.get("is", "true", "text, a whole number, true or false", as_text),
        not_found=table.choice("not_found", ["not-done", "unknown"], "unknown"),
        keep=keep if table.has("keep") else kept,
    )
    if _stray_brace(verify.wanted):
        table.wrong("is", verify.wanted, 'text whose fields stand in braces: "{idempotency_key}"')
    table.finish()
    return verify


def _refuse_strangers(
    node: Node, key: str, names: Iterable[str], columns: Mapping[str, str]
) -> None:
    for name in names:
        if _is_stranger(node, name, columns):
            node.fault(key, _stranger(name, columns))


def _is_stranger(node: Node, name: str, columns: Mapping[str, str]) -> bool:
    """A column whose type is wrong is a fault already, and is not among `columns`."""
    return name not in columns and name not in _named(node)


def _stranger(name: str, columns: Mapping[str, str]) -> str:
    return f"{name!r} is not among `columns` ({', '.join(columns) or 'none'})"


def _named(node: Node) -> Mapping[str, object]:
    named = node.values.get("columns")
    return named if isinstance(named, dict) else {}


def _path(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
