"""What does `[sources.NAME]` say: its address, credentials, budget, and streams?"""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from syncd.config.reading import REQUIRED, Node
from syncd.config.settings import (
    COLUMN_TYPES,
    AuthSettings,
    BudgetSettings,
    CallSettings,
    PageSettings,
    Secret,
    SourceSettings,
    StreamSettings,
)
from syncd.errors import Fault

LONGEST_NAME = 63  # bytes; Postgres would cut a longer one

SYNONYMS = {
    "int": "integer", "int4": "integer", "int8": "bigint", "int2": "smallint",
    "float8": "double precision", "float": "double precision", "float4": "real",
    "bool": "boolean", "decimal": "numeric", "varchar": "text", "string": "text",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
}  # fmt: skip

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD = re.compile(r"\{[^{}]+\}")
PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


def read_budgets(node: Node) -> dict[str, BudgetSettings]:
    """The budgets that sources share by name."""
    return {name: _budget(child, f"budget {name}") for name, child in node.tables("budgets")}


def read_source(
    name: str, node: Node, budgets: Mapping[str, BudgetSettings], *, is_template: bool
) -> SourceSettings | None:
    """One source; None if it lacks what the rest hangs on."""
    _refuse_name(node, "", name, "a source's name")
    node.has("like")  # taken into account already
    base_url = node.text("base_url", REQUIRED, 'an address such as "https://api.example.com"')
    if base_url is REQUIRED:
        base_url = ""
    else:
        _check_address(node, base_url)
    streams = {n: _stream(n, child) for n, child in node.tables("streams")}
    if not streams and not is_template:
        node.fault("streams", f"missing; name at least one, as [{node.path}.streams.NAME]")
    source = SourceSettings(
        name=name,
        base_url=base_url,
        headers=_headers(node),
        auth=_auth(node),
        budget=_own_budget(name, node, budgets),
        timeout=node.duration("timeout", 15.0),
        retries=node.count("retries", 5, least=0, most=100),
        backoff=node.duration("backoff", 1.0),
        connections=node.count("connections", 10, most=1000),
        keepalive=node.duration("keepalive", 4.0, zero=True),
        max_body=node.size("max_body", 64 * 2**20),
        retry_after=node.path_text("retry_after", "retry_after"),
        streams=streams,
    )
    node.finish()
    return source


