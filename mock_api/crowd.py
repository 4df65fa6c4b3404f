"""Does the server's memory stay flat when a million clients come?

    python -m mock_api.crowd --ids 1000000 --speed 20

Starts a mock, sends one list request for each of so many client ids over a few
connections, and prints one JSON object: what the process held before and after.
"""

import base64
import json
import re
import time
from typing import Any

import click
import trio

from mock_api.testing import MockServer, running_mock

CONNECTIONS = 4
LENGTH = re.compile(rb"content-length: (\d+)")
TOKEN = re.compile(rb'"access_token": "([^"]+)"')


async def crowd(mock: MockServer, ids: int, *, first: int = 0) -> dict[str, Any]:
    """One list request for each of `ids` clients, numbered from `first`."""
    before = await mock.stats()
    started = time.perf_counter()
    port = int(mock.base_url.rpartition(":")[2])
    token = await _login(port)
    async with trio.open_nursery() as nursery:
        for lane in range(CONNECTIONS):
            clients = range(first + lane, first + ids, CONNECTIONS)
            nursery.start_soon(_ask_as_each, port, token, clients)
    seconds = time.perf_counter() - started
    after = await mock.stats()
    return {
        "ids": ids,
        "seconds": round(seconds, 1),
        "answered": after["answered"],
        "clients_remembered": after["clients"],
        "window_bytes": after["window_bytes"],
        "rss_before": before["rss_bytes"],
        "rss_after": after["rss_bytes"],
        "rss_peak": after["peak_rss_bytes"],
    }


async def _login(port: int) -> bytes:
    basic = base64.b64encode(b"ads@example.com:secret")
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = b"POST /auth/token HTTP/1.1\r\nhost: mock\r\nauthorization: Basic %s\r\n\r\n"
        await stream.send_all(head % basic)
        match = TOKEN.search(await _answer(stream))
    if match is None:
        raise click.ClickException("the mock refused the login")
    return match[1]


async def _ask_as_each(port: int, token: bytes, clients: range) -> None:
    # httpx would take longer over each request than the server does.
    head = (
        b"GET /api/campaigns?limit=1 HTTP/1.1\r\nhost: mock\r\n"
        b"authorization: Bearer %s\r\nx-client-id: client-%d\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for client in clients:
            await stream.send_all(head % (token, client))
            await _answer(stream)


async def _answer(stream: trio.SocketStream) -> bytes:
    got = b""
    while True:
        piece = await stream.receive_some()
        if not piece:
            raise click.ClickException("the mock closed the connection")
        got += piece
        head, blank, body = got.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if blank and length is not None and len(body) >= int(length[1]):
            return got


@click.command(help=__doc__)
@click.option("--ids", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--speed", type=float, default=1.0, show_default=True)
def main(ids: int, speed: float) -> None:
    async def run() -> None:
        async with running_mock(speed=speed, fail_every=0, hang_every=0, token_life=1e9) as mock:
            click.echo(json.dumps(await crowd(mock, ids)))

    trio.run(run)


if __name__ == "__main__":
    main()
