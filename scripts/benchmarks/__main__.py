"""The benchmarks: the real command against the mock and an embedded Postgres."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click
import trio

from mock_api.testing import running_mock
from syncd.store.embedded import embedded_postgres

SECRETS = {"ADPLATFORM_EMAIL": "ads@example.com", "ADPLATFORM_PASSWORD": "secret"}

CONFIG = """
state = {state}
[sources.ads]
base_url = {base_url}
{budget}
[sources.ads.auth]
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}
[sources.ads.streams.campaigns]
path = "/api/campaigns"
records = "data"
key = ["id"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
[sources.ads.streams.campaigns.columns]
id = "text"
name = "text"
status = "text"
budget = "numeric"
impressions = "bigint"
clicks = "bigint"
conversions = "bigint"
created_at = "timestamptz"
{call}
"""

CALL = """
synced_at = "timestamptz"
[sources.ads.streams.campaigns.call]
path = "/api/campaigns/{{id}}/sync"
repeat = "with-key"
keep = {{ synced_at = "synced_at" }}
concurrency = {concurrency}
"""


@click.group()
def bench() -> None:
    """Compare, in one run, and print ratios."""


def _config(folder: Path, base_url: str, **values: object) -> Path:
    path = folder / "syncd.toml"
    given: Mapping[str, object] = {"size": 1000, "call": "", "budget": "", **values}
    text = CONFIG.format(state=json.dumps(str(folder)), base_url=json.dumps(base_url), **given)
    path.write_text(text, encoding="utf-8")
    return path


def _enterable(name: str) -> Path:
    """The folder, such that a Postgres that runs as another user can enter it."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


def _once(config: Path) -> tuple[float, int]:
    """One cycle as a process: its seconds and its peak memory in bytes."""
    command = [sys.executable, "-m", "syncd", "--config", str(config), "once"]
    began = time.monotonic()
    peak = 0
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env={**os.environ, **SECRETS}, stdout=subprocess.DEVNULL
    ) as process:
        # Not ru_maxrss: that begins with what this process held when it forked.
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise click.ClickException(f"syncd ended with {process.returncode}")
    return time.monotonic() - began, peak


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), 0)


@bench.command()
@click.option("--records", multiple=True, type=int, default=(1_000, 100_000, 1_000_000))
def memory(records: tuple[int, ...]) -> None:
    """Peak memory of one cycle without a budget, 1,000 records a page."""

    async def main() -> None:
        first = 0
        click.echo(f"{'records':>10} {'peak MiB':>9} {'ratio':>6} {'seconds':>8} {'records/s':>10}")
        for count in records:
            with tempfile.TemporaryDirectory(prefix="syncd-bench-") as name:
                folder = _enterable(name)
                options = {"limit": 0, "fail_every": 0, "hang_every": 0, "campaigns": count}
                async with running_mock(**options) as mock, embedded_postgres(folder):
                    config = _config(folder, mock.base_url)
                    took, peak = await trio.to_thread.run_sync(_once, config)
            first = first or peak
            click.echo(
                f"{count:>10,} {peak / 2**20:>9.1f} {peak / first:>6.3f} {took:>8.2f} "
                f"{count / took:>10,.0f}"
            )

    trio.run(main)


@bench.command()
def concurrency() -> None:
    """The campaigns job at speed 20 under its budget, 1 to 10 calls at once."""

    async def main() -> None:
        click.echo(f"{'at once':>8} {'seconds':>8} {'of the floor':>12} {'refused':>8}")
        for many in range(1, 11):
            with tempfile.TemporaryDirectory(prefix="syncd-bench-") as name:
                folder = _enterable(name)
                async with running_mock(speed=20) as mock, embedded_postgres(folder):
                    budget = 'budget = { requests = 10, per = "3s", slack = "0.1s" }\n'
                    budget += 'timeout = "0.75s"\nbackoff = "0.05s"\nkeepalive = "0.2s"'
                    call = CALL.format(concurrency=many)
                    config = _config(folder, mock.base_url, size=10, call=call, budget=budget)
                    await trio.to_thread.run_sync(_once, config)
                    counted = [e for e in await mock.requests() if e["cost"]]
                    refused = (await mock.stats())["refused_429"]
            last = max((e for e in counted if e["answered"]), key=lambda e: e["answered"])
            took = last["answered"] - min(e["arrived"] for e in counted)
            floor = (len(counted) - 1) // 10 * 3.0 + last["answered"] - last["arrived"]
            click.echo(f"{many:>8} {took:>8.2f} {took / floor:>12.3f} {refused:>8}")

    trio.run(main)


if __name__ == "__main__":
    bench()
