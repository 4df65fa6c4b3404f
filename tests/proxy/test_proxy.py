"""The proxy itself: what it lets pass, to the byte, and how it ends a connection."""

import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import PIPE

import psycopg
import pytest
import trio

from tests.proxy.between import socket_of, through
from tests.proxy.relay import Proxy, running_proxy
from tests.proxy.script import Rule, Script, read_script
from tests.proxy.wire import Messages, Tally, wants_encryption
from tests.servers import Servers

WITHIN = 20.0  # seconds


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A server that sends back what it gets."""

    async def serve(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # a reset: that is the test
            async for data in stream:
                await stream.send_all(data)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def exchanged(proxy: Proxy, data: bytes) -> tuple[bytes, str]:
    """What comes back until the connection ends, and how it ends."""
    got = b""
    with trio.fail_after(WITHIN):
        stream = await trio.open_tcp_stream(proxy.host, proxy.port)
        async with stream:
            try:
                await stream.send_all(data)
                while len(got) < len(data):
                    if not (piece := await stream.receive_some(100)):
                        return got, "cut"
                    got += piece
            except trio.BrokenResourceError:
                return got, "reset"
    return got, "whole"


async def test_without_a_rule_everything_passes(echo: str) -> None:
    """Both ways, and the end of one side too."""
    async with running_proxy(to=echo) as proxy:
        assert await exchanged(proxy, b"x" * 300_000) == (b"x" * 300_000, "whole")
        with trio.fail_after(WITHIN):
            async with await trio.open_tcp_stream(proxy.host, proxy.port) as stream:
                await stream.send_all(b"last words")
                await stream.send_eof()
                assert b"".join([piece async for piece in stream]) == b"last words"
    assert proxy.log == []


@pytest.mark.parametrize("after", [0, 1, 7, 99])
async def test_a_cut_comes_after_the_very_byte(echo: str, after: int) -> None:
    """Of the side that the rule names, and of the connections that it names."""
    rule = Rule(on=(2,), after=after, do="cut")
    async with running_proxy(to=echo, script=[rule]) as proxy:
        assert await exchanged(proxy, b"y" * 100) == (b"y" * 100, "whole")
        assert await exchanged(proxy, b"y" * 100) == (b"y" * after, "cut")
        assert await exchanged(proxy, b"y" * 100) == (b"y" * 100, "whole")
    assert [(f.connection, f.down) for f in proxy.log] == [(2, after)]


async def test_a_reset_is_one(echo: str) -> None:
    """By RST: the client's read fails instead of ending."""
    async with running_proxy(to=echo, script=[Rule(side="up", after=5, do="reset")]) as proxy:
        _, how = await exchanged(proxy, b"0123456789")
    assert how == "reset"
    assert proxy.log[0].up == 5


async def test_in_a_black_hole_nothing_passes_and_nothing_ends(echo: str) -> None:
    """The connection stays; when the client goes, the server's goes as well."""
    async with running_proxy(to=echo, script=[Rule(do="black-hole")]) as proxy:
        with trio.fail_after(WITHIN):
            stream = await trio.open_tcp_stream(proxy.host, proxy.port)
            await stream.send_all(b"hello?")
            await proxy.fired()
            with trio.move_on_after(0.05) as silence:
                await stream.receive_some()
            assert silence.cancelled_caught
            await stream.aclose()
            while proxy._open:
                await trio.lowlevel.checkpoint()
    assert proxy.log[0].down == 0


async def test_dripped_and_delayed_it_is_still_whole(echo: str) -> None:
    """Slow, and otherwise as it was sent."""
    drip = Rule(on=(1,), after=3, do="drip", bytes=2, seconds=0.001)
    delay = Rule(on=(2,), side="up", do="delay", seconds=0.05)
    async with running_proxy(to=echo, script=[drip, delay]) as proxy:
        assert await exchanged(proxy, b"0123456789") == (b"0123456789", "whole")
        began = trio.current_time()
        assert await exchanged(proxy, b"0123456789") == (b"0123456789", "whole")
        assert trio.current_time() - began >= 0.05


