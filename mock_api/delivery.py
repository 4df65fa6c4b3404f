"""How is an answer sent, or spoiled on its way?

The plain case is two messages to hypercorn.  Everything else is what a rule of
the script asks for: late, in drops, cut off, too short, too large, or never.
While it waits it watches the connection, and leaves as soon as the client has.
"""

import gzip
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Protocol

import attrs
import trio

from mock_api.answers import Answer
from mock_api.api import Api, Decision
from mock_api.faults import Rule

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MEGABYTE = 1_000_000


class Connection(Protocol):
    """What delivery needs of the connection itself."""

    hanging: bool
    """Nothing will come any more: who stops the server need not wait."""

    def cut(self, *, reset: bool) -> None:
        """Close it now, whatever was promised."""


@attrs.frozen
class Exchange:
    """One request's way back: what the client does, what it is sent, and the wire itself."""

    receive: Receive
    send: Send
    connection: Connection

    async def gone(self) -> None:
        """Wait until the connection has ended."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def gone_within(self, seconds: float) -> bool:
        """Wait so long, or until the client has gone; whether it has."""
        with trio.move_on_after(seconds):
            await self.gone()
            return True
        return False

    async def cut(self, rule: Rule) -> None:
        """End the connection under the answer."""
        self.connection.cut(reset=rule.reset)
        # Hypercorn learns of it by itself; only then is there nothing more to say.
        await self.gone()


async def deliver(api: Api, decision: Decision, exchange: Exchange) -> None:
    """Send what was decided, at the time that was decided."""
    rule = decision.rule
    wait = decision.due - api.clock.monotonic()
    if wait > 0 and await exchange.gone_within(wait):
        return
    if rule is not None and rule.cut == "before-headers":
        await exchange.cut(rule)
        return
    if decision.answer is None:
        exchange.connection.hanging = True
        await exchange.gone()
        return
    if rule is None:
        api.sent(decision.seq, decision.answer.status)
        await send_whole(decision.answer, exchange.send)
        api.answered(decision.seq)
        return
    answer = await _encoded(decision.answer, rule)
    api.sent(decision.seq, answer.status)
    if await _send_spoiled(answer, rule, exchange, speed=api.settings.speed):
        api.answered(decision.seq)


async def send_head(answer: Answer, length: int, send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(b"content-length", b"%d" % length), *answer.headers],
        }
    )


async def send_whole(answer: Answer, send: Send) -> None:
    """The plain case."""
    await send_head(answer, len(answer.body), send)
    await send({"type": "http.response.body", "body": answer.body})


async def _send_spoiled(answer: Answer, rule: Rule, exchange: Exchange, *, speed: float) -> bool:
    """Send as the rule says; whether the last byte was sent and the client still there."""
    body, declared = answer.body, len(answer.body)
    short = rule.truncate is not None or rule.cut == "mid-body"
    if short:
        body = body[: len(body) // 2 if rule.truncate is None else rule.truncate]
        if rule.declare == "sent":
            declared, short = len(body), rule.cut == "mid-body"
    await send_head(answer, declared, exchange.send)
    size = len(body) if rule.drip is None else rule.drip.bytes
    pause = 0.0 if rule.drip is None else rule.drip.every / speed
    for start in range(0, len(body), max(size, 1)):
        if start and await exchange.gone_within(pause):
            return False
        piece = body[start : start + size]
        await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
    if short:
        await exchange.cut(rule)
        return False
    await exchange.send({"type": "http.response.body", "body": b""})
    return True


async def _encoded(answer: Answer, rule: Rule) -> Answer:
    if not (rule.gzip or rule.bomb):
        return answer
    if rule.bomb:
        # Seconds of work for a large one: not on the loop.
        body = await trio.to_thread.run_sync(_bomb, rule.bomb, answer.body)
    else:
        body = gzip.compress(answer.body, mtime=0)
    headers = (*answer.headers, (b"content-encoding", b"gzip"))
    return attrs.evolve(answer, body=body, headers=headers)


@lru_cache(maxsize=2)
def _bomb(megabytes: int, body: bytes) -> bytes:
    """Blanks, which JSON allows before a value, then the body: a thousandth of it all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    blanks = b" " * MEGABYTE
    pieces = [packer.compress(blanks) for _ in range(megabytes)]
    return b"".join([*pieces, packer.compress(body), packer.flush()])
