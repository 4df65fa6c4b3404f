"""A crowd at the side door, in a process of its own: slow listeners, and those who ask and ask.

    python -m scripts.benchmarks.crowd 127.0.0.1:8321 --listeners 500 --rate 200 --seconds 60

It says `there` when all listen, and at the end what it was answered, as JSON.
"""

import itertools
import json
import socket
import statistics
from collections import Counter

import attrs
import click
import trio

ASKED = ("/api/status", "/healthz", "/readyz", "/api/cycles?limit=20", "/api/dead", "/")
WORKERS = 20
SIP = 512  # bytes that a slow listener reads in a second
BUFFER = 4096  # bytes that its kernel takes for it


@attrs.define(eq=False)
class Crowd:
    """Who came, and what came of it."""

    host: str
    port: int
    statuses: Counter[str] = attrs.field(factory=Counter)
    took: list[float] = attrs.field(factory=list)
    cut: int = 0
    sipped: int = 0

    async def connect(self, buffer: int | None = None) -> trio.SocketStream:
        sock = trio.socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await sock.connect((self.host, self.port))
        return trio.SocketStream(sock)

    async def listen(self, there: trio.MemorySendChannel[None]) -> None:
        """Listen, and read as little as keeps one alive; or until one is cut."""
        async with await self.connect(BUFFER) as stream:
            await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await stream.receive_some(SIP)
            self.statuses[f"listen {head[9:12].decode()}"] += 1
            await there.send(None)
            try:
                while piece := await stream.receive_some(SIP):
                    self.sipped += len(piece)
                    await trio.sleep(1)
            except trio.BrokenResourceError:
                pass
            self.cut += 1

    async def ask(self, rate: float, first: float, until: float) -> None:
        """Ask again and again on one connection, so many times a second."""
        stream = await self.connect()
        for number in itertools.count():
            at = first + number / rate
            if at > until:
                break
            await trio.sleep_until(at)
            began = trio.current_time()
            try:
                status = await _answer(stream, ASKED[number % len(ASKED)])
            except (trio.BrokenResourceError, EOFError):
                status = "broken off"
                await stream.aclose()
                try:
                    stream = await self.connect()
                except OSError:
                    break  # nobody is there any more
            self.statuses[status] += 1
            self.took.append(trio.current_time() - began)
        await stream.aclose()

    def figures(self) -> dict[str, object]:
        ordered = sorted(self.took) or [0.0]
        return {
            "answers": dict(self.statuses),
            "median_ms": round(1000 * statistics.median(ordered), 1),
            "p99_ms": round(1000 * ordered[int(len(ordered) * 0.99)], 1),
            "slowest_ms": round(1000 * ordered[-1], 1),
            "listeners_cut": self.cut,
            "read_by_listeners": self.sipped,
        }


async def _answer(stream: trio.SocketStream, path: str) -> str:
    await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    read = b""
    while b"\r\n\r\n" not in read:
        piece = await stream.receive_some()
        if not piece:
            raise EOFError
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        piece = await stream.receive_some(left)
        if not piece:
            raise EOFError
        left -= len(piece)
    return head[9:12].decode()


@click.command()
@click.argument("address")
@click.option("--listeners", type=int, default=500)
@click.option("--rate", type=float, default=200.0, help="Requests a second, all together.")
@click.option("--seconds", type=float, default=60.0)
def crowd(address: str, *, listeners: int, rate: float, seconds: float) -> None:
    """Come all together, and stay for so long."""
    host, _, port = address.rpartition(":")
    come = Crowd(host=host, port=int(port))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            there, arrived = trio.open_memory_channel[None](0)
            for _ in range(listeners):
                nursery.start_soon(come.listen, there)
            for _ in range(listeners):
                await arrived.receive()
            click.echo("there")
            now = trio.current_time()
            async with trio.open_nursery() as asking:
                for number in range(WORKERS):
                    first = now + number / rate
                    asking.start_soon(come.ask, rate / WORKERS, first, now + seconds)
            figures = come.figures()
            nursery.cancel_scope.cancel()
        click.echo(json.dumps(figures))

    trio.run(main)


if __name__ == "__main__":
    crowd()
