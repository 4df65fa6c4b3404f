"""The real daemon as a subprocess, a real mock API, and a real Postgres."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from mock_api.testing import MockServer
from syncd.sync.model import StreamId
from tests.servers import short_place

CAMPAIGNS = StreamId(source="adplatform", stream="campaigns")

BUSY = 0.25  # seconds of slack: no machine counts requests faster for its mock's speed

COLUMNS = """\
id = "text"
name = "text"
status = "text"
budget = "numeric"
impressions = "bigint"
clicks = "bigint"
conversions = "bigint"
created_at = "timestamptz"
"""


def config(
    base_url: str,
    database: str | None,
    *,
    speed: float,
    size: int = 10,
    call: str | None = 'repeat = "with-key"',
    source: str = "",
    stream: str = "",
    every: str = "1d",
    timeout: float | None = None,
    slack: float = BUSY,
) -> str:
    """A config for the mock at `base_url`, with its times but the slack divided by `speed`."""
    where = f"[database]\nurl = '{database}'\n" if database else ""
    calls = f"""
[sources.adplatform.streams.campaigns.call]
path = "/api/campaigns/{{id}}/sync"
keep = {{ synced_at = "synced_at" }}
success = "success"
{call}
"""
    return f"""
{where}
[sources.adplatform]
base_url = "{base_url}"
headers = {{ "X-Client-Id" = "test" }}
budget = {{ requests = 10, per = "{60 / speed}s", slack = "{slack}s" }}
timeout = "{timeout or max(15 / speed, 0.5)}s"
backoff = "{1 / speed}s"
keepalive = "{max(4 / speed, 0.1)}s"
{source}

[sources.adplatform.auth]
kind = "token"
url = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}

[sources.adplatform.streams.campaigns]
every = "{every}"
path = "/api/campaigns"
records = "data"
key = ["id"]
volatile = ["impressions", "clicks", "conversions"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
{stream}

[sources.adplatform.streams.campaigns.columns]
{COLUMNS}{'synced_at = "timestamptz"' if call else ""}
{calls if call else ""}
"""


@attrs.define(eq=False)
class Syncd:
    """The `syncd` command with one config file."""

    path: Path
    env: Mapping[str, str] = attrs.field(factory=dict)
    module: str = "syncd"
    """What runs in its place may be one of the tests' own."""

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")

    def _open(self, *arguments: str) -> dict[str, Any]:
        secrets = {"ADPLATFORM_EMAIL": "ads@example.com", "ADPLATFORM_PASSWORD": "secret"}
        command = [sys.executable, "-m", self.module, "--config", str(self.path), *arguments]
        # Neither a shell nor readline (pytest loads it) is to say how wide the screen is.
        ours = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}}
        return {
            "command": command,
            "env": {**ours, "PYTHONUNBUFFERED": "1", **secrets, **self.env},
            "stdin": subprocess.DEVNULL,
        }

    async def command(
        self, *arguments: str, within: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; its output as text."""
        with trio.fail_after(within):
            done = await trio.run_process(
                **self._open(*arguments), capture_stdout=True, capture_stderr=True, check=False
            )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[trio.Process]:
        """A command that goes on; killed at the end if it has not ended by then."""
        opened = self._open(*arguments)
        process = await trio.lowlevel.open_process(
            opened.pop("command"), stderr=subprocess.STDOUT, stdout=subprocess.PIPE, **opened
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()


@pytest.fixture
def syncd(tmp_path: Path) -> Syncd:
    """A `syncd` whose config is still to be written."""
    return Syncd(tmp_path / "syncd.toml")


@pytest.fixture
def place() -> Iterator[Path]:
    with short_place() as folder:
        yield folder


async def lines_until(process: trio.Process, text: str, *, within: float = 60) -> list[str]:
    """Read what the process prints until a line holds `text`."""
    assert process.stdout is not None
    seen = b""
    with trio.fail_after(within):
        while text.encode() not in seen:
            piece = await process.stdout.receive_some()
            assert piece, f"it ended without saying {text!r}:\n{seen.decode()}"
            seen += piece
    return seen.decode().splitlines()


__all__ = ["CAMPAIGNS", "MockServer", "Syncd", "config", "lines_until"]
