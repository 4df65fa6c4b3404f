"""`syncd check` as a program: what a start would fail at is found, told, and ends with 1."""

import re
import ssl
from contextlib import suppress

import psycopg
import psycopg.conninfo
import pytest
import trio
import trustme

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config
from tests.servers import execute

SPEED = 100.0


@pytest.mark.parametrize(
    ("taken", "grants"),
    [
        ("REVOKE ALL ON campaigns FROM", "GRANT SELECT, INSERT, UPDATE ON"),
        ("REVOKE UPDATE ON campaigns FROM", "GRANT UPDATE ON"),
    ],
)
async def test_a_table_that_the_role_may_not_write_to(
    postgres: str, syncd: Syncd, taken: str, grants: str
) -> None:
    """Its columns fit, but rights were taken away: which, of whom, and the GRANT are told."""
    async with running_mock(speed=SPEED, campaigns=12, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        assert (await syncd.command("once")).returncode == 0
        roles = (await syncd.command("schema", "--roles")).stdout
        await execute(postgres, roles, "CREATE ROLE may_not LOGIN IN ROLE syncd_writer")
        try:
            writer = psycopg.conninfo.make_conninfo(postgres, user="may_not")
            syncd.write(config(mock.base_url, writer, speed=SPEED, call=None))
            fits = await syncd.command("check")
            await execute(postgres, f"{taken} syncd_writer")
            done = await syncd.command("check")
        finally:
            await execute(postgres, "DROP OWNED BY may_not", "DROP ROLE may_not")
    assert fits.returncode == 0, fits.stdout
    assert "table public.campaigns is there and fits" in fits.stdout
    assert done.returncode == 1
    assert "is there and fits" not in done.stdout
    assert (
        "FAIL  adplatform.campaigns: role may_not may not use table public.campaigns as it has to. "
        f'as its owner run: {grants} "public"."campaigns" TO "may_not";'
    ) in done.stdout
    assert "ok    adplatform.campaigns: first page has 10" in done.stdout


async def test_a_certificate_that_is_refused_does_not_pass(
    postgres: str, syncd: Syncd, nursery: trio.Nursery
) -> None:
    """A person has to act: it is told what is wrong with it, and where a CA of one's own goes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError, ssl.SSLError):
            await stream.receive_some()

    (open_,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, serve, [trio.SSLListener(open_, context)])
    url = f"https://localhost:{open_.socket.getsockname()[1]}"
    syncd.write(config(url, postgres, speed=SPEED, call=None))
    done = await syncd.command("check")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAIL  adplatform.campaigns: login: POST /auth/token: cannot connect to")
    assert last.endswith(
        "TLS: certificate verify failed: unable to get local issuer certificate; to trust it, "
        "name its CA in `tls.ca`"
    )


SOON = 20.0  # seconds; far less than a check has patience for
HELD = (
    r"FAIL  adplatform\.campaigns: its budget is held until .*\d\d:\d\d:\d\d UTC, because the API "
)


async def test_a_budget_that_is_held_for_long_is_not_waited_for(
    postgres: str, syncd: Syncd
) -> None:
    """Whether the API asks for it now or has done so before: it is told when it ends, at once."""
    async with running_mock(speed=SPEED) as mock:
        refused = {"status": 429, "headers": {"Retry-After": "3600"}, "body": "no"}
        await mock.faults({"path": "/api/campaigns", "on": [1], **refused})
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        for told in ("try 1 failed: ", ""):
            done = await syncd.command("check", within=SOON)
            assert done.returncode == 1
            assert told in done.stdout
            assert re.search(HELD, done.stdout), done.stdout
        assert len([e for e in await mock.requests() if e["path"] == "/api/campaigns"]) == 1


async def test_a_budget_that_is_spent_for_long_is_not_waited_for(
    postgres: str, syncd: Syncd
) -> None:
    """Nobody has asked for that, so it is told how long it takes."""
    async with running_mock(speed=SPEED) as mock:
        text = config(mock.base_url, postgres, speed=SPEED, call=None)
        syncd.write(re.sub(r"budget = \{.*\}", 'budget = { requests = 1, per = "1h" }', text))
        assert (await syncd.command("check", within=SOON)).returncode == 0
        done = await syncd.command("check", within=SOON)
    assert done.returncode == 1
    assert re.search(
        r"FAIL  adplatform\.campaigns: no first page within 2 min: its budget is spent, and the "
        r"next token comes in (59 min|1 h)",
        done.stdout,
    ), done.stdout
