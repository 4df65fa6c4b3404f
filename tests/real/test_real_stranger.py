"""How long does a stranger need from an address to rows in Postgres?"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.store.embedded import embedded_postgres
from tests.daemon.conftest import Syncd
from tests.real.json_server import JsonServer
from tests.real.records import differences, rows
from tests.servers import short_place

pytestmark = pytest.mark.real

PATIENCE = 300.0  # seconds: five minutes


async def test_a_stranger_has_rows_within_five_minutes(
    json_server: JsonServer,
    tmp_path: Path,
    figure: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three commands in an empty folder, no file, no Postgres: `init`, `check`, `once`.

    What a person reads and thinks meanwhile is not in the figure.
    """
    monkeypatch.chdir(tmp_path)
    address = f"http://127.0.0.1:{json_server.port}{json_server.address}"
    with short_place() as state:
        begun = time.monotonic()
        stranger = Syncd(tmp_path / "syncd.toml", env={"STATE_DIRECTORY": str(state)})
        for command in (["init", address], ["check"], ["once"]):
            done = await stranger.command(*command, within=PATIENCE)
            assert done.returncode == 0, done.stdout + done.stderr
        took = time.monotonic() - begun
        async with embedded_postgres(state) as conninfo:
            assert differences(json_server.records(), rows(conninfo, "things")) == []
    figure(f"from an address to rows in Postgres, by three commands: {took:.1f} s")
    assert took < PATIENCE
