"""Wrong turns that people took: each ends in a sentence, and what can go on goes on."""

import os
import subprocess
import sys

import pytest
import trio

from mock_api.testing import running_mock
from syncd.store.postgres import open_store
from tests.daemon.conftest import CAMPAIGNS, Syncd, config
from tests.servers import execute

SPEED = 100.0


async def test_one_table_that_differs_parks_its_stream_and_no_other(
    postgres: str, syncd: Syncd
) -> None:
    """contained: a table made by somebody else costs the stream that wants it."""
    await execute(postgres, "CREATE TABLE other (id text PRIMARY KEY)")
    other = """
[sources.adplatform.streams.other]
path = "/api/campaigns"
records = "data"
key = ["id"]
columns = { id = "text" }
page = { size = 10, more = "pagination.has_more" }
"""
    async with running_mock(speed=SPEED, campaigns=10, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None) + other)
        done = await syncd.command("once")
        assert done.returncode == 1
        assert "adplatform.other: not finished: table public.other is not" in done.stdout
        async with open_store(postgres) as store:
            assert (await store.standing(CAMPAIGNS)).totals.written == 10


async def test_a_column_that_the_config_gains_is_added_and_filled(
    postgres: str, syncd: Syncd
) -> None:
    """The first thing that people change is a column: the next cycle fills it."""
    async with running_mock(speed=SPEED, campaigns=10, fail_every=0, hang_every=0) as mock:
        whole = config(mock.base_url, postgres, speed=SPEED, call=None)
        syncd.write(whole.replace('status = "text"\n', ""))
        assert (await syncd.command("once")).returncode == 0
        syncd.write(whole)
        shown = await syncd.command("schema")
        assert shown.stdout == 'ALTER TABLE "public"."campaigns" ADD COLUMN "status" text;\n'
        done = await syncd.command("once")
        assert done.returncode == 0, done.stdout + done.stderr
        async with open_store(postgres) as store:
            assert (await store.standing(CAMPAIGNS)).totals.written == 10


async def test_the_sql_that_schema_shows_is_all_that_a_start_needs(
    postgres: str, syncd: Syncd
) -> None:
    """What an administrator reviews and runs by hand is the whole of it."""
    syncd.write(config("http://127.0.0.1:1", postgres, speed=SPEED))
    shown = (await syncd.command("schema")).stdout
    await execute(postgres, shown)
    again = await syncd.command("schema")
    assert again.stdout == "-- the schema is as this syncd needs it\n"
    async with open_store(postgres) as store:
        assert await store.pending() == []


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
async def test_a_config_that_is_no_file_is_a_sentence(syncd: Syncd, name: str) -> None:
    """contained: a device or a pipe has no end, and is not read."""
    path = syncd.path.parent / name
    if name == "fifo":
        os.mkfifo(path)
    done = await Syncd(path).command("check", "--offline", within=30)
    assert done.returncode == 78
    assert "no regular file" in done.stderr


async def test_a_reader_that_goes_away_does_not_end_the_cycle(postgres: str, syncd: Syncd) -> None:
    """`syncd once | head -1` commits all pages, and prints no traceback."""
    async with running_mock(speed=SPEED, campaigns=20, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED, call=None))
        secrets = {"ADPLATFORM_EMAIL": "ads@example.com", "ADPLATFORM_PASSWORD": "secret"}
        line = f"{sys.executable} -m syncd --config {syncd.path} once | head -1"
        with trio.fail_after(30):
            done = await trio.run_process(
                ["sh", "-c", line],
                capture_stdout=True,
                capture_stderr=True,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **secrets},
            )
        assert b"Traceback" not in done.stderr
        async with open_store(postgres) as store:
            assert (await store.standing(CAMPAIGNS)).totals.written == 20


async def test_output_that_can_not_be_written_is_a_sentence(postgres: str, syncd: Syncd) -> None:
    """A full disk behind stdout is no traceback."""
    syncd.write(config("http://127.0.0.1:1", postgres, speed=SPEED))
    line = f"{sys.executable} -m syncd --config {syncd.path} check --offline >/dev/full"
    with trio.fail_after(30):
        done = await trio.run_process(
            ["sh", "-c", line], capture_stderr=True, stdin=subprocess.DEVNULL, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "syncd: can't write the output: No space left on device\n"
