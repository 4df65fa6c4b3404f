"""A real Prometheus for a test, with the shipped rules made faster."""

import math
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = MONITORING / "alerts.yml"

SCALE = 60  # a minute of the rules is a second here …
MOST = 20  # … but none of their durations is longer than so many seconds
LEAST = 3  # … and none is shorter: one scrape that fails on a busy machine is no outage
EVERY = 1.0  # seconds between two scrapes, and two looks at the rules
LOOK = 0.25  # seconds between two questions of a test
START = 30.0  # seconds for it to be ready

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool is installed (Debian's package prometheus has it)")
    return found


def faster(rules: str) -> str:
    """The rules with every duration scaled, in `for` and in ranges, and the one of seconds."""

    def scaled(found: re.Match[str]) -> str:
        seconds = int(found["number"]) * UNITS[found["unit"]]
        return f"{found['before']}{min(MOST, max(LEAST, math.ceil(seconds / SCALE)))}s"

    text, many = re.subn(r"(?P<before>for: |\[)(?P<number>\d+)(?P<unit>[smhd])\b", scaled, rules)
    assert many > 15
    text, many = re.subn(r"> 60 \+", "> 1 +", text)
    assert many == 2
    return text


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@attrs.define(eq=False, kw_only=True)
class Prometheus:
    """One that is running."""

    http: httpx.AsyncClient

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query; its result."""
        return await self._ask("query", query=expression)

    async def over(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """A query over a range of time; its result."""
        values = {"start": str(start), "end": str(end), "step": str(step)}
        return await self._ask("query_range", query=expression, **values)

    async def value(self, expression: str) -> float:
        """The value of an expression that has one."""
        (found,) = await self.query(expression)
        return float(found["value"][1])

    async def alerts(self) -> list[dict[str, Any]]:
        """Those that fire now, with their annotations."""
        found: dict[str, Any] = await self._ask("alerts")  # type: ignore[assignment]  # an object
        return [alert for alert in found["alerts"] if alert["state"] == "firing"]

    async def firing(self) -> set[tuple[str, str]]:
        """The names of those that fire now, each with its source."""
        labels = [alert["labels"] for alert in await self.alerts()]
        return {(each["alertname"], each.get("source", "")) for each in labels}

    @asynccontextmanager
    async def in_time(self, seconds: float) -> AsyncIterator[None]:
        """The body has so long; if that is not enough, what fires and what is about to is told."""
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            found: dict[str, Any] = await self._ask("alerts")  # type: ignore[assignment]  # an object
            words = [(a["state"], a["labels"], a["value"]) for a in found["alerts"]]
            told = "\n".join(map(str, words))
            raise AssertionError(f"not within {seconds:.0f} s; alerts:\n{told}")

    async def until_firing(self, wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Wait until all of these have fired; they and all others that fire then."""
        missing = set(wanted)
        while True:
            now = await self.firing()
            missing -= now
            if not missing:
                return now
            await trio.sleep(LOOK)

    async def until(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Wait until these fire, and nothing else does."""
        expected = set(wanted)
        while await self.firing() != expected:  # noqa: ASYNC110 - it is another process
            await trio.sleep(LOOK)

    async def until_value(self, expression: str, least: float) -> None:
        """Wait until an expression has at least this value."""
        while True:
            found = await self.query(expression)
            if found and float(found[0]["value"][1]) >= least:
                return
            await trio.sleep(LOOK)

    async def _ask(self, what: str, **values: str) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/api/v1/{what}", params=values)
        body = answer.json()
        assert body["status"] == "success", body
        data = body["data"]
        result: list[dict[str, Any]] = data.get("result", data)
        return result


@asynccontextmanager
async def running_prometheus(target: str, *, token: str = "") -> AsyncIterator[Prometheus]:
    """Debian's own, scraping one target; its data go with it."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus is installed (Debian's package prometheus)")
    folder = Path(tempfile.mkdtemp(prefix="syncd-prometheus-"))
    try:
        (folder / "alerts.yml").write_text(faster(RULES.read_text("utf-8")), "utf-8")
        authorization = f"    authorization: {{credentials: {token}}}\n" if token else ""
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {EVERY:g}s, evaluation_interval: {EVERY:g}s}}\n"
            "rule_files: [alerts.yml]\n"
            "scrape_configs:\n"
            "  - job_name: syncd\n"
            f"{authorization}"
            f"    static_configs: [{{targets: ['{target}']}}]\n",
            "utf-8",
        )
        port = free_port()
        process = await trio.lowlevel.open_process(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            stdin=subprocess.DEVNULL,
        )
        base = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
                with trio.fail_after(START):
                    await _ready(http)
                yield Prometheus(http=http)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _ready(http: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await http.get("/-/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await trio.sleep(LOOK)
