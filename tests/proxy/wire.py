"""As much of Postgres's protocol, version 3, as it takes to see statements and their ends.

A message is a type (one byte), a length (four, its own included) and the rest.  The first
ones of a client have no type; to a request for encryption the server answers one byte.
"""

import re
from collections import Counter
from collections.abc import Iterator

import attrs

ENCRYPTION = (80877103, 80877104)
"""SSLRequest and GSSENCRequest: another message without a type follows if it is refused."""

READY = b"Z"
COPYING = b"G"
DONE = b"C"
EXECUTE = b"E"
CONTROL = re.compile(r"^(BEGIN|COMMIT|ROLLBACK)\b", re.MULTILINE)


@attrs.frozen
class Message:
    """One message that has come whole."""

    type: bytes
    """Empty for a client's first ones."""

    body: bytes
    end: int
    """How many bytes of its side there were up to its last one."""

    @property
    def statement(self) -> str | None:
        """The SQL in it, if it brings any."""
        if self.type == b"Q":
            return self.body.rstrip(b"\0").decode("utf-8", "replace")
        if self.type == b"P":
            return self.body.split(b"\0", 2)[1].decode("utf-8", "replace")
        return None


@attrs.define(eq=False)
class Tally:
    """What Postgres was asked, on all connections together."""

    round_trips: int = attrs.field(default=0, init=False)
    """How often the client had to wait for it; also until it may send the rows of a COPY."""

    commands: int = attrs.field(default=0, init=False)
    """How many were carried out; of several in one message, each."""

    statements: int = attrs.field(default=0, init=False)
    """How many were sent, prepared or not; without those that begin or end a transaction."""

    texts: Counter[str] = attrs.field(factory=Counter, init=False)
    """What was sent as SQL; not what had been prepared before."""

    sent: int = attrs.field(default=0, init=False)
    """Bytes of the client's messages."""

    def ask(self, message: Message) -> None:
        """The client says something."""
        self.sent += len(message.type) + 4 + len(message.body)
        if (text := message.statement) is not None:
            self.texts[text] += 1
        simple = message.type == b"Q" and not CONTROL.search(text or "")
        self.statements += simple or message.type == EXECUTE

    def tell(self, message: Message) -> None:
        """The server does."""
        self.round_trips += message.type in {READY, COPYING}
        self.commands += message.type == DONE


@attrs.define
class Messages:
    """Takes the bytes of one side apart."""

    starting: bool
    """Whether the first ones have no type: those of a client."""

    refusals: int = 0
    """Answers of one byte that are still to come, on the server's side."""

    _held: bytearray = attrs.field(factory=bytearray, init=False)
    _seen: int = attrs.field(default=0, init=False)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now."""
        self._held += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if self.refusals and self._held:
            self.refusals -= 1
            self._take(1)
        head = 0 if self.starting else 1
        if len(self._held) < head + 4:
            return None
        length = head + int.from_bytes(self._held[head : head + 4])
        if len(self._held) < length:
            return None
        whole = self._take(length)
        body = whole[head + 4 :]
        if self.starting:
            self.starting = int.from_bytes(body[:4]) in ENCRYPTION
        return Message(type=whole[:head], body=body, end=self._seen)

    def _take(self, many: int) -> bytes:
        taken = bytes(self._held[:many])
        del self._held[:many]
        self._seen += many
        return taken


def wants_encryption(message: Message) -> bool:
    """Whether the server will answer it with one byte."""
    return not message.type and int.from_bytes(message.body[:4]) in ENCRYPTION
