"""The campaigns job, as all benchmarks run it: its config, its process, its place."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import trio

PER = 60.0  # seconds in which the platform allows ten requests, at speed 1
SLACK = 0.25  # seconds, the default
SLACK_FLOOR = 0.05  # seconds; at twenty times the speed the machine is not twenty times as fast
TAIL = 2000  # characters of what a process said that failed

CONFIG = """
state = {state}
[sources.{source}]
base_url = {base_url}
headers = {{ "X-Client-Id" = "bench" }}
{more}
[sources.{source}.auth]
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}
[sources.{source}.streams.campaigns]
path = "/api/campaigns"
records = "data"
key = ["id"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
[sources.{source}.streams.campaigns.columns]
id = "text"
name = "text"
status = "text"
budget = "numeric"
impressions = "bigint"
clicks = "bigint"
conversions = "bigint"
created_at = "timestamptz"
"""

CALL = """\
synced_at = "timestamptz"
[sources.{source}.streams.campaigns.call]
path = "/api/campaigns/{{id}}/sync"
repeat = "with-key"
keep = {{ synced_at = "synced_at" }}
concurrency = {concurrency}
"""

BUDGET = """\
budget = "ads"
timeout = "{timeout:g}s"
backoff = "{backoff:g}s"
keepalive = "{keepalive:g}s"
"""

SHARED = """\
[budgets.ads]
requests = 10
per = "{per:g}s"
slack = "{slack:g}s"
"""


def unlimited(folder: Path, base_url: str) -> Path:
    """A config without a budget and without calls, 1,000 records a page."""
    return _written(folder, _job(folder, base_url, source="ads", size=1000, more=""))


def calling(folder: Path, base_url: str, conninfo: str, *, concurrency: int) -> Path:
    """A config without a budget, 1,000 records a page, and a call for each of them."""
    # Each call that is under way has a connection, and there are no more than these.
    connections = f"connections = {concurrency}"
    text = _job(folder, base_url, source="ads", size=1000, more=connections)
    text += CALL.format(source="ads", concurrency=concurrency)
    return _written(folder, f"{text}[database]\nurl = {json.dumps(conninfo)}\n")


def limited(
    folder: Path, base_url: str, *, speed: float, concurrency: int = 5, source: str = "ads"
) -> Path:
    """A config for the whole job: ten requests in `PER`, lists and calls, at the mock's speed."""
    times = {"timeout": 15 / speed, "backoff": 1 / speed, "keepalive": 4 / speed}
    job = _job(folder, base_url, source=source, size=10, more=BUDGET.format(**times))
    call = CALL.format(source=source, concurrency=concurrency)
    shared = SHARED.format(per=PER / speed, slack=max(SLACK / speed, SLACK_FLOOR))
    return _written(folder, job + call + shared, source)


def _job(folder: Path, base_url: str, *, source: str, size: int, more: str) -> str:
    where = {"state": json.dumps(str(folder)), "base_url": json.dumps(base_url)}
    return CONFIG.format(**where, source=source, size=size, more=more)


def _written(folder: Path, text: str, name: str = "ads") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def command(config: Path) -> list[str]:
    """One cycle."""
    return [sys.executable, "-m", "syncd", "--config", str(config), "once"]


def environment() -> dict[str, str]:
    """Ours, but that what is imported is compiled once, as what is installed has been."""
    ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "ADPLATFORM_EMAIL": "ads@example.com", "ADPLATFORM_PASSWORD": "secret"}


async def once(config: Path) -> None:
    """One cycle as a process."""
    done = await trio.run_process(
        command(config),
        env=environment(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(
            f"syncd ended with {done.returncode}: {done.stderr.decode()[-TAIL:]}"
        )


@contextmanager
def place() -> Iterator[Path]:
    """A folder that a Postgres that runs as another user can enter."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
