"""What a config file means, and what is said of one that is wrong."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from syncd.config import load as loading
from syncd.config.load import find, load
from syncd.config.settings import (
    BudgetSettings,
    DatabaseSettings,
    PageSettings,
    StreamSettings,
)
from syncd.errors import ConfigError
from tests.unit.config.files import (
    ENVIRON,
    GONE,
    ORDERS,
    RIGHT,
    faults,
    right,
    settings,
    write,
)

SHOP = ("sources", "shop")
CALL = (*ORDERS, "call")
PAGE = (*ORDERS, "page")
COLUMNS = (*ORDERS, "columns")

# Every plane of Unicode, what SQL and TOML give a meaning to, and no character at all.
NAMES = [
    "o'brien",
    'say "so"',
    "a;b",
    "'; DROP TABLE users; --",
    "a.b",
    "a b",
    "%s %(x)s {id} $1 :x ?",
    "back\\slash",
    "line\nbreak\ttab\r",
    "\x01\x7f\x9f",
    "ä\u0308\u200f\ufeff",
    *(chr((plane << 16) + 0x1234) * 3 for plane in range(17)),
    "like",
    "sources",
]


def orders(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> StreamSettings:
    return settings(folder, right(*changes)).sources["shop"].streams["orders"]


def said(folder: Path, document: Any, **how: Any) -> dict[str, str]:
    """Path to message of each fault."""
    return {f.path: f.message for f in faults(folder, document, **how)}


# --- right ------------------------------------------------------------------------------


def test_a_right_file_loads_with_all_that_it_says(tmp_path: Path) -> None:
    """What stands in the file arrives as settings."""
    found = settings(tmp_path, RIGHT)
    shop = found.sources["shop"]
    stream = shop.streams["orders"]
    assert found.path == tmp_path / "syncd.toml"
    assert found.database.url == "postgresql:///syncd"
    assert shop.budget == BudgetSettings(name="budget agency", requests=10, per=60.0)
    assert shop.headers == {"X-Client-Id": "syncd"}
    assert (stream.key, stream.volatile) == (("id",), frozenset({"views"}))
    assert stream.indexes == (("state",),)
    assert stream.call is not None
    assert stream.call.keep == {"seen_at": "at"}


def test_defaults_are_as_documented(tmp_path: Path) -> None:
    """The shortest file means what docs/configuration.md says it means."""
    text = """
        [sources.shop]
        base_url = "https://api.example.com"
        [sources.shop.streams.orders]
        path = "/orders"
        key = ["id"]
        columns = { id = "text" }
        call = { path = "/x" }
        [sources.logged_in]
        like = "shop"
        auth = { username = "me", password = { env = "SHOP_PASSWORD" } }
        budget = { requests = 1, per = 1 }
    """
    found = settings(tmp_path, text, environ={**ENVIRON, "STATE_DIRECTORY": "/run/a:/run/b"})
    shop = found.sources["shop"]
    stream = shop.streams["orders"]
    assert (found.state, found.drain) == (Path("/run/a"), 30.0)
    assert found.database == DatabaseSettings(url=None)
    assert (shop.headers, shop.auth, shop.budget) == ({}, None, None)
    assert (shop.timeout, shop.retries, shop.backoff) == (15.0, 5, 1.0)
    assert (shop.connections, shop.keepalive, shop.max_body) == (10, 4.0, 64 * 2**20)
    assert shop.retry_after == "retry_after"
    assert (stream.every, stream.params, stream.records, stream.where) == (900.0, {}, "", {})
    assert (stream.schema, stream.table) == ("public", "orders")
    assert (stream.volatile, stream.indexes) == (frozenset(), ())
    assert stream.page == PageSettings(
        kind="number",
        size=100,
        first=1,
        page_param="page",
        size_param="limit",
        more="has_more",
        total=None,
    )
    call = stream.call
    assert call is not None
    assert (call.method, call.concurrency, call.when, call.repeat) == ("POST", 5, "always", "never")
    assert (call.key_header, call.success, call.keep) == ("Idempotency-Key", None, {})
    auth, budget = found.sources["logged_in"].auth, found.sources["logged_in"].budget
    assert auth is not None
    assert (auth.kind, auth.url, auth.spends) == ("token", "/auth/token", False)
    assert budget is not None
    assert budget.slack == 0.25


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({"STATE_DIRECTORY": "/run/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/run/s"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/syncd"),
        ({"HOME": "/h"}, "/h/.local/state/syncd"),
    ],
)
def test_the_state_directory_is_where_the_system_says(
    environ: dict[str, str], state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of systemd, then XDG's, then the home folder's."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = settings(tmp_path, RIGHT, environ={**environ, "SHOP_PASSWORD": "x"})
    assert found.state == Path(state)


def test_the_state_directory_of_root_is_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's state does not land in a home folder."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert settings(tmp_path, RIGHT).state == Path("/var/lib/syncd")


@pytest.mark.parametrize("name", NAMES)
def test_names_and_values_load_unchanged(name: str, tmp_path: Path) -> None:
    """Quotes, SQL, line breaks and every plane of Unicode are only text."""
    document = right(
        (("sources", name), {**right()["sources"]["shop"], "streams": {}, "like": "shop"}),
        (("sources", name, "streams", name), right()["sources"]["shop"]["streams"]["orders"]),
        (("sources", name, "streams", name, "table"), name),
        (("sources", name, "streams", name, "schema"), name),
        (("sources", name, "streams", name, "columns"), {name: "text", "seen_at": "date"}),
        (("sources", name, "streams", name, "key"), [name]),
        (("sources", name, "streams", name, "volatile"), []),
        (("sources", name, "streams", name, "indexes"), [[name, "seen_at"]]),
        (("sources", name, "streams", name, "params"), {name: name}),
        (("sources", name, "streams", name, "where"), {name: [name]}),
        (("sources", name, "streams", name, "records"), name),
        (("sources", name, "auth", "username"), name.replace(":", "")),
    )
    found = settings(tmp_path, document).sources[name]
    stream = found.streams[name]
    assert (found.name, stream.name, stream.table, stream.schema) == (name, name, name, name)
    assert stream.columns == {name: "text", "seen_at": "date"}
    assert (stream.key, stream.indexes) == ((name,), ((name, "seen_at"),))
    assert (stream.params, stream.where, stream.records) == ({name: name}, {name: (name,)}, name)
    assert found.auth is not None
    assert found.auth.username == name.replace(":", "")


def test_a_dot_in_table_names_the_schema_unless_that_is_given(tmp_path: Path) -> None:
    """`crm.orders` is a table in a schema; with a schema beside it, it is a name."""
    dotted = orders(tmp_path, ((*ORDERS, "table"), "crm.orders"))
    whole = orders(tmp_path, ((*ORDERS, "table"), "crm.orders"), ((*ORDERS, "schema"), "s"))
    assert (dotted.schema, dotted.table) == ("crm", "orders")
    assert (whole.schema, whole.table) == ("s", "crm.orders")


def test_params_and_where_are_text_as_the_api_reads_it(tmp_path: Path) -> None:
    """Numbers and flags are written as JSON writes them."""
    stream = orders(
        tmp_path,
        ((*ORDERS, "params"), {"a": 5, "b": True, "c": "x", "d": False}),
        ((*ORDERS, "where"), {"s": "open", "n": [1, True, 1.5]}),
    )
    assert stream.params == {"a": "5", "b": "true", "c": "x", "d": "false"}
    assert stream.where == {"s": ("open",), "n": ("1", "true", "1.5")}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("int", "integer"), ("int8", "bigint"), ("float8", "double precision"), ("bool", "boolean"),
     ("varchar", "text"), ("decimal", "numeric"), ("timestamp with time zone", "timestamptz")],
)  # fmt: skip
def test_other_names_of_a_type_mean_the_type(written: str, meant: str, tmp_path: Path) -> None:
    """Postgres's and other usual names of column types are understood."""
    assert orders(tmp_path, ((*COLUMNS, "state"), written)).columns["state"] == meant


