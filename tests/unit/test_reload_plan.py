"""What a new config changes, stream by stream: the pure plan."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from syncd.api.client import ApiClient
from syncd.api.source import ApiSource
from syncd.config.settings import (
    AdminSettings,
    BudgetSettings,
    CallSettings,
    ContractSettings,
    DatabaseSettings,
    DeletedSettings,
    ErrorRule,
    IncrementalSettings,
    NumberPages,
    SearchSettings,
    Secret,
    Settings,
    SourceSettings,
    StreamSettings,
    TlsSettings,
    TokenLogin,
)
from syncd.daemon.reload import plan
from syncd.errors import ConfigError
from syncd.sync.model import StreamId

STREAM = StreamSettings(
    name="orders",
    path="/orders",
    key=("id",),
    columns={"id": "text", "state": "text", "synced_at": "timestamptz"},
    table="orders",
    call=CallSettings(path="/orders/{id}/sync", keep={"synced_at": "synced_at"}),
)
SOURCE = SourceSettings(
    name="shop",
    base_url="http://shop.test",
    headers={"X-Client-Id": "one"},
    auth=TokenLogin(username="u", password=Secret("old", "env PASSWORD")),
    budget=(BudgetSettings(name="source shop", requests=10, per=60.0),),
    streams={"orders": STREAM},
)
SETTINGS = Settings(state=Path("/state"), sources={"shop": SOURCE})
ORDERS = StreamId(source="shop", stream="orders")

OTHER_STREAM: dict[str, Any] = {
    "path": "/all-orders",
    "slow_after": 60.0,
    "every": 60.0,
    "cost": 2,
    "cron": ("30 2 * * *",),
    "zone": "Europe/Berlin",
    "reconcile": 86400.0,
    "params": {"since": "2026"},
    "records": "data",
    "where": {"state": ("open",)},
    "key": ("id", "state"),
    "columns": {"id": "text", "state": "text", "synced_at": "timestamptz", "n": "bigint"},
    "paths": {"n": "size.n"},
    "hide": {"state": "mask"},
    "hide_key": Secret("0123456789abcdef", "env HIDE"),
    "volatile": frozenset({"state"}),
    "schema": "shop",
    "table": "all_orders",
    "indexes": (("state",),),
    "heartbeat": Secret("http://watch.test/x", "env BEAT"),
    "page": NumberPages(size=7),
    "incremental": IncrementalSettings(field="n", param="since", kind="number"),
    "deleted": DeletedSettings(field="state"),
    "contract": ContractSettings(new_fields="evolve"),
    "conditional": "never",
    "search": SearchSettings(body={"state": "open"}),
    "call": None,
    "errors": (ErrorRule(status=("404",), then="skip"),),
}
OTHER_SOURCE: dict[str, Any] = {
    "base_url": "http://other.test",
    "headers": {"X-Client-Id": "two"},
    "auth": TokenLogin(username="u", password=Secret("new", "env PASSWORD")),
    "tls": TlsSettings(ca=Secret(trustme.CA().cert_pem.bytes().decode(), "file ca")),
    "budget": (BudgetSettings(name="source shop", requests=5, per=60.0),),
    "timeout": 30.0,
    "retries": 1,
    "backoff": 2.0,
    "connections": 2,
    "keepalive": 1.0,
    "max_body": 1000,
    "retry_after": "wait",
    "errors": (ErrorRule(status=("403",), then="wait"),),
    "ratelimit_headers": False,
}


def with_stream(**changed: Any) -> Settings:
    return with_source(streams={"orders": attrs.evolve(STREAM, **changed)})


def with_source(**changed: Any) -> Settings:
    return attrs.evolve(SETTINGS, sources={"shop": attrs.evolve(SOURCE, **changed)})


def fingerprint(settings: Settings) -> str:
    source = settings.sources["shop"]
    return ApiSource(source, source.streams["orders"], ApiClient(source)).fingerprint


def test_nothing_changed_is_kept() -> None:
    """all-or-nothing-reload: a file that says the same changes nothing."""
    (change,) = plan(SETTINGS, attrs.evolve(SETTINGS, path=Path("/elsewhere"))).changes
    assert (change.stream, change.fate, change.changed) == (ORDERS, "keep", ())


@pytest.mark.parametrize("name", [f.name for f in attrs.fields(StreamSettings)][1:])
def test_each_setting_of_a_stream_has_its_fate(name: str) -> None:
    """all-or-nothing-reload: the cycle begins anew exactly where its cursor is of no use."""
    new = with_stream(**{name: OTHER_STREAM[name]})
    (change,) = plan(SETTINGS, new).changes
    anew = fingerprint(new) != fingerprint(SETTINGS)
    assert change.fate == ("replace" if anew else "adopt")
    assert all(path.startswith(name) for path in change.changed)
    assert change.changed


@pytest.mark.parametrize(
    "name", [f.name for f in attrs.fields(SourceSettings) if f.name not in ("name", "streams")]
)
def test_each_setting_of_a_source_has_its_fate(name: str) -> None:
    """all-or-nothing-reload: what all streams of a source share changes all of them."""
    new = with_source(**{name: OTHER_SOURCE[name]})
    (change,) = plan(SETTINGS, new).changes
    anew = fingerprint(new) != fingerprint(SETTINGS)
    assert change.fate == ("replace" if anew else "adopt")


HOURLY = BudgetSettings(name="source shop", requests=100, per=3600.0)
MINUTELY = BudgetSettings(name="source shop per 60s", requests=10, per=60.0, seed="source shop")


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        ([attrs.evolve(HOURLY, requests=50), MINUTELY], "budget[1].requests"),
        ([HOURLY, attrs.evolve(MINUTELY, slack=1.0)], "budget[2].slack"),
        ([HOURLY], "budget"),
        ([HOURLY, attrs.evolve(MINUTELY, name="source shop per 50s", per=50.0)], "budget"),
        ([], "budget"),
    ],
)
def test_which_of_several_limits_has_changed_is_told(
    new: list[BudgetSettings], changed: str
) -> None:
    """all-or-nothing-reload: as it stands in the file; the streams go on where they are."""
    old = with_source(budget=(HOURLY, MINUTELY))
    (change,) = plan(old, with_source(budget=tuple(new))).changes
    assert (change.fate, change.changed) == ("adopt", (changed,))


def test_what_holds_for_all_streams_is_adopted_by_all() -> None:
    """all-or-nothing-reload: a setting at the top of the file."""
    (change,) = plan(SETTINGS, attrs.evolve(SETTINGS, keep_dead_letters=60.0)).changes
    assert str(change) == "shop.orders: adopt (keep_dead_letters)"


def test_a_change_is_told_by_its_path_and_never_by_its_value() -> None:
    """No secret out: a rotated password is `auth.password`."""
    (change,) = plan(SETTINGS, with_source(auth=OTHER_SOURCE["auth"])).changes
    assert str(change) == "shop.orders: adopt (auth.password)"


def test_streams_that_come_and_go() -> None:
    """all-or-nothing-reload: in the file's order, those that leave at the end."""
    fresh = attrs.evolve(STREAM, name="people", path="/people", table="people")
    new = attrs.evolve(
        SETTINGS,
        sources={
            "crm": attrs.evolve(SOURCE, name="crm", streams={"people": fresh}),
            "shop": attrs.evolve(SOURCE, streams={"people": fresh}),
        },
    )
    planned = plan(SETTINGS, new)
    assert [str(c) for c in planned.changes] == [
        "crm.people: add",
        "shop.people: add",
        "shop.orders: retire",
    ]
    assert str(planned) == "2 add, 1 retire"


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"database": DatabaseSettings(url="postgresql:///other")}, "database.url"),
        ({"state": Path("/other")}, "state"),
        ({"admin": AdminSettings()}, "admin"),
    ],
)
def test_what_only_a_restart_can_change_is_refused(changed: dict[str, Any], path: str) -> None:
    """all-or-nothing-reload: what can't be reloaded says so, and nothing else changes."""
    with pytest.raises(ConfigError) as refused:
        plan(SETTINGS, attrs.evolve(with_stream(every=1.0), **changed))
    assert [f.path for f in refused.value.faults] == [path]
    assert "restart" in refused.value.faults[0].message


def test_the_side_door_follows_its_token_and_stays_where_it_is() -> None:
    """all-or-nothing-reload: a token that was rotated must not need a restart."""
    admin = AdminSettings(token=Secret("one", "file token"))
    old = attrs.evolve(SETTINGS, admin=admin)
    rotated = attrs.evolve(admin, token=Secret("two", "file token"), hosts=("syncd.test",))
    plan(old, attrs.evolve(old, admin=rotated))
    for other, path in ((attrs.evolve(admin, listen="[::1]:1"), "admin.listen"), (None, "admin")):
        with pytest.raises(ConfigError) as refused:
            plan(old, attrs.evolve(old, admin=other))
        assert [f.path for f in refused.value.faults] == [path]
