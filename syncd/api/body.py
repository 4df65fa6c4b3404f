"""How is an answer's body read without letting it grow beyond what we allow?

httpx inflates each chunk whole: 64 kB off the wire can become 64 MB at once.  So
we take the raw bytes and inflate them ourselves, a piece at a time, counting.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

import attrs
import trio

from syncd.errors import ApiUnavailable, UnexpectedAnswer

ACCEPTED = "gzip"
PIECE = 64 * 1024  # bytes that are inflated at once
_GZIP = zlib.MAX_WBITS | 16
_MAGIC = b"\x1f\x8b"


@attrs.define(eq=False)
class Inflater:
    """Undoes a Content-Encoding, piece by piece."""

    encoding: str
    _started: bool = attrs.field(default=False, init=False)
    _left: bytes = attrs.field(default=b"", init=False)
    _engine: "zlib._Decompress | None" = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.encoding = self.encoding.strip().lower() or "identity"
        if self.encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise UnexpectedAnswer(
                f"the answer comes with Content-Encoding {self.encoding[:40]!r}",
                hint="syncd asks for gzip and reads gzip, deflate and plain bodies",
            )

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk off the wire becomes; none of them is longer than PIECE or the chunk."""
        if self.encoding == "identity":
            yield chunk
            return
        chunk = self._left + chunk
        self._left = b""
        while chunk:
            if self._engine is None:
                if len(chunk) < 2:
                    self._left = chunk
                    return
                self._engine = self._begin(chunk)
                if self._engine is None:
                    return
            try:
                piece = self._engine.decompress(chunk, PIECE)
            except zlib.error:
                raise ApiUnavailable(f"the body is not valid {self.encoding}") from None
            if piece:
                yield piece
            if self._engine.eof:
                # A gzip file may have several members, one after the other.
                chunk = self._engine.unused_data
                self._engine = None
            else:
                # All of the chunk may be in, while more output waits inside.
                chunk = self._engine.unconsumed_tail
                if not chunk and len(piece) == PIECE:
                    yield from self._flush()

    def finish(self) -> None:
        """The wire has ended; ApiUnavailable if the body has not."""
        if self._engine is not None or (self._left and not self._started):
            raise ApiUnavailable(f"the {self.encoding} body ends early")

    def _begin(self, chunk: bytes) -> "zlib._Decompress | None":
        first, self._started = not self._started, True
        if self.encoding == "deflate":
            # RFC 9110 means zlib's form; some servers send the bare stream.
            zlib_form = chunk[0] & 0x0F == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
            return zlib.decompressobj(zlib.MAX_WBITS if zlib_form else -zlib.MAX_WBITS)
        if not first and not chunk.startswith(_MAGIC):
            return None  # padding after the last member, which gunzip ignores too
        return zlib.decompressobj(_GZIP)

    def _flush(self) -> Iterator[bytes]:
        while self._engine is not None and not self._engine.eof:
            piece = self._engine.decompress(b"", PIECE)
            if not piece:
                return
            yield piece
        if self._engine is not None and self._engine.eof:
            self._left, self._engine = self._engine.unused_data, None


async def read_body(chunks: AsyncIterator[bytes], encoding: str, limit: int) -> bytes:
    """Read a body off the wire, inflated, or stop where it grows beyond `limit`.

    `chunks` is always run to its end: httpx's chain of generators closes its
    connection only so, and one that is dropped half way is collected by the
    garbage collector, with a warning and at a time of its own.
    """
    body = bytearray()
    try:
        inflater = Inflater(encoding)
        async for chunk in chunks:
            for piece in inflater.pieces(chunk):
                body += piece
                _allow(len(body), limit)
    except (ApiUnavailable, UnexpectedAnswer):
        await _abandon(chunks)  # noqa: ASYNC120 - if cancelled, nobody needs the error
        raise
    inflater.finish()
    return bytes(body)


def _allow(size: int, limit: int) -> None:
    if size > limit:
        raise UnexpectedAnswer(
            f"the body is larger than {limit} bytes after decompression",
            hint="Ask for smaller pages, or raise `max_body`",
        )


async def _abandon(chunks: AsyncIterator[bytes]) -> None:
    """End the chain from within: what is buffered comes, then the read is cancelled."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async for _ in chunks:
            pass
