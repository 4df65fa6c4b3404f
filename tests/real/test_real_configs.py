"""Servers that nobody here wrote, with configs that were written by hand."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.daemon.conftest import Syncd
from tests.real.django_server import Shop
from tests.real.kinto_server import Kinto
from tests.real.records import differences, rows
from tests.real.relay import relayed
from tests.real.server import Server

pytestmark = pytest.mark.real

SERVERS = ["kinto", "datasette", "json_server", "shop", "shop_by_cursor", "oauth"]


def source_name(server: Server) -> str:
    return server.source.partition("[sources.")[2].partition(".")[0]


def config(server: Server, postgres: str, port: int) -> str:
    name, source = source_name(server), server.source
    key = 'token_key = { env = "TOKEN_KEY" }\n' if "TOKEN_KEY" in server.env else ""
    return (
        f'{key}[database]\nurl = "{postgres}"\n'
        f'[sources.{name}]\nbase_url = "http://127.0.0.1:{port}"\n{source}'
    )


@pytest.mark.parametrize("server", SERVERS, indirect=True)
async def test_a_list_that_changes_while_it_is_read_is_in_the_table_after_two_cycles(
    server: Server, syncd: Syncd, postgres: str
) -> None:
    """Records come, change and go between any two pages; then the list is left in peace."""
    syncd.env = server.env
    stream = f"sources.{source_name(server)}.streams.things"
    assert len(server.records()) > 250
    async with relayed(server.port) as relay:
        syncd.write(config(server, postgres, relay.port))
        done = await syncd.command("once")
        assert done.returncode == 0, done.stdout + done.stderr
        assert differences(server.records(), rows(postgres, "things")) == []

        relay.before, relay.requests = server.stir, 0
        done = await syncd.command("once")
        assert relay.requests > 8
        assert done.returncode == 0, done.stdout + done.stderr
        relay.before = None
        # What went is marked once two complete scans have missed it.
        for _ in range(2):
            done = await syncd.command("--set", f"{stream}.reconcile=1ms", "once")
            assert done.returncode == 0, done.stdout + done.stderr
        assert differences(server.records(), rows(postgres, "things")) == []


async def test_only_what_has_changed_is_asked_for(
    kinto: Kinto, syncd: Syncd, postgres: str
) -> None:
    """One page instead of eleven, and its tombstones mark rows at once."""
    syncd.env = kinto.env
    changed = """
[sources.kinto.streams.things.incremental]
field = "last_modified"
param = "_since"
kind = "epoch-ms"
lookback = 0
lag = 0
[sources.kinto.streams.things.deleted]
field = "deleted"
"""
    async with relayed(kinto.port) as relay:
        syncd.write(config(kinto, postgres, relay.port) + changed)
        for _ in range(3):
            kinto.tick()
            relay.requests = 0
            done = await syncd.command("once")
            assert done.returncode == 0, done.stdout + done.stderr
            assert differences(kinto.records(), rows(postgres, "things")) == []
            kinto.stir()
            kinto.stir()
        assert relay.requests == 1


async def test_each_refresh_token_is_used_once_and_its_successor_kept(
    oauth: Shop, folder: Path, syncd: Syncd, postgres: str
) -> None:
    """Its access token ends before each run; one that is used twice would end all of them."""
    syncd.env = oauth.env
    syncd.write(config(oauth, postgres, oauth.port))
    with closing(sqlite3.connect(folder / "shop.sqlite", isolation_level=None)) as database:
        for _ in range(3):
            done = await syncd.command("once")
            assert done.returncode == 0, done.stdout + done.stderr
            database.execute("UPDATE oauth2_provider_accesstoken SET expires = '2020-01-01'")
        counted = "SELECT count(*), count(revoked) FROM oauth2_provider_refreshtoken"
        assert database.execute(counted).fetchone() == (4, 3)
    assert differences(oauth.records(), rows(postgres, "things")) == []
