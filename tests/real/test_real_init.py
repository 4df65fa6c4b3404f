"""From an address to rows, with configs that nobody has edited."""

import re
from collections.abc import Callable

import pytest

from syncd.survey.asking import MOST
from tests.daemon.conftest import Syncd
from tests.real.django_server import Shop
from tests.real.figures import UNEDITED
from tests.real.json_server import JsonServer
from tests.real.records import differences, rows
from tests.real.relay import relayed
from tests.real.server import Server

pytestmark = pytest.mark.real

SERVERS = [
    "kinto",
    "datasette",
    "json_server",
    "json_server_whole",
    "shop",
    "shop_by_cursor",
    "shop_by_offset",
    "oauth_clients",
    "oauth",
]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_the_config_that_init_wrote_runs_unedited(
    server: Server,
    syncd: Syncd,
    postgres: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Records change while the first cycle reads them; then the table is what the server has."""
    record_property(UNEDITED, request.node.callspec.params["server"])
    syncd.env = server.env
    async with relayed(server.port) as relay:
        address = f"http://127.0.0.1:{relay.port}{server.address}"
        done = await syncd.command("init", address, "-o", str(syncd.path), *server.options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert relay.requests <= MOST
        text = syncd.path.read_text("utf-8")
        assert not any(v in text for v in server.env.values() if v.startswith("canary"))
        done = await syncd.command("check", "--offline")
        assert done.returncode == 0, done.stdout + done.stderr + text
        *_, stream = re.findall(r"^\[(sources\.\w+\.streams\.\w+)\]$", text, re.MULTILINE)
        table = stream.rpartition(".")[2]

        relay.before = server.stir
        for also in ([], *[["--set", f"{stream}.reconcile=1ms"]] * 2):
            done = await syncd.command("--set", f"database.url={postgres}", *also, "once")
            assert done.returncode == 0, done.stdout + done.stderr + text
            relay.before = None
        assert differences(server.records(), rows(postgres, table)) == [], text


async def test_an_api_that_wants_credentials_is_not_guessed_at(shop: Shop, syncd: Syncd) -> None:
    """Without them, init says which options there are, and writes nothing."""
    address = f"http://127.0.0.1:{shop.port}{shop.address}"
    done = await syncd.command("init", address, "-o", str(syncd.path))
    assert done.returncode == 1
    assert "--bearer-env NAME" in done.stderr
    assert not syncd.path.exists()


async def test_an_address_that_lists_addresses_is_not_a_list(shop: Shop, syncd: Syncd) -> None:
    """The root of a site names its lists; init repeats their addresses."""
    syncd.env = shop.env
    address = f"http://127.0.0.1:{shop.port}/api/"
    done = await syncd.command("init", address, "-o", str(syncd.path), *shop.options)
    assert done.returncode == 1
    assert f"http://127.0.0.1:{shop.port}/api/things/" in done.stderr


async def test_a_file_that_is_there_is_not_written_over(
    json_server: JsonServer, syncd: Syncd
) -> None:
    """Only --force replaces it."""
    address = f"http://127.0.0.1:{json_server.port}{json_server.address}"
    syncd.write("mine")
    done = await syncd.command("init", address, "-o", str(syncd.path))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert syncd.path.read_text("utf-8") == "mine"
    done = await syncd.command("init", address, "-o", str(syncd.path), "--force")
    assert done.returncode == 0, done.stderr
    assert "[sources." in syncd.path.read_text("utf-8")
