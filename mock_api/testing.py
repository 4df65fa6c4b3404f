"""How do other people's tests, and the demo, get a mock to themselves?

    async with running_mock(speed=20, campaigns=20) as mock:
        await mock.faults({"path": "/api/campaigns", "on": [2], "status": 502})
        ... point a client at mock.base_url ...
        assert (await mock.windows())["fullest"] <= 10

It is the real server in a process of its own, on a free port.  It ends with
the block, or when this process dies, whichever comes first.
"""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import trio

START = 15.0  # seconds for the process to listen
STOP = 10.0  # seconds for it to leave before it is killed
CONTROL = 30.0  # seconds for one control request
TRIES = 3  # more, for a control request that can be repeated


class MockFailed(RuntimeError):
    """The mock did not start, or refused a control request; says why."""


@attrs.define(eq=False, kw_only=True)
class MockServer:
    """A mock that is running: look inside, change it, stop it."""

    base_url: str
    _process: trio.Process
    _http: httpx.AsyncClient

    @property
    def pid(self) -> int:
        return self._process.pid

    # Looking

    async def settings(self) -> dict[str, Any]:
        """What it was started with, and the times at its speed."""
        return await self._ask("GET", "")

    async def stats(self) -> dict[str, Any]:
        """Its counters, open connections and memory."""
        return await self._ask("GET", "/stats")

    async def requests(self, *, since: int = 0) -> list[dict[str, Any]]:
        """The journal, oldest first; the fields are those of `mock_api.journal.Entry`."""
        entries: list[dict[str, Any]] = (await self._ask("GET", f"/requests?since={since}"))[
            "requests"
        ]
        return entries

    async def windows(self) -> dict[str, Any]:
        """`fullest`: the most that any client had counted in any window; `clients`: each one's."""
        return await self._ask("GET", "/windows")

    async def calls(self) -> dict[str, Any]:
        """The POSTs: `asked`, `carried_out`, `repeated`, `by_id`, `by_key`."""
        return await self._ask("GET", "/calls")

    async def campaigns(self) -> list[dict[str, Any]]:
        """Every record as it is now; costs no quota."""
        records: list[dict[str, Any]] = []
        page = 0
        while True:
            page += 1
            answer = await self._ask("GET", f"/campaigns?page={page}&limit=1000")
            if not answer["data"]:
                return records
            records += answer["data"]

    # Changing

    async def faults(self, *rules: Mapping[str, Any]) -> None:
        """These rules, and no others, from now on; none at all heals it."""
        await self._ask("PUT", "/faults", {"rules": rules})

    async def rules(self) -> list[dict[str, Any]]:
        """The rules in force, with how many requests each `matched` and how often it `fired`."""
        rules: list[dict[str, Any]] = (await self._ask("GET", "/faults"))["rules"]
        return rules

    async def change(
        self,
        campaign_id: str,
        /,
        *,
        drop: tuple[str, ...] = (),
        raw: str | None = None,
        **values: Any,
    ) -> dict[str, Any] | None:
        """Set fields, drop fields, or send `raw` in the record's place; the record as it is now.

        None if `raw` is given, which need not be JSON.
        """
        change = {"set": values, "drop": drop, "raw": raw}
        path = f"/campaigns/{campaign_id}"
        response = await self._send("PATCH", path, change)
        return None if raw is not None else response.json()

    async def restore(self, campaign_id: str) -> None:
        """Undo all changes of this campaign."""
        await self._send("PUT", f"/campaigns/{campaign_id}")

    async def add(self, count: int = 1) -> list[str]:
        """New campaigns at the end of the list; their ids."""
        ids: list[str] = (await self._ask("POST", "/campaigns", {"count": count}))["ids"]
        return ids

    async def remove(self, campaign_id: str) -> None:
        await self._ask("DELETE", f"/campaigns/{campaign_id}")

    async def expire_tokens(self) -> int:
        """Every issued token dies now; how many there were."""
        expired: int = (await self._ask("DELETE", "/tokens"))["expired"]
        return expired

    async def reset(self) -> None:
        """As freshly started: windows, journal, counters, tokens, campaigns, faults."""
        await self._ask("POST", "/reset")

    # Ending

    async def stop(self) -> int:
        """SIGTERM, and wait; its exit status.  Killed if it does not leave."""
        self._process.terminate()
        with trio.move_on_after(STOP):
            return await self._process.wait()
        self.kill()
        return await self._process.wait()

    async def wait(self) -> int:
        """Until it has left by itself; its exit status."""
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._process.kill()

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._send(method, path, body)).json()
        return answer

    async def _reach(self, method: str, path: str, content: str | None) -> httpx.Response:
        """Ask; once more if a busy machine let a new connection idle until it was closed."""
        for _ in range(TRIES if method in ("GET", "PUT", "PATCH") else 0):
            try:
                return await self._http.request(method, path, content=content)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                continue
        return await self._http.request(method, path, content=content)

    async def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        # json.dumps, not httpx's: lone surrogates and NaN are among what tests send.
        content = None if body is None else json.dumps(body)
        response = await self._reach(method, f"/_mock{path}", content)
        if response.status_code >= 400:
            raise MockFailed(f"{method} /_mock{path}: {response.status_code} {response.text}")
        return response


@asynccontextmanager
async def running_mock(**options: Any) -> AsyncIterator[MockServer]:
    """Start a mock with these command line options, underscores for dashes.

    `retry_after_header=True` gives the flag, `quirk=["changing", "html-404"]`
    the option twice, and `port` is free unless it is given.
    """
    command = [sys.executable, "-m", "mock_api", "--stop-with-stdin", *arguments(options)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        base_url = await _listening(process)
        # No kept connections: the mock closes idle ones, and a test that looks
        # inside must not trip over that.
        async with httpx.AsyncClient(
            base_url=base_url,
            timeout=CONTROL,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as http:
            yield MockServer(base_url=base_url, process=process, http=http)
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Command line options, as `running_mock` takes them, in words."""
    words: list[str] = []
    for name, value in ({"port": 0} | dict(options)).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words += [flag] if value else []
        elif isinstance(value, list | tuple | set | frozenset):
            for item in value:
                words += [flag, str(item)]
        else:
            words += [flag, str(value)]
    return words


async def _listening(process: trio.Process) -> str:
    line = b""
    if process.stdout is not None:
        with trio.move_on_after(START):
            while not line.endswith(b"\n") and (piece := await process.stdout.receive_some()):
                line += piece
    if not line.endswith(b"\n"):
        raise MockFailed("the mock did not start; it says why on stderr")
    address: str = json.loads(line)["listening"]
    return address


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.terminate()
        with trio.move_on_after(STOP):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await pipe.aclose()
