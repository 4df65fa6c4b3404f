"""Who serves the list for benchmarks?  A process of its own, so that it can keep up.

    python -m scripts.benchmarks.listserver --records 100000 --size 1000

It says where it listens, and leaves when its stdin is closed: with who started it.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import click
import httpx
import trio

from scripts.benchmarks.listing import COUNTS, EDITION, PATH, Listing

START = 900.0  # seconds to render ten million records
STOP = 10.0  # seconds to leave
CONTROL = 30.0  # seconds for a look
PIECE = 65536  # bytes
LOOK = 0.005  # seconds between two looks
END = b"\r\n\r\n"


@attrs.frozen(kw_only=True)
class Counts:
    """What was asked since the last look."""

    requests: int
    unchanged: int
    body_bytes: int
    first_at: float | None


@attrs.frozen
class ListServer:
    """The list, as it runs."""

    base_url: str

    async def counts(self) -> Counts:
        """What was asked since the last look."""
        async with self._client() as http:
            return Counts(**(await http.get(COUNTS)).raise_for_status().json())

    async def reached(self, requests: int) -> None:
        """Wait until so many have come since the last look, which this is not."""
        async with self._client() as http:
            while True:
                found = (await http.get(f"{COUNTS}?keep")).raise_for_status().json()
                if found["requests"] >= requests:
                    return
                await trio.sleep(LOOK)

    async def publish(self, edition: int) -> None:
        """From now on the records are as they are in this edition."""
        async with self._client() as http:
            (await http.get(f"{EDITION}?{edition}")).raise_for_status()

    async def alone(self, size: int) -> float:
        """Seconds for the whole list when nobody decodes or writes it."""
        began, number, more = time.monotonic(), 0, True
        async with self._client() as http:
            while more:
                number += 1
                answer = await http.get(PATH, params={"page": number, "limit": size})
                more = b'"has_more":true' in answer.raise_for_status().content[-64:]
        return time.monotonic() - began

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base_url, timeout=CONTROL, trust_env=False)


@asynccontextmanager
async def running_list(records: int, size: int, *, etags: bool = True) -> AsyncIterator[ListServer]:
    """The list with so many records, its pages of this size rendered ahead."""
    module = [sys.executable, "-m", "scripts.benchmarks.listserver"]
    states = "--etags" if etags else "--no-etags"
    process = await trio.lowlevel.open_process(
        [*module, "--records", str(records), "--size", str(size), states],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield ListServer(await _listening(process))
    finally:
        with trio.CancelScope(shield=True):
            await _ended(process)


async def _listening(process: trio.Process) -> str:
    line = b""
    if process.stdout is not None:
        with trio.move_on_after(START):
            while not line.endswith(b"\n") and (piece := await process.stdout.receive_some()):
                line += piece
    if not line.endswith(b"\n"):
        raise click.ClickException("the list server did not start; it says why above")
    return str(json.loads(line)["listening"])


async def _ended(process: trio.Process) -> None:
    if process.stdin is not None:
        await process.stdin.aclose()
    with trio.move_on_after(STOP):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


# --- the process ----------------------------------------------------------------------------


@click.command()
@click.option("--records", type=click.IntRange(min=0), default=100_000, show_default=True)
@click.option("--size", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--etags/--no-etags", default=True, show_default=True)
def main(*, records: int, size: int, etags: bool) -> None:
    """Serve the list until stdin is closed."""
    listing = Listing(records, etags)
    listing.render(size)
    gc.collect()
    gc.freeze()  # what is there stays there
    trio.run(_serve, listing)


async def _serve(listing: Listing) -> None:
    async def connection(stream: trio.SocketStream) -> None:
        await _answer(listing, stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, connection, listeners)
        port = listeners[0].socket.getsockname()[1]
        click.echo(json.dumps({"listening": f"http://127.0.0.1:{port}"}))
        async with trio.lowlevel.FdStream(sys.stdin.fileno()) as stdin:
            while await stdin.receive_some():
                pass
        nursery.cancel_scope.cancel()


async def _answer(listing: Listing, stream: trio.SocketStream) -> None:
    """One connection, request after request, until the client closes it."""
    waiting = b""
    try:
        while True:
            while END not in waiting:
                piece = await stream.receive_some(PIECE)
                if not piece:
                    return
                waiting += piece
            head, _, waiting = waiting.partition(END)
            await stream.send_all(listing.answer(head, time.monotonic()))
    except trio.BrokenResourceError:
        pass  # it was cut: a client was killed, or did not wait for its answer


if __name__ == "__main__":
    main()