async def test_bytes_are_counted_from_a_text(echo: str) -> None:
    """So that one answer among many on a connection can be meant."""
    rule = Rule(text="now", nth=2, after=4, do="cut")
    async with running_proxy(to=echo, script=[rule]) as proxy:
        with trio.fail_after(WITHIN):
            async with await trio.open_tcp_stream(proxy.host, proxy.port) as stream:
                for text in (b"before", b"now one", b"between"):
                    await stream.send_all(text)
                    assert await stream.receive_some() == text
                await stream.send_all(b"now two")
                assert await stream.receive_some() == b"now "
                assert await stream.receive_some() == b""
    assert [f.down for f in proxy.log] == [6 + 7 + 7 + 4]


async def test_connections_are_drawn_from_the_seed(echo: str) -> None:
    """The same seed, the same connections; and no more than `times`."""
    drawn = [
        [bool(Script([Rule(rate=0.5, seed=seed, do="cut")]).of_connection(1)) for _ in range(3)]
        for seed in range(20)
    ]
    assert {True, False} == {first for first, *_ in drawn}
    assert all(len(set(again)) == 1 for again in drawn)
    async with running_proxy(to=echo, script=[Rule(every=2, times=2, do="cut")]) as proxy:
        ends = [(await exchanged(proxy, b"z"))[1] for _ in range(8)]
    assert ends == ["whole", "cut", "whole", "cut", "whole", "whole", "whole", "whole"]


