"""What a whole config file means, from its first key to its last.

Single wrong values stand in test_config_faults.py, `like`, budgets, sources.d and --set
in test_config_sources.py; here is what takes more than one of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from syncd.config.settings import (
    BudgetSettings,
    DatabaseSettings,
    NumberPages,
    StreamSettings,
    TokenLogin,
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
    assert shop.budget == (
        BudgetSettings(name="budget agency", requests=10, per=60.0, seed="budget agency"),
    )
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
    assert (shop.headers, shop.auth, shop.budget) == ({}, None, ())
    assert (shop.timeout, shop.retries, shop.backoff) == (15.0, 5, 1.0)
    assert (shop.connections, shop.keepalive, shop.max_body) == (10, 4.0, 64 * 2**20)
    assert shop.retry_after == "retry_after"
    assert (stream.every, stream.params, stream.records, stream.where) == (900.0, {}, "", {})
    assert stream.slow_after == 300.0
    assert (stream.schema, stream.table) == ("public", "orders")
    assert (stream.volatile, stream.indexes) == (frozenset(), ())
    assert stream.page == NumberPages(
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
    assert isinstance(auth, TokenLogin)
    assert (auth.kind, auth.url, auth.spends) == ("token", "/auth/token", False)
    assert [limit.slack for limit in budget] == [0.25]


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
    assert isinstance(found.auth, TokenLogin)
    assert found.auth.username == name.replace(":", "")


def test_params_and_where_are_text_as_the_api_reads_it(tmp_path: Path) -> None:
    """Numbers and flags are written as JSON writes them."""
    stream = orders(
        tmp_path,
        ((*ORDERS, "params"), {"a": 5, "b": True, "c": "x", "d": False}),
        ((*ORDERS, "where"), {"s": "open", "n": [1, True, 1.5]}),
    )
    assert stream.params == {"a": "5", "b": "true", "c": "x", "d": "false"}
    assert stream.where == {"s": ("open",), "n": ("1", "true", "1.5")}


# --- unknown and missing ------------------------------------------------------------------

ASTRAY: list[tuple[tuple[str, ...], Any, str]] = [
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
]  # fmt: skip


def dotted(path: tuple[str, ...]) -> str:
    return ".".join(p if p.replace("-", "").isalnum() or "_" in p else f'"{p}"' for p in path)


@pytest.mark.parametrize(
    ("path", "value", "piece"), ASTRAY, ids=[f"{dotted(p)}-{n}" for n, (p, *_) in enumerate(ASTRAY)]
)
def test_a_key_that_is_unknown_or_missing_is_told_of_at_its_place(
    path: tuple[str, ...], value: Any, piece: str, tmp_path: Path
) -> None:
    """In each table a slip in a key, or a key left out, is one fault that names it."""
    [fault] = faults(tmp_path, right((path, value)))
    assert fault.path == dotted(path)
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
        ((*ORDERS, "slow_after"), "0s"),
        ((*PAGE, "size"), 0),
        ((*CALL, "path"), "/{}"),
        ((*COLUMNS, "state"), "money"),
    ]
    found = faults(tmp_path, right(*changes))
    assert {f.path for f in found} == {dotted(path) for path, _ in changes}
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, right(*changes))
    assert str(caught.value).splitlines() == [str(f) for f in found]


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
    assert isinstance(auth, TokenLogin)
    assert isinstance(shop, TokenLogin)
    assert (auth.username, auth.password) == ("you@example.com", shop.password)
    stream = found["third"].streams["orders"]
    assert stream.every == 3600.0
    assert isinstance(stream.page, NumberPages)
    assert (stream.page.first, stream.page.size) == (0, 10)
    assert found["shop"].streams["orders"].every == 900.0


def test_a_long_chain_of_likes_loads(tmp_path: Path) -> None:
    """No number of sources that are like each other is too many."""
    chain = {f"s{n}": {"like": f"s{n + 1}"} for n in range(1500)}
    document = right((("sources", "s1500"), {"like": "shop"}))
    document["sources"] = {**chain, **document["sources"]}
    assert len(settings(tmp_path, document).sources) == 1502


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
        ("sources.shop.budget={requests = 3, per = 1}", lambda s: s.budget[0].requests, 3),
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


def test_a_wrong_value_in_an_override_is_told_of_at_its_key(tmp_path: Path) -> None:
    """What --set says is checked like what the file says."""
    found = said(tmp_path, RIGHT, overrides=["sources.shop.retries=many", "sorces.x=1"])
    assert found.keys() == {"sources.shop.retries", "sorces"}


def test_settings_are_equal_when_the_file_says_the_same(tmp_path: Path) -> None:
    """Reading a file twice gives the same, and nothing in it can be changed by accident."""
    found = settings(tmp_path, RIGHT)
    assert found == settings(tmp_path, RIGHT)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.drain = 1.0  # type: ignore[misc]
