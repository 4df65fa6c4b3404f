"""Does memory depend on how many records there are?"""

import subprocess
import time
from pathlib import Path

import click
import trio

from mock_api.testing import running_mock
from scripts.benchmarks import job
from syncd.store.embedded import embedded_postgres


@click.command()
@click.option("--records", multiple=True, type=int, default=(1_000, 100_000, 1_000_000))
def memory(records: tuple[int, ...]) -> None:
    """Peak memory of one cycle without a budget, 1,000 records a page."""

    async def main() -> None:
        first = 0
        click.echo(f"{'records':>10} {'peak MiB':>9} {'ratio':>6} {'seconds':>8} {'records/s':>10}")
        for count in records:
            options = {"limit": 0, "fail_every": 0, "hang_every": 0, "campaigns": count}
            with job.place() as folder:
                async with running_mock(**options) as mock, embedded_postgres(folder):
                    config = job.unlimited(folder, mock.base_url)
                    took, peak = await trio.to_thread.run_sync(_once, config)
            first = first or peak
            click.echo(
                f"{count:>10,} {peak / 2**20:>9.1f} {peak / first:>6.3f} {took:>8.2f} "
                f"{count / took:>10,.0f}"
            )

    trio.run(main)


def _once(config: Path) -> tuple[float, int]:
    """One cycle as a process: its seconds and its peak memory in bytes."""
    began = time.monotonic()
    peak = 0
    with subprocess.Popen(  # noqa: S603 - our own command
        job.command(config), env=job.environment(), stdout=subprocess.DEVNULL
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
