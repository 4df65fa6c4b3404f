"""A TCP proxy that fails as it is told, between syncd and Postgres or an API.

    async with running_proxy(to="127.0.0.1:5432", script=[Rule(on=(1,), do="reset")]) as proxy:
        ... connect to proxy.host, proxy.port ...
        await proxy.fired(1)

It runs in the test's own Trio.  By hand: `python -m tests.proxy --help`.
"""

import contextlib
import errno
import re
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from tests.proxy.script import SLOW, Rule, Script, Side
from tests.proxy.wire import READY, Message, Messages, Tally, wants_encryption

PIECE = 65536  # bytes read at once
GOODBYE = 1.0  # seconds for a client to go whose connection was cut
OPENS = re.compile(r"^BEGIN\b", re.MULTILINE)  # comments may stand before it
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen(kw_only=True)
class Fired:
    """A rule that has fired, for a test's eyes."""

    connection: int
    rule: Rule
    up: int
    """Bytes that had passed to the server."""

    down: int


@attrs.define(eq=False)
class Proxy:
    """Accepts connections, and relays each as the script says."""

    to: str
    """`host:port`, or the path of a Unix socket."""

    host: str
    port: int
    script: Script
    tally: Tally | None = None
    """Counts what Postgres is asked; None: nobody wants to know."""

    accepted: int = attrs.field(default=0, init=False)
    log: list[Fired] = attrs.field(factory=list, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _open: "set[Connection]" = attrs.field(factory=set, init=False)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def follow(self, *rules: Rule) -> None:
        """These rules, and no others, for connections from now on; none at all heals it."""
        self.script = Script(list(rules))

    def silence(self) -> None:
        """From now on nothing passes, on new connections as on those that are open."""
        self.follow(Rule(do="black-hole"))
        for connection in self._open:
            connection.dark = True

    def reset_all(self) -> None:
        """Reset every connection that is open, now."""
        for connection in list(self._open):
            connection.end(reset=True)

    async def fired(self, many: int = 1) -> list[Fired]:
        """Wait until rules have fired so often."""
        while len(self.log) < many:
            await self._news.wait()
        return self.log

    def note(self, fired: Fired) -> None:
        self.log.append(fired)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def left(self) -> None:
        """Wait until no connection is open: each has ended on the server's side, too."""
        while self._open:
            await self._news.wait()

    async def serve(self, client: trio.SocketStream) -> None:
        """Relay one connection to its end."""
        self.accepted += 1
        connection = Connection(self, self.accepted, client, self.script)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self._tell()

    async def connect(self) -> trio.SocketStream:
        """Open a connection to the server behind."""
        if self.to.startswith("/"):
            unix = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                await unix.connect(self.to)
            except BaseException:
                unix.close()
                raise
            return trio.SocketStream(unix)
        host, _, port = self.to.rpartition(":")
        return await trio.open_tcp_stream(host, int(port))


@attrs.define(eq=False)
class Connection:
    """One connection of a client, and ours to the server."""

    proxy: Proxy
    number: int
    client: trio.SocketStream
    script: Script
    rules: list[Rule] = attrs.field(init=False)
    passed: dict[Side, int] = attrs.field(factory=lambda: {"up": 0, "down": 0}, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _reset: bool = attrs.field(default=False, init=False)
    dark: bool = attrs.field(default=False, init=False)
    _swallowing: bool = attrs.field(default=False, init=False)
    _slow: dict[Side, Rule] = attrs.field(factory=dict, init=False)
    _asked: Messages | None = attrs.field(default=None, init=False)
    _told: Messages | None = attrs.field(default=None, init=False)
    _since: dict[str, dict[Side, int]] = attrs.field(factory=dict, init=False)
    """From where the bytes of a rule are counted, by its name; of one with a text once met."""

    _transaction: str = attrs.field(default="", init=False)
    """The statements since the last BEGIN."""

    def __attrs_post_init__(self) -> None:
        self.rules = self.script.of_connection(self.number)
        self._since = {r.name: {"up": 0, "down": 0} for r in self.rules if r.text is None}
        if self.script.reads_postgres or self.proxy.tally is not None:
            self._asked, self._told = Messages(starting=True), Messages(starting=False)

    async def run(self) -> None:
        streams = [self.client]
        try:
            with self._scope:
                try:
                    server = await self.proxy.connect()
                except OSError:
                    # As if nobody were listening: the client hears a refusal of some kind.
                    self.end(reset=True)
                else:
                    streams.append(server)
                    async with trio.open_nursery() as both:
                        both.start_soon(self._pump, "up", self.client, server)
                        both.start_soon(self._pump, "down", server, self.client)
            if not self._reset:
                await self._say_goodbye()
        finally:
            for stream in streams:
                if self._reset:
                    linger = struct.pack("ii", 1, 0)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                # A socket is closed at once, and only then is there a checkpoint.
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)

    def end(self, *, reset: bool) -> None:
        """Close both ends."""
        self._reset = self._reset or reset
        self._scope.cancel()

    async def _say_goodbye(self) -> None:
        """End by FIN: closed with something unread, the kernel would make it an RST."""
        with trio.move_on_after(GOODBYE), contextlib.suppress(*GONE, OSError):
            await self.client.send_eof()
            while await self.client.receive_some(PIECE):
                pass

    async def _pump(self, side: Side, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            await self._act_on_bytes(side)
            while data := await source.receive_some(PIECE):
                await self._relay(side, data, sink)
            if not self.dark:
                await sink.send_eof()
                return
        except GONE:
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # an EOF to whom has just gone
                raise
        self.end(reset=False)

    async def _relay(self, side: Side, data: bytes, sink: trio.SocketStream) -> None:
        if side == "down" and self._told is not None:
            told = list(self._told.feed(data))
            if self.proxy.tally is not None:
                for message in told:
                    self.proxy.tally.tell(message)
            if self._swallowing:
                if any(m.type == READY for m in told):
                    self.end(reset=True)
                return
        if side == "up":
            self._listen(data)
            await self._act_on_bytes("up")
            await self._act_on_bytes("down")
        before = self.passed[side]
        for message in self._asked.feed(data) if side == "up" and self._asked else ():
            if (rule := self._at_statement(message)) is not None:
                # What came before it passes; the statement itself only to be swallowed.
                begin = max(0, message.end - len(message.body) - 5 - before)
                await self._let(side, data[:begin], sink)
                data, before = data[begin:], before + begin
                await self._act(rule)
        await self._let(side, data, sink)

    def _listen(self, data: bytes) -> None:
        for rule in self.rules:
            new = rule.text is not None and rule.name not in self._since
            if new and rule.text and rule.text.encode() in data and self.script.meets(rule):
                self._since[rule.name] = dict(self.passed)

    def _at_statement(self, message: Message) -> Rule | None:
        if self._told is not None and wants_encryption(message):
            self._told.refusals += 1
        if self.proxy.tally is not None:
            self.proxy.tally.ask(message)
        statement = message.statement
        if statement is None:
            return None
        if OPENS.search(statement):
            self._transaction = ""
        found = None
        for rule in self.rules:
            wanted = rule.statement is not None and rule.statement in statement
            if wanted and rule.of in self._transaction and self.script.meets(rule):
                found = found or rule
        self._transaction += statement + "\n"
        return found

    async def _let(self, side: Side, data: bytes, sink: trio.SocketStream) -> None:
        """Let bytes pass, and have what is due after some of them happen there."""
        while data and not self.dark:
            stops = [left for _, left in self._left(side) if left > 0]
            piece = data[: min(stops, default=len(data))]
            slow = self._slow.get(side)
            if slow is not None:
                await trio.sleep(slow.seconds)  # this is the fault
                piece = piece[: slow.bytes] if slow.do == "drip" else piece
            await sink.send_all(piece)
            self.passed[side] += len(piece)
            data = data[len(piece) :]
            await self._act_on_bytes(side)

    async def _act_on_bytes(self, side: Side) -> None:
        for rule, left in self._left(side):
            if left == 0:
                del self._since[rule.name]
                await self._act(rule)

    def _left(self, side: Side) -> list[tuple[Rule, int]]:
        """How many bytes of this side are to pass until a rule's moment."""
        return [
            (rule, self._since[rule.name][side] + rule.after - self.passed[side])
            for rule in self.rules
            if rule.statement is None and rule.side == side and rule.name in self._since
        ]

    async def _act(self, rule: Rule) -> None:
        if not self.script.fires(rule):
            return
        passed = self.passed
        self.proxy.note(
            Fired(connection=self.number, rule=rule, up=passed["up"], down=passed["down"])
        )
        if rule.do in SLOW:
            self._slow[rule.side] = rule
        elif rule.do == "black-hole":
            self.dark = True
        elif rule.do == "swallow":
            self._swallowing = True
        else:
            self.end(reset=rule.do == "reset")
            await trio.lowlevel.checkpoint_if_cancelled()


@asynccontextmanager
async def running_proxy(
    *,
    to: str,
    script: Sequence[Rule] = (),
    tally: Tally | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Proxy]:
    """Listen for as long as the block lasts; `port` 0 is any that is free."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    port = listeners[0].socket.getsockname()[1]
    proxy = Proxy(to=to, host=host, port=port, script=Script(list(script)), tally=tally)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
