"""The real command lets go what is past its time."""

from pathlib import Path

import psycopg
import pytest
import trio

from mock_api.testing import running_mock
from tests.daemon.conftest import Syncd, config
from tests.daemon.running import daemon
from tests.servers import execute

LEFT = """
INSERT INTO syncd.checkpoint (source, stream, fence) VALUES ('adplatform', 'left', 0);
INSERT INTO syncd.dead_letter
    (source, stream, identity, kind, reason, payload, target, schema_version, last_at)
VALUES ('adplatform', 'left', '1', 'contract', 'no', '{}', 'public.left', 1, 'epoch')"""
"""A stream that the config had once, and a letter that nobody has looked at."""


def letters(postgres: str) -> int:
    with psycopg.connect(postgres) as connection:
        (found,) = connection.execute("SELECT count(*) FROM syncd.dead_letter").fetchone() or (0,)
    return int(found)


@pytest.mark.parametrize("command", ["once", "run"])
async def test_letters_of_a_stream_that_left_the_config_go_in_their_time(
    postgres: str, tmp_path: Path, command: str
) -> None:
    """accounted: of a dead letter as long as is said, whoever runs the source, and however."""
    syncd = Syncd(tmp_path / "syncd.toml", module="tests.daemon.tidying")
    async with running_mock(speed=100, campaigns=4, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=100, call=None))
        assert (await syncd.command("schema", "--apply")).returncode == 0
        await execute(postgres, LEFT)
        assert letters(postgres) == 1
        if command == "once":
            assert (await syncd.command("once")).returncode == 0
        else:
            async with daemon(syncd, syncd.module) as running:
                with trio.fail_after(30):
                    while letters(postgres):  # noqa: ASYNC110 - another process
                        await trio.sleep(0.05)
                await running.leave()
    assert letters(postgres) == 0