async def test_nobody_behind_it_ends_the_connection() -> None:
    """As a load balancer does whose servers are all away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with running_proxy(to=f"127.0.0.1:{taken.getsockname()[1]}") as proxy:
            assert await exchanged(proxy, b"hello?") == (b"", "reset")


# --- Postgres ----------------------------------------------------------------------------------


@pytest.fixture
def database(servers: Servers) -> Iterator[str]:
    with servers["embedded"].fresh_database() as conninfo:
        yield conninfo


async def test_what_postgres_is_asked_is_counted(database: str) -> None:
    """Of several commands in one statement each, and that a COPY waits twice."""

    def work(conninfo: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("BEGIN; CREATE TABLE t (n int)")
            with connection.cursor().copy("COPY t FROM STDIN") as copy:
                copy.write_row([1])
            connection.execute("SELECT %s::int", [2])
            connection.execute("COMMIT")

    tally = Tally()
    async with running_proxy(to=socket_of(database), tally=tally) as proxy:
        await trio.to_thread.run_sync(work, through(proxy, database))
        with trio.fail_after(WITHIN):
            await proxy.left()
    logged_in = 1
    assert tally.round_trips == logged_in + 1 + 2 + 1 + 1
    assert tally.commands == 2 + 1 + 1 + 1
    assert tally.statements == 1 + 1, "the COPY and the SELECT; the rest opens and ends"
    assert tally.texts["COMMIT"] == tally.texts["SELECT $1::int"] == 1


async def test_the_reply_to_commit_is_swallowed_and_the_commit_is_done(database: str) -> None:
    """The client can't know; of two transactions the rule takes the one that it means."""

    def one(conninfo: str, table: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("BEGIN; SET LOCAL lock_timeout = '1s'")
            connection.execute(f"CREATE TABLE {table} AS SELECT %s::int AS n".encode(), (1,))
            connection.execute("COMMIT")

    rule = Rule(statement="COMMIT", of="TABLE second", do="swallow")
    async with running_proxy(to=socket_of(database), script=[rule]) as proxy:
        await trio.to_thread.run_sync(one, through(proxy, database), "first")
        with pytest.raises(psycopg.OperationalError):
            await trio.to_thread.run_sync(one, through(proxy, database), "second")
    assert [f.connection for f in proxy.log] == [2]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT first.n + second.n FROM first, second").fetchone() == (2,)


async def test_what_a_transaction_did_is_forgotten_with_the_next_one(database: str) -> None:
    """A rule for the COMMIT of one does not take that of another on the same connection."""

    def both(conninfo: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for statement in ("CREATE TABLE first ()", "CREATE TABLE second ()"):
                connection.execute("-- as syncd's own do, it begins with a comment\nBEGIN")
                connection.execute(statement.encode())
                connection.execute("COMMIT")

    rule = Rule(statement="COMMIT", of="TABLE first", nth=2, do="cut")
    async with running_proxy(to=socket_of(database), script=[rule]) as proxy:
        await trio.to_thread.run_sync(both, through(proxy, database))
    assert proxy.log == []


async def test_a_statement_that_is_met_by_a_cut_is_not_done(database: str) -> None:
    """The n-th one, counted over all connections."""

    def one(conninfo: str, n: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("INSERT INTO t VALUES (%s)", (n,))

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (n int)")
        rule = Rule(statement="INSERT INTO t", nth=2, do="cut")
        async with running_proxy(to=socket_of(database), script=[rule]) as proxy:
            await trio.to_thread.run_sync(one, through(proxy, database), 1)
            with pytest.raises(psycopg.OperationalError):
                await trio.to_thread.run_sync(one, through(proxy, database), 2)
            await trio.to_thread.run_sync(one, through(proxy, database), 3)
        assert connection.execute("SELECT array_agg(n) FROM t").fetchone() == ([1, 3],)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_messages_are_found_however_the_bytes_come(size: int) -> None:
    """A client's side: encryption refused, the start, a query, a statement with parameters."""
    ssl = b"\0\0\0\x08" + (80877103).to_bytes(4)
    start = b"\0\0\0\x0c" + (196608).to_bytes(4) + b"u\0\0\0"
    query = b"Q" + (4 + 7).to_bytes(4) + b"COMMIT\0"
    parse = b"P" + (4 + 12).to_bytes(4) + b"\0SELECT 1\0\0\0"
    data = ssl + start + query + parse
    sides = Messages(starting=True)
    found = [m for at in range(0, len(data), size) for m in sides.feed(data[at : at + size])]
    assert [m.statement for m in found] == [None, None, "COMMIT", "SELECT 1"]
    assert [wants_encryption(m) for m in found] == [True, False, False, False]
    assert found[-1].end == len(data)
    server = Messages(starting=False, refusals=1)
    told = [m.type for m in server.feed(b"N" + b"Z\0\0\0\x05I")]
    assert told == [b"Z"]


# --- by hand -----------------------------------------------------------------------------------


async def test_by_hand_it_says_what_it_does(echo: str, tmp_path: Path) -> None:
    """A script from a file; its address first, then each rule that fires."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"name": "short", "after": 4, "do": "cut"}]), encoding="utf-8")
    command = [sys.executable, "-u", "-m", "tests.proxy", "--to", echo, "--script", str(script)]
    root = Path(__file__).parents[2]
    process = await trio.lowlevel.open_process(command, cwd=root, stdout=PIPE)
    assert process.stdout is not None
    async with process.stdout:
        with trio.fail_after(WITHIN):
            said = await process.stdout.receive_some()
            port = int(said.split(b":")[-1])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"0123456789")
                assert await stream.receive_some() == b"0123"
            said = await process.stdout.receive_some()
            assert said.startswith(b"connection 1: short: cut after"), said
            process.terminate()
            await process.wait()


@pytest.mark.parametrize(
    "text",
    [
        '[{"do": "explode"}]',
        '[{"do": "swallow"}]',
        '[{"do": "drip", "statement": "COMMIT"}]',
        '[{"do": "cut", "aftr": 1}]',
        '[{"do": "cut", "after": -1}]',
    ],
)
def test_a_script_that_makes_no_sense_is_refused(text: str) -> None:
    """Before anything is listened to."""
    with pytest.raises(ValueError, match=r"Invalid|swallow|drip|unknown|Expected|after"):
        read_script(text)
