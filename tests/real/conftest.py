"""Servers that nobody here wrote, each loaded with more than 250 records."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import Syncd
from tests.real.datasette_server import Datasette, datasette
from tests.real.django_server import WITH_CLIENT, WITH_REFRESH_TOKEN, Shop, shop
from tests.real.json_server import JsonServer, json_server
from tests.real.kinto_server import Kinto, kinto
from tests.real.server import Server
from tests.servers import Servers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a server keeps its files."""
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


@pytest.fixture(name="kinto")
def a_kinto(folder: Path) -> Iterator[Kinto]:
    with kinto(folder) as server:
        yield server


@pytest.fixture(name="datasette")
def a_datasette(folder: Path) -> Iterator[Datasette]:
    with datasette(folder) as server:
        yield server


@pytest.fixture(name="json_server")
def a_json_server(folder: Path) -> Iterator[JsonServer]:
    with json_server(folder) as server:
        yield server


@pytest.fixture(name="shop")
def a_shop(folder: Path) -> Iterator[Shop]:
    """Django REST framework with count, next and previous, and a token."""
    with shop(folder) as server:
        yield server


@pytest.fixture
def shop_by_cursor(shop: Shop) -> Shop:
    """The same with its cursors."""
    shop.listed, shop.page = "by-cursor", 'kind = "url", size = 30'
    return shop


@pytest.fixture
def oauth(shop: Shop) -> Shop:
    """The same behind Django OAuth Toolkit, whose refresh tokens change each time."""
    shop.listed, shop.auth = "clients", WITH_REFRESH_TOKEN
    return shop


@pytest.fixture
def json_server_whole(json_server: JsonServer) -> JsonServer:
    """Asked for the whole list at once."""
    json_server.paged = False
    return json_server


@pytest.fixture
def shop_by_offset(shop: Shop) -> Shop:
    """Django REST framework with offsets, and no more than 50 records a page."""
    shop.listed = "by-offset"
    return shop


@pytest.fixture
def oauth_clients(shop: Shop) -> Shop:
    """Django OAuth Toolkit, which gives an access token for a client's id and secret."""
    shop.listed, shop.auth = "clients", WITH_CLIENT
    shop.env = {**shop.env, "SHOP_CLIENT_ID": "robot"}
    return shop


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """The one that a test is parametrized with, by its fixture's name."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture
def syncd(tmp_path: Path) -> Syncd:
    """A `syncd` whose config is still to be written."""
    return Syncd(tmp_path / "syncd.toml")


@pytest.fixture
def postgres(servers: Servers) -> Iterator[str]:
    """A fresh database; which Postgres it is matters to no API."""
    with servers["embedded"].fresh_database() as conninfo:
        yield conninfo