# --- wrong: the file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "piece"),
    [
        (b"", "missing; name at least one source"),
        (b"a = 1\n\xff\xfe", "is not UTF-8 text: look at byte 6"),
        (b"a = 1\nb = \n", "is not TOML: Invalid value (at line 2"),
        (b"a = 1\na = 2\n", "is not TOML: Cannot overwrite a value"),
        (b"a = " + b"[" * 100_000, "is not TOML: it is nested too deeply"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"a = 2024-13-45\n", "is not TOML"),
    ],
)
def test_a_file_that_is_no_config_is_told_of(content: bytes, piece: str, tmp_path: Path) -> None:
    """A file that can't be parsed is named, with the place in it."""
    [fault] = faults(tmp_path, content)
    assert piece in str(fault)
    assert content == b"" or str(tmp_path / "syncd.toml") in fault.message


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    """A file that is not there and a folder are named, with what the system says."""
    for path, piece in [
        (tmp_path / "absent.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(ConfigError, match=f"can't read {path}: {piece}"):
            load(path, environ={})


# --- wrong: one value -------------------------------------------------------------------------

WRONG: list[tuple[tuple[str, ...], Any, str]] = [
    # unknown keys
    (("databse",), {}, "unknown key; did you mean 'database'?"),
    ((*SHOP, "timout"), "15s", "unknown key; did you mean 'timeout'?"),
    ((*SHOP, "zzz"), 1, "unknown key; known here: auth, backoff, base_url"),
    ((*SHOP, "auth", "pasword"), "x", "did you mean 'password'?"),
    ((*ORDERS, "colums"), {}, "did you mean 'columns'?"),
    ((*PAGE, "sise"), 1, "did you mean 'size'?"),
    ((*CALL, "paths"), "/", "did you mean 'path'?"),
    (("budgets", "agency", "request"), 1, "did you mean 'requests'?"),
    (("database", "uri"), "x", "did you mean 'url'?"),
    # counts
    ((*SHOP, "retries"), True, "found true; it must be a whole number from 0 to 100"),
    ((*SHOP, "retries"), "10", "found '10'; it must be a whole number"),
    ((*SHOP, "retries"), -1, "found -1; it must be a whole number"),
    ((*SHOP, "retries"), 1.0, "found 1.0; it must be a whole number"),
    ((*SHOP, "retries"), math.nan, "found nan; it must be a whole number"),
    ((*SHOP, "connections"), 0, "found 0; it must be a whole number from 1"),
    ((*PAGE, "size"), 10**30, "it must be a whole number from 1 to 100000"),
    ((*PAGE, "first"), -1, "found -1"),
    ((*CALL, "concurrency"), [5], "found [5]"),
    (("budgets", "agency", "requests"), 0, "found 0; it must be a whole number from 1"),
    # durations and sizes
    ((*SHOP, "timeout"), True, "found true; it must be a duration of more than 0"),
    ((*SHOP, "timeout"), "fast", 'such as "250ms", "15s" or "2h"'),
    ((*SHOP, "timeout"), 0, "found 0; it must be a duration"),
    ((*SHOP, "timeout"), -5, "found -5; it must be a duration"),
    ((*SHOP, "timeout"), math.nan, "found nan; it must be a duration"),
    ((*SHOP, "timeout"), math.inf, "found inf; it must be a duration"),
    ((*SHOP, "backoff"), "0ms", "it must be a duration of more than 0"),
    ((*SHOP, "keepalive"), -1, "it must be a duration of 0 or more"),
    ((*ORDERS, "every"), "0s", "found '0s'; it must be a duration of more than 0"),
    (("budgets", "agency", "per"), "0s", "it must be a duration of more than 0"),
    (("budgets", "agency", "slack"), "x", "it must be a duration"),
    (("drain",), [], "it must be a duration"),
    ((*SHOP, "max_body"), "64 MB!", 'it must be a size of more than 0, such as "64MiB"'),
    ((*SHOP, "max_body"), 0, "it must be a size of more than 0"),
    # text, flags, choices, tables
    (("state",), "here", 'from "/" on'),
    (("state",), 5, "found 5"),
    ((*SHOP, "base_url"), "", "found ''"),
    ((*SHOP, "base_url"), 7, "found 7"),
    ((*SHOP, "base_url"), "api.example.com", "it must be an http or https address"),
    ((*SHOP, "base_url"), "ftp://api.example.com", "it must be an http or https address"),
    ((*SHOP, "base_url"), "https://", "it must be an http or https address"),
    ((*SHOP, "base_url"), "https://api.example.com:x", "it must be an http or https address"),
    ((*SHOP, "base_url"), "https://[::1", "it must be an http or https address"),
    ((*SHOP, "base_url"), "https://api.example.com/a b", "it must be an http or https address"),
    ((*SHOP, "base_url"), "https://bücher.example", "it must be an http or https address"),
    ((*SHOP, "auth", "spends"), 1, "found 1; it must be true or false"),
    ((*SHOP, "auth", "kind"), "oauth", "found 'oauth'; it must be \"token\""),
    ((*SHOP, "auth", "url"), "auth", 'a path that begins with "/"'),
    ((*SHOP, "auth", "username"), "a:b", "it holds a ':'"),
    ((*PAGE, "kind"), "cursor", "found 'cursor'; it must be \"number\""),
    ((*PAGE, "more"), "", "it must be a path such as"),
    ((*CALL, "method"), "post", 'it must be "POST" or'),
    ((*CALL, "when"), [], 'it must be "always" or "changed"'),
    ((*CALL, "repeat"), {}, 'it must be "idempotent" or'),
    ((*CALL, "key_header"), "a b", "it must be a header's name"),
    ((*CALL, "path"), "/{}/x", "whose fields stand in braces"),
    ((*CALL, "path"), "/{id/x", "whose fields stand in braces"),
    ((*CALL, "path"), "/id}/x", "whose fields stand in braces"),
    ((*CALL, "path"), "/{{id}}/x", "whose fields stand in braces"),
    ((*CALL, "path"), "x/{id}", 'a path that begins with "/"'),
    ((*ORDERS, "path"), "orders", 'a path that begins with "/"'),
    ((*ORDERS, "path"), "/a\nb", 'a path that begins with "/"'),
    ((*ORDERS, "params", "limit_to"), [1], "it must be text, a whole number"),
    ((*ORDERS, "params", "page"), "1", "`page` sends this parameter"),
    ((*ORDERS, "where", "state"), [], "it must be a value or a list of them"),
    ((*ORDERS, "where", "state"), {"a": 1}, "it must be a value or a list of them"),
    ((*ORDERS, "records"), 5, "found 5"),
    ((*ORDERS, "page"), "number", "found text; it must be a table"),
    ((*ORDERS, "call"), [], "found a list; it must be a table"),
    (ORDERS, 5, "found a number; it must be a table"),
    (SHOP, "x", "found text; it must be a table"),
    ((*SHOP, "auth"), "x", "found text; it must be a table"),
    ((*SHOP, "budget"), 5, "found a number; it must be a table"),
    ((*SHOP, "budget"), "agencies", "there is no [budgets.agencies]; known: agency"),
    (("database",), 5, "found a number; it must be a table"),
    # headers
    ((*SHOP, "headers", "X-A"), "a\nb", "no line breaks"),
    ((*SHOP, "headers", "X-A"), "a\r\nX-B: b", "no line breaks"),
    ((*SHOP, "headers", "X-A"), "\0", "no line breaks or control characters"),
    ((*SHOP, "headers", "X A"), "a", "a header's name is made of"),
    ((*SHOP, "headers", "X:A"), "a", "a header's name is made of"),
    ((*SHOP, "headers", "X-A"), 5, "found a number; it must be text"),
    ((*SHOP, "headers", "authorization"), "x", "`auth` makes this header"),
    ((*SHOP, "headers", "x-client-id"), "x", "the same header as 'X-Client-Id'"),
    ((*SHOP, "headers", "Content-Length"), "5", "syncd writes this header itself"),
    # missing
    (("sources",), GONE, "missing; name at least one source"),
    (("sources",), {}, "missing; name at least one source"),
    ((*SHOP, "base_url"), GONE, "missing; it must be an address"),
    ((*SHOP, "streams"), GONE, "missing; name at least one, as [sources.shop.streams.NAME]"),
    ((*SHOP, "auth", "username"), GONE, "missing"),
    ((*SHOP, "auth", "password"), GONE, "missing; say where it is: { credential"),
    ((*ORDERS, "path"), GONE, "missing; it must be a path"),
    ((*ORDERS, "key"), GONE, "missing; it must be a list of one or more"),
    ((*ORDERS, "key"), [], "it must be a list of one or more"),
    ((*CALL, "path"), GONE, "missing; it must be a path"),
    (("budgets", "agency", "requests"), GONE, "missing; it must be a whole number"),
    (("budgets", "agency", "per"), GONE, "missing; it must be a duration"),
    # columns
    ((*COLUMNS, "state"), "money", "found 'money'; it must be one of bigint"),
    ((*COLUMNS, "state"), 5, "found 5; it must be one of"),
    ((*ORDERS, "key"), "id", "found 'id'; it must be a list"),
    ((*ORDERS, "key"), ["id", "id"], "a list of one or more different texts"),
    ((*ORDERS, "key"), ["nr"], "'nr' is not among `columns` (id, state"),
    ((*ORDERS, "key"), ["views"], "'views' is volatile"),
    ((*ORDERS, "key"), ["seen_at"], "'seen_at' is kept from the call's answer"),
    ((*ORDERS, "key"), ["extra"], "'extra' is jsonb, which can't be a key"),
    ((*ORDERS, "volatile"), ["nr"], "'nr' is not among `columns`"),
    ((*ORDERS, "indexes"), [["state", "nr"]], "'nr' is not among `columns`"),
    ((*ORDERS, "indexes"), ["state", "state"], "a list of different indexes"),
    ((*ORDERS, "indexes"), [[]], "a list of different indexes"),
    ((*ORDERS, "schema"), "syncd", "is syncd's own"),
    ((*ORDERS, "schema"), "pg_catalog", "is Postgres's own"),
    ((*ORDERS, "table"), "syncd.stream", "is syncd's own"),
    ((*ORDERS, "table"), "crm.", "can't be empty"),
    ((*ORDERS, "table"), "a\0b", "can't be empty or hold a NUL"),
    ((*ORDERS, "table"), "ä" * 32, "can't be longer than 63 bytes, it has 64"),
]  # fmt: skip


def dotted(path: tuple[str, ...]) -> str:
    return ".".join(p if p.replace("-", "").isalnum() or "_" in p else f'"{p}"' for p in path)


@pytest.mark.parametrize(
    ("path", "value", "piece"), WRONG, ids=[f"{dotted(p)}-{n}" for n, (p, *_) in enumerate(WRONG)]
)
def test_a_wrong_value_is_told_of_at_its_place(
    path: tuple[str, ...], value: Any, piece: str, tmp_path: Path
) -> None:
    """One thing wrong is one fault, at the path that the operator wrote."""
    [fault] = faults(tmp_path, right((path, value)))
    assert fault.path == dotted(path)
    assert piece in fault.message


@pytest.mark.parametrize(
    ("column", "piece"),
    [
        ("_syncd_source", "names that begin with _syncd_ are syncd's own"),
        ("c" * 64, "can't be longer than 63 bytes, it has 64"),
        ("a\0b", "can't be empty or hold a NUL"),
        ("", "can't be empty or hold a NUL"),
    ],
)
def test_a_column_that_postgres_or_syncd_could_not_keep_is_refused(
    column: str, piece: str, tmp_path: Path
) -> None:
    """No column's name is cut by Postgres or taken for one of syncd's own."""
    [fault] = faults(tmp_path, right(((*COLUMNS, column), "text")))
    assert fault.path == dotted(COLUMNS)
    assert piece in fault.message


@pytest.mark.parametrize(
    ("kind", "place"), [("source", ("sources",)), ("stream", (*SHOP, "streams"))]
)
@pytest.mark.parametrize("name", ["", "n" * 64, "a\0b"])
def test_a_name_that_postgres_could_not_keep_is_refused(
    kind: str, place: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    """Names of sources and streams are kept in Postgres as they are, or not at all."""
    found = faults(tmp_path, right(((*place, name), {"like": "shop"} if kind == "source" else {})))
    assert any(f"a {kind}'s name can't be" in f.message for f in found)


@pytest.mark.parametrize("url", ["https://me:canary@api.example.com", "https://canary@a.example"])
def test_credentials_in_base_url_are_refused_and_never_shown(url: str, tmp_path: Path) -> None:
    """An address with a password in it is refused without being repeated."""
    [fault] = faults(tmp_path, right(((*SHOP, "base_url"), url)))
    assert "it holds credentials" in fault.message
    assert "canary" not in str(fault)


def test_a_key_in_base_urls_query_is_refused_and_never_shown(tmp_path: Path) -> None:
    """An API key in the address is refused without being repeated."""
    [fault] = faults(tmp_path, right(((*SHOP, "base_url"), "https://a.example/?key=canary")))
    assert "a query goes into a stream's params" in fault.message
    assert "canary" not in str(fault)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Whoever corrects a file needs one round, however much is wrong in it."""
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("drain",), "soon"),
        (("sorces",), {}),
        (("budgets", "agency", "requests"), True),
        ((*SHOP, "base_url"), "nowhere"),
        ((*SHOP, "auth", "username"), "a:b"),
        ((*SHOP, "auth", "password"), {"env": "ABSENT"}),
        ((*SHOP, "headers", "X-A"), "a\nb"),
        ((*SHOP, "timout"), 1),
        ((*ORDERS, "key"), ["nr"]),
        ((*ORDERS, "every"), 0),
        ((*PAGE, "size"), 0),
        ((*CALL, "path"), "/{}"),
        ((*COLUMNS, "state"), "money"),
    ]
    found = faults(tmp_path, right(*changes))
    assert {f.path for f in found} == {dotted(path) for path, _ in changes}
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, right(*changes))
    assert str(caught.value).splitlines() == [str(f) for f in found]


# --- one table, two streams ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "piece"),
    [
        ("columns", {**RIGHT["sources"]["shop"]["streams"]["orders"]["columns"], "x": "text"},
         "other columns"),
        ("key", ["id", "state"], "other key"),
        ("volatile", [], "other volatile"),
        ("indexes", ["id"], "other indexes"),
        ("call", {"path": "/x", "keep": {}}, "other kept columns"),
    ],
)  # fmt: skip
def test_two_sources_may_share_a_table_only_if_they_agree_on_it(
    key: str, value: Any, piece: str, tmp_path: Path
) -> None:
    """A table is what both streams say it is, or the second is refused."""
    second = right()["sources"]["shop"]
    assert not faults(tmp_path, right((("sources", "second"), second)))
    second["streams"]["orders"][key] = value
    [fault] = faults(tmp_path, right((("sources", "second"), second)))
    assert fault.path == "sources.second.streams.orders.table"
    assert piece in fault.message
    assert "sources.shop.streams.orders writes to the same table public.orders" in fault.message


def test_two_streams_of_one_source_never_share_a_table(tmp_path: Path) -> None:
    """Streams of one source would overwrite each other's rows."""
    again = {**right()["sources"]["shop"]["streams"]["orders"], "table": "orders"}
    [fault] = faults(tmp_path, right(((*SHOP, "streams", "again"), again)))
    assert fault.path == "sources.shop.streams.again.table"
    assert "sources.shop.streams.orders of the same source writes to public.orders" in fault.message


# --- like ------------------------------------------------------------------------------------


def test_a_source_takes_what_it_does_not_say_from_the_one_it_is_like(tmp_path: Path) -> None:
    """Tables merge down to single keys, and anything else is replaced."""
    second = {
        "like": "shop",
        "timeout": "3s",
        "headers": {"X-More": "1"},
        "auth": {"username": "you@example.com"},
        "streams": {"orders": {"every": "1h", "page": {"first": 0}}},
    }
    third = {"like": "second", "retries": 1, "timeout": "4s"}
    document = right((("sources", "third"), third), (("sources", "second"), second))
    found = settings(tmp_path, document).sources
    assert [found[s].timeout for s in ("shop", "second", "third")] == [15.0, 3.0, 4.0]
    assert found["third"].retries == 1
    assert found["third"].headers == {"X-Client-Id": "syncd", "X-More": "1"}
    auth, shop = found["third"].auth, found["shop"].auth
    assert auth is not None
    assert shop is not None
    assert (auth.username, auth.password) == ("you@example.com", shop.password)
    stream = found["third"].streams["orders"]
    assert (stream.every, stream.page.first, stream.page.size) == (3600.0, 0, 10)
    assert found["shop"].streams["orders"].every == 900.0


def test_a_secret_is_replaced_whole_where_a_source_is_like_another(tmp_path: Path) -> None:
    """Two references to secrets are never merged into one that is neither."""
    second = {"like": "shop", "auth": {"password": {"file": "pw"}}}
    (tmp_path / "pw").write_text("other")
    auth = settings(tmp_path, right((("sources", "second"), second))).sources["second"].auth
    assert auth is not None
    assert auth.password.reveal() == "other"


def test_a_pattern_without_streams_need_not_be_whole_and_does_not_run(tmp_path: Path) -> None:
    """What several accounts share can stand in a source that is none itself."""
    shop = right()["sources"]["shop"]
    pattern = {"base_url": shop["base_url"], "timeout": "3s"}
    one = {"like": "pattern", "streams": shop["streams"]}
    found = settings(tmp_path, {"sources": {"pattern": pattern, "one": one}}).sources
    assert list(found) == ["one"]
    assert found["one"].timeout == 3.0


def test_a_long_chain_of_likes_loads(tmp_path: Path) -> None:
    """No number of sources that are like each other is too many."""
    chain = {f"s{n}": {"like": f"s{n + 1}"} for n in range(1500)}
    document = right((("sources", "s1500"), {"like": "shop"}))
    document["sources"] = {**chain, **document["sources"]}
    assert len(settings(tmp_path, document).sources) == 1502


@pytest.mark.parametrize(
    ("likes", "piece"),
    [
        ({"a": "a"}, "in a circle: a → a"),
        ({"a": "b", "b": "a"}, "in a circle:"),
        ({"a": "b", "b": "c", "c": "a"}, "in a circle:"),
        ({"a": "shopp"}, "there is no source 'shopp'; did you mean 'shop'?"),
        ({"a": "zzz"}, "there is no source 'zzz'; known: shop"),
        ({"a": 5}, "it must be the name of another source"),
        ({"a": ["shop"]}, "it must be the name of another source"),
    ],
)
def test_a_like_that_leads_nowhere_is_told_of(
    likes: dict[str, Any], piece: str, tmp_path: Path
) -> None:
    """A circle or an unknown name is one fault at the `like` that makes it."""
    streams = RIGHT["sources"]["shop"]["streams"]
    own = {"base_url": "https://a.example", "streams": streams}
    changes = [(("sources", name), {**own, "like": like}) for name, like in likes.items()]
    [fault] = faults(tmp_path, right(*changes))
    assert fault.path.endswith(".like")
    assert piece in fault.message


def test_a_fault_is_told_where_it_was_written_and_once(tmp_path: Path) -> None:
    """A slip in a source that a hundred others are like is one line."""
    document = right(((*SHOP, "timeout"), 0))
    document["sources"].update({f"s{n}": {"like": "shop"} for n in range(100)})
    assert [f.path for f in faults(tmp_path, document)] == ["sources.shop.timeout"]


# --- budgets ------------------------------------------------------------------------------------


def test_a_named_budget_is_shared_and_an_own_one_is_not(tmp_path: Path) -> None:
    """Sources that name a budget count together; each other source counts for itself."""
    own = {"requests": 10, "per": "60s"}
    document = right(
        (("sources", "second"), {"like": "shop"}),
        (("sources", "third"), {"like": "shop", "budget": own}),
        (("sources", "fourth"), {"like": "third"}),
        (("sources", "agency"), {"like": "third"}),
    )
    budgets = {n: s.budget for n, s in settings(tmp_path, document).sources.items()}
    names = {n: b.name for n, b in budgets.items() if b is not None}
    assert names["shop"] == names["second"]
    assert len({names[n] for n in ("shop", "third", "fourth", "agency")}) == 4


# --- sources.d ------------------------------------------------------------------------------------


def test_files_beside_it_add_sources_and_budgets(tmp_path: Path) -> None:
    """Each account may have a file of its own, and use what the main file says."""
    more = tmp_path / "sources.d"
    write(more / "b.toml", {"sources": {"b": {"like": "shop", "budget": "b"}}})
    write(more / "a.toml", {"sources": {"a": {"like": "b"}}})
    write(more / "c.toml", {"budgets": {"b": {"requests": 1, "per": 1}}})
    write(more / "notes.txt", "no TOML")
    write(more / ".hidden.toml", "no TOML")
    found = settings(tmp_path, RIGHT).sources
    assert list(found) == ["shop", "a", "b"]
    assert found["a"].budget == found["b"].budget != found["shop"].budget


def test_a_main_file_without_sources_may_have_them_all_beside_it(tmp_path: Path) -> None:
    """The main file may hold what is common only."""
    write(tmp_path / "sources.d" / "shop.toml", {"sources": RIGHT["sources"]})
    assert list(settings(tmp_path, {"budgets": RIGHT["budgets"]}).sources) == ["shop"]


def test_a_name_in_two_files_names_both(tmp_path: Path) -> None:
    """A source or budget that stands in two files is refused, whichever came last."""
    more = tmp_path / "sources.d"
    a = write(more / "a.toml", {"sources": {"shop": {}, "x": {"like": "shop"}}})
    b = write(more / "b.toml", {"sources": {"x": {}}, "budgets": {"agency": {}}})
    main = tmp_path / "syncd.toml"
    found = said(tmp_path, RIGHT)
    assert found == {
        "sources.shop": f"it stands in both {main} and {a}; leave it in one",
        "sources.x": f"it stands in both {a} and {b}; leave it in one",
        "budgets.agency": f"it stands in both {main} and {b}; leave it in one",
    }


def test_other_keys_in_a_file_beside_it_are_refused(tmp_path: Path) -> None:
    """The database is named in one place, the main file."""
    more = write(tmp_path / "sources.d" / "a.toml", {"database": {}, "sources": 5})
    found = said(tmp_path, RIGHT)
    assert found.keys() == {"database", "sources"}
    assert f"{more} may hold [sources] and [budgets] only" in found["database"]
    assert f"it must be a table, in {more}" in found["sources"]


def test_all_files_that_cannot_be_parsed_are_told_of_at_once(tmp_path: Path) -> None:
    """Two broken files are two faults, each with its name."""
    write(tmp_path / "sources.d" / "a.toml", b"\xff")
    write(tmp_path / "sources.d" / "b.toml", "a =")
    (tmp_path / "sources.d" / "c.toml").mkdir()
    found = "\n".join(map(str, faults(tmp_path, "x = [")))
    for piece in ("syncd.toml is not TOML", "a.toml is not UTF-8", "b.toml is not", "c.toml: Is a"):
        assert piece in found


# --- --set --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "of", "value"),
    [
        ("sources.shop.timeout=30s", lambda s: s.timeout, 30.0),
        (" sources . shop . timeout = 30s ", lambda s: s.timeout, 30.0),
        ('sources.shop.timeout="30s"', lambda s: s.timeout, 30.0),
        ("sources.shop.retries=2", lambda s: s.retries, 2),
        ('sources."shop".retries=2', lambda s: s.retries, 2),
        ("sources.'shop'.retries=2", lambda s: s.retries, 2),
        ("sources.shop.auth.spends=true", lambda s: s.auth.spends, True),
        ("sources.shop.auth.username=a=b", lambda s: s.auth.username, "a=b"),
        ("sources.shop.auth.username=x # y", lambda s: s.auth.username, "x # y"),
        ("sources.shop.auth.username=x\ny=1", lambda s: s.auth.username, "x\ny=1"),
        ("sources.shop.budget={requests = 3, per = 1}", lambda s: s.budget.requests, 3),
        ('sources.shop.streams.orders.key=["state"]', lambda s: s.streams["orders"].key,
         ("state",)),
        ("sources.shop.streams.orders.path=/a/b", lambda s: s.streams["orders"].path, "/a/b"),
        ("sources.shop.streams.orders.where.state=[1]", lambda s: s.streams["orders"].where,
         {"state": ("1",)}),
    ],
)  # fmt: skip
def test_an_override_replaces_one_key(
    override: str, of: Callable[[Any], object], value: object, tmp_path: Path
) -> None:
    """--set takes TOML and plain text, and keys as the file has them."""
    assert of(settings(tmp_path, RIGHT, overrides=[override]).sources["shop"]) == value


def test_an_overrides_key_may_hold_an_equals_sign_in_quotes(tmp_path: Path) -> None:
    """A quoted key ends at its quote."""
    override = 'sources.shop.streams.orders.params."a=b"=c=d'
    found = settings(tmp_path, RIGHT, overrides=[override])
    assert found.sources["shop"].streams["orders"].params == {"a=b": "c=d"}


def test_the_last_of_two_overrides_of_a_key_counts(tmp_path: Path) -> None:
    """Overrides are applied in the order given."""
    overrides = ["sources.shop.retries=2", "sources.shop.retries=3"]
    assert settings(tmp_path, RIGHT, overrides=overrides).sources["shop"].retries == 3


@pytest.mark.parametrize(
    ("override", "piece"),
    [
        ("", "it must be KEY=VALUE"),
        ("drain", "found 'drain'; it must be KEY=VALUE"),
        ("=5", "it must be KEY=VALUE"),
        ("a b=5", "it must be KEY=VALUE"),
        ("a..b=5", "it must be KEY=VALUE"),
        ("[a]=5", "it must be KEY=VALUE"),
        ("#=5", "it must be KEY=VALUE"),
        ("a\nb=5", "it must be KEY=VALUE"),
        ("\udcff=5", "it must be KEY=VALUE"),
        ("drain=\udcff", "it must be KEY=VALUE"),
        ("sources.shop.base_url.x=5", "sources.shop.base_url is no table"),
    ],
)
def test_an_override_that_is_none_is_told_of(override: str, piece: str, tmp_path: Path) -> None:
    """A slip in --set is one fault, beside those of the file."""
    [fault] = faults(tmp_path, RIGHT, overrides=[override])
    assert fault.path == "--set"
    assert piece in fault.message


def test_a_wrong_value_in_an_override_is_told_of_at_its_key(tmp_path: Path) -> None:
    """What --set says is checked like what the file says."""
    found = said(tmp_path, RIGHT, overrides=["sources.shop.retries=many", "sorces.x=1"])
    assert found.keys() == {"sources.shop.retries", "sorces"}


# --- where it is found --------------------------------------------------------------------------


def test_the_first_of_the_usual_places_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config, then $SYNCD_CONFIG, then the current folder, then /etc."""
    here, etc = tmp_path / "here.toml", tmp_path / "etc.toml"
    assert (Path("syncd.toml"), Path("/etc/syncd/syncd.toml")) == loading.PLACES
    monkeypatch.setattr(loading, "PLACES", (here, etc))
    environ = {"SYNCD_CONFIG": "from-environ.toml"}
    assert find(Path("given.toml"), environ) == Path("given.toml")
    assert find(None, environ) == Path("from-environ.toml")
    with pytest.raises(ConfigError, match="no config file: --config is not given"):
        find(None, {"SYNCD_CONFIG": ""})
    etc.touch()
    assert find(None, {}) == etc
    here.touch()
    assert find(None, {}) == here


def test_settings_are_equal_when_the_file_says_the_same(tmp_path: Path) -> None:
    """Reading a file twice gives the same, and nothing in it can be changed by accident."""
    found = settings(tmp_path, RIGHT)
    assert found == settings(tmp_path, RIGHT)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.drain = 1.0  # type: ignore[misc]
