"""A config that is right, and a way to write it with something wrong."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.errors import ConfigError, Fault

GOOD = """
[sources.shop]
base_url = "https://api.example.com"
headers  = { "X-Client-Id" = "syncd" }
budget   = { requests = 10, per = "60s" }

[sources.shop.auth]
username = { env = "USER_NAME" }
password = { env = "PASSWORD" }

[sources.shop.streams.orders]
path     = "/orders"
key      = ["id"]
volatile = ["views"]
page     = { size = 10 }
columns  = { id = "bigint", status = "text", views = "bigint", synced_at = "timestamptz" }

[sources.shop.streams.orders.call]
path = "/orders/{id}/sync"
keep = { synced_at = "at" }
"""

ENVIRON = {"USER_NAME": "somebody", "PASSWORD": "canary-password", "HOME": "/home/someone"}

Load = Callable[..., Settings]
Faults = Callable[..., dict[str, str]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Loads a config from its text; `more` are files in sources.d, by name."""

    def load_it(
        text: str = GOOD,
        *sets: str,
        more: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = ENVIRON,
        secrets: bool = True,
    ) -> Settings:
        path = tmp_path / "syncd.toml"
        path.write_text(text, "utf-8")
        for name, its in (more or {}).items():
            (tmp_path / "sources.d").mkdir(exist_ok=True)
            (tmp_path / "sources.d" / name).write_text(its, "utf-8")
        return load(path, overrides=sets, environ=environ, secrets=secrets)

    return load_it


@pytest.fixture
def faults_of(load_text: Load) -> Faults:
    """The faults of a config, path to message; each path may have one only."""

    def faults(text: str = GOOD, *sets: str, **options: object) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, *sets, **options)
        return by_path(caught.value.faults)

    return faults


def by_path(faults: Iterable[Fault]) -> dict[str, str]:
    found: dict[str, str] = {}
    for fault in faults:
        path, message = fault.path, fault.message
        assert path not in found, f"{path} twice: {found[path]}; {message}"
        found[path] = message
    return found