def _check_address(node: Node, base_url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        good = False
        parts = urllib.parse.urlsplit("")
    if parts.username or parts.password:
        # Not shown: it holds a credential.
        node.fault("base_url", "it holds credentials; they belong into `auth`, by reference")
    elif not good or parts.query or parts.fragment or not base_url.isascii() or " " in base_url:
        node.wrong("base_url", base_url, 'an address such as "https://api.example.com/v1"')


def _headers(node: Node) -> dict[str, str | Secret]:
    table = node.table("headers")
    found: dict[str, str | Secret] = {}
    for name in table.values if table else ():
        if table is None:
            break
        value = table.text_or_secret(name, "")
        text = value.reveal() if isinstance(value, Secret) else str(value)
        if not HEADER.fullmatch(name):
            table.fault(name, "a header's name is made of letters, figures and dashes")
        elif not PLAIN.fullmatch(text):
            table.fault(name, "a header's value can't hold line breaks or control characters")
        elif name.lower() == "authorization" and "auth" in node.values:
            table.fault(name, "`auth` makes this header; leave one of them out")
        else:
            found[name] = value
    return found


def _auth(node: Node) -> AuthSettings | None:
    table = node.table("auth")
    if table is None:
        return None
    table.choice("kind", ["token"], "token")
    username = table.text_or_secret("username")
    password = _password(table)
    text = username.reveal() if isinstance(username, Secret) else username
    if isinstance(text, str) and ":" in text:
        table.fault("username", "it holds a ':', which ends the user name in Basic credentials")
    auth = AuthSettings(
        url=_address(table, "url", "/auth/token"),
        username=username,
        password=password,
        spends=table.flag("spends", default=False),
    )
    table.finish()
    return auth


def _password(table: Node) -> Secret:
    value = table.values.get("password")
    if isinstance(value, dict):
        found: Secret = table.text_or_secret("password")
        return found
    table.has("password")
    what = "missing" if value is None else "a secret's value must not stand in the file"
    table.fault(
        "password",
        f'{what}; say where it is: {{ credential = "name" }}, {{ env = "NAME" }}, '
        '{ file = "/path" } or { command = ["program", "argument"] }',
    )
    return Secret("", "nowhere")


def _own_budget(
    name: str, node: Node, budgets: Mapping[str, BudgetSettings]
) -> BudgetSettings | None:
    if not node.has("budget"):
        return None
    value = node.values["budget"]
    if not isinstance(value, str):
        table = node.table("budget")
        return None if table is None else _budget(table, f"source {name}")
    if value not in budgets:
        known = ", ".join(budgets) or "none"
        node.fault("budget", f"there is no [budgets.{value}]; known: {known}")
    return budgets.get(value)


def _budget(node: Node, name: str) -> BudgetSettings:
    budget = BudgetSettings(
        name=name,
        requests=node.count("requests", most=100_000),
        per=node.duration("per"),
        slack=node.duration("slack", 0.25),
    )
    node.finish()
    return budget


def _stream(name: str, node: Node) -> StreamSettings:
    columns = _columns(node)
    call = _call(node, columns)
    kept = set(call.keep) if call else set()
    key = node.texts("key")
    if key is REQUIRED:
        key = ()
    volatile = node.texts("volatile", ())
    _refuse_strangers(node, "key", key, columns)
    _refuse_strangers(node, "volatile", volatile, columns)
    for column in key:
        if column in kept or column in volatile:
            node.fault("key", f"{column!r} is a key and can't be volatile or kept from a call")
        if columns.get(column) == "jsonb":
            node.fault("key", f"{column!r} is jsonb, which can't be a key")
    schema, table = _table(name, node)
    stream = StreamSettings(
        name=name,
        path=_address(node, "path"),
        every=node.duration("every", 900.0),
        params=node.mapping("params", "text or a whole number", _param),
        records=node.get("records", "", "a path, or empty", _str),
        where=node.mapping("where", 'a list of texts, such as ["active"]', _where),
        key=key,
        columns=columns,
        volatile=frozenset(volatile),
        schema=schema,
        table=table,
        indexes=_indexes(node, columns),
        page=_page(node),
        call=call,
    )
    node.finish()
    return stream


def _columns(node: Node) -> dict[str, str]:
    def check(value: Any) -> str | None:
        of = SYNONYMS.get(value, value) if isinstance(value, str) else None
        return of if of in COLUMN_TYPES else None

    allowed = f"one of {', '.join(sorted(COLUMN_TYPES))}"
    columns = node.mapping("columns", allowed, check)
    if not node.values.get("columns"):
        node.fault("columns", 'missing; name at least the key, as { id = "text" }')
    for name in columns:
        _refuse_name(node, "columns", name, "a column's name")
        if name.startswith("_syncd_"):
            node.fault("columns", f"{name!r}: names that begin with _syncd_ are syncd's own")
    return columns


def _table(name: str, node: Node) -> tuple[str, str]:
    schema, table = node.text("schema", "public"), node.text("table", name)
    if "." in table and "schema" not in node.values and "table" in node.values:
        schema, _, table = table.partition(".")
    _refuse_name(node, "schema", schema, "a schema's name")
    _refuse_name(node, "table", table, "a table's name")
    if schema == "syncd":
        node.fault("table", "the schema syncd is syncd's own; choose another")
    return schema, table


def _indexes(node: Node, columns: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    def check(value: Any) -> tuple[tuple[str, ...], ...] | None:
        lists = [[v] if isinstance(v, str) else v for v in value] if isinstance(value, list) else []
        good = all(isinstance(i, list) and i and all(_str(c) for c in i) for i in lists)
        return tuple(tuple(i) for i in lists) if good and isinstance(value, list) else None

    none: tuple[tuple[str, ...], ...] = ()
    indexes = node.get("indexes", none, 'a list such as ["status", ["name", "status"]]', check)
    for index in indexes:
        _refuse_strangers(node, "indexes", index, columns)
    return indexes


def _page(node: Node) -> PageSettings:
    table = node.table("page")
    if table is None:
        return PageSettings()
    table.choice("kind", ["number"], "number")
    page = PageSettings(
        size=table.count("size", 100, most=100_000),
        first=table.count("first", 1, least=0),
        page_param=table.text("page_param", "page"),
        size_param=table.text("size_param", "limit"),
        more=table.path_text("more", "has_more"),
        total=table.path_text("total", None),
    )
    table.finish()
    return page


def _call(node: Node, columns: Mapping[str, str]) -> CallSettings | None:
    table = node.table("call")
    if table is None:
        return None
    keep = table.mapping("keep", "a path into the answer", _str)
    _refuse_strangers(table, "keep", tuple(keep), columns)
    path = _address(table, "path")
    if set("{}") & set(FIELD.sub("", path)):
        table.wrong("path", path, 'a path whose fields stand in braces, such as "/items/{id}/sync"')
    call = CallSettings(
        method=table.choice("method", ["POST", "PUT", "PATCH", "GET", "DELETE"], "POST"),
        path=path,
        concurrency=table.count("concurrency", 5, most=1000),
        when=table.choice("when", ["always", "changed"], "always"),
        repeat=table.choice("repeat", ["idempotent", "with-key", "never"], "never"),
        key_header=table.text("key_header", "Idempotency-Key"),
        success=table.path_text("success", None),
        keep=keep,
    )
    if not HEADER.fullmatch(call.key_header):
        table.wrong("key_header", call.key_header, "a header's name")
    table.finish()
    return call


def _address(node: Node, key: str, default: Any = REQUIRED) -> str:
    def check(value: Any) -> str | None:
        good = isinstance(value, str) and value.startswith("/") and value.isprintable()
        return value if good else None

    found = node.get(key, default, 'a path that begins with "/"', check)
    return "/" if found is REQUIRED else found


def _refuse_strangers(
    node: Node, key: str, names: tuple[str, ...], columns: Mapping[str, str]
) -> None:
    for name in names:
        if name not in columns:
            node.fault(key, f"{name!r} is not among `columns` ({', '.join(columns) or 'none'})")


def _refuse_name(node: Node, key: str, name: str, what: str) -> None:
    path = node.at(key) if key else node.path
    if not name or "\x00" in name:
        node.faults.append(Fault(path=path, message=f"{what} can't be empty or hold a NUL"))
    elif len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        message = f"{name!r}: {what} can't be longer than {LONGEST_NAME} bytes"
        node.faults.append(Fault(path=path, message=message))


def refuse_shared_tables(sources: Mapping[str, SourceSettings], faults: list[Fault]) -> None:
    """Two streams may share a table only if they agree on what it is."""
    first: dict[tuple[str, str], tuple[str, StreamSettings]] = {}
    for source in sources.values():
        for stream in source.streams.values():
            path = f"sources.{source.name}.streams.{stream.name}"
            there = first.setdefault((stream.schema, stream.table), (path, stream))
            if there[1] is stream:
                continue
            if there[0].startswith(f"sources.{source.name}.streams."):
                message = f"{there[0]} of the same source writes to table {stream.table!r} as well"
                faults.append(Fault(path=f"{path}.table", message=f"{message}; name another"))
                continue
            differ = [n for n, of in _shape(stream).items() if of != _shape(there[1])[n]]
            if differ:
                message = (
                    f"{there[0]} writes to the same table {stream.schema}.{stream.table} with "
                    f"other {' and '.join(differ)}; make them equal, or name another table"
                )
                faults.append(Fault(path=f"{path}.table", message=message))


def _shape(stream: StreamSettings) -> dict[str, object]:
    return {
        "columns": dict(stream.columns),
        "key": stream.key,
        "volatile": stream.volatile,
        "kept columns": frozenset(stream.call.keep) if stream.call else frozenset(),
        "indexes": stream.indexes,
    }


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _param(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _where(value: Any) -> tuple[str, ...] | None:
    values = value if isinstance(value, list) else [value]
    good = values and all(isinstance(v, str | int | float) for v in values)
    texts = [("true" if v else "false") if isinstance(v, bool) else str(v) for v in values]
    return tuple(texts) if good else None
